//! Merges of a table that somebody has stopped and forgotten: parts pile up, and ClickHouse itself delays each insert.
//!
//! Role: with its defaults the server delays inserts from 1,000 parts on, which takes a quarter of an hour. The limits of the table are
//! lowered, so that it takes seconds.
//! Failure: a statement that the server refuses is an error with its answer.

use crate::Pipeline;

/// Parts of a partition from which inserts are delayed. Merges keep it below this.
const PARTS: u32 = 10;
/// Shorter than the time-out of a writer, longer than what counts as slow.
const DELAY_MS: u32 = 9_000;
/// Not shorter than that.
const LONGEST_S: u32 = 10;

/// The table whose limits were lowered.
pub(super) struct SlowInserts(&'static str);

impl SlowInserts {
    /// Lowers the limits and stops the merges.
    pub(super) fn begin(pipeline: &Pipeline, table: &'static str) -> anyhow::Result<SlowInserts> {
        pipeline.clickhouse.run(&format!(
            "ALTER TABLE {table} MODIFY SETTING parts_to_delay_insert = {PARTS}, max_delay_to_insert = {LONGEST_S}, \
             min_delay_to_insert_ms = {DELAY_MS}"
        ))?;
        pipeline
            .clickhouse
            .run(&format!("SYSTEM STOP MERGES market_data.{table}"))?;
        Ok(SlowInserts(table))
    }

    /// The limits as they were.
    pub(super) fn end(self, pipeline: &Pipeline) -> anyhow::Result<()> {
        let sql = format!(
            "ALTER TABLE {} RESET SETTING parts_to_delay_insert, max_delay_to_insert, min_delay_to_insert_ms",
            self.0
        );
        pipeline.clickhouse.run(&sql).map(drop)
    }
}
