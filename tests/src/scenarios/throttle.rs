//! A process that gets one hundredth of the CPU, as in a container with far too small a limit: the kernel stops it for most of each
//! period, and so does this.
//!
//! Failure: the process is continued when this is dropped. A process that is started in its place is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use localstack::{Name, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Short enough that the process keeps its sessions and answers requests within a second.
const STOPPED: Duration = Duration::from_millis(247);
const RUNNING: Duration = Duration::from_millis(3);

/// It works until it is dropped, or the process has ended.
pub(super) struct Throttle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    /// Throttles the process that runs under this name now.
    pub(super) fn start(stack: &Stack, name: Name) -> anyhow::Result<Throttle> {
        let pid = stack.pid(name).with_context(|| format!("{name} does not run"))?;
        let (stop, stack) = (Arc::new(AtomicBool::new(false)), stack.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let process = Pid::from_raw(pid);
            while !stopped.load(Ordering::Relaxed) && stack.pid(name) == Some(pid) {
                // An error means that it has ended.
                if kill(process, Signal::SIGSTOP).is_err() {
                    return;
                }
                // A pace, not a wait for something.
                std::thread::sleep(STOPPED);
                if kill(process, Signal::SIGCONT).is_err() {
                    return;
                }
                std::thread::sleep(RUNNING);
            }
        });
        Ok(Throttle {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has printed its message.
            _ = thread.join();
        }
    }
}
