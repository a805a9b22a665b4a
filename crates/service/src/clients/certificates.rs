//! Health checks of the certificates of servers that are reached over TLS: one that expires soon, or has expired.
//!
//! Role: an expired certificate refuses new connections only, so everything seems well until a connection is opened again. Not
//! critical, and without a breaker. PostgreSQL begins TLS in its own protocol, and is not looked at.
//! Failure: a server that does not answer is the matter of its own check; its certificate is unknown then (`NaN`).

use std::time::Duration;

use security::{Trust, certificate_expiry};
use stream::status::wall_clock;

use super::endpoints::{Endpoint, endpoints};
use super::{Clients, Use};
use crate::health::{Answer, Check, Wrong};
use crate::metrics;
use crate::settings::Settings;

/// A certificate is renewed days before it expires, but an operator who has renewed one waits for this.
pub(crate) const EVERY: Duration = Duration::from_secs(30);
/// Below the time-out of a check.
const LIMIT: Duration = Duration::from_secs(2);
/// The limit of the critical step of alert `CertificateExpires`.
const SOON: i64 = 3 * DAY;
const DAY: i64 = 86_400;

impl Clients {
    /// One check for each declared dependency that is reached over TLS; its first address is looked at.
    pub(crate) fn certificate_checks(uses: &[Use], settings: &Settings) -> Vec<Check> {
        let mut checks: Vec<Check> = Vec::new();
        for Endpoint { server, address, .. } in endpoints(settings).into_iter().filter(|one| one.begins_with_tls) {
            let name = match server {
                "kafka" => "kafka_certificate",
                "clickhouse" => "clickhouse_certificate",
                "redis" => "redis_certificate",
                _ => continue,
            };
            let is_used = uses.iter().any(|used| used.dependency.name() == server);
            // A broker that asks for a certificate of the client would log each look as a failed login.
            let asks = server == "kafka" && settings.kafka_bootstrap.security().certificate.is_some();
            if !is_used || asks || checks.iter().any(|check| check.name == name) {
                continue;
            }
            let (trust, target) = (trust_of(server, settings), address.clone());
            checks.push(Check {
                name,
                critical: false,
                target: address,
                ask: Box::new(move || ask(server, target.clone(), trust.clone())),
                breaker: None,
            });
        }
        checks
    }
}

/// Kafka may have an authority of its own.
fn trust_of(server: &str, settings: &Settings) -> Trust {
    let authority = settings.kafka_bootstrap.security().authority.clone();
    let own = authority.filter(|_| server == "kafka").map(Trust::with_authority);
    own.and_then(Result::ok).unwrap_or_else(|| settings.trust.clone())
}

fn ask(server: &'static str, address: String, trust: Trust) -> Answer {
    Box::pin(async move {
        let asked = address.clone();
        let read = tokio::task::spawn_blocking(move || certificate_expiry(&asked, &trust, LIMIT)).await;
        let expiry = read.ok().flatten();
        metrics::certificate_expiry(server, expiry.map_or(f64::NAN, |seconds| seconds as f64));
        let problem = expiry.and_then(|expiry| problem(server, &address, expiry - wall_clock().div_euclid(1_000_000)));
        problem.map_or(Ok(()), |problem| Err(Wrong::Failed(problem)))
    })
}

/// `left` are the seconds until it expires.
fn problem(server: &str, address: &str, left: i64) -> Option<String> {
    let when = match left {
        ..=0 => "has expired; new connections fail".to_owned(),
        1..DAY => "expires within a day; after that, new connections fail".to_owned(),
        DAY..SOON => format!("expires in {} days; after that, new connections fail", left / DAY),
        _ => return None,
    };
    Some(format!(
        "the certificate of {server} at {address} {when}. Renew it and reload the server"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_a_problem_from_three_days_before_it_expires() {
        let said = |left| {
            problem("clickhouse", "c:8443", left).map(|text| text.split("; ").next().unwrap_or_default().to_owned())
        };
        assert_eq!(said(3 * DAY), None);
        for (left, when) in [
            (3 * DAY - 1, "expires in 2 days"),
            (DAY - 1, "expires within a day"),
            (0, "has expired"),
            (-400 * DAY, "has expired"),
        ] {
            assert_eq!(
                said(left),
                Some(format!("the certificate of clickhouse at c:8443 {when}")),
                "{left}"
            );
        }
    }
}
