//! A table that somebody has filled and forgotten on the disk of ClickHouse.
//!
//! Failure: a statement that the server refuses is an error with its answer.

use anyhow::Context as _;

use crate::Pipeline;

/// Size of the disk in MB. The rest must be enough for the rows of some minutes.
pub(super) const DISK_MB: u32 = 3_000;
/// Below the limit of the alert, with room for the rows that arrive meanwhile.
const LEFT_MB: i128 = DISK_MB as i128 * 4 / 100;
/// One insert, so that the disk is not filled by more than is wanted.
const PART_MB: i128 = 100;

/// Fills the disk. The cure drops the table.
pub(super) fn fill(pipeline: &Pipeline) -> anyhow::Result<()> {
    let clickhouse = &pipeline.clickhouse;
    clickhouse.run("CREATE TABLE scratch (text String) ENGINE = MergeTree ORDER BY tuple()")?;
    // A merge would need the space twice.
    clickhouse.run("SYSTEM STOP MERGES market_data.scratch")?;
    loop {
        let free = clickhouse.number("SELECT intDiv(min(free_space), 1048576) FROM system.disks")?;
        let part = (free - LEFT_MB).min(PART_MB);
        if part <= 0 {
            return Ok(());
        }
        // Random text cannot be compressed.
        let sql = format!("INSERT INTO scratch SELECT randomString(1048576) FROM numbers({part})");
        clickhouse.run(&sql).context("fill the disk of ClickHouse")?;
    }
}
