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
    )
SELECT tenant_id, timestamp, price AS value
FROM prices
