//! A line for each batch of messages, at level DEBUG: what became of them, and how long each part took.

use std::time::Duration;

use crate::{Outcome, OutcomeCounts, WorkerStatus};

/// Logs a batch, if it has messages. `handled` is the time until the handler had taken them; the rest of `took` is what followed:
/// acknowledgements, writes that were begun, timers and commits.
pub(super) fn log(status: &WorkerStatus, counts: &OutcomeCounts, handled: Duration, took: Duration) {
    if !tracing::enabled!(tracing::Level::DEBUG) || *counts == OutcomeCounts::default() {
        return;
    }
    tracing::debug!(
        event = "batch",
        worker = status.name(),
        success = counts.of(Outcome::Success),
        partial = counts.of(Outcome::Partial),
        dead_lettered = counts.of(Outcome::DeadLettered),
        duplicate = counts.of(Outcome::Duplicate),
        observed = counts.of(Outcome::Observed),
        handling_us = micros(handled),
        rest_us = micros(took.saturating_sub(handled)),
        "a batch was handled"
    );
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
