//! Computes the expected outputs of one raw partition with normalization's own rules (INV-1, INV-5).
//!
//! Role: pure; the caller passes the messages of a partition in order to the walk of [`crate::raw`].
//! What was rejected and replayed since stays rejected here, whatever the rules say by now: it counts where the replay is. So does what
//! was held because its tenant was paused, but its event has entered the window. What has a letter and is valid by the rules of today stays
//! rejected until it is replayed: normalization has not read it by these rules.
//! If retention has removed the beginning of the log, the first messages only fill the window and are not compared: they may
//! repeat an event that is gone.

use std::collections::{BTreeMap, BTreeSet};

use delivery::event_window::Seen;
use domain::{Micros, RowRanges, Tick};
use serde::Serialize;
use service::control::order::HELD_CODE;

use super::dead_letters::{Digest, ExpectedLetter, Letter};
use crate::raw::{Decision, Read, Walk, payload, place_and_time};

/// The counts of INV-5, of one raw partition or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages read.
    pub messages: u64,
    /// Valid messages, repetitions included.
    pub parsed: u64,
    /// Messages that are dead-lettered whole.
    pub dead_lettered: u64,
    /// Ticks in valid messages.
    pub ticks: u64,
    /// Ticks that are expected in the tables.
    pub emitted: u64,
    /// Ticks of messages that repeat an event.
    pub duplicates: u64,
    /// Rejected rows of documents.
    pub rejected_rows: u64,
}

impl Counts {
    /// Adds the counts of another partition.
    pub fn add(&mut self, other: &Counts) {
        self.messages += other.messages;
        self.parsed += other.parsed;
        self.dead_lettered += other.dead_lettered;
        self.ticks += other.ticks;
        self.emitted += other.emitted;
        self.duplicates += other.duplicates;
        self.rejected_rows += other.rejected_rows;
    }
}

/// In place of a code, for a message that was rejected as a whole and replayed since.
const REPLAYED: &str = "replayed";
/// In place of a code, for a message that was rejected as a whole and would be valid now.
const VALID_NOW: &str = "valid now";

/// Follows the messages of one raw partition.
pub struct RawWalk {
    walk: Walk,
    window_length: Micros,
    /// Append time of the first message. Only used if earlier ones are gone.
    cut_at: Option<Micros>,
    is_cut: bool,
    /// Offsets that normalization has passed, `[from, to)`. Their events count as seen; they are not compared.
    pub passed: Vec<(i64, i64)>,
    /// Messages whose rejected rows were replayed, by offset; empty means the whole message.
    pub replayed: BTreeMap<i64, RowRanges>,
    /// Messages that have a letter because their tenant was paused, by offset.
    pub held: BTreeSet<i64>,
    /// Letters of messages that were rejected, and not replayed since, by offset.
    pub open: BTreeMap<i64, Letter>,
    /// First offset that is compared.
    pub first_offset: Option<i64>,
    /// The counts of INV-5.
    pub counts: Counts,
    /// Expected dead letters by offset.
    pub letters: BTreeMap<i64, ExpectedLetter>,
}

impl RawWalk {
    /// A walk from the beginning of a log. `is_cut`: retention has removed earlier messages.
    pub fn new(walk: Walk, window_length: Micros, is_cut: bool) -> RawWalk {
        RawWalk {
            walk,
            window_length,
            cut_at: None,
            is_cut,
            passed: Vec::new(),
            replayed: BTreeMap::new(),
            held: BTreeSet::new(),
            open: BTreeMap::new(),
            first_offset: None,
            counts: Counts::default(),
            letters: BTreeMap::new(),
        }
    }

    /// Processes one message (`Err` if its headers make it a dead letter) and passes its expected ticks to `emit`.
    pub fn message(&mut self, message: Read<'_>, emit: &mut dyn FnMut(&Tick<'_>)) {
        let (offset, appended_at) = place_and_time(&message);
        let cut_at = *self.cut_at.get_or_insert(appended_at);
        let is_known = !self.is_cut || appended_at > cut_at.saturating_add(self.window_length);
        let is_claimed = is_known && !self.passed.iter().any(|(from, to)| (*from..*to).contains(&offset));
        if is_known {
            self.first_offset.get_or_insert(offset);
        }
        let mut counts = Counts {
            messages: 1,
            ..Counts::default()
        };
        let (replayed, is_held) = (self.replayed.get(&offset), self.held.contains(&offset));
        let refused = |code| Decision::Refused {
            code,
            message: String::new(),
        };
        // A raw topic that was created again has other messages at the places of old letters.
        let is_of_it = |letter: &&Letter| Digest::of(payload(&message)).is_kept_by(letter);
        let open = self.open.get(&offset).filter(is_of_it);
        let mut is_valid_now = open.is_some_and(Letter::is_whole) && self.walk.refusal(&message).is_none();
        let mut held_rows = RowRanges::default();
        let decision = match replayed {
            // It did not enter the event window either.
            Some(rows) if rows.is_empty() && !is_held => refused(REPLAYED),
            _ if is_valid_now => refused(VALID_NOW),
            _ => match self.walk.decide(&message) {
                // A repetition is none that can be held, so its letter is a difference.
                Decision::Valid { parsed, seen } if is_held && seen != Seen::Repeated => {
                    held_rows = parsed.selected_rows();
                    refused(HELD_CODE)
                }
                // By rules that were changed since.
                Decision::Refused { .. } if is_held => refused(HELD_CODE),
                decision => decision,
            },
        };
        let elsewhere = replayed.or(open.map(|letter| &letter.rows));
        let reasons = reasons(decision, appended_at, &mut counts, &mut |tick| {
            let counts = !elsewhere.is_some_and(|rows| rows.contains(tick.origin.index));
            is_valid_now |= !counts && replayed.is_none();
            if counts && is_claimed {
                emit(tick);
            }
            counts
        });
        if is_claimed {
            self.counts.add(&counts);
            let reasons = reasons.or_else(|| is_valid_now.then(Default::default));
            let letter = reasons.map(|(codes, rows)| ExpectedLetter {
                codes,
                rows: if is_held { held_rows } else { rows },
                payload: Digest::of(payload(&message)),
                is_valid_now,
            });
            self.letters.extend(letter.map(|letter| (offset, letter)));
        }
    }
}

/// The codes and rows of the dead letter that the message causes, if any. Counts the message, and emits its ticks; `emit` returns
/// whether the tick counts here.
fn reasons(
    decision: Decision<'_>,
    appended_at: Micros,
    counts: &mut Counts,
    emit: &mut dyn FnMut(&Tick<'_>) -> bool,
) -> Option<(Vec<&'static str>, RowRanges)> {
    let (parsed, seen) = match decision {
        Decision::Refused { code, .. } => {
            counts.dead_lettered = 1;
            return Some((vec![code], RowRanges::default()));
        }
        Decision::Valid { parsed, seen } => (parsed, seen),
    };
    counts.parsed = 1;
    let rows = parsed.rows() as u64;
    counts.ticks = rows;
    if seen == Seen::Repeated {
        counts.duplicates = rows;
        return None;
    }
    let (mut emitted, mut elsewhere) = (0, 0);
    let rejected = parsed.emit(appended_at, seen.remarks(), &mut |tick| match emit(tick) {
        true => emitted += 1,
        false => elsewhere += 1,
    });
    counts.emitted = emitted;
    counts.rejected_rows = rejected.count() + elsewhere;
    (!rejected.is_empty()).then(|| {
        (
            rejected.codes.iter().map(|(code, _)| code.name()).collect(),
            rejected.rows,
        )
    })
}

#[cfg(test)]
mod tests {
    use delivery::event_window::WindowLimits;
    use markets::{Normalizer, NormalizerConfig, RawMessage};

    use super::*;

    const SECOND: Micros = 1_000_000;
    const START: Micros = 1_790_000_000 * SECOND;
    const LIMITS: WindowLimits = WindowLimits {
        micros: 300 * SECOND,
        max_ids: 1000,
    };

    fn payload(event_id: &str) -> String {
        format!(
            r#"{{"envelope":{{"event_type":"t","event_id":"{event_id}","timestamp":"2026-01-01T00:00:00Z","tenant_id":"t","source":"s","version":"1.0"}},"payload":{{"market":"miso","instrument_id":"X","raw_data":{{"timestamp":"2026-01-01T00:00:00Z","price":1}}}}}}"#
        )
    }

    fn walk(is_cut: bool, messages: &[(Micros, String)]) -> (RawWalk, Vec<i64>) {
        walk_all(new_walk(is_cut), messages, &[])
    }

    fn new_walk(is_cut: bool) -> RawWalk {
        let decides = Walk::new(Normalizer::new(NormalizerConfig::default()), LIMITS);
        RawWalk::new(decides, LIMITS.micros, is_cut)
    }

    /// `replays`: offsets of messages that are replays of held ones.
    fn walk_all(mut walk: RawWalk, messages: &[(Micros, String)], replays: &[i64]) -> (RawWalk, Vec<i64>) {
        let mut emitted = Vec::new();
        for (offset, (seconds, payload)) in (0..).zip(messages) {
            let replay = replays.contains(&offset).then_some(markets::Replay {
                letter: 0,
                origin: "raw/0/0",
                rows: "",
                attempt: 2,
                held: true,
            });
            let message = RawMessage {
                feed: "raw",
                partition: 0,
                offset,
                appended_at: START + seconds * SECOND,
                key: None,
                payload: payload.as_bytes(),
                format: None,
                tenant: None,
                replay,
            };
            walk.message(Ok(message), &mut |tick| emitted.push(tick.origin.offset));
        }
        (walk, emitted)
    }

    #[test]
    fn each_message_is_counted_once_and_the_equations_hold() {
        let document = r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[]}"#.to_owned();
        let messages = [
            (0, payload("a")),
            (1, payload("b")),
            (2, payload("a")),
            (3, "{".to_owned()),
            (302, payload("b")),
            (303, document),
        ];
        let (walk, emitted) = walk(false, &messages);
        assert_eq!(emitted, [0, 1, 4]);
        let counts = walk.counts;
        assert_eq!((counts.messages, counts.parsed, counts.dead_lettered), (6, 4, 2));
        assert_eq!(
            (counts.ticks, counts.emitted, counts.duplicates, counts.rejected_rows),
            (4, 3, 1, 0)
        );
        assert_eq!(walk.letters.keys().copied().collect::<Vec<_>>(), [3, 5]);
        assert_eq!(
            walk.letters.get(&3).map(|letter| letter.codes.clone()),
            Some(vec!["broken_json"])
        );
    }

    #[test]
    fn a_held_message_is_a_letter_its_retry_a_repetition_and_its_replay_the_tick() {
        let messages = [
            (0, payload("a")),
            (1, payload("b")),
            (2, payload("a")),
            (3, payload("a")),
            (4, "{".to_owned()),
        ];
        // Whether the letter was replayed already makes no difference.
        for replayed in [None, Some((0, RowRanges::default()))] {
            let mut walk = new_walk(false);
            walk.held.extend([0, 4]);
            walk.replayed.extend(replayed);
            let (walk, emitted) = walk_all(walk, &messages, &[3]);
            assert_eq!(emitted, [1, 3]);
            let counts = walk.counts;
            assert_eq!((counts.dead_lettered, counts.duplicates), (2, 1));
            let codes: Vec<_> = walk
                .letters
                .iter()
                .map(|(offset, letter)| (*offset, letter.codes.clone()))
                .collect();
            assert_eq!(codes, [(0, vec!["tenant_paused"]), (4, vec!["tenant_paused"])]);
        }
    }

    fn letter_of(payload: &str, rows: &[i32]) -> Letter {
        Letter {
            code: "unknown_market".to_owned(),
            rows: rows.iter().copied().collect(),
            row_count: None,
            payload: Digest::of(payload.as_bytes()),
            original_size: None,
        }
    }

    fn valid_now(walk: &RawWalk) -> Vec<i64> {
        let valid = walk.letters.iter().filter(|(_, letter)| letter.is_valid_now);
        valid.map(|(offset, _)| *offset).collect()
    }

    #[test]
    fn a_letter_that_is_valid_now_is_no_tick_until_its_replay_and_its_retry_is_one() {
        // 0 is a letter; 1 is its retry by the new rules; 2 repeats that; 3 is a letter by all rules.
        let messages = [
            (0, payload("a")),
            (1, payload("a")),
            (2, payload("a")),
            (3, "{".to_owned()),
        ];
        let mut open = new_walk(false);
        open.open.insert(0, letter_of(&messages[0].1, &[]));
        open.open.insert(3, letter_of(&messages[3].1, &[]));
        let (open, emitted) = walk_all(open, &messages, &[]);
        assert_eq!(emitted, [1]);
        assert_eq!(valid_now(&open), [0]);
        let counts = open.counts;
        assert_eq!((counts.parsed, counts.dead_lettered, counts.duplicates), (2, 2, 1));
        assert_eq!(open.letters[&3].codes, ["broken_json"]);

        // Replayed as message 1: the rows are those of the replay.
        let mut replayed = new_walk(false);
        replayed.replayed.insert(0, RowRanges::default());
        let (replayed, emitted) = walk_all(replayed, &messages, &[]);
        assert_eq!((emitted, valid_now(&replayed)), (vec![1], Vec::new()));
    }

    #[test]
    fn a_letter_of_another_message_at_this_place_says_nothing() {
        let messages = [(0, payload("a"))];
        let mut other = new_walk(false);
        other.open.insert(0, letter_of("another message", &[]));
        let (other, emitted) = walk_all(other, &messages, &[]);
        assert_eq!((emitted, valid_now(&other)), (vec![0], Vec::new()));
    }

    #[test]
    fn rows_of_a_letter_that_are_valid_now_are_no_ticks_until_their_replay() {
        let document = r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2026-09-20T05:00:00","A","1.00","0.00","0.00"],["2026-09-20T05:00:00","B","2.00","0.00","0.00"]]}"#;
        let ticks = |open: Option<Letter>| {
            let mut walk = new_walk(false);
            walk.open.extend(open.map(|letter| (0, letter)));
            let mut indexes = Vec::new();
            let message = RawMessage {
                feed: "raw",
                partition: 0,
                offset: 0,
                appended_at: START,
                key: None,
                payload: document.as_bytes(),
                format: Some("miso.rt5.expost.json"),
                tenant: None,
                replay: None,
            };
            walk.message(Ok(message), &mut |tick| indexes.push(tick.origin.index));
            (indexes, valid_now(&walk), walk.counts)
        };
        let (all, valid, _) = ticks(None);
        assert_eq!((all.len(), valid), (2, Vec::new()));
        let (rest, valid, counts) = ticks(Some(letter_of(document, &all[..1])));
        assert_eq!((rest, valid), (all[1..].to_vec(), vec![0]));
        assert_eq!((counts.ticks, counts.emitted, counts.rejected_rows), (2, 1, 1));
    }

    #[test]
    fn the_beginning_of_a_cut_log_is_not_compared_but_fills_the_window() {
        let messages = [
            (0, payload("a")),
            (299, payload("b")),
            (301, payload("b")),
            (302, payload("c")),
        ];
        let (walk, emitted) = walk(true, &messages);
        assert_eq!(emitted, [3]);
        assert_eq!(
            (walk.first_offset, walk.counts.messages, walk.counts.duplicates),
            (Some(2), 2, 1)
        );
    }
}
