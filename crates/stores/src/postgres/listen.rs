//! Notifications of Postgres, on a connection of their own (a pool discards them).
//!
//! Failure: notifications of the time without a connection are lost, so every (re)connection is itself a notice: who
//! listens reads the state again then. A transaction pooler takes LISTEN and delivers nothing: this is found out by a
//! notification of our own, said once, and tried again every ten minutes; meanwhile the reader's own refresh interval is
//! all there is.

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

/// How long a notification of our own may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// A connection through which nothing arrives is tried again this often.
const UNHEARD_WAIT: Duration = Duration::from_secs(600);
/// Begins the payload of a notification of our own, which is not a notice.
const PROBE: &str = "listen-probe:";

/// How listening on one connection ended.
enum Ended {
    /// The connection is lost; whether notifications arrived through it.
    Lost { was_heard: bool },
    /// Notifications do not arrive through it.
    Unheard,
}

/// Notices as they come. Dropping it ends the connection.
pub struct Notices {
    receiver: Receiver<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Notices {
    /// Begins to listen, on the current runtime; connects again, with growing waits, whenever the connection is lost.
    /// `refresh` is how often the reader reads the state anyway, which the log names if notifications are unavailable.
    pub fn listen(postgres: &Postgres, channel_name: &'static str, refresh: Duration) -> Notices {
        let (sender, receiver) = channel(64);
        let postgres = postgres.clone();
        let task = tokio::spawn(async move {
            let mut waits = RetryPolicy::STANDARD.waits();
            let mut is_heard = true;
            while !sender.is_closed() {
                match follow(&postgres, channel_name, &sender).await {
                    Ok(Ended::Lost { was_heard }) => {
                        waits.succeeded();
                        // A pooler that restarts is still the pooler that the log has named.
                        is_heard |= was_heard;
                    }
                    Ok(Ended::Unheard) => {
                        if std::mem::replace(&mut is_heard, false) {
                            tracing::warn!(
                                event = "notifications_unavailable",
                                channel = channel_name,
                                refresh_seconds = refresh.as_secs_f64(),
                                "notifications of PostgreSQL are unavailable, since a transaction pooler does not deliver them; reference data is refreshed by time every refresh_seconds instead: for changes at once, name the server itself in DATA_PROC_POSTGRES_DSN"
                            );
                        }
                        tokio::time::sleep(UNHEARD_WAIT).await;
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(channel = channel_name, error = %error, "not listening; connecting again")
                    }
                }
                tokio::time::sleep(waits.after_failure()).await;
            }
        });
        Notices { receiver, task }
    }

    /// The next notice: its payload, or an empty text after a (re)connection, when anything may have changed.
    pub async fn next(&mut self) -> Option<String> {
        self.receiver.recv().await
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens on one connection until it ends, or until it is clear that nothing arrives.
async fn follow(postgres: &Postgres, channel_name: &str, sender: &Sender<String>) -> Result<Ended, StoreError> {
    let (client, mut connection) = within("listen", super::CONNECT_TIMEOUT, postgres.address.open()).await?;
    let (messages, mut received) = channel(64);
    // The connection has to be driven while LISTEN waits for its answer.
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
        return Ok(Ended::Lost { was_heard: false });
    }
    notify(postgres, channel_name, &probe).await?;
    let until = tokio::time::Instant::now() + PROBE_LIMIT;
    let mut is_heard = false;
    loop {
        let payload = match is_heard {
            true => received.recv().await,
            false => match tokio::time::timeout_at(until, received.recv()).await {
                Ok(payload) => payload,
                Err(_) => return Ok(Ended::Unheard),
            },
        };
        let Some(payload) = payload else {
            drop(driver);
            return Ok(Ended::Lost { was_heard: is_heard });
        };
        is_heard |= payload == probe;
        if !payload.starts_with(PROBE) && sender.send(payload).await.is_err() {
            return Ok(Ended::Lost { was_heard: is_heard });
        }
    }
}

/// Sent on another connection: a pooler would hand a notification to the connection that sends it.
async fn notify(postgres: &Postgres, channel_name: &str, payload: &str) -> Result<(), StoreError> {
    let client = postgres.client("notify").await?;
    let values: [Parameter<'_>; 2] = [(&channel_name, Type::TEXT), (&payload, Type::TEXT)];
    let sent = client.query_typed("SELECT pg_notify($1, $2)", &values);
    let result = within("notify", super::CALL_TIMEOUT, sent).await.map(drop);
    postgres.settle(client, result)
}

/// Ends the task of a connection with the connection's use.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
