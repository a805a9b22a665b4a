//! What a verification found: one line per check, and the differences by name.

use serde::Serialize;

use super::quiet::OnTheWay;

/// Differences that are named one by one; the rest is counted.
pub const NAMED: usize = 20;

/// Named differences of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// How many there are; at least as many as are named.
    pub total: u64,
    /// The first ones, each a sentence with the row and what is wrong with it.
    pub named: Vec<String>,
}

impl Differences {
    /// Adds one.
    pub fn add(&mut self, difference: String) {
        self.total += 1;
        if self.named.len() < NAMED {
            self.named.push(difference);
        }
    }

    /// Adds those of another look.
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

/// One thing that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is compared.
    pub name: String,
    /// What the log says.
    pub expected: i64,
    /// What the store holds.
    pub found: i64,
    /// Whether they agree, in number and content.
    pub ok: bool,
    /// Where they do not.
    pub differences: Differences,
}

impl Check {
    /// A check that is fine when the numbers agree and nothing differs.
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
    /// Whether nothing was under way any more while it was compared.
    pub quiet: bool,
    /// What was still on its way when the waiting ended: nothing, where everything was read and every late tick was in its
    /// bars.
    pub on_the_way: Vec<OnTheWay>,
    /// The checks, in the order of the pipeline.
    pub checks: Vec<Check>,
    /// What an operator should know beside the checks.
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
    fn differences_beyond_the_limit_are_counted_and_not_named() {
        let differences: Differences = (0..50).map(|number| number.to_string()).collect();
        assert_eq!((differences.total, differences.named.len()), (50, NAMED));
    }

    #[test]
    fn equal_numbers_with_a_difference_are_not_fine() {
        assert!(Check::new("x", 3, 3, Differences::default()).ok);
        assert!(!Check::new("x", 3, 4, Differences::default()).ok);
        assert!(!Check::new("x", 3, 3, ["row 1".to_owned()].into_iter().collect()).ok);
        assert!(!VerifyReport::default().is_ok());
    }
}
