//! The four servers: required tools, configuration files, start command, readiness.

mod clickhouse;
mod kafka;
mod postgres;
mod redis;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

pub(crate) use kafka::{LIBRARIES, classpath as kafka_classpath};

use crate::account::Account;
use crate::config::StackConfig;
use crate::error::StackError;
use crate::fetch;
use crate::name::{Name, Server};
use crate::tools::{self, Tool};

const LOGGER: &str = "dp-log";

/// Programs that the server needs.
pub(crate) fn required_tools(server: Server) -> &'static [Tool] {
    match server {
        Server::Kafka => &[tools::SETSID, tools::SETPRIV, tools::JAVA],
        Server::ClickHouse => &[tools::SETSID, tools::SETPRIV],
        Server::Postgres => &[
            tools::SETSID,
            tools::SETPRIV,
            tools::INITDB,
            tools::POSTGRES,
            tools::PG_ISREADY,
        ],
        Server::Redis => &[tools::SETSID, tools::SETPRIV, tools::REDIS],
    }
}

/// Downloads the server's files, if they are not in the cache.
pub(crate) fn fetch(server: Server, config: &StackConfig) -> Result<(), StackError> {
    match server {
        Server::Kafka => fetch::kafka(config).map(drop),
        Server::ClickHouse => fetch::engine(config).map(drop),
        Server::Postgres | Server::Redis => Ok(()),
    }
}

/// Creates missing files of the server, and returns the command that runs it in the foreground, as its user.
pub(crate) fn prepare(server: Server, config: &StackConfig) -> Result<Command, StackError> {
    let dir = config.server_dir(server);
    let account = Account::of(server, config)?;
    account.take(config, &dir)?;
    let mut command = match server {
        Server::Kafka => kafka::prepare(config, &account, &dir),
        Server::ClickHouse => clickhouse::prepare(config, &account, &dir),
        Server::Postgres => postgres::prepare(config, &account, &dir),
        Server::Redis => redis::prepare(config, &account, &dir),
    }?;
    command.current_dir(&dir);
    Ok(command)
}

/// Whether the server responds to its clients.
pub(crate) fn is_ready(server: Server, config: &StackConfig) -> bool {
    let ports = &config.ports;
    match server {
        Server::Kafka => crate::probe::kafka(ports.kafka),
        Server::ClickHouse => crate::probe::http_status(ports.clickhouse_http, "/ping") == Some(200),
        Server::Postgres => postgres::is_ready(config),
        Server::Redis => crate::probe::redis(ports.redis),
    }
}

/// The signal for a fast and clean stop.
pub(crate) fn stop_signal(name: Name) -> Signal {
    match name {
        // SIGTERM would wait for every client to disconnect.
        Name::Server(Server::Postgres) => Signal::SIGINT,
        _ => Signal::SIGTERM,
    }
}

/// A command for a program that outlives this process, if so configured.
pub(crate) fn launcher(config: &StackConfig, program: &Path) -> Result<Command, StackError> {
    if !config.detached {
        return Ok(Command::new(program));
    }
    // setsid replaces itself with the program, so the pid does not change.
    let mut command = Command::new(config.tools().find(tools::SETSID)?);
    command.arg(program);
    Ok(command)
}

/// Sends the command's output through `dp-log` to the process's log file.
pub(crate) fn log_to_file(config: &StackConfig, command: &mut Command, log: &Path) -> Result<(), StackError> {
    let program = config.program(LOGGER)?;
    // Checked here, since the logger cannot report an error.
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(StackError::io("open", log))?;
    let failed =
        |error: std::io::Error| StackError::Refused(format!("cannot create a pipe for {}: {error}", log.display()));
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let mut logger = launcher(config, &program)?;
    logger
        .arg(log)
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut logger = logger.spawn().map_err(|error| StackError::Command {
        program: program.display().to_string(),
        message: error.to_string(),
    })?;
    // It ends after the process. If that happens before this process ends, it must not become a zombie.
    std::thread::spawn(move || logger.wait());
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    Ok(())
}

/// Writes a configuration file at every start, so that changed ports and settings take effect.
///
/// The folder belongs to the server's user, who may have put a symbolic link there: so the file is created under another
/// name, and renamed.
fn write_config(path: &Path, text: &str) -> Result<(), StackError> {
    replace(path, text, 0o644)
}

/// As [`write_config`], for a file that only the server's user may read.
fn write_secret(account: &Account, path: &Path, text: &str) -> Result<(), StackError> {
    replace(path, text, 0o600)?;
    account.own(path)
}

fn replace(path: &Path, text: &str, mode: u32) -> Result<(), StackError> {
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StackError::io("remove", &part)(error));
        }
        _ => {}
    }
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(StackError::io("write", &part))?;
    fs::rename(&part, path).map_err(StackError::io("replace", path))
}

/// 32 random hexadecimal digits.
fn new_secret() -> Result<String, StackError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(StackError::io("read", source))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_link_in_place_of_a_configuration_file_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let (file, part) = (dir.path().join("server.conf"), dir.path().join("server.part"));
        symlink(&victim, &file).unwrap();
        symlink(&victim, &part).unwrap();
        replace(&file, "port 1", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&file).unwrap(), "port 1");
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.is_file());
    }

    #[test]
    fn no_two_secrets_are_equal() {
        assert_ne!(new_secret().unwrap(), new_secret().unwrap());
    }
}
