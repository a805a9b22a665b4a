//! A time range of the raw log, processed again.
//!
//! Role: nothing of the raw log is published again: a tick that was counted would count twice. What can be missing of a range is what
//! became a dead letter (replayed, each letter once), and what a store has lost (repaired). This composes both.
//! Failure: that of either part; what was done before stays, and the command can be run again.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use domain::Micros;
use normalization::stages::normalize;
use ops::connection::Connection;
use ops::dead_letters::Wanted;
use ops::dead_letters::replay::{Orders as ReplayOrders, Report as Replayed, run as replay};
use ops::pause::held_tenants;
use ops::progress::Progress;
use ops::threads::reading;
use serde::Serialize;

use crate::repair::{Orders as RepairOrders, report::Report as Repaired, run as repair};

/// Letters that one run replays.
const LETTERS: usize = 100_000;
/// Letters that were tried this often are not tried again.
const ATTEMPTS: u32 = 5;

/// Which part of the pipeline processes the range again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Normalization reads the rejected messages again.
    Normalize,
    /// The stores get the rows that they have lost.
    Store,
    /// Both.
    All,
}

/// What to process again.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Messages that were appended at or after this time.
    pub from: Micros,
    /// Messages that were appended before this time.
    pub to: Option<Micros>,
    /// By which stage.
    pub stage: Stage,
    /// Only report.
    pub dry_run: bool,
    /// The repair of the stores.
    pub repair: RepairOrders,
}

/// The outcome.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Dead letters; `None` if they were not asked for.
    pub letters: Option<Replayed>,
    /// Stores; `None` if they were not asked for.
    pub stores: Option<Repaired>,
}

impl Report {
    /// Whether nothing is left.
    pub fn is_ok(&self) -> bool {
        let letters = self.letters.as_ref();
        let is_replayed = letters.is_none_or(|letters| letters.kept.is_empty() && letters.left == 0);
        is_replayed && self.stores.as_ref().is_none_or(Repaired::is_ok)
    }
}

/// Replays the dead letters of the range, then repairs the stores: the replays are in the comparison.
///
/// # Errors
/// A server does not answer.
pub async fn run(connection: &Connection, orders: &Orders) -> anyhow::Result<Report> {
    let letters = match orders.stage {
        Stage::Store => None,
        Stage::Normalize | Stage::All => Some(letters(connection, orders).await?),
    };
    let stores = match orders.stage {
        Stage::Normalize => None,
        Stage::Store | Stage::All => Some(repair(connection, &orders.repair).await?),
    };
    Ok(Report {
        dry_run: orders.dry_run,
        letters,
        stores,
    })
}

/// The letters of the range: a message is rejected within seconds of its append time, and later while normalization was stopped.
fn replay_orders(orders: &Orders, paused_tenants: BTreeSet<String>) -> ReplayOrders {
    ReplayOrders {
        wanted: Wanted {
            code: None,
            stage: Some(normalize::NAME.to_owned()),
            market: None,
            tenant: None,
            since: Some(orders.from),
            until: orders.to,
            closed: false,
        },
        offsets: Vec::new(),
        limit: LETTERS,
        max_attempts: ATTEMPTS,
        paused_tenants,
        dry_run: orders.dry_run,
    }
}

async fn letters(connection: &Connection, orders: &Orders) -> anyhow::Result<Replayed> {
    let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    // Without the right to read the orders, what is still held comes back as a letter.
    let orders = replay_orders(orders, held_tenants(connection).await.unwrap_or_default());
    reading(move || {
        let mut progress = Progress::new("replaying", 0, "letters");
        // Letters and markers are written together, so that an interrupted run needs no end of its own.
        let goes_on = AtomicBool::new(false);
        let report = replay(&bootstrap, &names.dlq, &names.raw, &orders, &goes_on, |done, total| {
            progress.set_total(total as u64);
            progress.set(done as u64, "");
        });
        progress.finish();
        report
    })
    .await
    .context("replay the dead letters (`dp dlq replay`)")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::repair::plan::Stores;

    fn orders(stage: Stage) -> Orders {
        Orders {
            from: 10,
            to: Some(20),
            stage,
            dry_run: true,
            repair: RepairOrders {
                stores: Stores::ALL,
                from: Some(10),
                to: Some(20),
                repair: false,
                wait: Duration::from_secs(1),
            },
        }
    }

    #[test]
    fn only_messages_that_normalization_rejected_in_the_range_are_replayed() {
        let replay = replay_orders(&orders(Stage::All), BTreeSet::new());
        assert_eq!((replay.wanted.since, replay.wanted.until), (Some(10), Some(20)));
        assert_eq!(replay.wanted.stage.as_deref(), Some("normalize"));
        assert!(replay.dry_run && replay.offsets.is_empty());
    }

    #[test]
    fn a_report_is_right_if_nothing_is_left_in_the_parts_that_were_asked_for() {
        let report = |letters, stores| Report {
            dry_run: false,
            letters,
            stores,
        };
        assert!(report(None, None).is_ok());
        let some_left = Replayed {
            left: 1,
            ..Replayed::default()
        };
        assert!(!report(Some(some_left), None).is_ok());
        assert!(
            !report(Some(Replayed::default()), Some(Repaired::default())).is_ok(),
            "it has no verdict"
        );
    }
}
