WITH
    -- One price of each leg and hour: the best vintage, by the words of its version, then by its number, a superseded one last; of equal ones
    -- the largest sequence, then the last origin. What is appended a day late or two days ahead does not count.
    prices AS
    (
        SELECT
            tenant_id, instrument_id, timestamp, price, currency, ifNull(instrument_unit, unit) AS per,
            ifNull(interval_end, timestamp + INTERVAL 1 HOUR) AS ends,
            splitByChar('.', lower(ifNull(version, ''))) AS words,
            indexOf(['preliminary', 'unverified', 'verified', 'final', 'corrected'], words[1]) AS stage,
            toUInt32OrZero(extract(words[if(stage > 0, 2, 1)], '^[0-9]{1,6}$')) AS number
        FROM enriched_ticks
        WHERE instrument_id IN ('PJM.WESTERN%20HUB.DA', 'PJM.WESTERN%20HUB.RTH')
          AND timestamp BETWEEN appended_at - INTERVAL 1 DAY AND appended_at + INTERVAL 2 DAY
        ORDER BY
            stage DESC, number DESC, words[-1] = 'superseded',
            sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC
        LIMIT 1 BY tenant_id, instrument_id, timestamp
    ),
    times AS (SELECT DISTINCT tenant_id, timestamp FROM prices),
    day_ahead AS (SELECT * FROM prices WHERE instrument_id = 'PJM.WESTERN%20HUB.DA'),
    real_time AS (SELECT * FROM prices WHERE instrument_id = 'PJM.WESTERN%20HUB.RTH')
SELECT
    times.tenant_id AS tenant_id,
    times.timestamp AS timestamp,
    day_ahead.price - real_time.price AS value
FROM times
-- At each time, the newest price of each leg at or before it, if there is one.
ASOF JOIN day_ahead ON day_ahead.tenant_id = times.tenant_id AND day_ahead.timestamp <= times.timestamp
ASOF JOIN real_time ON real_time.tenant_id = times.tenant_id AND real_time.timestamp <= times.timestamp
-- It counts inside its delivery interval.
WHERE times.timestamp < day_ahead.ends
  AND times.timestamp < real_time.ends
  AND (day_ahead.currency, day_ahead.per) = (real_time.currency, real_time.per)
