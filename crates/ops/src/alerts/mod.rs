//! Alertmanager: which alerts fire, who has silenced them, and new silences.
//!
//! Role: finds Alertmanager and calls its API (version 2). What an alert is, is decided in [`alert`], which is pure.
//! Invariant: no error and no result has the secret part of an address.
//! Failure: an address that gives no answer, or another one than Alertmanager's, is an error that says how to name it.

pub mod alert;

use std::time::Duration;

use anyhow::{Context as _, bail};
use localstack::Ports;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use service::Reader;
use service::settings::{ALERTMANAGER_URL, OTHER_PROGRAMS, is_http_url, mask};

pub use alert::{Alert, Matcher, Silence, State};

use crate::connection::{Connection, uses_stack};
use crate::place::Place;

/// Longer than an Alertmanager takes that works.
const LIMIT: Duration = Duration::from_secs(5);
/// Where `make monitor` starts Alertmanager, before the offset of the stack.
const LOCAL_PORT: u16 = 9095;
/// Kafka's port without an offset: shows the offset of a stack.
const KAFKA_PORT: u16 = 9092;

/// An Alertmanager.
pub struct Alertmanager {
    url: String,
    /// Whether its address is that of `make monitor`, which need not run.
    is_usual: bool,
    http: reqwest::Client,
}

/// What a new silence is for, besides its matchers.
#[derive(Debug, Clone)]
pub struct Reason {
    /// Who silences.
    pub author: String,
    /// Why.
    pub comment: String,
    /// For how long.
    pub length: Duration,
}

impl Alertmanager {
    /// The one that `DATA_PROC_ALERTMANAGER_URL` names, else that of `make monitor` for the local stack; `None` if there is neither.
    ///
    /// # Errors
    /// The address is not one of HTTP, or a certificate authority cannot be read.
    pub fn find(place: &Place, connection: &Connection) -> anyhow::Result<Option<Alertmanager>> {
        let meaning = OTHER_PROGRAMS
            .iter()
            .find(|other| other.name == ALERTMANAGER_URL)
            .map_or("", |other| other.meaning);
        let mut reader = Reader::new(&connection.env);
        let named = reader.text(ALERTMANAGER_URL, "", meaning);
        if !named.is_empty() && !is_http_url(&named) {
            // The text itself may contain a password.
            reader.problem(format!(
                "{ALERTMANAGER_URL} must begin with http:// or https:// and name a host"
            ));
        }
        reader.finish()?;
        let (url, is_usual) = match named.is_empty() {
            false => (named, false),
            true if uses_stack(place, &connection.env) => match usual(&place.open()?.config().ports) {
                Some(url) => (url, true),
                None => return Ok(None),
            },
            true => return Ok(None),
        };
        let url = url.trim_end_matches('/').to_owned();
        let http = security::http_client(&connection.settings.trust, Some(LIMIT))?;
        Ok(Some(Alertmanager { url, is_usual, http }))
    }

    /// The same, if there must be one.
    ///
    /// # Errors
    /// There is none; or as [`Alertmanager::find`].
    pub fn required(place: &Place, connection: &Connection) -> anyhow::Result<Alertmanager> {
        match Alertmanager::find(place, connection)? {
            Some(found) => Ok(found),
            None => bail!(
                "no Alertmanager is named: set {ALERTMANAGER_URL}, such as http://localhost:9093 in docker compose; for the local \
                 stack `make monitor` starts one"
            ),
        }
    }

    /// Its address, without secrets.
    pub fn address(&self) -> String {
        mask(&self.url)
    }

    /// Whether its address was not configured, so that it need not run.
    pub fn is_usual(&self) -> bool {
        self.is_usual
    }

    /// The alerts, the worst and oldest first, with the silences that mute them; and all silences that have not expired.
    ///
    /// # Errors
    /// It gives no answer, or another program does.
    pub async fn alerts(&self) -> anyhow::Result<(Vec<Alert>, Vec<Silence>)> {
        let (alerts, silences) = tokio::join!(self.get("alerts"), self.silences());
        let silences = silences?;
        Ok((alert::listed(alerts?, &silences), silences))
    }

    async fn silences(&self) -> anyhow::Result<Vec<Silence>> {
        let mut silences: Vec<Silence> = self.get("silences").await?;
        silences.retain(|silence| !silence.is_expired());
        Ok(silences)
    }

    /// Silences what has these labels; returns the id of the silence.
    ///
    /// # Errors
    /// It refuses, or as [`Alertmanager::alerts`].
    pub async fn silence(&self, matchers: &[Matcher], reason: &Reason) -> anyhow::Result<String> {
        let now = jiff::Timestamp::now();
        let until = now.checked_add(reason.length).context("the silence would never end")?;
        let body = json!({
            "matchers": matchers,
            "startsAt": now.to_string(),
            "endsAt": until.to_string(),
            "createdBy": reason.author,
            "comment": reason.comment,
        });
        let answer: Value = self.json(self.request(Method::POST, "silences").json(&body)).await?;
        let id = answer.get("silenceID").and_then(Value::as_str);
        id.map(str::to_owned).with_context(|| self.not_alertmanager())
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// There is no such silence, or as [`Alertmanager::alerts`].
    pub async fn expire(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("silence/{id}");
        self.answered(self.request(Method::DELETE, &path)).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let answer = self.answered(request).await?;
        answer.json().await.ok().with_context(|| self.not_alertmanager())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/api/v2/{path}", self.url))
    }

    async fn answered(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let answer = match request.send().await {
            Ok(answer) => answer,
            // The URL may contain a password.
            Err(error) => bail!(
                "Alertmanager at {} does not answer ({}): {}",
                self.address(),
                security::causes(&error.without_url()),
                match self.is_usual {
                    true =>
                        format!("`make monitor` starts it for the local stack, {ALERTMANAGER_URL} names another one"),
                    false => format!("does it run, and is {ALERTMANAGER_URL} right?"),
                }
            ),
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            StatusCode::NOT_FOUND => bail!("Alertmanager at {} does not know it", self.address()),
            status => {
                let said = answer.text().await.unwrap_or_default();
                bail!("Alertmanager at {} refuses ({status}): {}", self.address(), said.trim())
            }
        }
    }

    fn not_alertmanager(&self) -> String {
        format!(
            "the answer of {} is not that of an Alertmanager: is {ALERTMANAGER_URL} right?",
            self.address()
        )
    }
}

/// Where `make monitor` of a stack starts Alertmanager; `None` for a stack whose ports have no common offset.
fn usual(ports: &Ports) -> Option<String> {
    let offset = ports.kafka.checked_sub(KAFKA_PORT)?;
    let has_offset = Ports::with_offset(offset).as_ref() == Some(ports);
    let port = LOCAL_PORT.checked_add(offset).filter(|_| has_offset)?;
    Some(format!("http://127.0.0.1:{port}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_alertmanager_of_a_stack_has_its_offset() {
        let url = |ports: Option<Ports>| usual(&ports.unwrap());
        assert_eq!(url(Ports::with_offset(0)).as_deref(), Some("http://127.0.0.1:9095"));
        assert_eq!(url(Ports::with_offset(2000)).as_deref(), Some("http://127.0.0.1:11095"));
        let mut free = Ports::with_offset(2000).unwrap();
        free.redis += 1;
        assert_eq!(usual(&free), None);
    }
}
