//! Addresses of the brokers, and how a client authenticates to them: the only place that turns the `KAFKA_*` security settings
//! into settings of the client library.
//!
//! Invariants: every client of the project is created from a [`Brokers`]. Certificates and host names are always verified. No
//! output contains a secret. Files are read when a client is created, so a new client uses renewed files.
//! Failure: a setting that the client library refuses (a key that does not belong to its certificate) is fatal when the first
//! client is created.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::{Classified as _, ErrorClass};
use rdkafka::ClientConfig;
use security::{Secret, Trust, examine_certificate, speaks_tls};

use super::token::{Tokens, TokensFrom};
use super::trouble::{self, Trouble};
use super::watch::{Troubles, Watch};
use crate::StreamError;

/// Time limit for reading a broker's certificate.
const LOOK: Duration = Duration::from_secs(1);

/// How the connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Protocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 4] = [
        Protocol::Plaintext,
        Protocol::Ssl,
        Protocol::SaslPlaintext,
        Protocol::SaslSsl,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Whether the client encrypts.
    pub fn uses_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    /// Whether the client logs in.
    pub fn uses_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

/// How the client logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
    OAuthBearer,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 4] = [
        Mechanism::Plain,
        Mechanism::ScramSha256,
        Mechanism::ScramSha512,
        Mechanism::OAuthBearer,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// The credentials of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Login {
    /// For PLAIN and SCRAM.
    Password {
        mechanism: Mechanism,
        username: String,
        password: Secret,
    },
    /// For OAUTHBEARER: a token from this endpoint.
    Token(TokensFrom),
}

impl Login {
    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Login::Password { mechanism, .. } => *mechanism,
            Login::Token(_) => Mechanism::OAuthBearer,
        }
    }
}

/// The client's certificate, for brokers that require one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate (with its chain).
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
    /// Password of an encrypted key.
    pub key_password: Option<Secret>,
}

/// All settings of a secured connection. The default is plaintext without a login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Protocol.
    pub protocol: Protocol,
    /// Login; only with a SASL protocol.
    pub login: Option<Login>,
    /// PEM file of the authority that must have signed the brokers' certificates; `None` = the authorities of the system.
    pub authority: Option<PathBuf>,
    /// The client's certificate; only with a TLS protocol.
    pub certificate: Option<ClientCertificate>,
    /// Accepted authorities for the token endpoint's certificate.
    pub trust: Trust,
}

/// The brokers of a cluster, and how they are reached. Cheap to clone; clones share the token and the troubles of the
/// connection. `Display` shows the addresses.
#[derive(Clone)]
pub struct Brokers {
    addresses: Arc<str>,
    security: Arc<Security>,
    tokens: Option<Arc<Tokens>>,
    troubles: Arc<Troubles>,
}

impl Brokers {
    /// Brokers at these addresses (`host:port`, separated by commas).
    pub fn new(addresses: &str, security: Security) -> Brokers {
        let tokens = match &security.login {
            Some(Login::Token(from)) => Some(Arc::new(Tokens::new(from.clone(), security.trust.clone()))),
            _ => None,
        };
        Brokers {
            addresses: addresses.into(),
            troubles: Arc::new(Troubles::new(&security)),
            security: Arc::new(security),
            tokens,
        }
    }

    /// Brokers that accept every client, such as those of the local stack.
    pub fn plaintext(addresses: &str) -> Brokers {
        Brokers::new(addresses, Security::default())
    }

    /// `host:port`, separated by commas.
    pub fn addresses(&self) -> &str {
        &self.addresses
    }

    /// How they are reached.
    pub fn security(&self) -> &Security {
        &self.security
    }

    pub(super) fn tokens(&self) -> Option<&Arc<Tokens>> {
        self.tokens.as_ref()
    }

    /// Problems that clients of these brokers reported and that only an operator can correct.
    pub(super) fn troubles(&self) -> &Arc<Troubles> {
        &self.troubles
    }

    /// The context of a client.
    pub(super) fn watch(&self) -> Watch {
        Watch::new(&self.troubles)
    }

    /// Whether clients of these brokers are refused, so that a retry does not help.
    pub fn is_refused(&self) -> bool {
        self.troubles.recent().is_some_and(|trouble| trouble.is_certain)
    }

    /// The problem of the last seconds that only an operator can correct.
    pub fn trouble(&self) -> Option<Trouble> {
        self.troubles.recent()
    }

    /// Finds out whether a client without TLS connects to a TLS listener. Blocks for at most a second per address.
    pub(super) fn look_for_tls(&self) {
        let addresses = || self.addresses.split(',').map(str::trim);
        let may_look = !self.security.protocol.uses_tls() && self.troubles.may_look_for_tls();
        if may_look && addresses().any(|address| speaks_tls(address, LOOK)) {
            self.troubles.note_tls();
        }
    }

    /// The message of a trouble. If the certificate is not accepted, it includes the reason found by examining it. Blocks for at
    /// most a second.
    pub(super) fn in_full(&self, trouble: &Trouble) -> String {
        if trouble.code != trouble::SERVER_CERTIFICATE {
            return trouble.message.clone();
        }
        let trust = match &self.security.authority {
            Some(path) => Trust::with_authority(path).ok(),
            None => Some(Trust::default()),
        };
        let mut addresses = self.addresses.split(',').map(str::trim);
        let found = trust.and_then(|trust| addresses.find_map(|address| examine_certificate(address, &trust, LOOK)));
        match found {
            Some(found) => format!("{found}: {}", trouble.message),
            None => trouble.message.clone(),
        }
    }

    /// Adds the reason that the connection reported to the error of a call that found no broker.
    pub(super) fn explain(&self, error: StreamError) -> StreamError {
        match self.troubles.recent() {
            Some(trouble) if error.class() == ErrorClass::Transient => {
                StreamError::transient(trouble.code, format!("{error}: {}", self.in_full(&trouble)))
            }
            _ => error,
        }
    }

    /// Adds addresses and security to the settings of a client.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        config
            .set("bootstrap.servers", self.addresses())
            .set("security.protocol", self.security.protocol.name());
        if self.security.protocol.uses_tls() {
            self.apply_tls(config);
        }
        match &self.security.login {
            Some(Login::Password {
                mechanism,
                username,
                password,
            }) => {
                config
                    .set("sasl.mechanism", mechanism.name())
                    .set("sasl.username", username)
                    .set("sasl.password", password.expose());
            }
            Some(login @ Login::Token(_)) => {
                config.set("sasl.mechanism", login.mechanism().name());
            }
            None => {}
        }
    }

    fn apply_tls(&self, config: &mut ClientConfig) {
        let authority = self.security.authority.as_ref();
        config
            .set("enable.ssl.certificate.verification", "true")
            .set("ssl.endpoint.identification.algorithm", "https")
            // `probe` finds the authorities of the system on every distribution.
            .set(
                "ssl.ca.location",
                authority.map_or("probe".to_owned(), |path| path.display().to_string()),
            );
        if let Some(own) = &self.security.certificate {
            config
                .set("ssl.certificate.location", own.certificate.display().to_string())
                .set("ssl.key.location", own.key.display().to_string());
            if let Some(password) = &own.key_password {
                config.set("ssl.key.password", password.expose());
            }
        }
    }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addresses)
    }
}

impl fmt::Debug for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brokers")
            .field("addresses", &self.addresses)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Brokers {
    fn eq(&self, other: &Brokers) -> bool {
        (&self.addresses, &self.security) == (&other.addresses, &other.security)
    }
}

impl Eq for Brokers {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn applied(security: Security) -> ClientConfig {
        let mut config = ClientConfig::new();
        Brokers::new("a:1,b:2", security).apply(&mut config);
        config
    }

    #[test]
    fn plaintext_sets_nothing_of_tls_or_sasl() {
        let config = applied(Security::default());
        assert_eq!(config.get("security.protocol"), Some("PLAINTEXT"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        assert_eq!(
            (config.get("sasl.mechanism"), config.get("ssl.ca.location")),
            (None, None)
        );
    }

    #[test]
    fn a_login_and_a_certificate_reach_the_client_and_no_debug_output() {
        let security = Security {
            protocol: Protocol::SaslSsl,
            login: Some(Login::Password {
                mechanism: Mechanism::ScramSha512,
                username: "pipeline".to_owned(),
                password: Secret::new("h@nter2"),
            }),
            authority: Some("/ca.pem".into()),
            certificate: Some(ClientCertificate {
                certificate: "/own.pem".into(),
                key: "/own.key".into(),
                key_password: Some(Secret::new("h@nter2")),
            }),
            trust: Trust::default(),
        };
        let brokers = Brokers::new("a:1", security.clone());
        assert!(!format!("{brokers:?} {brokers}").contains("h@nter2"));
        let config = applied(security);
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "pipeline"),
            ("sasl.password", "h@nter2"),
            ("ssl.ca.location", "/ca.pem"),
            ("ssl.certificate.location", "/own.pem"),
            ("ssl.key.location", "/own.key"),
            ("ssl.key.password", "h@nter2"),
            ("ssl.endpoint.identification.algorithm", "https"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn without_an_authority_those_of_the_system_are_used() {
        let config = applied(Security {
            protocol: Protocol::Ssl,
            ..Security::default()
        });
        assert_eq!(config.get("ssl.ca.location"), Some("probe"));
    }
}
