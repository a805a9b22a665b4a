-- Runs once, when the volume is empty. The statistics of statements need the preloaded library (docker-compose.yml).
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
