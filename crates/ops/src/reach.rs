//! Whether a broker of Kafka accepts connections, asked before a client of Kafka is made: a client goes on trying for as long as its
//! caller waits, so a refused connection would be told only then.
//!
//! Failure: an address that refuses, or whose name is not known, is told at once. One that is silent is not: the network may be slow, and
//! the client has a longer limit.

use std::time::Duration;

use anyhow::bail;
use futures_util::future::join_all;
use stream::Brokers;
use tokio::net::TcpStream;

/// A broker on this machine or near it accepts a connection within this time.
const LIMIT: Duration = Duration::from_secs(1);

/// Fails at once if every address of the brokers refuses connections.
///
/// # Errors
/// Names each address with its reason, and what to do next.
pub(crate) async fn kafka(brokers: &Brokers) -> anyhow::Result<()> {
    let addresses = brokers.addresses().split(',').map(str::trim);
    let mut refusals = Vec::new();
    for refusal in join_all(addresses.map(refusal)).await {
        match refusal {
            Some(refusal) => refusals.push(refusal),
            None => return Ok(()),
        }
    }
    bail!(
        "Kafka at {brokers} does not answer: {}; `dp status` shows whether it runs, and `dp up` starts the local stack. If it runs \
         elsewhere, set DATA_PROC_KAFKA_BOOTSTRAP",
        refusals.join(", ")
    )
}

/// Why nobody is at this address; `None` if it accepts a connection, or gives no answer in time.
async fn refusal(address: &str) -> Option<String> {
    let connected = tokio::time::timeout(LIMIT, TcpStream::connect(address)).await;
    let error = connected.ok()?.err()?;
    Some(format!("{address}: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address at which nobody listens, and one at which somebody does.
    fn addresses() -> (String, TcpListener, String) {
        let [first, listener] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [closed, open] = [&first, &listener].map(|one| one.local_addr().unwrap().to_string());
        drop(first);
        (closed, listener, open)
    }

    #[tokio::test]
    async fn one_broker_that_accepts_connections_is_enough() {
        let (closed, _listener, open) = addresses();
        assert!(kafka(&Brokers::plaintext(&format!("{closed}, {open}"))).await.is_ok());
    }

    #[tokio::test]
    async fn refused_connections_are_told_with_their_addresses_and_what_to_do() {
        let (closed, _listener, _) = addresses();
        let brokers = Brokers::plaintext(&format!("{closed},localhost:1"));
        let told = kafka(&brokers).await.unwrap_err().to_string();
        for part in [closed.as_str(), "localhost:1: ", "refused", "`dp status`", "`dp up`"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
