//! A stack for tests: separate ports and folder, and complete clean-up however the test ends.
//!
//! A test that is killed, or that keeps its stack in a `static`, never drops it. So a small shell waits on a pipe from
//! the test process. When the pipe closes, for any reason, the shell kills the processes in `pids` and removes the folder.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

use crate::config::StackConfig;
use crate::error::StackError;
use crate::ports::Ports;
use crate::stack::Stack;
use crate::state;

const WATCH: &str = "cat >/dev/null; while read -r pid; do kill -9 \"$pid\"; done <\"$1\"; sleep 1; rm -rf \"$2\"";

/// A stack that is removed when the test ends. Dereferences to [`Stack`]; the test starts the processes it needs.
#[derive(Debug)]
pub struct Temporary {
    stack: Stack,
    dir: Option<TempDir>,
    /// Closed last, see [`Drop`].
    watch: Option<(ChildStdin, Child)>,
}

impl Temporary {
    /// A stack with free ports and an empty folder below `/var/tmp`.
    pub fn new() -> Result<Temporary, StackError> {
        Temporary::with(|_| {})
    }

    /// As [`Temporary::new`], with a changed configuration.
    pub fn with(change: impl FnOnce(&mut StackConfig)) -> Result<Temporary, StackError> {
        // On a real disk, since /tmp may be in memory. PostgreSQL's user can enter it.
        let parent = PathBuf::from("/var/tmp");
        let dir = tempfile::Builder::new()
            .prefix("254carbon-test-")
            .tempdir_in(&parent)
            .map_err(StackError::io("create a folder in", &parent))?;
        let mut config = StackConfig::new(dir.path(), Ports::free()?);
        config.detached = false;
        change(&mut config);
        let stack = Stack::new(config)?;
        let watch = watch(&stack)?;
        Ok(Temporary {
            stack,
            dir: Some(dir),
            watch: Some(watch),
        })
    }
}

impl Deref for Temporary {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl DerefMut for Temporary {
    fn deref_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = self.stack.kill_all() {
            eprintln!("temporary stack: {error}");
        }
        let Some(dir) = self.dir.take() else { return };
        if std::thread::panicking() {
            let kept = PathBuf::from(format!("{}-failed-logs", dir.path().display()));
            if std::fs::rename(dir.path().join("logs"), &kept).is_ok() {
                eprintln!("logs of the failed test's stack: {}", kept.display());
            }
        }
        drop(dir);
        if let Some((input, mut watcher)) = self.watch.take() {
            drop(input);
            // It finds nothing to kill; waiting for it takes a second, and avoids a zombie.
            let _already_gone = watcher.kill().and_then(|()| watcher.wait());
        }
    }
}

fn watch(stack: &Stack) -> Result<(ChildStdin, Child), StackError> {
    let config = stack.config();
    // Its own session: Ctrl-C at the terminal must reach the test only.
    let mut command = Command::new("setsid");
    command
        .args(["sh", "-c", WATCH, "watch"])
        .arg(state::pids_file(&config.dir))
        .arg(&config.dir);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let failed = |message: String| StackError::Command {
        program: "setsid sh".to_owned(),
        message,
    };
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let input = child.stdin.take().ok_or_else(|| failed("it has no input".to_owned()))?;
    Ok((input, child))
}
