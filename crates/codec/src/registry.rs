//! Client of a schema registry with the Confluent HTTP API (`DATA_PROC_SCHEMA_REGISTRY_URL`, a base path is allowed).
//!
//! At start the pipeline's schemas are registered and their ids kept. Later only ids of other programs are requested, in the
//! background ([`crate::Wire`]): no message ever waits for the registry.
//!
//! User and password come from the URL and are sent as basic authentication. A URL in a file is read again for each request.
//! No error and no `Debug` output shows the password.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use security::{Secret, Trust, causes, http_client, mask};
use serde::Deserialize;

use crate::CodecError;

/// Time limit of one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LOGIN_REMEDY: &str = "check user and password in DATA_PROC_SCHEMA_REGISTRY_URL (https://USER:PASSWORD@host/path)";

/// A registry.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    http: reqwest::Client,
    url: Secret,
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
    /// `trust` lists the authorities that may have signed its certificate.
    ///
    /// # Errors
    /// [`CodecError::RegistryRefused`]: the file of a private authority cannot be read.
    pub fn new(url: Secret, trust: &Trust) -> Result<RegistryClient, CodecError> {
        let http = http_client(trust, Some(ANSWER_WITHIN))
            .map_err(|e| CodecError::RegistryRefused(format!("schema registry: {e}; check DATA_PROC_TLS_CA")))?;
        Ok(RegistryClient { http, url })
    }

    /// A request to a path, and its address without the password, for errors.
    fn request(&self, method: Method, path: &str) -> (RequestBuilder, String) {
        let url = format!("{}/{path}", self.url.expose().trim_end_matches('/'));
        // The client removes user and password from the address, and sends them as basic authentication.
        (self.http.request(method, &url), mask(&url))
    }

    /// Registers a schema (or finds it) under the subject and returns its id.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, CodecError> {
        let (request, url) = self.request(Method::POST, &format!("subjects/{subject}/versions"));
        let request = request
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string());
        let (status, body) = answer(&url, request).await?;
        if !status.is_success() {
            let remedy = match status.as_u16() {
                409 => "a change must be compatible with every registered version",
                401 | 403 => LOGIN_REMEDY,
                _ => "check the address, with its base path, in DATA_PROC_SCHEMA_REGISTRY_URL",
            };
            return Err(CodecError::RegistryRefused(format!(
                "schema registry {url} refuses the schema with status {status}: {body}; {remedy}"
            )));
        }
        serde_json::from_str::<Registered>(&body)
            .map(|registered| registered.id)
            .map_err(|e| CodecError::RegistryRefused(format!("schema registry {url} returned no id: {e}: {body}")))
    }

    /// Checks that the registry is available.
    ///
    /// # Errors
    /// [`CodecError::RegistryUnavailable`] if it is not.
    pub async fn ping(&self) -> Result<(), CodecError> {
        let (request, url) = self.request(Method::GET, "subjects");
        match answer(&url, request).await? {
            (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _) => {
                Err(unavailable(&url, &format!("status {status}: {LOGIN_REMEDY}")))
            }
            _ => Ok(()),
        }
    }

    /// The text of the schema with this id.
    ///
    /// # Errors
    /// [`CodecError::UnknownSchema`] if the registry has no such id, or returns something that is not a schema.
    pub async fn schema(&self, id: u32) -> Result<String, CodecError> {
        let (request, url) = self.request(Method::GET, &format!("schemas/ids/{id}"));
        let (status, body) = answer(&url, request).await?;
        match status {
            StatusCode::OK => serde_json::from_str::<Stored>(&body)
                .map(|stored| stored.schema)
                .map_err(|e| {
                    CodecError::UnknownSchema(format!("schema registry {url} returned no schema: {e}: {body}"))
                }),
            StatusCode::NOT_FOUND => Err(CodecError::UnknownSchema(format!(
                "the schema registry has no schema with registry id {id}: {body}"
            ))),
            // Such as a missing permission: an operator can correct it, so the message must not become a dead letter.
            _ => Err(unavailable(&url, &format!("status {status}: {body}"))),
        }
    }
}

async fn answer(url: &str, request: RequestBuilder) -> Result<(StatusCode, String), CodecError> {
    let response = request
        .send()
        .await
        .map_err(|e| unavailable(url, &explained(&e.without_url())))?;
    let status = response.status();
    let body = response
        .text()
        .await
        .map_err(|e| unavailable(url, &e.without_url().to_string()))?;
    if status.is_server_error() {
        return Err(unavailable(url, &format!("status {status}: {body}")));
    }
    Ok((status, body))
}

/// An error with its causes, and the setting to change if it is about a certificate.
fn explained(error: &dyn std::error::Error) -> String {
    let mut said = causes(error);
    if said.contains("certificate") {
        said.push_str(" (set DATA_PROC_TLS_CA to the PEM file of a private authority)");
    }
    said
}

fn unavailable(url: &str, why: &str) -> CodecError {
    CodecError::RegistryUnavailable(format!(
        "schema registry {url}: {why}; start it, or unset DATA_PROC_SCHEMA_REGISTRY_URL to use single-object encoding"
    ))
}
