//! When a commit that another owner has won is tried again: after 100 ms, then each time after twice as long.
//!
//! Role: only conflicts wait like this; a store that is down has its breaker. There is no last attempt, because a partition without
//! an owner would never be served again: the delay stops growing, and `ProjectionConflicts` fires.

use domain::Micros;

const FIRST: Micros = 100_000;
/// Doublings: the longest delay is 6.4 s.
const DOUBLINGS: u32 = 6;

/// The delay before this attempt; the first one is 1.
pub fn delay(attempt: u32) -> Micros {
    FIRST << attempt.saturating_sub(1).min(DOUBLINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_waits_twice_as_long_up_to_a_bound() {
        let millis: Vec<Micros> = (1..=9).map(|attempt| delay(attempt) / 1_000).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1_600, 3_200, 6_400, 6_400, 6_400]);
        assert_eq!((delay(0), delay(u32::MAX)), (100_000, 6_400_000));
    }
}
