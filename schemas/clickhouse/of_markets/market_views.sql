-- The views that name the power markets, with their time zones and blocks: `crates/stores/src/clickhouse/market_views.rs` fills the
-- placeholders from the registry of markets. They replace the views of the same names of 008_market_days.sql and 009_completeness.sql,
-- which are for the markets of those days. Applied after the numbered files, and again when the registry or this text has changed.

-- One row for each bar of an hour: its market day, and the block that its contracts deliver in. Peak blocks are sixteen hours of
-- weekdays (6x16: and Saturdays) that are no NERC holiday; 2x16H are the same hours of the other days, 7x8 the rest of all days.
-- A holiday on a Sunday is kept on Monday. The contracts of a market may be in another time than its day (MISO).
CREATE OR REPLACE VIEW {db}.market_hours{suffix} AS
SELECT
    *,
    {day_of_window} AS day,
    {hours_of_day} AS hours_of_day,
    {delivery_day} AS delivery_day,
    {delivery_hour} AS hour,
    {is_by_day} AS is_by_day,
    toDayOfWeek(delivery_day) AS weekday,
    toMonth(delivery_day) AS month,
    toDayOfMonth(delivery_day) AS day_of_month,
    ((month, day_of_month) IN ((1, 1), (7, 4), (12, 25)) AND weekday != 7)
        OR ((month, day_of_month) IN ((1, 2), (7, 5), (12, 26)) AND weekday = 1)
        OR (month = 5 AND weekday = 1 AND day_of_month > 24)
        OR (month = 9 AND weekday = 1 AND day_of_month < 8)
        OR (month = 11 AND weekday = 4 AND day_of_month > 21 AND day_of_month < 29) AS is_holiday,
    weekday = 7 OR (weekday = 6 AND NOT ({has_six_days})) OR is_holiday AS is_rest_day,
    multiIf(
        NOT is_by_day, '7x8',
        is_rest_day, if({has_six_days}, '1x16H', '2x16H'),
        if({has_six_days}, '6x16', '5x16')) AS block,
    toDateTime({end_of_day}, 'UTC') AS day_end,
    toDateTime({end_of_delivery_day}, 'UTC') AS delivery_end,
    {hours_of_delivery_day} AS hours_of_delivery_day,
    if(is_by_day, {hours_by_day}, hours_of_delivery_day - {hours_by_day}) AS hours_of_block
FROM {db}.bars_1h{suffix}
WHERE {is_power_market};

-- One row for each market day (23 to 25 hours): a bar in the market's own time. It is closed when all its hours are, or those that there are
-- an hour after its end. The flags are those of a bar (docs/bars.md).
CREATE OR REPLACE VIEW {db}.bars_1d_local{suffix} AS
SELECT
    tenant_id,
    instrument_id,
    market,
    day,
    min(window_start) AS first_hour,
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
    any(hours_of_day) AS hours_of_day,
    any(day_end) AS ends,
    min(closed) AND (hours = hours_of_day OR now() >= ends + INTERVAL 1 HOUR) AS closed,
    priced_seconds >= hours_of_day * 3600 AS is_complete,
    min(open_time) AS first_time,
    arrayFilter(flag -> flag != '', [
        if(is_complete, 'complete', ''),
        if(priced_seconds > 0 AND first_time > ends - toIntervalHour(hours_of_day), 'partial_start', ''),
        if(priced_seconds > 0 AND closed AND priced_seconds < dateDiff('second', first_time, ends), 'gap', ''),
        if(revision > 0, 'revised', ''),
        if(volume = 0, 'no_volume', '')]) AS flags
FROM {db}.market_hours{suffix}
GROUP BY tenant_id, instrument_id, market, day;

-- One row for each block of a delivery day. Off-peak is everything but 5x16 and 6x16: sum `price_seconds` and `priced_seconds`. The hours of a
-- block do not follow each other, so it has no first price, and a missing one is a gap wherever it is.
CREATE OR REPLACE VIEW {db}.bars_blocks{suffix} AS
SELECT
    tenant_id,
    instrument_id,
    market,
    delivery_day,
    block,
    block IN ('5x16', '6x16') AS is_peak,
    max(high) AS high,
    min(low) AS low,
    sum(volume) AS volume,
    sum(turnover) AS turnover,
    if(volume = 0, NULL, roundBankers(divideDecimal(turnover, if(volume = 0, toDecimal128(1, 8), volume), 20), 8)) AS vwap,
    sum(price_seconds) AS price_seconds,
    sum(priced_seconds) AS priced_seconds,
    if(priced_seconds = 0, NULL, roundBankers(divideDecimal(price_seconds, toDecimal128(greatest(priced_seconds, 1), 0), 20), 8)) AS twap,
    sum(trade_count) AS trade_count,
    sum(revision) AS revision,
    count() AS hours,
    any(hours_of_block) AS hours_of_block,
    min(closed) AND (hours = hours_of_block OR now() >= any(delivery_end) + INTERVAL 1 HOUR) AS closed,
    priced_seconds >= hours_of_block * 3600 AS is_complete,
    arrayFilter(flag -> flag != '', [
        if(is_complete, 'complete', ''),
        if(priced_seconds > 0 AND closed AND NOT is_complete, 'gap', ''),
        if(revision > 0, 'revised', ''),
        if(volume = 0, 'no_volume', '')]) AS flags
FROM {db}.market_hours{suffix}
GROUP BY tenant_id, instrument_id, market, delivery_day, block;

-- One row for each price, with its interval on the grid of its product and its market day. Stamps off the grid (extra runs of NYISO,
-- SCED runs of ERCOT) count for the interval that they lie in. `is_part`: from a document that says that it is not its whole set.
CREATE OR REPLACE VIEW {db}.market_intervals{suffix} AS
SELECT
    tenant_id,
    market,
    product,
    instrument_id,
    timestamp,
    CAST(ifNull(market_status = 'part', 0), 'UInt8') AS is_part,
    CAST(multiIf(product = 'rt15', 900, product IN ('da', 'rth'), 3600, 300), 'UInt32') AS seconds,
    toDateTime(intDiv(toUnixTimestamp(timestamp), seconds) * seconds, 'UTC') AS interval_start,
    {day_of_price} AS day,
    {seconds_of_day} AS day_seconds
FROM {db}.market_ticks{suffix}
WHERE kind = 'interval'
    AND product IN ('da', 'rth', 'rt5', 'rt15', 'exante')
    AND {is_power_market};
