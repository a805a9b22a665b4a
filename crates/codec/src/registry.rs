//! Client of a schema registry with the Confluent HTTP API (`DATA_PROC_SCHEMA_REGISTRY_URL`, a base path is allowed).
//!
//! At start the pipeline's schemas are registered and their ids kept. Later only ids of other programs are requested, in the
//! background ([`crate::Wire`]): no message ever waits for the registry. Operators ask before they register a changed schema
//! ([`RegistryClient::find`], [`RegistryClient::refusal`]).
//!
//! User and password come from the URL and are sent as basic authentication. A URL in a file is read again for each request.
//! No error and no `Debug` output shows the password.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use security::{Secret, Trust, causes, http_client, mask};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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

/// A schema as a subject has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub struct RegisteredVersion {
    /// Id in the frames of records.
    pub id: u32,
    /// Number of the version, from 1.
    pub version: u32,
}

#[derive(Deserialize)]
struct Verdict {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

/// The body of an error.
#[derive(Deserialize)]
struct Problem {
    error_code: u32,
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
        let path = format!("subjects/{subject}/versions");
        let (url, status, body) = self.send(&path, schema).await?;
        accepted::<Registered>(&url, status, &body, "id").map(|registered| registered.id)
    }

    /// The version of the subject that is this schema; `None` if the subject has no such version.
    ///
    /// # Errors
    /// The registry is not available, or refuses the request.
    pub async fn find(&self, subject: &str, schema: &str) -> Result<Option<RegisteredVersion>, CodecError> {
        let (url, status, body) = self.send(&format!("subjects/{subject}"), schema).await?;
        if is_missing(status, &body) {
            return Ok(None);
        }
        accepted(&url, status, &body, "version").map(Some)
    }

    /// Why the registry would refuse the schema as the next version of the subject, by the rule that it has for it; `None` if it
    /// would not.
    ///
    /// # Errors
    /// The registry is not available, or refuses the request.
    pub async fn refusal(&self, subject: &str, schema: &str) -> Result<Option<String>, CodecError> {
        let path = format!("compatibility/subjects/{subject}/versions/latest?verbose=true");
        let (url, status, body) = self.send(&path, schema).await?;
        if is_missing(status, &body) {
            // The first version has no other one to be compatible with.
            return Ok(None);
        }
        let verdict: Verdict = accepted(&url, status, &body, "verdict")?;
        Ok((!verdict.is_compatible).then(|| match verdict.messages.as_slice() {
            [] => "it gives no reason".to_owned(),
            messages => messages.join("; "),
        }))
    }

    /// Sends a schema to a path; the address, for errors, and the answer.
    async fn send(&self, path: &str, schema: &str) -> Result<(String, StatusCode, String), CodecError> {
        let (request, url) = self.request(Method::POST, path);
        let request = request
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(serde_json::json!({ "schema": schema, "schemaType": "AVRO" }).to_string());
        let (status, body) = answer(&url, request).await?;
        Ok((url, status, body))
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

/// What the registry returned for a schema.
fn accepted<T: DeserializeOwned>(url: &str, status: StatusCode, body: &str, what: &str) -> Result<T, CodecError> {
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
    serde_json::from_str(body)
        .map_err(|e| CodecError::RegistryRefused(format!("schema registry {url} returned no {what}: {e}: {body}")))
}

/// Whether the registry has no such subject, version or schema. It says so with a code, unlike a server without such a path.
fn is_missing(status: StatusCode, body: &str) -> bool {
    let code = serde_json::from_str(body).map(|problem: Problem| problem.error_code);
    status == StatusCode::NOT_FOUND && code.is_ok_and(|code| (40_401..=40_403).contains(&code))
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
