//! A tick as the tables store it, with its places in the logs. Pure.

use std::fmt;

use domain::{Kind, Micros, Origin, PriceRank, Product};
use serde::{Serialize, Serializer};

use ops::present::iso;

/// A position in a log. Shown as `topic/partition/offset`.
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

/// A time in microseconds since 1970. Shown in ISO 8601.
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

/// A tick as stored in the tables, with its position in each topic. Numbers keep the digits of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TickRow {
    pub tick_id: String,
    pub raw: Place,
    pub index: i32,
    /// Only `market_ticks` has it.
    pub event_id: Option<String>,
    pub tenant_id: String,
    pub instrument_id: String,
    pub event_time: At,
    /// End of the interval of a price, if its source states one.
    pub interval_end: Option<At>,
    /// The producer's sequence, if it sends one.
    pub sequence: Option<i64>,
    pub price: String,
    pub volume: Option<String>,
    pub product: String,
    /// Whether it is the price of an interval. The price of the best vintage, of equal ones the last, replaces the others.
    pub is_of_interval: bool,
    /// Version or vintage of a restated price, as published.
    pub version: Option<String>,
    pub appended_at: At,
    /// Position in the normalized topic. `None` while `market_ticks` has no row of the tick.
    pub normalized: Option<Place>,
    /// Position in the enriched topic. `None` while `enriched_ticks` has no row of the tick.
    pub enriched: Option<Place>,
    /// Its row in `late_ticks`, if it took the table path for any window.
    pub late: Option<LateRow>,
}

impl TickRow {
    /// What its product means for bars.
    pub fn product(&self) -> Product {
        let kind = if self.is_of_interval {
            Kind::Interval
        } else {
            Kind::Trade
        };
        Product::of(&self.product, kind)
    }

    /// For how many seconds its price counts in averages.
    pub fn priced_seconds(&self) -> u16 {
        let end = self.interval_end.map(|At(end)| end);
        self.product().priced_seconds(self.event_time.0, end)
    }

    /// The sort key of ticks in a bar.
    pub fn rank(&self) -> PriceRank<'_> {
        (self.event_time.0, self.sequence, self.origin())
    }

    /// Its origin.
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            feed: &self.raw.topic,
            partition: self.raw.partition,
            offset: self.raw.offset,
            index: self.index,
        }
    }

    /// Its row in `late_ticks`, if it took the table path for the window of this interval.
    pub fn late_for(&self, interval: &str) -> Option<&LateRow> {
        let late = self.late.as_ref()?;
        late.intervals.iter().any(|missed| missed == interval).then_some(late)
    }
}

/// A row of `late_ticks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct LateRow {
    /// Intervals whose bars `restate` recomputes from the table because of this tick.
    pub intervals: Vec<String>,
    /// The log clock when the tick was read.
    pub clock: At,
    /// Position in the late topic.
    pub place: Place,
}
