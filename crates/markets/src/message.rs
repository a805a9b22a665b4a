//! A message of a raw topic, as far as parsing needs to know it.

use domain::{Micros, RowRanges};

use crate::rejection::{RejectCode, Rejection};

/// One record of a raw topic. Everything that decides about its ticks is in here (INV-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RawMessage<'a> {
    pub feed: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// When the broker appended it (`LogAppendTime`).
    pub appended_at: Micros,
    /// Kafka key; advised, never needed.
    pub key: Option<&'a [u8]>,
    pub payload: &'a [u8],
    /// Header `dp.format`.
    pub format: Option<&'a str>,
    /// Header `dp.tenant_id`; counts for documents only.
    pub tenant: Option<&'a str>,
    /// Present on a dead letter that was sent to its raw topic again. The reader of the log has checked that the letter exists.
    pub replay: Option<Replay<'a>>,
}

/// The headers of a replayed dead letter. Everybody can write them: they count only where they agree with the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay<'a> {
    /// Offset of the letter in topic `dlq`.
    pub letter: i64,
    /// `feed/partition/offset` of the message that was refused.
    pub origin: &'a str,
    /// The rows to emit, as [`RowRanges`] writes them; empty means all.
    pub rows: &'a str,
    /// How often it has been tried, this time included (2 is the first replay); part of the event's key where rows are named.
    pub attempt: u32,
}

impl<'a> Replay<'a> {
    /// Header with the offset of the letter; its presence makes a message claim to be a replay.
    pub const LETTER_HEADER: &'static str = "dp.replay.letter";
    /// Header with the original origin.
    pub const ORIGIN_HEADER: &'static str = "dp.replay.origin";
    /// Header with the rejected rows.
    pub const ROWS_HEADER: &'static str = "dp.replay.rows";
    /// Header with the attempt.
    pub const ATTEMPT_HEADER: &'static str = "dp.replay.attempt";

    /// Reads the headers; `None` where the message has not all of them, each readable.
    pub fn from_headers(header: impl Fn(&str) -> Option<&'a [u8]>) -> Option<Replay<'a>> {
        let text = |name: &str| header(name).map(header_text);
        Some(Replay {
            letter: text(Self::LETTER_HEADER)?.parse().ok()?,
            origin: text(Self::ORIGIN_HEADER)?,
            rows: text(Self::ROWS_HEADER)?,
            attempt: text(Self::ATTEMPT_HEADER)?.parse().ok()?,
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

/// The text of a header. One that is not UTF-8 becomes a string that no check accepts, so that it is rejected and named.
pub fn header_text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or("|not utf-8|")
}
