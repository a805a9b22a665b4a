-- Which intervals of a market day have a price. Views over market_ticks: there is no second writer, so they count each stored row
-- once, whatever was written again. Interval prices of the seven power markets only; the list of zones is that of the registry
-- (`GET /markets`), and a test compares both.

-- One row for each price, with its interval on the grid of its product and its market day. Stamps off the grid (extra runs of NYISO,
-- SCED runs of ERCOT) count for the interval that they lie in. `is_part`: from a document that says that it is not its whole set.
CREATE VIEW IF NOT EXISTS {db}.market_intervals{suffix} AS
SELECT
    tenant_id,
    market,
    product,
    instrument_id,
    timestamp,
    CAST(ifNull(market_status = 'part', 0), 'UInt8') AS is_part,
    CAST(multiIf(product = 'rt15', 900, product IN ('da', 'rth'), 3600, 300), 'UInt32') AS seconds,
    toDateTime(intDiv(toUnixTimestamp(timestamp), seconds) * seconds, 'UTC') AS interval_start,
    multiIf(
        market = 'MISO', toDate(timestamp, 'Etc/GMT+5'),
        market = 'CAISO', toDate(timestamp, 'America/Los_Angeles'),
        market IN ('ERCOT', 'SPP'), toDate(timestamp, 'America/Chicago'),
        toDate(timestamp, 'America/New_York')) AS day,
    multiIf(
        market = 'MISO', toUnixTimestamp(toDateTime(day + 1, 'Etc/GMT+5')) - toUnixTimestamp(toDateTime(day, 'Etc/GMT+5')),
        market = 'CAISO', toUnixTimestamp(toDateTime(day + 1, 'America/Los_Angeles')) - toUnixTimestamp(toDateTime(day, 'America/Los_Angeles')),
        market IN ('ERCOT', 'SPP'), toUnixTimestamp(toDateTime(day + 1, 'America/Chicago')) - toUnixTimestamp(toDateTime(day, 'America/Chicago')),
        toUnixTimestamp(toDateTime(day + 1, 'America/New_York')) - toUnixTimestamp(toDateTime(day, 'America/New_York'))) AS day_seconds
FROM {db}.market_ticks{suffix}
WHERE kind = 'interval'
    AND product IN ('da', 'rth', 'rt5', 'rt15', 'exante')
    AND market IN ('MISO', 'CAISO', 'ERCOT', 'PJM', 'NYISO', 'ISONE', 'SPP');

-- One row for each tenant, market, product and market day that has a price. `present` counts intervals with a price of any
-- instrument, `present_whole` those with a price of a document that is its whole set, `prices` the pairs of instrument and interval.
-- A day is complete if present_whole = expected and prices = instruments * expected.
CREATE VIEW IF NOT EXISTS {db}.completeness{suffix} AS
SELECT
    tenant_id,
    market,
    product,
    day,
    intDiv(any(day_seconds), any(seconds)) AS expected,
    uniqExact(interval_start) AS present,
    uniqExactIf(interval_start, is_part = 0) AS present_whole,
    uniqExact(instrument_id) AS instruments,
    uniqExact(instrument_id, interval_start) AS prices,
    count() AS rows
FROM {db}.market_intervals{suffix}
GROUP BY tenant_id, market, product, day;
