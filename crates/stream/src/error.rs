//! Errors between the log and a handler, with the class that decides what happens next.

use domain::{Classified, ErrorClass};

/// An error of the stream layer or of a handler.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    class: ErrorClass,
    code: &'static str,
    message: String,
}

impl StreamError {
    /// The worker waits, rebuilds, and reads positions again.
    pub fn transient(code: &'static str, message: impl Into<String>) -> StreamError {
        StreamError {
            class: ErrorClass::Transient,
            code,
            message: message.into(),
        }
    }

    /// The process ends; the message names the remedy.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> StreamError {
        StreamError {
            class: ErrorClass::Fatal,
            code,
            message: message.into(),
        }
    }
}

impl Classified for StreamError {
    fn class(&self) -> ErrorClass {
        self.class
    }

    fn code(&self) -> &'static str {
        self.code
    }
}
