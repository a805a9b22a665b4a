//! Metrics of enrichment besides those that every service has, and handles that the hot path adds to once per batch.

#![allow(clippy::disallowed_macros)]

use ::metrics::{Counter, Histogram, counter, gauge, histogram};
use domain::{Classification, Micros};
use service::metrics::{Declared, Kind};

const CLASSIFICATIONS: &str = "enrichment_classifications_total";
const LOW_CONFIDENCE: &str = "enrichment_low_confidence_total";
const ENTRIES: &str = "reference_entries";
const REFRESHES: &str = "reference_refreshes_total";

/// Declarations.
pub const DECLARED: &[Declared] = &[
    Declared::new(
        CLASSIFICATIONS,
        Kind::Counter,
        "ticks",
        "Ticks enriched, by the way their reference data was found.",
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
        "Ticks whose classification is below the configured confidence.",
    )
    .with(&[&[]]),
    Declared::new(ENTRIES, Kind::Gauge, "rows", "Rows of reference data in memory.").with(&[&[]]),
    Declared::new(
        REFRESHES,
        Kind::Counter,
        "loads",
        "Complete loads of reference data, by outcome.",
    )
    .labels(&["outcome"])
    .with(&[&[("outcome", "success")], &[("outcome", "failure")]]),
];

/// Counts a complete load.
pub fn refreshed(succeeded: bool) {
    counter!(REFRESHES, "outcome" => if succeeded { "success" } else { "failure" }).increment(1);
}

/// Rows now in memory.
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
    /// Handles, made once.
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

    /// Remembers one tick.
    pub fn tick(&mut self, method: Classification, low_confidence: bool, appended_at: Micros) {
        for (known, _, count) in &mut self.methods {
            *count += u64::from(*known == method);
        }
        self.low_confidence.1 += u64::from(low_confidence);
        self.newest_appended_at = Some(appended_at);
    }

    /// Adds up a batch; its newest tick stands for the latency.
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
