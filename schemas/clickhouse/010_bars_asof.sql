-- Bars as they were known at an earlier time. `bars` keeps only the newest version of a bar, so they are computed from the ticks that
-- the raw log had by then: `enriched_ticks` has each of them once. There is no second writer, and history of before this view is there, too.
-- Which prices count, in which order and in which bars, is as in `bars` (docs/bars.md).
-- `at` is the time in UTC: SELECT … FROM bars_asof(at = '2026-10-02 14:32:00') WHERE instrument_id = …
CREATE VIEW IF NOT EXISTS {db}.bars_asof{suffix} AS
SELECT
    tenant_id,
    instrument_id,
    bar.1 AS interval,
    fromUnixTimestamp64Micro(micros - positiveModulo(micros, bar.2), 'UTC') AS window_start,
    window_start + toIntervalMicrosecond(any(bar.2)) AS window_end,
    argMax(market, place) AS market,
    argMin(price, place) AS open,
    max(price) AS high,
    min(price) AS low,
    argMax(price, place) AS close,
    sum(size) AS volume,
    sum(toDecimal128(price, 8) * size) AS turnover,
    if(volume = 0, NULL, roundBankers(divideDecimal(turnover, if(volume = 0, toDecimal128(1, 8), volume), 20), 8)) AS vwap,
    sum(toDecimal128(price, 8) * seconds) AS price_seconds,
    sum(seconds) AS priced_seconds,
    if(priced_seconds = 0, NULL, roundBankers(divideDecimal(price_seconds, toDecimal128(greatest(priced_seconds, 1), 0), 20), 8)) AS twap,
    count() AS trade_count,
    min(timestamp) AS open_time,
    max(timestamp) AS close_time,
    max(appended_at) AS last_appended_at
FROM
(
    SELECT
        tenant_id, instrument_id, market, timestamp, price, appended_at,
        toDecimal128(ifNull(volume, 0), 8) AS size,
        toUnixTimestamp64Micro(timestamp) AS micros,
        multiIf(
            kind = 'trade', 0,
            product IN ('rt5', 'exante'), 300,
            product = 'rt15', 900,
            product IN ('da', 'rth'), 3600,
            60) AS seconds,
        (timestamp, isNotNull(sequence), ifNull(sequence, 0), toString(feed), raw_partition, raw_offset, raw_index) AS place,
        lower(ifNull(version, '')) AS vintage,
        -- The most certain vintage of an interval counts: its word, its number, a current row before a superseded one; then the last.
        (indexOf(['preliminary', 'unverified', 'verified', 'final', 'corrected'], extract(vintage, '^[^.]*')),
         toUInt32OrZero(extract(vintage, '^(?:(?:preliminary|unverified|verified|final|corrected)\\.)?([0-9]{1,6})(?:\\.|$)')),
         NOT match(vintage, '(^|\\.)superseded$'),
         toString(feed), raw_partition, raw_offset, raw_index) AS rank,
        kind = 'trade' OR rank = max(rank) OVER (PARTITION BY tenant_id, instrument_id, timestamp, kind, seconds) AS counts
    FROM {db}.enriched_ticks{suffix}
    WHERE appended_at <= {at:DateTime64(6, 'UTC')}
)
ARRAY JOIN arrayFilter(one -> one.2 >= seconds * 1000000,
    [('1m', 60000000), ('5m', 300000000), ('15m', 900000000), ('1h', 3600000000), ('1d', 86400000000)]) AS bar
WHERE counts
GROUP BY tenant_id, instrument_id, interval, window_start;
