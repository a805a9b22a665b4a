//! Work that blocks, on its own thread, so that Ctrl-C can end the command meanwhile.

use anyhow::Context as _;
use stream::StreamError;

/// Runs work that blocks on its own thread.
///
/// # Errors
/// Those of the work.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("a thread of the command ended early")?
}

/// Reads the log on its own thread.
///
/// # Errors
/// The work fails.
pub async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work)
        .await
        .context("the thread that queries Kafka has ended unexpectedly")??)
}
