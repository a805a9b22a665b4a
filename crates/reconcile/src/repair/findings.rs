//! What a comparison has found, sorted by what could repair it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use service::writer::TableSpec;
use service::writer::tables::ENRICHED_TICKS;

use crate::tick_id::Period;
use crate::verify::blocks::BlockKey;
use crate::verify::{Check, Subject, VerifyReport, Wrong, WrongRow};

/// The wrong rows of a table of ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfTable {
    /// By the raw log.
    pub by_raw_log: Vec<WrongRow>,
    /// By the records of the table's topic.
    pub by_topic: Vec<WrongRow>,
    /// Blocks of offsets of the topic that differ.
    pub blocks: Vec<BlockKey>,
    /// Wrong rows that were only counted.
    pub unseen: u64,
    /// Whether there may be more of those.
    pub at_least: bool,
}

impl OfTable {
    /// The missing rows whose record the topic has.
    pub fn repairable(&self) -> impl Iterator<Item = &WrongRow> {
        self.by_topic.iter().filter(|row| row.wrong == Wrong::Missing)
    }

    /// Each wrong row once.
    pub fn all(&self) -> Vec<&WrongRow> {
        let mut seen = BTreeSet::new();
        let rows = self.by_topic.iter().chain(&self.by_raw_log);
        rows.filter(|row| seen.insert((&row.key, row.wrong))).collect()
    }
}

/// The wrong rows of a table that keeps versions of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfVersions {
    /// Each wrong row once, by what its newest version should be.
    pub rows: Vec<WrongRow>,
    /// Wrong rows beyond those.
    pub unseen: u64,
}

/// A difference without a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// What it is about.
    pub subject: Subject,
    /// The check.
    pub check: String,
    /// How many.
    pub total: u64,
    /// The first ones.
    pub named: Vec<String>,
}

/// Everything that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Tables of ticks.
    pub tables: BTreeMap<&'static str, OfTable>,
    /// Tables that keep versions of their rows.
    pub versions: BTreeMap<&'static str, OfVersions>,
    /// Latest prices in PostgreSQL.
    pub postgres: Vec<WrongRow>,
    /// Latest prices in Redis.
    pub redis: Vec<WrongRow>,
    /// What no row says.
    pub others: Vec<Other>,
    /// The tables that lack rows that can be repaired, of any time: what follows from them cannot be judged.
    pub lacking: BTreeSet<&'static str>,
    /// Whether messages that are compared were in flight: nothing that is missing or other proves that it was lost or changed.
    pub in_flight: bool,
    /// Whether messages are arriving: rows after a writer's position are its own.
    pub arrives: bool,
}

impl Findings {
    /// Those of a comparison, limited to rows of this period.
    pub fn of(report: &VerifyReport, period: &Period) -> Findings {
        let mut findings = Findings {
            in_flight: !report.settled,
            arrives: !report.settled || report.arrived > 0,
            ..Findings::default()
        };
        for check in report.checks.iter().filter(|check| !check.ok) {
            findings.add(check, period);
        }
        findings
    }

    fn add(&mut self, check: &Check, period: &Period) {
        let found = &check.differences;
        let rows = || -> Vec<WrongRow> {
            let in_period = found.rows.iter().filter(|row| period.contains(&row.origin));
            in_period.cloned().collect()
        };
        let unseen = found.total.saturating_sub(found.rows.len() as u64);
        match check.subject {
            Subject::RawRows(table) => self.tables.entry(table).or_default().by_raw_log = rows(),
            Subject::SourceRows(table) => {
                let of = self.tables.entry(table).or_default();
                (of.by_topic, of.blocks) = (rows(), found.blocks.clone());
                (of.unseen, of.at_least) = (unseen, found.at_least);
                let lacks = unseen > 0 || found.rows.iter().any(|row| row.wrong == Wrong::Missing);
                if lacks {
                    self.lacking.insert(table);
                }
            }
            Subject::Versions(table) => self.add_versions(table, rows(), unseen),
            Subject::Postgres => self.postgres = rows(),
            Subject::Redis => self.redis = rows(),
            Subject::Log | Subject::Positions(_) | Subject::View | Subject::Newest(_) | Subject::NewestCopies => {
                self.others.push(Other {
                    subject: check.subject,
                    check: check.name.clone(),
                    total: found.total,
                    named: found.named.clone(),
                })
            }
        }
    }

    /// Adds the rows of one check; another one may have named some of them.
    fn add_versions(&mut self, table: &'static str, rows: Vec<WrongRow>, unseen: u64) {
        let of = self.versions.entry(table).or_default();
        let known: BTreeSet<Vec<String>> = of.rows.iter().map(|row| row.key.clone()).collect();
        of.rows.extend(rows.into_iter().filter(|row| !known.contains(&row.key)));
        of.unseen += unseen;
    }

    /// Whether latest prices cannot be judged, because the table of the ticks that they follow from lacks some.
    pub fn prices_wait(&self) -> bool {
        self.lacking.contains(ENRICHED_TICKS.name)
    }

    /// Whether rows of this table cannot be judged, because a table of the ticks that they are made of lacks some.
    pub fn waits(&self, table: &str) -> bool {
        let lacks = |spec: &TableSpec| spec.made_of.iter().any(|ticks| self.lacking.contains(ticks.name));
        TableSpec::named(table).is_some_and(lacks)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use service::writer::tables::{CURVE_SNAPSHOTS, DERIVED_PRICES, MARKET_TICKS};

    use super::*;
    use crate::verify::Differences;

    pub(in super::super) fn row(wrong: Wrong, key: &[&str], origin: &str) -> WrongRow {
        WrongRow {
            wrong,
            key: key.iter().map(|part| (*part).to_owned()).collect(),
            origin: origin.to_owned(),
            text: format!("{} {wrong:?}", key.join("/")),
        }
    }

    fn check(subject: Subject, rows: Vec<WrongRow>, unseen: u64) -> Check {
        let mut differences = Differences::default();
        differences.extend(rows);
        differences.total += unseen;
        Check::new("check", 2, 1, differences).about(subject)
    }

    #[test]
    fn rows_of_another_period_are_left_out_but_their_lack_is_known() {
        let missing = |origin: &str| row(Wrong::Missing, &[origin], origin);
        let report = VerifyReport {
            checks: vec![
                check(Subject::SourceRows(ENRICHED_TICKS.name), vec![missing("raw/0/1/0")], 0),
                check(
                    Subject::RawRows(MARKET_TICKS.name),
                    vec![missing("raw/0/1/0"), missing("raw/0/9/0")],
                    0,
                ),
            ],
            ..VerifyReport::default()
        };
        let findings = Findings::of(&report, &Period::of([(("raw".to_owned(), 0), (5, 20))]));
        assert!(findings.prices_wait() && findings.waits(CURVE_SNAPSHOTS.name));
        assert!(findings.tables[ENRICHED_TICKS.name].by_topic.is_empty());
        let keys: Vec<&str> = findings.tables[MARKET_TICKS.name]
            .all()
            .iter()
            .map(|row| row.origin.as_str())
            .collect();
        assert_eq!(keys, ["raw/0/9/0"]);
    }

    #[test]
    fn a_row_that_two_comparisons_name_is_one_row() {
        let missing = || vec![row(Wrong::Missing, &["raw/0/1/0"], "raw/0/1/0")];
        let report = VerifyReport {
            checks: vec![
                check(Subject::RawRows(MARKET_TICKS.name), missing(), 0),
                check(Subject::SourceRows(MARKET_TICKS.name), missing(), 3),
            ],
            ..VerifyReport::default()
        };
        let findings = Findings::of(&report, &Period::everything());
        let table = &findings.tables[MARKET_TICKS.name];
        assert_eq!((table.all().len(), table.unseen), (1, 3));
        assert!(!findings.prices_wait());
        assert!(findings.waits(DERIVED_PRICES.name) && !findings.waits(CURVE_SNAPSHOTS.name));
    }

    #[test]
    fn rows_with_versions_are_collected_by_table_and_named_once() {
        let missing = |key: &str| row(Wrong::Missing, &["t", key, "all", "2026"], "raw/0/1/0");
        let report = VerifyReport {
            checks: vec![
                check(Subject::Versions(CURVE_SNAPSHOTS.name), vec![missing("A")], 2),
                check(
                    Subject::Versions(CURVE_SNAPSHOTS.name),
                    vec![missing("A"), missing("B")],
                    0,
                ),
                check(Subject::Versions(DERIVED_PRICES.name), vec![missing("s")], 0),
            ],
            ..VerifyReport::default()
        };
        let findings = Findings::of(&report, &Period::everything());
        let curves = &findings.versions[CURVE_SNAPSHOTS.name];
        assert_eq!(
            (curves.rows.clone(), curves.unseen),
            (vec![missing("A"), missing("B")], 2)
        );
        assert_eq!(findings.versions[DERIVED_PRICES.name].rows, [missing("s")]);
        assert!(findings.others.is_empty());
    }
}
