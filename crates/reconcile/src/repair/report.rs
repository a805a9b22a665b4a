//! The result of `dp reconcile`.

use std::collections::BTreeMap;

use serde::Serialize;
use service::writer::TableSpec;

use super::findings::Findings;
use super::plan::{Left, Stores};
use crate::verify::{Wrong, WrongRow};

/// Rows that are listed for each table or store; the others are only counted.
const LISTED: usize = 20;

/// A wrong row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What is wrong.
    pub wrong: Wrong,
    /// Its key in the store.
    pub key: Vec<String>,
    /// The tick that it comes from; empty if the store does not name it.
    pub origin: String,
    /// Both values.
    pub text: String,
}

/// What is wrong in a table or store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Table or store.
    pub place: String,
    /// Rows that the log requires and the store does not have.
    pub missing: u64,
    /// Rows that the log does not require.
    pub surplus: u64,
    /// Rows with other values.
    pub different: u64,
    /// Rows that are wrong and were only counted.
    pub unseen: u64,
    /// Whether there may be more of those.
    pub at_least: bool,
    /// The first rows.
    pub rows: Vec<Listed>,
}

impl Part {
    fn of(place: &str, rows: &[&WrongRow], (unseen, at_least): (u64, bool)) -> Part {
        let count = |wrong| rows.iter().filter(|row| row.wrong == wrong).count() as u64;
        let listed = |row: &&WrongRow| Listed {
            wrong: row.wrong,
            key: row.key.clone(),
            origin: row.origin.clone(),
            text: row.text.clone(),
        };
        Part {
            place: place.to_owned(),
            missing: count(Wrong::Missing),
            surplus: count(Wrong::Surplus),
            different: count(Wrong::Different),
            unseen,
            at_least,
            rows: rows.iter().take(LISTED).map(listed).collect(),
        }
    }

    fn is_right(&self) -> bool {
        self.missing + self.surplus + self.different + self.unseen == 0
    }
}

/// Every table and store that is wrong.
pub fn parts(findings: &Findings, stores: Stores) -> Vec<Part> {
    let mut parts = Vec::new();
    if stores.clickhouse {
        parts.extend(
            findings
                .tables
                .iter()
                .map(|(table, of)| Part::of(table, &of.all(), (of.unseen, of.at_least))),
        );
        for (table, of) in &findings.versions {
            let rows: Vec<&WrongRow> = of.rows.iter().collect();
            parts.push(Part::of(table, &rows, (of.unseen, false)));
        }
    }
    for (is_chosen, place, rows) in [
        (stores.postgres, "PostgreSQL", &findings.postgres),
        (stores.redis, "Redis", &findings.redis),
    ] {
        if is_chosen {
            parts.push(Part::of(place, &rows.iter().collect::<Vec<_>>(), (0, false)));
        }
    }
    parts.retain(|part| !part.is_right());
    parts
}

/// What was written, or would be, in a table or store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Table or store.
    pub place: String,
    /// Number of rows, or of copies.
    pub rows: u64,
}

/// The outcome of `dp reconcile`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether rows were to be written, or only named.
    pub repair: bool,
    /// Whether everything that the last comparison compares was in the stores.
    pub settled: bool,
    /// What was wrong at the beginning.
    pub found: Vec<Part>,
    /// What was written; without a repair, what would be, as far as it is known one by one.
    pub written: Vec<Written>,
    /// What is still wrong, with the reason.
    pub left: Vec<Left>,
    /// What an operator should know in addition.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether everything agrees now.
    pub fn is_ok(&self) -> bool {
        let is_repaired = self.repair || self.found.is_empty();
        self.settled && is_repaired && self.left.is_empty()
    }

    /// Adds the numbers of a step.
    pub(super) fn wrote(&mut self, place: &str, rows: u64) {
        if rows == 0 {
            return;
        }
        match self.written.iter_mut().find(|written| written.place == place) {
            Some(written) => written.rows += rows,
            None => self.written.push(Written {
                place: place.to_owned(),
                rows,
            }),
        }
    }
}

/// What the running writers of these tables do after a repair, if it has written any of their rows.
pub(super) fn resuming(written: &[Written]) -> Option<String> {
    let is_filled = |place: &&str| TableSpec::named(place).is_some();
    let tables: Vec<&str> = written.iter().map(|of| of.place.as_str()).filter(is_filled).collect();
    (!tables.is_empty()).then(|| {
        format!(
            "the repair claimed partitions of {} from their writers. A running writer notices it with its next insert, and goes on by \
             itself within about 30 s; its rows wait meanwhile, and none is lost (`dp doctor` names it)",
            tables.join(", ")
        )
    })
}

/// Reasons that a step has found, by the text of the row.
pub(super) type Reasons = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::super::findings::OfVersions;
    use super::super::findings::tests::row;
    use super::*;

    #[test]
    fn rows_are_counted_by_what_is_wrong_and_the_first_are_listed() {
        let bars = OfVersions {
            rows: (0..30)
                .map(|number| row(Wrong::Missing, &["t", "i", "5m", &number.to_string()], "raw/0/1/0"))
                .chain([row(Wrong::Different, &["t", "j", "5m", "0"], "raw/0/2/0")])
                .collect(),
            unseen: 0,
        };
        let findings = Findings {
            versions: [("bars", bars)].into(),
            redis: vec![row(Wrong::Surplus, &["key"], "")],
            ..Findings::default()
        };
        let all = parts(&findings, Stores::ALL);
        let counts: Vec<_> = all
            .iter()
            .map(|part| (part.place.as_str(), part.missing, part.surplus, part.different))
            .collect();
        assert_eq!(counts, [("bars", 30, 0, 1), ("Redis", 0, 1, 0)]);
        assert_eq!(all.first().map(|part| part.rows.len()), Some(LISTED));
        let only_postgres = Stores {
            clickhouse: false,
            postgres: true,
            redis: false,
        };
        assert_eq!(parts(&findings, only_postgres), []);
    }

    #[test]
    fn a_report_is_right_only_if_nothing_was_in_flight_and_nothing_is_left() {
        let clean = Report {
            settled: true,
            ..Report::default()
        };
        assert!(clean.is_ok());
        let found = Report {
            found: vec![Part {
                missing: 1,
                ..Part::default()
            }],
            ..clean.clone()
        };
        assert!(!found.is_ok(), "nothing was repaired");
        assert!(Report { repair: true, ..found }.is_ok());
        assert!(
            !Report {
                settled: false,
                ..clean
            }
            .is_ok()
        );
    }

    #[test]
    fn after_a_repair_of_tables_the_report_says_when_their_writers_go_on() {
        let written = |places: &[&str]| {
            let mut report = Report::default();
            places.iter().for_each(|place| report.wrote(place, 1));
            resuming(&report.written)
        };
        assert_eq!(written(&["PostgreSQL", "Redis"]), None);
        let told = written(&["bars", "Redis", "market_ticks"]).unwrap_or_default();
        assert!(
            told.contains("of bars, market_ticks from") && told.contains("30 s"),
            "{told}"
        );
    }

    #[test]
    fn the_rows_of_a_table_are_summed_over_the_rounds() {
        let mut report = Report::default();
        report.wrote("bars", 2);
        report.wrote("bars", 0);
        report.wrote("bars", 3);
        let expected = Written {
            place: "bars".to_owned(),
            rows: 5,
        };
        assert_eq!(report.written, [expected]);
    }
}
