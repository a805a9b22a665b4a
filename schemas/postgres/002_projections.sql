-- Data served to readers, with the position that it came from: rows and position change in one transaction.
-- Parallel generations share these tables.

-- The newest price of each instrument by (event time, origin). The feed compares by bytes, as in every other store.
CREATE TABLE IF NOT EXISTS served_latest_prices (
    generation    text NOT NULL,
    tenant_id     text NOT NULL,
    instrument_id text NOT NULL,
    price         numeric(18,8) NOT NULL,
    volume        numeric(18,8),
    event_time    timestamptz NOT NULL,
    feed          text COLLATE "C" NOT NULL,
    raw_partition integer NOT NULL,
    raw_offset    bigint NOT NULL,
    raw_index     integer NOT NULL,
    src_partition integer NOT NULL,
    market        text NOT NULL,
    product       text NOT NULL,
    currency      text NOT NULL,
    unit          text NOT NULL,
    quality_flags text[] NOT NULL,
    appended_at   timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, tenant_id, instrument_id)
);

CREATE INDEX IF NOT EXISTS served_latest_prices_by_partition ON served_latest_prices (generation, src_partition);

CREATE TABLE IF NOT EXISTS projection_positions (
    projection  text NOT NULL,
    generation  text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    sequencer   jsonb NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation, topic, partition)
);

-- Ids of the topics at their first use: a topic that is deleted and created again is rejected.
CREATE TABLE IF NOT EXISTS projection_topics (
    topic    text PRIMARY KEY,
    topic_id text NOT NULL,
    seen_at  timestamptz NOT NULL DEFAULT now()
);
