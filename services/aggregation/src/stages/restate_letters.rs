//! Dead letters of the second stage.

use stream::{FOREIGN_ORIGIN, Io, Message, StreamError};

use crate::core::restate::{NO_INTERVAL, ROW_MISSING, TIME_OUT_OF_RANGE};

/// Stage name in dead letters and metrics.
pub const STAGE: &str = "restate";
/// A record without a value.
pub const MISSING_PAYLOAD: &str = "missing_payload";
/// Codes of this stage's dead letters: its own, then the codec's.
pub const CODES: [&str; 9] = [
    MISSING_PAYLOAD,
    FOREIGN_ORIGIN,
    NO_INTERVAL,
    ROW_MISSING,
    TIME_OUT_OF_RANGE,
    "truncated",
    "invalid_utf8",
    "invalid_value",
    "unknown_schema",
];

/// Dead-letters a record of the late topic.
///
/// # Errors
/// The letter could not be sent.
pub fn dead_letter(io: &mut Io<'_>, message: &Message<'_>, (code, reason): (&str, &str)) -> Result<(), StreamError> {
    io.refuse(message, STAGE, code, reason, "").map(drop)
}
