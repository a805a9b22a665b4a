//! Records every call of a dependency: a metric, the summary of [`crate::calls`], and a warning for a slow one.
//!
//! Role: the three clients pass each call through [`timed`], and services those to Kafka that are no messages. A call is a
//! statement, a chunk of keys or an insert, never a tick. Help, unit and buckets of the metric are declared with all others in
//! the `service` crate.
//! Invariant: without [`record`], as in the tools, nothing is recorded: their statements may take minutes.
#![allow(clippy::disallowed_macros)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::histogram;
use parking_lot::Mutex;

use crate::calls::{Calls, SLOW, Summary};

/// Histogram `{dependency,operation,outcome}`.
pub const CALL_SECONDS: &str = "dependency_call_seconds";

static IS_ON: AtomicBool = AtomicBool::new(false);
static CALLS: Mutex<Calls> = Mutex::new(Calls::new());

/// Starts to record the calls of this process, or ends it.
pub fn record(is_on: bool) {
    IS_ON.store(is_on, Ordering::Relaxed);
}

/// The calls of the last hour, by dependency and operation.
pub fn summaries() -> Vec<Summary> {
    CALLS.lock().summaries(Instant::now())
}

/// Makes a call and records how long it took. Both names come from closed sets.
///
/// # Errors
/// Those of the call.
pub async fn timed<T, E>(
    dependency: &'static str,
    operation: &'static str,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if !IS_ON.load(Ordering::Relaxed) {
        return call.await;
    }
    let started = Instant::now();
    let result = call.await;
    ended(dependency, operation, started.elapsed(), result.is_ok());
    result
}

fn ended(dependency: &'static str, operation: &'static str, took: Duration, succeeded: bool) {
    let outcome = if succeeded { "success" } else { "error" };
    histogram!(CALL_SECONDS, "dependency" => dependency, "operation" => operation, "outcome" => outcome)
        .record(took.as_secs_f64());
    CALLS
        .lock()
        .add((dependency, operation), took, succeeded, Instant::now());
    // A call that failed is told by its caller.
    if took > SLOW && succeeded {
        tracing::warn!(
            event = "slow_call",
            dependency,
            operation,
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "a call of a dependency took longer than 1000 ms; `dp analyze` compares it with the others"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_recorded_only_while_it_is_switched_on() {
        let call = async |operation, result: Result<(), ()>| timed("tested", operation, async { result }).await;
        assert_eq!(call("before the switch", Ok(())).await, Ok(()));
        record(true);
        assert_eq!(call("after the switch", Err(())).await, Err(()));
        record(false);
        assert_eq!(call("switched off", Ok(())).await, Ok(()));
        let summaries = summaries();
        let known: Vec<(&str, f64)> = summaries
            .iter()
            .filter(|summary| summary.dependency == "tested")
            .map(|summary| (&*summary.operation, summary.success_ratio))
            .collect();
        assert_eq!(known, [("after the switch", 0.0)]);
    }
}
