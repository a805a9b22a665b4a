WITH
    -- One price of each time: the largest sequence, then the last origin. What is appended a day late or two days ahead does not count.
    prices AS
    (
        SELECT tenant_id, timestamp, price
        FROM enriched_ticks
        WHERE instrument_id = 'PJM.WESTERN%20HUB.SPOT'
          AND timestamp BETWEEN appended_at - INTERVAL 1 DAY AND appended_at + INTERVAL 2 DAY
        ORDER BY sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC
        LIMIT 1 BY tenant_id, timestamp
    ),
    -- At each time the last 10 prices, this one included.
    windows AS
    (
        SELECT tenant_id, timestamp, count() OVER last AS number, sum(price) OVER last AS total, min(timestamp) OVER last AS since
        FROM prices
        WINDOW last AS (PARTITION BY tenant_id ORDER BY timestamp ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)
    )
SELECT
    tenant_id,
    timestamp,
    -- Null unless there are 10, none of them older than a day. Rounded half to even.
    if(number = 10 AND since > timestamp - INTERVAL 1 DAY, toDecimal64(roundBankers(divideDecimal(total, toDecimal64(10, 0), 10), 8), 8), NULL) AS value
FROM windows
