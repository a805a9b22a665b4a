//! The log level of one running service, over HTTP.
//!
//! Failure: the error names the service, and has the service's own reason if it refuses.

use anyhow::{Context as _, bail};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service::settings::mask;

use crate::connection::Connection;
use crate::health::http_client;
use crate::place::Place;
use crate::targets::{self, Where};

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
pub async fn ask(
    place: &Place,
    connection: &Connection,
    service: &str,
    usual: &[(&str, u16)],
    body: Option<&Value>,
) -> anyhow::Result<LogLevel> {
    let targets = targets::find(place, connection, &[], usual)?;
    let Some(target) = targets.iter().find(|target| target.name == service) else {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        bail!("there is no service '{service}'; the services are {}", names.join(", "));
    };
    let url = match &target.at {
        Where::Url(url) => format!("{}/log-level", url.trim_end_matches('/')),
        Where::Stopped(reason) => bail!("{service} does not run: {reason}"),
    };
    let client = http_client(connection)?;
    let request = match body {
        Some(body) => client.put(&url).json(body),
        None => client.get(&url),
    };
    // The URL may contain a password.
    let answer = request.send().await.map_err(reqwest::Error::without_url);
    let answer = answer.with_context(|| format!("ask {service} at {}: is it running (`dp health`)?", mask(&url)))?;
    read(answer)
        .await
        .with_context(|| format!("the log level of {service}"))
}

async fn read(answer: Response) -> anyhow::Result<LogLevel> {
    let status = answer.status();
    if status.is_success() {
        return answer.json().await.map_err(|error| error.without_url().into());
    }
    let problem: Value = answer.json().await.unwrap_or_default();
    let reason = problem.get("message").and_then(Value::as_str);
    bail!(
        "status {status}: {}",
        reason.unwrap_or("no reason given; is this a service of the pipeline, of this version?")
    )
}
