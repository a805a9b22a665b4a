WITH
    -- One price of each leg and time: the largest sequence, then the last origin. What is appended a day late or two days ahead does not count.
    prices AS
    (
        SELECT tenant_id, instrument_id, timestamp, price, currency, ifNull(instrument_unit, unit) AS per
        FROM enriched_ticks
        WHERE instrument_id IN ('PJM.WESTERN%20HUB.SPOT', 'PJM.EASTERN%20HUB.SPOT')
          AND timestamp BETWEEN appended_at - INTERVAL 1 DAY AND appended_at + INTERVAL 2 DAY
        ORDER BY sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC
        LIMIT 1 BY tenant_id, instrument_id, timestamp
    ),
    times AS (SELECT DISTINCT tenant_id, timestamp FROM prices),
    location AS (SELECT * FROM prices WHERE instrument_id = 'PJM.WESTERN%20HUB.SPOT'),
    other AS (SELECT * FROM prices WHERE instrument_id = 'PJM.EASTERN%20HUB.SPOT')
SELECT
    times.tenant_id AS tenant_id,
    times.timestamp AS timestamp,
    location.price - other.price AS value
FROM times
-- At each time, the newest price of each leg at or before it, if there is one.
ASOF JOIN location ON location.tenant_id = times.tenant_id AND location.timestamp <= times.timestamp
ASOF JOIN other ON other.tenant_id = times.tenant_id AND other.timestamp <= times.timestamp
-- It counts until the maximum age has passed.
WHERE times.timestamp <= location.timestamp + INTERVAL 5 MINUTE
  AND times.timestamp <= other.timestamp + INTERVAL 5 MINUTE
  AND (location.currency, location.per) = (other.currency, other.per)
