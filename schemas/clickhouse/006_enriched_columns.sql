-- Writers of this release leave these columns of `enriched_ticks` out: bars and analysts do not need them, and `market_ticks` has
-- them under the same origin. Writers of the release before still fill them, so both may run at once: a column that an insert does
-- not name has the default of its type ('', NULL, 1970-01-01), which no reader of this release reads. The comments say so to people.
-- The next release drops the columns.
ALTER TABLE {db}.enriched_ticks{suffix}
    COMMENT COLUMN IF EXISTS bid 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS ask 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS symbol 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS node 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS zone 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS hub 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS market_status 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS source_system 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS source_event_id 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS correlation_id 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS causation_id 'no longer written, to be dropped: see market_ticks',
    COMMENT COLUMN IF EXISTS normalized_at 'no longer written, to be dropped: see market_ticks';
