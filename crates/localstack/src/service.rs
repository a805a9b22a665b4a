//! Our own services as processes of the stack.

use std::process::Command;

use crate::config::StackConfig;
use crate::error::StackError;
use crate::name::{Name, Service};
use crate::servers::launcher;

/// Deviations from the services' defaults for this machine: with batches of this size ClickHouse spends half as much per row
/// as with the default of 10,000 (docs/performance.md).
const TUNING: [(&str, &str); 1] = [("DATA_PROC_MAX_BATCH_SIZE", "25000")];

/// The services that `GET /health/cluster` asks.
const PEERS: &str = "DATA_PROC_CLUSTER_PEERS";

/// Folder of the event windows, so that a restarted normalization does not read them back.
pub(crate) const WINDOWS: &str = "windows";
/// Variable with the name of a replica in its consumer groups.
pub const INSTANCE_ID: &str = "DATA_PROC_INSTANCE_ID";
const WINDOW_DIR: &str = "NORMALIZATION_WINDOW_DIR";

/// The command of one replica with this number and HTTP port.
pub(crate) fn command(
    config: &StackConfig,
    (service, number): (Service, u16),
    port: u16,
    env: &[(String, String)],
) -> Result<Command, StackError> {
    let program = config.service_program(service)?;
    let mut command = launcher(config, &program)?;
    command.current_dir(&config.dir);
    // The user's settings take precedence; a configuration file may contain them too.
    let is_free = |name: &str| {
        [name, "DATA_PROC_CONFIG_FILE"]
            .iter()
            .all(|name| std::env::var_os(name).is_none())
    };
    command.envs(TUNING.into_iter().filter(|(name, _)| is_free(name)));
    if is_free(WINDOW_DIR) {
        command.env(WINDOW_DIR, config.dir.join(WINDOWS));
    }
    if is_free(PEERS) {
        command.env(PEERS, peers(config));
    }
    command
        .envs(env.iter().map(|(name, value)| (name, value)))
        // A killed replica gets its partitions back at once.
        .env(INSTANCE_ID, config.instance_id(Name::replica(service, number)))
        .envs(&config.service_env);
    // Each replica has its own port, which overrides any common setting.
    command.env("DATA_PROC_HEALTH_PORT", port.to_string());
    Ok(command)
}

/// The first replica of each service, as `NAME=URL`.
fn peers(config: &StackConfig) -> String {
    let peer = |service: Service| {
        let port = config.ports.of(service.into())?;
        Some(format!("{}=http://127.0.0.1:{port}", service.name()))
    };
    Service::ALL.into_iter().filter_map(peer).collect::<Vec<_>>().join(",")
}
