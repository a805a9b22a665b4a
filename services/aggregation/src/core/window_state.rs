//! One window of one instrument: ticks in, a bar out, or word that the table has to make it.
//!
//! Invariants: open and close are by [`domain::PriceRank`], so arrival order never matters; sums are exact; the state
//! after the tick at offset `n` is a function of the log up to `n`, so a bar's version tells its content (INV-1).
//! A tick at or below the offset applied last is in already: that makes re-reading after a restart harmless.
//! A window that is marked *from the table* makes no bar any more: each further tick of it, and its closing, takes the
//! table's way. Marking one too many costs a query and no exactness, since the table holds every tick.
//! Failure: a sum that leaves `Decimal(38, ..)` refuses the tick and leaves the window as it was.

use codec::state::WindowRecord;
use domain::{Bar, BarVersion, Decimal, Interval, Micros, Origin, PriceRank, Product, Turnover, Window};

use super::texts::{TextId, Texts};

/// An origin with its feed as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    feed: TextId,
    partition: i32,
    offset: i64,
    index: i32,
}

impl Place {
    /// Makes the place of an origin.
    pub fn of(origin: &Origin<'_>, texts: &mut Texts) -> Place {
        Place {
            feed: texts.id(origin.feed),
            partition: origin.partition,
            offset: origin.offset,
            index: origin.index,
        }
    }

    /// The origin again.
    pub fn origin<'a>(&self, texts: &'a Texts) -> Origin<'a> {
        Origin {
            feed: texts.text(self.feed),
            partition: self.partition,
            offset: self.offset,
            index: self.index,
        }
    }
}

/// First or last tick of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    time: Micros,
    sequence: Option<i64>,
    place: Place,
    price: Decimal,
}

impl Edge {
    /// Order of ticks inside a window.
    fn rank<'a>(&self, texts: &'a Texts) -> PriceRank<'a> {
        (self.time, self.sequence, self.place.origin(texts))
    }
}

/// What a window takes of a tick: made once, added to each of its windows.
#[derive(Debug, Clone, Copy)]
pub struct Contribution {
    edge: Edge,
    market: TextId,
    volume: i128,
    turnover: Turnover,
    appended_at: Micros,
    /// Offset of the tick in the enriched topic.
    pub offset: i64,
}

impl Contribution {
    /// Reads a tick.
    pub fn of(tick: &domain::Tick<'_>, offset: i64, texts: &mut Texts) -> Contribution {
        let volume = tick.volume.unwrap_or(Decimal::ZERO);
        Contribution {
            edge: Edge {
                time: tick.event_time,
                sequence: tick.sequence,
                place: Place::of(&tick.origin, texts),
                price: tick.price,
            },
            market: texts.id(tick.market),
            volume: i128::from(volume.unscaled()),
            turnover: tick.price.turnover(volume),
            appended_at: tick.appended_at,
            offset,
        }
    }
}

/// What became of a tick in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It counts.
    Counted,
    /// It takes the table's way.
    ByTable,
    /// It was in already.
    Known,
    /// A sum would no longer fit its column.
    Overflow,
}

/// A window and what is still owed to the outside about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowState {
    /// First microsecond inside.
    pub start: Micros,
    first: Edge,
    last: Edge,
    high: Decimal,
    low: Decimal,
    volume: i128,
    turnover: Turnover,
    trade_count: i64,
    revision: i32,
    last_offset: i64,
    last_appended_at: Micros,
    market: TextId,
    /// Product of its last tick.
    pub product: Product,
    /// Ticks of more than one product lie in it.
    pub mixed: bool,
    from_table: bool,
    /// By the log's clock, or by the idle clock since its last tick.
    pub closed: bool,
    /// Changed since its bar was sent last.
    pub bar_due: bool,
    /// Changed since its state was saved last.
    pub state_due: bool,
    /// A record of this writer exists in the state topic.
    pub saved: bool,
}

impl WindowState {
    /// The window of its first tick.
    pub fn new(start: Micros, tick: &Contribution, product: Product, from_table: bool) -> WindowState {
        WindowState {
            start,
            first: tick.edge,
            last: tick.edge,
            high: tick.edge.price,
            low: tick.edge.price,
            volume: tick.volume,
            turnover: tick.turnover,
            trade_count: 1,
            revision: 0,
            last_offset: tick.offset,
            last_appended_at: tick.appended_at,
            market: tick.market,
            product,
            mixed: false,
            from_table,
            closed: false,
            bar_due: !from_table,
            state_due: true,
            saved: false,
        }
    }

    /// Adds a tick.
    pub fn add(&mut self, tick: &Contribution, texts: &Texts) -> Added {
        if tick.offset <= self.last_offset {
            return Added::Known;
        }
        let (Some(volume), Some(turnover)) = (
            add_volume(self.volume, tick.volume),
            self.turnover.checked_add(tick.turnover),
        ) else {
            return Added::Overflow;
        };
        (self.volume, self.turnover) = (volume, turnover);
        if tick.edge.rank(texts) < self.first.rank(texts) {
            self.first = tick.edge;
        }
        if tick.edge.rank(texts) > self.last.rank(texts) {
            self.last = tick.edge;
            self.market = tick.market;
        }
        self.high = self.high.max(tick.edge.price);
        self.low = self.low.min(tick.edge.price);
        self.trade_count += 1;
        self.last_offset = tick.offset;
        self.last_appended_at = self.last_appended_at.max(tick.appended_at);
        self.bar_due = true;
        self.state_due = true;
        Added::Counted
    }

    /// Marks the window, and takes note of a tick that goes to the table.
    pub fn take_from_table(&mut self, tick: &Contribution) -> Added {
        if tick.offset <= self.last_offset {
            return Added::Known;
        }
        self.from_table = true;
        // The bar is the table's business; the closing names the tick that came last.
        self.last = tick.edge;
        self.last_offset = tick.offset;
        self.last_appended_at = self.last_appended_at.max(tick.appended_at);
        self.bar_due = false;
        self.state_due = true;
        Added::ByTable
    }

    /// Whether its bar is the table's.
    pub fn is_from_table(&self) -> bool {
        self.from_table
    }

    /// Whether it holds another tick than the one at this offset. Of a state that is ahead of its position that may be a
    /// later one, which is as good: both mark the window in the end.
    pub fn holds_another(&self, offset: i64) -> bool {
        offset > self.last_offset || self.trade_count > 1 || self.from_table
    }

    /// What is said when it closes and its bar is the table's.
    pub fn closing<'a>(
        &self,
        (tenant_id, instrument_id): (&'a str, &'a str),
        interval: Interval,
        texts: &'a Texts,
    ) -> Closing<'a> {
        Closing {
            tenant_id,
            instrument_id,
            interval,
            origin: self.last.place.origin(texts),
            event_time: self.last.time,
            price: self.last.price,
            last_offset: self.last_offset,
        }
    }

    /// The tick just added came after the close by the log's clock. Stops counting at 2^31 − 1.
    pub fn revise(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }

    /// The bar as of now.
    pub fn bar<'a>(
        &self,
        (tenant_id, instrument_id): (&'a str, &'a str),
        interval: Interval,
        texts: &'a Texts,
    ) -> Bar<'a> {
        Bar {
            tenant_id,
            instrument_id,
            market: texts.text(self.market),
            window: Window {
                interval,
                start: self.start,
            },
            open: self.first.price,
            high: self.high,
            low: self.low,
            close: self.last.price,
            volume: self.volume,
            turnover: self.turnover,
            vwap: self.turnover.vwap(self.volume),
            trade_count: self.trade_count,
            open_time: self.first.time,
            open_sequence: self.first.sequence,
            first_origin: self.first.place.origin(texts),
            close_time: self.last.time,
            close_sequence: self.last.sequence,
            last_origin: self.last.place.origin(texts),
            revision: self.revision,
            version: BarVersion {
                last_offset: self.last_offset,
                closed: self.closed,
            },
            last_appended_at: self.last_appended_at,
        }
    }

    /// As a record of the state topic.
    pub fn record<'a>(&self, bar: Bar<'a>) -> WindowRecord<'a> {
        WindowRecord {
            product: self.product.name(),
            mixed: self.mixed,
            from_table: self.from_table,
            bar,
        }
    }

    /// The state that a record holds; `None` for a product that is not known. It is owed to the new writer's own records,
    /// and its bar to nobody.
    pub fn restored(record: &WindowRecord<'_>, texts: &mut Texts) -> Option<WindowState> {
        let bar = &record.bar;
        Some(WindowState {
            start: bar.window.start,
            first: Edge {
                time: bar.open_time,
                sequence: bar.open_sequence,
                place: Place::of(&bar.first_origin, texts),
                price: bar.open,
            },
            last: Edge {
                time: bar.close_time,
                sequence: bar.close_sequence,
                place: Place::of(&bar.last_origin, texts),
                price: bar.close,
            },
            high: bar.high,
            low: bar.low,
            volume: bar.volume,
            turnover: bar.turnover,
            trade_count: bar.trade_count,
            revision: bar.revision,
            last_offset: bar.version.last_offset,
            last_appended_at: bar.last_appended_at,
            market: texts.id(bar.market),
            product: Product::from_name(record.product)?,
            mixed: record.mixed,
            from_table: record.from_table,
            closed: bar.version.closed,
            bar_due: false,
            state_due: true,
            saved: false,
        })
    }
}

/// A window from the table has closed: its bar is wanted again, closed, as of its last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Closing<'a> {
    pub tenant_id: &'a str,
    pub instrument_id: &'a str,
    pub interval: Interval,
    /// Of the tick that came last.
    pub origin: Origin<'a>,
    /// Of the tick that came last; it lies in the window.
    pub event_time: Micros,
    /// Of the tick that came last.
    pub price: Decimal,
    /// Enriched offset of the tick that came last.
    pub last_offset: i64,
}

/// What leaves the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A bar made here.
    Bar(&'a Bar<'a>),
    /// A bar that the table makes.
    Closing(&'a Closing<'a>),
}

/// The sum, or `None` where it would not fit `Decimal(38,8)`, whose bound is that of a turnover.
fn add_volume(sum: i128, volume: i128) -> Option<i128> {
    Turnover(sum).checked_add(Turnover(volume)).map(|Turnover(sum)| sum)
}

#[cfg(test)]
#[path = "window_state_tests.rs"]
mod tests;
