-- A rebuild writes a second copy of a projection beside the served one, and replaces one partition after the other. The epoch counts
-- replacements: a writer that has the earlier rows in memory gets a conflict.
ALTER TABLE projection_positions ADD COLUMN IF NOT EXISTS epoch bigint NOT NULL DEFAULT 0;

-- The rebuild of each projection: the one that is under way, else the last one.
CREATE TABLE IF NOT EXISTS projection_rebuilds (
    projection  text NOT NULL,
    generation  text NOT NULL,
    -- full, since TIME, or from TOPIC PARTITION OFFSET INDEX
    strategy    text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    -- Of the last step.
    updated_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    -- Partitions that serve the new rows.
    swapped     integer[] NOT NULL DEFAULT '{}',
    -- Events that were read.
    events      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (projection, generation)
);
