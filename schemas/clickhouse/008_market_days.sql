-- Bars of market days, of trading blocks and of four hours, merged from the bars of an hour. Views: there is no second writer, so a
-- revised hour revises its day, and `dp verify` checks the hours. Zones and blocks are those of the registry (`GET /markets`), and a
-- test compares both. Averages are merged from exact sums: of prices by time (`twap`), of trades by volume (`vwap`).

-- One row for each bar of an hour: its market day, and the block that its contracts deliver in. Peak blocks are sixteen hours of
-- weekdays (CAISO: and Saturdays) that are no NERC holiday; 2x16H are the same hours of the other days, 7x8 the rest of all days.
-- A holiday on a Sunday is kept on Monday.
CREATE VIEW IF NOT EXISTS {db}.market_hours{suffix} AS
SELECT
    *,
    multiIf(
        market = 'MISO', toDate(window_start, 'Etc/GMT+5'),
        market = 'CAISO', toDate(window_start, 'America/Los_Angeles'),
        market IN ('ERCOT', 'SPP'), toDate(window_start, 'America/Chicago'),
        toDate(window_start, 'America/New_York')) AS day,
    multiIf(
        market = 'MISO', 24,
        market = 'CAISO', dateDiff('hour', toDateTime(day, 'America/Los_Angeles'), toDateTime(day + 1, 'America/Los_Angeles')),
        market IN ('ERCOT', 'SPP'), dateDiff('hour', toDateTime(day, 'America/Chicago'), toDateTime(day + 1, 'America/Chicago')),
        dateDiff('hour', toDateTime(day, 'America/New_York'), toDateTime(day + 1, 'America/New_York'))) AS hours_of_day,
    -- Contracts of MISO are in prevailing time, unlike its day.
    multiIf(
        market = 'CAISO', toDate(window_start, 'America/Los_Angeles'),
        market IN ('ERCOT', 'SPP'), toDate(window_start, 'America/Chicago'),
        toDate(window_start, 'America/New_York')) AS delivery_day,
    multiIf(
        market = 'CAISO', toHour(window_start, 'America/Los_Angeles'),
        market IN ('ERCOT', 'SPP'), toHour(window_start, 'America/Chicago'),
        toHour(window_start, 'America/New_York')) AS hour,
    if(market IN ('CAISO', 'ERCOT', 'SPP'), hour >= 6 AND hour < 22, hour >= 7 AND hour < 23) AS is_by_day,
    toDayOfWeek(delivery_day) AS weekday,
    toMonth(delivery_day) AS month,
    toDayOfMonth(delivery_day) AS day_of_month,
    ((month, day_of_month) IN ((1, 1), (7, 4), (12, 25)) AND weekday != 7)
        OR ((month, day_of_month) IN ((1, 2), (7, 5), (12, 26)) AND weekday = 1)
        OR (month = 5 AND weekday = 1 AND day_of_month > 24)
        OR (month = 9 AND weekday = 1 AND day_of_month < 8)
        OR (month = 11 AND weekday = 4 AND day_of_month > 21 AND day_of_month < 29) AS is_holiday,
    weekday = 7 OR (weekday = 6 AND market != 'CAISO') OR is_holiday AS is_rest_day,
    multiIf(
        NOT is_by_day, '7x8',
        is_rest_day, if(market = 'CAISO', '1x16H', '2x16H'),
        if(market = 'CAISO', '6x16', '5x16')) AS block
FROM {db}.bars_1h{suffix}
WHERE market IN ('MISO', 'CAISO', 'ERCOT', 'PJM', 'NYISO', 'ISONE', 'SPP');

-- One row for each market day (23 to 25 hours): a bar in the market's own time.
CREATE VIEW IF NOT EXISTS {db}.bars_1d_local{suffix} AS
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
    if(volume = 0, NULL, round(divideDecimal(turnover, if(volume = 0, toDecimal128(1, 8), volume), 20), 8)) AS vwap,
    sum(price_seconds) AS price_seconds,
    sum(priced_seconds) AS priced_seconds,
    if(priced_seconds = 0, NULL, round(divideDecimal(price_seconds, toDecimal128(greatest(priced_seconds, 1), 0), 20), 8)) AS twap,
    sum(trade_count) AS trade_count,
    sum(revision) AS revision,
    min(closed) AS closed,
    count() AS hours,
    any(hours_of_day) AS hours_of_day,
    priced_seconds >= hours_of_day * 3600 AS is_complete
FROM {db}.market_hours{suffix}
GROUP BY tenant_id, instrument_id, market, day;

-- One row for each block of a delivery day. Off-peak is everything but 5x16 and 6x16: sum `price_seconds` and `priced_seconds`.
CREATE VIEW IF NOT EXISTS {db}.bars_blocks{suffix} AS
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
    if(volume = 0, NULL, round(divideDecimal(turnover, if(volume = 0, toDecimal128(1, 8), volume), 20), 8)) AS vwap,
    sum(price_seconds) AS price_seconds,
    sum(priced_seconds) AS priced_seconds,
    if(priced_seconds = 0, NULL, round(divideDecimal(price_seconds, toDecimal128(greatest(priced_seconds, 1), 0), 20), 8)) AS twap,
    sum(trade_count) AS trade_count,
    sum(revision) AS revision,
    min(closed) AS closed,
    count() AS hours
FROM {db}.market_hours{suffix}
GROUP BY tenant_id, instrument_id, market, delivery_day, block;

-- Four hours of UTC.
CREATE VIEW IF NOT EXISTS {db}.bars_4h{suffix} AS
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
    if(volume = 0, NULL, round(divideDecimal(turnover, if(volume = 0, toDecimal128(1, 8), volume), 20), 8)) AS vwap,
    sum(price_seconds) AS price_seconds,
    sum(priced_seconds) AS priced_seconds,
    if(priced_seconds = 0, NULL, round(divideDecimal(price_seconds, toDecimal128(greatest(priced_seconds, 1), 0), 20), 8)) AS twap,
    sum(trade_count) AS trade_count,
    sum(revision) AS revision,
    min(closed) AS closed,
    count() AS hours
FROM {db}.bars_1h{suffix}
GROUP BY tenant_id, instrument_id, start;
