//! Secrets and trust, for clients of all kinds of secured servers.
//!
//! Role: [`Secret`] is a value that is never printed and may be stored in a file. [`Trust`] lists the authorities that a TLS
//! client accepts. Kafka, the stores, the schema registry and HTTP clients all use these two.
//! Failure: a secret file that cannot be read at start is an error with the path. Later the last value stays in use and a
//! warning is logged. A certificate file that cannot be read is an error with the path.

mod examine;
mod expiry;
mod secret;
mod trust;

pub use examine::{examine_certificate, speaks_tls};
pub use expiry::certificate_expiry;
pub use secret::{Secret, SecretError, mask};
pub use trust::{DirectClients, Trust, TrustError, causes, http_client, install_provider};
