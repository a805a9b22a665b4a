WITH
    -- One quote of each time: the largest sequence, then the last origin. A tick without bid or ask does not count, nor what is appended a
    -- day late or two days ahead. Only `market_ticks` has quotes.
    quotes AS
    (
        SELECT tenant_id, timestamp, bid, ask
        FROM market_ticks
        WHERE instrument_id = 'PJM.WESTERN%20HUB.SPOT'
          AND bid IS NOT NULL AND ask IS NOT NULL
          AND timestamp BETWEEN appended_at - INTERVAL 1 DAY AND appended_at + INTERVAL 2 DAY
        ORDER BY sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC
        LIMIT 1 BY tenant_id, timestamp
    )
SELECT tenant_id, timestamp, ask - bid AS value
FROM quotes
