-- The quotes of the newest snapshot of each curve as it was known at a time of the log clock, in UTC, one row for each, as curve_points_asof has
-- its points: SELECT … FROM curve_inputs_asof(at = '2026-10-02 14:32:00') WHERE curve_id = …
CREATE OR REPLACE VIEW {db}.curve_inputs_asof{suffix} AS
SELECT
    tenant_id, curve_id, market, as_of, day, version,
    tupleElement(one, 'contract') AS contract,
    tupleElement(one, 'block') AS block,
    tupleElement(one, 'price') AS price,
    tupleElement(one, 'curve_price') AS curve_price,
    tupleElement(one, 'residual') AS residual,
    tupleElement(one, 'state') AS state,
    tupleElement(one, 'implied_by') AS implied_by,
    tupleElement(one, 'source') AS source,
    fromUnixTimestamp64Micro(tupleElement(one, 'known_at'), 'UTC') AS known_at
FROM
(
    SELECT tenant_id, curve_id, market, as_of, day, version, inputs
    FROM
    (
        SELECT tenant_id, curve_id, market, as_of, day, version, points, inputs
        FROM {db}.curve_snapshots{suffix}
        WHERE horizon = 'all' AND as_of <= {at:DateTime64(6, 'UTC')} AND log_clock <= {at:DateTime64(6, 'UTC')}
        ORDER BY version DESC
        LIMIT 1 BY tenant_id, curve_id, as_of
    )
    WHERE points != '[]'
    ORDER BY as_of DESC
    LIMIT 1 BY tenant_id, curve_id
)
ARRAY JOIN JSONExtract(inputs,
    'Array(Tuple(contract String, block String, price Float64, curve_price Nullable(Float64), residual Nullable(Float64), state String, implied_by Array(String), source String, known_at Int64))') AS one;
