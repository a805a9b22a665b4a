//! How long calls of the stores take: a summary of the last hour for `/stats`. Pure; [`crate::metrics`] records.
//!
//! Role: keeps the newest calls of each operation and computes counts, shares and percentiles of them.
//! Invariants: the memory is bounded, because operations are a closed set and each keeps at most [`KEPT`] calls. A percentile is
//! a call that was made: of `n` calls in ascending order the one at index `floor((n - 1) * p)`, never a value between two.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A call that takes longer is slow.
pub const SLOW: Duration = Duration::from_millis(1_000);
/// Calls that are kept of each operation.
const KEPT: usize = 512;
/// Older calls do not count.
const WINDOW: Duration = Duration::from_secs(3_600);

/// An operation of a dependency, such as `redis` and `put prices`.
type Operation = (&'static str, &'static str);

/// The calls of one process.
#[derive(Debug)]
pub(crate) struct Calls(BTreeMap<Operation, OfOperation>);

#[derive(Debug, Default)]
struct OfOperation {
    newest: VecDeque<Call>,
    slow: u64,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    ended: Instant,
    took: Duration,
    succeeded: bool,
}

/// The newest calls of an operation: those of the last hour, at most 512.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// `clickhouse`, `postgres`, `redis` or `kafka`.
    pub dependency: Cow<'static, str>,
    /// What was called.
    pub operation: Cow<'static, str>,
    /// Calls that the other figures are of.
    pub count: usize,
    /// Time since the first of them.
    pub window_seconds: f64,
    /// Calls a second in this time; absent if it is too short to tell.
    pub per_second: Option<f64>,
    /// Share of the calls without an error.
    pub success_ratio: f64,
    /// Mean duration.
    pub avg_ms: f64,
    /// Shortest.
    pub min_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Longest.
    pub max_ms: f64,
    /// Calls over 1000 ms since the start of the process.
    pub slow_total: u64,
}

impl Calls {
    pub(crate) const fn new() -> Calls {
        Calls(BTreeMap::new())
    }

    /// Adds a call that has ended now.
    pub(crate) fn add(&mut self, operation: Operation, took: Duration, succeeded: bool, now: Instant) {
        let of = self.0.entry(operation).or_default();
        of.slow += u64::from(took > SLOW);
        if of.newest.len() >= KEPT {
            of.newest.pop_front();
        }
        of.newest.push_back(Call {
            ended: now,
            took,
            succeeded,
        });
    }

    /// One summary for each operation that was called within the last hour.
    pub(crate) fn summaries(&self, now: Instant) -> Vec<Summary> {
        let each = |(operation, of): (&Operation, &OfOperation)| summary(*operation, of, now);
        self.0.iter().filter_map(each).collect()
    }
}

fn summary((dependency, operation): Operation, of: &OfOperation, now: Instant) -> Option<Summary> {
    let age = |call: &Call| now.saturating_duration_since(call.ended);
    let recent: Vec<Call> = of.newest.iter().filter(|call| age(call) <= WINDOW).copied().collect();
    let window = recent.first().map(age)?.as_secs_f64();
    let mut took: Vec<Duration> = recent.iter().map(|call| call.took).collect();
    took.sort_unstable();
    let count = took.len();
    let at = |percent| percentile(&took, percent).map_or(0.0, millis);
    let succeeded = recent.iter().filter(|call| call.succeeded).count();
    Some(Summary {
        dependency: dependency.into(),
        operation: operation.into(),
        count,
        window_seconds: window,
        per_second: (window >= 1.0).then(|| count as f64 / window),
        success_ratio: succeeded as f64 / count as f64,
        avg_ms: millis(took.iter().sum()) / count as f64,
        min_ms: at(0),
        p50_ms: at(50),
        p95_ms: at(95),
        p99_ms: at(99),
        max_ms: at(100),
        slow_total: of.slow,
    })
}

/// Of values in ascending order, the one at index `floor((n - 1) * percent / 100)`; none of none.
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(last * percent / 100).copied()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PUT: Operation = ("redis", "put prices");

    fn of_millis(millis: &[u64], start: Instant) -> Calls {
        let mut calls = Calls::new();
        for millis in millis {
            calls.add(PUT, Duration::from_millis(*millis), true, start);
        }
        calls
    }

    #[test]
    fn a_percentile_is_the_value_at_the_floor_of_its_place() {
        let hundred: Vec<u32> = (1..=100).collect();
        // floor(99 * 0.95) = 94 and floor(99 * 0.99) = 98: the 95th and the 99th value.
        assert_eq!(
            [0, 50, 95, 99, 100].map(|percent| percentile(&hundred, percent)),
            [Some(1), Some(50), Some(95), Some(99), Some(100)]
        );
        // floor(3 * 0.99) = 2: the largest of four is no 99th percentile.
        assert_eq!(percentile(&[1, 2, 3, 400], 99), Some(3));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }

    #[test]
    fn a_summary_has_the_figures_of_its_calls() {
        let start = Instant::now();
        let mut calls = of_millis(&[40, 10, 30, 20], start);
        calls.add(PUT, Duration::from_millis(1_500), false, start);
        let found = calls.summaries(start + Duration::from_secs(10));
        let [summary] = found.as_slice() else {
            unreachable!("one operation")
        };
        assert_eq!((&*summary.dependency, &*summary.operation), PUT);
        assert_eq!((summary.count, summary.slow_total), (5, 1));
        assert_eq!((summary.min_ms, summary.p50_ms, summary.max_ms), (10.0, 30.0, 1_500.0));
        assert_eq!((summary.p95_ms, summary.p99_ms), (40.0, 40.0));
        assert!((summary.avg_ms - 320.0).abs() < 1e-9, "{summary:?}");
        assert_eq!((summary.success_ratio, summary.per_second), (0.8, Some(0.5)));
    }

    #[test]
    fn a_call_of_exactly_a_second_is_not_slow() {
        let start = Instant::now();
        let slow = of_millis(&[1_000, 1_001], start).summaries(start)[0].slow_total;
        assert_eq!(slow, 1);
    }

    #[test]
    fn calls_are_forgotten_after_an_hour_and_beyond_the_bound() {
        let start = Instant::now();
        let mut calls = of_millis(&[10], start);
        let later = start + Duration::from_secs(3_599);
        calls.add(PUT, Duration::from_millis(20), true, later);
        assert_eq!(calls.summaries(later)[0].count, 2);
        let after = start + Duration::from_secs(3_601);
        assert_eq!(calls.summaries(after)[0].min_ms, 20.0);
        assert_eq!(calls.summaries(after + WINDOW), Vec::new());
        for _ in 0..2 * KEPT {
            calls.add(PUT, Duration::from_millis(30), true, after);
        }
        assert_eq!(
            (calls.summaries(after)[0].count, calls.summaries(after)[0].min_ms),
            (KEPT, 30.0)
        );
    }
}
