//! Ctrl-C and SIGTERM: how a command ends early, and what it reports then.
//!
//! Invariant: the report says what the command has left behind, so that the user knows what to do next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use localstack::StackError;
use tokio::signal::unix::{SignalKind, signal};

/// Ctrl-C or SIGTERM ended the command; the text says what was left.
#[derive(Debug)]
pub struct Interrupted(pub String);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "interrupted; {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// Does the work unless Ctrl-C or SIGTERM comes first; `left` then says what was left.
///
/// # Errors
/// Those of the work, or [`Interrupted`].
pub async fn unless_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
    left: impl FnOnce() -> String,
) -> anyhow::Result<T> {
    tokio::select! {
        // The work comes first: a nested command reports more precisely what it has left.
        biased;
        done = work => done,
        _ = terminated() => Err(Interrupted(left()).into()),
    }
}

/// Returns on Ctrl-C or SIGTERM.
async fn terminated() -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = term.recv() => Ok(()),
    }
}

/// A flag that Ctrl-C and SIGTERM set instead of ending the program, for work that blocks and cleans up after itself.
pub fn interrupt_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    tokio::spawn(async move {
        while terminated().await.is_ok() {
            set.store(true, Ordering::Relaxed);
        }
    });
    flag
}

/// Turns an error of the local stack into [`Interrupted`] if Ctrl-C caused it; keeps every other error.
pub fn or_interrupted(error: anyhow::Error, left: impl FnOnce() -> String) -> anyhow::Error {
    match error.downcast_ref::<StackError>() {
        Some(StackError::Interrupted) => Interrupted(left()).into(),
        _ => error,
    }
}
