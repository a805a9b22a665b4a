//! ClickHouse: the engine of the chDB package, run by `dp-clickhouse` as the `clickhouse local` program that listens.
//!
//! `clickhouse local` trusts every client, because its client is normally the user at the terminal: it can access every file
//! of the machine. Here every local user can connect. So clients have a list of grants without any source except tables
//! (`users.xml`), and `dp-clickhouse` confines the engine to its folder (`confine.rs` there). The HTTP port accepts only
//! requests whose `Host` and `Origin` are this machine, since a page in a browser sends its own.
//! What remains: a client can stop the engine's listeners (`SYSTEM LISTEN`, which the engine needs to start them).

use std::path::Path;
use std::process::Command;

use super::{launcher, write_config};
use crate::account::Account;
use crate::config::StackConfig;
use crate::error::StackError;
use crate::fetch;

const PROGRAM: &str = "dp-clickhouse";
/// Opens both protocols, then never ends.
const SERVE: &str = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
                     SELECT sleepEachRow(3) FROM system.numbers \
                     SETTINGS max_block_size = 1, interactive_delay = 1000000 FORMAT Null";

/// Limits for a shared machine with two cores. The engine creates only those system log tables that the file names.
const CONFIG: &str = include_str!("clickhouse/config.xml");
/// Users and grants: one user without a password, as clients of a local server expect.
const USERS: &str = include_str!("clickhouse/users.xml");

pub(super) fn prepare(config: &StackConfig, account: &Account, dir: &Path) -> Result<Command, StackError> {
    let library = fetch::engine(config)?;
    let program = config.program(PROGRAM)?;
    let config_file = dir.join("config.xml");
    write_config(&config_file, CONFIG)?;
    // The engine reads it from its working directory.
    let users = config.clickhouse_users.as_deref().unwrap_or(USERS);
    write_config(&dir.join("users.xml"), users)?;
    // Program and library may be in root's home, so the program switches the user itself, after loading them.
    let mut command = account.confined(launcher(config, &program)?);
    command.arg("--folder").arg(dir);
    if let Some(ids) = account.ids() {
        command.args(["--user", &ids]);
    }
    command.arg(library);
    command
        .arg("--config-file")
        .arg(config_file)
        .arg("--path")
        .arg(dir.join("data"));
    command.args([
        "--log-level",
        "warning",
        "--logger.console",
        "--listen_host",
        "127.0.0.1",
    ]);
    command.args(["--http_port", &config.ports.clickhouse_http.to_string()]);
    command.args(["--tcp_port", &config.ports.clickhouse_tcp.to_string()]);
    command.args(["--query", SERVE]);
    Ok(command)
}
