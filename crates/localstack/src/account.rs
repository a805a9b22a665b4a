//! The user that a server runs as: the caller, or an unprivileged user if the caller is root.
//!
//! Invariants: no server runs as root. A server's user owns the server's folder and no other file of the machine, so clients
//! can make the server read or write only its own files. PostgreSQL does not run as a user without a name, so it runs as
//! `postgres`, which its package creates; every other server has its own user id without an account.
//! Failure: a folder or program that the user cannot access is named, with the remedy.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Uid, User, geteuid};

use crate::config::StackConfig;
use crate::error::StackError;
use crate::name::Server;
use crate::process;
use crate::tools;

/// User ids above those that Debian gives to packages and below systemd's dynamic ones.
const FIRST_ID: u32 = 60_940;
/// Number of ids that a server may choose from.
const IDS: u32 = 10;

/// Variables of the caller that are passed to a server; all others may contain secrets.
const PASSED_ON: [&str; 7] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "JAVA_HOME",
    "JAVA_TOOL_OPTIONS",
];

/// The user that a server runs as.
#[derive(Debug, Clone)]
pub(crate) struct Account(Option<Other>);

/// A user other than the caller.
#[derive(Debug, Clone)]
struct Other {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl Account {
    /// The user of this server.
    pub(crate) fn of(server: Server, config: &StackConfig) -> Result<Account, StackError> {
        if !geteuid().is_root() {
            return Ok(Account(None));
        }
        let home = config.server_dir(server);
        let first = match server {
            Server::Postgres => return Account::of_postgres(),
            Server::Kafka => FIRST_ID,
            Server::ClickHouse => FIRST_ID + IDS,
            Server::Redis => FIRST_ID + 2 * IDS,
        };
        let is_unused = |id: &u32| matches!(User::from_uid(Uid::from_raw(*id)), Ok(None));
        match (first..first + IDS).find(is_unused) {
            Some(id) => Ok(Account(Some(Other { uid: id, gid: id, home }))),
            None => Err(StackError::Refused(format!(
                "the user ids {first} to {} all have accounts: {} must not run as root, so start the stack as another user",
                first + IDS - 1,
                server.name()
            ))),
        }
    }

    fn of_postgres() -> Result<Account, StackError> {
        match User::from_name("postgres") {
            Ok(Some(user)) => Ok(Account(Some(Other {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                home: user.dir,
            }))),
            _ => Err(StackError::Refused(
                "user `postgres` does not exist, and PostgreSQL refuses to run as root: apt-get install postgresql creates it"
                    .to_owned(),
            )),
        }
    }

    /// Whether it is a user other than the caller.
    pub(crate) fn is_other(&self) -> bool {
        self.0.is_some()
    }

    /// `uid:gid` of a user other than the caller.
    pub(crate) fn ids(&self) -> Option<String> {
        self.0.as_ref().map(|other| format!("{}:{}", other.uid, other.gid))
    }

    /// Creates the server's folder, accessible to this user only, and checks that the user can enter it.
    pub(crate) fn take(&self, config: &StackConfig, dir: &Path) -> Result<(), StackError> {
        fs::create_dir_all(dir).map_err(StackError::io("create", dir))?;
        let Some(other) = &self.0 else {
            return set_mode(dir, 0o700);
        };
        // A temporary folder is closed to others, so the stack's folder must allow passing through.
        let mode = fs::metadata(&config.dir)
            .map_err(StackError::io("read", &config.dir))?
            .permissions()
            .mode();
        set_mode(&config.dir, mode | 0o111)?;
        let owner = fs::symlink_metadata(dir).map_err(StackError::io("read", dir))?.uid();
        if owner != other.uid {
            other.own_tree(dir)?;
        }
        set_mode(dir, 0o700)?;
        if self.can(config, "-x", dir) {
            return Ok(());
        }
        Err(StackError::Refused(format!(
            "user {}, which runs the server, cannot enter {}: use --dir with a folder that others can pass through, for example \
             below /var/tmp",
            other.uid,
            dir.display()
        )))
    }

    /// Makes the user the owner of a file or folder.
    pub(crate) fn own(&self, path: &Path) -> Result<(), StackError> {
        match &self.0 {
            Some(other) => other.own(path),
            None => Ok(()),
        }
    }

    /// Fails if the user may not run the program.
    pub(crate) fn check_runs(&self, config: &StackConfig, program: &Path) -> Result<(), StackError> {
        match &self.0 {
            Some(other) if !self.can(config, "-x", program) => Err(StackError::Refused(format!(
                "user {}, which runs the server, may not run {}: install it for all users (apt-get), and put it first in PATH",
                other.uid,
                program.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The program, run as this user in the foreground of this process.
    pub(crate) fn command(&self, config: &StackConfig, program: &Path) -> Result<Command, StackError> {
        if self.0.is_none() {
            return Ok(self.confined(Command::new(program)));
        }
        let setpriv = config.tools().find(tools::SETPRIV)?;
        Ok(self.confined(self.switch(Command::new(setpriv), program)))
    }

    /// The program, run as this user for as long as the stack runs.
    pub(crate) fn launcher(&self, config: &StackConfig, program: &Path) -> Result<Command, StackError> {
        if self.0.is_none() {
            return Ok(self.confined(super::servers::launcher(config, program)?));
        }
        let setpriv = config.tools().find(tools::SETPRIV)?;
        let command = super::servers::launcher(config, &setpriv)?;
        Ok(self.confined(self.switch(command, program)))
    }

    /// Limits the command's environment to the variables that a server needs.
    pub(crate) fn confined(&self, mut command: Command) -> Command {
        let passed_on = PASSED_ON
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)));
        command.env_clear().envs(passed_on);
        match &self.0 {
            Some(other) => command.env("HOME", &other.home),
            None => command.envs(std::env::var_os("HOME").map(|home| ("HOME", home))),
        };
        command
    }

    fn switch(&self, mut command: Command, program: &Path) -> Command {
        if let Some(other) = &self.0 {
            command
                .arg(format!("--reuid={}", other.uid))
                .arg(format!("--regid={}", other.gid))
                .args(["--clear-groups", "--no-new-privs"]);
        }
        command.arg(program);
        command
    }

    fn can(&self, config: &StackConfig, what: &str, path: &Path) -> bool {
        let test = self.command(config, Path::new("test"));
        test.is_ok_and(|mut test| process::run_to_end(test.arg(what).arg(path)).is_ok())
    }
}

impl Other {
    /// Never follows a symbolic link, since the server may have created one.
    fn own(&self, path: &Path) -> Result<(), StackError> {
        lchown(path, Some(self.uid), Some(self.gid)).map_err(StackError::io("give away", path))
    }

    /// A folder that was created while servers still ran as another user; the folder itself comes last, so that an interrupted
    /// start is repeated.
    fn own_tree(&self, dir: &Path) -> Result<(), StackError> {
        for entry in fs::read_dir(dir).map_err(StackError::io("read", dir))? {
            let entry = entry.map_err(StackError::io("read", dir))?;
            let kind = entry.file_type().map_err(StackError::io("read", &entry.path()))?;
            if kind.is_dir() {
                self.own_tree(&entry.path())?;
            } else {
                self.own(&entry.path())?;
            }
        }
        self.own(dir)
    }
}

/// Sets the permissions of a file or folder of ours.
pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<(), StackError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(StackError::io("set the permissions of", path))
}
