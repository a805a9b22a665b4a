-- Which writer owns a partition, where it continues, and the topics that the tables were written from.
-- {db} is the database, {suffix} the generation; these tables serve every generation, whose topics differ by name.

CREATE DATABASE IF NOT EXISTS {db};

CREATE TABLE IF NOT EXISTS {db}.schema_migrations
(
    version    UInt32,
    name       String,
    suffix     String,
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (version, suffix)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- One row per claim; the owner of (topic, partition) is argMax(writer, (epoch, writer)).
CREATE TABLE IF NOT EXISTS {db}.writer_fence
(
    topic      String,
    partition  Int32,
    epoch      UInt64,
    writer     UUID,
    claimed_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (topic, partition, epoch)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Positions that outlive the rows they came from, so they do not expire.
CREATE TABLE IF NOT EXISTS {db}.writer_floor
(
    topic       String,
    partition   Int32,
    epoch       UInt64,
    writer      UUID,
    next_offset Int64,
    sequencer   Array(Tuple(feed String, raw_partition Int32, raw_offset Int64, raw_index Int32)),
    saved_at    DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (topic, partition, next_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Ids of the topics at their first use: a topic that is deleted and created again is rejected.
CREATE TABLE IF NOT EXISTS {db}.writer_topics
(
    topic    String,
    topic_id String,
    seen_at  DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY topic
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
