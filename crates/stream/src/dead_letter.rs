//! A dead letter: the refused record and the description of its failure, within the size that can be sent.
//!
//! Invariants: INV-9: a letter never exceeds its limit, for a record of any size. The end of the value is cut first,
//! then headers, then the end of the key. A header states the cut, and the origin locates the whole record. Of the reasons of rejected
//! rows it contains as many as fit into [`REASONS_TO`], and states how many are missing.

pub mod ledger;
#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod replay_model;

use domain::RowRanges;
use serde::{Deserialize, Serialize};

use crate::Message;
use crate::record_size;

/// Why a message could not be used. The letter also carries the original key, value and headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// Service that refused it.
    pub service: &'a str,
    /// Stage inside the service.
    pub stage: &'a str,
    /// Code from the closed set of the stage.
    pub code: &'a str,
    /// What is wrong and where, for operators.
    pub message: &'a str,
    /// Refused rows of a document whose other rows were used; empty means the whole message.
    pub rejected_rows: &'a RowRanges,
    /// Why the first of these rows were refused.
    pub reasons: &'a [RowReason],
    /// How often it has been tried (1 = first time).
    pub attempts: u32,
    /// Copied from the message, if it could be read.
    pub correlation_id: &'a str,
    /// The tenant of the message, if that is why it is kept; else empty.
    pub tenant: &'a str,
}

/// Why one row of a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowReason {
    /// Number of the row in the document, from 0, as in [`DeadLetter::rejected_rows`].
    pub row: i32,
    /// Code from the closed set of the stage.
    pub code: String,
    /// The line or element of the document, and what is wrong there.
    pub reason: String,
}

/// Header names: those of this project and of Kafka Connect, which existing tools look for.
pub mod header {
    #![allow(missing_docs)]
    pub const TOPIC: &str = "__connect.errors.topic";
    pub const PARTITION: &str = "__connect.errors.partition";
    pub const OFFSET: &str = "__connect.errors.offset";
    pub const STAGE: &str = "__connect.errors.stage";
    pub const CLASS: &str = "__connect.errors.class.name";
    pub const MESSAGE: &str = "__connect.errors.exception.message";
    pub const CODE: &str = "dp.error.code";
    pub const SERVICE: &str = "dp.service";
    pub const CORRELATION_ID: &str = "dp.correlation_id";
    pub const ATTEMPTS: &str = "dp.attempts";
    pub const FAILED_AT: &str = "dp.failed_at";
    pub const REJECTED_ROWS: &str = "dp.rejected_rows";
    /// The tenant whose messages are held; only if that is the reason.
    pub const TENANT: &str = "dp.error.tenant";
    /// Number of refused rows; only if their list had to be cut.
    pub const REJECTED_ROWS_COUNT: &str = "dp.rejected_rows_count";
    /// Why the first refused rows were refused: a JSON array of [`RowReason`](super::RowReason); only if rows were refused.
    pub const REJECTED_REASONS: &str = "dp.rejected_reasons";
    /// Number of refused rows that this array lacks; only if it lacks some.
    pub const REJECTED_REASONS_LEFT_OUT: &str = "dp.rejected_reasons_left_out";
    /// `true` if the letter contains less than the record.
    pub const TRUNCATED: &str = "dp.truncated";
    /// Bytes of the record's value. This and the next two are present only if the letter is truncated.
    pub const ORIGINAL_SIZE: &str = "dp.original_size";
    pub const ORIGINAL_KEY_SIZE: &str = "dp.original_key_size";
    pub const ORIGINAL_HEADERS: &str = "dp.original_headers";

    pub(super) const OURS: [&str; 14] = [
        CODE,
        TENANT,
        SERVICE,
        CORRELATION_ID,
        ATTEMPTS,
        FAILED_AT,
        REJECTED_ROWS,
        REJECTED_ROWS_COUNT,
        REJECTED_REASONS,
        REJECTED_REASONS_LEFT_OUT,
        TRUNCATED,
        ORIGINAL_SIZE,
        ORIGINAL_KEY_SIZE,
        ORIGINAL_HEADERS,
    ];
}

/// Bytes of the value that a truncated letter contains, and the limit of its headers and of its key if they must be cut too.
pub const TRUNCATED_TO: usize = 1 << 20;
/// Bytes of the reasons of refused rows that a letter contains.
pub const REASONS_TO: usize = 64 << 10;
/// Bytes of one reason. A cell of a megabyte that its reason quotes must not take the place of the other reasons.
const REASON_TO: usize = 1 << 10;
/// Space for the headers that describe the cut.
const STATEMENTS: usize = 512;

/// A dead letter as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// Key, null if the record's key was null.
    pub key: Option<&'a [u8]>,
    /// Value, null if the record's value was null.
    pub payload: Option<&'a [u8]>,
    /// The record's headers, then those of this project.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// The dead letter of a message, at most `limit` bytes large. `failed_at` is the wall clock in microseconds.
pub fn seal<'a>(message: &Message<'a>, letter: &DeadLetter<'_>, failed_at: i64, limit: usize) -> Sealed<'a> {
    // A replayed dead letter that fails again must describe the new failure, not both.
    let original = message
        .headers()
        .filter(|(name, _)| !is_statement(name))
        .map(|(name, value)| (name.into_owned(), value.map(<[u8]>::to_vec)))
        .collect();
    let record = Sealed {
        key: message.key,
        payload: message.payload,
        headers: original,
    };
    bounded(record, statements(message, letter, failed_at, limit), limit)
}

/// Whether a header of a letter describes the failure; the others are those of the rejected record.
pub fn is_statement(name: &str) -> bool {
    name.starts_with("__connect.errors.") || header::OURS.contains(&name)
}

/// The headers of this project: never more than half of the limit.
fn statements(
    message: &Message<'_>,
    letter: &DeadLetter<'_>,
    failed_at: i64,
    limit: usize,
) -> Vec<(String, Option<Vec<u8>>)> {
    let rows = letter.rejected_rows.text(limit / 4);
    let is_cut = rows.ends_with(RowRanges::CUT);
    let reason = start_of(letter.message, (limit / 16).min(8 << 10)).to_owned();
    let correlation_id = start_of(letter.correlation_id, (limit / 16).min(1 << 10)).to_owned();
    let mut ours = vec![
        (header::TOPIC, message.topic.to_owned()),
        (header::PARTITION, message.partition.to_string()),
        (header::OFFSET, message.offset.to_string()),
        (header::STAGE, letter.stage.to_owned()),
        (header::CLASS, letter.code.to_owned()),
        (header::MESSAGE, reason),
        (header::CODE, letter.code.to_owned()),
        (header::SERVICE, letter.service.to_owned()),
        (header::CORRELATION_ID, correlation_id),
        (header::ATTEMPTS, letter.attempts.to_string()),
        (header::FAILED_AT, failed_at.to_string()),
        (header::REJECTED_ROWS, rows),
    ];
    if !letter.tenant.is_empty() {
        ours.push((header::TENANT, letter.tenant.to_owned()));
    }
    if is_cut {
        ours.push((header::REJECTED_ROWS_COUNT, letter.rejected_rows.len().to_string()));
    }
    if !letter.reasons.is_empty() {
        let (reasons, listed) = listed(letter.reasons, (limit / 16).min(REASONS_TO));
        ours.push((header::REJECTED_REASONS, reasons));
        let left_out = letter.rejected_rows.len().saturating_sub(listed);
        if left_out > 0 {
            ours.push((header::REJECTED_REASONS_LEFT_OUT, left_out.to_string()));
        }
    }
    ours.into_iter().map(stated).collect()
}

/// The first reasons as a JSON array of at most `most` bytes, and their number. A longer reason than [`REASON_TO`] ends with `…`.
fn listed(reasons: &[RowReason], most: usize) -> (String, u64) {
    let (mut text, mut count) = ("[".to_owned(), 0);
    for reason in reasons {
        let shorter = (reason.reason.len() > REASON_TO).then(|| RowReason {
            code: reason.code.clone(),
            reason: beginning(&reason.reason, REASON_TO),
            ..*reason
        });
        // Numbers and strings can always be written.
        let Ok(entry) = serde_json::to_string(shorter.as_ref().unwrap_or(reason)) else {
            break;
        };
        // A comma before it, and the bracket at the end.
        if text.len() + entry.len() + 2 > most {
            break;
        }
        if count > 0 {
            text.push(',');
        }
        text.push_str(&entry);
        count += 1;
    }
    text.push(']');
    (text, count)
}

/// At most so many bytes of a text, and a mark of the cut.
fn beginning(text: &str, most: usize) -> String {
    let starts = text.char_indices().map(|(at, _)| at);
    let end = starts.take_while(|at| *at <= most).last().unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

fn stated((name, value): (&str, String)) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), Some(value.into_bytes()))
}

/// Adds the headers of this project to the record, and cuts what does not fit.
fn bounded<'a>(record: Sealed<'a>, ours: Vec<(String, Option<Vec<u8>>)>, limit: usize) -> Sealed<'a> {
    let Sealed { key, payload, headers } = record;
    let overhead = record_size::headers(&ours) + STATEMENTS;
    let size = |key, payload, headers| record_size::record(key, payload, overhead + headers);
    let all_headers = record_size::headers(&headers);
    if size(key, payload, all_headers) <= limit {
        let headers = headers.into_iter().chain(ours).collect();
        return Sealed { key, payload, headers };
    }
    let kept = TRUNCATED_TO.min(limit / 8);
    let (key_size, header_count) = (key.map_or(0, <[u8]>::len), headers.len());
    let mut sealed = Sealed {
        key,
        payload: payload.map(|bytes| first(bytes, kept)),
        headers,
    };
    if size(sealed.key, sealed.payload, all_headers) > limit {
        let mut room = kept;
        sealed.headers.retain(|(name, value)| {
            let left = room.checked_sub(record_size::header(name, value.as_deref()));
            room = left.unwrap_or(room);
            left.is_some()
        });
    }
    if size(sealed.key, sealed.payload, record_size::headers(&sealed.headers)) > limit {
        sealed.key = key.map(|bytes| first(bytes, kept));
    }
    let missing = [
        (header::TRUNCATED, "true".to_owned()),
        (header::ORIGINAL_SIZE, payload.map_or(0, <[u8]>::len).to_string()),
        (header::ORIGINAL_KEY_SIZE, key_size.to_string()),
        (header::ORIGINAL_HEADERS, header_count.to_string()),
    ];
    sealed.headers.extend(ours);
    sealed.headers.extend(missing.into_iter().map(stated));
    sealed
}

fn first(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

fn start_of(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rdkafka::message::{Header, OwnedHeaders};

    #[test]
    fn every_header_has_its_value() {
        let message = Message {
            topic: "ingestion.market.raw.v1",
            partition: 3,
            offset: 42,
            timestamp: 0,
            has_append_time: true,
            key: None,
            payload: Some(b"{"),
            headers: None,
        };
        let letter = DeadLetter {
            service: "normalization",
            stage: "normalize",
            code: "broken_json",
            message: "line 1 column 2: end of input",
            rejected_rows: &[1, 5].into_iter().collect(),
            reasons: &reasons(1),
            attempts: 2,
            correlation_id: "c-7",
            tenant: "acme",
        };
        let sealed = seal(&message, &letter, 1_700_000_000_000_000, 1 << 20);
        let headers: Vec<(String, String)> = sealed
            .headers
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()))
            .collect();
        let expected = [
            ("__connect.errors.topic", "ingestion.market.raw.v1"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "42"),
            ("__connect.errors.stage", "normalize"),
            ("__connect.errors.class.name", "broken_json"),
            ("__connect.errors.exception.message", "line 1 column 2: end of input"),
            ("dp.error.code", "broken_json"),
            ("dp.service", "normalization"),
            ("dp.correlation_id", "c-7"),
            ("dp.attempts", "2"),
            ("dp.failed_at", "1700000000000000"),
            ("dp.rejected_rows", "1,5"),
            ("dp.error.tenant", "acme"),
            (
                "dp.rejected_reasons",
                r#"[{"row":0,"code":"invalid_price","reason":"line 2: LMP is \"oops\""}]"#,
            ),
            ("dp.rejected_reasons_left_out", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, expected);
    }

    fn reasons(count: i32) -> Vec<RowReason> {
        let reason = |row: i32| RowReason {
            row: 2 * row,
            code: "invalid_price".to_owned(),
            reason: format!("line {}: LMP is \"oops\"", 2 * row + 2),
        };
        (0..count).map(reason).collect()
    }

    const LETTER: DeadLetter<'_> = DeadLetter {
        service: "normalization",
        stage: "normalize",
        code: "oversize",
        message: "",
        rejected_rows: RowRanges::NONE,
        reasons: &[],
        attempts: 1,
        correlation_id: "",
        tenant: "",
    };

    fn text(sealed: &Sealed<'_>, name: &str) -> Option<String> {
        let found = sealed.headers.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned())
    }

    proptest! {
        #[test]
        fn a_letter_stays_within_its_limit_and_states_what_was_cut(
            (limit, key, payload) in (16_384usize..200_000, 0usize..300_000, 0usize..300_000),
            sizes in proptest::collection::vec(0usize..2_000, 0..300),
            (rows, reason) in (0usize..40_000, 0usize..300_000),
        ) {
            let mut headers = OwnedHeaders::new();
            for size in &sizes {
                headers = headers.insert(Header { key: "h", value: Some(&vec![7; *size]) });
            }
            let (key, payload) = (vec![1; key], vec![2; payload]);
            let message = Message {
                topic: "raw",
                partition: 3,
                offset: 42,
                timestamp: 0,
                has_append_time: true,
                key: Some(&key),
                payload: Some(&payload),
                headers: Some(headers.as_borrowed()),
            };
            // Every other row: the longest list.
            let row_reasons = reasons(rows.min(100) as i32);
            let (rows, reason): (RowRanges, String) = ((0..rows as i32).map(|row| 2 * row).collect(), "é".repeat(reason));
            let letter = DeadLetter {
                message: &reason,
                correlation_id: &reason,
                rejected_rows: &rows,
                reasons: &row_reasons,
                ..LETTER
            };
            let sealed = seal(&message, &letter, 0, limit);
            let size = |sealed: &Sealed<'_>| {
                record_size::record(sealed.key, sealed.payload, record_size::headers(&sealed.headers))
            };
            prop_assert!(size(&sealed) <= limit);
            prop_assert_eq!(text(&sealed, header::OFFSET).unwrap(), "42");
            let (listed, is_cut) = RowRanges::read(&text(&sealed, header::REJECTED_ROWS).unwrap()).unwrap();
            prop_assert!(rows.starts_with(&listed));
            let counted = text(&sealed, header::REJECTED_ROWS_COUNT);
            prop_assert_eq!(counted.is_some(), is_cut);
            prop_assert_eq!(counted.map_or(listed.len(), |count| count.parse().unwrap()), rows.len());
            let told = text(&sealed, header::REJECTED_REASONS).unwrap_or_else(|| "[]".to_owned());
            prop_assert!(told.len() <= (limit / 16).min(REASONS_TO));
            let told: Vec<RowReason> = serde_json::from_str(&told).unwrap();
            prop_assert!(row_reasons.starts_with(&told));
            let left_out = text(&sealed, header::REJECTED_REASONS_LEFT_OUT);
            let left_out: u64 = left_out.map_or(0, |count| count.parse().unwrap());
            prop_assert_eq!(told.len() as u64 + left_out, rows.len());
            let own = sealed.headers.iter().filter(|(name, _)| name == "h").count();
            if text(&sealed, header::TRUNCATED).is_some() {
                prop_assert_eq!(text(&sealed, header::ORIGINAL_SIZE).unwrap(), payload.len().to_string());
                prop_assert_eq!(text(&sealed, header::ORIGINAL_KEY_SIZE).unwrap(), key.len().to_string());
                prop_assert_eq!(text(&sealed, header::ORIGINAL_HEADERS).unwrap(), sizes.len().to_string());
                prop_assert!(payload.starts_with(sealed.payload.unwrap()) && key.starts_with(sealed.key.unwrap()));
            } else {
                prop_assert_eq!((sealed.key, sealed.payload, own), (Some(&key[..]), Some(&payload[..]), sizes.len()));
            }
        }
    }

    #[test]
    fn a_list_of_reasons_ends_at_an_entry() {
        let long: Vec<RowReason> = reasons(100)
            .into_iter()
            .map(|reason| RowReason {
                reason: "\"".repeat(1_000),
                ..reason
            })
            .collect();
        let (text, count) = listed(&long, REASONS_TO);
        let read: Vec<RowReason> = serde_json::from_str(&text).unwrap();
        assert_eq!((read.as_slice(), count), (&long[..32], 32), "{} bytes", text.len());
        assert_eq!(listed(&long, 100), ("[]".to_owned(), 0));
    }

    #[test]
    fn a_reason_of_any_length_leaves_room_for_the_others() {
        let mut some = reasons(3);
        some[0].reason = format!("line 2: LMP is \"{}\"", "ä".repeat(REASONS_TO));
        let (text, count) = listed(&some, REASONS_TO);
        let read: Vec<RowReason> = serde_json::from_str(&text).unwrap();
        assert_eq!((count, &read[1..]), (3, &some[1..]));
        let cut = read[0].reason.strip_suffix('…').unwrap();
        assert!(some[0].reason.starts_with(cut) && (REASON_TO - 1..=REASON_TO).contains(&cut.len()));
    }

    #[test]
    fn null_key_value_and_header_value_stay_null() {
        let headers = OwnedHeaders::new().insert(Header::<&[u8]> {
            key: "nothing",
            value: None,
        });
        let message = Message {
            topic: "raw",
            partition: 0,
            offset: 0,
            timestamp: 0,
            has_append_time: true,
            key: None,
            payload: None,
            headers: Some(headers.as_borrowed()),
        };
        let sealed = seal(&message, &LETTER, 0, 1 << 20);
        assert_eq!((sealed.key, sealed.payload), (None, None));
        assert_eq!(sealed.headers[0], ("nothing".to_owned(), None));
    }
}
