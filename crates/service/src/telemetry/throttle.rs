//! Throttles log lines: a flood of one kind becomes its first lines and a count.
//!
//! Role: the kind of an event is its location in the code, with its fields whose values come from a closed set. A limited
//! number of lines per kind is written in an interval. The next line of the kind, or a summary if none comes, carries the
//! number of suppressed lines.
//! Invariants: written lines + counts of suppressed lines = events; the memory is bounded for any field values.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::callsite::Identifier;
use tracing::{Event, Level};

use super::fields::Fields;

/// The interval in which lines of one kind are counted together.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Limit on the number of kinds; beyond it, events share one entry per location in the code.
const MAX_KINDS: usize = 1_000;
/// Fields that distinguish kinds: their values come from closed sets.
const KEYS: [&str; 8] = [
    "event",
    "code",
    "dependency",
    "check",
    "to",
    "thread",
    "variable",
    "stage",
];

/// Lines of one kind per interval. Dead letters get more lines than errors that repeat while a server is down. Debug output
/// and fatal errors are not limited.
fn allowance(level: Level, fields: &Fields) -> u32 {
    match level {
        _ if fields.fatal => u32::MAX,
        Level::ERROR if fields.text("event") == Some("dlq") => 20,
        Level::ERROR | Level::WARN => 1,
        Level::INFO => 50,
        Level::DEBUG | Level::TRACE => u32::MAX,
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Kind {
    place: Identifier,
    key: String,
}

/// Example of a line of this kind, for the summary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) message: String,
    pub(super) keys: Map<String, Value>,
}

struct Counted {
    until: Instant,
    written: u32,
    suppressed: u64,
    sample: Option<Sample>,
}

/// Whether a line is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes; `suppressed` lines of its kind were left out since the last one.
    Write { suppressed: u64 },
    /// No; it was counted.
    Suppress,
}

/// Counts lines by kind.
#[derive(Default)]
pub(super) struct Throttle {
    kinds: Mutex<HashMap<Kind, Counted>>,
}

impl Throttle {
    /// Decides whether a line is written.
    pub(super) fn admit(&self, event: &Event<'_>, fields: &Fields, now: Instant) -> Admission {
        let metadata = event.metadata();
        let allowance = allowance(*metadata.level(), fields);
        if allowance == u32::MAX {
            return Admission::Write { suppressed: 0 };
        }
        let mut kinds = self.lock();
        let mut kind = Kind {
            place: metadata.callsite(),
            key: key(fields),
        };
        if kinds.len() >= MAX_KINDS && !kinds.contains_key(&kind) {
            kind.key.clear();
        }
        let counted = kinds.entry(kind).or_insert(Counted {
            until: now + INTERVAL,
            written: 0,
            suppressed: 0,
            sample: None,
        });
        if now >= counted.until {
            (counted.until, counted.written) = (now + INTERVAL, 0);
        }
        if counted.written < allowance {
            counted.written += 1;
            let suppressed = std::mem::take(&mut counted.suppressed);
            return Admission::Write { suppressed };
        }
        counted.suppressed += 1;
        counted.sample.get_or_insert_with(|| Sample {
            level: *metadata.level(),
            target: metadata.target(),
            message: fields.message.clone(),
            keys: keys(fields),
        });
        Admission::Suppress
    }

    /// The counts of intervals that are over, each once; quiet kinds are removed.
    pub(super) fn due(&self, now: Instant) -> Vec<(Sample, u64)> {
        let mut due = Vec::new();
        self.lock().retain(|_, counted| {
            if now < counted.until {
                return true;
            }
            let suppressed = std::mem::take(&mut counted.suppressed);
            if let (Some(sample), true) = (counted.sample.take(), suppressed > 0) {
                due.push((sample, suppressed));
            }
            false
        });
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Counted>> {
        // The counts are valid even if a thread panicked while it held the lock.
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(fields: &Fields) -> Map<String, Value> {
    KEYS.into_iter()
        .filter_map(|name| Some((name.to_owned(), fields.values.get(name)?.clone())))
        .collect()
}

fn key(fields: &Fields) -> String {
    let mut texts: Vec<&str> = KEYS.into_iter().filter_map(|name| fields.text(name)).collect();
    if fields.text("event") == Some("partition_blocked") {
        // Each partition has its own remedy, and is logged at most once a minute.
        texts.extend(fields.text("partition"));
    }
    texts.join("\n")
}
