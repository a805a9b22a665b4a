//! `POST /validate`: how the stage would treat a message. Nothing is published.
//!
//! Invariants: answer and memory are bounded, whatever the message contains. Only repetitions of messages that this process
//! has validated are recognized, within the event window and for [`REMEMBERED`] events at most; the log is not read, so a
//! repetition of a published message is not.

use parking_lot::Mutex;

use delivery::event_window::{EventWindow, Seen, WindowLimits};
use domain::{EventKey, Micros, QualityFlag, QualityFlags};
use markets::{Diagnosis, Normalizer, NormalizerConfig, RawMessage, RejectedRow, RejectedRows, Rejection};
use serde::Serialize;

/// Most events that are remembered.
const REMEMBERED: u32 = 65_536;
/// Longest list of rejected rows in an answer, in characters.
const ROWS_TEXT: usize = 1_000;

/// Validates messages as the stage does.
pub struct Validator {
    config: NormalizerConfig,
    asked: Mutex<Asked>,
}

/// The validated messages, as if they were one partition.
struct Asked {
    window: EventWindow,
    next_offset: i64,
}

/// How the stage would treat a message.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Validation {
    /// Whether the whole message would be accepted.
    pub valid: bool,
    /// Flags of its ticks, each once; `duplicate` if the same event was validated before (the stage drops it).
    pub quality_flags: Vec<&'static str>,
    /// The first errors.
    pub errors: Vec<ValidationError>,
    /// Number of all errors, including those not listed.
    pub error_count: u64,
    /// Ticks that would be emitted.
    pub ticks: u64,
    /// Rows of a document that would be rejected: `0-17,20`; ends with `...` if there are more.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rejected_rows: String,
    /// The first rows of a document that have a flag other than `valid`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flagged_rows: Vec<FlaggedRow>,
}

/// A row of a document with its flags.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct FlaggedRow {
    /// The index that its tick would have.
    pub row: i32,
    /// The instrument of its tick.
    pub instrument_id: String,
    /// Its flags.
    pub quality_flags: Vec<&'static str>,
}

/// One error.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct ValidationError {
    /// A dead-letter code.
    pub code: &'static str,
    /// What is wrong and where.
    pub message: String,
    /// The row of a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<i32>,
}

impl Validator {
    /// A validator that parses with `config` and recognizes repetitions within `window`.
    pub fn new(config: NormalizerConfig, window: WindowLimits) -> Validator {
        let window = EventWindow::new(WindowLimits {
            max_ids: window.max_ids.min(REMEMBERED),
            ..window
        });
        Validator {
            config,
            asked: Mutex::new(Asked { window, next_offset: 0 }),
        }
    }

    /// The parser's configuration.
    pub fn config(&self) -> &NormalizerConfig {
        &self.config
    }

    /// Validates one message; `now` is the wall clock, and stands for the append time.
    pub fn validate(&self, payload: &[u8], format: Option<&str>, tenant: Option<&str>, now: Micros) -> Validation {
        let message = RawMessage {
            feed: "validate",
            partition: 0,
            offset: 0,
            appended_at: now,
            key: None,
            payload,
            format,
            tenant,
            replay: None,
        };
        let mut normalizer = Normalizer::new(self.config.clone());
        let parsed = match normalizer.parse(&message) {
            Ok(parsed) => parsed,
            // A second one, because the result borrows the first one until the end of this statement.
            Err(_) => return self.diagnosed(Normalizer::new(self.config.clone()).diagnose(&message, now), now),
        };
        let seen = self.seen(parsed.event_key(), now);
        let is_repetition = seen == Seen::Repeated;
        let (mut ticks, mut flags, mut flagged_rows) = (0, QualityFlags::NONE, Vec::new());
        let rejected = parsed.emit(now, seen.remarks(), &mut |tick| {
            ticks += 1;
            flags = flags.union(tick.quality_flags);
            let is_flagged = !tick.quality_flags.contains(QualityFlag::Valid) && !tick.quality_flags.is_empty();
            if format.is_some() && is_flagged && flagged_rows.len() < RejectedRows::REASONS {
                flagged_rows.push(FlaggedRow {
                    row: tick.origin.index,
                    instrument_id: tick.instrument_id.to_owned(),
                    quality_flags: names(tick.quality_flags),
                });
            }
        });
        if is_repetition {
            flags.insert(QualityFlag::Duplicate);
        }
        Validation {
            flagged_rows,
            ..validation(if is_repetition { 0 } else { ticks }, flags, rejected)
        }
    }

    // All errors of a message that the stage rejects at the first one, or of a tick without an envelope.
    fn diagnosed(&self, diagnosis: Diagnosis, now: Micros) -> Validation {
        let seen = diagnosis.event_key.map(|key| self.seen(key, now));
        let is_repetition = seen == Some(Seen::Repeated);
        let mut flags = diagnosis.flags.union(seen.map_or(QualityFlags::NONE, Seen::remarks));
        if is_repetition {
            flags.insert(QualityFlag::Duplicate);
        }
        Validation {
            valid: diagnosis.errors.is_empty(),
            quality_flags: names(flags),
            error_count: diagnosis.errors.len() as u64,
            errors: diagnosis
                .errors
                .into_iter()
                .map(|rejection| error(rejection, None))
                .collect(),
            ticks: if is_repetition { 0 } else { u64::from(diagnosis.ticks) },
            rejected_rows: String::new(),
            flagged_rows: Vec::new(),
        }
    }

    // As in the stage, a message that is rejected as a whole is not remembered.
    fn seen(&self, event_key: EventKey, now: Micros) -> Seen {
        let mut asked = self.asked.lock();
        let offset = asked.next_offset;
        asked.next_offset += 1;
        asked.window.observe(offset, now, event_key)
    }
}

fn validation(ticks: u64, flags: QualityFlags, rejected: RejectedRows) -> Validation {
    Validation {
        valid: rejected.is_empty(),
        quality_flags: names(flags),
        error_count: rejected.count(),
        ticks,
        rejected_rows: rejected.rows.text(ROWS_TEXT),
        errors: rejected.first.into_iter().map(row_error).collect(),
        flagged_rows: Vec::new(),
    }
}

/// Names of the flags; `valid` only if no other flag is set.
fn names(flags: QualityFlags) -> Vec<&'static str> {
    let has_remarks = flags.iter().any(|flag| flag != QualityFlag::Valid);
    flags
        .iter()
        .filter(|flag| !has_remarks || *flag != QualityFlag::Valid)
        .map(QualityFlag::name)
        .collect()
}

fn row_error(row: RejectedRow) -> ValidationError {
    error(row.rejection, Some(row.index))
}

fn error(rejection: Rejection, row: Option<i32>) -> ValidationError {
    ValidationError {
        code: rejection.code.name(),
        message: rejection.message,
        row,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stream::status::wall_clock;

    use super::*;

    const MISO: Option<&str> = Some("miso.rt5.expost.json");

    fn validator() -> Validator {
        let window = WindowLimits {
            micros: 300_000_000,
            max_ids: 1_000_000,
        };
        Validator::new(NormalizerConfig::default(), window)
    }

    fn envelope(event_id: &str, price: Value) -> String {
        json!({
            "envelope": {"event_type": "t", "event_id": event_id, "timestamp": wall_clock(), "tenant_id": "t", "source": "s", "version": "1.0"},
            "payload": {"market": "MISO", "instrument_id": "I", "raw_data": {"timestamp": wall_clock(), "price": price, "node": "N", "zone": "Z"}}
        })
        .to_string()
    }

    fn codes(validation: &Validation) -> Vec<&'static str> {
        validation.errors.iter().map(|error| error.code).collect()
    }

    #[test]
    fn a_message_is_validated_as_in_the_stage_and_all_errors_are_listed() {
        let validator = validator();
        let good = validator.validate(envelope("e", json!(-1)).as_bytes(), None, None, wall_clock());
        assert_eq!(
            (good.valid, good.ticks, good.quality_flags),
            (true, 1, vec!["price_negative", "missing_volume"])
        );
        let bad = validator.validate(envelope("f", json!("x")).as_bytes(), None, None, wall_clock());
        assert_eq!((bad.valid, bad.ticks, codes(&bad)), (false, 0, vec!["invalid_price"]));
        let bare =
            json!({"market": "MISO", "instrument_id": "I", "price": 10_001, "volume": -1, "node": "N", "zone": "Z"});
        let bare = validator.validate(bare.to_string().as_bytes(), None, None, wall_clock());
        assert_eq!(
            (bare.valid, codes(&bare), bare.quality_flags),
            (false, vec!["missing_time", "negative_volume"], vec!["out_of_range"])
        );
        let document = br#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2024-10-02T05:00:00","A","1","0","0"],[]]}"#;
        let part = validator.validate(document, MISO, None, wall_clock());
        assert_eq!((part.valid, part.ticks, part.rejected_rows.as_str()), (false, 1, "1"));
        assert_eq!(part.errors.first().and_then(|error| error.row), Some(1));
    }

    #[test]
    fn a_repeated_tick_within_the_window_is_a_duplicate_and_a_rejected_one_is_not_remembered() {
        let (validator, now) = (validator(), wall_clock());
        let [rejected, valid, other] = [json!("x"), json!(1), json!(2)].map(|price| envelope("twice", price));
        let flags = |payload: &str, at: Micros| {
            let answer = validator.validate(payload.as_bytes(), None, None, at);
            (answer.quality_flags, answer.ticks)
        };
        assert_eq!(flags(&rejected, now), (vec!["missing_volume"], 0));
        assert_eq!(flags(&valid, now + 1), (vec!["missing_volume"], 1));
        assert_eq!(flags(&valid, now + 2), (vec!["missing_volume", "duplicate"], 0));
        assert!(flags(&other, now + 3).0.contains(&"event_id_reused"));
        // After the window the event is new.
        assert_eq!(flags(&valid, now + 301_000_000).1, 1);
    }

    #[test]
    fn bare_ticks_are_identified_by_tenant_and_content() {
        let (validator, now) = (validator(), wall_clock());
        let flags = |price: u32, tenant: &str| {
            let bare = json!({"market": "MISO", "instrument_id": "I", "price": price, "timestamp": now, "node": "N", "zone": "Z"});
            let answer = validator.validate(bare.to_string().as_bytes(), None, Some(tenant), now);
            (answer.valid, answer.quality_flags)
        };
        assert_eq!(flags(1, "a"), (true, vec!["missing_volume"]));
        assert_eq!(flags(2, "a"), (true, vec!["missing_volume"]));
        assert_eq!(flags(1, "b"), (true, vec!["missing_volume"]));
        assert_eq!(flags(1, "a"), (true, vec!["missing_volume", "duplicate"]));
    }

    #[test]
    fn instruments_beyond_the_hourly_limit_are_flagged_and_still_ticks() {
        let document = br#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2024-10-02T05:00:00","A","1","0","0"],["2024-10-02T05:00:00","B","1","0","0"],["2024-10-02T05:00:00","C","1","0","0"]]}"#;
        for (limit, flagged) in [(2, true), (3, false)] {
            let mut validator = validator();
            validator.config.quality.max_new_instruments = limit;
            let answer = validator.validate(document, MISO, None, wall_clock());
            assert_eq!((answer.valid, answer.ticks), (true, 3));
            assert_eq!(
                answer.quality_flags.contains(&"unknown_node"),
                flagged,
                "{limit}: {answer:?}"
            );
        }
    }

    #[test]
    fn a_document_is_answered_row_by_row_and_a_rejecting_rule_rejects_only_its_rows() {
        let document = br#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2024-10-02T05:00:00","A","1","0","0"],["2024-10-02T05:00:00","B","-5","0","-6"],["2024-10-02T05:00:00","C","12000","0","11999"]]}"#;
        let mut validator = validator();
        validator.config.quality.late_after = i64::MAX;
        let answer = validator.validate(document, MISO, None, wall_clock());
        let flagged: Vec<(i32, &str, &[&str])> = answer
            .flagged_rows
            .iter()
            .map(|row| (row.row, row.instrument_id.as_str(), row.quality_flags.as_slice()))
            .collect();
        assert_eq!(
            flagged,
            [
                (1, "MISO.B.RT5", &["price_negative"][..]),
                (2, "MISO.C.RT5", &["out_of_range"][..])
            ]
        );
        validator.config.quality.rejecting = [markets::quality::Check::PriceMaximum].into_iter().collect();
        let answer = validator.validate(document, MISO, None, wall_clock() + 400_000_000);
        assert_eq!(
            (answer.valid, answer.ticks, answer.rejected_rows.as_str()),
            (false, 2, "2")
        );
        assert_eq!(codes(&answer), ["quality_rule"]);
        // A single tick is rejected as a whole, and says which rule did it.
        let answer = validator.validate(envelope("dear", json!(12_000)).as_bytes(), None, None, wall_clock());
        assert_eq!(
            (answer.valid, answer.ticks, codes(&answer)),
            (false, 0, vec!["quality_rule"])
        );
        assert!(answer.errors[0].message.contains("price_maximum"), "{answer:?}");
    }

    #[test]
    fn the_answer_is_small_however_many_rows_are_rejected() {
        let mut document = br#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":["#.to_vec();
        document.extend(b"[],".repeat(200_000));
        document.extend(b"7]}");
        let answer = validator().validate(&document, MISO, None, wall_clock());
        assert_eq!((answer.valid, answer.ticks, answer.error_count), (false, 0, 200_001));
        assert_eq!((answer.errors.len(), answer.rejected_rows.as_str()), (100, "0-200000"));
        let size = serde_json::to_string(&answer).map(|text| text.len());
        assert!(size.is_ok_and(|size| size < 20_000));
    }
}
