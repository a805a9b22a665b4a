WITH
    -- One price of each leg and hour that has both components: the best vintage, by the words of its version, then by its number, a superseded
    -- one last; of equal ones the largest sequence, then the last origin. What is appended a day late or two days ahead does not count.
    prices AS
    (
        SELECT
            tenant_id, instrument_id, timestamp, congestion + loss AS figure, currency, ifNull(instrument_unit, unit) AS per,
            ifNull(interval_end, timestamp + INTERVAL 1 HOUR) AS ends,
            splitByChar('.', lower(ifNull(version, ''))) AS words,
            indexOf(['preliminary', 'unverified', 'verified', 'final', 'corrected'], words[1]) AS stage,
            toUInt32OrZero(extract(words[if(stage > 0, 2, 1)], '^[0-9]{1,6}$')) AS number
        FROM enriched_ticks
        WHERE instrument_id IN ('PJM.WESTERN%20HUB.DA', 'PJM.EASTERN%20HUB.DA')
          AND congestion IS NOT NULL AND loss IS NOT NULL
          AND timestamp BETWEEN appended_at - INTERVAL 1 DAY AND appended_at + INTERVAL 2 DAY
        ORDER BY
            stage DESC, number DESC, words[-1] = 'superseded',
            sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC
        LIMIT 1 BY tenant_id, instrument_id, timestamp
    ),
    times AS (SELECT DISTINCT tenant_id, timestamp FROM prices),
    sink AS (SELECT * FROM prices WHERE instrument_id = 'PJM.WESTERN%20HUB.DA'),
    source AS (SELECT * FROM prices WHERE instrument_id = 'PJM.EASTERN%20HUB.DA')
SELECT
    times.tenant_id AS tenant_id,
    times.timestamp AS timestamp,
    sink.figure - source.figure AS value
FROM times
-- At each time, the newest price of each leg at or before it, if there is one.
ASOF JOIN sink ON sink.tenant_id = times.tenant_id AND sink.timestamp <= times.timestamp
ASOF JOIN source ON source.tenant_id = times.tenant_id AND source.timestamp <= times.timestamp
-- It counts inside its delivery interval.
WHERE times.timestamp < sink.ends
  AND times.timestamp < source.ends
  AND (sink.currency, sink.per) = (source.currency, source.per)
