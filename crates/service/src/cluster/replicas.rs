//! The addresses behind the name of a peer: one for each replica, if the name is that of a headless Service of Kubernetes or of a scaled
//! service of docker compose.
//!
//! Invariants: a replica that has an address of each family is asked once. The order is that of the addresses.
//! Failure: a name that is not resolved in time has no addresses; it is then asked by name, which says why it fails.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Url;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// More than the partitions of a topic, beyond which replicas are idle.
const MAX_REPLICAS: usize = 32;
/// How long the name server may take.
const LIMIT: Duration = Duration::from_secs(1);

/// The replicas behind a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replicas {
    pub(super) host: String,
    pub(super) addresses: Vec<SocketAddr>,
    /// Addresses beyond the limit.
    pub(super) left_out: usize,
}

/// The replicas behind the host of this URL; `None` if there is one address, or none is known.
pub(super) async fn of(url: &str) -> Option<Replicas> {
    let url = Url::parse(url).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let looking = timeout(LIMIT, lookup_host((host, port))).await;
    let (addresses, left_out) = several(looking.ok()?.ok()?)?;
    Some(Replicas {
        host: host.to_owned(),
        addresses,
        left_out,
    })
}

/// The addresses of the family that has more of them, and how many are beyond the limit; `None` if it is one.
fn several(found: impl Iterator<Item = SocketAddr>) -> Option<(Vec<SocketAddr>, usize)> {
    let (mut fourth, mut sixth): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv4);
    for family in [&mut fourth, &mut sixth] {
        family.sort_unstable();
        family.dedup();
    }
    let mut addresses = if sixth.len() > fourth.len() { sixth } else { fourth };
    let left_out = addresses.len().saturating_sub(MAX_REPLICAS);
    addresses.truncate(MAX_REPLICAS);
    (addresses.len() > 1).then_some((addresses, left_out))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(addresses: &[&str]) -> Option<(Vec<String>, usize)> {
        let (addresses, left_out) = several(addresses.iter().map(|text| text.parse().unwrap()))?;
        Some((addresses.iter().map(SocketAddr::to_string).collect(), left_out))
    }

    #[test]
    fn several_addresses_of_one_family_are_replicas() {
        let two = |first: &str, second: &str| Some((vec![first.to_owned(), second.to_owned()], 0));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&["10.0.0.1:80"]), None);
        // As `localhost` has them.
        assert_eq!(found(&["127.0.0.1:80", "[::1]:80"]), None);
        assert_eq!(found(&["10.0.0.1:80", "10.0.0.1:80"]), None);
        assert_eq!(
            found(&["10.0.0.2:80", "10.0.0.1:80"]),
            two("10.0.0.1:80", "10.0.0.2:80")
        );
        let both = ["[fd00::2]:80", "10.0.0.2:80", "[fd00::1]:80", "10.0.0.1:80"];
        assert_eq!(found(&both), two("10.0.0.1:80", "10.0.0.2:80"));
        assert_eq!(
            found(&["[fd00::2]:80", "[fd00::1]:80"]),
            two("[fd00::1]:80", "[fd00::2]:80")
        );
    }

    #[test]
    fn the_number_of_replicas_is_limited() {
        let addresses = (0..40).map(|number| SocketAddr::from(([10, 0, 0, number], 80)));
        let (asked, left_out) = several(addresses).unwrap();
        assert_eq!((asked.len(), left_out), (MAX_REPLICAS, 8));
    }

    #[tokio::test]
    async fn an_address_has_no_replicas_and_a_name_without_addresses_neither() {
        for url in [
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://no-such-host.invalid:8080",
            "no url",
        ] {
            assert_eq!(of(url).await, None, "{url}");
        }
    }
}
