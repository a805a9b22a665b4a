//! Redis of the system's packages, as a cache: it writes nothing to disk, and is empty after a restart.

use std::path::Path;
use std::process::Command;

use super::{launcher, write_config};
use crate::config::StackConfig;
use crate::error::StackError;
use crate::tools;

pub(super) fn prepare(config: &StackConfig, dir: &Path) -> Result<Command, StackError> {
    let file = dir.join("redis.conf");
    let port = config.ports.redis;
    write_config(
        &file,
        &format!(
            "bind 127.0.0.1\n\
             port {port}\n\
             dir \"{}\"\n\
             daemonize no\n\
             save \"\"\n\
             appendonly no\n\
             maxmemory 256mb\n\
             maxmemory-policy allkeys-lru\n",
            dir.display()
        ),
    )?;
    let mut command = launcher(config, &config.tools().find(tools::REDIS)?)?;
    command.arg(file);
    Ok(command)
}
