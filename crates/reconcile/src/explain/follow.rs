//! What normalization decided about single messages of a raw partition. Pure: the caller passes the messages in order.
//!
//! Invariant: the walk of [`crate::raw`] decides. Only messages within one window length can make a
//! later message a repetition, so it is enough to start one window length before the first wanted message. What was rejected as a whole has
//! a letter, and stays rejected here, whatever the rules say by now: its event has not entered the window (as in `dp verify`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use delivery::event_window::Seen;
use domain::{EventKey, QualityFlags, Tick};
use serde::Serialize;

use super::At;
use crate::raw::{Decision, Read, Walk, payload, place_and_time};
use crate::verify::dead_letters::{Digest, Letter};

/// Ticks of one message that are kept.
const TICKS: usize = 10_000;

/// What became of a message at normalization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
pub enum Fate {
    /// Its ticks were emitted, except for rejected rows.
    Emitted {
        /// Number of rejected rows.
        rejected_rows: u64,
        /// The first of them.
        rejected: Vec<RejectedTick>,
    },
    /// It repeats an event: it was dropped and only counted.
    Repetition {
        /// Offset of the message that was emitted for this event, if known.
        of_offset: Option<i64>,
    },
    /// Dead-lettered as a whole.
    Refused {
        /// Code of the reason.
        code: String,
        /// The reason.
        message: String,
    },
}

/// A rejected row of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RejectedTick {
    pub index: i32,
    pub code: String,
    pub message: String,
}

/// A tick as the parser reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ParsedTick {
    pub index: i32,
    pub event_id: String,
    pub tenant_id: String,
    pub instrument_id: String,
    pub event_time: At,
    pub price: String,
    pub volume: Option<String>,
}

/// A later message with the same event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Repetition {
    pub offset: i64,
    pub appended_at: At,
}

/// A wanted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Followed {
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
    /// The ticks that the parser reads from it, even if it is a repetition.
    pub ticks: Vec<ParsedTick>,
    /// Messages that repeat it, in the part of the log that was searched.
    pub repeated_by: Vec<Repetition>,
}

/// Follows some messages of one partition.
pub struct Follow {
    walk: Walk,
    wanted: BTreeSet<i64>,
    /// Messages that were rejected as a whole, by offset, with whether the letter was replayed or given up.
    pub rejected: BTreeMap<i64, (Letter, bool)>,
    // Event → the last offset that was emitted for it.
    emitted: HashMap<EventKey, i64>,
    /// The wanted messages by offset.
    pub found: BTreeMap<i64, Followed>,
}

impl Follow {
    /// A follower of the messages at the offsets in `wanted`.
    pub fn new(walk: Walk, wanted: BTreeSet<i64>) -> Follow {
        Follow {
            walk,
            wanted,
            rejected: BTreeMap::new(),
            emitted: HashMap::new(),
            found: BTreeMap::new(),
        }
    }

    /// Processes the next message of the partition.
    pub fn message(&mut self, message: Read<'_>) {
        let (offset, appended_at) = place_and_time(&message);
        let is_wanted = self.wanted.contains(&offset);
        if let Some(fate) = self.rejected_before(offset, &message) {
            return self.find(offset, fate, Vec::new());
        }
        let (parsed, seen) = match self.walk.decide(&message) {
            Decision::Valid { parsed, seen } => (parsed, seen),
            Decision::Refused { code, message } => {
                let code = code.to_owned();
                // The decision borrows the walk until the end of this statement.
                let fate = Fate::Refused { code, message };
                return find(&self.wanted, &mut self.found, (offset, fate, Vec::new()));
            }
        };
        let (key, is_repetition) = (parsed.event_key(), seen == Seen::Repeated);
        let (mut ticks, mut rejected, mut rejected_rows) = (Vec::new(), Vec::new(), 0);
        if is_wanted {
            let rows = parsed.emit(appended_at, QualityFlags::NONE, &mut |tick| {
                if ticks.len() < TICKS {
                    ticks.push(parsed_tick(tick));
                }
            });
            rejected_rows = rows.count();
            rejected.extend(rows.first.into_iter().map(|row| RejectedTick {
                index: row.index,
                code: row.rejection.code.name().to_owned(),
                message: row.rejection.message,
            }));
        } else {
            drop(parsed);
        }
        if !is_repetition {
            self.emitted.insert(key, offset);
            let fate = Fate::Emitted {
                rejected_rows,
                rejected,
            };
            return self.find(offset, fate, ticks);
        }
        let of_offset = self.emitted.get(&key).copied();
        if let Some(original) = of_offset.and_then(|of| self.found.get_mut(&of)) {
            original.repeated_by.push(Repetition {
                offset,
                appended_at: At(appended_at),
            });
        }
        self.find(offset, Fate::Repetition { of_offset }, ticks);
    }

    /// The fate of a message whose letter says that it was rejected as a whole.
    fn rejected_before(&mut self, offset: i64, message: &Read<'_>) -> Option<Fate> {
        let (letter, is_closed) = self.rejected.get(&offset)?;
        // A raw topic that was created again has other messages at the places of old letters.
        if !Digest::of(payload(message)).is_kept_by(letter) {
            return None;
        }
        let (code, message) = match self.walk.refusal(message) {
            Some((code, reason)) => (code.to_owned(), reason),
            None => (
                letter.code.clone(),
                match is_closed {
                    true => "it would be valid now; its letter was replayed, and its rows are those of the replay, or it was given up",
                    false => "it is valid now: `dp dlq replay` sends it",
                }
                .to_owned(),
            ),
        };
        Some(Fate::Refused { code, message })
    }

    fn find(&mut self, offset: i64, fate: Fate, ticks: Vec<ParsedTick>) {
        find(&self.wanted, &mut self.found, (offset, fate, ticks));
    }
}

fn find(
    wanted: &BTreeSet<i64>,
    found: &mut BTreeMap<i64, Followed>,
    (offset, fate, ticks): (i64, Fate, Vec<ParsedTick>),
) {
    if wanted.contains(&offset) {
        let followed = Followed {
            fate,
            ticks,
            repeated_by: Vec::new(),
        };
        found.insert(offset, followed);
    }
}

fn parsed_tick(tick: &Tick<'_>) -> ParsedTick {
    ParsedTick {
        index: tick.origin.index,
        event_id: tick.source_event_id.to_owned(),
        tenant_id: tick.tenant_id.to_owned(),
        instrument_id: tick.instrument_id.to_owned(),
        event_time: At(tick.event_time),
        price: tick.price.to_string(),
        volume: tick.volume.map(|volume| volume.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use delivery::event_window::WindowLimits;
    use markets::{Normalizer, NormalizerConfig, RawMessage};

    use super::*;

    const SECOND: i64 = 1_000_000;
    const START: i64 = 1_790_000_000 * SECOND;
    const LIMITS: WindowLimits = WindowLimits {
        micros: 300 * SECOND,
        max_ids: 1000,
    };

    fn event(id: &str, price: &str) -> String {
        format!(
            r#"{{"envelope":{{"event_type":"t","event_id":"{id}","timestamp":"2026-01-01T00:00:00Z","tenant_id":"t","source":"s","version":"1.0"}},"payload":{{"market":"miso","instrument_id":"X","raw_data":{{"timestamp":"2026-01-01T00:00:00Z","price":{price}}}}}}}"#
        )
    }

    fn follow(wanted: &[i64], messages: &[(i64, String)]) -> BTreeMap<i64, Followed> {
        follow_with(wanted, messages, BTreeMap::new())
    }

    fn follow_with(
        wanted: &[i64],
        messages: &[(i64, String)],
        rejected: BTreeMap<i64, (Letter, bool)>,
    ) -> BTreeMap<i64, Followed> {
        let normalizer = Normalizer::new(NormalizerConfig::default());
        let mut follow = Follow::new(Walk::new(normalizer, LIMITS), wanted.iter().copied().collect());
        follow.rejected = rejected;
        for (offset, (seconds, payload)) in (0..).zip(messages) {
            follow.message(Ok(RawMessage {
                feed: "raw",
                partition: 0,
                offset,
                appended_at: START + seconds * SECOND,
                key: None,
                payload: payload.as_bytes(),
                format: None,
                tenant: None,
                replay: None,
            }));
        }
        follow.found
    }

    #[test]
    fn a_repetition_and_the_emitted_message_name_each_other() {
        let messages = [
            (0, event("a", "1.50")),
            (1, event("b", "2")),
            (200, event("a", "1.5")),
            (400, event("a", "1.500")),
            (701, event("a", "1.5")),
        ];
        let found = follow(&[0, 2, 3, 4], &messages);
        let offsets: Vec<i64> = found[&0]
            .repeated_by
            .iter()
            .map(|repetition| repetition.offset)
            .collect();
        // The last one comes more than a window length after the repetition before it, so it is a new event.
        assert_eq!(offsets, [2, 3]);
        assert_eq!(found[&3].fate, Fate::Repetition { of_offset: Some(0) });
        assert_eq!(
            found[&4].fate,
            Fate::Emitted {
                rejected_rows: 0,
                rejected: Vec::new()
            }
        );
        let tick = &found[&0].ticks[0];
        assert_eq!((&*tick.price, &*tick.event_id, &*tick.instrument_id), ("1.5", "a", "X"));
        assert!(!found.contains_key(&1));
    }

    #[test]
    fn a_message_with_a_letter_stays_rejected_and_its_replay_is_emitted() {
        let messages = [(0, event("a", "1.5")), (1, event("a", "1.5")), (2, event("a", "1.5"))];
        let letter = |payload: &str| Letter {
            code: "unknown_market".to_owned(),
            rows: domain::RowRanges::default(),
            row_count: None,
            payload: Digest::of(payload.as_bytes()),
            original_size: None,
        };
        for (is_closed, words) in [(false, "`dp dlq replay` sends it"), (true, "was replayed")] {
            let rejected = BTreeMap::from([(0, (letter(&messages[0].1), is_closed))]);
            let found = follow_with(&[0, 1, 2], &messages, rejected);
            match &found[&0].fate {
                Fate::Refused { code, message } => assert!(code == "unknown_market" && message.contains(words)),
                other => panic!("{other:?}"),
            }
            assert!(found[&0].repeated_by.is_empty());
            assert!(matches!(found[&1].fate, Fate::Emitted { .. }), "{:?}", found[&1].fate);
            assert_eq!(found[&2].fate, Fate::Repetition { of_offset: Some(1) });
        }
        let of_another = BTreeMap::from([(0, (letter("another message"), false))]);
        let found = follow_with(&[0], &messages, of_another);
        assert!(matches!(found[&0].fate, Fate::Emitted { .. }));
    }

    #[test]
    fn a_rejected_message_has_a_code_and_a_reason() {
        let found = follow(&[0], &[(0, "{".to_owned())]);
        match &found[&0].fate {
            Fate::Refused { code, message } => assert!(code == "broken_json" && !message.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}
