//! How long to wait before a retry: one policy for the whole project.
//!
//! Invariants: waits grow to a limit and carry jitter, so that clients that failed together do not retry together. The pure
//! state machines pass a seed, so their waits are the same in every run.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Exponential waits with jitter: each is between a base and twice that, and the base doubles up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    first: Duration,
    last: Duration,
}

impl RetryPolicy {
    /// For workers and clients that are rebuilt or reconnected as a whole.
    pub const STANDARD: RetryPolicy = RetryPolicy {
        first: Duration::from_millis(200),
        last: Duration::from_secs(5),
    };
    /// For writes to a store with readers: they continue soon after the store is available again.
    pub const SOON: RetryPolicy = RetryPolicy {
        first: Duration::from_millis(250),
        last: Duration::from_millis(500),
    };
    /// For what another owner has won, and may win again.
    pub const CONFLICT: RetryPolicy = RetryPolicy {
        first: Duration::from_millis(100),
        last: Duration::from_millis(3_200),
    };

    /// Waits with different jitter in every process.
    pub fn waits(self) -> Waits {
        Waits::of(self.builder())
    }

    /// Waits that are the same for the same seed.
    pub fn seeded_waits(self, seed: u64) -> Waits {
        Waits::of(self.builder().with_jitter_seed(seed))
    }

    fn builder(self) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.last)
            .with_jitter()
            .without_max_times()
    }
}

/// The waits of one repeated operation.
#[derive(Debug)]
pub struct Waits {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
    /// Failures since the last success.
    failures: u32,
}

impl Waits {
    fn of(builder: ExponentialBuilder) -> Waits {
        Waits {
            builder,
            waits: builder.build(),
            failures: 0,
        }
    }

    /// How long to wait after one more failure.
    pub fn after_failure(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        // The number of waits is unlimited, so there is always a next one.
        self.waits.next().unwrap_or_default()
    }

    /// The operation succeeded: the next failure counts as the first.
    pub fn succeeded(&mut self) {
        self.waits = self.builder.build();
        self.failures = 0;
    }

    /// Failures since the last success, for the log.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_differ_by_seed_and_restart_after_a_success() {
        let mut waits = RetryPolicy::STANDARD.seeded_waits(1);
        let ms = |waits: &mut Waits| waits.after_failure().as_millis();
        for base in [200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000] {
            let wait = ms(&mut waits);
            assert!((base..=2 * base).contains(&wait), "{wait} after {base}");
        }
        assert_eq!(waits.failures(), 8);
        waits.succeeded();
        assert_eq!(waits.failures(), 0);
        let mut conflict = RetryPolicy::CONFLICT.seeded_waits(1);
        for base in [100, 200, 400, 800, 1_600, 3_200, 3_200] {
            let wait = ms(&mut conflict);
            assert!((base..=2 * base).contains(&wait), "{wait} after {base}");
        }
        let (first, other) = (ms(&mut waits), ms(&mut RetryPolicy::STANDARD.seeded_waits(2)));
        assert!((200..=400).contains(&first));
        assert_ne!(first, other);
        assert_eq!(ms(&mut RetryPolicy::STANDARD.seeded_waits(1)), first);
    }
}
