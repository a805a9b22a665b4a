//! A tick before and after enrichment, borrowed from the bytes of its message (no allocation on the hot path).

use crate::{Decimal, Micros, Origin, QualityFlags, Vintage};

/// The kind of a tick's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A trade or quote: each one counts.
    Trade,
    /// The price of one delivery interval.
    Interval,
}

impl Kind {
    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Trade => "trade",
            Kind::Interval => "interval",
        }
    }
}

/// A normalized tick. Texts borrow from the message; times are UTC microseconds; prices are per `unit` in `currency`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Tick<'a> {
    pub origin: Origin<'a>,
    /// When the raw message was appended to the log (the broker's clock).
    pub appended_at: Micros,
    /// The producer's id of the event; of a document, a hash of its bytes.
    pub source_event_id: &'a str,
    pub correlation_id: &'a str,
    /// The event that caused the tick: the raw one, so normalization writes its `source_event_id`.
    pub causation_id: Option<&'a str>,
    pub tenant_id: &'a str,
    pub instrument_id: &'a str,
    pub symbol: Option<&'a str>,
    /// Upper case: `MISO`, `CAISO`, …
    pub market: &'a str,
    pub kind: Kind,
    pub event_time: Micros,
    /// End of the delivery interval that starts at `event_time`.
    pub interval_end: Option<Micros>,
    pub price: Decimal,
    pub volume: Option<Decimal>,
    pub bid: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub energy: Option<Decimal>,
    pub congestion: Option<Decimal>,
    pub loss: Option<Decimal>,
    pub ghg: Option<Decimal>,
    pub currency: &'a str,
    pub unit: &'a str,
    pub node: Option<&'a str>,
    pub zone: Option<&'a str>,
    pub hub: Option<&'a str>,
    pub market_status: Option<&'a str>,
    /// `rt5`, `rt15`, `rth`, `da`, `exante`, `trade`, …
    pub product: &'a str,
    /// Version or vintage of a restated price.
    pub version: Option<&'a str>,
    pub source_system: &'a str,
    pub sequence: Option<i64>,
    pub quality_flags: QualityFlags,
    /// Wall clock of the service that normalized it (for information only, never used in a decision: INV-1).
    pub normalized_at: Micros,
}

/// The order of prices everywhere (bars, latest prices, tables): event time, then the producer's sequence, then origin.
/// A tick without a sequence sorts before every tick with one. The origin is unique, so no two ticks are equal.
pub type PriceRank<'a> = (Micros, Option<i64>, Origin<'a>);

/// The order in which a price replaces another one as an instrument's latest: event time, then vintage (of two prices of one
/// interval the more certain one), then as [`PriceRank`].
pub type LatestRank<'a> = (Micros, Vintage, Option<i64>, Origin<'a>);

impl<'a> Tick<'a> {
    /// Its rank in the order of prices.
    pub fn rank(&self) -> PriceRank<'a> {
        (self.event_time, self.sequence, self.origin)
    }

    /// How certain its price is.
    pub fn vintage(&self) -> Vintage {
        Vintage::of(self.version, self.kind)
    }

    /// Its rank as a latest price.
    pub fn latest_rank(&self) -> LatestRank<'a> {
        (self.event_time, self.vintage(), self.sequence, self.origin)
    }
}

/// How the reference data of a tick was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Classification {
    /// A row of `taxonomy_instruments`.
    Database,
    /// Derived from the names by rules.
    RuleBased,
    /// No reference data found.
    Fallback,
}

impl Classification {
    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Classification::Database => "database",
            Classification::RuleBased => "rule_based",
            Classification::Fallback => "fallback",
        }
    }
}

/// What enrichment adds to a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Enrichment<'a> {
    pub commodity: &'a str,
    pub region: &'a str,
    pub product_tier: &'a str,
    /// Unit of the instrument row, if there is one.
    pub unit: Option<&'a str>,
    pub contract_size: Option<Decimal>,
    pub tick_size: Option<Decimal>,
    /// Curve that the instrument is a member of.
    pub curve_id: Option<&'a str>,
    /// How the curve is made from its quotes; the crate `curves` reads it.
    pub curve_definition: Option<&'a str>,
    /// 0..=100, in hundredths (0.95 is 95).
    pub confidence_percent: i32,
    pub method: Classification,
    /// Confidence below the configured threshold.
    pub low_confidence: bool,
    pub enriched_at: Micros,
}

/// A tick with its reference data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EnrichedTick<'a> {
    pub tick: Tick<'a>,
    pub enrichment: Enrichment<'a>,
}

impl<'a> EnrichedTick<'a> {
    /// The unit of its price: from the instrument's reference data, else from the producer or the market.
    pub fn unit(&self) -> &'a str {
        self.enrichment.unit.unwrap_or(self.tick.unit)
    }
}

/// A tick whose bars of some windows are computed from the table: it is too late for the stream, or it is the price of an
/// interval that already had one. With `is_close`, it is the closing of one such window instead, with the window's last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LateTick<'a> {
    pub origin: Origin<'a>,
    pub tenant_id: &'a str,
    pub instrument_id: &'a str,
    pub event_time: Micros,
    pub price: Decimal,
    pub volume: Option<Decimal>,
    /// Bit `i` set: the bar of the window of `Interval::ALL[i]` must be computed from the table.
    pub missed_intervals: u8,
    /// Those of `missed_intervals` whose window the clock had closed: their restated bars are closed. Records of version 1 of
    /// the schema have none.
    pub closed_intervals: u8,
    /// Not a new tick: `enriched_offset` is that of the last tick in the window.
    pub is_close: bool,
    /// The log clock of the enriched partition when the record was created.
    pub watermark: Micros,
    /// Offset of the tick in the enriched topic.
    pub enriched_offset: i64,
}
