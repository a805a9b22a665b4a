//! The metrics of enrichment in addition to the shared ones, and handles that the hot path updates once per batch.

#![allow(clippy::disallowed_macros)]

use ::metrics::{Counter, Histogram, counter, gauge, histogram};
use domain::{Classification, Micros};
use service::metrics::{Declared, Kind};

const CLASSIFICATIONS: &str = "enrichment_classifications_total";
const LOW_CONFIDENCE: &str = "enrichment_low_confidence_total";
const ENTRIES: &str = "reference_entries";
const REFRESHES: &str = "reference_refreshes_total";

/// The metrics of this service.
pub const DECLARED: &[Declared] = &[
    Declared::new(
        CLASSIFICATIONS,
        Kind::Counter,
        "ticks",
        "Enriched ticks, by the source of their reference data.",
    )
    .labels(&["method"])
    .with(&[
        &[("method", "database")],
        &[("method", "rule_based")],
        &[("method", "fallback")],
    ]),
    Declared::new(
        LOW_CONFIDENCE,
        Kind::Counter,
        "ticks",
        "Ticks whose classification confidence is below the threshold.",
    )
    .with(&[&[]]),
    Declared::new(ENTRIES, Kind::Gauge, "rows", "Rows of reference data in memory.").with(&[&[]]),
    Declared::new(
        REFRESHES,
        Kind::Counter,
        "loads",
        "Full loads of reference data, by outcome.",
    )
    .labels(&["outcome"])
    .with(&[&[("outcome", "success")], &[("outcome", "failure")]]),
];

/// Counts a full load.
pub fn refreshed(succeeded: bool) {
    counter!(REFRESHES, "outcome" => if succeeded { "success" } else { "failure" }).increment(1);
}

/// Sets the number of rows in memory.
pub fn entries(count: usize) {
    gauge!(ENTRIES).set(count as f64);
}

/// Handles of one worker.
pub struct Meters {
    methods: [(Classification, Counter, u64); 3],
    low_confidence: (Counter, u64),
    latency: Histogram,
    newest_appended_at: Option<Micros>,
}

impl Meters {
    /// Creates the handles.
    pub fn new() -> Meters {
        let method = |method: Classification| (method, counter!(CLASSIFICATIONS, "method" => method.name()), 0);
        Meters {
            methods: [
                method(Classification::Database),
                method(Classification::RuleBased),
                method(Classification::Fallback),
            ],
            low_confidence: (counter!(LOW_CONFIDENCE), 0),
            latency: histogram!(stream::metrics::END_TO_END_LATENCY, "stage" => "enrichment"),
            newest_appended_at: None,
        }
    }

    /// Counts one tick.
    pub fn tick(&mut self, method: Classification, low_confidence: bool, appended_at: Micros) {
        for (known, _, count) in &mut self.methods {
            *count += u64::from(*known == method);
        }
        self.low_confidence.1 += u64::from(low_confidence);
        self.newest_appended_at = Some(appended_at);
    }

    /// Adds the batch to the counters; the latency is that of its newest tick.
    pub fn flush(&mut self, now: Micros) {
        let Some(appended_at) = self.newest_appended_at.take() else {
            return;
        };
        for (_, counter, count) in &mut self.methods {
            counter.increment(std::mem::take(count));
        }
        self.low_confidence
            .0
            .increment(std::mem::take(&mut self.low_confidence.1));
        self.latency.record((now - appended_at).max(0) as f64 / 1e6);
    }
}

impl Default for Meters {
    fn default() -> Meters {
        Meters::new()
    }
}
