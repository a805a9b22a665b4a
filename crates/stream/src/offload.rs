//! Asynchronous work of a worker: it begins in one turn, and its result is taken in a later one.
//!
//! Role: everything that a handler asks of a store runs here, so its poll loop never waits for it. The future carries what
//! identifies it (partition, assignment), so that the handler recognises a result that is no longer expected.
//! Failure: dropping an offload does not end its work; the results are lost. Whoever takes over must expect that the work
//! still runs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;

use crate::worker::IDLE_POLL_WAIT;

/// How late a result may be noticed.
const RESULT_WAIT: Duration = Duration::from_millis(10);

/// Work that returns values of one type to one handler.
pub struct Offload<T> {
    runtime: Handle,
    sender: Sender<T>,
    receiver: Receiver<T>,
    outstanding: usize,
}

impl<T: Send + 'static> Offload<T> {
    /// No work yet.
    pub fn new(runtime: Handle) -> Offload<T> {
        let (sender, receiver) = channel();
        Offload {
            runtime,
            sender,
            receiver,
            outstanding: 0,
        }
    }

    /// Begins this work.
    pub fn begin(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.begin_together([work]);
    }

    /// Begins works that wake the runtime once, so that their requests to one server are sent in one write. Each returns its
    /// result as soon as it has it.
    pub fn begin_together<W>(&mut self, works: impl IntoIterator<Item = W>)
    where
        W: Future<Output = T> + Send + 'static,
    {
        let returning = |work: W| {
            let sender = self.sender.clone();
            async move {
                // Fails only if the handler has ended; then nobody needs the result.
                let _ = sender.send(work.await);
            }
        };
        let works: Vec<_> = works.into_iter().map(returning).collect();
        if !works.is_empty() {
            self.outstanding += works.len();
            self.runtime.spawn(join_all(works));
        }
    }

    /// A result, if one is there.
    pub fn take(&mut self) -> Option<T> {
        let result = self.receiver.try_recv().ok()?;
        self.outstanding -= 1;
        Some(result)
    }

    /// A result, if one comes within this time.
    pub fn wait(&mut self, timeout: Duration) -> Option<T> {
        let result = self.receiver.recv_timeout(timeout).ok()?;
        self.outstanding -= 1;
        Some(result)
    }

    /// Whether work has not returned its result yet.
    pub fn is_busy(&self) -> bool {
        self.outstanding > 0
    }

    /// How long a turn may wait for a message: a result does not end that wait.
    pub fn patience(&self) -> Duration {
        match self.is_busy() {
            true => RESULT_WAIT,
            false => IDLE_POLL_WAIT,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_once_and_work_counts_until_then() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let mut offload = Offload::new(runtime.handle().clone());
        assert_eq!((offload.take(), offload.is_busy()), (None, false));
        offload.begin(async { 1 });
        offload.begin(std::future::pending());
        assert_eq!(offload.wait(Duration::from_secs(10)), Some(1));
        assert_eq!((offload.take(), offload.is_busy()), (None, true));
    }
}
