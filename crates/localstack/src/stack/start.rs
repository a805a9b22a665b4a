//! How processes are started: likely failures are checked first, and a failed start is undone.

use std::fs;
use std::time::Duration;

use super::{KILL_LIMIT, Stack};
use crate::cache;
use crate::config::StackConfig;
use crate::cores;
use crate::error::StackError;
use crate::name::{Name, Server, Service};
use crate::ports;
use crate::process::{self, Running};
use crate::progress::Step;
use crate::servers;
use crate::service;
use crate::state::{Entry, Lock, State};
use crate::tools::Tool;

/// Enough even for a machine that is compiling; a normal start takes about 6 s.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// Kafka and PostgreSQL reserve about 100 MB before the first message.
const NEEDED_MB: u64 = 500;

const GENERATION: &str = "DATA_PROC_GENERATION";
const DERIVED_SERIES: &str = "AGGREGATION_DERIVED_SERIES";
const VENUES: &str = "NORMALIZATION_VENUES";

impl Stack {
    pub(super) fn start_all(&self, names: &[Name]) -> Result<Vec<Name>, StackError> {
        let mut started = Vec::new();
        let result = self.start_and_await(names, &mut started);
        // Ctrl-C also ends a program that prepares a server, which is not a failure of the program.
        let result = result.map_err(|error| self.config.check_interrupted().err().unwrap_or(error));
        match &result {
            Ok(()) if self.config.quiet_core => cores::start(&self.config)?,
            Ok(()) => {}
            // Do not wait after Ctrl-C: servers survive a kill.
            Err(StackError::Interrupted) => {
                let _ended = started.iter().try_for_each(|name| self.kill9(*name));
            }
            // The first error is reported; processes that cannot be stopped are visible in `dp status`.
            Err(_) => {
                let _ended = self.stop_all(&started);
            }
        }
        result.map(|()| started)
    }

    fn start_and_await(&self, names: &[Name], started: &mut Vec<Name>) -> Result<(), StackError> {
        self.check_before_start(names)?;
        let absent = names.iter().copied().filter(|name| self.pid(*name).is_none());
        let absent: Vec<Name> = absent.collect();
        let shows = self.config.progress && !absent.is_empty();
        let _step = Step::spinner(shows, format!("starting {}", list(&absent)));
        for name in names {
            self.config.check_interrupted()?;
            let (_, is_new) = self.spawn(*name)?;
            if is_new {
                started.push(*name);
            }
        }
        for name in names {
            let waited = self.wait_ready(*name, READY_LIMIT);
            // It was ending when it was checked as running: start it now.
            if matches!(waited, Err(StackError::Died { .. })) && !started.contains(name) {
                self.spawn(*name)?;
                started.push(*name);
                self.wait_ready(*name, READY_LIMIT)?;
            } else {
                waited?;
            }
        }
        Ok(())
    }

    /// Detects predictable failures before the first process is started.
    pub(super) fn check_before_start(&self, names: &[Name]) -> Result<(), StackError> {
        let config = &self.config;
        let absent: Vec<Name> = names.iter().copied().filter(|name| self.pid(*name).is_none()).collect();
        let servers: Vec<Server> = absent
            .iter()
            .filter_map(|name| {
                if let Name::Server(server) = name {
                    Some(*server)
                } else {
                    None
                }
            })
            .collect();
        let mut tools: Vec<Tool> = servers
            .iter()
            .flat_map(|server| servers::required_tools(*server))
            .copied()
            .collect();
        tools.dedup();
        config.tools().require(&tools)?;
        for name in &absent {
            if let Name::Service(service, _) = name {
                config.service_program(*service)?;
            }
            ports::check_free(&config.ports.listened_by(*name))?;
        }
        if config.quiet_core {
            config.program(cores::PROGRAM)?;
        }
        if !servers.is_empty() {
            cache::require_space(&config.dir, NEEDED_MB, "--dir")?;
        }
        for server in servers {
            config.check_interrupted()?;
            // Ctrl-C also ends the download client, which is not a failure of the network.
            servers::fetch(server, config).map_err(|error| config.check_interrupted().err().unwrap_or(error))?;
        }
        Ok(())
    }

    /// Starts the process unless it runs; returns it, and whether it is new.
    pub(super) fn spawn(&self, name: Name) -> Result<(Running, bool), StackError> {
        let config = &self.config;
        let _lock = Lock::of(&config.dir)?;
        let mut state = self.state()?;
        if let Some(running) = state.alive(name) {
            return Ok((running, false));
        }
        let port = match (config.ports.of(name), state.entry(name)) {
            (Some(port), _) => port,
            (None, Some(entry)) if ports::is_free(entry.port) => entry.port,
            _ => ports::any_free()?,
        };
        let mut command = match name {
            Name::Server(server) => servers::prepare(server, config)?,
            Name::Service(service, number) => {
                let env: Vec<_> = self.env().into_iter().collect();
                service::command(config, (service, number), port, &env)?
            }
        };
        remember(&mut state, name, config);
        let log = config.log(name);
        let log_offset = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        servers::log_to_file(config, &mut command, &log)?;
        let running = process::spawn(&mut command)?;
        state.record(Entry {
            name,
            port,
            running: Some(running),
            log_offset,
        });
        if let Err(error) = state.save(&config.dir) {
            // A process that is not recorded could not be found again.
            running.kill_tree(KILL_LIMIT);
            return Err(error);
        }
        Ok((running, true))
    }
}

/// Records what commands must know of the settings with which this process is started.
fn remember(state: &mut State, name: Name, config: &StackConfig) {
    // An additional replica may belong to a generation that is only tried out.
    let Name::Service(service, 1) = name else { return };
    state.generation = setting(config, GENERATION);
    match service {
        Service::Aggregation => state.derived_series = setting(config, DERIVED_SERIES),
        Service::Normalization => state.venues = setting(config, VENUES),
        _ => {}
    }
}

/// A variable as the services get it; empty if it is not set.
fn setting(config: &StackConfig, name: &str) -> String {
    let set = config.service_env.get(name).cloned();
    set.or_else(|| std::env::var(name).ok()).unwrap_or_default()
}

fn list(names: &[Name]) -> String {
    names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ports::Ports;

    #[test]
    fn the_settings_that_commands_need_are_those_of_the_first_instance_of_a_service() {
        let ports = Ports::with_offset(0).unwrap();
        let mut config = StackConfig::new("/stack", ports.clone());
        for (name, value) in [(GENERATION, "g2"), (DERIVED_SERIES, "A:B"), (VENUES, "KRAKEN:USDT:XBT")] {
            config.service_env.insert(name.to_owned(), value.to_owned());
        }
        let mut state = State::new(ports, "/bin".into(), "/cache".into());
        let mut known = |name| {
            remember(&mut state, name, &config);
            [&state.generation, &state.derived_series, &state.venues].map(String::clone)
        };
        assert_eq!(known(Name::replica(Service::Normalization, 2)), ["", "", ""]);
        assert_eq!(known(Service::Normalization.into()), ["g2", "", "KRAKEN:USDT:XBT"]);
        assert_eq!(known(Service::Aggregation.into()), ["g2", "A:B", "KRAKEN:USDT:XBT"]);
    }
}
