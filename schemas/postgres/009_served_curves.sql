-- The newest curve snapshot and the newest derived price of each name, for readers. Rows and position of a partition change in one
-- transaction (`projection_positions`, projections `curve_snapshot` and `derived_price`). A row is replaced only by one of a later time, or of
-- the same time and a larger version; equal versions have equal content.

CREATE TABLE IF NOT EXISTS served_curve_snapshots (
    generation    text NOT NULL,
    tenant_id     text NOT NULL,
    curve_id      text NOT NULL,
    -- 1m, 3m, 6m, 1y or all.
    horizon       text NOT NULL,
    as_of         timestamptz NOT NULL,
    version       bigint NOT NULL,
    -- Partition of aggregation.curves.v1.
    src_partition integer NOT NULL,
    -- As GET /curves/snapshots returns it: points, inputs, method, definition, origin, …
    snapshot      json NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, tenant_id, curve_id, horizon)
);

CREATE INDEX IF NOT EXISTS served_curve_snapshots_by_partition ON served_curve_snapshots (generation, src_partition);

-- The order in which a tenant's snapshots are listed.
CREATE INDEX IF NOT EXISTS served_curve_snapshots_by_time ON served_curve_snapshots (generation, tenant_id, as_of DESC, curve_id, horizon);

CREATE TABLE IF NOT EXISTS served_derived_prices (
    generation    text NOT NULL,
    tenant_id     text NOT NULL,
    series        text NOT NULL,
    event_time    timestamptz NOT NULL,
    version       bigint NOT NULL,
    -- Partition of aggregation.derived.v1.
    src_partition integer NOT NULL,
    -- Kind, value, unit, legs, revision, cause, …; a value of null is undefined for these prices, or no longer computable.
    price         json NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, tenant_id, series)
);

CREATE INDEX IF NOT EXISTS served_derived_prices_by_partition ON served_derived_prices (generation, src_partition);
