//! Errors for bytes that are not the expected record.

use domain::{Classified, ErrorClass};

/// An error of reading or of schema look-up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The input ends inside a field.
    #[error("the record ends at byte {at}, inside field {field}")]
    Truncated {
        /// Field.
        field: &'static str,
        /// Byte of the datum.
        at: usize,
    },
    /// A string is not UTF-8.
    #[error("field {field} at byte {at} is not UTF-8")]
    InvalidUtf8 {
        /// Field.
        field: &'static str,
        /// Byte of the datum.
        at: usize,
    },
    /// A value that the schema or its logical type does not allow.
    #[error("field {field} at byte {at}: {why}")]
    InvalidValue {
        /// Field.
        field: &'static str,
        /// Byte of the datum.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// Neither of the two framings, or a schema that this build does not have.
    #[error("{0}")]
    UnknownSchema(String),
    /// A schema that is being requested from the registry: a later read finds it.
    #[error("the schema with registry id {0} is being looked up; the message is read again")]
    SchemaPending(u32),
    /// The schema registry does not answer.
    #[error("{0}")]
    RegistryUnavailable(String),
    /// The schema registry refuses.
    #[error("{0}")]
    RegistryRefused(String),
}

impl Classified for CodecError {
    fn class(&self) -> ErrorClass {
        match self {
            CodecError::RegistryUnavailable(_) | CodecError::SchemaPending(_) => ErrorClass::Transient,
            CodecError::RegistryRefused(_) => ErrorClass::Fatal,
            _ => ErrorClass::Poison,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            CodecError::Truncated { .. } => "truncated",
            CodecError::InvalidUtf8 { .. } => "invalid_utf8",
            CodecError::InvalidValue { .. } => "invalid_value",
            CodecError::UnknownSchema(_) => "unknown_schema",
            CodecError::SchemaPending(_) => "schema_pending",
            CodecError::RegistryUnavailable(_) => "registry_unavailable",
            CodecError::RegistryRefused(_) => "registry_refused",
        }
    }
}
