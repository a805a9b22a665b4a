-- Since when the content of each version of a snapshot of a curve is known, as derived prices have it: a reader that asks for a time gets no
-- revision of later. Rows of the release before, and those that a service of that release still writes, count as known since their time.
ALTER TABLE {db}.curve_snapshots{suffix}
    ADD COLUMN IF NOT EXISTS log_clock DateTime64(6, 'UTC') DEFAULT as_of COMMENT 'since when it is known: as_of, or the largest log clock when a late quote came' CODEC(DoubleDelta, ZSTD(1)) AFTER inputs;

-- Again, because a view has the columns of when it was made.
CREATE OR REPLACE VIEW {db}.curve_snapshots_latest{suffix} AS
SELECT * FROM {db}.curve_snapshots{suffix} ORDER BY version DESC LIMIT 1 BY tenant_id, curve_id, horizon, as_of;

-- The newest snapshot of each curve and horizon as it was known at a time of the log clock, in UTC, one row for each point:
-- SELECT … FROM curve_points_asof(at = '2026-10-02 14:32:00') WHERE curve_id = …
-- A revision counts from the time of the quote that made it.
CREATE OR REPLACE VIEW {db}.curve_points_asof{suffix} AS
SELECT
    tenant_id, curve_id, market, horizon, as_of, day, version,
    tupleElement(one, 'contract') AS contract,
    tupleElement(one, 'block') AS block,
    tupleElement(one, 'delivery_start') AS delivery_start,
    tupleElement(one, 'delivery_end') AS delivery_end,
    tupleElement(one, 'price') AS price,
    tupleElement(one, 'volume') AS volume,
    tupleElement(one, 'confidence') AS confidence,
    tupleElement(one, 'method') AS method,
    tupleElement(one, 'extrapolated') AS extrapolated,
    tupleElement(one, 'sources') AS sources
FROM
(
    SELECT tenant_id, curve_id, market, horizon, as_of, day, version, points
    FROM
    (
        SELECT tenant_id, curve_id, market, horizon, as_of, day, version, points
        FROM {db}.curve_snapshots{suffix}
        WHERE as_of <= {at:DateTime64(6, 'UTC')} AND log_clock <= {at:DateTime64(6, 'UTC')}
        ORDER BY version DESC
        LIMIT 1 BY tenant_id, curve_id, horizon, as_of
    )
    WHERE points != '[]'
    ORDER BY as_of DESC
    LIMIT 1 BY tenant_id, curve_id, horizon
)
ARRAY JOIN JSONExtract(points,
    'Array(Tuple(contract String, block String, delivery_start String, delivery_end String, price Float64, volume Nullable(Float64), confidence Float64, method String, extrapolated Bool, sources Array(String)))') AS one;
