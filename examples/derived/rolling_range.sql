WITH
    -- One price of each leg and time: the largest sequence, then the last origin. What is appended a day late or two days ahead does not count.
    prices AS
    (
        SELECT tenant_id, instrument_id, timestamp, price, currency, ifNull(instrument_unit, unit) AS per
        FROM enriched_ticks
        WHERE instrument_id IN ('NG_HH_M1', 'NG_HH_M2')
          AND timestamp BETWEEN appended_at - INTERVAL 1 DAY AND appended_at + INTERVAL 2 DAY
        ORDER BY sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC
        LIMIT 1 BY tenant_id, instrument_id, timestamp
    ),
    times AS (SELECT DISTINCT tenant_id, timestamp FROM prices),
    near AS (SELECT * FROM prices WHERE instrument_id = 'NG_HH_M1'),
    far AS (SELECT * FROM prices WHERE instrument_id = 'NG_HH_M2'),
    months AS
    (
        SELECT times.tenant_id AS tenant_id, times.timestamp AS timestamp, near.price - far.price AS value
        FROM times
        ASOF JOIN near ON near.tenant_id = times.tenant_id AND near.timestamp <= times.timestamp
        ASOF JOIN far ON far.tenant_id = times.tenant_id AND far.timestamp <= times.timestamp
        WHERE times.timestamp <= near.timestamp + INTERVAL 1 HOUR
          AND times.timestamp <= far.timestamp + INTERVAL 1 HOUR
          AND (near.currency, near.per) = (far.currency, far.per)
    ),
    -- At each time the values later than half an hour before it, this one included. Times are whole microseconds.
    windows AS
    (
        SELECT tenant_id, timestamp, count() OVER last AS number, max(value) OVER last - min(value) OVER last AS width
        FROM months
        WINDOW last AS
        (
            PARTITION BY tenant_id ORDER BY toUnixTimestamp64Micro(timestamp)
            RANGE BETWEEN 1799999999 PRECEDING AND CURRENT ROW
        )
    )
SELECT
    tenant_id,
    timestamp,
    -- Null if there are more than 1,000.
    if(number <= 1000, width, NULL) AS value
FROM windows
