//! The windows of one instrument.
//!
//! Invariants: which window counts a tick, which sends it to the table, and which is revised by it are functions of the log
//! clock and of the ticks before (INV-1). A window that is not in memory is new unless the clock has forgotten it. An
//! idle close shows a window as closed and changes nothing else: only the log clock closes and forgets.
//! Interval prices: the first live price of its base interval counts here; any other (the same interval again, or late for
//! its base window) marks every window that holds it *from the table*, since only the table knows which price stands.
//! So does a tick of another product than its day's: products differ in when they forget, so that a window could
//! otherwise be begun again with half of its ticks.

use domain::instrument::KEY_SEPARATOR;
use domain::{Interval, Micros, Product, Tick, Window};

use super::log_clock::{LogClock, Rule, WindowRules};
use super::reach::{Reached, boundary, dropped_at};
use super::texts::Texts;
use super::window_state::{Added, Contribution, Shown, WindowState};

/// What became of a tick, one bit per interval as in `LateTick::missed_intervals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The bars of these windows are made from the table.
    pub by_table: u8,
    /// Of those, the windows that had closed.
    pub closed: u8,
    /// Counted here after the close of these windows.
    pub revised: u8,
    /// A sum of these windows would no longer fit; they do not count it.
    pub overflowed: u8,
}

/// An instrument of one partition, as long as it has windows.
#[derive(Debug)]
pub struct Instrument {
    /// `tenant|instrument`, as in message keys.
    key: Box<str>,
    tenant_length: usize,
    /// By interval, each sorted by start.
    windows: [Vec<WindowState>; Interval::ALL.len()],
    /// The earliest time of the log clock at which a window closes or is forgotten.
    next_boundary: Micros,
    /// The time for which its partition has an alarm set.
    pub alarm: Micros,
    open_windows: usize,
    /// Listed among the changed ones of its partition.
    pub listed: bool,
}

impl Instrument {
    /// An instrument without a tick. `key` is `tenant|instrument`.
    pub fn new(key: &str) -> Instrument {
        Instrument {
            key: key.into(),
            tenant_length: key.find(KEY_SEPARATOR).unwrap_or(key.len()),
            windows: Default::default(),
            next_boundary: Micros::MAX,
            alarm: Micros::MAX,
            open_windows: 0,
            listed: false,
        }
    }

    /// `tenant|instrument`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Tenant and instrument.
    pub fn ids(&self) -> (&str, &str) {
        split(&self.key, self.tenant_length)
    }

    /// Windows of one interval, oldest first.
    pub fn windows(&self, interval: Interval) -> &[WindowState] {
        self.windows.get(interval.index()).map_or(&[], |windows| windows)
    }

    /// Whether nothing is left to remember.
    pub fn is_empty(&self) -> bool {
        self.windows.iter().all(Vec::is_empty)
    }

    /// The earliest time of the log clock at which a window closes or is forgotten.
    pub fn next_boundary(&self) -> Micros {
        self.next_boundary
    }

    /// Windows of every interval, for a checkpoint.
    pub fn windows_mut(&mut self) -> impl Iterator<Item = (Interval, &mut WindowState)> {
        Interval::ALL
            .into_iter()
            .zip(&mut self.windows)
            .flat_map(|(interval, windows)| windows.iter_mut().map(move |window| (interval, window)))
    }

    /// Applies an accepted tick, after the clock has taken its append time.
    pub fn apply(
        &mut self,
        rules: &WindowRules,
        clock: &LogClock,
        tick: &Arrived<'_, '_>,
        texts: &mut Texts,
    ) -> Verdict {
        let product = Product::of(tick.tick.product, tick.tick.kind);
        let contribution = Contribution::of(tick.tick, tick.offset, texts);
        let marks = self.mixes(rules, tick, product) | self.is_no_first_price(rules, clock, tick, product);
        let mut verdict = Verdict::default();
        for interval in Interval::ALL {
            if !rules.keeps(interval, product) {
                continue;
            }
            let window = interval.window_of(tick.tick.event_time);
            let reached = Reached::of(rules, clock, window, product);
            let marked = marks && (rules.holds(Rule::MarkEveryWindow) || product.nominal() == Some(interval));
            let way = Way {
                product,
                reached,
                from_table: reached.forgotten || marked,
            };
            let added = self.take(rules, window, &contribution, &way, texts);
            if !rules.makes(interval) {
                continue;
            }
            let bit = 1u8 << interval.index();
            match added {
                Added::ByTable => {
                    verdict.by_table |= bit;
                    verdict.closed |= if reached.closed { bit } else { 0 };
                }
                Added::Counted if reached.closed => verdict.revised |= bit,
                Added::Overflow => verdict.overflowed |= bit,
                Added::Counted | Added::Known => {}
            }
        }
        verdict
    }

    /// Whether the longest window of the tick, which outlives all others, holds another product; it remembers that.
    fn mixes(&mut self, rules: &WindowRules, tick: &Arrived<'_, '_>, product: Product) -> bool {
        let longest = rules.longest().map(|interval| interval.window_of(tick.tick.event_time));
        let Some(state) = longest.and_then(|window| self.window_mut(window)) else {
            return false;
        };
        if state.product != product && !state.mixed {
            state.mixed = true;
            state.state_due = true;
        }
        state.mixed && rules.holds(Rule::MarkMixed)
    }

    /// Whether an interval price is not the first live one of its base interval.
    fn is_no_first_price(
        &mut self,
        rules: &WindowRules,
        clock: &LogClock,
        tick: &Arrived<'_, '_>,
        product: Product,
    ) -> bool {
        let Some(nominal) = product.nominal() else {
            return false;
        };
        let base = nominal.window_of(tick.tick.event_time);
        if Reached::of(rules, clock, base, product).forgotten {
            return rules.holds(Rule::MarkLate);
        }
        let is_again = self
            .window_mut(base)
            .is_some_and(|state| state.holds_another(tick.offset));
        is_again && rules.holds(Rule::MarkAgain)
    }

    fn window_mut(&mut self, window: Window) -> Option<&mut WindowState> {
        let windows = self.windows.get_mut(window.interval.index())?;
        windows.iter_mut().rfind(|state| state.start == window.start)
    }

    fn take(&mut self, rules: &WindowRules, window: Window, tick: &Contribution, way: &Way, texts: &Texts) -> Added {
        let Some(windows) = self.windows.get_mut(window.interval.index()) else {
            return Added::Known;
        };
        // Ticks come nearly in order: the window is the last one or close to it.
        let after = windows
            .iter()
            .rposition(|w| w.start <= window.start)
            .map_or(0, |index| index + 1);
        let last = after.checked_sub(1);
        let known = last.filter(|index| windows.get(*index).is_some_and(|state| state.start == window.start));
        if known.is_none() {
            if way.reached.dropped {
                return Added::ByTable;
            }
            // Windows are few and made seldom: no room is kept for more.
            windows.reserve_exact(1);
            windows.insert(after, WindowState::new(window.start, tick, way.product, way.from_table));
            self.open_windows += 1;
        }
        let Some(state) = windows.get_mut(known.unwrap_or(after)) else {
            return Added::Known;
        };
        let added = match known {
            None if way.from_table => Added::ByTable,
            None => Added::Counted,
            Some(_) if way.from_table || state.is_from_table() => state.take_from_table(tick),
            Some(_) => state.add(tick, texts),
        };
        if matches!(added, Added::Known | Added::Overflow) {
            return added;
        }
        // A tick that is forgotten by its own product ends no window of another one early.
        if !way.reached.forgotten {
            state.product = way.product;
        }
        self.open_windows = self.open_windows + usize::from(state.closed) - usize::from(way.reached.closed);
        // An idle close ends here: only the log clock's word counts again.
        state.closed = way.reached.closed;
        if way.reached.closed && added == Added::Counted {
            state.revise();
        }
        let boundary = boundary(rules, window, state);
        self.next_boundary = self.next_boundary.min(boundary);
        added
    }

    /// Closes what the clock has reached and drops what it has forgotten.
    pub fn pass_windows(&mut self, rules: &WindowRules, clock: &LogClock, texts: &Texts, effects: &mut Effects<'_>) {
        let mut next_boundary = Micros::MAX;
        let ids = split(&self.key, self.tenant_length);
        for (interval, windows) in Interval::ALL.into_iter().zip(&mut self.windows) {
            let made = rules.makes(interval);
            windows.retain_mut(|state| {
                let window = Window {
                    interval,
                    start: state.start,
                };
                let closed = Reached::of(rules, clock, window, state.product).closed;
                if closed && !state.closed {
                    self.open_windows -= 1;
                    close(state);
                    if made && state.is_from_table() && rules.holds(Rule::CloseByTable) {
                        (effects.show)(Shown::Closing(&state.closing(ids, interval, texts)));
                    }
                }
                // A closed bar is shown at once; a forgotten one has no later chance.
                if closed && state.bar_due {
                    state.bar_due = false;
                    if made {
                        (effects.show)(Shown::Bar(&state.bar(ids, interval, texts)));
                    }
                }
                let stays = !clock.has_reached(dropped_at(rules, window, state.product));
                if stays {
                    next_boundary = next_boundary.min(boundary(rules, window, state));
                } else if state.saved {
                    (effects.forget)(ids, window);
                }
                stays
            });
        }
        self.next_boundary = next_boundary;
    }

    /// Shows ended windows as closed. True where it closed one.
    pub fn close_idle(
        &mut self,
        rules: &WindowRules,
        now: Micros,
        texts: &Texts,
        show: &mut dyn FnMut(Shown<'_>),
    ) -> bool {
        if self.open_windows == 0 {
            return false;
        }
        let ids = split(&self.key, self.tenant_length);
        let before = self.open_windows;
        for (interval, windows) in Interval::ALL.into_iter().zip(&mut self.windows) {
            let made = rules.makes(interval);
            for state in windows.iter_mut() {
                let window = Window {
                    interval,
                    start: state.start,
                };
                if state.closed || window.end().saturating_add(rules.times(state.product).close_after) > now {
                    continue;
                }
                close(state);
                state.bar_due = false;
                self.open_windows -= 1;
                if !made {
                    continue;
                }
                if state.is_from_table() {
                    show(Shown::Closing(&state.closing(ids, interval, texts)));
                } else {
                    show(Shown::Bar(&state.bar(ids, interval, texts)));
                }
            }
        }
        self.open_windows < before
    }

    /// Takes over a saved window. One that is forgotten already is left out.
    pub fn restore_window(&mut self, rules: &WindowRules, clock: &LogClock, interval: Interval, state: WindowState) {
        let window = Window {
            interval,
            start: state.start,
        };
        if clock.has_reached(dropped_at(rules, window, state.product)) {
            return;
        }
        if let Some(windows) = self.windows.get_mut(interval.index()) {
            self.open_windows += usize::from(!state.closed);
            self.next_boundary = self.next_boundary.min(boundary(rules, window, &state));
            let index = windows.partition_point(|w| w.start < state.start);
            windows.reserve_exact(1);
            windows.insert(index, state);
        }
    }
}

/// A tick with the circumstances of its arrival.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a, 't> {
    /// The tick.
    pub tick: &'a Tick<'t>,
    /// Its offset in the enriched topic.
    pub offset: i64,
    /// Wall clock: serves idle closes only.
    pub now: Micros,
}

/// Where the consequences of a risen clock go.
pub struct Effects<'a> {
    /// What is sent at once.
    pub show: &'a mut dyn FnMut(Shown<'_>),
    /// Forgotten windows, with tenant and instrument, whose records are to be removed.
    pub forget: &'a mut dyn FnMut((&str, &str), Window),
}

/// How a window takes a tick.
struct Way {
    product: Product,
    reached: Reached,
    from_table: bool,
}

fn close(state: &mut WindowState) {
    state.closed = true;
    state.state_due = true;
    state.bar_due = !state.is_from_table();
}

fn split(key: &str, tenant_length: usize) -> (&str, &str) {
    let (tenant_id, rest) = key.split_at_checked(tenant_length).unwrap_or((key, ""));
    (tenant_id, rest.get(1..).unwrap_or(""))
}
