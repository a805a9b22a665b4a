//! Client of a schema registry with the Confluent HTTP API (`DATA_PROC_SCHEMA_REGISTRY_URL`, a base path is allowed).
//!
//! Used at start only: our schemas are registered, their ids kept; no message ever waits for the registry.

use std::time::Duration;

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

impl RegistryClient {
    /// A client for the registry at `url`, such as `http://localhost:8081` or `http://host/apis/ccompat/v7`.
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
        let unavailable = |why: String| {
            CodecError::RegistryUnavailable(format!(
                "schema registry {url}: {why}; start it, or unset DATA_PROC_SCHEMA_REGISTRY_URL to use single-object encoding"
            ))
        };
        let response = self
            .http
            .post(&url)
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string())
            .send()
            .await
            .map_err(|e| unavailable(e.to_string()))?;
        let status = response.status();
        let body = response.text().await.map_err(|e| unavailable(e.to_string()))?;
        if status.is_server_error() {
            return Err(unavailable(format!("status {status}: {body}")));
        }
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
}
