-- Ticks arrive in batches of tens of thousands of rows and are merged in the background. A merge of these wide rows costs
-- about as much as their insert, so parts are merged in larger steps: a third less work in total, with slightly more parts
-- (docs/performance.md).
ALTER TABLE {db}.market_ticks{suffix} MODIFY SETTING merge_selector_base = 15;

ALTER TABLE {db}.enriched_ticks{suffix} MODIFY SETTING merge_selector_base = 15;
