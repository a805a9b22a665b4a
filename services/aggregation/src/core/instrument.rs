//! One instrument: its watermark and its windows.
//!
//! Invariants: which window counts a tick, which is too late for it, and which is revised by it are functions of the
//! watermark alone (INV-1). A window that is not in memory is new unless the watermark has forgotten it. An idle close
//! shows a window as closed and changes nothing else: only the watermark forgets.

use domain::instrument::KEY_SEPARATOR;
use domain::{Bar, Interval, Micros, Tick, Window};

use super::texts::Texts;
use super::watermark::{Watermark, WindowRules};
use super::window_state::{Added, Contribution, WindowState};

/// What became of a tick, one bit per interval as in `LateTick::missed_intervals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Too late for these windows, which are forgotten.
    pub missed: u8,
    /// Counted after the watermark had passed the end of these windows.
    pub revised: u8,
    /// A sum of these windows would no longer fit; they do not count it.
    pub overflowed: u8,
    /// The watermark by which it was judged.
    pub watermark: Micros,
}

/// An instrument of one partition.
#[derive(Debug)]
pub struct Instrument {
    /// `tenant|instrument`, as in message keys.
    key: Box<str>,
    tenant_length: usize,
    watermark: Watermark,
    /// As this writer saved it last: position, largest event time.
    pub saved_watermark: Option<(i64, Micros)>,
    /// Changed since it was saved last.
    pub watermark_due: bool,
    /// By interval, each sorted by start.
    windows: [Vec<WindowState>; Interval::ALL.len()],
    /// The smallest watermark at which a window closes or is forgotten.
    next_boundary: Micros,
    open_windows: usize,
    last_arrival: Micros,
    /// Listed among the changed ones of its partition.
    pub listed: bool,
}

impl Instrument {
    /// An instrument without a tick. `key` is `tenant|instrument`; `now` stands for its last arrival.
    pub fn new(key: &str, now: Micros) -> Instrument {
        Instrument {
            key: key.into(),
            tenant_length: key.find(KEY_SEPARATOR).unwrap_or(key.len()),
            watermark: Watermark::default(),
            saved_watermark: None,
            watermark_due: false,
            windows: Default::default(),
            next_boundary: Micros::MAX,
            open_windows: 0,
            last_arrival: now,
            listed: false,
        }
    }

    /// `tenant|instrument`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Tenant and instrument.
    pub fn ids(&self) -> (&str, &str) {
        let (tenant_id, rest) = self.key.split_at_checked(self.tenant_length).unwrap_or((&self.key, ""));
        (tenant_id, rest.get(1..).unwrap_or(""))
    }

    /// The watermark.
    pub fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// Windows of one interval, oldest first.
    pub fn windows(&self, interval: Interval) -> &[WindowState] {
        self.windows.get(interval.index()).map_or(&[], |windows| windows)
    }

    /// Windows of every interval, for a checkpoint.
    pub fn windows_mut(&mut self) -> impl Iterator<Item = (Interval, &mut WindowState)> {
        Interval::ALL
            .into_iter()
            .zip(&mut self.windows)
            .flat_map(|(interval, windows)| windows.iter_mut().map(move |window| (interval, window)))
    }

    /// Applies an accepted tick. Windows that the risen watermark passes are closed and their bars shown to `emit`;
    /// windows that it forgets go to `forgotten` when a record of theirs exists.
    pub fn apply(
        &mut self,
        rules: &WindowRules,
        texts: &mut Texts,
        tick: &Arrived<'_, '_>,
        effects: &mut Effects<'_>,
    ) -> Verdict {
        self.last_arrival = tick.now;
        if self.watermark.observe(tick.tick.event_time) {
            self.watermark_due = true;
            if self.watermark.value(rules) >= self.next_boundary {
                self.pass_windows(rules, texts, effects);
            }
        }
        let mut verdict = Verdict {
            watermark: self.watermark.value(rules),
            ..Verdict::default()
        };
        let contribution = Contribution::of(tick.tick, tick.offset, texts);
        for interval in Interval::ALL {
            let bit = 1u8 << interval.index();
            if rules.intervals & bit == 0 {
                continue;
            }
            let window = interval.window_of(tick.tick.event_time);
            if self.watermark.has_forgotten(rules, window) {
                verdict.missed |= bit;
                continue;
            }
            let passed = self.watermark.has_passed(rules, window);
            match self.count(rules, window, &contribution, texts) {
                Added::Counted if passed => verdict.revised |= bit,
                Added::Overflow => verdict.overflowed |= bit,
                Added::Counted | Added::Known => {}
            }
        }
        verdict
    }

    fn count(&mut self, rules: &WindowRules, window: Window, tick: &Contribution, texts: &Texts) -> Added {
        let passed = self.watermark.has_passed(rules, window);
        let Some(windows) = self.windows.get_mut(window.interval.index()) else {
            return Added::Known;
        };
        // Ticks come nearly in order: the window is the last one or close to it.
        let after = windows
            .iter()
            .rposition(|w| w.start <= window.start)
            .map_or(0, |index| index + 1);
        let index = match after
            .checked_sub(1)
            .and_then(|i| windows.get_mut(i).map(|state| (i, state)))
        {
            Some((index, state)) if state.start == window.start => {
                let added = state.add(tick, texts);
                if added != Added::Counted {
                    return added;
                }
                index
            }
            _ => {
                windows.insert(after, WindowState::new(window.start, tick));
                self.open_windows += 1;
                after
            }
        };
        if let Some(state) = windows.get_mut(index) {
            self.open_windows = self.open_windows + usize::from(state.closed) - usize::from(passed);
            // An idle close ends here: only the watermark's word counts again.
            state.closed = passed;
            if passed {
                state.revise();
            }
        }
        self.next_boundary = self.next_boundary.min(boundary(rules, window, passed));
        Added::Counted
    }

    /// Closes what the watermark has passed and drops what it has forgotten.
    fn pass_windows(&mut self, rules: &WindowRules, texts: &Texts, effects: &mut Effects<'_>) {
        let (watermark, mut next_boundary) = (self.watermark, Micros::MAX);
        let tenant_length = self.tenant_length;
        let tenant_id = self.key.get(..tenant_length).unwrap_or("");
        let instrument_id = self.key.get(tenant_length + 1..).unwrap_or("");
        for (interval, windows) in Interval::ALL.into_iter().zip(&mut self.windows) {
            windows.retain_mut(|state| {
                let window = Window {
                    interval,
                    start: state.start,
                };
                let passed = watermark.has_passed(rules, window);
                if passed && !state.closed {
                    state.closed = true;
                    state.bar_due = true;
                    state.state_due = true;
                    self.open_windows -= 1;
                }
                let forgotten = watermark.has_forgotten(rules, window);
                // A closed bar is shown at once; a forgotten one has no later chance.
                if passed && state.bar_due {
                    (effects.emit)(&state.bar((tenant_id, instrument_id), interval, texts));
                    state.bar_due = false;
                }
                if forgotten {
                    if state.saved {
                        (effects.forget)(window);
                    }
                } else {
                    next_boundary = next_boundary.min(boundary(rules, window, passed));
                }
                !forgotten
            });
        }
        self.next_boundary = next_boundary;
    }

    /// Shows ended windows as closed when no tick has come for the idle time. True where it closed one.
    pub fn close_idle(
        &mut self,
        rules: &WindowRules,
        now: Micros,
        texts: &Texts,
        emit: &mut dyn FnMut(&Bar<'_>),
    ) -> bool {
        if self.open_windows == 0 || now.saturating_sub(self.last_arrival) < rules.idle_close {
            return false;
        }
        let ended = now.saturating_sub(rules.watermark_delay);
        let tenant_length = self.tenant_length;
        let tenant_id = self.key.get(..tenant_length).unwrap_or("");
        let instrument_id = self.key.get(tenant_length + 1..).unwrap_or("");
        let before = self.open_windows;
        for (interval, windows) in Interval::ALL.into_iter().zip(&mut self.windows) {
            for state in windows.iter_mut() {
                let window = Window {
                    interval,
                    start: state.start,
                };
                if state.closed || window.end() > ended {
                    continue;
                }
                state.closed = true;
                state.state_due = true;
                state.bar_due = false;
                self.open_windows -= 1;
                emit(&state.bar((tenant_id, instrument_id), interval, texts));
            }
        }
        self.open_windows < before
    }

    /// Takes over a saved watermark.
    pub fn restore_watermark(&mut self, max_event_time: Micros) {
        self.watermark = Watermark::of(max_event_time);
        self.watermark_due = true;
    }

    /// Takes over a saved window, after the watermark. One that is forgotten already is left out.
    pub fn restore_window(&mut self, rules: &WindowRules, interval: Interval, state: WindowState) {
        let window = Window {
            interval,
            start: state.start,
        };
        if self.watermark.has_forgotten(rules, window) {
            return;
        }
        if let Some(windows) = self.windows.get_mut(interval.index()) {
            self.open_windows += usize::from(!state.closed);
            // The state may be ahead of the position, and closed when the watermark has not passed it yet.
            let passed = self.watermark.has_passed(rules, window);
            self.next_boundary = self.next_boundary.min(boundary(rules, window, passed));
            let index = windows.partition_point(|w| w.start < state.start);
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

/// Where the consequences of a risen watermark go.
pub struct Effects<'a> {
    /// Bars to send at once.
    pub emit: &'a mut dyn FnMut(&Bar<'_>),
    /// Forgotten windows whose records are to be removed.
    pub forget: &'a mut dyn FnMut(Window),
}

/// The next watermark that means something to this window.
fn boundary(rules: &WindowRules, window: Window, passed: bool) -> Micros {
    if passed {
        window.end().saturating_add(rules.max_late)
    } else {
        window.end()
    }
}
