//! Real servers that accept only secured connections: TLS with certificates of an
//! [`Authority`](crate::certificates::Authority), users with passwords, and only the rights that a test grants.
//!
//! Role: PostgreSQL, PgBouncer, Redis, a Redis cluster, Redis with a sentinel, and a TLS front for a server without TLS.
//! Invariants: each server has its own port on 127.0.0.1 and its own folder. It is stopped when its value is dropped, or when
//! the thread that started it ends.
//! Failure: an error that names the program, with its log.

pub mod documented;
pub mod front;
pub mod postgres;
pub mod redis;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use anyhow::{Context as _, bail};
use procfs::process::Process;

const POLL: Duration = Duration::from_millis(20);

/// A server process. It is stopped when dropped.
struct Running {
    child: Child,
    log: PathBuf,
    /// The signal that stops it immediately.
    signal: &'static str,
}

impl Running {
    fn start(mut command: Command, log: PathBuf, signal: &'static str) -> anyhow::Result<Running> {
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Running { child, log, signal })
    }

    /// Waits until the server accepts connections at this port.
    fn wait_for(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                bail!("nothing listens at port {port}: {}", self.log_text());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        // An error means that the process has already ended.
        let _ended = Command::new("kill").args([self.signal, &pid]).output();
        let _status = self.child.wait();
    }
}

/// A free port.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A program that ends with this thread. As root, it runs as user `postgres`, because PostgreSQL and PgBouncer refuse to run
/// as root.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg(program);
    command
}

/// As root, makes user `postgres` the owner of a folder and its contents.
fn give_away(folder: &Path) -> anyhow::Result<()> {
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder))?;
    }
    Ok(())
}

fn is_root() -> bool {
    Process::myself()
        .and_then(|process| process.uid())
        .is_ok_and(|user| user == 0)
}

/// Runs a program until it ends. Returns its output.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Writes a file that only its owner can read.
fn private(path: &Path, contents: &str) -> anyhow::Result<()> {
    fs::write(path, contents).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// An empty folder that other users may pass through.
fn folder(name: &str) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix(name).tempdir_in("/var/tmp")?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
    Ok(folder)
}
