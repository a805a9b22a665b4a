-- The position of a writer is read from the last floor on (`writer_floor`), so the query reads only rows written since then
-- and needs no projection. The projection added files to every part, and a merge that ran out of disk could leave it broken.
-- The index selects the parts with rows newer than a floor; parts written before this migration have no index and are read.
ALTER TABLE {db}.market_ticks{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;

ALTER TABLE {db}.enriched_ticks{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;

ALTER TABLE {db}.bars{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;

ALTER TABLE {db}.late_ticks{suffix} DROP PROJECTION IF EXISTS pos, ADD INDEX IF NOT EXISTS src_offsets src_offset TYPE minmax GRANULARITY 4096;
