//! Encodes a checkpoint, instrument by instrument.

use codec::Wire;

use super::instrument::Instrument;
use super::interner::Texts;
use super::log_clock::WindowRules;
use super::records::{Records, StateKey, Subject, WriterId};
use super::window_state::Shown;

/// A checkpoint that is being encoded.
pub struct Saving<'a> {
    /// Which bars are computed.
    pub rules: &'a WindowRules,
    /// Id in all keys.
    pub writer: WriterId,
    /// Texts of the partition.
    pub texts: &'a Texts,
    /// The position that is saved with it.
    pub position: i64,
    /// Encodes values.
    pub wire: &'a Wire,
}

impl Saving<'_> {
    /// Encodes the changed windows of an instrument, and passes its due bars to `show`.
    pub fn instrument(&self, instrument: &mut Instrument, state: &mut Records, show: &mut dyn FnMut(Shown<'_>)) {
        let (ids, windows) = instrument.ids_and_windows();
        for window in windows {
            let (bar_due, state_due) = (window.marks().bar_due, window.marks().state_due);
            if !bar_due && !state_due {
                continue;
            }
            // A settled window has nothing due.
            let Some(bar) = window.bar(ids, self.texts) else {
                continue;
            };
            if bar_due && self.rules.makes(bar.window.interval) {
                show(Shown::Bar(&bar));
            }
            if state_due {
                let key = StateKey {
                    writer: self.writer,
                    subject: Subject::Window {
                        tenant_id: bar.tenant_id,
                        instrument_id: bar.instrument_id,
                        window: bar.window,
                    },
                };
                let record = window.record(bar);
                state.push(key, |out| self.wire.encode_window(&record, out));
            }
            let marks = window.marks_mut();
            marks.bar_due = false;
            marks.state_due = false;
            marks.saved |= state_due;
            window.settle(self.position);
        }
    }
}
