//! Reading the dead letters without blocking the command.

use anyhow::Context as _;
use ops::connection::Connection;

/// Reads the dead letters on a thread of its own.
pub(super) async fn read<T: Send + 'static>(
    connection: &Connection,
    work: impl FnOnce(&stream::Brokers, &str) -> Result<T, stream::StreamError> + Send + 'static,
) -> anyhow::Result<T> {
    let (bootstrap, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.dlq.clone(),
    );
    let named = topic.clone();
    let reading = tokio::task::spawn_blocking(move || work(&bootstrap, &topic));
    ops::progress::waiting("reading the dead letters", reading)
        .await
        .context("read the dead letters")?
        .with_context(|| {
            format!("read topic {named}: is Kafka running (`dp status`), does the topic exist (`dp kafka topics`)?")
        })
}
