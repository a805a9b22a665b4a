//! The log level of one running service, over HTTP.
//!
//! Failure: the error names the service, and has the service's own reason if it refuses.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::own_route::Asked;

/// What a service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// Name of the service.
    pub service: String,
    /// The level in effect.
    pub level: String,
    /// The level of its settings.
    pub base_level: String,
    /// When that one comes back; `None` if it is in effect.
    pub until: Option<String>,
}

/// Asks this service for its level, or sends it this body of `PUT /log-level` first.
///
/// # Errors
/// The service is not known, gives no answer, or refuses.
pub async fn ask(asked: Asked<'_>, body: Option<&Value>) -> anyhow::Result<LogLevel> {
    let method = if body.is_some() { Method::PUT } else { Method::GET };
    let answer = asked.answer(method, "/log-level", body, Duration::ZERO).await;
    answer.with_context(|| format!("the log level of {}", asked.service))
}
