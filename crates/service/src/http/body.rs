//! Request bodies: read completely, up to a limit, with any content type.
//!
//! Failure: a [`Problem`] that says what to change: 400, 413 or 422.

use actix_web::web::{Bytes, Payload};
use serde::de::DeserializeOwned;

use super::Problem;

/// Largest body of a request that is one small object.
const SMALL: usize = 1 << 20;

/// Reads the body.
///
/// # Errors
/// 413 if it has more than `limit` bytes, 400 if it ends early.
pub async fn read(payload: Payload, limit: usize) -> Result<Bytes, Problem> {
    match payload.to_bytes_limited(limit).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Problem::bad_request(format!("the body cannot be read: {error}"))),
        Err(_) => Err(Problem::too_large(limit)),
    }
}

/// Reads a body of JSON.
///
/// # Errors
/// As [`read`], and 422 if it is not JSON or not the expected object.
pub async fn json<T: DeserializeOwned>(payload: Payload) -> Result<T, Problem> {
    let bytes = read(payload, SMALL).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::unprocessable(format!("the body: {error}")))
}
