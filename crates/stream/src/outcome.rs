//! The result of a message: the closed set that every stage returns, and the values of label `status`.

/// The result of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was used.
    Success,
    /// Some of it was used, the rest is a dead letter.
    Partial,
    /// It is a dead letter.
    DeadLettered,
    /// Seen before: a repeated event, or a record that the sequencer had already accepted.
    Duplicate,
    /// Finished by an earlier owner, and read again to rebuild memory or to find a position.
    Observed,
    /// Fetched before its partition was revoked. The new owner reads and counts it.
    NotOurs,
}

impl Outcome {
    /// Those that are counted.
    pub const COUNTED: [Outcome; 5] = [
        Outcome::Success,
        Outcome::Partial,
        Outcome::DeadLettered,
        Outcome::Duplicate,
        Outcome::Observed,
    ];

    /// Value of label `status`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Partial => "partial",
            Outcome::DeadLettered => "dead_lettered",
            Outcome::Duplicate => "duplicate",
            Outcome::Observed => "observed",
            Outcome::NotOurs => "not_ours",
        }
    }
}

/// Messages by outcome, in the order of [`Outcome::COUNTED`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts([u64; Outcome::COUNTED.len()]);

impl OutcomeCounts {
    /// Counts one message; [`Outcome::NotOurs`] is not counted.
    pub fn add(&mut self, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count += 1;
        }
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &OutcomeCounts) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Messages of this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0.get(outcome as usize).copied().unwrap_or(0)
    }

    /// Each outcome with its messages.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + use<> {
        Outcome::COUNTED.into_iter().zip(self.0)
    }

    /// Messages that were decided here: all except those that were only observed.
    pub fn decided(&self) -> u64 {
        self.total() - self.of(Outcome::Observed)
    }

    /// All messages.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_under_its_name_and_a_foreign_message_not_at_all() {
        let mut counts = OutcomeCounts::default();
        for (times, outcome) in Outcome::COUNTED.into_iter().enumerate() {
            (0..=times).for_each(|_| counts.add(outcome));
        }
        counts.add(Outcome::NotOurs);
        let named: Vec<(&str, u64)> = counts.iter().map(|(outcome, count)| (outcome.name(), count)).collect();
        let expected = [
            ("success", 1),
            ("partial", 2),
            ("dead_lettered", 3),
            ("duplicate", 4),
            ("observed", 5),
        ];
        assert_eq!(named, expected);
        assert_eq!((counts.total(), counts.decided()), (15, 10));
    }
}
