//! The content of windows: one tick, or the sums of many.
//!
//! Invariants: open and close are by [`domain::PriceRank`], so arrival order never matters; sums are exact. A tick at or
//! below the offset applied last is counted already.
//! Both forms are small, since every instrument has several of them.
//! Failure: a tick whose sum does not fit `Decimal(38, ..)`, or whose number does not fit 32 bits, is rejected; the sums are unchanged.

use domain::{Bar, BarCause, BarVersion, Decimal, Micros, Origin, PriceRank, Product, TimeWeighted, Turnover, Window};

use super::interner::{Source, SourceId, TextId, Texts};
use super::window_state::Added;

/// First or last tick of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub time: Micros,
    /// Zero if the source has none.
    sequence: i64,
    offset: i64,
    pub price: Decimal,
    index: i32,
    source: SourceId,
}

impl Edge {
    fn of((time, sequence, origin): PriceRank<'_>, price: Decimal, texts: &mut Texts) -> Edge {
        let source = Source {
            feed: origin.feed,
            partition: origin.partition,
            is_numbered: sequence.is_some(),
        };
        Edge {
            time,
            sequence: sequence.unwrap_or(0),
            offset: origin.offset,
            price,
            index: origin.index,
            source: texts.source_id(&source),
        }
    }

    fn rank<'a>(&self, texts: &'a Texts) -> PriceRank<'a> {
        let source = texts.source(self.source);
        let sequence = source.is_numbered.then_some(self.sequence);
        (self.time, sequence, self.origin(texts))
    }

    pub fn origin<'a>(&self, texts: &'a Texts) -> Origin<'a> {
        let source = texts.source(self.source);
        Origin {
            feed: source.feed,
            partition: source.partition,
            offset: self.offset,
            index: self.index,
        }
    }

    /// Whether it ranks before another tick of its window. Times nearly always differ; the full comparison needs look-ups.
    #[inline]
    fn is_before(&self, other: &Edge, texts: &Texts) -> bool {
        self.time < other.time || self.time == other.time && self.is_ranked_before(other, texts)
    }

    #[cold]
    fn is_ranked_before(&self, other: &Edge, texts: &Texts) -> bool {
        self.rank(texts) < other.rank(texts)
    }
}

/// The part of a tick that windows use: created once, added to each of its windows.
#[derive(Debug, Clone, Copy)]
pub struct Contribution {
    edge: Edge,
    market: TextId,
    volume: Decimal,
    turnover: Turnover,
    appended_at: Micros,
    /// Offset of the tick in the enriched topic.
    pub offset: i64,
    /// For which its price counts in averages; 0 for trades.
    seconds: u16,
}

impl Contribution {
    /// The contribution of a tick.
    pub fn of(tick: &domain::Tick<'_>, offset: i64, texts: &mut Texts) -> Contribution {
        let volume = tick.volume.unwrap_or(Decimal::ZERO);
        Contribution {
            edge: Edge::of((tick.event_time, tick.sequence, tick.origin), tick.price, texts),
            market: texts.id(tick.market),
            volume,
            turnover: tick.price.turnover(volume),
            appended_at: tick.appended_at,
            offset,
            seconds: Product::of(tick.product, tick.kind).priced_seconds(tick.event_time, tick.interval_end),
        }
    }
}

/// A window of one tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Single {
    pub edge: Edge,
    volume: Decimal,
    /// Offset of the tick in the enriched topic.
    pub offset: i64,
    appended_at: Micros,
    market: TextId,
    pub seconds: u16,
    /// Whether the tick came after the close: 1 or 0.
    pub revision: u16,
}

impl Single {
    pub fn of(tick: &Contribution) -> Single {
        Single {
            edge: tick.edge,
            volume: tick.volume,
            offset: tick.offset,
            appended_at: tick.appended_at,
            market: tick.market,
            seconds: tick.seconds,
            revision: 0,
        }
    }

    /// The tick's identity, without what it adds to sums.
    pub fn named(tick: &Contribution) -> Single {
        Single {
            volume: Decimal::ZERO,
            seconds: 0,
            ..Single::of(tick)
        }
    }

    /// The identity of the last tick of a saved bar.
    pub fn last_of(bar: &Bar<'_>, texts: &mut Texts) -> Single {
        Single {
            edge: Edge::of((bar.close_time, bar.close_sequence, bar.last_origin), bar.close, texts),
            volume: Decimal::ZERO,
            offset: bar.version.last_offset,
            appended_at: bar.last_appended_at,
            market: texts.id(bar.market),
            seconds: 0,
            revision: 0,
        }
    }

    /// The only tick of these sums, if they are of one tick.
    pub fn only(sums: &Sums) -> Option<Single> {
        let volume = i64::try_from(sums.volume).ok()?;
        let single = Single {
            edge: sums.last,
            volume: Decimal::from_unscaled(volume).ok()?,
            offset: sums.last_offset,
            appended_at: sums.last_appended_at,
            market: sums.market,
            seconds: u16::try_from(sums.seconds).ok()?,
            revision: u16::try_from(sums.revision).ok()?,
        };
        (Sums::of(&single) == *sums).then_some(single)
    }
}

/// A window of any number of ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    /// Prices (scale 8) × seconds. A bar of interval prices has the average.
    price_seconds: i128,
    volume: i128,
    turnover: Turnover,
    first: Edge,
    last: Edge,
    high: Decimal,
    low: Decimal,
    trade_count: u32,
    /// Of the intervals whose price is counted.
    pub seconds: u32,
    pub last_offset: i64,
    last_appended_at: Micros,
    pub revision: i32,
    market: TextId,
}

impl Sums {
    pub fn of(tick: &Single) -> Sums {
        let TimeWeighted { price_seconds, .. } = TimeWeighted::of(tick.edge.price, tick.seconds);
        Sums {
            price_seconds,
            volume: i128::from(tick.volume.unscaled()),
            turnover: tick.edge.price.turnover(tick.volume),
            first: tick.edge,
            last: tick.edge,
            high: tick.edge.price,
            low: tick.edge.price,
            trade_count: 1,
            seconds: tick.seconds.into(),
            last_offset: tick.offset,
            last_appended_at: tick.appended_at,
            revision: tick.revision.into(),
            market: tick.market,
        }
    }

    /// Adds a tick.
    #[inline]
    pub fn add(&mut self, tick: &Contribution, texts: &Texts) -> Added {
        if tick.offset <= self.last_offset {
            return Added::Known;
        }
        let (Some(volume), Some(turnover), Some(trade_count), Some(seconds)) = (
            // Each volume is below 10^18, so no realistic number of them overflows `Decimal(38, 8)`.
            self.volume.checked_add(i128::from(tick.volume.unscaled())),
            self.turnover.checked_add(tick.turnover),
            self.trade_count.checked_add(1),
            self.seconds.checked_add(tick.seconds.into()),
        ) else {
            return Added::Overflow;
        };
        (self.volume, self.turnover) = (volume, turnover);
        (self.trade_count, self.seconds) = (trade_count, seconds);
        // Far below 2^127: a price is below 10^18, and all the seconds are below 2^32.
        self.price_seconds += TimeWeighted::of(tick.edge.price, tick.seconds).price_seconds;
        if tick.edge.is_before(&self.first, texts) {
            self.first = tick.edge;
        }
        if self.last.is_before(&tick.edge, texts) {
            self.last = tick.edge;
            self.market = tick.market;
        }
        self.high = self.high.max(tick.edge.price);
        self.low = self.low.min(tick.edge.price);
        self.last_offset = tick.offset;
        self.last_appended_at = self.last_appended_at.max(tick.appended_at);
        Added::Counted
    }

    /// The current bar.
    pub fn bar<'a>(
        &self,
        (tenant_id, instrument_id): (&'a str, &'a str),
        window: Window,
        closed: bool,
        texts: &'a Texts,
    ) -> Bar<'a> {
        let (open_time, open_sequence, first_origin) = self.first.rank(texts);
        let (close_time, close_sequence, last_origin) = self.last.rank(texts);
        Bar {
            tenant_id,
            instrument_id,
            market: texts.text(self.market),
            window,
            open: self.first.price,
            high: self.high,
            low: self.low,
            close: self.last.price,
            volume: self.volume,
            turnover: self.turnover,
            vwap: self.turnover.vwap(self.volume),
            time_weighted: TimeWeighted {
                price_seconds: self.price_seconds,
                seconds: self.seconds.into(),
            },
            trade_count: self.trade_count.into(),
            open_time,
            open_sequence,
            first_origin,
            close_time,
            close_sequence,
            last_origin,
            revision: self.revision,
            // Any other price of an interval is left to the table. The clock never goes back and the ticks are of one product, so once one
            // came after the close, the last one did.
            cause: Some(match self.revision {
                0 => BarCause::Live,
                _ => BarCause::Late,
            }),
            version: BarVersion {
                last_offset: self.last_offset,
                closed,
            },
            last_appended_at: self.last_appended_at,
        }
    }

    /// The sums of a saved bar; `None` if its number of ticks or its seconds are out of range.
    pub fn saved(bar: &Bar<'_>, texts: &mut Texts) -> Option<Sums> {
        let TimeWeighted { price_seconds, seconds } = bar.time_weighted;
        Some(Sums {
            price_seconds,
            volume: bar.volume,
            turnover: bar.turnover,
            first: Edge::of((bar.open_time, bar.open_sequence, bar.first_origin), bar.open, texts),
            last: Edge::of((bar.close_time, bar.close_sequence, bar.last_origin), bar.close, texts),
            high: bar.high,
            low: bar.low,
            trade_count: u32::try_from(bar.trade_count).ok()?,
            seconds: u32::try_from(seconds).ok()?,
            last_offset: bar.version.last_offset,
            last_appended_at: bar.last_appended_at,
            revision: bar.revision,
            market: texts.id(bar.market),
        })
    }
}
