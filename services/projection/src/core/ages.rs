//! How many instruments have had no tick for how long. Counts instead of a series for each instrument, whose number has no bound.

use domain::Micros;

/// Ages that are counted, with their names in metrics.
pub const LIMITS: [(&str, Micros); 3] = [("5m", 300_000_000), ("1h", 3_600_000_000), ("1d", 86_400_000_000)];

/// Counts of instruments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ages {
    /// All of them.
    pub all: u64,
    /// Those whose last tick is older than each of [`LIMITS`].
    pub older: [u64; LIMITS.len()],
}

impl Ages {
    /// How often they are counted.
    pub const COUNTED_EVERY: Micros = 30_000_000;

    /// Counts an instrument whose last tick is this old.
    pub fn count(&mut self, age: Micros) {
        self.all += 1;
        for (count, (_, limit)) in self.older.iter_mut().zip(LIMITS) {
            *count += u64::from(age > limit);
        }
    }

    /// Adds the counts of other instruments.
    pub fn add(&mut self, other: &Ages) {
        self.all += other.all;
        for (sum, count) in self.older.iter_mut().zip(other.older) {
            *sum += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instrument_counts_for_every_limit_that_it_exceeds() {
        let mut ages = Ages::default();
        for age in [0, 300_000_000, 300_000_001, 3_600_000_001, 90_000_000_000] {
            ages.count(age);
        }
        let expected = Ages {
            all: 5,
            older: [3, 2, 1],
        };
        assert_eq!(ages, expected);
        ages.add(&expected);
        assert_eq!((ages.all, ages.older), (10, [6, 4, 2]));
    }
}
