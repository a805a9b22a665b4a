//! A message of a raw topic, with the fields that parsing needs.

use domain::{Micros, RowRanges};

use crate::rejection::{RejectCode, Rejection};

/// One record of a raw topic. Its ticks depend only on these fields (INV-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RawMessage<'a> {
    pub feed: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// When the broker appended it (`LogAppendTime`).
    pub appended_at: Micros,
    /// Kafka key; recommended, never required.
    pub key: Option<&'a [u8]>,
    pub payload: &'a [u8],
    /// Header `dp.format`.
    pub format: Option<&'a str>,
    /// Header `dp.tenant_id`; used for documents only.
    pub tenant: Option<&'a str>,
    /// Present on a dead letter that was replayed to its raw topic. The reader of the log has checked that the letter exists.
    pub replay: Option<Replay<'a>>,
}

/// The headers of a replayed dead letter. Any producer can write them, so they are used only if they match the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay<'a> {
    /// Offset of the letter in topic `dlq`.
    pub letter: i64,
    /// `feed/partition/offset` of the rejected message.
    pub origin: &'a str,
    /// The rows to emit, in the format of [`RowRanges`]; empty means all.
    pub rows: &'a str,
    /// Number of attempts including this one (2 is the first replay). Part of the event key if rows are named, or the message was held.
    pub attempt: u32,
    /// Whether the rejected message was valid, and held because its tenant was paused. Its event has been seen, so the replay needs a
    /// key of its own. The letter says so, not the headers.
    pub held: bool,
}

impl<'a> Replay<'a> {
    /// Header with the offset of the letter. A message with this header claims to be a replay.
    pub const LETTER_HEADER: &'static str = "dp.replay.letter";
    /// Header with the original origin.
    pub const ORIGIN_HEADER: &'static str = "dp.replay.origin";
    /// Header with the rejected rows.
    pub const ROWS_HEADER: &'static str = "dp.replay.rows";
    /// Header with the attempt.
    pub const ATTEMPT_HEADER: &'static str = "dp.replay.attempt";
    /// Header that a replay of a held message keeps, also if it is rejected again for another reason.
    pub const HELD_HEADER: &'static str = "dp.replay.held";

    /// Reads the headers; `None` if one is missing or unreadable.
    pub fn from_headers(header: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Replay<'a>> {
        let text = |name: &str| header(name).map(header_text);
        Some(Replay {
            letter: text(Self::LETTER_HEADER)?.parse().ok()?,
            origin: text(Self::ORIGIN_HEADER)?,
            rows: text(Self::ROWS_HEADER)?,
            attempt: text(Self::ATTEMPT_HEADER)?.parse().ok()?,
            held: false,
        })
    }

    /// The rows to emit; `None` means all.
    pub(crate) fn selected_rows(&self) -> Result<Option<RowRanges>, Rejection> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        self.rows.parse().map(Some).map_err(|error| {
            let shown: String = self.rows.chars().take(60).collect();
            let message = format!("header {} is '{shown}': {error}", Self::ROWS_HEADER);
            Rejection::new(RejectCode::SchemaViolation, message)
        })
    }
}

/// The text of a header that is not UTF-8. No identifier or format has it, so every check rejects it.
pub(crate) const NOT_UTF8: &str = "|not utf-8|";

/// The text of a header. One that is not UTF-8 becomes a string that every check rejects and shows in its error.
pub fn header_text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or(NOT_UTF8)
}
