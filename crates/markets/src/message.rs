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
    /// Present on a dead letter that was sent to its raw topic again.
    pub replay: Option<Replay<'a>>,
}

/// The headers of a replayed dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay<'a> {
    /// `feed/partition/offset` of the message that was refused.
    pub origin: &'a str,
    /// The rows to emit, as [`RowRanges`] writes them; empty means all.
    pub rows: &'a str,
    /// How often it has been tried, this time included (2 is the first replay); part of the event id's key.
    pub attempt: u32,
}

impl<'a> Replay<'a> {
    /// Header with the original origin; its presence makes a message a replay.
    pub const ORIGIN_HEADER: &'static str = "dp.replay.origin";
    /// Header with the rejected rows.
    pub const ROWS_HEADER: &'static str = "dp.replay.rows";
    /// Header with the attempt.
    pub const ATTEMPT_HEADER: &'static str = "dp.replay.attempt";

    /// Reads the headers; `None` where the message is no replay.
    ///
    /// # Errors
    /// `schema_violation` where the attempt is no number above 1.
    pub fn from_headers(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Option<Replay<'a>>, Rejection> {
        let Some(origin) = header(Self::ORIGIN_HEADER) else {
            return Ok(None);
        };
        let attempt = header_text(header(Self::ATTEMPT_HEADER).unwrap_or_default());
        let attempt = attempt
            .parse::<u32>()
            .ok()
            .filter(|attempt| *attempt > 1)
            .ok_or_else(|| {
                let message = format!(
                    "header {} must be a number above 1, got '{attempt}'",
                    Self::ATTEMPT_HEADER
                );
                Rejection::new(RejectCode::SchemaViolation, message)
            })?;
        Ok(Some(Replay {
            origin: header_text(origin),
            rows: header(Self::ROWS_HEADER).map_or("", header_text),
            attempt,
        }))
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

/// The text of a header. One that is not UTF-8 becomes a text that no check accepts, so that it is rejected and named.
pub fn header_text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or("|not utf-8|")
}
