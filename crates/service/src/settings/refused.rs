//! Rejected outside of `local`: well-known credentials, and passwords on unencrypted connections.
//!
//! A connection within this machine may be plaintext, since a side-car may do TLS for the process.

use stream::kafka::brokers::{Login, Protocol};

use super::{Reader, Settings, traces};

/// Notes the rejected settings if the environment is not `local`.
pub(super) fn outside_of_local(r: &mut Reader<'_>, settings: &Settings) {
    let environment = settings.environment.name();
    let mut problems = Vec::new();
    let mut refuse = |name: &str, why: &str| {
        problems.push(format!(
            "{name} {why}, which is not allowed if DATA_PROC_ENV is {environment}"
        ));
    };
    let clickhouse = &settings.clickhouse;
    let registry = settings
        .schema_registry_url
        .as_ref()
        .map(|url| url.expose())
        .unwrap_or_default();
    for (name, url) in [
        ("DATA_PROC_CLICKHOUSE_URL", clickhouse.url.expose()),
        ("DATA_PROC_POSTGRES_DSN", settings.postgres_dsn.expose()),
        ("DATA_PROC_REDIS_URL", settings.redis_url.expose()),
        ("DATA_PROC_SCHEMA_REGISTRY_URL", registry),
    ] {
        if is_well_known(&user_information(&url)) {
            refuse(name, "contains the local stack's user:password");
        }
    }
    let well_known = "is the local stack's password";
    if is_well_known(&(clickhouse.user.clone(), clickhouse.password.expose())) {
        refuse("DATA_PROC_CLICKHOUSE_PASSWORD", well_known);
    }
    if let Some(Login::Password { username, password, .. }) = &settings.kafka_bootstrap.security().login
        && is_well_known(&(username.clone(), password.expose()))
    {
        refuse("DATA_PROC_KAFKA_SASL_PASSWORD", well_known);
    }
    for (name, why) in readable_passwords(settings) {
        refuse(name, why);
    }
    problems.into_iter().for_each(|problem| r.problem(problem));
}

/// Settings that send a password or a secret over the network unencrypted.
fn readable_passwords(settings: &Settings) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let security = settings.kafka_bootstrap.security();
    if security.protocol == Protocol::SaslPlaintext && !settings.kafka_bootstrap.addresses().split(',').all(is_here) {
        found.push((
            "DATA_PROC_KAFKA_SECURITY_PROTOCOL",
            "is SASL_PLAINTEXT, so the login is sent unencrypted: use SASL_SSL",
        ));
    }
    if let Some(Login::Token(from)) = &security.login
        && is_readable(&from.url, "http://")
    {
        found.push((
            "DATA_PROC_KAFKA_SASL_OAUTH_TOKEN_URL",
            "is http://, so the client secret is sent unencrypted: use https://",
        ));
    }
    let clickhouse = &settings.clickhouse;
    let url = clickhouse.url.expose();
    if is_readable(&url, "http://") && (!clickhouse.password.is_empty() || has_password(&url)) {
        found.push((
            "DATA_PROC_CLICKHOUSE_URL",
            "is http:// with a password, which is sent unencrypted: use https://",
        ));
    }
    let url = settings.redis_url.expose();
    if is_readable(&url, "redis://") && has_password(&url) {
        found.push((
            "DATA_PROC_REDIS_URL",
            "is redis:// with a password, which is sent unencrypted: use rediss://",
        ));
    }
    for (name, url) in [
        ("DATA_PROC_SCHEMA_REGISTRY_URL", &settings.schema_registry_url),
        (traces::ENDPOINT, &settings.otlp_endpoint),
    ] {
        let url = url.as_ref().map(|url| url.expose()).unwrap_or_default();
        if is_readable(&url, "http://") && has_password(&url) {
            found.push((
                name,
                "is http:// with a password, which is sent unencrypted: use https://",
            ));
        }
    }
    if is_readable_dsn(&settings.postgres_dsn.expose()) {
        found.push((
            "DATA_PROC_POSTGRES_DSN",
            "has a password and no sslmode=require or verify-full, so the connection may be unencrypted: add \
             sslmode=verify-full",
        ));
    }
    found
}

/// Whether the DSN does not guarantee TLS. Without `sslmode` the driver may also connect unencrypted.
fn is_readable_dsn(dsn: &str) -> bool {
    let promised = ["require", "verify-full"];
    let is_promised = promised.iter().any(|mode| dsn.contains(&format!("sslmode={mode}")));
    let has_password = has_password(dsn) || dsn.contains("password=");
    let is_near = match dsn.split_once("://") {
        Some(_) => is_here(host(dsn)),
        None => ["host=localhost", "host=127.0.0.1", "host=/"]
            .iter()
            .any(|here| dsn.contains(here)),
    };
    has_password && !is_promised && !is_near
}

fn is_readable(url: &str, scheme: &str) -> bool {
    url.starts_with(scheme) && !is_here(host(url))
}

/// Whether the address is on this machine.
fn is_here(address: &str) -> bool {
    let address = address.trim();
    let bracketed = address.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = bracketed.map_or_else(|| address.split(':').next().unwrap_or_default(), |(inner, _)| inner);
    // An empty host, or one that begins with an encoded slash, is a Unix socket.
    name.is_empty()
        || name == "localhost"
        || name.to_ascii_lowercase().starts_with("%2f")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// `host:port` of a URL.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// User and password of a URL, empty where there are none.
fn user_information(url: &str) -> (String, String) {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or(rest);
    let Some((user, _)) = authority.rsplit_once('@') else {
        return Default::default();
    };
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    (user.to_owned(), password.to_owned())
}

fn has_password(url: &str) -> bool {
    !user_information(url).1.is_empty()
}

fn is_well_known((user, password): &(String, String)) -> bool {
    user == "user" && password == "password"
}
