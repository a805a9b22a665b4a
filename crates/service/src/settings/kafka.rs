//! Reads the `DATA_PROC_KAFKA_*` variables of the connection, and rejects contradictions between them.

use security::{Secret, Trust};
use stream::Brokers;
use stream::kafka::brokers::{ClientCertificate, Login, Mechanism, Protocol, Security};
use stream::kafka::token::TokensFrom;

use super::Reader;
use super::checked::host_and_port;

const BOOTSTRAP: &str = "DATA_PROC_KAFKA_BOOTSTRAP";
const PROTOCOL: &str = "DATA_PROC_KAFKA_SECURITY_PROTOCOL";
const MECHANISM: &str = "DATA_PROC_KAFKA_SASL_MECHANISM";
const USERNAME: &str = "DATA_PROC_KAFKA_SASL_USERNAME";
const PASSWORD: &str = "DATA_PROC_KAFKA_SASL_PASSWORD";
const TOKEN_URL: &str = "DATA_PROC_KAFKA_SASL_OAUTH_TOKEN_URL";
const CLIENT_ID: &str = "DATA_PROC_KAFKA_SASL_OAUTH_CLIENT_ID";
const CLIENT_SECRET: &str = "DATA_PROC_KAFKA_SASL_OAUTH_CLIENT_SECRET";
const SCOPE: &str = "DATA_PROC_KAFKA_SASL_OAUTH_SCOPE";
const AUTHORITY: &str = "DATA_PROC_KAFKA_SSL_CA";
const CERTIFICATE: &str = "DATA_PROC_KAFKA_SSL_CERTIFICATE";
const KEY: &str = "DATA_PROC_KAFKA_SSL_KEY";
const KEY_PASSWORD: &str = "DATA_PROC_KAFKA_SSL_KEY_PASSWORD";

/// The brokers and the connection settings.
pub(super) fn brokers(r: &mut Reader<'_>, trust: &Trust) -> Brokers {
    let fallback = r.lookup("KAFKA_ADDR").unwrap_or_else(|| "localhost:9092".to_owned());
    let addresses = r.text(
        BOOTSTRAP,
        &fallback,
        "Kafka brokers as host:port, separated by commas (falls back to KAFKA_ADDR)",
    );
    refuse_addresses(r, &addresses);
    let protocol = protocol(r);
    let login = login(r, protocol);
    let authority = r.file(
        AUTHORITY,
        "PEM file with the CA of the brokers' certificates; empty = DATA_PROC_TLS_CA, else the system's CAs",
    );
    let certificate = certificate(r);
    if !protocol.uses_tls() {
        for name in [AUTHORITY, CERTIFICATE, KEY] {
            if r.is_set(name) {
                r.problem(format!(
                    "{name} is set, but {PROTOCOL} is {}: set {PROTOCOL} to SSL or SASL_SSL",
                    protocol.name()
                ));
            }
        }
    }
    let security = Security {
        protocol,
        login,
        authority: authority.or_else(|| trust.authority().map(Into::into)),
        certificate,
        trust: trust.clone(),
    };
    Brokers::new(&addresses, security)
}

/// librdkafka would skip an address that it cannot read, or use port 9092.
fn refuse_addresses(r: &mut Reader<'_>, addresses: &str) {
    let name = match r.is_set(BOOTSTRAP) {
        true => BOOTSTRAP,
        false => "KAFKA_ADDR",
    };
    for address in addresses.split(',').map(str::trim) {
        if host_and_port(address).is_none() {
            r.problem(format!(
                "{name} must list brokers as host:port, separated by commas, got '{address}'"
            ));
        }
    }
}

/// The stable name of the process in its groups, if it has one.
pub(super) fn instance_id(r: &mut Reader<'_>) -> Option<String> {
    const NAME: &str = "DATA_PROC_INSTANCE_ID";
    /// Kafka's limit is 249; the worker's name is appended.
    const LONGEST: usize = 200;
    let given = r.text(
        NAME,
        "",
        "name of this process in its consumer groups that outlives a restart, so that a killed process gets its partitions \
         back at once; different for each process that runs at the same time; hostname = value of HOSTNAME; empty = none",
    );
    let id = match given.as_str() {
        "hostname" => r.lookup("HOSTNAME").unwrap_or_else(|| {
            r.problem(format!(
                "{NAME} is hostname, but HOSTNAME is not set: set it, or give a name"
            ));
            String::new()
        }),
        _ => given,
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if id.len() > LONGEST || !id.bytes().all(legal) {
        r.problem(format!(
            "{NAME} may contain up to {LONGEST} letters, digits, '.', '_' and '-', got '{}'",
            id.escape_debug()
        ));
    }
    (!id.is_empty()).then_some(id)
}

fn protocol(r: &mut Reader<'_>) -> Protocol {
    let name = r.text(
        PROTOCOL,
        Protocol::default().name(),
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as configured for the brokers' listener",
    );
    let known = Protocol::ALL.into_iter().find(|known| known.name() == name);
    known.unwrap_or_else(|| {
        r.problem(format!(
            "{PROTOCOL} must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, got '{name}'"
        ));
        Protocol::default()
    })
}

/// The login; `None` if the protocol has none, or after noting a problem.
fn login(r: &mut Reader<'_>, protocol: Protocol) -> Option<Login> {
    let mechanism = mechanism(r, protocol);
    let username = r.text(USERNAME, "", "user name for PLAIN and SCRAM");
    let password = r.secret(PASSWORD, "", "password for PLAIN and SCRAM");
    let from = TokensFrom {
        url: r.text(
            TOKEN_URL,
            "",
            "token endpoint for OAUTHBEARER (client credentials grant)",
        ),
        client_id: r.text(CLIENT_ID, "", "client id for OAUTHBEARER"),
        client_secret: r.secret(CLIENT_SECRET, "", "client secret for OAUTHBEARER"),
        scope: r.text(SCOPE, "", "scope that OAUTHBEARER requests; empty = none"),
    };
    let passwords = [(USERNAME, !username.is_empty()), (PASSWORD, !password.is_empty())];
    let tokens = [
        (TOKEN_URL, !from.url.is_empty()),
        (CLIENT_ID, !from.client_id.is_empty()),
        (CLIENT_SECRET, !from.client_secret.is_empty()),
    ];
    match mechanism {
        None => {
            // Without a mechanism, these settings would be ignored silently.
            for (name, _) in passwords.into_iter().chain(tokens).filter(|(_, is_set)| *is_set) {
                unused(r, name, MECHANISM);
            }
            None
        }
        Some(Mechanism::OAuthBearer) => {
            complete(r, Mechanism::OAuthBearer, &tokens, &passwords);
            if !from.url.is_empty() && !from.url.starts_with("https://") && !from.url.starts_with("http://") {
                r.problem(format!(
                    "{TOKEN_URL} must begin with https:// or http://, got '{}'",
                    from.url
                ));
            }
            Some(Login::Token(from))
        }
        Some(mechanism) => {
            complete(r, mechanism, &passwords, &tokens);
            Some(password_login(mechanism, username, password))
        }
    }
}

fn password_login(mechanism: Mechanism, username: String, password: Secret) -> Login {
    Login::Password {
        mechanism,
        username,
        password,
    }
}

fn mechanism(r: &mut Reader<'_>, protocol: Protocol) -> Option<Mechanism> {
    let name = r.text(
        MECHANISM,
        "",
        "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER; requires a SASL protocol",
    );
    if name.is_empty() {
        if protocol.uses_sasl() {
            r.problem(format!(
                "{MECHANISM} must be set if {PROTOCOL} is {}: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
                protocol.name()
            ));
        }
        return None;
    }
    let known = Mechanism::ALL.into_iter().find(|known| known.name() == name);
    if known.is_none() {
        r.problem(format!(
            "{MECHANISM} must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, got '{name}'"
        ));
    } else if !protocol.uses_sasl() {
        r.problem(format!(
            "{MECHANISM} is set, but {PROTOCOL} is {}: set {PROTOCOL} to SASL_SSL",
            protocol.name()
        ));
    }
    known
}

/// Notes settings that the mechanism needs but that are not set, and settings that belong to another mechanism.
fn complete(r: &mut Reader<'_>, mechanism: Mechanism, needed: &[(&str, bool)], others: &[(&str, bool)]) {
    let mechanism = mechanism.name();
    for (name, is_set) in needed {
        if !is_set {
            r.problem(format!("{name} must be set if {MECHANISM} is {mechanism}"));
        }
    }
    for (name, is_set) in others {
        if *is_set {
            r.problem(format!(
                "{name} is set, but {MECHANISM} is {mechanism}, which does not use it: unset it"
            ));
        }
    }
}

fn unused(r: &mut Reader<'_>, name: &str, needed: &str) {
    r.problem(format!("{name} is set, but {needed} is not: set both, or unset {name}"));
}

fn certificate(r: &mut Reader<'_>) -> Option<ClientCertificate> {
    let certificate = r.file(
        CERTIFICATE,
        "PEM file of this client's certificate, for brokers that require one",
    );
    let key = r.file(KEY, "PEM file of the private key of the client's certificate");
    let key_password = r.secret(KEY_PASSWORD, "", "password of an encrypted private key");
    let key_password = (!key_password.is_empty()).then_some(key_password);
    if key_password.is_some() && key.is_none() {
        unused(r, KEY_PASSWORD, KEY);
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ClientCertificate {
            certificate,
            key,
            key_password,
        }),
        (Some(_), None) => {
            unused(r, CERTIFICATE, KEY);
            None
        }
        (None, Some(_)) => {
            unused(r, KEY, CERTIFICATE);
            None
        }
        (None, None) => None,
    }
}
