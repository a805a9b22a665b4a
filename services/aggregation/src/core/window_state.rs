//! One window of one instrument: ticks in, a bar out, or word that the table has to make it.
//!
//! Invariants: the state after the tick at offset `n` is a function of the log up to `n`, so a bar's version tells its
//! content (INV-1). A tick at or below the offset applied last is in already: that makes re-reading after a restart
//! harmless.
//! A window that is marked *from the table* makes no bar any more: each further tick of it, and its closing, takes the
//! table's way. Marking one too many costs a query and no exactness, since the table holds every tick.
//! A window that has the price of every delivery interval in it counts no further tick: any would be a second price of
//! its interval, which marks it. So once its closed bar is sent and saved, its figures are forgotten (*settled*).
//! Failure: a sum that leaves `Decimal(38, ..)` refuses the tick and leaves the window as it was.

use codec::state::WindowRecord;
use domain::{Bar, Decimal, Interval, Micros, Origin, Product, Window};

pub use super::contribution::Contribution;
use super::contribution::{Single, Sums};
use super::texts::Texts;

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

/// A window and what is still owed to the outside about it. Three words: an instrument has some twenty of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowState {
    /// First microsecond inside.
    pub start: Micros,
    content: Content,
}

/// What is known of a window beside its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Length of the window.
    pub interval: Interval,
    /// Product of its last tick.
    pub product: Product,
    /// Ticks of more than one product lie in it.
    pub mixed: bool,
    /// By the log's clock, or by the idle clock since its last tick.
    pub closed: bool,
    /// Changed since its bar was sent last.
    pub bar_due: bool,
    /// Changed since its state was saved last.
    pub state_due: bool,
    /// A record of this writer exists in the state topic.
    pub saved: bool,
}

/// The marks lie in each form, where they share a word with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    One(Marks, Box<Single>),
    Many(Marks, Box<Sums>),
    /// With the tick that came last.
    FromTable(Marks, Box<Single>),
    Settled(Marks),
}

impl WindowState {
    /// The window of its first tick.
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

    /// What is known of it beside its figures.
    #[inline]
    pub fn marks(&self) -> &Marks {
        match &self.content {
            Content::One(marks, _)
            | Content::Many(marks, _)
            | Content::FromTable(marks, _)
            | Content::Settled(marks) => marks,
        }
    }

    /// The same, to change.
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

    /// Marks the window, and takes note of a tick that goes to the table.
    pub fn take_from_table(&mut self, tick: &Contribution) -> Added {
        if self.last_offset().is_some_and(|last| tick.offset <= last) {
            return Added::Known;
        }
        let marks = Marks {
            bar_due: false,
            state_due: true,
            ..*self.marks()
        };
        // The bar is the table's business; the closing names the tick that came last.
        self.content = Content::FromTable(marks, Box::new(Single::named(tick)));
        Added::ByTable
    }

    /// Offset applied last. A settled window has forgotten it: it is below every offset still to come.
    fn last_offset(&self) -> Option<i64> {
        match &self.content {
            Content::One(_, tick) | Content::FromTable(_, tick) => Some(tick.offset),
            Content::Many(_, sums) => Some(sums.last_offset),
            Content::Settled(_) => None,
        }
    }

    /// Whether its bar is the table's.
    pub fn is_from_table(&self) -> bool {
        matches!(self.content, Content::FromTable(..))
    }

    /// Whether it holds another tick than the one at this offset. Of a state that is ahead of its position that may be a
    /// later one, which is as good: both mark the window in the end.
    pub fn holds_another(&self, offset: i64) -> bool {
        match &self.content {
            Content::One(_, tick) => offset > tick.offset,
            Content::Many(..) | Content::FromTable(..) | Content::Settled(_) => true,
        }
    }

    /// What is said when it closes and its bar is the table's.
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

    /// The tick just added came after the close by the log's clock. Stops counting at 2^31 − 1.
    pub fn revise(&mut self) {
        match &mut self.content {
            Content::One(_, tick) => tick.revision = tick.revision.saturating_add(1),
            Content::Many(_, sums) => sums.revision = sums.revision.saturating_add(1),
            Content::FromTable(..) | Content::Settled(_) => {}
        }
    }

    /// It closes now: what that owes to the outside.
    pub fn close(&mut self) {
        let bar_due = !self.is_from_table();
        let marks = self.marks_mut();
        marks.closed = true;
        marks.state_due = true;
        marks.bar_due = bar_due;
    }

    /// Forgets the figures where nobody will ask for them again, when it has been saved by a writer whose next offset is
    /// `position`. Until the position has passed the offset applied last, a tick that is read again asks for that.
    pub fn settle(&mut self, position: i64) {
        let (marks, count, last_offset) = match &self.content {
            Content::One(marks, tick) => (*marks, 1, tick.offset),
            Content::Many(marks, sums) => (*marks, sums.trade_count, sums.last_offset),
            Content::FromTable(..) | Content::Settled(_) => return,
        };
        let prices = |nominal: Interval| marks.interval.micros() / nominal.micros();
        let is_whole = !marks.mixed && marks.product.nominal().map(prices) == Some(count);
        if is_whole && marks.closed && !marks.bar_due && last_offset < position {
            self.content = Content::Settled(marks);
        }
    }

    /// The bar as of now; `None` where its figures are forgotten. Where the table makes it they mean nothing.
    pub fn bar<'a>(&self, ids: (&'a str, &'a str), texts: &'a Texts) -> Option<Bar<'a>> {
        let (window, closed) = (self.window(), self.marks().closed);
        match &self.content {
            Content::One(_, tick) | Content::FromTable(_, tick) => Some(Sums::of(tick).bar(ids, window, closed, texts)),
            Content::Many(_, sums) => Some(sums.bar(ids, window, closed, texts)),
            Content::Settled(_) => None,
        }
    }

    /// What is in memory of it, for people.
    pub fn held<'a>(&self, ids: (&'a str, &'a str), texts: &'a Texts) -> Held<'a> {
        match self.bar(ids, texts) {
            Some(bar) if self.is_from_table() => Held::FromTable(bar),
            Some(bar) => Held::Bar(bar),
            None => Held::Settled(self.window()),
        }
    }

    /// As a record of the state topic.
    pub fn record<'a>(&self, bar: Bar<'a>) -> WindowRecord<'a> {
        WindowRecord {
            product: self.marks().product.name(),
            mixed: self.marks().mixed,
            from_table: self.is_from_table(),
            bar,
        }
    }

    /// The state that a record holds; `None` for a product that is not known. It is owed to the new writer's own records,
    /// and its bar to nobody.
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
        let sums = Sums::saved(bar, texts);
        let content = if record.from_table {
            Content::FromTable(marks, Box::new(sums.last_named()))
        } else if let Some(only) = Single::only(&sums) {
            Content::One(marks, Box::new(only))
        } else {
            Content::Many(marks, Box::new(sums))
        };
        Some(WindowState {
            start: bar.window.start,
            content,
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

/// What is in memory of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<'a> {
    /// Its bar.
    Bar(Bar<'a>),
    /// Which bar the table makes; its figures mean nothing.
    FromTable(Bar<'a>),
    /// Its bar is closed, sent and saved.
    Settled(Window),
}

impl Held<'_> {
    /// Of which window.
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
