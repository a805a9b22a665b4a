//! The metrics of normalization in addition to the shared ones: the equations of INV-5, and the quality flags.
//!
//! `messages = parsed + dead_lettered`, `ticks parsed = emitted + duplicate + rejected`. Workers add to them once per batch.

#![allow(clippy::disallowed_macros)]

use ::metrics::{Counter, Histogram, counter, gauge, histogram};
use domain::{Micros, QualityFlag, QualityFlags};
use markets::RejectCode;
use service::metrics::{Declared, Kind, counter_exists};

const MESSAGES: &str = "normalization_messages_total";
const TICKS: &str = "normalization_ticks_total";
const ROWS_REJECTED: &str = "normalization_rows_rejected_total";
const FLAGS: &str = "quality_flags_total";
const EVENTS_FORGOTTEN: &str = "normalization_events_forgotten_total";
/// Gauge `{topic}`: dead letters that are neither replayed nor expired.
const DLQ_SIZE: &str = "dlq_size";
/// Gauge `{topic}`: the age of the oldest of them.
const DLQ_OLDEST: &str = "dlq_oldest_message_age_seconds";

/// The metrics of this service.
pub const DECLARED: &[Declared] = &[
    Declared::new(MESSAGES, Kind::Counter, "messages", "Raw messages, by outcome.")
        .labels(&["outcome"])
        .with(&[&[("outcome", "parsed")], &[("outcome", "dead_lettered")]]),
    Declared::new(TICKS, Kind::Counter, "ticks", "Ticks of parsed messages, by outcome.")
        .labels(&["outcome"])
        .with(&[
            &[("outcome", "emitted")],
            &[("outcome", "duplicate")],
            &[("outcome", "rejected")],
        ]),
    Declared::new(
        ROWS_REJECTED,
        Kind::Counter,
        "rows",
        "Rejected rows of documents whose other rows were used, by code; a document's dead letter has only the code of its first one.",
    )
    .labels(&["code"]),
    Declared::new(FLAGS, Kind::Counter, "flags", "Quality flags set on emitted ticks.").labels(&["flag", "market"]),
    Declared::new(
        EVENTS_FORGOTTEN,
        Kind::Counter,
        "offsets",
        "Offsets that left the event window before their time because of a flood; their repetitions pass as new.",
    )
    .with(&[&[]]),
    Declared::new(
        DLQ_SIZE,
        Kind::Gauge,
        "messages",
        "Dead letters of all stages that are neither replayed nor expired.",
    )
    .labels(&["topic"]),
    Declared::new(
        DLQ_OLDEST,
        Kind::Gauge,
        "seconds",
        "Age of the oldest dead letter that is neither replayed nor expired; 0 if there is none.",
    )
    .labels(&["topic"]),
];

/// Counts of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub parsed: u64,
    pub dead_lettered: u64,
    pub emitted: u64,
    pub duplicates: u64,
    pub rejected: u64,
}

/// The counter of events that left a window before their time.
pub fn events_forgotten() -> Counter {
    counter!(EVENTS_FORGOTTEN)
}

/// Sets the number of open dead letters and the age of the oldest in seconds.
pub(crate) fn dead_letters(topic: &str, size: f64, age: f64) {
    gauge!(DLQ_SIZE, "topic" => topic.to_owned()).set(size);
    gauge!(DLQ_OLDEST, "topic" => topic.to_owned()).set(age);
}

/// Registers the flag counters of these markets, so that they are exported as 0 from the start.
pub fn flags_exist<'a>(markets: impl Iterator<Item = &'a str>) {
    for market in markets {
        for flag in QualityFlag::ALL {
            counter_exists(
                FLAGS,
                &[("flag", flag.name().to_owned()), ("market", market.to_owned())],
            );
        }
    }
}

/// Registers the counters of rejected rows, so that they are exported as 0 from the start.
pub(crate) fn rejected_rows_exist() {
    for code in RejectCode::ALL {
        counter_exists(ROWS_REJECTED, &[("code", code.name().to_owned())]);
    }
}

/// Counts the rejected rows of a document by code. That is rare, so there are no handles for it.
pub(crate) fn rejected_rows(codes: &[(RejectCode, u64)]) {
    for (code, rows) in codes {
        counter!(ROWS_REJECTED, "code" => code.name()).increment(*rows);
    }
}

/// Handles and counts of one worker.
pub struct Meters {
    batch: Counts,
    flags: Vec<MarketFlags>,
    newest_appended_at: Option<Micros>,
    counters: [Counter; 5],
    latency: Histogram,
}

struct MarketFlags {
    market: String,
    counts: [u64; QualityFlag::ALL.len()],
    counters: [Counter; QualityFlag::ALL.len()],
}

impl Meters {
    /// Creates the handles.
    pub fn new<'a>(markets: impl Iterator<Item = &'a str>) -> Meters {
        let flags = markets.map(|market| MarketFlags {
            market: market.to_owned(),
            counts: [0; QualityFlag::ALL.len()],
            counters: QualityFlag::ALL
                .map(|flag| counter!(FLAGS, "flag" => flag.name(), "market" => market.to_owned())),
        });
        Meters {
            batch: Counts::default(),
            flags: flags.collect(),
            newest_appended_at: None,
            counters: [
                counter!(MESSAGES, "outcome" => "parsed"),
                counter!(MESSAGES, "outcome" => "dead_lettered"),
                counter!(TICKS, "outcome" => "emitted"),
                counter!(TICKS, "outcome" => "duplicate"),
                counter!(TICKS, "outcome" => "rejected"),
            ],
            latency: histogram!(stream::metrics::END_TO_END_LATENCY, "stage" => "normalization"),
        }
    }

    /// Starts a message.
    pub fn message(&mut self, appended_at: Micros) {
        self.newest_appended_at = Some(appended_at);
    }

    /// The counts of the batch so far.
    pub fn batch(&mut self) -> &mut Counts {
        &mut self.batch
    }

    /// Counts the flags of an emitted tick.
    pub fn flags(&mut self, market: &str, flags: QualityFlags) {
        if let Some(known) = self.flags.iter_mut().find(|known| known.market == market) {
            let mut bits = flags.bits();
            while bits != 0 {
                if let Some(count) = known.counts.get_mut(bits.trailing_zeros() as usize) {
                    *count += 1;
                }
                bits &= bits - 1;
            }
        }
    }

    /// Adds the batch to the counters; the latency is that of its newest message.
    pub fn flush(&mut self, now: Micros) {
        let Some(appended_at) = self.newest_appended_at.take() else {
            return;
        };
        let counts = std::mem::take(&mut self.batch);
        let values = [
            counts.parsed,
            counts.dead_lettered,
            counts.emitted,
            counts.duplicates,
            counts.rejected,
        ];
        for (counter, value) in self.counters.iter().zip(values) {
            counter.increment(value);
        }
        for known in &mut self.flags {
            for (count, counter) in known.counts.iter_mut().zip(&known.counters) {
                if *count > 0 {
                    counter.increment(std::mem::take(count));
                }
            }
        }
        self.latency.record((now - appended_at).max(0) as f64 / 1e6);
    }
}
