//! The part of `/stats` that every service has: the work of its stage and its current throughput.
//!
//! Rates and shares cover the last minute, so that they fall to zero without new messages.

use domain::Micros;
use serde_json::{Map, Value, json};
use stream::recent::Recent;
use stream::status::Progress;
use stream::{Outcome, OutcomeCounts};

/// The fields for the workers of a stage.
pub(crate) fn of_stage(workers: &[Progress], now: Micros) -> Map<String, Value> {
    let sum = |of: &dyn Fn(&Progress) -> OutcomeCounts| {
        let mut sum = OutcomeCounts::default();
        workers.iter().for_each(|progress| sum.merge(&of(progress)));
        sum
    };
    let (all, recent) = (
        sum(&|progress| progress.messages),
        sum(&|progress| progress.recent(now)),
    );
    let busy_ms: f64 = workers.iter().map(|progress| progress.busy.as_secs_f64() * 1e3).sum();
    let last = workers.iter().filter_map(|progress| progress.last).max();
    let fields = [
        ("messages_processed", json!(all.decided())),
        ("messages_failed", json!(all.of(Outcome::DeadLettered))),
        ("messages_by_status", by_status(&all)),
        (
            "processing_rate_per_second",
            json!(recent.decided() as f64 / Recent::SECONDS as f64),
        ),
        ("average_processing_time_ms", json!(share(busy_ms, all.total()))),
        (
            "error_rate_percent",
            json!(share(recent.of(Outcome::DeadLettered) as f64 * 100.0, recent.decided())),
        ),
        ("rate_window_seconds", json!(Recent::SECONDS)),
        ("last_processing_time", last.map_or(Value::Null, codec::json::time)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Messages by the value of label `status`.
pub(crate) fn by_status(counts: &OutcomeCounts) -> Value {
    let fields: Map<String, Value> = counts
        .iter()
        .map(|(outcome, count)| (outcome.name().to_owned(), count.into()))
        .collect();
    fields.into()
}

fn share(value: f64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { value / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_without_messages_shows_zeros_and_no_time() {
        let fields = of_stage(&[Progress::default()], 1);
        for name in ["messages_processed", "messages_failed"] {
            assert_eq!(fields.get(name), Some(&json!(0)), "{name}");
        }
        for name in [
            "processing_rate_per_second",
            "average_processing_time_ms",
            "error_rate_percent",
        ] {
            assert_eq!(fields.get(name), Some(&json!(0.0)), "{name}");
        }
        assert_eq!(fields.get("last_processing_time"), Some(&Value::Null));
    }
}
