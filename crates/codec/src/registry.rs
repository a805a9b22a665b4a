//! Client of a schema registry with the Confluent HTTP API (`DATA_PROC_SCHEMA_REGISTRY_URL`, a base path is allowed).
//!
//! At start our schemas are registered and their ids kept. Later only ids that others registered are asked for, beside the
//! stream ([`crate::Wire`]): no message ever waits for the registry.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;

use crate::CodecError;

/// A registry.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    http: reqwest::Client,
    base: String,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct Stored {
    schema: String,
}

impl RegistryClient {
    /// A client for the registry at `url`, such as `http://localhost:8081` or `https://host/apis/ccompat/v7`.
    pub fn new(url: &str) -> Result<RegistryClient, CodecError> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()
            .map_err(|e| CodecError::RegistryRefused(format!("http client: {e}")))?;
        Ok(RegistryClient {
            http,
            base: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Registers a schema (or finds it) under the subject and returns its id.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, CodecError> {
        let url = format!("{}/subjects/{subject}/versions", self.base);
        let request = self
            .http
            .post(&url)
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string());
        let url = without_password(&url);
        let (status, body) = answer(&url, request).await?;
        if !status.is_success() {
            let remedy = match status.as_u16() {
                409 => "a change must be compatible with every registered version",
                _ => "check the address, with its base path, in DATA_PROC_SCHEMA_REGISTRY_URL",
            };
            return Err(CodecError::RegistryRefused(format!(
                "schema registry {url} refuses the schema with status {status}: {body}; {remedy}"
            )));
        }
        serde_json::from_str::<Registered>(&body)
            .map(|registered| registered.id)
            .map_err(|e| CodecError::RegistryRefused(format!("schema registry {url} answers no id: {e}: {body}")))
    }

    /// Whether the registry is there.
    ///
    /// # Errors
    /// [`CodecError::RegistryUnavailable`] where it is not.
    pub async fn ping(&self) -> Result<(), CodecError> {
        let url = format!("{}/subjects", self.base);
        answer(&url, self.http.get(&url)).await.map(drop)
    }

    /// The text of the schema with this id.
    ///
    /// # Errors
    /// [`CodecError::UnknownSchema`] when the registry has no such id, or answers something else than a schema.
    pub async fn schema(&self, id: u32) -> Result<String, CodecError> {
        let url = format!("{}/schemas/ids/{id}", self.base);
        let request = self.http.get(&url);
        let url = without_password(&url);
        let (status, body) = answer(&url, request).await?;
        match status {
            StatusCode::OK => serde_json::from_str::<Stored>(&body)
                .map(|stored| stored.schema)
                .map_err(|e| {
                    CodecError::UnknownSchema(format!("schema registry {url} answers no schema: {e}: {body}"))
                }),
            StatusCode::NOT_FOUND => Err(CodecError::UnknownSchema(format!(
                "the schema registry has no schema with registry id {id}: {body}"
            ))),
            // Such as a missing permission: an operator mends it, so the message must not be given up.
            _ => Err(unavailable(&url, &format!("status {status}: {body}"))),
        }
    }
}

async fn answer(url: &str, request: RequestBuilder) -> Result<(StatusCode, String), CodecError> {
    let response = request.send().await.map_err(|e| unavailable(url, &e.to_string()))?;
    let status = response.status();
    let body = response.text().await.map_err(|e| unavailable(url, &e.to_string()))?;
    if status.is_server_error() {
        return Err(unavailable(url, &format!("status {status}: {body}")));
    }
    Ok((status, body))
}

/// The address as errors may show it.
fn without_password(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut shown) if shown.password().is_some() => {
            // An address that cannot have a password has none.
            _ = shown.set_password(Some("***"));
            shown.to_string()
        }
        _ => url.to_owned(),
    }
}

fn unavailable(url: &str, why: &str) -> CodecError {
    CodecError::RegistryUnavailable(format!(
        "schema registry {url}: {why}; start it, or unset DATA_PROC_SCHEMA_REGISTRY_URL to use single-object encoding"
    ))
}
