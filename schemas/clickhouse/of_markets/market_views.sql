-- The views that name the power markets, with their time zones and blocks: `crates/stores/src/clickhouse/market_views.rs` fills the
-- placeholders from the registry of markets. They replace the views of the same names of 008_market_days.sql and 009_completeness.sql,
-- which are for the markets of those days. Applied after the numbered files, and again when the registry has changed.

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
        if({has_six_days}, '6x16', '5x16')) AS block
FROM {db}.bars_1h{suffix}
WHERE {is_power_market};

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
