//! What a comparison has found, sorted by what could repair it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::tick_id::Period;
use crate::verify::blocks::BlockKey;
use crate::verify::{Check, Subject, VerifyReport, Wrong, WrongRow};

/// The table that bars, derived prices, snapshots of curves and latest prices follow from.
pub const ENRICHED: &str = "enriched_ticks";
/// The table that has the bids and asks of derived prices.
const MARKET: &str = "market_ticks";

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
    /// Tables of bars, derived prices and snapshots of curves.
    pub versions: BTreeMap<&'static str, OfVersions>,
    /// Latest prices in PostgreSQL.
    pub postgres: Vec<WrongRow>,
    /// Latest prices in Redis.
    pub redis: Vec<WrongRow>,
    /// What no row says.
    pub others: Vec<Other>,
    /// Whether `enriched_ticks` lacks rows that can be repaired, of any time: what follows from it cannot be judged.
    pub lacks_ticks: bool,
    /// The same of `market_ticks`: derived prices cannot be judged.
    pub lacks_quotes: bool,
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
                self.lacks_ticks |= table == ENRICHED && lacks;
                self.lacks_quotes |= table == MARKET && lacks;
            }
            Subject::Bars => self.add_versions("bars", rows(), unseen),
            Subject::Derived => self.add_versions("derived_prices", rows(), unseen),
            Subject::Curves => self.add_versions("curve_snapshots", rows(), unseen),
            Subject::Postgres => self.postgres = rows(),
            Subject::Redis => self.redis = rows(),
            Subject::Log | Subject::Positions(_) | Subject::View => self.others.push(Other {
                subject: check.subject,
                check: check.name.clone(),
                total: found.total,
                named: found.named.clone(),
            }),
        }
    }

    /// Adds the rows of one check; another one may have named some of them.
    fn add_versions(&mut self, table: &'static str, rows: Vec<WrongRow>, unseen: u64) {
        let of = self.versions.entry(table).or_default();
        let known: BTreeSet<Vec<String>> = of.rows.iter().map(|row| row.key.clone()).collect();
        of.rows.extend(rows.into_iter().filter(|row| !known.contains(&row.key)));
        of.unseen += unseen;
    }

    /// Whether rows of this table cannot be judged, because a table of the ticks that they follow from lacks some.
    pub fn waits(&self, table: &str) -> bool {
        self.lacks_ticks || (self.lacks_quotes && table == "derived_prices")
    }
}

#[cfg(test)]
pub(super) mod tests {
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
                check(Subject::SourceRows(ENRICHED), vec![missing("raw/0/1/0")], 0),
                check(
                    Subject::RawRows("market_ticks"),
                    vec![missing("raw/0/1/0"), missing("raw/0/9/0")],
                    0,
                ),
            ],
            ..VerifyReport::default()
        };
        let findings = Findings::of(&report, &Period::of([(("raw".to_owned(), 0), (5, 20))]));
        assert!(findings.lacks_ticks);
        assert!(findings.tables[ENRICHED].by_topic.is_empty());
        let keys: Vec<&str> = findings.tables["market_ticks"]
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
                check(Subject::RawRows("market_ticks"), missing(), 0),
                check(Subject::SourceRows("market_ticks"), missing(), 3),
            ],
            ..VerifyReport::default()
        };
        let findings = Findings::of(&report, &Period::everything());
        let table = &findings.tables["market_ticks"];
        assert_eq!((table.all().len(), table.unseen), (1, 3));
        assert!(!findings.lacks_ticks && findings.lacks_quotes);
        assert!(findings.waits("derived_prices") && !findings.waits("curve_snapshots"));
    }

    #[test]
    fn rows_with_versions_are_collected_by_table_and_named_once() {
        let missing = |key: &str| row(Wrong::Missing, &["t", key, "all", "2026"], "raw/0/1/0");
        let report = VerifyReport {
            checks: vec![
                check(Subject::Curves, vec![missing("A")], 2),
                check(Subject::Curves, vec![missing("A"), missing("B")], 0),
                check(Subject::Derived, vec![missing("s")], 0),
            ],
            ..VerifyReport::default()
        };
        let findings = Findings::of(&report, &Period::everything());
        let curves = &findings.versions["curve_snapshots"];
        assert_eq!(
            (curves.rows.clone(), curves.unseen),
            (vec![missing("A"), missing("B")], 2)
        );
        assert_eq!(findings.versions["derived_prices"].rows, [missing("s")]);
        assert!(findings.others.is_empty());
    }
}
