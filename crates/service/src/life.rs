//! The life of the process: named threads, signals, the deadline of shutdown, exit codes.
//!
//! Role: [`Threads`] starts every worker as a named OS thread and detects its end, by return, error or panic; [`Tasks`]
//! does the same for tasks that run on the async runtime until shutdown. [`wait_for_end`] waits for a signal or a failure,
//! then for the threads, at most [`DEADLINE`].
//! Failure: a thread that fails ends the process with a FATAL line and exit code 1. Configuration errors exit with 2.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use stream::Shutdown;

/// How long draining may take after a shutdown request.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often the main thread looks for a shutdown request. The workers look for it themselves.
const SHUTDOWN_POLL: Duration = Duration::from_millis(500);

/// Why a service cannot start, as a message for operators.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Stopped on request, and drained in time.
    Clean,
    /// A thread failed, or draining took too long.
    Failed,
    /// The settings or the command line are invalid.
    Misconfigured,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Clean => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::from(1),
            Exit::Misconfigured => ExitCode::from(2),
        }
    }
}

/// The named threads of the process.
pub struct Threads {
    sender: Sender<Ended>,
    receiver: Receiver<Ended>,
    running: Vec<String>,
}

struct Ended {
    name: String,
    result: Result<(), String>,
}

impl Default for Threads {
    fn default() -> Threads {
        let (sender, receiver) = channel();
        Threads {
            sender,
            receiver,
            running: Vec::new(),
        }
    }
}

/// Starts async tasks that run until shutdown. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    runtime: tokio::runtime::Handle,
    sender: Sender<Ended>,
}

impl Tasks {
    /// Starts a task; its end before shutdown, or a panic, ends the process. Shutdown does not wait for it.
    pub fn spawn(&self, name: &str, body: impl Future<Output = ()> + Send + 'static) {
        let (sender, name) = (self.sender.clone(), format!("task {name}"));
        let task = self.runtime.spawn(body);
        self.runtime.spawn(async move {
            let result = match task.await {
                Ok(()) => Ok(()),
                Err(error) if error.is_cancelled() => return,
                Err(_) => Err("panicked".to_owned()),
            };
            // The receiver is gone only while the process is ending.
            _ = sender.send(Ended { name, result });
        });
    }
}

impl Threads {
    /// Tasks on this runtime; their failure ends the process like that of a thread.
    pub fn tasks(&self, runtime: &tokio::runtime::Handle) -> Tasks {
        Tasks {
            runtime: runtime.clone(),
            sender: self.sender.clone(),
        }
    }

    /// Starts a thread that runs until shutdown; an `Err` or a panic ends the process.
    ///
    /// # Errors
    /// A message for operators if the system cannot start a thread.
    pub fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let (sender, owned) = (self.sender.clone(), name.to_owned());
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err("panicked".to_owned()));
                // The receiver is gone only while the process is ending.
                _ = sender.send(Ended { name: owned, result });
            })
            .map_err(|error| format!("start thread {name}: {error}"))?;
        self.running.push(name.to_owned());
        Ok(())
    }
}

/// Waits until shutdown is requested or a thread fails, then until every thread has ended or the deadline has passed.
pub fn wait_for_end(mut threads: Threads, shutdown: &Shutdown) -> Exit {
    let mut exit = Exit::Clean;
    let mut deadline: Option<Instant> = None;
    while !threads.running.is_empty() || deadline.is_none() {
        if shutdown.is_requested() && deadline.is_none() {
            tracing::info!(event = "shutdown", threads = threads.running.join(" "), "draining");
            deadline = Some(Instant::now() + DEADLINE);
            continue;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            crate::fatal!(
                error = "draining took too long",
                threads = threads.running.join(" "),
                "threads did not end in time; messages in flight are read again at the next start"
            );
            return Exit::Failed;
        }
        match threads.receiver.recv_timeout(SHUTDOWN_POLL) {
            Ok(ended) => {
                threads.running.retain(|name| *name != ended.name);
                if !report(&ended, shutdown) {
                    exit = Exit::Failed;
                    shutdown.request();
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
    exit
}

/// Whether this thread ended cleanly.
fn report(ended: &Ended, shutdown: &Shutdown) -> bool {
    match &ended.result {
        Ok(()) if shutdown.is_requested() => true,
        Ok(()) => {
            crate::fatal!(thread = ended.name, error = "ended before shutdown", "thread ended");
            false
        }
        Err(error) => {
            crate::fatal!(thread = ended.name, error, "thread failed");
            false
        }
    }
}

/// Requests shutdown on SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// A message for operators if signals cannot be received.
pub fn listen_to_signals(runtime: &tokio::runtime::Handle, shutdown: Shutdown) -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let _context = runtime.enter();
    let refused = |error: std::io::Error| format!("listen to signals: {error}");
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    runtime.spawn(async move {
        for count in 0.. {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if count > 0 {
                tracing::warn!(event = "shutdown", signal = name, "second signal: ending at once");
                std::process::exit(130);
            }
            tracing::info!(event = "shutdown", signal = name, "signal received");
            shutdown.request();
        }
    });
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn until_asked(shutdown: &Shutdown) -> impl FnOnce() -> Result<(), String> + Send + 'static {
        let shutdown = shutdown.clone();
        move || {
            while !shutdown.is_requested() {
                std::thread::yield_now();
            }
            Ok(())
        }
    }

    #[test]
    fn a_failed_thread_ends_the_process_with_a_failing_exit() {
        let shutdown = Shutdown::default();
        let mut threads = Threads::default();
        threads.spawn("steady", until_asked(&shutdown)).unwrap();
        threads
            .spawn("broken", || Err("topic has another id".to_owned()))
            .unwrap();
        assert_eq!(wait_for_end(threads, &shutdown), Exit::Failed);
    }

    #[test]
    fn a_thread_that_panics_or_ends_by_itself_is_a_failure_too() {
        let bodies: [fn() -> Result<(), String>; 2] = [|| panic!("a bug"), || Ok(())];
        for body in bodies {
            let shutdown = Shutdown::default();
            let mut threads = Threads::default();
            threads.spawn("worker", body).unwrap();
            assert_eq!(wait_for_end(threads, &shutdown), Exit::Failed);
        }
    }

    #[test]
    fn a_task_that_panics_or_ends_by_itself_is_a_failure_too() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for panics in [true, false] {
            let shutdown = Shutdown::default();
            let mut threads = Threads::default();
            threads.spawn("steady", until_asked(&shutdown)).unwrap();
            let tasks = threads.tasks(runtime.handle());
            tasks.spawn("lasting", std::future::pending());
            tasks.spawn("broken", async move { assert!(!panics, "a bug") });
            assert_eq!(wait_for_end(threads, &shutdown), Exit::Failed);
        }
    }

    #[test]
    fn a_requested_shutdown_is_clean() {
        let shutdown = Shutdown::default();
        let mut threads = Threads::default();
        threads.spawn("steady", until_asked(&shutdown)).unwrap();
        shutdown.request();
        assert_eq!(wait_for_end(threads, &shutdown), Exit::Clean);
    }
}
