//! One checkpoint being encoded, instrument by instrument.

use codec::Wire;
use domain::Window;
use domain::instrument::KEY_SEPARATOR;

use super::instrument::Instrument;
use super::log_clock::WindowRules;
use super::records::{Records, StateKey, Subject, WriterId};
use super::texts::Texts;
use super::window_state::Shown;

/// One checkpoint being encoded.
pub struct Saving<'a> {
    /// Which bars are made.
    pub rules: &'a WindowRules,
    /// Id in all keys.
    pub writer: WriterId,
    /// Texts of the partition.
    pub texts: &'a Texts,
    /// Encodes values.
    pub wire: &'a Wire,
}

impl Saving<'_> {
    /// Encodes the changed windows of an instrument, and shows the bars that it owes.
    pub fn instrument(&self, instrument: &mut Instrument, state: &mut Records, show: &mut dyn FnMut(Shown<'_>)) {
        let key = instrument.key().to_owned();
        let (tenant_id, instrument_id) = key.split_once(KEY_SEPARATOR).unwrap_or((&key, ""));
        for (interval, window) in instrument.windows_mut() {
            let bar = window.bar((tenant_id, instrument_id), interval, self.texts);
            if std::mem::take(&mut window.bar_due) && self.rules.makes(interval) {
                show(Shown::Bar(&bar));
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
                let record = window.record(bar);
                state.push(key, |out| self.wire.encode_window(&record, out));
                window.saved = true;
            }
        }
    }
}
