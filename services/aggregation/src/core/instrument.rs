//! The windows of one instrument.
//!
//! Invariants: which windows count a tick, which leave it to the table, and which it revises are functions of the log clock
//! and of the ticks before (INV-1). A window that is not in memory is new unless the clock has forgotten it. An idle close
//! sends a window as closed and changes nothing else: only the log clock closes and forgets.
//! Interval prices: the first live price of its base interval counts here. Any other one (the same interval again, or late
//! for its base window) marks all its windows *from the table*, since only the table can tell which price is valid.
//! So does a tick of another product than its day's: products are forgotten at different times, so a window could otherwise
//! begin again with half of its ticks.

use std::cmp::Ordering;

use domain::instrument::KEY_SEPARATOR;
use domain::{Interval, Micros, Product, Tick, Window};

pub use super::arrival::{Arrived, Verdict};
use super::arrival::{Coming, Taken};
use super::interner::Texts;
use super::lateness::{Reached, boundary, dropped_at};
use super::log_clock::{LogClock, Rule, WindowRules};
use super::window_state::{Added, Contribution, Shown, WindowState};

/// An instrument of one partition, as long as it has windows.
#[derive(Debug)]
pub struct Instrument {
    /// `tenant|instrument`, as in message keys.
    key: Box<str>,
    tenant_length: usize,
    /// Sorted by interval, then by start.
    windows: Vec<WindowState>,
    /// The earliest time of the log clock at which a window closes or is forgotten.
    next_boundary: Micros,
    /// The time of its alarm in the partition.
    pub alarm: Micros,
    open_windows: usize,
    /// Whether its partition lists it as changed.
    pub listed: bool,
}

impl Instrument {
    /// An instrument without a tick.
    pub fn new(tenant_id: &str, instrument_id: &str) -> Instrument {
        Instrument {
            key: format!("{tenant_id}{KEY_SEPARATOR}{instrument_id}").into(),
            tenant_length: tenant_id.len(),
            windows: Vec::new(),
            next_boundary: Micros::MAX,
            alarm: Micros::MAX,
            open_windows: 0,
            listed: false,
        }
    }

    /// Tenant and instrument.
    pub fn ids(&self) -> (&str, &str) {
        split(&self.key, self.tenant_length)
    }

    /// Its windows, sorted by interval, then oldest first.
    pub fn windows(&self) -> &[WindowState] {
        &self.windows
    }

    /// Tenant, instrument and windows, for a checkpoint.
    pub fn ids_and_windows(&mut self) -> ((&str, &str), &mut [WindowState]) {
        (split(&self.key, self.tenant_length), &mut self.windows)
    }

    /// Whether it has no windows.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The earliest time of the log clock at which a window closes or is forgotten.
    pub fn next_boundary(&self) -> Micros {
        self.next_boundary
    }

    /// Applies an accepted tick. Before it, the clock must include its append time, and [`Instrument::pass_windows`] must have
    /// run.
    pub fn apply(
        &mut self,
        rules: &WindowRules,
        clock: &LogClock,
        arrived: &Arrived<'_, '_>,
        texts: &mut Texts,
    ) -> Verdict {
        let tick = arrived.tick;
        let product = Product::of(tick.product, tick.kind);
        let contribution = Contribution::of(tick, arrived.offset, texts);
        let coming = Coming {
            rules,
            clock,
            product,
            is_marking: self.mixes(rules, tick, product) | self.is_no_first_price(rules, clock, arrived, product),
            tick: contribution,
            texts,
        };
        let mut verdict = Verdict::default();
        let mut below = self.windows.len();
        // Longest first, so that each search continues where the last one ended.
        let kept = rules.kept(product);
        for &interval in Interval::ALL.iter().rev() {
            if kept >> interval.index() & 1 == 0 {
                continue;
            }
            let taken = match self.find(interval, tick.event_time, below) {
                Ok(index) => {
                    below = index;
                    self.join(index, &coming)
                }
                Err(index) => {
                    below = index;
                    self.begin(index, interval.window_of(tick.event_time), &coming)
                }
            };
            if taken.is_unusual() && rules.makes(interval) {
                verdict.note(interval, taken);
            }
        }
        verdict
    }

    /// Whether the tick's longest window, which outlives all others, contains another product; the window is marked as mixed.
    fn mixes(&mut self, rules: &WindowRules, tick: &Tick<'_>, product: Product) -> bool {
        let longest = rules.longest();
        let Some(state) = longest.and_then(|interval| self.window_mut(interval, tick.event_time)) else {
            return false;
        };
        let marks = state.marks_mut();
        if marks.product != product && !marks.mixed {
            marks.mixed = true;
            marks.state_due = true;
        }
        marks.mixed && rules.holds(Rule::MarkMixed)
    }

    /// Whether an interval price is not the first live price of its base interval.
    fn is_no_first_price(
        &mut self,
        rules: &WindowRules,
        clock: &LogClock,
        arrived: &Arrived<'_, '_>,
        product: Product,
    ) -> bool {
        let Some(nominal) = product.nominal() else {
            return false;
        };
        let base = nominal.window_of(arrived.tick.event_time);
        if Reached::of(rules, clock, base, product).forgotten {
            return rules.holds(Rule::MarkLate);
        }
        let is_again = self
            .window_mut(nominal, base.start)
            .is_some_and(|state| state.holds_another(arrived.offset));
        is_again && rules.holds(Rule::MarkAgain)
    }

    fn window_mut(&mut self, interval: Interval, time: Micros) -> Option<&mut WindowState> {
        let index = self.find(interval, time, self.windows.len()).ok()?;
        self.windows.get_mut(index)
    }

    /// The index of the window of this time among those before `below`, or the index to insert it at. Ticks arrive nearly in
    /// order, so it is close to the last window of its interval. The window is not computed, since that takes a division.
    #[inline]
    fn find(&self, interval: Interval, time: Micros, below: usize) -> Result<usize, usize> {
        let mut end = below;
        for state in self.windows.get(..below).unwrap_or_default().iter().rev() {
            match state.marks().interval.cmp(&interval) {
                Ordering::Less => break,
                Ordering::Greater => end -= 1,
                Ordering::Equal => {
                    let since_start = time - state.start;
                    if since_start >= interval.micros() {
                        break;
                    }
                    end -= 1;
                    if since_start >= 0 {
                        return Ok(end);
                    }
                }
            }
        }
        Err(end)
    }

    /// Adds the tick to a window in memory.
    fn join(&mut self, index: usize, coming: &Coming<'_>) -> Taken {
        let Some(state) = self.windows.get_mut(index) else {
            return Taken::NOTHING;
        };
        let marks = state.marks();
        if marks.closed || marks.product != coming.product || coming.is_marking {
            return self.join_by_clock(index, coming);
        }
        // An open window of the same product: if the clock had reached its close, it would be closed already.
        Taken {
            added: state.add(&coming.tick, coming.texts),
            closed: false,
        }
    }

    fn join_by_clock(&mut self, index: usize, coming: &Coming<'_>) -> Taken {
        let Some(state) = self.windows.get_mut(index) else {
            return Taken::NOTHING;
        };
        let window = state.window();
        let reached = coming.reached(window);
        let added = if coming.takes_from_table(window, reached) {
            state.take_from_table(&coming.tick)
        } else {
            state.add(&coming.tick, coming.texts)
        };
        let taken = Taken {
            added,
            closed: reached.closed,
        };
        if matches!(added, Added::Known | Added::Overflow) {
            return taken;
        }
        let marks = state.marks_mut();
        // A tick that its own product has forgotten must not end a window of another product early.
        if !reached.forgotten {
            marks.product = coming.product;
        }
        // This ends an idle close: the log clock decides again.
        self.open_windows = self.open_windows + usize::from(marks.closed) - usize::from(reached.closed);
        marks.closed = reached.closed;
        self.next_boundary = self.next_boundary.min(boundary(coming.rules, window, marks));
        if reached.closed && added == Added::Counted {
            state.revise();
        }
        taken
    }

    /// Begins a window with the tick, unless the clock has dropped this window.
    fn begin(&mut self, index: usize, window: Window, coming: &Coming<'_>) -> Taken {
        let reached = coming.reached(window);
        let from_table = coming.takes_from_table(window, reached);
        let taken = Taken {
            added: if from_table { Added::ByTable } else { Added::Counted },
            closed: reached.closed,
        };
        if reached.dropped {
            return taken;
        }
        let mut state = WindowState::new(window, &coming.tick, coming.product, from_table);
        state.marks_mut().closed = reached.closed;
        if reached.closed {
            state.revise();
        }
        self.put(index, state, coming.rules);
        taken
    }

    fn put(&mut self, index: usize, state: WindowState, rules: &WindowRules) {
        let boundary = boundary(rules, state.window(), state.marks());
        self.next_boundary = self.next_boundary.min(boundary);
        self.open_windows += usize::from(!state.marks().closed);
        // Windows are few and rarely created: no spare capacity.
        self.windows.reserve_exact(1);
        self.windows.insert(index, state);
    }

    /// Closes the windows whose close time the clock has reached, and drops those it has forgotten.
    pub fn pass_windows(&mut self, rules: &WindowRules, clock: &LogClock, texts: &Texts, effects: &mut Effects<'_>) {
        let mut next_boundary = Micros::MAX;
        let ids = split(&self.key, self.tenant_length);
        self.windows.retain_mut(|state| {
            let window = state.window();
            let made = rules.makes(window.interval);
            let closed = Reached::of(rules, clock, window, state.marks().product).closed;
            if closed && !state.marks().closed {
                self.open_windows -= 1;
                state.close();
                if made
                    && rules.holds(Rule::CloseByTable)
                    && let Some(closing) = state.closing(ids, texts)
                {
                    (effects.show)(Shown::Closing(&closing));
                }
            }
            // A closed bar is sent at once; a forgotten one has no later chance.
            if closed && std::mem::take(&mut state.marks_mut().bar_due) && made {
                show_bar(state, ids, texts, effects.show);
            }
            let is_kept = !clock.has_reached(dropped_at(rules, window, state.marks().product));
            if is_kept {
                next_boundary = next_boundary.min(boundary(rules, window, state.marks()));
            } else if state.marks().saved {
                (effects.forget)(ids, window);
            }
            is_kept
        });
        self.next_boundary = next_boundary;
    }

    /// Passes ended windows to `show` as closed; true if there was one.
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
        for state in &mut self.windows {
            let window = state.window();
            if state.marks().closed || boundary(rules, window, state.marks()) > now {
                continue;
            }
            state.close();
            state.marks_mut().bar_due = false;
            self.open_windows -= 1;
            if !rules.makes(window.interval) {
                continue;
            }
            match state.closing(ids, texts) {
                Some(closing) => show(Shown::Closing(&closing)),
                None => show_bar(state, ids, texts, show),
            }
        }
        self.open_windows < before
    }

    /// Restores a saved window, unless the clock has dropped it.
    pub fn restore_window(&mut self, rules: &WindowRules, clock: &LogClock, state: WindowState) {
        let window = state.window();
        if !clock.has_reached(dropped_at(rules, window, state.marks().product)) {
            let found = self.find(window.interval, window.start, self.windows.len());
            let index = found.unwrap_or_else(|index| index);
            self.put(index, state, rules);
        }
    }
}

fn show_bar(state: &WindowState, ids: (&str, &str), texts: &Texts, show: &mut dyn FnMut(Shown<'_>)) {
    if let Some(bar) = state.bar(ids, texts) {
        show(Shown::Bar(&bar));
    }
}

/// Callbacks for the effects of an advanced clock.
pub struct Effects<'a> {
    /// Gets the bars and closings to send.
    pub show: &'a mut dyn FnMut(Shown<'_>),
    /// Gets the forgotten windows whose records must be removed.
    pub forget: &'a mut dyn FnMut((&str, &str), Window),
}

fn split(key: &str, tenant_length: usize) -> (&str, &str) {
    let (tenant_id, rest) = key.split_at_checked(tenant_length).unwrap_or((key, ""));
    (tenant_id, rest.get(1..).unwrap_or(""))
}
