//! The configuration of a stack: its folder, ports, programs, and the locations of its files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::geteuid;

use crate::account::set_mode;
use crate::cache::Cache;
use crate::error::StackError;
use crate::name::{Name, Server, Service};
use crate::ports::Ports;
use crate::tools::Tools;

/// How to run one stack. Fields may be changed before [`crate::Stack::new`].
#[derive(Debug, Clone)]
pub struct StackConfig {
    /// Folder of data, logs and `stack.json`.
    pub dir: PathBuf,
    /// The ports of all processes.
    pub ports: Ports,
    /// Folder of `dp-clickhouse` and of the services' binaries; default: that of the running program.
    pub bin_dir: PathBuf,
    /// Folder of the services' binaries, if they are not in `bin_dir`: for another build of them. Later commands use `bin_dir` again.
    pub service_dir: Option<PathBuf>,
    /// Folder of downloads; default: `$DATA_PROC_CACHE`, else `~/.cache/254carbon`.
    pub cache: PathBuf,
    /// Where programs such as `java` are searched; default: `$PATH` and Debian's folders.
    pub path: Option<OsString>,
    /// Whether processes get their own session, so that they outlive the terminal. Default true.
    pub detached: bool,
    /// Whether the stack runs on one core while the machine is quiet (`cores`). Default false.
    pub quiet_core: bool,
    /// Whether the progress of long steps is shown on stderr. Default false.
    pub progress: bool,
    /// ClickHouse's `users.xml`, for tests that need users with passwords and grants. Default: one user without a password.
    pub clickhouse_users: Option<String>,
    /// Environment of the services in addition to [`crate::Stack::env`], which it may override.
    pub service_env: BTreeMap<String, String>,
    /// Set by a signal handler: the current operation ends soon, and stops the processes it has started.
    pub interrupted: Arc<AtomicBool>,
}

impl StackConfig {
    /// The defaults for this folder and these ports.
    pub fn new(dir: impl Into<PathBuf>, ports: Ports) -> StackConfig {
        StackConfig {
            dir: dir.into(),
            ports,
            bin_dir: own_bin_dir(),
            service_dir: None,
            cache: Cache::default_root(),
            path: None,
            detached: true,
            quiet_core: false,
            progress: false,
            clickhouse_users: None,
            service_env: BTreeMap::new(),
            interrupted: Arc::default(),
        }
    }

    pub(crate) fn tools(&self) -> Tools {
        match &self.path {
            Some(path) => Tools::new(path, false),
            None => Tools::new(&std::env::var_os("PATH").unwrap_or_default(), true),
        }
    }

    /// Fails if [`StackConfig::interrupted`] is set.
    ///
    /// # Errors
    /// [`StackError::Interrupted`].
    pub fn check_interrupted(&self) -> Result<(), StackError> {
        if self.interrupted.load(Ordering::Relaxed) {
            Err(StackError::Interrupted)
        } else {
            Ok(())
        }
    }

    /// One of our own programs.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf, StackError> {
        program_in(&self.bin_dir, name)
    }

    /// The program of a service.
    pub(crate) fn service_program(&self, service: Service) -> Result<PathBuf, StackError> {
        program_in(self.service_dir.as_ref().unwrap_or(&self.bin_dir), service.name())
    }

    pub(crate) fn server_dir(&self, server: Server) -> PathBuf {
        self.dir.join(server.name())
    }

    /// The instance id of a replica in its consumer groups. Names are unique within a stack, and the port tells stacks apart.
    pub fn instance_id(&self, replica: Name) -> String {
        format!("{replica}-{}", self.ports.kafka)
    }

    pub(crate) fn log(&self, name: Name) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }
}

fn program_in(folder: &Path, name: &str) -> Result<PathBuf, StackError> {
    let program = folder.join(name);
    if program.is_file() {
        return Ok(program);
    }
    let message = format!(
        "{} is missing: build it with `cargo build --release --workspace --bins`",
        program.display()
    );
    Err(StackError::Refused(message))
}

/// The folder of the stack with this port offset: `/var/tmp/254carbon-<uid>/stack[-<offset>]`.
///
/// Not below the home folder, because PostgreSQL does not run as root, and its user cannot enter root's home.
pub fn default_dir(offset: u16) -> PathBuf {
    let name = if offset == 0 {
        "stack".to_owned()
    } else {
        format!("stack-{offset}")
    };
    own_root().join(name)
}

fn own_root() -> PathBuf {
    PathBuf::from(format!("/var/tmp/254carbon-{}", geteuid()))
}

/// Creates the folder of a stack. If the caller is root, the servers' users may pass through it but cannot list it.
pub(crate) fn prepare_dir(dir: &Path) -> Result<(), StackError> {
    let root = own_root();
    if dir.starts_with(&root) {
        make_dir(&root)?;
        // /var/tmp is writable for all users: another user may have created the folder to read what we write there.
        let owner = fs::symlink_metadata(&root).map_err(StackError::io("read", &root))?;
        if owner.uid() != geteuid().as_raw() || !owner.is_dir() {
            return Err(StackError::Refused(format!(
                "{} belongs to another user: use --dir",
                root.display()
            )));
        }
    }
    make_dir(dir)?;
    let logs = dir.join("logs");
    make_dir(&logs)?;
    // An earlier version created it readable for all users.
    set_mode(&logs, 0o700)
}

fn make_dir(dir: &Path) -> Result<(), StackError> {
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(dir)
        .map_err(StackError::io("create", dir))
}

/// The folder of the running program; test programs are one level deeper, in `deps`.
fn own_bin_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    folder.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_with_different_offsets_have_different_folders() {
        assert!(default_dir(0).ends_with("stack"));
        assert!(default_dir(1000).ends_with("stack-1000"));
        assert!(default_dir(0).starts_with("/var/tmp"));
    }

    #[test]
    fn programs_are_found_next_to_a_test_program() {
        assert!(!own_bin_dir().ends_with("deps"));
    }
}
