-- Snapshots of forward curves: every version of every time and horizon, so that it can be seen what was sent when. Not partitioned, because
-- equal rows are replaced only within a partition, and an insert must not span several. Points and quotes are JSON texts, which the views
-- below unfold. A snapshot without points takes back the one before, whose quotes were wrong.
CREATE TABLE IF NOT EXISTS {db}.curve_snapshots{suffix}
(
    tenant_id     LowCardinality(String),
    curve_id      LowCardinality(String),
    market        LowCardinality(String),
    horizon       LowCardinality(String) COMMENT '1m, 3m, 6m, 1y, all',
    as_of         DateTime64(6, 'UTC') COMMENT 'the quotes are those of the log before it' CODEC(DoubleDelta, ZSTD(1)),
    day           Date32 COMMENT 'last trade date of the quotes' CODEC(ZSTD(1)),
    method        LowCardinality(String),
    definition    LowCardinality(String) COMMENT 'method, then months from the prompt that count, if not all',
    points        String COMMENT 'JSON: in order of delivery, then block' CODEC(ZSTD(3)),
    inputs        String COMMENT 'JSON: every quote, known_at in microseconds' CODEC(ZSTD(3)),
    version       UInt64 COMMENT 'offset in the topic of legs of the record that made it be sent',
    revision      Int32 COMMENT 'how often this snapshot was sent before',
    cause         LowCardinality(String) COMMENT 'first, late, correction',
    origin        String COMMENT 'tick_id of the newest quote of its interval' CODEC(ZSTD(1)),
    src_partition Int32,
    src_offset    Int64 CODEC(Delta, ZSTD(1)),
    ingested_at   DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    INDEX src_offsets src_offset TYPE minmax GRANULARITY 4096
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant_id, curve_id, horizon, as_of, version)
TTL toDateTime(ingested_at) + INTERVAL 365 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The newest version of each snapshot.
CREATE VIEW IF NOT EXISTS {db}.curve_snapshots_latest{suffix} AS
SELECT * FROM {db}.curve_snapshots{suffix} ORDER BY version DESC LIMIT 1 BY tenant_id, curve_id, horizon, as_of;

-- The newest snapshot of each curve and horizon, one row for each point.
CREATE VIEW IF NOT EXISTS {db}.curve_points{suffix} AS
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
    FROM {db}.curve_snapshots_latest{suffix}
    WHERE points != '[]'
    ORDER BY as_of DESC
    LIMIT 1 BY tenant_id, curve_id, horizon
)
ARRAY JOIN JSONExtract(points,
    'Array(Tuple(contract String, block String, delivery_start String, delivery_end String, price Float64, volume Nullable(Float64), confidence Float64, method String, extrapolated Bool, sources Array(String)))') AS one;

-- The same as it was at a time of the log clock, in UTC: SELECT … FROM curve_points_asof(at = '2026-10-02 14:32:00') WHERE curve_id = …
-- A revision of a snapshot of before that time counts.
CREATE VIEW IF NOT EXISTS {db}.curve_points_asof{suffix} AS
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
    FROM {db}.curve_snapshots_latest{suffix}
    WHERE points != '[]' AND as_of <= {at:DateTime64(6, 'UTC')}
    ORDER BY as_of DESC
    LIMIT 1 BY tenant_id, curve_id, horizon
)
ARRAY JOIN JSONExtract(points,
    'Array(Tuple(contract String, block String, delivery_start String, delivery_end String, price Float64, volume Nullable(Float64), confidence Float64, method String, extrapolated Bool, sources Array(String)))') AS one;

-- The quotes of the newest snapshot of each curve, one row for each. They are the same for every horizon.
CREATE VIEW IF NOT EXISTS {db}.curve_inputs{suffix} AS
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
    FROM {db}.curve_snapshots_latest{suffix}
    WHERE horizon = 'all' AND points != '[]'
    ORDER BY as_of DESC
    LIMIT 1 BY tenant_id, curve_id
)
ARRAY JOIN JSONExtract(inputs,
    'Array(Tuple(contract String, block String, price Float64, curve_price Nullable(Float64), residual Nullable(Float64), state String, implied_by Array(String), source String, known_at Int64))') AS one;
