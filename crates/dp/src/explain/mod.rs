//! Traces a number back to its raw messages, and a raw message forward to everything that was made of it.
//!
//! Role: [`numbers`], [`bar`], [`follow`] and [`text`] are pure (recompute a bar, decide the fate of a message, describe);
//! [`tables`], [`logs`] and [`served`] ask the stores and the log, for [`session`], which puts the traces together. A raw
//! message is read by normalization's own parser and event-id window (INV-1), so what is said about it is what the pipeline
//! decided.
//! Failure: what a store does not hold any more (expired messages, merged versions) is said, never guessed.

pub mod bar;
pub mod content;
pub mod follow;
pub mod logs;
pub mod numbers;
pub mod row;
pub mod served;
pub mod session;
pub mod tables;
pub mod text;

use std::fmt;

use domain::{Micros, Origin, PriceRank};
use serde::{Serialize, Serializer};

use crate::commands::present::iso;

/// A place in a log. Shown as `topic/partition/offset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A time in microseconds since 1970; ISO 8601 wherever it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub Micros);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&iso(self.0))
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A tick as the tables hold it, with its places on the way. Numbers are the digits that the tables hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TickRow {
    pub tick_id: String,
    pub raw: Place,
    pub index: i32,
    pub event_id: String,
    pub tenant_id: String,
    pub instrument_id: String,
    pub event_time: At,
    /// The producer's, where it gives one.
    pub sequence: Option<i64>,
    pub price: String,
    pub volume: Option<String>,
    pub appended_at: At,
    /// Where it lies in the normalized topic; `None` while `market_ticks` has no row of it.
    pub normalized: Option<Place>,
    /// Where it lies in the enriched topic; `None` while `enriched_ticks` has no row of it.
    pub enriched: Option<Place>,
    /// That it came too late for some windows.
    pub late: Option<LateRow>,
}

impl TickRow {
    /// What orders the ticks of a bar.
    pub fn rank(&self) -> PriceRank<'_> {
        let origin = Origin {
            feed: &self.raw.topic,
            partition: self.raw.partition,
            offset: self.raw.offset,
            index: self.index,
        };
        (self.event_time.0, self.sequence, origin)
    }

    /// Whether it came too late for the windows of this interval.
    pub fn is_late_for(&self, interval: &str) -> bool {
        self.late
            .as_ref()
            .is_some_and(|late| late.intervals.iter().any(|missed| missed == interval))
    }
}

/// A row of `late_ticks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct LateRow {
    /// Windows that do not count the tick.
    pub intervals: Vec<String>,
    /// Of the instrument, when the tick was read.
    pub watermark: At,
    /// Where it lies in the late topic.
    pub place: Place,
}

/// A version of a bar as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BarRow {
    pub interval: String,
    pub window_start: At,
    pub version: u64,
    /// The enriched offset of the last tick applied.
    pub last_enriched_offset: i64,
    pub closed: bool,
    /// Ticks applied after the watermark had passed the end.
    pub revision: i32,
    pub numbers: numbers::Numbers,
    /// Where it lies in the bars topic.
    pub place: Place,
    pub ingested_at: At,
}
