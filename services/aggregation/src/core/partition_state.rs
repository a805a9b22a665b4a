//! The aggregation state of one enriched partition.
//!
//! Invariants: a tick counts iff the sequencer accepts it (INV-3); what it changes is a function of the log (INV-1).
//! [`PartitionState::snapshot`] encodes position, sequencer, log clock and windows at one point, so the saved state is exactly
//! that of the position, and processing continues while it becomes durable. An instrument is removed with its last window.
//! Failure: rejections are outcomes; a rejected tick changes nothing but the position.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use codec::Wire;
use codec::state::{SequencerState, WindowRecord};
use delivery::Sequencer;
use domain::{Interval, LastOrigin, Micros};
use rustc_hash::FxHashSet;

use super::checkpoint::Snapshot;
use super::clock_marks::ClockMarks;
use super::instrument::{Arrived, Effects, Instrument, Verdict};
use super::instrument_slab::{Place, Places};
use super::interner::Texts;
use super::lateness::wholly_forgotten;
use super::log_clock::{LogClock, Rule, WindowRules};
use super::records::{Records, StateKey, Subject, WriterId, to_lanes, to_sequencer};
use super::saving::Saving;
use super::window_state::{Held, Shown, WindowState};

/// The outcome of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The sequencer recognized a repetition.
    Duplicate,
    /// It is accepted; the verdict lists the windows that the table computes.
    Counted(Verdict),
    /// Its event time or append time is out of range; nothing was changed.
    TimeOutOfRange,
}

/// Open and closed windows of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct WindowCounts {
    pub open: u64,
    pub closed: u64,
}

/// Who saves the state, and for which topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Id in all keys.
    pub id: WriterId,
    /// Id of the enriched topic.
    pub topic_id: String,
}

/// Times more than this many microseconds from 1970 (about 12,000 years) are rejected, so that adding intervals and delays
/// cannot overflow.
const TIME_LIMIT: Micros = 400_000_000_000_000_000;

/// Whether arithmetic on this time is safe.
pub(super) fn is_calendar_time(time: Micros) -> bool {
    (-TIME_LIMIT..TIME_LIMIT).contains(&time)
}

/// State of one enriched partition.
pub struct PartitionState {
    rules: WindowRules,
    writer: Writer,
    /// Next offset; `None` before the first message of a log without a saved position.
    position: Option<i64>,
    saved_position: Option<i64>,
    sequencer: Sequencer,
    clock: LogClock,
    marks: ClockMarks,
    texts: Texts,
    places: Places,
    /// (time of the log clock, place): when the windows of an instrument must be checked. An alarm that differs from the
    /// instrument's current one is ignored.
    alarms: BinaryHeap<Reverse<(Micros, Place)>>,
    /// Places of instruments with unsaved changes.
    changed: Vec<Place>,
    /// Keys to remove once the next checkpoint is complete.
    tombstones: Vec<Vec<u8>>,
    /// Wall clock of the last tick.
    last_arrival: Micros,
}

impl PartitionState {
    /// An empty state. `stale_keys` are removed after the first checkpoint; `now` stands for the last arrival.
    pub fn new(rules: WindowRules, writer: Writer, stale_keys: Vec<Vec<u8>>, now: Micros) -> PartitionState {
        PartitionState {
            rules,
            writer,
            position: None,
            saved_position: None,
            sequencer: Sequencer::default(),
            clock: LogClock::default(),
            marks: ClockMarks::default(),
            texts: Texts::default(),
            places: Places::default(),
            alarms: BinaryHeap::new(),
            changed: Vec::new(),
            tombstones: stale_keys,
            last_arrival: now,
        }
    }

    /// Restores position, sequencer and log clock; before all windows.
    pub fn restore_position(&mut self, record: &SequencerState) {
        self.position = Some(record.position);
        self.sequencer = to_sequencer(&record.lanes);
        self.clock = LogClock::of(record.log_clock);
        self.marks = ClockMarks::of(record.marks_due);
    }

    /// Restores a window; false if its product is unknown.
    pub fn restore_window(&mut self, record: &WindowRecord<'_>) -> bool {
        let Some(state) = WindowState::restored(record, &mut self.texts) else {
            return false;
        };
        let bar = &record.bar;
        let known = self.places.find(bar.tenant_id, bar.instrument_id);
        let place = known.unwrap_or_else(|| self.places.add(Instrument::new(bar.tenant_id, bar.instrument_id)));
        if let Some(instrument) = self.places.get_mut(place) {
            instrument.restore_window(&self.rules, &self.clock, state);
        }
        self.settle(place);
        true
    }

    /// Applies a tick. Windows that its append time closes are passed to `show`.
    pub fn apply(&mut self, arrived: &Arrived<'_, '_>, show: &mut dyn FnMut(Shown<'_>)) -> Applied {
        let tick = arrived.tick;
        self.pass(arrived.offset);
        if !is_calendar_time(tick.event_time) || !is_calendar_time(tick.appended_at) {
            return Applied::TimeOutOfRange;
        }
        if !self
            .sequencer
            .accept(tick.origin.feed, tick.origin.partition, tick.origin.position())
        {
            return Applied::Duplicate;
        }
        self.last_arrival = arrived.now;
        self.clock.observe(if self.rules.holds(Rule::AppendTime) {
            tick.appended_at
        } else {
            tick.event_time
        });
        self.pass_windows(show);
        let place = match self.places.find(tick.tenant_id, tick.instrument_id) {
            Some(place) => place,
            None => match wholly_forgotten(&self.rules, &self.clock, tick) {
                Some(verdict) => return Applied::Counted(verdict),
                None => self.places.add(Instrument::new(tick.tenant_id, tick.instrument_id)),
            },
        };
        let Some(instrument) = self.places.get_mut(place) else {
            return Applied::Duplicate;
        };
        let verdict = instrument.apply(&self.rules, &self.clock, arrived, &mut self.texts);
        self.settle(place);
        Applied::Counted(verdict)
    }

    /// Closes and forgets windows of the instruments whose alarm is due.
    fn pass_windows(&mut self, show: &mut dyn FnMut(Shown<'_>)) {
        while let Some(Reverse((time, place))) = self.alarms.peek().copied() {
            if !self.clock.has_reached(time) {
                return;
            }
            self.alarms.pop();
            let Some(instrument) = self.places.get_mut(place) else {
                continue;
            };
            if instrument.alarm != time {
                continue;
            }
            instrument.alarm = Micros::MAX;
            let (writer, tombstones) = (self.writer.id, &mut self.tombstones);
            let mut forget = |(tenant_id, instrument_id): (&str, &str), window| {
                let subject = Subject::Window {
                    tenant_id,
                    instrument_id,
                    window,
                };
                tombstones.push(StateKey { writer, subject }.to_string().into_bytes());
            };
            let mut effects = Effects {
                show,
                forget: &mut forget,
            };
            instrument.pass_windows(&self.rules, &self.clock, &self.texts, &mut effects);
            self.settle(place);
        }
    }

    /// After a change: sets the instrument's alarm, lists it for the next checkpoint, and frees its place if it has no windows.
    fn settle(&mut self, place: Place) {
        let Some(instrument) = self.places.get_mut(place) else {
            return;
        };
        if instrument.is_empty() {
            self.places.remove(place);
            if self.places.is_sparse() {
                self.pack();
            }
            return;
        }
        if instrument.next_boundary() < instrument.alarm {
            instrument.alarm = instrument.next_boundary();
            self.alarms.push(Reverse((instrument.alarm, place)));
        }
        if !instrument.listed {
            instrument.listed = true;
            self.changed.push(place);
        }
    }

    /// Frees the memory of unused places. The instruments get new places.
    fn pack(&mut self) {
        self.places = std::mem::take(&mut self.places).packed();
        let has_alarm = |(_, instrument): &(Place, &Instrument)| instrument.alarm != Micros::MAX;
        let alarms = self.places.iter().filter(has_alarm);
        self.alarms = alarms
            .map(|(place, instrument)| Reverse((instrument.alarm, place)))
            .collect();
        let changed = self.places.iter().filter(|(_, instrument)| instrument.listed);
        self.changed = changed.map(|(place, _)| place).collect();
    }

    /// Moves the position past the message at this offset.
    pub fn pass(&mut self, offset: i64) {
        self.position = self.position.max(Some(offset + 1));
    }

    /// Next offset to read, if one is known.
    pub fn position(&self) -> Option<i64> {
        self.position
    }

    /// If no tick has arrived for the idle time: passes ended windows to `show` as closed, by the wall clock.
    pub fn close_idle(&mut self, now: Micros, show: &mut dyn FnMut(Shown<'_>)) {
        if now.saturating_sub(self.last_arrival) < self.rules.idle_close {
            return;
        }
        for (place, instrument) in self.places.iter_mut() {
            if instrument.close_idle(&self.rules, now, &self.texts, show) && !instrument.listed {
                instrument.listed = true;
                self.changed.push(place);
            }
        }
    }

    /// Starts a checkpoint: passes the bars that are due to `show`, and encodes the changes since the last one. `None` if
    /// nothing has changed: no message and no close.
    pub fn snapshot(&mut self, wire: &Wire, show: &mut dyn FnMut(Shown<'_>)) -> Option<Snapshot> {
        let position = self.position?;
        if self.saved_position == Some(position) && self.changed.is_empty() {
            return None;
        }
        let mut state = Records::default();
        let saving = Saving {
            rules: &self.rules,
            writer: self.writer.id,
            texts: &self.texts,
            position,
            wire,
        };
        for place in std::mem::take(&mut self.changed) {
            // A place that was freed since may be empty, or listed twice because it was reused: both are harmless.
            if let Some(instrument) = self.places.get_mut(place) {
                instrument.listed = false;
                saving.instrument(instrument, &mut state, show);
            }
        }
        let mut sequencer = Records::default();
        let record = SequencerState {
            position,
            topic_id: self.writer.topic_id.clone(),
            log_clock: self.clock.newest(),
            marks_due: self.marks.due(),
            lanes: to_lanes(self.sequencer_state()),
        };
        let key = StateKey {
            writer: self.writer.id,
            subject: Subject::Sequencer,
        };
        sequencer.push(key, |out| wire.encode_sequencer(&record, out));
        self.saved_position = Some(position);
        let mut tombstones = std::mem::take(&mut self.tombstones);
        if !tombstones.is_empty() {
            // A window that one product forgot and another one began again is saved here: its key is kept.
            let saved: FxHashSet<&[u8]> = state.iter().map(|(key, _)| key).collect();
            tombstones.retain(|key| !saved.contains(key.as_slice()));
        }
        Some(Snapshot {
            position,
            state,
            sequencer,
            tombstones,
        })
    }

    /// The sequencer's current state.
    pub fn sequencer_state(&self) -> Vec<LastOrigin> {
        self.sequencer.state()
    }

    /// The current log clock.
    pub fn log_clock(&self) -> Option<Micros> {
        self.clock.newest()
    }

    /// Which mark of the clock is due.
    pub fn marks(&mut self) -> &mut ClockMarks {
        &mut self.marks
    }

    /// Windows in memory, by interval.
    pub fn counts(&self) -> [WindowCounts; Interval::ALL.len()] {
        counts_of(self.places.iter().map(|(_, instrument)| instrument))
    }

    /// Instruments and windows in memory of one tenant.
    pub fn counts_of_tenant(&self, tenant_id: &str) -> (usize, [WindowCounts; Interval::ALL.len()]) {
        let instruments = || self.places.iter().map(|(_, instrument)| instrument);
        let of_tenant = || instruments().filter(|instrument| instrument.ids().0 == tenant_id);
        (of_tenant().count(), counts_of(of_tenant()))
    }

    /// Number of instruments in memory.
    pub fn instrument_count(&self) -> usize {
        self.places.len()
    }

    /// Passes the bars in memory of an instrument to `show`, oldest first within an interval.
    pub fn bars(&self, tenant_id: &str, instrument_id: &str, show: &mut dyn FnMut(&Held<'_>)) {
        let place = self.places.find(tenant_id, instrument_id);
        let Some(instrument) = place.and_then(|place| self.places.get(place)) else {
            return;
        };
        let made = |window: &&WindowState| self.rules.makes(window.marks().interval);
        for window in instrument.windows().iter().filter(made) {
            show(&window.held((tenant_id, instrument_id), &self.texts));
        }
    }
}

fn counts_of<'i>(instruments: impl Iterator<Item = &'i Instrument>) -> [WindowCounts; Interval::ALL.len()] {
    let mut counts = [WindowCounts::default(); Interval::ALL.len()];
    for window in instruments.flat_map(Instrument::windows) {
        let marks = window.marks();
        if let Some(count) = counts.get_mut(marks.interval.index()) {
            count.closed += u64::from(marks.closed);
            count.open += u64::from(!marks.closed);
        }
    }
    counts
}

#[cfg(test)]
#[path = "partition_state_tests.rs"]
mod tests;
