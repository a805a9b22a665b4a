-- The producer's sequence decides between two ticks with the same event time (NULL sorts before every number). Existing rows
-- have no sequence until the next tick of the instrument.
ALTER TABLE served_latest_prices ADD COLUMN IF NOT EXISTS sequence bigint;
