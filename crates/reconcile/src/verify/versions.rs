//! Tables of versions that follow from many ticks: what their checks have in common.
//!
//! Invariants: the newest version of a row is compared with its ticks. Of all wrong rows a limited number is kept, and each is counted.
//! Failure: what depends on what cannot be known is counted in [`Compared`] and said in a note, never a difference.

use anyhow::Context as _;
use domain::{Decimal, Micros};
use ops::connection::Connection;
use ops::rows::number;
use ops::threads::reading;
use serde::Deserialize;
use service::Names;
use service::writer::TableSpec;
use stores::ClickHouse;

use super::bars_sql::Expired;
use super::cut::{Arrived, Cut};
use super::gaps::Gaps;
use super::ranges::{self, Range};
use super::report::{Check, Differences, Subject, WrongRow};
use super::tables::named;

/// A tick: feed, partition, offset and index.
pub(super) type Origin = (String, i32, i64, i32);

/// The tick as it is stored.
pub(super) fn place((feed, partition, offset, index): &Origin) -> String {
    format!("{feed}/{partition}/{offset}/{index}")
}

/// A number at scale 8 as text.
pub(super) fn decimal(unscaled: i64) -> String {
    Decimal::from_unscaled(unscaled).map_or_else(|_| format!("{unscaled} at scale 8"), |number| number.to_string())
}

/// The option of a command for this tenant; `own` is that of commands without one.
pub(super) fn tenant_option(tenant: &str, own: &str) -> String {
    match tenant == own {
        true => String::new(),
        false => format!(" --tenant {tenant}"),
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub expected: u64,
    pub found: u64,
    pub wrong: Vec<WrongRow>,
    /// Rows that are missing if their topic has a record of them.
    pub doubtful: Vec<WrongRow>,
    /// Wrong rows that are counted only.
    pub unnamed: u64,
    /// Rows that depend on the clock of the stage.
    pub unknown: u64,
    /// Rows whose ticks, or which themselves, may have expired.
    pub expired: u64,
    /// Rows that have changed since the cut.
    pub moved: u64,
    /// Rows of an earlier definition.
    pub earlier: u64,
    /// Rows of which some numbers are not recomputed.
    pub unpriced: u64,
    /// Rows that say they are known since before their ticks were appended.
    pub early: u64,
    /// Rows that have lost an earlier version, of a table that keeps all.
    pub gone: Differences,
}

impl Compared {
    /// Adds another part; of all wrong rows at most `named` are kept.
    pub(super) fn add(&mut self, mut other: Compared, named: usize) {
        self.expected += other.expected;
        self.found += other.found;
        let room = named.saturating_sub(self.wrong.len());
        let rest = other.wrong.split_off(other.wrong.len().min(room));
        self.unnamed += other.unnamed + rest.len() as u64;
        self.wrong.extend(other.wrong);
        self.doubtful.extend(other.doubtful);
        self.unknown += other.unknown;
        self.expired += other.expired;
        self.moved += other.moved;
        self.earlier += other.earlier;
        self.unpriced += other.unpriced;
        self.early += other.early;
        self.gone.merge(other.gone);
    }
}

/// The checks of a table, and notes on what is not compared.
pub(super) struct Outcome {
    pub checks: Vec<Check>,
    pub notes: Vec<String>,
}

/// A note on rows that are not compared because they have changed during the run.
pub(super) fn moved(rows: &str, count: u64) -> Option<String> {
    let why = "ticks that arrived during the run have changed them";
    (count > 0).then(|| format!("{count} {rows} are not compared: {why}"))
}

/// Notes on what is not compared: numbers of rows with the reason, and names with an accepted gap.
pub(super) fn notes(rows: &str, reasons: [(u64, &str); 3], (names, excused): (&str, &[String])) -> Vec<String> {
    let counted = reasons.into_iter().filter(|(count, _)| *count > 0);
    let mut notes: Vec<String> = counted.map(|(count, why)| format!("{count} {rows}: {why}")).collect();
    if !excused.is_empty() {
        let excused = excused.join(", ");
        notes.push(format!("{names} with an accepted gap are not compared: {excused}"));
    }
    notes
}

/// A table of versions.
pub(super) struct Versions<'a> {
    pub connection: &'a Connection,
    pub clickhouse: &'a ClickHouse,
    /// Accepted gaps.
    pub gaps: &'a Gaps,
    /// How far ticks are compared.
    pub cut: &'a Cut,
    /// Partitions of `enriched_ticks` that have expired rows.
    pub expired: &'a [Expired],
    /// Wrong rows that are named.
    pub named: usize,
    pub spec: &'static TableSpec,
}

impl Versions<'_> {
    pub(super) fn names(&self) -> &Names {
        &self.connection.names
    }

    /// Its name, with the suffix of the generation.
    pub(super) fn name(&self) -> String {
        self.names().table(self.spec.name)
    }

    /// SQL ` AND NOT (…)`: leaves out ticks in accepted gaps of aggregation, and those since the cut.
    pub(super) fn passed(&self) -> String {
        let names = self.names();
        self.gaps.condition(&names.group("aggregation"), &names.enriched) + &self.cut.condition(&names.enriched)
    }

    /// The ticks that have arrived since the cut. Rows that were read before name no others that the log has.
    pub(super) async fn arrived(&self) -> anyhow::Result<Arrived> {
        ranges::arrived(self.connection, self.cut).await
    }

    /// The current ranges of a topic.
    pub(super) async fn ranges(&self, topic: &str) -> anyhow::Result<Vec<Range>> {
        let (bootstrap, topics) = (self.connection.settings.kafka_bootstrap.clone(), [topic.to_owned()]);
        reading(move || ranges::ranges(&bootstrap, &topics)).await
    }

    /// Rows before this time may have lost ticks, of which they use those of the time `back` before them.
    pub(super) fn complete_since(&self, back: Micros) -> Micros {
        let lost_until = self.expired.iter().map(Expired::until).max();
        lost_until.map_or(Micros::MIN, |until| until.saturating_add(back))
    }

    /// Before this time, rows may have expired: only if retention has cut their topic as well.
    pub(super) async fn kept_since(&self) -> anyhow::Result<Micros> {
        let ranges = self.ranges((self.spec.topic)(self.names())).await?;
        if !ranges.iter().any(|range| range.is_cut) {
            return Ok(Micros::MIN);
        }
        let name = self.name();
        let sql = format!("SELECT toString(toUnixTimestamp64Micro(min(ingested_at))) AS oldest FROM {name}");
        let rows = self.clickhouse.query_json(&sql).await;
        let rows = rows.with_context(|| format!("read the oldest row of {name}"))?;
        rows.first().map_or(Ok(Micros::MIN), |row| number(row, "oldest"))
    }

    pub(super) async fn rows<T: for<'d> Deserialize<'d>>(&self, sql: &str) -> anyhow::Result<Vec<T>> {
        let rows = self.clickhouse.query_rows(sql).await;
        rows.with_context(|| format!("compare {} with ticks", self.name()))
    }

    /// The check of the newest versions.
    pub(super) fn newest(&self, compared: Compared, sources: &str) -> Check {
        let mut differences = Differences::default();
        differences.extend(compared.wrong);
        differences.total += compared.unnamed;
        let title = format!("{}: newest versions match their {sources}", self.name());
        Check::new(title, compared.expected, compared.found, differences).about(Subject::Versions(self.spec.name))
    }

    /// The check that a table keeps every version, so that it can be seen what was known when.
    pub(super) fn earlier(&self, gone: Differences, rows: &str) -> Check {
        let title = format!("{}: {rows} that have lost an earlier version", self.name());
        Check::new(title, 0, gone.total, gone).about(Subject::Versions(self.spec.name))
    }

    /// The check that every version has one content; this query names those with more.
    pub(super) async fn contents(&self, conflicting: &str) -> anyhow::Result<Check> {
        let name = self.name();
        let versions = named(self.clickhouse, conflicting, str::to_owned).await;
        let versions = versions.with_context(|| format!("compare versions of {name}"))?;
        let title = format!("{name}: versions with conflicting contents");
        Ok(Check::new(title, 0, versions.total, versions).about(Subject::Positions(self.spec.name)))
    }
}
