//! The four servers: what each needs, how its files are made, how it is started and asked whether it is ready.

mod clickhouse;
mod kafka;
mod postgres;
mod redis;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

pub(crate) use kafka::classpath as kafka_classpath;

use crate::config::StackConfig;
use crate::error::StackError;
use crate::fetch;
use crate::name::{Name, Server};
use crate::tools::{self, Tool};

const LOGGER: &str = "dp-log";

/// Programs without which the server cannot be started.
pub(crate) fn required_tools(server: Server) -> &'static [Tool] {
    match server {
        Server::Kafka => &[tools::SETSID, tools::JAVA],
        Server::ClickHouse => &[tools::SETSID],
        Server::Postgres => &[
            tools::SETSID,
            tools::SETPRIV,
            tools::INITDB,
            tools::POSTGRES,
            tools::PG_ISREADY,
        ],
        Server::Redis => &[tools::SETSID, tools::REDIS],
    }
}

/// Downloads what the server needs, if it is not there yet.
pub(crate) fn fetch(server: Server, config: &StackConfig) -> Result<(), StackError> {
    match server {
        Server::Kafka => fetch::kafka(config).map(drop),
        Server::ClickHouse => fetch::engine(config).map(drop),
        Server::Postgres | Server::Redis => Ok(()),
    }
}

/// Makes the server's files where they are missing, and answers the command that runs it in the foreground.
pub(crate) fn prepare(server: Server, config: &StackConfig) -> Result<Command, StackError> {
    let dir = config.server_dir(server);
    fs::create_dir_all(&dir).map_err(StackError::io("create", &dir))?;
    let mut command = match server {
        Server::Kafka => kafka::prepare(config, &dir),
        Server::ClickHouse => clickhouse::prepare(config, &dir),
        Server::Postgres => postgres::prepare(config, &dir),
        Server::Redis => redis::prepare(config, &dir),
    }?;
    command.current_dir(&dir);
    Ok(command)
}

/// Whether the server answers its clients.
pub(crate) fn is_ready(server: Server, config: &StackConfig) -> bool {
    let ports = &config.ports;
    match server {
        Server::Kafka => crate::probe::kafka(ports.kafka),
        Server::ClickHouse => crate::probe::http_status(ports.clickhouse_http, "/ping") == Some(200),
        Server::Postgres => postgres::is_ready(config),
        Server::Redis => crate::probe::redis(ports.redis),
    }
}

/// The signal that asks the process to end soon and in order.
pub(crate) fn stop_signal(name: Name) -> Signal {
    match name {
        // SIGTERM would wait for every client to leave.
        Name::Server(Server::Postgres) => Signal::SIGINT,
        _ => Signal::SIGTERM,
    }
}

/// A command for a program that shall outlive this process where the configuration says so.
pub(crate) fn launcher(config: &StackConfig, program: &Path) -> Result<Command, StackError> {
    if !config.detached {
        return Ok(Command::new(program));
    }
    // setsid replaces itself by the program, so the pid stays.
    let mut command = Command::new(config.tools().find(tools::SETSID)?);
    command.arg(program);
    Ok(command)
}

/// Sends the command's output through `dp-log` to the end of the process's log file.
pub(crate) fn log_to_file(config: &StackConfig, command: &mut Command, log: &Path) -> Result<(), StackError> {
    let program = config.bin_dir.join(LOGGER);
    if !program.is_file() {
        return Err(StackError::Refused(format!(
            "{} is missing: build it with `cargo build --release --workspace --bins`",
            program.display()
        )));
    }
    // Found now: the logger has nobody to tell.
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(StackError::io("open", log))?;
    let failed =
        |error: std::io::Error| StackError::Refused(format!("cannot make a pipe for {}: {error}", log.display()));
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
    // It ends after the process; where that is before us, it must not stay behind as a zombie.
    std::thread::spawn(move || logger.wait());
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer);
    Ok(())
}

/// Writes a configuration file anew at every start, so that changed ports and settings take effect.
fn write_config(path: &Path, text: &str) -> Result<(), StackError> {
    fs::write(path, text).map_err(StackError::io("write", path))
}
