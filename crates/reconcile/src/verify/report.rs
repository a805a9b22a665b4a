//! The result of a verification: one line for each check, and its differences.

use serde::Serialize;

use super::quiet::OnTheWay;

/// Differences that are listed for each check; the others are only counted.
pub const NAMED: usize = 20;

/// The differences of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// Number of differences, listed or not.
    pub total: u64,
    /// The first ones: one sentence each, with the row and what is wrong with it.
    pub named: Vec<String>,
}

impl Differences {
    /// Adds a difference.
    pub fn add(&mut self, difference: String) {
        self.total += 1;
        if self.named.len() < NAMED {
            self.named.push(difference);
        }
    }

    /// Adds the differences of another query.
    pub fn merge(&mut self, other: Differences) {
        self.total += other.total;
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
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
    /// The differences.
    pub differences: Differences,
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
            differences,
        }
    }
}

/// The outcome of `dp verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Whether no message was in flight during the comparison.
    pub quiet: bool,
    /// Messages that were still in flight when the wait ended. Empty if every message was read and every late tick was in
    /// its bars.
    pub on_the_way: Vec<OnTheWay>,
    /// The checks, in the order of the pipeline.
    pub checks: Vec<Check>,
    /// What an operator should know in addition to the checks.
    pub notes: Vec<String>,
}

impl VerifyReport {
    /// Whether the system was quiet and everything agrees.
    pub fn is_ok(&self) -> bool {
        self.quiet && self.checks.iter().all(|check| check.ok)
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
