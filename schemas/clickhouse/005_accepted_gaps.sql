-- Offsets that an operator has accepted as lost or has skipped (`dp position`). No expiry, or `dp verify` would report them
-- again. One table for all generations, whose groups differ by name. A row may exist twice (a repeated command).
CREATE TABLE IF NOT EXISTS {db}.accepted_gaps
(
    service         String,
    consumer_group  String,
    topic           String,
    topic_id        String,
    partition       Int32,
    from_offset     Int64,
    to_offset       Int64 COMMENT 'the first offset that is read again',
    action          Enum8('accept' = 1, 'skip' = 2),
    reason          String,
    accepted_by     String,
    accepted_at     DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = MergeTree
ORDER BY (topic, partition, from_offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
