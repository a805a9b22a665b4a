//! Notifications of Postgres, on a connection of their own (a pool discards them).
//!
//! Failure: notifications of the time without a connection are lost, so every (re)connection is itself a notice: who
//! listens reads the state again then.

use domain::RetryPolicy;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_postgres::{AsyncMessage, NoTls};

use super::{Postgres, within};
use crate::StoreError;

/// Channel on which changes of reference data are announced.
pub const REFERENCE_CHANGED: &str = "reference_changed";

/// Notices as they come. Dropping it ends the connection.
pub struct Notices {
    receiver: Receiver<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Notices {
    /// Begins to listen, on the current runtime; connects again, with growing waits, whenever the connection is lost.
    pub fn listen(postgres: &Postgres, channel_name: &'static str) -> Notices {
        let (sender, receiver) = channel(64);
        let postgres = postgres.clone();
        let task = tokio::spawn(async move {
            let mut waits = RetryPolicy::STANDARD.waits();
            while !sender.is_closed() {
                match follow(&postgres, channel_name, &sender).await {
                    Ok(()) => waits.succeeded(),
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

/// Listens on one connection until it ends; `Ok` where it had been listening.
async fn follow(postgres: &Postgres, channel_name: &str, sender: &Sender<String>) -> Result<(), StoreError> {
    let (client, mut connection) = within("listen", super::CONNECT_TIMEOUT, postgres.config.connect(NoTls)).await?;
    let (messages, mut received) = channel(64);
    // The connection has to be driven while LISTEN waits for its answer.
    let driver = tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message
                && messages.send(notification.payload().to_owned()).await.is_err()
            {
                break;
            }
        }
    });
    let listening = within(
        "listen",
        super::CALL_TIMEOUT,
        client.batch_execute(&format!("LISTEN {channel_name}")),
    )
    .await;
    if let Err(error) = listening {
        driver.abort();
        return Err(error);
    }
    let mut notice = Some(String::new());
    while let Some(payload) = notice {
        if sender.send(payload).await.is_err() {
            break;
        }
        notice = received.recv().await;
    }
    driver.abort();
    Ok(())
}
