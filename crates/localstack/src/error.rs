//! What can go wrong with the stack, each as one line that says what happened, where, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the local stack.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StackError {
    /// Programs that the stack needs are not installed.
    #[error("missing: {}", .0.join(", "))]
    MissingTools(Vec<String>),
    /// A program is installed in a version that does not do.
    #[error("{tool} is version {found}, {needed} is needed: {remedy}")]
    WrongVersion {
        tool: &'static str,
        found: String,
        needed: &'static str,
        remedy: &'static str,
    },
    /// Somebody else listens on a port of ours.
    #[error(
        "port {port} ({user}) is taken by {holder}: stop that, or start this stack beside it with `dp up --port-offset 1000`"
    )]
    PortBusy { port: u16, user: String, holder: String },
    /// Too little space, found before or while writing.
    #[error("no space left at {path}: {detail}; free some, or choose another place with {option}")]
    DiskFull {
        path: PathBuf,
        detail: String,
        option: &'static str,
    },
    /// A download did not come.
    #[error("{what} could not be fetched: {reason}; check the network and the settings of {client}, then try again")]
    Fetch {
        what: &'static str,
        client: &'static str,
        reason: String,
    },
    /// A download came, and is not what was pinned.
    #[error(
        "{what} has checksum {found} instead of {expected}: the download is damaged or was replaced, nothing was kept"
    )]
    Checksum {
        what: &'static str,
        found: String,
        expected: &'static str,
    },
    /// A process ended while it was waited for.
    #[error("{name} ended while starting: {last_line} (log: {log})", log = .log.display())]
    Died {
        name: String,
        last_line: String,
        log: PathBuf,
    },
    /// A process runs and does not answer.
    #[error("{name} did not get ready within {seconds} s: {last_line} (log: {log})", log = .log.display())]
    NotReady {
        name: String,
        seconds: u64,
        last_line: String,
        log: PathBuf,
    },
    /// A process that should run does not.
    #[error("{0} is not running; `dp status` shows what is")]
    NotRunning(String),
    /// A helper program failed.
    #[error("{program} failed: {message}")]
    Command { program: String, message: String },
    /// The request does not fit the state of the folder.
    #[error("{0}")]
    Refused(String),
    /// The user pressed Ctrl-C.
    #[error("interrupted; what had been started was stopped again")]
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
    /// Wraps an I/O error; a full disk becomes its own error, since its remedy differs.
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
