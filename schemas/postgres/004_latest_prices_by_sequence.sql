-- The producer's sequence decides between two ticks of one event time (NULL sorts before every number). Rows stored before
-- say nothing of theirs; the next tick of the instrument does.
ALTER TABLE served_latest_prices ADD COLUMN sequence bigint;
