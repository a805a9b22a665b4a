//! The status of one process of the stack, and why it does not serve its clients.

use std::fs;
use std::io::{Read, Seek, SeekFrom};

use super::Stack;
use crate::name::Name;
use crate::process::{self, Running};
use crate::servers;
use crate::state::{Condition, Entry, FROZEN, ProcessStatus};

/// What to do after a process ended by itself.
fn after_end(name: Name) -> String {
    match name {
        Name::Service(_, 2..) => format!("`dp start {name}` starts it, `dp stop {name}` dismisses this message"),
        _ => format!("`dp start {name}` starts it"),
    }
}

impl Stack {
    /// Why the running process does not serve its clients; `None` if it does.
    pub fn why_not_ready(&self, name: impl Into<Name>) -> Option<String> {
        let entry = match self.entry(name.into()) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Some("was never started".to_owned()),
            Err(error) => return Some(error.to_string()),
        };
        if self.is_ready(&entry) {
            return None;
        }
        let silent = || format!("does not answer on port {} within 2 s", entry.port);
        match entry.name {
            Name::Server(_) => Some(silent()),
            Name::Service(..) => Some(crate::probe::not_ready_reason(entry.port).unwrap_or_else(silent)),
        }
    }

    pub(super) fn is_ready(&self, entry: &Entry) -> bool {
        match entry.name {
            Name::Server(server) => servers::is_ready(server, &self.config),
            Name::Service(..) => crate::probe::http_status(entry.port, "/health/ready") == Some(200),
        }
    }

    pub(super) fn status_of(&self, entry: &Entry) -> ProcessStatus {
        let running = entry.running.filter(|running| running.is_alive());
        let why = match (entry.running, running) {
            // An additional replica runs only on request.
            (None, _) if matches!(entry.name, Name::Service(_, 2..)) => None,
            (None, _) => Some(format!("was stopped; `dp start {}` starts it", entry.name)),
            (Some(_), None) => Some(match process::last_error(&self.log_since_start(entry)) {
                Some(error) => format!("ended: {error}"),
                None => "ended, and its log names no reason (kill -9, for example)".to_owned(),
            })
            .map(|ended| format!("{ended}; {}", after_end(entry.name))),
            (_, Some(running)) if running.is_frozen() => Some(FROZEN.to_owned()),
            _ => None,
        };
        let condition = match running {
            None => Condition::Stopped,
            Some(running) if running.is_frozen() => Condition::Frozen,
            Some(_) => Condition::Running,
        };
        ProcessStatus {
            name: entry.name,
            condition,
            pid: running.map(|running| running.pid),
            port: entry.port,
            uptime_seconds: running.and_then(Running::uptime).map(|uptime| uptime.as_secs()),
            usage: running.and_then(|running| process::usage(running.pid)),
            log: self.config.log(entry.name),
            why,
        }
    }

    /// The log of the process since its start, at most the last 64 KiB.
    pub(super) fn log_since_start(&self, entry: &Entry) -> String {
        const MOST: u64 = 64 << 10;
        let mut text = Vec::new();
        if let Ok(mut file) = fs::File::open(self.config.log(entry.name)) {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            // If the log is shorter than before, it has been rotated.
            let began = if entry.log_offset > length { 0 } else { entry.log_offset };
            let from = began.max(length.saturating_sub(MOST));
            // An unreadable log has no text: the caller's error names its path.
            let _unreadable = file
                .seek(SeekFrom::Start(from))
                .and_then(|_| file.read_to_end(&mut text));
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use nix::sys::signal::Signal;

    use super::*;
    use crate::config::StackConfig;
    use crate::error::StackError;
    use crate::name::{Server, Service};
    use crate::ports::Ports;
    use crate::process::POLL;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A stack in this folder, with a process of this name that ignores SIGTERM and is frozen.
    fn with_frozen(dir: &std::path::Path, name: Name) -> Stack {
        let stack = Stack::new(StackConfig::new(dir.to_owned(), Ports::with_offset(0).unwrap())).unwrap();
        let ignoring = "trap '' TERM; echo ready; while :; do sleep 60; done";
        let mut command = Command::new("sh");
        command.args(["-c", ignoring]);
        let (mut output, input) = std::io::pipe().unwrap();
        let running = process::spawn(command.stdout(input)).unwrap();
        let mut ready = [0; 5];
        output.read_exact(&mut ready).unwrap();
        let mut state = stack.state().unwrap();
        state.record(Entry {
            name,
            port: 1,
            running: Some(running),
            log_offset: 0,
        });
        state.save(dir).unwrap();
        assert!(running.signal(Signal::SIGSTOP));
        let deadline = Instant::now() + LIMIT;
        while !running.is_frozen() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        stack
    }

    #[test]
    fn nobody_waits_for_a_frozen_process_and_the_error_says_how_to_restart_it() {
        let dir = tempfile::tempdir().unwrap();
        let stack = with_frozen(dir.path(), Server::ClickHouse.into());
        let waited = stack.wait_ready(Server::ClickHouse, LIMIT).unwrap_err();
        assert!(matches!(waited, StackError::Frozen(_)), "{waited}");
        assert!(waited.to_string().contains("`dp restart clickhouse`"), "{waited}");
        assert!(stack.refuse_frozen(Server::ClickHouse).is_err());
        assert!(stack.refuse_frozen(Server::Redis).is_ok(), "it does not run");
        stack.kill9(Server::ClickHouse).unwrap();
        assert!(stack.refuse_frozen(Server::ClickHouse).is_ok());
    }

    #[test]
    fn a_frozen_service_is_not_given_the_time_to_drain() {
        let dir = tempfile::tempdir().unwrap();
        let stack = with_frozen(dir.path(), Service::Projection.into());
        let began = Instant::now();
        assert!(stack.stop(Service::Projection).unwrap());
        assert!(began.elapsed() < LIMIT);
    }
}
