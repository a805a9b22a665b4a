//! Requests to routes that a service answers only on its own machine.
//!
//! Failure: the error names the service, and has the service's own reason if it refuses.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::settings::mask;

use crate::connection::Connection;
use crate::place::Place;
use crate::targets::{self, Where};

/// How long a service may take to answer what takes it no time.
const LIMIT: Duration = Duration::from_secs(3);

/// A service, and the usual local ports of services.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Where the local stack is.
    pub place: &'a Place,
    /// The servers, and what names the services.
    pub connection: &'a Connection,
    /// Name of the service.
    pub service: &'a str,
    /// Names and ports to fall back to.
    pub usual: &'a [(&'a str, u16)],
}

impl Asked<'_> {
    /// The address of this route.
    fn url(&self, route: &str) -> anyhow::Result<String> {
        let targets = targets::find(self.place, self.connection, &[], self.usual)?;
        let service = self.service;
        let Some(target) = targets.iter().find(|target| target.name == service) else {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            bail!("there is no service '{service}'; the services are {}", names.join(", "));
        };
        match &target.at {
            Where::Url(url) => Ok(format!("{}{route}", url.trim_end_matches('/'))),
            Where::Stopped(reason) => bail!("{service} does not run: {reason}"),
        }
    }

    /// Sends a request, with this body if there is one, and reads the answer. `lasts` is how long the service works on it.
    ///
    /// # Errors
    /// The service is not known, gives no answer, or refuses.
    pub async fn answer<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &str,
        body: Option<&Value>,
        lasts: Duration,
    ) -> anyhow::Result<T> {
        let url = self.url(route)?;
        let client = security::http_client(&self.connection.settings.trust, Some(LIMIT + lasts))?;
        let request = client.request(method, &url);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        // The URL may contain a password.
        let answer = request.send().await.map_err(reqwest::Error::without_url);
        let asked = || format!("ask {} at {}: is it running (`dp health`)?", self.service, mask(&url));
        read(answer.with_context(asked)?).await
    }
}

async fn read<T: DeserializeOwned>(answer: Response) -> anyhow::Result<T> {
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
