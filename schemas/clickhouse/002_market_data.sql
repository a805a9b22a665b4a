-- Ticks, bars and late ticks. Rows come only from the writers: one atomic insert into one table partition per batch, so
-- `count()` without FINAL is exact (INV-6). Partitioning and expiry use the ingestion time, since documents may be years old.
-- The projection `pos` is dropped by 004_positions.

-- Normalized ticks.
CREATE TABLE IF NOT EXISTS {db}.market_ticks{suffix}
(
    tenant_id       LowCardinality(String),
    instrument_id   LowCardinality(String),
    timestamp       DateTime64(6, 'UTC') COMMENT 'event time' CODEC(DoubleDelta, ZSTD(1)),
    market          LowCardinality(String),
    product         LowCardinality(String),
    kind            Enum8('trade' = 1, 'interval' = 2),
    price           Decimal(18, 8) CODEC(ZSTD(1)),
    volume          Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    bid             Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    ask             Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    energy          Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    congestion      Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    loss            Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    ghg             Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    currency        LowCardinality(String),
    unit            LowCardinality(String),
    symbol          LowCardinality(Nullable(String)),
    node            LowCardinality(Nullable(String)),
    zone            LowCardinality(Nullable(String)),
    hub             LowCardinality(Nullable(String)),
    market_status   LowCardinality(Nullable(String)),
    version         LowCardinality(Nullable(String)) COMMENT 'version or vintage of a restated price',
    interval_end    Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    quality_flags   Array(LowCardinality(String)),
    source_system   LowCardinality(String),
    sequence        Nullable(Int64) CODEC(ZSTD(1)),
    source_event_id String CODEC(ZSTD(1)),
    correlation_id  String CODEC(ZSTD(1)),
    causation_id    Nullable(String) CODEC(ZSTD(1)),
    feed            LowCardinality(String) COMMENT 'raw topic',
    raw_partition   Int32,
    raw_offset      Int64 CODEC(Delta, ZSTD(1)),
    raw_index       Int32,
    src_partition   Int32 COMMENT 'partition of the topic that this table is written from',
    src_offset      Int64 CODEC(Delta, ZSTD(1)),
    appended_at     DateTime64(6, 'UTC') COMMENT 'append time of the raw message' CODEC(DoubleDelta, ZSTD(1)),
    normalized_at   DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    ingested_at     DateTime64(6, 'UTC') COMMENT 'one value per batch' CODEC(DoubleDelta, ZSTD(1)),
    tick_id         String ALIAS concat(feed, '/', toString(raw_partition), '/', toString(raw_offset), '/', toString(raw_index)),
    PROJECTION pos
    (
        SELECT src_partition, feed, raw_partition, max(src_offset), max((raw_offset, raw_index))
        GROUP BY src_partition, feed, raw_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(ingested_at)
ORDER BY (tenant_id, instrument_id, timestamp)
TTL toDateTime(ingested_at) + INTERVAL 365 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1,
         lightweight_mutation_projection_mode = 'rebuild';

-- Ticks with reference data.
CREATE TABLE IF NOT EXISTS {db}.enriched_ticks{suffix}
(
    tenant_id       LowCardinality(String),
    instrument_id   LowCardinality(String),
    timestamp       DateTime64(6, 'UTC') COMMENT 'event time' CODEC(DoubleDelta, ZSTD(1)),
    market          LowCardinality(String),
    product         LowCardinality(String),
    kind            Enum8('trade' = 1, 'interval' = 2),
    price           Decimal(18, 8) CODEC(ZSTD(1)),
    volume          Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    bid             Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    ask             Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    energy          Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    congestion      Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    loss            Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    ghg             Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    currency        LowCardinality(String),
    unit            LowCardinality(String),
    symbol          LowCardinality(Nullable(String)),
    node            LowCardinality(Nullable(String)),
    zone            LowCardinality(Nullable(String)),
    hub             LowCardinality(Nullable(String)),
    market_status   LowCardinality(Nullable(String)),
    version         LowCardinality(Nullable(String)) COMMENT 'version or vintage of a restated price',
    interval_end    Nullable(DateTime64(6, 'UTC')) CODEC(ZSTD(1)),
    quality_flags   Array(LowCardinality(String)),
    source_system   LowCardinality(String),
    sequence        Nullable(Int64) CODEC(ZSTD(1)),
    source_event_id String CODEC(ZSTD(1)),
    correlation_id  String CODEC(ZSTD(1)),
    causation_id    Nullable(String) CODEC(ZSTD(1)),
    commodity       LowCardinality(String),
    region          LowCardinality(String),
    product_tier    LowCardinality(String),
    instrument_unit LowCardinality(Nullable(String)) COMMENT 'unit of the instrument row',
    contract_size   Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    tick_size       Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    curve_id        LowCardinality(Nullable(String)),
    classification_confidence     Decimal(3, 2),
    classification_method         Enum8('database' = 1, 'rule_based' = 2, 'fallback' = 3),
    low_confidence_classification Bool,
    enriched_at     DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    feed            LowCardinality(String) COMMENT 'raw topic',
    raw_partition   Int32,
    raw_offset      Int64 CODEC(Delta, ZSTD(1)),
    raw_index       Int32,
    src_partition   Int32 COMMENT 'partition of the topic that this table is written from',
    src_offset      Int64 CODEC(Delta, ZSTD(1)),
    appended_at     DateTime64(6, 'UTC') COMMENT 'append time of the raw message' CODEC(DoubleDelta, ZSTD(1)),
    normalized_at   DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    ingested_at     DateTime64(6, 'UTC') COMMENT 'one value per batch' CODEC(DoubleDelta, ZSTD(1)),
    tick_id         String ALIAS concat(feed, '/', toString(raw_partition), '/', toString(raw_offset), '/', toString(raw_index)),
    PROJECTION pos
    (
        SELECT src_partition, feed, raw_partition, max(src_offset), max((raw_offset, raw_index))
        GROUP BY src_partition, feed, raw_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(ingested_at)
ORDER BY (tenant_id, instrument_id, timestamp)
TTL toDateTime(ingested_at) + INTERVAL 365 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1,
         lightweight_mutation_projection_mode = 'rebuild';

-- Every version of every bar; the highest version is kept. Not partitioned, because rows are replaced only within a
-- partition, and an insert must not span several.
CREATE TABLE IF NOT EXISTS {db}.bars{suffix}
(
    tenant_id        LowCardinality(String),
    instrument_id    LowCardinality(String),
    interval         LowCardinality(String),
    window_start     DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    window_end       DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    market           LowCardinality(String),
    open             Decimal(18, 8) CODEC(ZSTD(1)),
    high             Decimal(18, 8) CODEC(ZSTD(1)),
    low              Decimal(18, 8) CODEC(ZSTD(1)),
    close            Decimal(18, 8) CODEC(ZSTD(1)),
    volume           Decimal(38, 8) CODEC(ZSTD(1)),
    turnover         Decimal(38, 16) CODEC(ZSTD(1)),
    vwap             Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    trade_count      Int64 CODEC(ZSTD(1)),
    open_time        DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    first_feed       LowCardinality(String),
    first_partition  Int32,
    first_offset     Int64 CODEC(ZSTD(1)),
    first_index      Int32,
    close_time       DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    last_feed        LowCardinality(String),
    last_partition   Int32,
    last_offset      Int64 CODEC(ZSTD(1)),
    last_index       Int32,
    revision         Int32 COMMENT 'ticks applied after the watermark had passed the end of the window',
    closed           Bool,
    version          UInt64 COMMENT 'enriched offset of the last tick applied * 2 + closed',
    last_appended_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    src_partition    Int32,
    src_offset       Int64 CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    PROJECTION pos
    (
        SELECT src_partition, max(src_offset)
        GROUP BY src_partition
    )
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant_id, instrument_id, interval, window_start)
TTL toDateTime(ingested_at) + INTERVAL 365 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
         lightweight_mutation_projection_mode = 'rebuild', deduplicate_merge_projection_mode = 'rebuild';

CREATE VIEW IF NOT EXISTS {db}.bars_latest{suffix} AS SELECT * FROM {db}.bars{suffix} FINAL;

CREATE VIEW IF NOT EXISTS {db}.bars_5m{suffix} AS SELECT * FROM {db}.bars{suffix} FINAL WHERE interval = '5m';

CREATE VIEW IF NOT EXISTS {db}.bars_1h{suffix} AS SELECT * FROM {db}.bars{suffix} FINAL WHERE interval = '1h';

CREATE VIEW IF NOT EXISTS {db}.bars_1d{suffix} AS SELECT * FROM {db}.bars{suffix} FINAL WHERE interval = '1d';

-- Ticks that arrived too late for the windows of `intervals`: those bars do not count them.
CREATE TABLE IF NOT EXISTS {db}.late_ticks{suffix}
(
    tenant_id       LowCardinality(String),
    instrument_id   LowCardinality(String),
    timestamp       DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    price           Decimal(18, 8) CODEC(ZSTD(1)),
    volume          Nullable(Decimal(18, 8)) CODEC(ZSTD(1)),
    intervals       Array(LowCardinality(String)),
    watermark       DateTime64(6, 'UTC') COMMENT 'of the instrument when the tick was read' CODEC(DoubleDelta, ZSTD(1)),
    enriched_offset Int64 CODEC(Delta, ZSTD(1)),
    feed            LowCardinality(String),
    raw_partition   Int32,
    raw_offset      Int64 CODEC(Delta, ZSTD(1)),
    raw_index       Int32,
    src_partition   Int32,
    src_offset      Int64 CODEC(Delta, ZSTD(1)),
    ingested_at     DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    tick_id         String ALIAS concat(feed, '/', toString(raw_partition), '/', toString(raw_offset), '/', toString(raw_index)),
    PROJECTION pos
    (
        SELECT src_partition, feed, raw_partition, max(src_offset), max((raw_offset, raw_index))
        GROUP BY src_partition, feed, raw_partition
    )
)
ENGINE = MergeTree
PARTITION BY toDate(ingested_at)
ORDER BY (tenant_id, instrument_id, timestamp)
TTL toDateTime(ingested_at) + INTERVAL 365 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1,
         lightweight_mutation_projection_mode = 'rebuild';
