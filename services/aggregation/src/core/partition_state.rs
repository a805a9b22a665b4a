//! The aggregation state of one enriched partition.
//!
//! Invariants: a tick counts iff the sequencer accepts it (INV-3); what it changes is a function of the log (INV-1).
//! [`PartitionState::snapshot`] takes position, sequencer, windows and watermarks of one moment, encoded at once, so that
//! processing goes on while they become durable and the state saved is exactly that of the position.
//! Failure: refusals are outcomes; nothing of a refused tick remains.

use codec::Wire;
use codec::state::{InstrumentWatermark, SequencerState};
use domain::instrument::KEY_SEPARATOR;
use domain::{Bar, Interval, LastOrigin, Micros, Window};
use rustc_hash::FxHashMap;
use stream::Sequencer;

use super::checkpoint::Snapshot;
use super::instrument::{Arrived, Effects, Instrument, Verdict};
use super::records::{Records, StateKey, Subject, WriterId, to_lanes, to_sequencer};
use super::texts::Texts;
use super::watermark::WindowRules;
use super::window_state::WindowState;

/// What became of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The sequencer has had it.
    Duplicate,
    /// It counts, in the windows that the verdict does not except.
    Counted(Verdict),
    /// Its event time lies outside of all calendars; nothing was changed.
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

/// Event times beyond this many microseconds from 1970 (about 12,000 years) are refused, so that sums of times with
/// intervals and delays stay far from overflow.
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
    texts: Texts,
    index: FxHashMap<Box<str>, usize>,
    instruments: Vec<Instrument>,
    /// Instruments with something owed.
    changed: Vec<usize>,
    /// Keys to remove once the next checkpoint is complete.
    tombstones: Vec<Vec<u8>>,
    scratch: String,
}

impl PartitionState {
    /// An empty state. `stale_keys` are removed after the first checkpoint.
    pub fn new(rules: WindowRules, writer: Writer, stale_keys: Vec<Vec<u8>>) -> PartitionState {
        PartitionState {
            rules,
            writer,
            position: None,
            saved_position: None,
            sequencer: Sequencer::default(),
            texts: Texts::default(),
            index: FxHashMap::default(),
            instruments: Vec::new(),
            changed: Vec::new(),
            tombstones: stale_keys,
            scratch: String::new(),
        }
    }

    /// Takes over position and sequencer.
    pub fn restore_position(&mut self, record: &SequencerState) {
        self.position = Some(record.position);
        self.sequencer = to_sequencer(&record.lanes);
    }

    /// Takes over a watermark. All watermarks come before all windows.
    pub fn restore_watermark(&mut self, (tenant_id, instrument_id): (&str, &str), max_event_time: Micros, now: Micros) {
        let instrument = self.instrument(tenant_id, instrument_id, now);
        if let Some(instrument) = self.instruments.get_mut(instrument) {
            instrument.restore_watermark(max_event_time);
        }
        self.list(instrument);
    }

    /// Takes over a window, given as its bar.
    pub fn restore_window(&mut self, bar: &Bar<'_>, now: Micros) {
        let index = self.instrument(bar.tenant_id, bar.instrument_id, now);
        let state = WindowState::restored(bar, &mut self.texts);
        if let Some(instrument) = self.instruments.get_mut(index) {
            instrument.restore_window(&self.rules, bar.window.interval, state);
        }
        self.list(index);
    }

    /// Applies the tick at this offset. Bars that its watermark closes are shown to `emit`.
    pub fn apply(&mut self, arrived: &Arrived<'_, '_>, emit: &mut dyn FnMut(&Bar<'_>)) -> Applied {
        let tick = arrived.tick;
        self.pass(arrived.offset);
        if !is_calendar_time(tick.event_time) {
            return Applied::TimeOutOfRange;
        }
        if !self
            .sequencer
            .accept(tick.origin.feed, tick.origin.partition, tick.origin.position())
        {
            return Applied::Duplicate;
        }
        let index = self.instrument(tick.tenant_id, tick.instrument_id, arrived.now);
        self.list(index);
        let Some(instrument) = self.instruments.get_mut(index) else {
            return Applied::Duplicate;
        };
        let (id, tombstones) = (self.writer.id, &mut self.tombstones);
        let mut forget = |window| {
            let subject = Subject::Window {
                tenant_id: tick.tenant_id,
                instrument_id: tick.instrument_id,
                window,
            };
            tombstones.push(StateKey { writer: id, subject }.to_string().into_bytes());
        };
        let mut effects = Effects {
            emit,
            forget: &mut forget,
        };
        Applied::Counted(instrument.apply(&self.rules, &mut self.texts, arrived, &mut effects))
    }

    /// The message at this offset has been dealt with: the position moves past it.
    pub fn pass(&mut self, offset: i64) {
        self.position = self.position.max(Some(offset + 1));
    }

    /// Next offset to read, where one is known.
    pub fn position(&self) -> Option<i64> {
        self.position
    }

    /// Shows the windows of idle instruments as closed, by the wall clock.
    pub fn close_idle(&mut self, now: Micros, emit: &mut dyn FnMut(&Bar<'_>)) {
        for (index, instrument) in self.instruments.iter_mut().enumerate() {
            if instrument.close_idle(&self.rules, now, &self.texts, emit) && !instrument.listed {
                instrument.listed = true;
                self.changed.push(index);
            }
        }
    }

    /// Begins a checkpoint: shows every bar that is owed to `emit`, and encodes what has changed since the last one.
    /// `None` where nothing has: no message and no close.
    pub fn snapshot(&mut self, wire: &Wire, emit: &mut dyn FnMut(&Bar<'_>)) -> Option<Snapshot> {
        let position = self.position?;
        if self.saved_position == Some(position) && self.changed.is_empty() {
            return None;
        }
        let mut state = Records::default();
        for index in std::mem::take(&mut self.changed) {
            if let Some(instrument) = self.instruments.get_mut(index) {
                instrument.listed = false;
                let saving = Saving {
                    writer: self.writer.id,
                    position,
                    texts: &self.texts,
                    wire,
                };
                saving.instrument(instrument, &mut state, emit);
            }
        }
        let mut sequencer = Records::default();
        let record = SequencerState {
            position,
            topic_id: self.writer.topic_id.clone(),
            lanes: to_lanes(self.sequencer_state()),
        };
        let key = StateKey {
            writer: self.writer.id,
            subject: Subject::Sequencer,
        };
        sequencer.push(key, |out| wire.encode_sequencer(&record, out));
        self.saved_position = Some(position);
        Some(Snapshot {
            position,
            state,
            sequencer,
            tombstones: std::mem::take(&mut self.tombstones),
        })
    }

    /// The sequencer's state as of now.
    pub fn sequencer_state(&self) -> Vec<LastOrigin> {
        self.sequencer.state()
    }

    /// Windows in memory, by interval.
    pub fn counts(&self) -> [WindowCounts; Interval::ALL.len()] {
        counts_of(self.instruments.iter())
    }

    /// Instruments and windows in memory of one tenant.
    pub fn counts_of_tenant(&self, tenant_id: &str) -> (usize, [WindowCounts; Interval::ALL.len()]) {
        let of_tenant = || {
            self.instruments
                .iter()
                .filter(|instrument| instrument.ids().0 == tenant_id)
        };
        (of_tenant().count(), counts_of(of_tenant()))
    }

    /// Number of instruments seen.
    pub fn instrument_count(&self) -> usize {
        self.instruments.len()
    }

    /// Shows the bars in memory of an instrument, oldest first within an interval.
    pub fn bars(&self, tenant_id: &str, instrument_id: &str, show: &mut dyn FnMut(&Bar<'_>)) {
        let key = format!("{tenant_id}{KEY_SEPARATOR}{instrument_id}");
        let index = self.index.get(key.as_str());
        let Some(instrument) = index.and_then(|index| self.instruments.get(*index)) else {
            return;
        };
        // Ids of ticks hold no separator; an id that does could still spell the key of another pair.
        if instrument.ids() != (tenant_id, instrument_id) {
            return;
        }
        for interval in Interval::ALL {
            for window in instrument.windows(interval) {
                show(&window.bar((tenant_id, instrument_id), interval, &self.texts));
            }
        }
    }

    fn instrument(&mut self, tenant_id: &str, instrument_id: &str, now: Micros) -> usize {
        self.scratch.clear();
        self.scratch.push_str(tenant_id);
        self.scratch.push(KEY_SEPARATOR);
        self.scratch.push_str(instrument_id);
        if let Some(index) = self.index.get(self.scratch.as_str()) {
            return *index;
        }
        let index = self.instruments.len();
        self.instruments.push(Instrument::new(&self.scratch, now));
        self.index.insert(self.scratch.as_str().into(), index);
        index
    }

    fn list(&mut self, index: usize) {
        if let Some(instrument) = self.instruments.get_mut(index)
            && !instrument.listed
        {
            instrument.listed = true;
            self.changed.push(index);
        }
    }
}

fn counts_of<'i>(instruments: impl Iterator<Item = &'i Instrument>) -> [WindowCounts; Interval::ALL.len()] {
    let mut counts = [WindowCounts::default(); Interval::ALL.len()];
    for instrument in instruments {
        for (count, interval) in counts.iter_mut().zip(Interval::ALL) {
            let windows = instrument.windows(interval);
            let closed = windows.iter().filter(|window| window.closed).count() as u64;
            count.closed += closed;
            count.open += windows.len() as u64 - closed;
        }
    }
    counts
}

/// One checkpoint being encoded.
struct Saving<'a> {
    writer: WriterId,
    position: i64,
    texts: &'a Texts,
    wire: &'a Wire,
}

impl Saving<'_> {
    fn instrument(&self, instrument: &mut Instrument, state: &mut Records, emit: &mut dyn FnMut(&Bar<'_>)) {
        let key = instrument.key().to_owned();
        let (tenant_id, instrument_id) = key.split_once(KEY_SEPARATOR).unwrap_or((&key, ""));
        for (interval, window) in instrument.windows_mut() {
            let bar = window.bar((tenant_id, instrument_id), interval, self.texts);
            if std::mem::take(&mut window.bar_due) {
                emit(&bar);
            }
            if std::mem::take(&mut window.state_due) {
                let subject = Subject::Window {
                    tenant_id,
                    instrument_id,
                    window: Window {
                        interval,
                        start: window.start,
                    },
                };
                let key = StateKey {
                    writer: self.writer,
                    subject,
                };
                state.push(key, |out| self.wire.encode_bar(&bar, out));
                window.saved = true;
            }
        }
        let Some(max_event_time) = instrument
            .watermark()
            .max_event_time()
            .filter(|_| instrument.watermark_due)
        else {
            return;
        };
        let record = InstrumentWatermark {
            position: self.position,
            max_event_time,
            // The one saved last belongs to a complete checkpoint, since checkpoints do not overlap.
            previous: instrument.saved_watermark,
        };
        let subject = Subject::Watermark {
            tenant_id,
            instrument_id,
        };
        let key = StateKey {
            writer: self.writer,
            subject,
        };
        state.push(key, |out| self.wire.encode_watermark(&record, out));
        instrument.saved_watermark = Some((self.position, max_event_time));
        instrument.watermark_due = false;
    }
}

#[cfg(test)]
#[path = "partition_state_tests.rs"]
mod tests;
