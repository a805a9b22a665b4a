//! Metrics of normalization besides those that every service has: the equations of INV-5, and the quality flags.
//!
//! `messages = parsed + dead_lettered`, `ticks parsed = emitted + duplicate + rejected`. Workers add once per batch.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::metrics::{Counter, Histogram, counter, histogram};
use domain::{Micros, QualityFlag, QualityFlags};
use serde_json::{Map, Value, json};
use service::metrics::{Declared, Kind, counter_exists};

const MESSAGES: &str = "normalization_messages_total";
const TICKS: &str = "normalization_ticks_total";
const FLAGS: &str = "quality_flags_total";

/// Declarations.
pub const DECLARED: &[Declared] = &[
    Declared::new(
        MESSAGES,
        Kind::Counter,
        "Raw messages, by what became of them as a whole.",
    )
    .with(&[&[("outcome", "parsed")], &[("outcome", "dead_lettered")]]),
    Declared::new(
        TICKS,
        Kind::Counter,
        "Ticks of parsed messages, by what became of them.",
    )
    .with(&[
        &[("outcome", "emitted")],
        &[("outcome", "duplicate")],
        &[("outcome", "rejected")],
    ]),
    Declared::new(FLAGS, Kind::Counter, "Quality flags set on emitted ticks."),
];

/// Counts of a batch or of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub parsed: u64,
    pub dead_lettered: u64,
    pub emitted: u64,
    pub duplicates: u64,
    pub rejected: u64,
}

/// What `/stats` shows: the sums of all workers.
#[derive(Debug, Default)]
pub struct Totals {
    messages: AtomicU64,
    failed: AtomicU64,
    busy_nanos: AtomicU64,
    last: Mutex<Option<Micros>>,
}

impl Totals {
    fn add(&self, counts: &Counts, busy: Duration, now: Micros) {
        self.messages
            .fetch_add(counts.parsed + counts.dead_lettered, Ordering::Relaxed);
        self.failed.fetch_add(counts.dead_lettered, Ordering::Relaxed);
        self.busy_nanos
            .fetch_add(u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Ok(mut last) = self.last.lock() {
            *last = Some(now);
        }
    }

    /// The fields of `/stats`. `uptime` is that of the process.
    pub fn fields(&self, uptime: Duration) -> Map<String, Value> {
        let messages = self.messages.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        let busy_ms = self.busy_nanos.load(Ordering::Relaxed) as f64 / 1e6;
        let per_message = |value: f64| if messages == 0 { 0.0 } else { value / messages as f64 };
        let last = self.last.lock().ok().and_then(|last| *last);
        [
            ("messages_processed", json!(messages)),
            ("messages_failed", json!(failed)),
            (
                "processing_rate_per_second",
                json!(messages as f64 / uptime.as_secs_f64().max(1.0)),
            ),
            ("average_processing_time_ms", json!(per_message(busy_ms))),
            ("error_rate_percent", json!(per_message(failed as f64 * 100.0))),
            ("last_processing_time", last.map_or(Value::Null, codec::json::time)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// Makes the flag counters of these markets exist.
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

/// Handles and counts of one worker.
pub struct Meters {
    batch: Counts,
    flags: Vec<MarketFlags>,
    newest_appended_at: Option<Micros>,
    began: Option<Instant>,
    counters: [Counter; 5],
    latency: Histogram,
}

struct MarketFlags {
    market: String,
    counts: [u64; QualityFlag::ALL.len()],
    counters: [Counter; QualityFlag::ALL.len()],
}

impl Meters {
    /// Handles, made once.
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
            began: None,
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

    /// A message begins; the first one of a batch starts its clock.
    pub fn message(&mut self, appended_at: Micros) {
        self.began.get_or_insert_with(Instant::now);
        self.newest_appended_at = Some(appended_at);
    }

    /// The counts of the batch so far.
    pub fn batch(&mut self) -> &mut Counts {
        &mut self.batch
    }

    /// Remembers the flags of an emitted tick.
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

    /// Adds up the batch; its newest message stands for the latency.
    pub fn flush(&mut self, totals: &Totals, now: Micros) {
        let Some(began) = self.began.take() else {
            return;
        };
        let counts = std::mem::take(&mut self.batch);
        totals.add(&counts, began.elapsed(), now);
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
        if let Some(appended_at) = self.newest_appended_at.take() {
            self.latency.record((now - appended_at).max(0) as f64 / 1e6);
        }
    }
}
