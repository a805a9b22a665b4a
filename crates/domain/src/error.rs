//! The two properties of every error at a boundary: its class and its code.

/// What the pipeline does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The message itself is at fault: dead-letter it and continue.
    Poison,
    /// A dependency is at fault: wait, retry, never skip.
    Transient,
    /// The configuration or the stored state is at fault: stop and tell the operator.
    Fatal,
}

/// An error with a class and a code from a closed set (safe as a metric label and a header).
pub trait Classified {
    /// What to do about it.
    fn class(&self) -> ErrorClass;
    /// A short snake_case code, one of a closed set.
    fn code(&self) -> &'static str;
}
