-- As in 015_bar_lengths, with one rule more of `bars` (docs/bars.md): a price that is below the one that counts in its interval is no cause, like
-- one that repeats it.
CREATE OR REPLACE VIEW {db}.bars_asof{suffix} AS
SELECT
    tenant_id,
    instrument_id,
    bar.1 AS interval,
    fromUnixTimestamp64Micro(micros - positiveModulo(micros, bar.2), 'UTC') AS window_start,
    window_start + toIntervalMicrosecond(any(bar.2)) AS window_end,
    argMaxIf(market, place, counts) AS market,
    argMinIf(price, place, counts) AS open,
    maxIf(price, counts) AS high,
    minIf(price, counts) AS low,
    argMaxIf(price, place, counts) AS close,
    sumIf(size, counts) AS volume,
    sumIf(toDecimal128(price, 8) * size, counts) AS turnover,
    if(volume = 0, NULL, roundBankers(divideDecimal(turnover, if(volume = 0, toDecimal128(1, 8), volume), 20), 8)) AS vwap,
    sumIf(toDecimal128(price, 8) * seconds, counts) AS price_seconds,
    sumIf(seconds, counts) AS priced_seconds,
    if(priced_seconds = 0, NULL, roundBankers(divideDecimal(price_seconds, toDecimal128(greatest(priced_seconds, 1), 0), 20), 8)) AS twap,
    countIf(counts) AS trade_count,
    minIf(timestamp, counts) AS open_time,
    maxIf(timestamp, counts) AS close_time,
    argMaxIf(tick_cause, src_offset, NOT without_effect) AS cause,
    maxIf(appended_at, counts) AS last_appended_at
FROM
(
    SELECT
        tenant_id, instrument_id, market, timestamp, price, appended_at, src_offset,
        toDecimal128(ifNull(volume, 0), 8) AS size,
        toUnixTimestamp64Micro(timestamp) AS micros,
        multiIf(
            kind = 'trade', 0,
            product IN ('rt5', 'exante'), 300,
            product = 'rt15', 900,
            product IN ('da', 'rth'), 3600,
            60) AS nominal,
        intDiv(greatest(least(ifNull(toUnixTimestamp64Micro(interval_end) - micros, toInt64(nominal * 1000000)), toInt64(nominal * 1000000)),
            toInt64(0)), 1000000) AS seconds,
        (timestamp, isNotNull(sequence), ifNull(sequence, 0), toString(feed), raw_partition, raw_offset, raw_index) AS place,
        lower(ifNull(version, '')) AS vintage,
        -- The most certain vintage of an interval counts: its word, its number, a current row before a superseded one; then the last.
        (indexOf(['preliminary', 'unverified', 'verified', 'final', 'corrected'], extract(vintage, '^[^.]*')),
         toUInt32OrZero(extract(vintage, '^(?:(?:preliminary|unverified|verified|final|corrected)\\.)?([0-9]{1,6})(?:\\.|$)')),
         NOT match(vintage, '(^|\\.)superseded$')) AS certainty,
        (certainty, toString(feed), raw_partition, raw_offset, raw_index) AS rank,
        kind = 'trade' OR rank = max(rank) OVER (PARTITION BY tenant_id, instrument_id, timestamp, kind, nominal) AS counts,
        -- The best price of the interval among those that were enriched before; its first member is 0 if there is none.
        maxIf((1, rank, price, size, seconds), kind != 'trade') OVER (PARTITION BY tenant_id, instrument_id, timestamp, kind, nominal ORDER BY src_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier,
        earlier.1 = 1 AND (rank < earlier.2 OR (certainty = earlier.2.1 AND price = earlier.3 AND size = earlier.4 AND seconds = earlier.5))
            AS without_effect,
        multiIf(earlier.1 = 0, '', certainty > earlier.2.1, 'vintage', 'correction') AS tick_cause
    FROM {db}.enriched_ticks{suffix}
    WHERE appended_at <= {at:DateTime64(6, 'UTC')}
)
ARRAY JOIN arrayFilter(one -> one.2 >= nominal * 1000000,
    [('1m', 60000000), ('5m', 300000000), ('15m', 900000000), ('1h', 3600000000), ('1d', 86400000000)]) AS bar
GROUP BY tenant_id, instrument_id, interval, window_start;
