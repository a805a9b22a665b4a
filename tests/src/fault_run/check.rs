//! One complete check while no messages are in flight: `dp verify`, the oracle, and the ledger of the load.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use testkit::check::{self, Comparison};
use testkit::expect::Follower;
use testkit::kafka;
use testkit::parse::Parser;

use super::report::Check;
use crate::{Pipeline, RAW, judges};

/// Maximum number of differences from `dp verify` that a check keeps.
const KEPT: usize = 12;

/// Reads the raw log incrementally, from check to check.
pub(crate) struct Judge {
    parser: Parser,
    follower: Follower,
    positions: BTreeMap<i32, i64>,
    disk_limit_mb: u64,
}

impl Judge {
    pub(crate) fn new(disk_limit_mb: u64) -> anyhow::Result<Judge> {
        Ok(Judge {
            parser: judges::parser()?,
            follower: Follower::default(),
            positions: BTreeMap::new(),
            disk_limit_mb,
        })
    }

    /// Waits until no messages are in flight, then compares. `published` is the number of ticks reported by the load.
    pub(crate) fn check(
        &mut self,
        pipeline: &Pipeline,
        after_kills: u32,
        published: Option<u64>,
    ) -> anyhow::Result<Check> {
        let begun = Instant::now();
        let verified = pipeline.verify()?;
        let (follower, parser) = (&mut self.follower, &self.parser);
        kafka::read_on(&pipeline.bootstrap(), RAW, &mut self.positions, |record| {
            follower.follow(&record, parser)
        })?;
        let expected = &self.follower.expected;
        let mut check = Check {
            after_kills,
            ticks: expected.ticks.len() as u64,
            documents: expected.documents,
            rejected_rows: expected.rejected_rows,
            corrections: expected.corrections(),
            quotes: expected.quotes(),
            published,
            dp_verify_ok: verified.code == 0,
            ..Check::default()
        };
        if let Some(published) = published.filter(|published| *published != check.ticks) {
            let log = check.ticks;
            check
                .findings
                .push(format!("published {published} ticks, but the raw log contains {log}"));
        }
        for difference in verified.differences().into_iter().take(KEPT) {
            check.findings.push(format!("dp verify: {difference}"));
        }
        if verified.code != 0 {
            check
                .findings
                .push(format!("dp verify: failed checks {:?}", verified.failed()));
        }
        for comparison in pipeline.compared_with(expected)? {
            count(&mut check, &comparison);
        }
        check.disk_mb = size_mb(&pipeline.stack().config().dir);
        check.seconds = begun.elapsed().as_secs_f64();
        if check.disk_mb > self.disk_limit_mb {
            bail!(
                "the folder of the stack has {} MB, the limit is {} MB (--disk-limit-mb)",
                check.disk_mb,
                self.disk_limit_mb
            );
        }
        Ok(check)
    }
}

fn count(check: &mut Check, comparison: &Comparison) {
    let (lost, doubled, wrong) = (
        comparison.lost.len() as u64,
        comparison.doubled.len() as u64,
        comparison.wrong.len() as u64,
    );
    check.lost += lost;
    check.doubled += doubled;
    match comparison.name.as_str() {
        check::BARS => check.bars = comparison.found as u64,
        check::LATE => check.late_ticks = comparison.found as u64,
        check::DERIVED => check.derived = comparison.found as u64,
        check::CURVES => check.snapshots = comparison.found as u64,
        _ => {}
    }
    if comparison.name == check::BARS {
        check.wrong_bars += wrong;
    } else {
        check.wrong += wrong;
    }
    if !comparison.is_ok() {
        check.findings.push(comparison.to_string());
    }
}

/// Megabytes of the files below a folder.
pub(crate) fn size_mb(folder: &Path) -> u64 {
    fn bytes(folder: &Path) -> u64 {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(about) if about.is_dir() => bytes(&entry.path()),
                // Allocated blocks instead of file sizes, because Kafka's indexes are sparse.
                Ok(about) => std::os::unix::fs::MetadataExt::blocks(&about) * 512,
                Err(_) => 0,
            })
            .sum()
    }
    bytes(folder) >> 20
}
