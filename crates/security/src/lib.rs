//! Secrets and trust: what every client of a secured server needs, whatever the server is.
//!
//! Role: [`Secret`] is a value that is never printed and may live in a file; [`Trust`] says which authorities a TLS client
//! accepts. Kafka, the stores, the schema registry and HTTP clients all use these two.
//! Failure: a secret file that cannot be read at start is an error with the path; later the last value stays in use and the
//! log says so. A certificate file that cannot be read is an error with the path.

mod examine;
mod secret;
mod trust;

pub use examine::{examine_certificate, speaks_tls};
pub use secret::{Secret, SecretError, mask};
pub use trust::{Trust, TrustError, causes, http_client, install_provider};
