//! What is wrong with a JSON text, and where.

use crate::rejection::{RejectCode, Rejection, excerpt};

/// Why a string is not the JSON that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub(super) code: RejectCode,
    /// JSON pointer.
    pub(super) path: String,
    pub(super) what: &'static str,
    pub(super) at: usize,
    /// What stands there, cut.
    pub(super) found: String,
}

impl JsonError {
    /// As a rejection; `place` is the pointer of the text that was read, empty for the whole message.
    pub(crate) fn rejection(self, place: &str) -> Rejection {
        let separator = if place.is_empty() && self.path.is_empty() {
            ""
        } else {
            ": "
        };
        let found = if self.found.is_empty() {
            "the end".to_owned()
        } else {
            format!("'{}'", self.found)
        };
        Rejection::new(
            self.code,
            format!(
                "{place}{}{separator}{} at byte {}, found {found}",
                self.path, self.what, self.at
            ),
        )
    }
}

/// The error, seen from the object around it.
#[cold]
pub(super) fn inside(mut error: Box<JsonError>, key: &str) -> Box<JsonError> {
    let key = excerpt(key);
    error.path = format!("/{}{}", key.replace('~', "~0").replace('/', "~1"), error.path);
    error
}
