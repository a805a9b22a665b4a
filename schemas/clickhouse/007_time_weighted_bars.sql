-- Averages of the prices of delivery intervals, weighted by their length. Bars that an earlier release wrote have none. `flags` say
-- what a reader must know; they follow from the other columns. The views list their columns, so they are made again.
ALTER TABLE {db}.bars{suffix}
    ADD COLUMN IF NOT EXISTS twap Nullable(Decimal(18, 8)) COMMENT 'average of interval prices by time' CODEC(ZSTD(1)) AFTER vwap,
    ADD COLUMN IF NOT EXISTS price_seconds Decimal(38, 8) COMMENT 'sum of price x seconds of delivery' CODEC(ZSTD(1)) AFTER twap,
    ADD COLUMN IF NOT EXISTS priced_seconds Int64 COMMENT 'seconds of delivery whose price is counted' CODEC(ZSTD(1)) AFTER price_seconds,
    ADD COLUMN IF NOT EXISTS flags Array(String) ALIAS arrayFilter((name, is) -> is,
        ['complete', 'partial_start', 'gap', 'revised', 'no_volume'],
        [priced_seconds > 0 AND priced_seconds >= dateDiff('second', window_start, window_end),
         priced_seconds > 0 AND open_time > window_start,
         priced_seconds > 0 AND closed AND priced_seconds < dateDiff('second', open_time, window_end),
         revision > 0, volume = 0]);

CREATE OR REPLACE VIEW {db}.bars_latest{suffix} AS SELECT *, flags FROM {db}.bars{suffix} FINAL;

CREATE OR REPLACE VIEW {db}.bars_5m{suffix} AS SELECT *, flags FROM {db}.bars{suffix} FINAL WHERE interval = '5m';

CREATE OR REPLACE VIEW {db}.bars_1h{suffix} AS SELECT *, flags FROM {db}.bars{suffix} FINAL WHERE interval = '1h';

CREATE OR REPLACE VIEW {db}.bars_1d{suffix} AS SELECT *, flags FROM {db}.bars{suffix} FINAL WHERE interval = '1d';
