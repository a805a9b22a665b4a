//! Registers a schema of the pipeline at the registry.
//!
//! Role: it is compared with the current schema of the programs, then with what the registry has, by the rule of the registry; only then
//! it is sent. The subject is the name of its record, as when services register their schemas.
//! Invariants: nothing is sent that records of the current schema could not be read with, or that the registry would refuse. What is
//! registered already is not registered again.
//! Failure: a registry that does not answer is an error with its address; so is one that refuses for another reason than compatibility.

use anyhow::{Context as _, bail};
use codec::{RegisteredVersion, RegistryClient};
use security::mask;
use serde::Serialize;

use crate::connection::Connection;
use crate::schemas::{Compatibility, compare};

/// What a registration would do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// Address of the registry.
    pub registry: String,
    /// Name of the record.
    pub subject: &'static str,
    /// The comparison with the current schema.
    pub compatibility: Compatibility,
    /// Why the registry would refuse it as the next version.
    pub refusal: Option<String>,
    /// The version that it is in the registry.
    pub registered: Option<RegisteredVersion>,
    /// Whether this run has registered it.
    pub executed: bool,
}

impl Registration {
    /// Whether neither the programs nor the registry object.
    pub fn fits(&self) -> bool {
        self.compatibility.backward.is_none() && self.refusal.is_none()
    }
}

/// Checks the schema of this text; registers it if `executes` is set and nothing objects.
///
/// # Errors
/// The text is no schema of the pipeline, no registry is configured, or it does not answer.
pub async fn register(connection: &Connection, text: &str, executes: bool) -> anyhow::Result<Registration> {
    let compatibility = compare(text)?;
    let settings = &connection.settings;
    let Some(url) = &settings.schema_registry_url else {
        bail!(
            "no schema registry is configured: set DATA_PROC_SCHEMA_REGISTRY_URL to its address. Without one, each record carries the \
             fingerprint of its schema, and nothing has to be registered"
        );
    };
    let client = RegistryClient::new(url.clone(), &settings.trust)?;
    let subject = compatibility.record;
    let registered = client.find(subject, text).await?;
    let refusal = match registered {
        Some(_) => None,
        None => client.refusal(subject, text).await?,
    };
    let mut registration = Registration {
        registry: mask(&url.expose()),
        subject,
        compatibility,
        refusal,
        registered,
        executed: false,
    };
    if executes && registration.registered.is_none() && registration.fits() {
        client.register(subject, text).await?;
        registration.executed = true;
        let found = client.find(subject, text).await;
        registration.registered =
            found.context("the schema is registered, but the registry does not tell its version")?;
    }
    Ok(registration)
}
