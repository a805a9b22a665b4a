//! Errors of the stack, each as one line: what happened, where, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the local stack.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StackError {
    /// Programs that the stack needs are not installed.
    #[error("missing: {}", .0.join(", "))]
    MissingTools(Vec<String>),
    /// The installed version of a program is too old.
    #[error("{tool} is version {found}, {needed} is needed: {remedy}")]
    WrongVersion {
        tool: &'static str,
        found: String,
        needed: &'static str,
        remedy: &'static str,
    },
    /// Another process listens on one of our ports.
    #[error(
        "port {port} ({user}) is taken by {holder}: stop it, or start this stack on other ports with `dp up --port-offset 1000`"
    )]
    PortBusy { port: u16, user: String, holder: String },
    /// Too little disk space, detected before or while writing.
    #[error("no space left at {path}: {detail}; free some, or choose another folder with {option}")]
    DiskFull {
        path: PathBuf,
        detail: String,
        option: &'static str,
    },
    /// A download failed.
    #[error("{what} could not be downloaded: {reason}; check the network and the settings of {client}, then try again")]
    Fetch {
        what: &'static str,
        client: &'static str,
        reason: String,
    },
    /// A download differs from the pinned content.
    #[error(
        "{what} has checksum {found} instead of {expected}: the download is damaged or was replaced; it was discarded"
    )]
    Checksum {
        what: &'static str,
        found: String,
        expected: &'static str,
    },
    /// A process ended during its start-up.
    #[error("{name} ended while starting: {last_line} (log: {log})", log = .log.display())]
    Died {
        name: String,
        last_line: String,
        log: PathBuf,
    },
    /// A process runs but does not become ready.
    #[error("{name} was not ready within {seconds} s: {last_line} (log: {log})", log = .log.display())]
    NotReady {
        name: String,
        seconds: u64,
        last_line: String,
        log: PathBuf,
    },
    /// A process runs, and something has frozen it: waiting would be in vain.
    #[error("{0} is frozen (SIGSTOP), so it cannot become ready: `dp restart {0}`")]
    Frozen(String),
    /// A process is not running.
    #[error("{0} is not running; `dp status` shows the running processes")]
    NotRunning(String),
    /// A helper program failed.
    #[error("{program} failed: {message}")]
    Command { program: String, message: String },
    /// The request does not match the state of the folder.
    #[error("{0}")]
    Refused(String),
    /// The user pressed Ctrl-C.
    #[error("interrupted; every process that was started was stopped again")]
    Interrupted,
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl StackError {
    /// Wraps an I/O error; a full disk is a separate error, since its remedy differs.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StackError {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StackError::DiskFull {
                path,
                detail: format!("cannot {action} it ({source})"),
                option: "--dir or DATA_PROC_CACHE",
            },
            _ => StackError::Io { action, path, source },
        }
    }
}
