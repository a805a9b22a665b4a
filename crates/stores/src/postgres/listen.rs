//! Notifications of Postgres, on a separate connection (a pool discards them).
//!
//! Failure: notifications are lost while there is no connection, so every (re)connection is itself a notice: the listener
//! then reads the state again. A transaction pooler accepts LISTEN and delivers nothing. A probe notification detects this;
//! it is logged once, and retried every ten minutes. Meanwhile changes are seen only at the listener's refresh interval.

use std::time::Duration;

use domain::RetryPolicy;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_postgres::AsyncMessage;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Parameter, Postgres, within};
use crate::StoreError;

/// Channel on which changes of reference data are announced.
pub const REFERENCE_CHANGED: &str = "reference_changed";

/// How long a probe notification may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// Wait before a connection that delivers nothing is retried.
const UNDELIVERED_WAIT: Duration = Duration::from_secs(600);
/// Prefix of the payload of a probe notification, which is not a notice.
const PROBE: &str = "listen-probe:";

/// How listening on one connection ended.
enum Ended {
    /// The connection is lost; whether notifications arrived through it.
    Lost { was_delivered: bool },
    /// It delivers no notifications.
    Undelivered,
}

/// A stream of notices. Dropping it closes the connection.
pub struct Notices {
    receiver: Receiver<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Notices {
    /// Starts to listen on the current runtime; reconnects with back-off whenever the connection is lost.
    /// `refresh` is how often the reader reads the state anyway; the log names it if notifications are unavailable.
    pub fn listen(postgres: &Postgres, channel_name: &'static str, refresh: Duration) -> Notices {
        let (sender, receiver) = channel(64);
        let postgres = postgres.clone();
        let task = tokio::spawn(async move {
            let mut waits = RetryPolicy::STANDARD.waits();
            let mut is_delivered = true;
            while !sender.is_closed() {
                match follow(&postgres, channel_name, &sender).await {
                    Ok(Ended::Lost { was_delivered }) => {
                        waits.succeeded();
                        // A pooler that restarts is still the pooler that the log has named.
                        is_delivered |= was_delivered;
                    }
                    Ok(Ended::Undelivered) => {
                        if std::mem::replace(&mut is_delivered, false) {
                            tracing::warn!(
                                event = "notifications_unavailable",
                                channel = channel_name,
                                refresh_seconds = refresh.as_secs_f64(),
                                "no notifications from PostgreSQL, because a transaction pooler does not forward them; reference data is refreshed every refresh_seconds instead: to see changes at once, name the server itself in DATA_PROC_POSTGRES_DSN"
                            );
                        }
                        tokio::time::sleep(UNDELIVERED_WAIT).await;
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(channel = channel_name, error = %error, "not listening to notifications; reconnecting")
                    }
                }
                tokio::time::sleep(waits.after_failure()).await;
            }
        });
        Notices { receiver, task }
    }

    /// The next notice: its payload, or an empty string after a (re)connection, when anything may have changed.
    pub async fn next(&mut self) -> Option<String> {
        self.receiver.recv().await
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on one connection until it is closed, or until the probe shows that it delivers nothing.
async fn follow(postgres: &Postgres, channel_name: &str, sender: &Sender<String>) -> Result<Ended, StoreError> {
    let (client, mut connection) = within("listen", super::CONNECT_TIMEOUT, postgres.address.open()).await?;
    let (messages, mut received) = channel(64);
    // The connection must be polled while LISTEN waits for its response.
    let driver = Driver(tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message
                && messages.send(notification.payload().to_owned()).await.is_err()
            {
                break;
            }
        }
    }));
    let listen = format!("LISTEN {channel_name}");
    within("listen", super::CALL_TIMEOUT, client.batch_execute(&listen)).await?;
    let probe = format!("{PROBE}{}", Uuid::new_v4());
    if sender.send(String::new()).await.is_err() {
        return Ok(Ended::Lost { was_delivered: false });
    }
    notify(postgres, channel_name, &probe).await?;
    let until = tokio::time::Instant::now() + PROBE_LIMIT;
    let mut is_delivered = false;
    loop {
        let payload = match is_delivered {
            true => received.recv().await,
            false => match tokio::time::timeout_at(until, received.recv()).await {
                Ok(payload) => payload,
                Err(_) => return Ok(Ended::Undelivered),
            },
        };
        let Some(payload) = payload else {
            drop(driver);
            return Ok(Ended::Lost {
                was_delivered: is_delivered,
            });
        };
        is_delivered |= payload == probe;
        if !payload.starts_with(PROBE) && sender.send(payload).await.is_err() {
            return Ok(Ended::Lost {
                was_delivered: is_delivered,
            });
        }
    }
}

/// Sent on another connection, since a pooler would deliver a notification to the connection that sends it.
async fn notify(postgres: &Postgres, channel_name: &str, payload: &str) -> Result<(), StoreError> {
    let client = postgres.client("notify").await?;
    let values: [Parameter<'_>; 2] = [(&channel_name, Type::TEXT), (&payload, Type::TEXT)];
    let sent = client.query_typed("SELECT pg_notify($1, $2)", &values);
    let result = within("notify", super::CALL_TIMEOUT, sent).await.map(drop);
    postgres.settle(client, result)
}

/// Aborts the task that polls a connection when the connection is no longer used.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
