//! One window of one instrument: adds up ticks to a bar, or remembers that the table must compute the bar.
//!
//! Invariants: the state after the tick at offset `n` is a function of the log up to `n`, so a bar's version determines its
//! content (INV-1). A tick at or below the offset applied last is counted already, so reading again after a restart is
//! harmless.
//! A window that is marked *from the table* computes no bar any more: its later ticks and its closing are left to the table.
//! Marking one window too many costs a query, but no exactness, since the table contains every tick.
//! A window with the price of each of its delivery intervals counts no more ticks: any later one would be a second price of
//! its interval, which marks the window. So once its closed bar is sent and saved, its values are dropped (*settled*).
//! Failure: a tick whose sum does not fit `Decimal(38, ..)` is rejected; the window is unchanged.

use codec::state::WindowRecord;
use domain::{Bar, Decimal, Interval, Micros, Origin, Product, Window};

pub use super::contribution::Contribution;
use super::contribution::{Single, Sums};
use super::interner::Texts;

/// The outcome of a tick in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is counted.
    Counted,
    /// It is left to the table.
    ByTable,
    /// It was counted before.
    Known,
    /// A sum would not fit its column.
    Overflow,
}

/// A window, with its outputs that are still due. Three words: an instrument has some twenty of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowState {
    /// First microsecond inside.
    pub start: Micros,
    content: Content,
}

/// The properties of a window other than its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Length of the window.
    pub interval: Interval,
    /// Product of its last tick.
    pub product: Product,
    /// It contains ticks of more than one product.
    pub mixed: bool,
    /// Closed by the log clock, or by an idle close since its last tick.
    pub closed: bool,
    /// Changed since its bar was sent last.
    pub bar_due: bool,
    /// Changed since its state was saved last.
    pub state_due: bool,
    /// A record of this writer exists in the state topic.
    pub saved: bool,
}

/// The marks are part of each variant: there they share a word with the discriminant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    One(Marks, Box<Single>),
    Many(Marks, Box<Sums>),
    /// With its last tick.
    FromTable(Marks, Box<Single>),
    Settled(Marks),
}

impl WindowState {
    /// A window with its first tick.
    pub fn new(window: Window, tick: &Contribution, product: Product, from_table: bool) -> WindowState {
        let marks = Marks {
            interval: window.interval,
            product,
            mixed: false,
            closed: false,
            bar_due: !from_table,
            state_due: true,
            saved: false,
        };
        WindowState {
            start: window.start,
            content: if from_table {
                Content::FromTable(marks, Box::new(Single::named(tick)))
            } else {
                Content::One(marks, Box::new(Single::of(tick)))
            },
        }
    }

    /// Its properties other than its values.
    #[inline]
    pub fn marks(&self) -> &Marks {
        match &self.content {
            Content::One(marks, _)
            | Content::Many(marks, _)
            | Content::FromTable(marks, _)
            | Content::Settled(marks) => marks,
        }
    }

    /// The same, mutable.
    #[inline]
    pub fn marks_mut(&mut self) -> &mut Marks {
        match &mut self.content {
            Content::One(marks, _)
            | Content::Many(marks, _)
            | Content::FromTable(marks, _)
            | Content::Settled(marks) => marks,
        }
    }

    /// Which window it is.
    #[inline]
    pub fn window(&self) -> Window {
        Window {
            interval: self.marks().interval,
            start: self.start,
        }
    }

    /// Adds a tick.
    pub fn add(&mut self, tick: &Contribution, texts: &Texts) -> Added {
        if let Content::One(marks, one) = &self.content
            && tick.offset > one.offset
        {
            self.content = Content::Many(*marks, Box::new(Sums::of(one)));
        }
        match &mut self.content {
            Content::Many(marks, sums) => {
                let added = sums.add(tick, texts);
                let is_changed = added == Added::Counted;
                marks.bar_due |= is_changed;
                marks.state_due |= is_changed;
                added
            }
            Content::One(..) => Added::Known,
            Content::FromTable(..) | Content::Settled(_) => self.take_from_table(tick),
        }
    }

    /// Marks the window as from the table, and remembers this tick as its last.
    pub fn take_from_table(&mut self, tick: &Contribution) -> Added {
        if self.last_offset().is_some_and(|last| tick.offset <= last) {
            return Added::Known;
        }
        let marks = Marks {
            bar_due: false,
            state_due: true,
            ..*self.marks()
        };
        // The closing carries the last tick.
        self.content = Content::FromTable(marks, Box::new(Single::named(tick)));
        Added::ByTable
    }

    /// Offset applied last. `None` for a settled window: it is below every later offset.
    fn last_offset(&self) -> Option<i64> {
        match &self.content {
            Content::One(_, tick) | Content::FromTable(_, tick) => Some(tick.offset),
            Content::Many(_, sums) => Some(sums.last_offset),
            Content::Settled(_) => None,
        }
    }

    /// Whether the table computes its bar.
    pub fn is_from_table(&self) -> bool {
        matches!(self.content, Content::FromTable(..))
    }

    /// Whether it contains a tick other than the one at this offset. If the state is ahead of the position, this may be a later
    /// tick; the window is marked in both cases.
    pub fn holds_another(&self, offset: i64) -> bool {
        match &self.content {
            Content::One(_, tick) => offset > tick.offset,
            Content::Many(..) | Content::FromTable(..) | Content::Settled(_) => true,
        }
    }

    /// The closing to send if the table computes its bar.
    pub fn closing<'a>(&self, (tenant_id, instrument_id): (&'a str, &'a str), texts: &'a Texts) -> Option<Closing<'a>> {
        let Content::FromTable(marks, tick) = &self.content else {
            return None;
        };
        Some(Closing {
            tenant_id,
            instrument_id,
            interval: marks.interval,
            origin: tick.edge.origin(texts),
            event_time: tick.edge.time,
            price: tick.edge.price,
            last_offset: tick.offset,
        })
    }

    /// Counts a revision: the last tick was added after the close. Saturates at 2^31 − 1.
    pub fn revise(&mut self) {
        match &mut self.content {
            Content::One(_, tick) => tick.revision = tick.revision.saturating_add(1),
            Content::Many(_, sums) => sums.revision = sums.revision.saturating_add(1),
            Content::FromTable(..) | Content::Settled(_) => {}
        }
    }

    /// Closes the window.
    pub fn close(&mut self) {
        let bar_due = !self.is_from_table();
        let marks = self.marks_mut();
        marks.closed = true;
        marks.state_due = true;
        marks.bar_due = bar_due;
    }

    /// Drops the values if they are not needed again, after the window was saved at `position`. Until the position has passed
    /// the offset applied last, a repeated tick is compared with that offset.
    pub fn settle(&mut self, position: i64) {
        let (marks, seconds, last_offset) = match &self.content {
            Content::One(marks, tick) => (*marks, tick.seconds.into(), tick.offset),
            Content::Many(marks, sums) => (*marks, sums.seconds, sums.last_offset),
            Content::FromTable(..) | Content::Settled(_) => return,
        };
        // A second price of a base interval marks the window, so its prices never overlap.
        let is_whole = !marks.mixed && i64::from(seconds) * 1_000_000 >= marks.interval.micros();
        if is_whole && marks.closed && !marks.bar_due && last_offset < position {
            self.content = Content::Settled(marks);
        }
    }

    /// The current bar; `None` for a settled window. Its values are meaningless if the table computes the bar.
    pub fn bar<'a>(&self, ids: (&'a str, &'a str), texts: &'a Texts) -> Option<Bar<'a>> {
        let (window, closed) = (self.window(), self.marks().closed);
        match &self.content {
            Content::One(_, tick) | Content::FromTable(_, tick) => Some(Sums::of(tick).bar(ids, window, closed, texts)),
            Content::Many(_, sums) => Some(sums.bar(ids, window, closed, texts)),
            Content::Settled(_) => None,
        }
    }

    /// The window in memory, for HTTP.
    pub fn held<'a>(&self, ids: (&'a str, &'a str), texts: &'a Texts) -> Held<'a> {
        match self.bar(ids, texts) {
            Some(bar) if self.is_from_table() => Held::FromTable(bar),
            Some(bar) => Held::Bar(bar),
            None => Held::Settled(self.window()),
        }
    }

    /// Its record in the state topic.
    pub fn record<'a>(&self, bar: Bar<'a>) -> WindowRecord<'a> {
        WindowRecord {
            product: self.marks().product.name(),
            mixed: self.marks().mixed,
            from_table: self.is_from_table(),
            bar,
        }
    }

    /// The window of a record; `None` if its product is unknown. The new writer must save it under its own id; its bar is not
    /// due. A window of interval prices that an earlier release saved without their seconds is from the table, as is one without a whole
    /// second: its rows have them. One that was saved with the nominal length of each of its prices keeps these: the record does not show
    /// their ends.
    pub fn restored(record: &WindowRecord<'_>, texts: &mut Texts) -> Option<WindowState> {
        let bar = &record.bar;
        let marks = Marks {
            interval: bar.window.interval,
            product: Product::from_name(record.product)?,
            mixed: record.mixed,
            closed: bar.version.closed,
            bar_due: false,
            state_due: true,
            saved: false,
        };
        let lacks_seconds = marks.product.nominal().is_some() && bar.time_weighted.seconds == 0;
        let sums = match record.from_table || lacks_seconds {
            true => None,
            false => Sums::saved(bar, texts),
        };
        let content = match sums {
            None => Content::FromTable(marks, Box::new(Single::last_of(bar, texts))),
            Some(sums) => match Single::only(&sums) {
                Some(only) => Content::One(marks, Box::new(only)),
                None => Content::Many(marks, Box::new(sums)),
            },
        };
        Some(WindowState {
            start: bar.window.start,
            content,
        })
    }
}

/// A window from the table has closed: the table must compute its closed bar as of its last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Closing<'a> {
    pub tenant_id: &'a str,
    pub instrument_id: &'a str,
    pub interval: Interval,
    /// Of the last tick.
    pub origin: Origin<'a>,
    /// Of the last tick; it is inside the window.
    pub event_time: Micros,
    /// Of the last tick.
    pub price: Decimal,
    /// Enriched offset of the last tick.
    pub last_offset: i64,
}

/// An output of the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A bar computed in the stream.
    Bar(&'a Bar<'a>),
    /// The closing of a bar that the table computes.
    Closing(&'a Closing<'a>),
}

/// A window in memory, for HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<'a> {
    /// Its bar.
    Bar(Bar<'a>),
    /// The table computes its bar; the values here are meaningless.
    FromTable(Bar<'a>),
    /// Its bar is closed, sent and saved.
    Settled(Window),
}

impl Held<'_> {
    /// The window.
    pub fn window(&self) -> Window {
        match self {
            Held::Bar(bar) | Held::FromTable(bar) => bar.window,
            Held::Settled(window) => *window,
        }
    }
}

#[cfg(test)]
#[path = "window_state_tests.rs"]
mod tests;
