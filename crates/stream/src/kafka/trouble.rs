//! Problems of a connection to Kafka that only an operator can correct: one table from the client library's messages to a
//! code, a sentence and the setting to change.
//!
//! Role: pure. Callbacks of clients go through [`sort`] (`kafka::watch`), errors of calls through [`missing_right`].
//! Failure: messages that the table does not contain are not trouble; they are logged unchanged.

use rdkafka::types::RDKafkaErrorCode as Code;

use super::brokers::{Login, Protocol, Security};

/// Code of a broker's certificate that is not accepted.
pub(super) const SERVER_CERTIFICATE: &str = "kafka_certificate_refused";

/// A problem that only an operator can correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Code of a closed set.
    pub code: &'static str,
    /// What is wrong and which setting to change.
    pub message: String,
    /// Whether this is the only explanation. A connection that closes during the handshake may also be a broker that ends.
    pub is_certain: bool,
}

/// The meaning of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mechanism,
    ServerCertificate,
    ClientCertificate,
    PlaintextListener,
    TlsListener,
    SaslListener,
    LoginRefused,
}

/// Reported by a check of this crate: the library does not report a connection that is closed at once.
pub(super) const ANSWERS_TLS: &str = "the listener answers a TLS handshake";

/// Message parts in the order in which they are searched; the first match counts.
const TABLE: &[(&str, Kind)] = &[
    ("mechanism handshake failed", Kind::Mechanism),
    ("certificate verify failed", Kind::ServerCertificate),
    ("broker certificate could not be verified", Kind::ServerCertificate),
    ("client SSL authentication might be required", Kind::ClientCertificate),
    ("alert certificate required", Kind::ClientCertificate),
    ("alert bad certificate", Kind::ClientCertificate),
    ("alert certificate unknown", Kind::ClientCertificate),
    ("alert certificate expired", Kind::ClientCertificate),
    ("alert unknown ca", Kind::ClientCertificate),
    ("alert handshake failure", Kind::ClientCertificate),
    ("wrong version number", Kind::PlaintextListener),
    ("packet length too long", Kind::PlaintextListener),
    ("connecting to a PLAINTEXT broker listener", Kind::PlaintextListener),
    ("connecting to a SSL listener", Kind::TlsListener),
    (ANSWERS_TLS, Kind::TlsListener),
    ("might require SASL authentication", Kind::SaslListener),
    ("Authentication failed", Kind::LoginRefused),
    ("authentication error", Kind::LoginRefused),
    ("invalid credentials", Kind::LoginRefused),
    ("OAUTHBEARER", Kind::LoginRefused),
];

/// A login that was cut off: the connection broke or timed out before the broker answered, so it refused nothing.
const UNANSWERED: [&str; 2] = [
    "SaslAuthenticateRequest failed: Local:",
    "mechanism handshake failed: Local:",
];

/// The settings that messages name, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    protocol: Protocol,
    /// Mechanism and user, if the client logs in.
    login: Option<(&'static str, String)>,
    has_certificate: bool,
    authority: Option<String>,
}

impl Facts {
    pub(super) fn of(security: &Security) -> Facts {
        let user = |login: &Login| match login {
            Login::Password { username, .. } => username.clone(),
            Login::Token(from) => from.client_id.clone(),
        };
        let login = security.login.as_ref();
        Facts {
            protocol: security.protocol,
            login: login.map(|login| (login.mechanism().name(), user(login))),
            has_certificate: security.certificate.is_some(),
            authority: security.authority.as_ref().map(|path| path.display().to_string()),
        }
    }
}

/// The meaning of a message of the library; `None` if it reports a temporary problem.
pub(super) fn sort(code: Option<Code>, reason: &str, facts: &Facts) -> Option<Trouble> {
    if UNANSWERED.iter().any(|words| reason.contains(words)) {
        return None;
    }
    let listed = TABLE.iter().find(|(words, _)| reason.contains(words));
    let kind = match (listed, code) {
        (Some((_, kind)), _) => *kind,
        (None, Some(Code::Authentication | Code::SaslAuthenticationFailed)) => Kind::LoginRefused,
        (None, _) => return None,
    };
    let (code, message) = match kind {
        Kind::Mechanism | Kind::LoginRefused => login_sentence(kind, facts),
        Kind::ServerCertificate | Kind::ClientCertificate => certificate_sentence(kind, facts),
        Kind::PlaintextListener | Kind::TlsListener | Kind::SaslListener => listener_sentence(kind, facts.protocol),
    };
    let closes = ["connecting to a", "might require SASL"];
    Some(Trouble {
        code,
        message: format!("{message} ({})", shown(reason)),
        is_certain: !closes.iter().any(|words| reason.contains(words)),
    })
}

fn login_sentence(kind: Kind, facts: &Facts) -> (&'static str, String) {
    let login = facts.login.as_ref();
    let (mechanism, user) = login.map_or(("", ""), |(mechanism, user)| (*mechanism, user.as_str()));
    if kind == Kind::Mechanism {
        let message = format!(
            "the broker does not offer SASL mechanism {mechanism}: set DATA_PROC_KAFKA_SASL_MECHANISM to one that it \
             offers, or enable this one on the listener"
        );
        return ("kafka_mechanism_refused", message);
    }
    let message = match mechanism {
        "OAUTHBEARER" => format!(
            "the broker refuses the token of client {user}: check DATA_PROC_KAFKA_SASL_OAUTH_SCOPE, and that the broker \
             trusts the issuer at DATA_PROC_KAFKA_SASL_OAUTH_TOKEN_URL"
        ),
        _ => format!(
            "the broker refuses user '{user}' with {mechanism}: check DATA_PROC_KAFKA_SASL_USERNAME, \
             DATA_PROC_KAFKA_SASL_PASSWORD (or its _FILE) and DATA_PROC_KAFKA_SASL_MECHANISM"
        ),
    };
    ("kafka_login_refused", message)
}

fn certificate_sentence(kind: Kind, facts: &Facts) -> (&'static str, String) {
    match (kind, &facts.authority) {
        (Kind::ServerCertificate, Some(path)) => (
            SERVER_CERTIFICATE,
            format!(
                "the broker's certificate is not accepted (authorities: {path}); check DATA_PROC_KAFKA_SSL_CA, the host \
                 names in DATA_PROC_KAFKA_BOOTSTRAP, and whether the certificate has expired"
            ),
        ),
        (Kind::ServerCertificate, None) => (
            SERVER_CERTIFICATE,
            "the broker's certificate is not accepted by the authorities of this system; set DATA_PROC_KAFKA_SSL_CA to the \
             PEM file of a private authority, and check the host names in DATA_PROC_KAFKA_BOOTSTRAP"
                .to_owned(),
        ),
        _ if facts.has_certificate => (
            "kafka_client_certificate_refused",
            "the broker refuses this client's certificate: it has expired, or its authority is one that the broker does not \
             accept; replace the files of DATA_PROC_KAFKA_SSL_CERTIFICATE and DATA_PROC_KAFKA_SSL_KEY"
                .to_owned(),
        ),
        _ => (
            "kafka_client_certificate_missing",
            "the broker requires a client certificate and none is set: set DATA_PROC_KAFKA_SSL_CERTIFICATE and \
             DATA_PROC_KAFKA_SSL_KEY"
                .to_owned(),
        ),
    }
}

fn listener_sentence(kind: Kind, protocol: Protocol) -> (&'static str, String) {
    let protocol = protocol.name();
    match kind {
        Kind::PlaintextListener => (
            "kafka_listener_is_plaintext",
            format!(
                "the listener does not use TLS, the client does (DATA_PROC_KAFKA_SECURITY_PROTOCOL={protocol}): use the \
                 port of a TLS listener in DATA_PROC_KAFKA_BOOTSTRAP"
            ),
        ),
        Kind::TlsListener => (
            "kafka_listener_is_tls",
            format!(
                "the listener uses TLS and the client does not: set DATA_PROC_KAFKA_SECURITY_PROTOCOL (now {protocol}) to \
                 SSL or SASL_SSL"
            ),
        ),
        _ => (
            "kafka_listener_wants_login",
            format!(
                "the listener closes the connection, probably because it requires a login: set \
                 DATA_PROC_KAFKA_SECURITY_PROTOCOL (now {protocol}) to SASL_SSL, and DATA_PROC_KAFKA_SASL_MECHANISM"
            ),
        ),
    }
}

/// The library's message, without the thread's name, advice for its own settings, and timing.
fn shown(reason: &str) -> &str {
    let begin = match reason.starts_with("[thrd:") {
        true => reason.find("]: ").map_or(0, |at| at + 3),
        false => 0,
    };
    let reason = reason.get(begin..).unwrap_or(reason);
    let advice = [
        " (after ",
        ": broker certificate could not be",
        ": requesting ApiVersion",
        ": connecting to a",
    ];
    let end = advice.iter().filter_map(|words| reason.find(words)).min();
    reason.get(..end.unwrap_or(reason.len())).unwrap_or(reason)
}

/// The right that an operator must grant for this code of the broker; `None` if no right is missing.
pub(crate) fn missing_right(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => {
            "the user lacks a right on the topic: grant Read or Write, with Describe, on it"
        }
        Code::GroupAuthorizationFailed => "the user lacks a right on the consumer group: grant Read on it",
        Code::ClusterAuthorizationFailed => {
            "the user lacks a right on the cluster: grant IdempotentWrite to a service, Create, Alter and AlterConfigs to \
             the user who runs `dp topics create`"
        }
        Code::TransactionalIdAuthorizationFailed => "the user lacks a right on the transactional id: grant Write on it",
        _ => return None,
    })
}

/// The code of the missing right in the library's message about a producer that it has ended.
pub(super) fn right_in(reason: &str) -> Option<Code> {
    let words = [
        ("Topic authorization failed", Code::TopicAuthorizationFailed),
        ("Cluster authorization failed", Code::ClusterAuthorizationFailed),
        (
            "Transactional Id authorization failed",
            Code::TransactionalIdAuthorizationFailed,
        ),
    ];
    words
        .iter()
        .find(|(words, _)| reason.contains(words))
        .map(|(_, code)| *code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use security::Secret;

    use super::super::brokers::{ClientCertificate, Mechanism};
    use super::*;

    fn scram(certificate: Option<ClientCertificate>) -> Security {
        Security {
            protocol: Protocol::SaslSsl,
            login: Some(Login::Password {
                mechanism: Mechanism::ScramSha256,
                username: "pipeline".to_owned(),
                password: Secret::new("h@nter2"),
            }),
            certificate,
            ..Security::default()
        }
    }

    #[test]
    fn a_login_that_was_cut_off_is_no_refusal() {
        for cause in ["Broker transport failure", "Timed out"] {
            for reason in [
                format!("GroupCoordinator: SASL authentication error: SaslAuthenticateRequest failed: Local: {cause}"),
                format!(
                    "GroupCoordinator: SASL SCRAM-SHA-256 mechanism handshake failed: Local: {cause}: broker's supported \
                     mechanisms: (n/a)"
                ),
            ] {
                for code in [None, Some(Code::Authentication)] {
                    assert_eq!(
                        sort(code, &reason, &Facts::of(&scram(None))).map(|trouble| trouble.code),
                        None,
                        "{reason}"
                    );
                }
            }
        }
    }

    #[test]
    fn each_refusal_has_a_code_and_names_the_setting() {
        let own = Some(ClientCertificate {
            certificate: "/own.pem".into(),
            key: "/own.key".into(),
            key_password: None,
        });
        let (without, with) = (Facts::of(&scram(None)), Facts::of(&scram(own)));
        for (reason, facts, code, setting, is_certain) in [
            (
                "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed during authentication due to \
                 invalid credentials with SASL mechanism SCRAM-SHA-256 (after 3ms in state AUTH_REQ)",
                &without,
                "kafka_login_refused",
                "DATA_PROC_KAFKA_SASL_PASSWORD",
                true,
            ),
            (
                "SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported \
                 mechanisms: PLAIN",
                &without,
                "kafka_mechanism_refused",
                "DATA_PROC_KAFKA_SASL_MECHANISM",
                true,
            ),
            (
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could \
                 not be verified, verify that ssl.ca.location is correctly configured",
                &without,
                "kafka_certificate_refused",
                "DATA_PROC_KAFKA_SSL_CA",
                true,
            ),
            (
                "Receive failed: SSL routines::tlsv13 alert certificate required: SSL alert number 116",
                &without,
                "kafka_client_certificate_missing",
                "DATA_PROC_KAFKA_SSL_CERTIFICATE",
                true,
            ),
            (
                "Receive failed: SSL routines::tlsv1 alert unknown ca: SSL alert number 48",
                &with,
                "kafka_client_certificate_refused",
                "DATA_PROC_KAFKA_SSL_CERTIFICATE",
                true,
            ),
            (
                "SSL handshake failed: Disconnected: connection closed by peer: connecting to a PLAINTEXT broker listener?",
                &without,
                "kafka_listener_is_plaintext",
                "DATA_PROC_KAFKA_BOOTSTRAP",
                false,
            ),
            (
                "Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol configuration \
                 (connecting to a SSL listener?)",
                &without,
                "kafka_listener_is_tls",
                "DATA_PROC_KAFKA_SECURITY_PROTOCOL",
                false,
            ),
        ] {
            let trouble = sort(None, reason, facts).unwrap();
            assert_eq!((trouble.code, trouble.is_certain), (code, is_certain), "{reason}");
            assert!(trouble.message.contains(setting), "{}", trouble.message);
            assert!(!trouble.message.contains("h@nter2"), "{}", trouble.message);
        }
    }

    #[test]
    fn temporary_problems_are_no_trouble() {
        let facts = Facts::of(&scram(None));
        for reason in [
            "Connect to ipv4#127.0.0.1:9092 failed: Connection refused",
            "Disconnected while requesting",
            "1/1 brokers are down",
        ] {
            assert_eq!(
                sort(Some(Code::BrokerTransportFailure), reason, &facts),
                None,
                "{reason}"
            );
        }
        assert!(sort(Some(Code::Authentication), "something new", &facts).is_some());
    }
}
