//! What a load that failed means: the process ends, or the lane waits.
//!
//! Failure: a right, a login or a table that was there before is waited for, since an operator may give it back; one that is
//! missing at the start ends the process.

use domain::{Classified, ErrorClass};
use stream::{Io, Partition, StreamError, positions};

use super::store_work::LoadError;

/// A load that failed: later again, unless only an operator can help. What an operator has to correct while the service runs is
/// returned with it.
pub(super) fn not_loaded(
    io: &Io<'_>,
    partition: &Partition,
    error: LoadError,
    was_let_in: bool,
) -> Result<Option<String>, StreamError> {
    let message = match error {
        LoadError::Store(error) if error.code() == positions::TOPIC_ID_CHANGED => {
            let remedy = positions::in_a_new_generation(&io.config().reader());
            return Err(StreamError::fatal(error.code(), format!("{error}. {remedy}")));
        }
        LoadError::Store(error) if error.is_refusal() && was_let_in => {
            tracing::error!(partition = %partition, error = %error, event = "load_refused", "served rows could not be loaded; fix the cause in `error`; the load is retried");
            return Ok(Some(error.with_code()));
        }
        LoadError::Store(error) if error.class() == ErrorClass::Fatal => {
            return Err(StreamError::fatal(error.code(), error.to_string()));
        }
        LoadError::Store(error) => error.to_string(),
        LoadError::Topics(message) => message,
    };
    tracing::warn!(partition = %partition, error = message, "served rows could not be loaded; the load is retried");
    Ok(None)
}
