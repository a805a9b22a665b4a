-- Finished runs of `dp verify`; projection shows the last ones as metrics. Runs of the last 90 days are kept.
CREATE TABLE IF NOT EXISTS verify_runs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generation    text NOT NULL,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz NOT NULL,
    -- ok, differs, undecided (ticks were in flight), could_not_run
    result        text NOT NULL,
    differences   bigint NOT NULL,
    failed_checks text[] NOT NULL
);

CREATE INDEX IF NOT EXISTS verify_runs_by_time ON verify_runs (generation, finished_at);
