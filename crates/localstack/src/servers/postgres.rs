//! PostgreSQL from the system's packages: role `user`, password `password`, database `db`, on TCP only.
//!
//! The role owns its database and is not a superuser: its password is well known, and a superuser can read and write files
//! and run programs. The superuser has a random password that is not stored.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{new_secret, write_secret};
use crate::account::Account;
use crate::config::StackConfig;
use crate::error::StackError;
use crate::process;
use crate::tools;

const SUPERUSER: &str = "postgres";
const ROLE: &str = "user";
const PASSWORD: &str = "password";
const DATABASE: &str = "db";
/// Marker of data that was created with a role that is not a superuser.
const MARK: &str = "role-without-privileges";

/// Marker of data whose database has the statistics of statements.
const COUNTED_MARK: &str = "statement-statistics";
const COUNTER: &str = "pg_stat_statements";
/// Only a superuser may create it. Not in `public`, where all tables are the pipeline's.
const CREATE_COUNTER: &str = "CREATE SCHEMA IF NOT EXISTS statistics;\n\
                              GRANT USAGE ON SCHEMA statistics TO PUBLIC;\n\
                              CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA statistics;\n";

const FORMER_RUN_LIMIT: Duration = Duration::from_secs(20);

const SETTINGS: [&str; 6] = [
    // No socket file: its path may be too long in a temporary folder, and Debian's default folder needs root.
    "unix_socket_directories=",
    "listen_addresses=127.0.0.1",
    // Four services with pools of 20, their replicas, and operators.
    "max_connections=300",
    "shared_buffers=64MB",
    "max_wal_size=512MB",
    "log_checkpoints=off",
];

pub(super) fn prepare(config: &StackConfig, account: &Account, dir: &Path) -> Result<Command, StackError> {
    let postgres = config.tools().find(tools::POSTGRES)?;
    account.check_runs(config, &postgres)?;
    let data = dir.join("data");
    let is_new = !data.is_dir();
    if is_new {
        create(config, account, dir, &data)?;
    } else {
        check_version(&postgres, &data)?;
        check_role(dir)?;
        await_former_run(&data)?;
    }
    let counts = counts_statements(config, account, dir, is_new)?;
    let mut command = account.launcher(config, &postgres)?;
    command
        .arg("-D")
        .arg(data)
        .args(["-p", &config.ports.postgres.to_string()]);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    if counts {
        command.args(["-c", &format!("shared_preload_libraries={COUNTER}")]);
    }
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

/// Whether the server counts statements (`dp postgres statements`): the library is installed, and the database has its view.
///
/// Data of an earlier version gets the view too.
fn counts_statements(config: &StackConfig, account: &Account, dir: &Path, is_new: bool) -> Result<bool, StackError> {
    let postgres = config.tools().find(tools::POSTGRES)?;
    if !has_library(&postgres) {
        return Ok(false);
    }
    let mark = dir.join(COUNTED_MARK);
    if is_new || !mark.exists() {
        let command = account.command(config, &postgres)?;
        // The pipeline does not need it: an installation without the rest of the extension must not keep the stack from starting.
        if run_single(command, &dir.join("data"), DATABASE, CREATE_COUNTER).is_err() {
            return Ok(false);
        }
        write_secret(account, &mark, "")?;
    }
    Ok(true)
}

/// Whether the library is in a folder of this installation; the server does not start if it cannot load it.
fn has_library(postgres: &Path) -> bool {
    let program = fs::canonicalize(postgres).unwrap_or_else(|_| postgres.to_owned());
    let Some(root) = program.parent().and_then(Path::parent) else {
        return false;
    };
    let folders = ["lib", "lib/postgresql", "lib64/pgsql"];
    let files = folders.map(|folder| root.join(folder).join(format!("{COUNTER}.so")));
    files.iter().any(|file| file.is_file())
}

/// Waits until no process of an earlier run uses the data, and removes the lock file that the run left behind.
///
/// If the main process of a PostgreSQL is killed, its other processes end by themselves shortly after. While the killed one
/// is in the process table, PostgreSQL treats the lock file as that of a running server.
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

/// Creates the data folder with role and database; it is complete or does not exist.
fn create(config: &StackConfig, account: &Account, dir: &Path, data: &Path) -> Result<(), StackError> {
    let unfinished = dir.join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(StackError::io("remove", &unfinished))?;
    }
    let password_file = dir.join("password");
    write_secret(account, &password_file, &new_secret()?)?;
    let mut initdb = account.command(config, &config.tools().find(tools::INITDB)?)?;
    initdb
        .arg("-D")
        .arg(&unfinished)
        .arg(format!("--pwfile={}", password_file.display()))
        .current_dir(dir);
    initdb.args([
        "--username",
        SUPERUSER,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]);
    process::run_until(&mut initdb, &config.interrupted)?;
    fs::remove_file(&password_file).map_err(StackError::io("remove", &password_file))?;
    let postgres = config.tools().find(tools::POSTGRES)?;
    let statements = format!(
        "CREATE ROLE \"{ROLE}\" LOGIN PASSWORD '{PASSWORD}';\n\
         CREATE DATABASE {DATABASE} OWNER \"{ROLE}\";\n"
    );
    run_single(
        account.command(config, &postgres)?,
        &unfinished,
        "postgres",
        &statements,
    )?;
    write_secret(account, &dir.join(MARK), "")?;
    fs::rename(&unfinished, data).map_err(StackError::io("rename into", data))
}

/// Runs statements as superuser in single-user mode, without a server. This mode reads one statement per line.
fn run_single(mut command: Command, data: &Path, database: &str, statements: &str) -> Result<(), StackError> {
    let failed = |message: String| StackError::Command {
        program: "postgres --single".to_owned(),
        message,
    };
    command
        .args(["--single", "-D"])
        .arg(data)
        .arg(database)
        .current_dir(data);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(statements.as_bytes())
            .map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    // In this mode a failed statement does not change the exit code.
    if output.status.success() && !messages.contains("ERROR:") && !messages.contains("FATAL:") {
        return Ok(());
    }
    Err(failed(process::telling_line(&messages)))
}

/// Fails if the role in the data is a superuser, as in earlier versions: PostgreSQL does not allow to remove this attribute
/// from the role that created the data.
fn check_role(dir: &Path) -> Result<(), StackError> {
    if dir.join(MARK).exists() {
        return Ok(());
    }
    Err(StackError::Refused(format!(
        "{} was created by an earlier version, whose role `{ROLE}` lets every local user run programs: remove the data of the \
         stack with `dp clean-data`",
        dir.display()
    )))
}

/// Fails if the data was created by another major version, which PostgreSQL cannot read.
fn check_version(postgres: &Path, data: &Path) -> Result<(), StackError> {
    let file = data.join("PG_VERSION");
    let made_by = fs::read_to_string(&file).map_err(StackError::io("read", &file))?;
    let output = process::run_to_end(Command::new(postgres).arg("--version"))?;
    let installed = major_version(&output).unwrap_or_default();
    if made_by.trim() == installed {
        return Ok(());
    }
    Err(StackError::Refused(format!(
        "{} was created by PostgreSQL {}, but {installed} is installed: install that version, or remove the data with `dp clean-data`",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_searched_in_the_installation_of_the_program() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let (programs, libraries) = (root.path().join("bin"), root.path().join("lib"));
        fs::create_dir(&programs)?;
        fs::create_dir(&libraries)?;
        let (postgres, link) = (programs.join("postgres"), root.path().join("postgres"));
        fs::write(&postgres, "")?;
        std::os::unix::fs::symlink(&postgres, &link)?;
        assert!(!has_library(&link));
        fs::write(libraries.join("pg_stat_statements.so"), "")?;
        assert!(has_library(&link) && has_library(&postgres));
        Ok(())
    }

    #[test]
    fn the_major_version_is_parsed_from_the_program_output() {
        assert_eq!(
            major_version("postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)").as_deref(),
            Some("15")
        );
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1").as_deref(), Some("18"));
        assert_eq!(major_version("nothing"), None);
    }
}
