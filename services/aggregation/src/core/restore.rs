//! Reads the checkpoints in one partition of the state topic, and chooses the writer whose state is restored.
//!
//! Rules: of the writers with a sequencer record, the one with the highest ordinal, then the highest position; only its
//! windows are restored. A writer without a sequencer record never finished its copy. The new owner's ordinal is 1 + the
//! highest seen, tombstones included. The log clock is that of the position, since it is part of the sequencer record (INV-1);
//! a window ahead of the position is kept, since it has the offset applied last.
//! State of a build without a log clock is refused: it decided by another rule which ticks were late.
//! A derived series keeps its definition: values of two definitions under one name would be a series of neither.
//! Foreign records (of a writer that is not a service of ours) have a key without a writer id, or are a sequencer record
//! without our framing. They cannot contain state of ours, so they are skipped.
//! Failure: any other record that cannot be read, or a state that the protocol cannot have written, is an error: guessing
//! would give wrong bars.

use std::collections::BTreeMap;
use std::sync::Arc;

use codec::state::SequencerState;
use codec::{CodecError, Record, Wire, framing};
use curves::derived::Definition;
use domain::{Interval, Micros, Product, is_known_topic_id};

use super::log_clock::WindowRules;
use super::partition_state::{PartitionState, Writer, is_calendar_time};
use super::records::{StateKey, Subject, WriterId, series_of};

/// Why a state cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A key of one of our writers with an unknown subject.
    #[error("the state topic contains a key that this version does not support: {0}")]
    UnknownKey(String),
    /// A value that cannot be decoded.
    #[error("the value of state key {key} cannot be read: {reason}")]
    Unreadable {
        /// Its key.
        key: String,
        /// The decoder's error.
        reason: CodecError,
    },
    /// A window of a product that is not in the table of products.
    #[error("state key {0} contains a window of product '{1}', which this version does not support")]
    UnknownProduct(String, String),
    /// A window under the key of another one.
    #[error("state key {0} and its value are of different windows")]
    KeyMismatch(String),
    /// Written by a build that closed windows by event-time watermarks.
    #[error(
        "the saved state was written by an older build, which closed windows by the event times of each instrument (key \
         {0}); bars that continue from it would not be a function of the log"
    )]
    OlderBuild(String),
    /// The position belongs to another topic of the same name.
    #[error(
        "the saved state belongs to enriched topic id {saved}, but the topic now has id {actual}: it was recreated"
    )]
    TopicChanged {
        /// Id in the sequencer record.
        saved: String,
        /// Id now.
        actual: String,
    },
    /// A derived series has another definition than that of its earlier values.
    #[error("derived series '{series}' is configured as {configured}, but its earlier values were computed as {saved}")]
    OtherDefinition {
        /// Its name.
        series: String,
        /// The definition now.
        configured: String,
        /// The one of the earlier values.
        saved: String,
    },
}

/// The writer of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// This service.
    Ours,
    /// Another writer; the record is skipped.
    Foreign,
}

/// Collects the records of a state partition, oldest first.
#[derive(Debug, Default)]
pub struct StateLoader {
    live: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By derived series.
    definitions: BTreeMap<String, String>,
    highest_ordinal: u64,
}

impl StateLoader {
    /// Adds the next record; `None` is a tombstone.
    pub fn record(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Taken, RestoreError> {
        if let Some(series) = series_of(key) {
            let text = String::from_utf8_lossy(value.unwrap_or_default());
            self.definitions.insert(series.to_owned(), text.into_owned());
            return Ok(Taken::Ours);
        }
        if !StateKey::names_a_writer(key) {
            return Ok(Taken::Foreign);
        }
        if StateKey::is_of_older_build(key) {
            return Err(RestoreError::OlderBuild(readable(key)));
        }
        let parsed = parse(key)?;
        if parsed.subject == Subject::Sequencer && value.is_some_and(|value| !framing::is_framed(value)) {
            return Ok(Taken::Foreign);
        }
        self.highest_ordinal = self.highest_ordinal.max(parsed.writer.ordinal);
        match value {
            Some(value) => _ = self.live.insert(key.to_vec(), value.to_vec()),
            None => _ = self.live.remove(key),
        }
        Ok(Taken::Ours)
    }

    /// Number of live records.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The writer whose state is restored, with its sequencer record.
    pub fn chosen(&self, wire: &Wire) -> Result<Option<(WriterId, SequencerState)>, RestoreError> {
        let mut chosen: Option<(WriterId, SequencerState)> = None;
        for (key, value) in &self.live {
            let parsed = parse(key)?;
            if parsed.subject != Subject::Sequencer {
                continue;
            }
            let value = wire.current(Record::SequencerState, value);
            let record = wire.decode_sequencer(&value).map_err(|e| unreadable(key, e))?;
            if record.log_clock.is_none() && !record.lanes.is_empty() {
                return Err(RestoreError::OlderBuild(readable(key)));
            }
            let better = chosen.as_ref().is_none_or(|(writer, best)| {
                (parsed.writer.ordinal, record.position) > (writer.ordinal, best.position)
            });
            if better {
                chosen = Some((parsed.writer, record));
            }
        }
        Ok(chosen)
    }

    /// Intervals of the saved windows, if they show that their writer computed bars of other intervals than these rules.
    ///
    /// A window of the longest interval is kept for every tick and outlives the others; a window of an interval that is neither
    /// computed nor that of a product is never kept. The other settings leave no trace in the state.
    pub fn other_intervals(&self, wire: &Wire, rules: &WindowRules) -> Result<Option<Vec<&'static str>>, RestoreError> {
        let Some((source, _)) = self.chosen(wire)? else {
            return Ok(None);
        };
        let mut saved = 0u8;
        for key in self.live.keys() {
            let parsed = parse(key)?;
            if let (true, Subject::Window { window, .. }) = (parsed.writer == source, parsed.subject) {
                saved |= 1 << window.interval.index();
            }
        }
        let kept = Product::ALL
            .iter()
            .fold(rules.intervals, |kept, product| kept | rules.kept(*product));
        // Bits are in the order of length.
        let is_other = saved & !kept != 0 || saved != 0 && saved.leading_zeros() > rules.intervals.leading_zeros();
        let intervals = Interval::ALL.into_iter().filter(|one| saved >> one.index() & 1 == 1);
        Ok(is_other.then(|| intervals.map(Interval::name).collect()))
    }

    /// Those of the configured series whose definition must be saved before their first leg is sent.
    ///
    /// # Errors
    /// A series has another definition than the saved one.
    pub fn new_series(&self, configured: &[Arc<Definition>]) -> Result<Vec<Arc<Definition>>, RestoreError> {
        let mut new = Vec::new();
        for definition in configured {
            match self.definitions.get(&definition.series) {
                None => new.push(Arc::clone(definition)),
                Some(saved) if *saved == definition.described() => {}
                Some(saved) => {
                    return Err(RestoreError::OtherDefinition {
                        series: definition.series.clone(),
                        configured: definition.described(),
                        saved: saved.clone(),
                    });
                }
            }
        }
        Ok(new)
    }

    /// The state of a new owner, and the position to start from (`None`: the beginning of the log).
    pub fn restore(&self, wire: &Wire, new_owner: NewOwner) -> Result<(PartitionState, Option<i64>), RestoreError> {
        let chosen = self.chosen(wire)?;
        let id = WriterId {
            ordinal: self
                .highest_ordinal
                .checked_add(1)
                .ok_or_else(|| RestoreError::UnknownKey("ordinals are used up".to_owned()))?,
            random: new_owner.random,
        };
        if let Some((_, record)) = &chosen {
            same_topic(record, &new_owner)?;
        }
        let writer = Writer {
            id,
            topic_id: new_owner.topic_id,
        };
        let mut state = PartitionState::new(new_owner.rules, writer, self.stale_keys(), new_owner.now);
        let Some((source, record)) = chosen else {
            return Ok((state, None));
        };
        state.restore_position(&record);
        self.restore_windows(wire, source, &mut state)?;
        Ok((state, Some(record.position)))
    }

    /// Restores the saved windows of this writer.
    fn restore_windows(&self, wire: &Wire, source: WriterId, state: &mut PartitionState) -> Result<(), RestoreError> {
        for (key, value) in &self.live {
            let parsed = parse(key)?;
            if parsed.writer != source {
                continue;
            }
            if let Subject::Window {
                tenant_id,
                instrument_id,
                window,
            } = parsed.subject
            {
                let value = wire.current(Record::WindowState, value);
                let saved = wire.decode_window(&value).map_err(|e| unreadable(key, e))?;
                let bar = &saved.bar;
                let named = (bar.tenant_id, bar.instrument_id, bar.window);
                if named != (tenant_id, instrument_id, window) || !is_calendar_time(window.start) {
                    return Err(RestoreError::KeyMismatch(readable(key)));
                }
                if !state.restore_window(&saved) {
                    return Err(RestoreError::UnknownProduct(readable(key), saved.product.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// All keys: each has a lower ordinal than the new owner. Sequencer records first, so that a writer that is partly removed
    /// cannot be chosen.
    fn stale_keys(&self) -> Vec<Vec<u8>> {
        let is_sequencer = |key: &&Vec<u8>| key.first() == Some(&b's');
        let sequencers = self.live.keys().filter(is_sequencer);
        let others = self.live.keys().filter(|key| !is_sequencer(key));
        sequencers.chain(others).cloned().collect()
    }
}

/// The new owner of a partition.
#[derive(Debug, Clone)]
pub struct NewOwner {
    /// The random part of its writer id.
    pub random: u64,
    /// Current id of the enriched topic.
    pub topic_id: String,
    /// The configured intervals and times.
    pub rules: WindowRules,
    /// Wall clock; stands for the last arrival.
    pub now: Micros,
}

/// Offsets of another topic of the same name belong to other ticks.
fn same_topic(record: &SequencerState, new_owner: &NewOwner) -> Result<(), RestoreError> {
    let ids = [&record.topic_id, &new_owner.topic_id];
    if ids[0] != ids[1] && ids.into_iter().all(|id| is_known_topic_id(id)) {
        return Err(RestoreError::TopicChanged {
            saved: record.topic_id.clone(),
            actual: new_owner.topic_id.clone(),
        });
    }
    Ok(())
}

fn parse(key: &[u8]) -> Result<StateKey<'_>, RestoreError> {
    StateKey::parse(key).ok_or_else(|| RestoreError::UnknownKey(readable(key)))
}

fn unreadable(key: &[u8], reason: CodecError) -> RestoreError {
    RestoreError::Unreadable {
        key: readable(key),
        reason,
    }
}

fn readable(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
