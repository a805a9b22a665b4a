//! Processes, identified by pid and start time: start detached, inspect, signal, wait.
//!
//! Invariant: a signal is sent only to a process whose start time is the recorded one; a reused pid counts as ended.
//! Zombies count as ended, and are reaped if they are children of ours.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use procfs::Current;
use procfs::process::{Process, Stat, all_processes};
use serde::{Deserialize, Serialize};

use crate::error::StackError;

pub(crate) const POLL: Duration = Duration::from_millis(20);
/// Poll interval for helper programs, most of which end soon.
const HELPER_POLL: Duration = Duration::from_millis(2);

/// One run of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Process id.
    pub(crate) pid: i32,
    /// Start time in ticks since boot, from `/proc/<pid>/stat`.
    pub(crate) start_ticks: u64,
}

/// Resources of a process and its descendants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Resident memory in bytes; shared memory counts for each process.
    pub resident_bytes: u64,
    /// CPU time since the start, user and system, in seconds; includes ended children.
    pub cpu_seconds: f64,
}

impl Running {
    /// The process that has just been spawned.
    pub(crate) fn of(child: &Child) -> Result<Running, StackError> {
        Running::with_pid(child.id() as i32)
    }

    /// This process.
    pub(crate) fn this() -> Result<Running, StackError> {
        Running::with_pid(std::process::id() as i32)
    }

    fn with_pid(pid: i32) -> Result<Running, StackError> {
        match read_stat(pid) {
            Some(stat) => Ok(Running {
                pid,
                start_ticks: stat.starttime,
            }),
            None => Err(StackError::Refused(format!(
                "process {pid} vanished from /proc during its start"
            ))),
        }
    }

    fn stat(self) -> Option<Stat> {
        read_stat(self.pid).filter(|stat| stat.starttime == self.start_ticks)
    }

    /// Whether it still runs (or is frozen).
    pub(crate) fn is_alive(self) -> bool {
        match self.stat() {
            // The first thread has ended; while others run, files and ports are still held.
            Some(stat) if stat.state == 'Z' && stat.num_threads > 1 => true,
            Some(stat) if stat.state == 'Z' => {
                // An ended child of ours: take its exit status, so that it leaves the process table.
                let _not_our_child = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
                false
            }
            Some(stat) => stat.state != 'X',
            None => false,
        }
    }

    /// Whether it is frozen by SIGSTOP.
    pub(crate) fn is_frozen(self) -> bool {
        self.stat().is_some_and(|stat| stat.state == 'T')
    }

    /// Sends a signal; false if the process has ended.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        self.is_alive() && signal::kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// Waits until it has ended; false if it has not within `limit`.
    pub(crate) fn wait_gone(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    /// It and its current descendants.
    pub(crate) fn with_descendants(self) -> Vec<Running> {
        let table = all_stats();
        let mut family = vec![self];
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            let children = table.iter().filter(|stat| stat.ppid == parent.pid);
            family.extend(children.map(|stat| Running {
                pid: stat.pid,
                start_ticks: stat.starttime,
            }));
            next += 1;
        }
        family
    }

    /// Sends SIGKILL to it and its descendants, then waits until they have ended.
    ///
    /// The descendants matter for PostgreSQL only: backends that outlive the postmaster keep its shared memory, and prevent a
    /// new start until they notice.
    pub(crate) fn kill_tree(self, limit: Duration) -> bool {
        let family = self.with_descendants();
        for process in &family {
            process.signal(Signal::SIGKILL);
        }
        family.into_iter().all(|process| process.wait_gone(limit))
    }

    /// Seconds since it started.
    pub(crate) fn uptime(self) -> Option<Duration> {
        let since_boot = procfs::Uptime::current().ok()?.uptime;
        Duration::try_from_secs_f64(since_boot - seconds(self.start_ticks)).ok()
    }
}

/// Current resources of a process and its descendants; `None` if it does not exist.
pub fn usage(pid: i32) -> Option<Usage> {
    let stat = read_stat(pid)?;
    let family = Running {
        pid,
        start_ticks: stat.starttime,
    }
    .with_descendants();
    Some(
        family
            .into_iter()
            .filter_map(Running::stat)
            .fold(Usage::default(), |sum, stat| {
                let of_children = stat.cutime.max(0) as u64 + stat.cstime.max(0) as u64;
                Usage {
                    resident_bytes: sum.resident_bytes + stat.rss * procfs::page_size(),
                    cpu_seconds: sum.cpu_seconds + seconds(stat.utime + stat.stime + of_children),
                }
            }),
    )
}

/// Spawns the command and drops the handle: the stack finds its processes by their [`Running`].
pub(crate) fn spawn(command: &mut Command) -> Result<Running, StackError> {
    let program = command.get_program().to_owned();
    let child = command.spawn().map_err(|error| StackError::Command {
        program: program.to_string_lossy().into_owned(),
        message: error.to_string(),
    })?;
    Running::of(&child)
}

/// Runs a helper program until it ends; if it fails, its output is part of the error.
pub(crate) fn run_to_end(command: &mut Command) -> Result<String, StackError> {
    run_until(command, &AtomicBool::new(false))
}

/// As [`run_to_end`], for a program that may run long: it is killed once `interrupted` is set.
pub(crate) fn run_until(command: &mut Command, interrupted: &AtomicBool) -> Result<String, StackError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |message: String| StackError::Command {
        program: program.clone(),
        message,
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let running = Running::of(&child);
    let waiting = std::thread::spawn(move || child.wait_with_output());
    while !waiting.is_finished() {
        if interrupted.load(Ordering::Relaxed) {
            if let Ok(running) = running {
                running.kill_tree(POLL);
            }
            return Err(StackError::Interrupted);
        }
        std::thread::sleep(HELPER_POLL);
    }
    let output = waiting
        .join()
        .map_err(|_| failed("its output could not be read".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout) + &text(&output.stderr));
    }
    let all = text(&output.stdout) + "\n" + &text(&output.stderr);
    Err(failed(format!("{} ({})", telling_line(&all), output.status)))
}

/// The most informative line of a log after a failure: all FATAL lines of our services, else the first error, else the last
/// line that is not part of a stack trace.
pub(crate) fn telling_line(log: &str) -> String {
    let lines = || {
        log.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("at "))
    };
    let entries = || lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    let fatal: Vec<String> = entries()
        .filter(|entry| entry.level == "FATAL")
        .map(Entry::told)
        .collect();
    if !fatal.is_empty() {
        return fatal.join("; ");
    }
    let line = lines()
        .find(|line| is_error(line) && !is_warning(line))
        .or_else(|| lines().next_back())
        .unwrap_or("no output");
    match serde_json::from_str::<Entry>(line) {
        Ok(entry) => entry.told(),
        Err(_) => line.chars().take(300).collect(),
    }
}

/// The error at the end of a log: all FATAL lines of our services, else the last line if it is an error. An earlier error
/// did not end the process.
pub(crate) fn last_error(log: &str) -> Option<String> {
    let told = telling_line(log);
    let has_fatal = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Entry>(line.trim()).ok())
        .any(|entry| entry.level == "FATAL");
    let mut from_the_end = log
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("at "));
    let last = from_the_end.next()?;
    // Kafka writes the exception of a warning on a line of its own.
    let belongs_to_a_warning =
        !last.starts_with('[') && from_the_end.next().is_some_and(|line| line.contains(" WARN "));
    let is_told = has_fatal || is_error(last) && !belongs_to_a_warning;
    is_told.then(|| if has_fatal { told } else { telling_line(last) })
}

fn is_error(line: &str) -> bool {
    ["ERROR", "FATAL", "Exception", "error:", "npm error"]
        .iter()
        .any(|word| line.contains(word))
}

/// A service goes on after a warning, whatever error it names.
fn is_warning(line: &str) -> bool {
    serde_json::from_str::<Entry>(line).is_ok_and(|entry| entry.level == "WARN")
}

/// A log line of one of our services.
#[derive(Deserialize)]
struct Entry {
    level: String,
    message: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

impl Entry {
    fn told(self) -> String {
        match self.error.or(self.reason) {
            Some(why) => format!("{}: {why}", self.message),
            None => self.message,
        }
    }
}

/// A process whose working directory is this folder (an absolute path without symbolic links), except zombies.
pub(crate) fn working_in(folder: &Path) -> Option<i32> {
    all_processes()
        .ok()?
        .flatten()
        .filter(Process::is_alive)
        .find(|process| process.cwd().is_ok_and(|cwd| cwd == folder))
        .map(|process| process.pid)
}

fn all_stats() -> Vec<Stat> {
    all_processes().map_or_else(
        |_| Vec::new(),
        |processes| processes.flatten().filter_map(|process| process.stat().ok()).collect(),
    )
}

fn read_stat(pid: i32) -> Option<Stat> {
    Process::new(pid).and_then(|process| process.stat()).ok()
}

/// Seconds of a time that `/proc` gives in ticks.
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / procfs::ticks_per_second() as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_reused_pid_counts_as_ended_and_is_never_signalled() {
        let sleeper = spawn(Command::new("sleep").arg("60")).unwrap();
        let earlier = Running {
            start_ticks: sleeper.start_ticks - 1,
            ..sleeper
        };
        assert!(sleeper.is_alive() && !earlier.is_alive());
        assert!(!earlier.signal(Signal::SIGKILL));
        assert!(sleeper.is_alive());
        assert!(sleeper.kill_tree(LIMIT));
        assert!(!sleeper.is_alive());
    }

    #[test]
    fn descendants_end_with_their_ancestor() {
        let shell = spawn(Command::new("sh").args(["-c", "sleep 60 & sleep 60; true"])).unwrap();
        let deadline = Instant::now() + LIMIT;
        while shell.with_descendants().len() < 3 && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let family = shell.with_descendants();
        assert_eq!(family.len(), 3);
        assert!(shell.kill_tree(LIMIT));
        assert!(family.into_iter().all(|process| !process.is_alive()));
    }

    #[test]
    fn a_frozen_process_is_detected() {
        let sleeper = spawn(Command::new("sleep").arg("60")).unwrap();
        assert!(sleeper.signal(Signal::SIGSTOP));
        let deadline = Instant::now() + LIMIT;
        while !sleeper.is_frozen() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        assert!(sleeper.is_frozen());
        assert!(sleeper.kill_tree(LIMIT));
    }

    #[test]
    fn a_long_helper_program_ends_when_it_is_interrupted() {
        assert_eq!(run_to_end(Command::new("echo").arg("a")).unwrap(), "a\n");
        let failed = run_to_end(Command::new("sh").args(["-c", "echo 'error: x' >&2; exit 3"])).unwrap_err();
        assert!(failed.to_string().contains("error: x (exit status: 3)"), "{failed}");
        let began = Instant::now();
        let result = run_until(Command::new("sleep").arg("60"), &AtomicBool::new(true));
        assert!(matches!(result, Err(StackError::Interrupted)), "{result:?}");
        assert!(began.elapsed() < LIMIT);
    }

    #[test]
    fn the_most_informative_line_of_a_log_is_found() {
        assert_eq!(
            telling_line("INFO a\nERROR port taken\n\tat x.Y(Z.java)\nINFO shutting down\n"),
            "ERROR port taken"
        );
        assert_eq!(telling_line("[ERROR] cause\n[ERROR] read more at"), "[ERROR] cause");
        assert_eq!(telling_line("one\ntwo\n\n"), "two");
        assert_eq!(telling_line(""), "no output");
    }

    #[test]
    fn only_an_error_at_the_end_of_a_log_explains_the_end() {
        assert_eq!(last_error("ERROR once\nINFO serving\n"), None);
        assert_eq!(last_error(""), None);
        let warned = "[2026-11-30 10:55:06] WARN Unexpected error from /127.0.0.1 (Selector)\n\
                      org.apache.kafka.common.network.InvalidReceiveException: Invalid receive\n\tat x.Y(Z.java)\n";
        assert_eq!(last_error(warned), None);
        assert!(last_error(&warned.replace("WARN", "ERROR")).is_some());
        assert_eq!(
            last_error("INFO a\nERROR port taken\n\tat x.Y(Z.java)\n").as_deref(),
            Some("ERROR port taken")
        );
        let fatal = r#"{"level":"FATAL","message":"refused","error":"no table"}
{"level":"INFO","message":"stopped"}"#;
        assert_eq!(last_error(fatal).as_deref(), Some("refused: no table"));
    }

    #[test]
    fn all_fatal_lines_of_our_services_are_shown_as_text() {
        let log = r#"{"level":"INFO","message":"hello"}
{"level":"ERROR","message":"refused","reason":"no price"}
"#;
        assert_eq!(telling_line(log), "refused: no price");
        let fatal = r#"{"level":"FATAL","message":"configuration rejected","error":"A must be 1"}
{"level":"FATAL","message":"configuration rejected","error":"B must be 2"}"#;
        assert_eq!(
            telling_line(&format!("{log}{fatal}")),
            "configuration rejected: A must be 1; configuration rejected: B must be 2"
        );
    }
}
