-- Derived prices keep every version, as snapshots of curves do, so that it can be seen what was known when. The version joins the sorting
-- key under a name of its own, because only a new column may join it. Nothing is rewritten: rows of the release before have 0 there, and of
-- these the newest version of a time stays, as before. The same is true for rows that a service of that release still writes.
-- The views come first: no reader may meet several versions of a time.
CREATE OR REPLACE VIEW {db}.derived_prices_latest{suffix} AS
SELECT * EXCEPT (kept_version) FROM {db}.derived_prices{suffix}
ORDER BY version DESC, src_offset DESC LIMIT 1 BY tenant_id, series, timestamp;

-- The values as they were known at a time of the log's clock, in UTC: each from prices that were appended by then, and from no later one.
-- SELECT … FROM derived_prices_asof(at = '2026-10-02 14:32:00') WHERE series = …
CREATE VIEW IF NOT EXISTS {db}.derived_prices_asof{suffix} AS
SELECT * EXCEPT (kept_version) FROM {db}.derived_prices{suffix}
WHERE log_clock <= {at:DateTime64(6, 'UTC')}
ORDER BY version DESC, src_offset DESC LIMIT 1 BY tenant_id, series, timestamp;

ALTER TABLE {db}.derived_prices{suffix}
    ADD COLUMN IF NOT EXISTS kept_version UInt64 COMMENT 'version; 0: of an earlier release, which kept the newest one' CODEC(Delta, ZSTD(1)) AFTER version,
    COMMENT COLUMN log_clock 'since when the value is known: the largest log clock that the series had read',
    MODIFY ORDER BY (tenant_id, series, timestamp, kept_version);
