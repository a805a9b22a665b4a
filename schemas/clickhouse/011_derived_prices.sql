-- Values of derived series (spreads, heat rates): every version of every time; the highest version is kept. Not partitioned, because rows
-- are replaced only within a partition, and an insert must not span several. The legs are those of the formula, in its order; a series with
-- one leg has no second one, and a value that can no longer be computed lacks the missing leg.
CREATE TABLE IF NOT EXISTS {db}.derived_prices{suffix}
(
    tenant_id         LowCardinality(String),
    series            LowCardinality(String),
    kind              LowCardinality(String),
    timestamp         DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value             Nullable(Decimal(18, 8)) COMMENT 'null: undefined, or no longer computable' CODEC(ZSTD(1)),
    unit              LowCardinality(String),
    first_role        LowCardinality(Nullable(String)),
    first_instrument  LowCardinality(Nullable(String)),
    first_price       Nullable(Decimal(18, 8)) COMMENT 'what the leg contributes to the formula' CODEC(ZSTD(1)),
    first_time        Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    first_age         Nullable(Int64) COMMENT 'microseconds; 0 inside a delivery interval' CODEC(ZSTD(1)),
    first_origin      Nullable(String) COMMENT 'tick_id of the price' CODEC(ZSTD(1)),
    second_role       LowCardinality(Nullable(String)),
    second_instrument LowCardinality(Nullable(String)),
    second_price      Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    second_time       Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    second_age        Nullable(Int64) CODEC(ZSTD(1)),
    second_origin     Nullable(String) CODEC(ZSTD(1)),
    log_clock         DateTime64(6, 'UTC') COMMENT 'of the leg that caused it' CODEC(DoubleDelta, ZSTD(1)),
    version           UInt64 COMMENT 'offset of this leg in its topic',
    revision          Int32 COMMENT 'how often the value was sent before',
    cause             LowCardinality(String) COMMENT 'first, late, correction',
    cause_origin      String COMMENT 'tick_id of the price that caused it' CODEC(ZSTD(1)),
    src_partition     Int32,
    src_offset        Int64 CODEC(Delta, ZSTD(1)),
    ingested_at       DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    INDEX src_offsets src_offset TYPE minmax GRANULARITY 4096
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant_id, series, timestamp)
TTL toDateTime(ingested_at) + INTERVAL 365 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE VIEW IF NOT EXISTS {db}.derived_prices_latest{suffix} AS SELECT * FROM {db}.derived_prices{suffix} FINAL;
