//! The result of a verification: one line for each check, and its differences.

use serde::Serialize;

use super::by_name::Kind;
use super::cut::Cut;
use super::lane::BlockKey;
use super::passed::OnTheWay;

pub use super::wrong::{Wrong, WrongRow};

/// Differences that are listed for each check; the others are only counted.
pub const NAMED: usize = 20;

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The log itself.
    Log,
    /// Rows of a table, compared with the raw log.
    RawRows(&'static str),
    /// Rows of a table, compared with the records of its topic.
    SourceRows(&'static str),
    /// Positions of rows in a table.
    Positions(&'static str),
    /// Rows of a table that keeps versions, compared with the ticks that they follow from.
    Versions(&'static str),
    /// Rows of a view, compared with the bars that they are merged from.
    View,
    /// Latest prices in PostgreSQL.
    Postgres,
    /// Latest prices in Redis.
    Redis,
    /// Newest curve snapshots or derived prices in PostgreSQL.
    Newest(Kind),
    /// Copies of the newest curve snapshots or derived prices in Redis.
    NewestCopies,
}

/// The differences of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Number of differences, listed or not.
    pub total: u64,
    /// Whether there may be more than `total`: not every row was counted.
    pub at_least: bool,
    /// The first ones: one sentence each, with the row and what is wrong with it.
    pub named: Vec<String>,
    /// The wrong rows as far as they were looked at one by one ([`Depth`](super::Depth)).
    #[serde(skip)]
    pub rows: Vec<WrongRow>,
    /// The blocks of offsets that differ, all of them.
    #[serde(skip)]
    pub blocks: Vec<BlockKey>,
}

impl Differences {
    /// So many differences, none of them named.
    pub fn counted(total: u64) -> Differences {
        Differences {
            total,
            ..Differences::default()
        }
    }

    /// Adds a difference.
    pub fn add(&mut self, difference: String) {
        self.total += 1;
        if self.named.len() < NAMED {
            self.named.push(difference);
        }
    }

    /// Adds a wrong row.
    pub fn add_row(&mut self, row: WrongRow) {
        self.add(row.text.clone());
        self.rows.push(row);
    }

    /// Adds the differences of another query.
    pub fn merge(&mut self, other: Differences) {
        self.total += other.total;
        self.at_least |= other.at_least;
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
        self.rows.extend(other.rows);
        self.blocks.extend(other.blocks);
    }
}

impl Extend<WrongRow> for Differences {
    fn extend<I: IntoIterator<Item = WrongRow>>(&mut self, rows: I) {
        rows.into_iter().for_each(|row| self.add_row(row));
    }
}

impl Extend<String> for Differences {
    fn extend<I: IntoIterator<Item = String>>(&mut self, differences: I) {
        differences.into_iter().for_each(|difference| self.add(difference));
    }
}

impl FromIterator<String> for Differences {
    fn from_iter<I: IntoIterator<Item = String>>(differences: I) -> Differences {
        let mut collected = Differences::default();
        collected.extend(differences);
        collected
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is compared.
    pub name: String,
    /// Number expected by the log.
    pub expected: i64,
    /// Number found in the store.
    pub found: i64,
    /// Whether they agree, in number and content.
    pub ok: bool,
    /// Rows or days of a view that are in neither number, because they could not be compared; a note says why. Of tables, only notes count
    /// such rows.
    pub not_compared: u64,
    /// The differences.
    pub differences: Differences,
    /// What it is about.
    #[serde(skip)]
    pub subject: Subject,
}

impl Check {
    /// A check that passes if the numbers agree and there are no differences.
    pub fn new(name: impl Into<String>, expected: u64, found: u64, differences: Differences) -> Check {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Check {
            name: name.into(),
            expected: signed(expected),
            found: signed(found),
            ok: expected == found && differences.total == 0,
            not_compared: 0,
            differences,
            subject: Subject::Log,
        }
    }

    /// The check, about this.
    #[must_use]
    pub fn about(self, subject: Subject) -> Check {
        Check { subject, ..self }
    }

    /// The check, which so many rows or days are left out of.
    #[must_use]
    pub fn without(self, not_compared: u64) -> Check {
        Check { not_compared, ..self }
    }
}

/// The outcome of `dp verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Whether everything that follows from the cut of the run was in the stores before they were compared.
    pub settled: bool,
    /// Messages before the cut that were still in flight when the wait ended. Empty if every message was read and every late tick was in
    /// its bars.
    pub on_the_way: Vec<OnTheWay>,
    /// Raw messages that arrived after the cut. They are not compared.
    pub arrived: u64,
    /// The checks, in the order of the pipeline.
    pub checks: Vec<Check>,
    /// What an operator should know in addition to the checks.
    pub notes: Vec<String>,
    /// How far each topic is compared.
    #[serde(skip)]
    pub cut: Cut,
}

impl VerifyReport {
    /// Whether all that the run compares was in the stores, and agrees.
    pub fn is_ok(&self) -> bool {
        self.settled && self.checks.iter().all(|check| check.ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_beyond_the_limit_are_counted_but_not_listed() {
        let differences: Differences = (0..50).map(|number| number.to_string()).collect();
        assert_eq!((differences.total, differences.named.len()), (50, NAMED));
    }

    #[test]
    fn a_check_with_equal_numbers_and_a_difference_fails() {
        assert!(Check::new("x", 3, 3, Differences::default()).ok);
        assert!(!Check::new("x", 3, 4, Differences::default()).ok);
        assert!(!Check::new("x", 3, 3, ["row 1".to_owned()].into_iter().collect()).ok);
        assert!(!VerifyReport::default().is_ok());
    }
}
