-- Four hours of UTC, as in 008_market_days with averages that round half to even, like those of the bars that they are merged from; with flags;
-- and closed when all four hours are, or those that there are an hour after their end. The views of market days and blocks are with those
-- of the markets (of_markets/market_views.sql).
CREATE OR REPLACE VIEW {db}.bars_4h{suffix} AS
SELECT
    tenant_id,
    instrument_id,
    any(market) AS market,
    toStartOfInterval(window_start, INTERVAL 4 HOUR) AS start,
    argMin(open, open_time) AS open,
    max(high) AS high,
    min(low) AS low,
    argMax(close, close_time) AS close,
    sum(volume) AS volume,
    sum(turnover) AS turnover,
    if(volume = 0, NULL, roundBankers(divideDecimal(turnover, if(volume = 0, toDecimal128(1, 8), volume), 20), 8)) AS vwap,
    sum(price_seconds) AS price_seconds,
    sum(priced_seconds) AS priced_seconds,
    if(priced_seconds = 0, NULL, roundBankers(divideDecimal(price_seconds, toDecimal128(greatest(priced_seconds, 1), 0), 20), 8)) AS twap,
    sum(trade_count) AS trade_count,
    sum(revision) AS revision,
    count() AS hours,
    min(closed) AND (hours = 4 OR now() >= start + INTERVAL 5 HOUR) AS closed,
    min(open_time) AS first_time,
    arrayFilter(flag -> flag != '', [
        if(priced_seconds >= 4 * 3600, 'complete', ''),
        if(priced_seconds > 0 AND first_time > start, 'partial_start', ''),
        if(priced_seconds > 0 AND closed AND priced_seconds < dateDiff('second', first_time, start + INTERVAL 4 HOUR), 'gap', ''),
        if(revision > 0, 'revised', ''),
        if(volume = 0, 'no_volume', '')]) AS flags
FROM {db}.bars_1h{suffix}
GROUP BY tenant_id, instrument_id, start;
