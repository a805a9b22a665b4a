//! PostgreSQL of the system's packages: role `user`, password `password`, database `db`, on TCP only.
//!
//! PostgreSQL refuses to run as root: then it runs as the user `postgres`, whom the package makes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};

use super::{launcher, write_config};
use crate::config::StackConfig;
use crate::error::StackError;
use crate::process;
use crate::tools::{self, Tool};

const ROLE: &str = "user";
const PASSWORD: &str = "password";
const DATABASE: &str = "db";

const FORMER_RUN_LIMIT: Duration = Duration::from_secs(20);

const SETTINGS: [&str; 6] = [
    // No socket file: its path may be too long in a temporary folder, and Debian's place needs rights.
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
    // Four services with pools of 20, replicas of each, and people.
    "max_connections=300",
    "shared_buffers=64MB",
    "max_wal_size=512MB",
    "log_checkpoints=off",
];

pub(super) fn prepare(config: &StackConfig, dir: &Path) -> Result<Command, StackError> {
    let postgres = config.tools().find(tools::POSTGRES)?;
    let data = dir.join("data");
    let account = Account::current()?;
    account.let_in(config, dir)?;
    if data.is_dir() {
        check_version(&postgres, &data)?;
        await_former_run(&data)?;
    } else {
        create(config, &account, dir, &data)?;
    }
    let mut command = account.launcher(config, &postgres)?;
    command
        .arg("-D")
        .arg(data)
        .args(["-p", &config.ports.postgres.to_string()]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    Ok(command)
}

pub(super) fn is_ready(config: &StackConfig) -> bool {
    let Ok(program) = config.tools().find(tools::PG_ISREADY) else {
        return false;
    };
    let port = config.ports.postgres.to_string();
    let mut command = Command::new(program);
    command.args([
        "--quiet",
        "--host=127.0.0.1",
        "--port",
        &port,
        "--dbname",
        DATABASE,
        "--username",
        ROLE,
    ]);
    process::run_to_end(&mut command).is_ok()
}

/// Waits until nothing of an earlier run uses the data any more, and removes the lock file that it left behind.
///
/// The processes of a PostgreSQL whose main process was killed end by themselves, a moment later; and as long as the
/// process table remembers the killed one, PostgreSQL takes the lock file for that of a server that runs.
fn await_former_run(data: &Path) -> Result<(), StackError> {
    let folder = fs::canonicalize(data).map_err(StackError::io("find", data))?;
    let deadline = Instant::now() + FORMER_RUN_LIMIT;
    while let Some(pid) = process::working_in(&folder) {
        if Instant::now() >= deadline {
            return Err(StackError::Refused(format!(
                "process {pid} of an earlier run still uses {}: end it with `kill -INT {pid}`",
                data.display()
            )));
        }
        std::thread::sleep(process::POLL);
    }
    let lock = data.join("postmaster.pid");
    match fs::remove_file(&lock) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StackError::io("remove", &lock)(error)),
        _ => Ok(()),
    }
}

/// Makes the data folder with role and database; it appears complete or not at all.
fn create(config: &StackConfig, account: &Account, dir: &Path, data: &Path) -> Result<(), StackError> {
    let unfinished = dir.join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(StackError::io("remove", &unfinished))?;
    }
    let password_file = dir.join("password");
    write_config(&password_file, PASSWORD)?;
    account.own(&password_file)?;
    let mut initdb = account.command(config, tools::INITDB)?;
    initdb
        .arg("-D")
        .arg(&unfinished)
        .arg(format!("--pwfile={}", password_file.display()))
        .current_dir(dir);
    initdb.args([
        "--username",
        ROLE,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]);
    process::run_to_end(&mut initdb)?;
    create_database(account.command(config, tools::POSTGRES)?, &unfinished)?;
    fs::remove_file(&password_file).map_err(StackError::io("remove", &password_file))?;
    fs::rename(&unfinished, data).map_err(StackError::io("rename into", data))
}

/// Makes the database in single-user mode, without a server.
fn create_database(mut command: Command, data: &Path) -> Result<(), StackError> {
    let failed = |message: String| StackError::Command {
        program: "postgres --single".to_owned(),
        message,
    };
    command
        .args(["--single", "-D"])
        .arg(data)
        .arg("postgres")
        .current_dir(data);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(format!("CREATE DATABASE {DATABASE};\n").as_bytes())
            .map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    // In this mode a failed statement does not make a failed exit.
    if output.status.success() && !messages.contains("ERROR:") && !messages.contains("FATAL:") {
        return Ok(());
    }
    Err(failed(process::telling_line(&messages)))
}

/// Fails when the data were made by another major version, which PostgreSQL cannot read.
fn check_version(postgres: &Path, data: &Path) -> Result<(), StackError> {
    let file = data.join("PG_VERSION");
    let made_by = fs::read_to_string(&file).map_err(StackError::io("read", &file))?;
    let output = process::run_to_end(Command::new(postgres).arg("--version"))?;
    let installed = major_version(&output).unwrap_or_default();
    if made_by.trim() == installed {
        return Ok(());
    }
    Err(StackError::Refused(format!(
        "{} was made by PostgreSQL {}, installed is {installed}: install that version, or forget the data with `dp clean-data`",
        data.display(),
        made_by.trim()
    )))
}

/// `15` of `postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)`.
fn major_version(output: &str) -> Option<String> {
    let version = output
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    version
        .split(|letter: char| !letter.is_ascii_digit())
        .next()
        .map(str::to_owned)
}

/// The account that PostgreSQL runs under: `None` is the own one.
struct Account(Option<User>);

impl Account {
    fn current() -> Result<Account, StackError> {
        if !geteuid().is_root() {
            return Ok(Account(None));
        }
        match User::from_name("postgres") {
            Ok(Some(user)) => Ok(Account(Some(user))),
            _ => Err(StackError::Refused(
                "there is no user `postgres`, and PostgreSQL refuses to run as root: apt-get install postgresql makes it".to_owned(),
            )),
        }
    }

    /// Gives the folder to the account, and checks that the account can get there.
    fn let_in(&self, config: &StackConfig, dir: &Path) -> Result<(), StackError> {
        if self.0.is_none() {
            return Ok(());
        }
        // A temporary folder is closed to others; the stack's own folder may be passed through.
        let mode = fs::metadata(&config.dir)
            .map_err(StackError::io("read", &config.dir))?
            .permissions()
            .mode();
        fs::set_permissions(&config.dir, fs::Permissions::from_mode(mode | 0o111))
            .map_err(StackError::io("open", &config.dir))?;
        self.own(dir)?;
        let mut test = self.switch(Command::new(config.tools().find(tools::SETPRIV)?), Path::new("test"));
        test.arg("-x").arg(dir);
        process::run_to_end(&mut test).map(drop).map_err(|_| {
            StackError::Refused(format!(
                "the user postgres cannot enter {}: use --dir with a folder that others may pass through, below /var/tmp for example",
                dir.display()
            ))
        })
    }

    fn own(&self, path: &Path) -> Result<(), StackError> {
        match &self.0 {
            Some(user) => {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(StackError::io("give away", path))
            }
            None => Ok(()),
        }
    }

    /// The program, run as the account in the foreground of this process.
    fn command(&self, config: &StackConfig, tool: Tool) -> Result<Command, StackError> {
        let program = config.tools().find(tool)?;
        match &self.0 {
            Some(_) => Ok(self.switch(Command::new(config.tools().find(tools::SETPRIV)?), &program)),
            None => Ok(Command::new(program)),
        }
    }

    fn launcher(&self, config: &StackConfig, program: &Path) -> Result<Command, StackError> {
        match &self.0 {
            Some(_) => {
                let setpriv: PathBuf = config.tools().find(tools::SETPRIV)?;
                Ok(self.switch(launcher(config, &setpriv)?, program))
            }
            None => launcher(config, program),
        }
    }

    fn switch(&self, mut command: Command, program: &Path) -> Command {
        if let Some(user) = &self.0 {
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--clear-groups");
            // Its own home: it may not look into root's.
            command.env("HOME", &user.dir);
        }
        command.arg(program);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_the_program_and_compared() {
        assert_eq!(
            major_version("postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)").as_deref(),
            Some("15")
        );
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1").as_deref(), Some("18"));
        assert_eq!(major_version("nothing"), None);
    }
}
