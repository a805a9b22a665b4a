-- "Where did the writer stop" is asked from the last floor on (`writer_floor`), so it reads what was written since then
-- and needs no projection of its own: that was another set of files in every part, and a merge that ran out of disk
-- could leave it broken. The index names the parts that hold anything newer than a floor; parts from before this file
-- have none, and are read.
ALTER TABLE {db}.market_ticks{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;

ALTER TABLE {db}.enriched_ticks{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;

ALTER TABLE {db}.bars{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;

ALTER TABLE {db}.late_ticks{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;
