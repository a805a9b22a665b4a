//! Writes rows again that were lost in a store, from the records of the log: `dp reconcile`.
//!
//! ```text
//! compare (verify) ─▶ findings ─▶ plan ─▶ ticks ─▶ compare ─▶ rows with versions, prices ─▶ compare ─▶ copies ─▶ compare ─▶ report
//! ```
//! Role: [`plan()`] decides from the comparison of [`crate::verify`]; the steps only carry it out. A row of ClickHouse is made
//! from its record by the encoder of the table's writer ([`table`]): one row for each record ([`rows`]), or the versions that the table keeps
//! ([`versions`]). A price is written by the rebuild of its projection ([`prices`]).
//! Invariants: nothing is invented: a row whose record the log no longer holds is named and left. A repair that runs twice, or is
//! killed, changes nothing more. It may run while the pipeline runs: only rows up to the cut of the comparison are written, each insert is
//! made under an own claim (INV-8), and positions are never stored.
//! Failure: a server that does not answer is an error, and what was written stays. What cannot be repaired is in the report.

pub mod choice;
pub mod findings;
pub mod plan;
pub mod prices;
pub mod report;
mod rows;
mod table;
pub mod text;
mod versioned;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use domain::Micros;
use ops::connection::Connection;
use ops::migrations::{Stores as Clients, stores};
use ops::progress::waiting;
use ops::threads::reading;
use stream::StreamError;
use stream::kafka::reader::LogReader;

use crate::tick_id::Period;
use crate::verify::cut::Cut;
use crate::verify::{self, Depth, VerifyOptions, VerifyReport};
use findings::Findings;
use plan::{Left, Plan, Stage, Step, Stores, plan};
use report::{Reasons, Report, parts, resuming};

/// How often a stage runs: what the first run leaves may be found by the second.
const RUNS: u32 = 3;

/// What is compared, and whether it is repaired.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Stores that are reported and repaired. All are compared, since prices and bars follow from ticks.
    pub stores: Stores,
    /// Only rows of raw messages that were appended at or after this time.
    pub from: Option<Micros>,
    /// Only rows of raw messages that were appended before this time.
    pub to: Option<Micros>,
    /// Whether to write.
    pub repair: bool,
    /// How long a comparison waits until what it compares is in the stores.
    pub wait: Duration,
}

/// Compares, repairs if ordered, and compares again.
///
/// # Errors
/// A server does not answer, a topic or table is missing, or a store refuses a row.
pub async fn run(connection: &Connection, orders: &Orders) -> anyhow::Result<Report> {
    let clients = stores(connection)?;
    let period = period(connection, orders).await?;
    let mut repair = Repair {
        connection,
        orders,
        clients,
        period,
        cut: Cut::default(),
        reasons: Reasons::new(),
        report: Report {
            repair: orders.repair,
            ..Report::default()
        },
    };
    let mut found = repair.compare().await?;
    repair.report.found = parts(&found, orders.stores);
    let mut runs: BTreeMap<Stage, u32> = BTreeMap::new();
    loop {
        let plan = plan(&found, orders.stores);
        let Some(stage) = next(&plan, &runs) else {
            repair.report.left = left(plan, &found, orders, &repair.reasons);
            if orders.repair {
                repair.report.notes.extend(resuming(&repair.report.written));
            }
            return Ok(repair.report);
        };
        let written = repair.carry_out(&plan, stage, found.arrives).await?;
        if orders.repair && written > 0 {
            *runs.entry(stage).or_default() += 1;
            found = repair.compare().await?;
        } else {
            runs.insert(stage, RUNS);
        }
    }
}

/// The first stage of the plan that may still run.
fn next(plan: &Plan, runs: &BTreeMap<Stage, u32>) -> Option<Stage> {
    let stages = plan.steps.iter().map(Step::stage);
    stages
        .filter(|stage| runs.get(stage).is_none_or(|runs| *runs < RUNS))
        .min()
}

/// What is still wrong: what the plan leaves, and what its steps did not repair. Without a repair, only what cannot be repaired.
fn left(plan: Plan, found: &Findings, orders: &Orders, reasons: &Reasons) -> Vec<Left> {
    let mut left = plan.left;
    for step in &plan.steps {
        let (place, rows): (&str, Vec<&verify::WrongRow>) = match step {
            Step::Rows { table, .. } => (
                table,
                found
                    .tables
                    .get(table)
                    .map_or_else(Vec::new, |of| of.repairable().collect()),
            ),
            Step::Versions { table, rows } => (table, rows.iter().collect()),
            Step::Prices(prices) => ("PostgreSQL", prices.iter().collect()),
            Step::Copies { .. } => ("Redis", found.redis.iter().collect()),
        };
        for row in rows {
            let reason = reasons.get(&row.text).or_else(|| reasons.get(&row.origin));
            let why = match (reason, orders.repair) {
                (Some(reason), _) => reason.clone(),
                (None, true) => "it was not written, or was lost again: run the repair again".to_owned(),
                (None, false) => continue,
            };
            left.push(Left {
                place: place.to_owned(),
                row: row.text.clone(),
                why,
            });
        }
    }
    left.sort();
    left.dedup();
    left
}

/// A run of `dp reconcile`.
struct Repair<'a> {
    connection: &'a Connection,
    orders: &'a Orders,
    clients: Clients,
    period: Period,
    /// Of the last comparison.
    cut: Cut,
    reasons: Reasons,
    report: Report,
}

impl Repair<'_> {
    async fn compare(&mut self) -> anyhow::Result<Findings> {
        let options = VerifyOptions {
            wait: self.orders.wait,
            depth: Depth::REPAIRED,
        };
        let compared = verify::run(self.connection, &options);
        let report = waiting("comparing the stores with the raw log", compared).await?;
        self.remember(&report);
        Ok(Findings::of(&report, &self.period))
    }

    fn remember(&mut self, report: &VerifyReport) {
        self.cut = report.cut.clone();
        self.report.settled = report.settled;
        for note in &report.notes {
            if !self.report.notes.contains(note) {
                self.report.notes.push(note.clone());
            }
        }
    }

    /// Carries out one stage of the plan; returns how many rows it wrote, or would write.
    async fn carry_out(&mut self, plan: &Plan, stage: Stage, arrives: bool) -> anyhow::Result<u64> {
        let mut all = 0;
        for step in plan.steps.iter().filter(|step| step.stage() == stage) {
            let (place, written) = self.step(step, arrives).await?;
            self.report.wrote(place, written);
            all += written;
        }
        Ok(all)
    }

    async fn step(&mut self, step: &Step, arrives: bool) -> anyhow::Result<(&'static str, u64)> {
        let (connection, writes) = (self.connection, self.orders.repair);
        let (clickhouse, reasons, notes) = (&self.clients.clickhouse, &mut self.reasons, &mut self.report.notes);
        Ok(match step {
            Step::Rows { table, rows, .. } if !writes => (table, *rows),
            Step::Rows { table, blocks, .. } => {
                let chosen = rows::Chosen {
                    table,
                    blocks,
                    period: &self.period,
                    cut: &self.cut,
                    arrives,
                };
                let written = rows::ticks(connection, clickhouse, chosen, reasons).await;
                (table, written.with_context(|| format!("repair {table}"))?)
            }
            Step::Versions { table, rows } => {
                let lost = versions::Lost { table, rows, arrives };
                let written = versions::versions(connection, clickhouse, lost, writes, reasons).await;
                (table, written.with_context(|| format!("repair {table}"))?)
            }
            Step::Prices(prices) => (
                "PostgreSQL",
                prices::prices(connection, &self.clients, prices, writes, reasons, notes).await?,
            ),
            Step::Copies { refresh, replace } => (
                "Redis",
                prices::copies(connection, (refresh, replace), writes, notes)
                    .await
                    .context("repair the copies in Redis")?,
            ),
        })
    }
}

/// The chosen period as offsets of the raw topics, whose times are those of the broker.
async fn period(connection: &Connection, orders: &Orders) -> anyhow::Result<Period> {
    if orders.from.is_none() && orders.to.is_none() {
        return Ok(Period::everything());
    }
    let (bootstrap, feeds) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let (from, to) = (orders.from, orders.to);
    reading(move || {
        let reader = LogReader::new(&bootstrap)?;
        let mut ranges = Vec::new();
        for feed in &feeds {
            for partition in reader.partitions(feed)? {
                let at = |time: Option<Micros>, open: i64| -> Result<i64, StreamError> {
                    match time {
                        // No message was appended at or after the time.
                        Some(time) => Ok(reader.offset_at(&partition, time)?.unwrap_or(i64::MAX)),
                        None => Ok(open),
                    }
                };
                ranges.push(((feed.clone(), partition.number), (at(from, 0)?, at(to, i64::MAX)?)));
            }
        }
        Ok(Period::of(ranges))
    })
    .await
    .context("find the offsets of --from and --to")
}

#[cfg(test)]
mod tests {
    use super::findings::OfVersions;
    use super::findings::tests::row;
    use super::*;
    use crate::verify::Wrong;

    fn orders(repair: bool) -> Orders {
        Orders {
            stores: Stores::ALL,
            from: None,
            to: None,
            repair,
            wait: Duration::from_secs(1),
        }
    }

    #[test]
    fn stages_run_in_order_and_each_only_so_often() {
        let plan = Plan {
            steps: vec![
                Step::Copies {
                    refresh: Vec::new(),
                    replace: Vec::new(),
                },
                Step::Versions {
                    table: "bars",
                    rows: Vec::new(),
                },
            ],
            left: Vec::new(),
        };
        assert_eq!(next(&plan, &BTreeMap::new()), Some(Stage::Results));
        assert_eq!(next(&plan, &[(Stage::Results, RUNS - 1)].into()), Some(Stage::Results));
        assert_eq!(next(&plan, &[(Stage::Results, RUNS)].into()), Some(Stage::Copies));
        assert_eq!(
            next(&plan, &[(Stage::Results, RUNS), (Stage::Copies, RUNS)].into()),
            None
        );
    }

    #[test]
    fn a_row_that_a_step_did_not_repair_is_left_with_its_reason() {
        let bar = row(Wrong::Missing, &["t", "i", "5m", "2026"], "raw/0/1/0");
        let other = row(Wrong::Missing, &["t", "j", "5m", "2026"], "raw/0/2/0");
        let bars = OfVersions {
            rows: vec![bar.clone(), other],
            unseen: 0,
        };
        let found = Findings {
            versions: [("bars", bars)].into(),
            ..Findings::default()
        };
        let reasons: Reasons = [(bar.text.clone(), "the topic no longer holds it".to_owned())].into();
        let all = |repair| left(plan(&found, Stores::ALL), &found, &orders(repair), &reasons);
        let named: Vec<(String, bool)> = all(true)
            .into_iter()
            .map(|left| (left.row, left.why.contains("no longer holds")))
            .collect();
        assert_eq!(
            named,
            [
                ("t/i/5m/2026 Missing".to_owned(), true),
                ("t/j/5m/2026 Missing".to_owned(), false)
            ]
        );
        assert_eq!(all(false).len(), 1, "the other one would be written");
    }
}
