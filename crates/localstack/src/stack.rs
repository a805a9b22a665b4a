//! One stack: start, inspect, signal, stop. Its state is in the folder's `stack.json`, so any process can do each of these.
//!
//! Failure: a failed [`Stack::up`] stops the processes it had started; processes that ran before continue.

mod look;
mod start;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::config::{self, StackConfig};
use crate::cores;
use crate::error::StackError;
use crate::name::{Name, Server, Service};
use crate::process::{self, POLL, Running};
use crate::servers;
use crate::state::{self, Entry, Lock, ProcessStatus, State};

/// Services drain for up to 30 s after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(35);
/// A frozen service has lost its place in its groups, so it commits nothing more: the next start reads the same records again.
const FROZEN_STOP_LIMIT: Duration = Duration::from_secs(3);
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Between the end of a process and the last line of its log.
const LOG_DELAY: Duration = Duration::from_millis(200);

/// The processes of one folder.
#[derive(Debug, Clone)]
pub struct Stack {
    config: StackConfig,
}

impl Stack {
    /// The stack with this configuration; creates its folder, starts nothing.
    ///
    /// Fails if processes of this folder run on other ports, or if the folder cannot be created.
    pub fn new(mut config: StackConfig) -> Result<Stack, StackError> {
        config.dir = std::path::absolute(&config.dir).map_err(StackError::io("find", &config.dir))?;
        state::refuse_foreign(&config.dir)?;
        config::prepare_dir(&config.dir)?;
        let _lock = Lock::of(&config.dir)?;
        let fresh = || State::new(config.ports.clone(), config.bin_dir.clone(), config.cache.clone());
        let mut state = State::load(&config.dir)?.unwrap_or_else(fresh);
        if state.ports != config.ports {
            if let Some(entry) = state.processes.iter().find(|entry| state.alive(entry.name).is_some()) {
                let (dir, name, port) = (config.dir.display(), entry.name, entry.port);
                return Err(StackError::Refused(format!(
                    "the stack in {dir} already runs on other ports ({name} on {port}): stop it with `dp down --dir {dir}`, or use another --dir"
                )));
            }
            state.processes.clear();
        }
        (state.ports, state.bin_dir, state.cache) =
            (config.ports.clone(), config.bin_dir.clone(), config.cache.clone());
        state.quiet_core = config.quiet_core;
        state.save(&config.dir)?;
        Ok(Stack { config })
    }

    /// The stack that another process created in this folder.
    pub fn open(dir: &Path) -> Result<Stack, StackError> {
        let dir = std::path::absolute(dir).map_err(StackError::io("find", dir))?;
        let Some(state) = State::load(&dir)? else {
            return Err(StackError::Refused(format!(
                "there is no stack in {}: `dp up` creates one",
                dir.display()
            )));
        };
        let mut config = StackConfig::new(dir, state.ports);
        (config.bin_dir, config.cache) = (state.bin_dir, state.cache);
        config.quiet_core = state.quiet_core;
        Ok(Stack { config })
    }

    /// Its configuration.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// Its configuration, to change what later starts use (`service_env`, `progress`, `interrupted`).
    pub fn config_mut(&mut self) -> &mut StackConfig {
        &mut self.config
    }

    /// Downloads, starts and awaits the four servers; running ones are not changed. Returns the started ones.
    pub fn up(&self) -> Result<Vec<Name>, StackError> {
        self.start_all(&Server::ALL.map(Name::from))
    }

    /// Starts and awaits one replica of each service; running ones are not changed. Returns the started ones.
    pub fn start_services(&self) -> Result<Vec<Name>, StackError> {
        self.start_all(&Service::ALL.map(Name::from))
    }

    /// Starts one process without waiting until it is ready; does nothing if it runs. Returns its pid.
    pub fn start(&self, name: impl Into<Name>) -> Result<i32, StackError> {
        let name = name.into();
        self.check_before_start(&[name])?;
        let (running, is_new) = self.spawn(name)?;
        if is_new && self.config.quiet_core {
            cores::start(&self.config)?;
        }
        Ok(running.pid)
    }

    /// Waits until the process responds as its clients expect: servers to the smallest request of their protocol, services to
    /// `GET /health/ready`. Fails at once if it ends, with the most informative line of its log, or if it is frozen.
    pub fn wait_ready(&self, name: impl Into<Name>, limit: Duration) -> Result<(), StackError> {
        let name = name.into();
        let deadline = Instant::now() + limit;
        loop {
            let Some(entry) = self.entry(name)? else {
                return Err(StackError::NotRunning(name.to_string()));
            };
            let alive = entry.running.is_some_and(Running::is_alive);
            if entry.running.is_some_and(Running::is_frozen) {
                return Err(StackError::Frozen(name.to_string()));
            }
            if alive && self.is_ready(&entry) {
                return Ok(());
            }
            let (log, last_line) = (self.config.log(name), || {
                process::telling_line(&self.log_since_start(&entry))
            });
            if !alive {
                // Its last lines may not have been written yet.
                std::thread::sleep(LOG_DELAY);
                return Err(StackError::Died {
                    name: name.to_string(),
                    last_line: last_line(),
                    log,
                });
            }
            if Instant::now() >= deadline {
                return Err(StackError::NotReady {
                    name: name.to_string(),
                    seconds: limit.as_secs(),
                    last_line: last_line(),
                    log,
                });
            }
            self.config.check_interrupted()?;
            std::thread::sleep(POLL);
        }
    }

    /// Fails if the process is frozen: it runs, so a start would do nothing, and it responds to nobody.
    pub fn refuse_frozen(&self, name: impl Into<Name>) -> Result<(), StackError> {
        let name = name.into();
        match self.state()?.alive(name) {
            Some(running) if running.is_frozen() => Err(StackError::Frozen(name.to_string())),
            _ => Ok(()),
        }
    }

    /// Stops the process cleanly, waits up to 35 s (3 s if it is a frozen service), then kills it. False if it did not run; [`Stack::status`] then no longer
    /// reports how it ended.
    pub fn stop(&self, name: impl Into<Name>) -> Result<bool, StackError> {
        Ok(!self.stop_all(&[name.into()])?.is_empty())
    }

    /// `kill -9`, then waits until the process and its children have ended.
    pub fn kill9(&self, name: impl Into<Name>) -> Result<(), StackError> {
        let name = name.into();
        let running = self.running(name)?;
        if !running.kill_tree(KILL_LIMIT) {
            return Err(StackError::Refused(format!(
                "{name} (pid {}) did not end after SIGKILL",
                running.pid
            )));
        }
        self.forget(&[(name, running)])
    }

    /// Freezes the process and its children (SIGSTOP): connections stay open, requests get no response.
    pub fn pause(&self, name: impl Into<Name>) -> Result<(), StackError> {
        self.signal(name.into(), Signal::SIGSTOP)
    }

    /// Lets a frozen process and its children continue (SIGCONT).
    pub fn resume(&self, name: impl Into<Name>) -> Result<(), StackError> {
        self.signal(name.into(), Signal::SIGCONT)
    }

    /// Stops services first, then servers. Returns the stopped ones.
    pub fn down(&self) -> Result<Vec<Name>, StackError> {
        let names = self.recorded()?;
        let (servers, services): (Vec<Name>, Vec<Name>) =
            names.into_iter().partition(|name| matches!(name, Name::Server(_)));
        let mut stopped = self.stop_all(&services)?;
        stopped.extend(self.stop_all(&servers)?);
        Ok(stopped)
    }

    /// `kill -9` for all processes, as in a power failure.
    pub fn kill_all(&self) -> Result<(), StackError> {
        self.recorded()?
            .into_iter()
            .filter(|name| self.pid(*name).is_some())
            .try_for_each(|name| self.kill9(name))
    }

    /// Lets the running processes use all cores from now on, until [`Stack::new`] says otherwise: for those who pin them.
    pub fn use_all_cores(&self) -> Result<(), StackError> {
        {
            let _lock = Lock::of(&self.config.dir)?;
            let mut state = self.state()?;
            state.quiet_core = false;
            state.save(&self.config.dir)?;
        }
        if cores::wait_ended(&self.config.dir, KILL_LIMIT)? {
            return Ok(());
        }
        let dir = self.config.dir.display();
        Err(StackError::Refused(format!(
            "dp-cores of {dir} has not ended: end it, then try again"
        )))
    }

    /// Removes data, logs and all other files of the stack, and its folder if it contains no other files. Fails while a process
    /// runs.
    pub fn clean(&self) -> Result<(), StackError> {
        let dir = &self.config.dir;
        if let Some(name) = self.recorded()?.into_iter().find(|name| self.pid(*name).is_some()) {
            return Err(StackError::Refused(format!(
                "{name} of {} still runs: `dp down` first",
                dir.display()
            )));
        }
        if !state::is_stack(dir) {
            return Err(StackError::Refused(format!(
                "{} contains no stack: nothing was removed",
                dir.display()
            )));
        }
        state::remove_own(dir)
    }

    /// The pid of a running process.
    pub fn pid(&self, name: impl Into<Name>) -> Option<i32> {
        self.running(name.into()).ok().map(|running| running.pid)
    }

    /// The client port of a process; for additional replicas, once they have been started.
    pub fn port(&self, name: impl Into<Name>) -> Option<u16> {
        let name = name.into();
        self.config
            .ports
            .of(name)
            .or_else(|| self.entry(name).ok().flatten().map(|entry| entry.port))
    }

    /// The log file of a process; later runs append to it.
    pub fn log(&self, name: impl Into<Name>) -> PathBuf {
        self.config.log(name.into())
    }

    /// Every process that was ever started here, in pipeline order.
    pub fn status(&self) -> Result<Vec<ProcessStatus>, StackError> {
        let state = State::load(&self.config.dir)?;
        Ok(state
            .into_iter()
            .flat_map(|state| state.processes)
            .map(|entry| self.status_of(&entry))
            .collect())
    }

    /// Pid of `dp-cores`, which moves the stack between cores, if it runs for this stack.
    pub fn mover_pid(&self) -> Option<i32> {
        cores::running(&self.config.dir).map(|process| process.pid)
    }

    /// The generation of the services that were started last; empty for the first.
    pub fn generation(&self) -> String {
        self.state().map(|state| state.generation).unwrap_or_default()
    }

    /// The derived series of the aggregation that was started last, as configured; empty if it had none.
    pub fn derived_series(&self) -> String {
        self.state().map(|state| state.derived_series).unwrap_or_default()
    }

    /// The venues of the normalization that was started last, as configured; empty if it had none.
    pub fn venues(&self) -> String {
        self.state().map(|state| state.venues).unwrap_or_default()
    }

    /// Addresses of the servers, and of the one service that another one calls: variables for services and `dp`.
    pub fn env(&self) -> BTreeMap<String, String> {
        let ports = &self.config.ports;
        [
            ("DATA_PROC_KAFKA_BOOTSTRAP", format!("127.0.0.1:{}", ports.kafka)),
            (
                "DATA_PROC_CLICKHOUSE_URL",
                format!("http://127.0.0.1:{}", ports.clickhouse_http),
            ),
            (
                "DATA_PROC_POSTGRES_DSN",
                format!("postgresql://user:password@127.0.0.1:{}/db", ports.postgres),
            ),
            ("DATA_PROC_REDIS_URL", format!("redis://127.0.0.1:{}/0", ports.redis)),
            (
                "NORMALIZATION_PROJECTION_URL",
                format!("http://127.0.0.1:{}", ports.projection),
            ),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// Java class path of Kafka; its tools are classes on it, such as `org.apache.kafka.tools.TopicCommand`.
    pub fn kafka_classpath(&self) -> Result<String, StackError> {
        servers::kafka_classpath(&self.config)
    }

    /// Stops all processes at the same time, waits for all, kills the rest. Returns those that ran.
    fn stop_all(&self, names: &[Name]) -> Result<Vec<Name>, StackError> {
        let state = self.state()?;
        let recorded = names
            .iter()
            .filter_map(|name| Some((*name, state.entry(*name)?.running?)));
        let (running, ended): (Vec<(Name, Running)>, Vec<_>) = recorded.partition(|(_, process)| process.is_alive());
        let began = Instant::now();
        let ends = |name: Name, is_frozen: bool| match name {
            Name::Service(..) if is_frozen => began + FROZEN_STOP_LIMIT,
            _ => began + STOP_LIMIT,
        };
        let mut deadlines = Vec::new();
        for (name, process) in &running {
            deadlines.push(ends(*name, process.is_frozen()));
            process.signal(servers::stop_signal(*name));
            // A frozen process would handle the signal only after it is resumed.
            process.signal(Signal::SIGCONT);
        }
        for ((name, process), deadline) in running.iter().zip(deadlines) {
            let gone = process.wait_gone(deadline.saturating_duration_since(Instant::now()));
            if !gone && !process.kill_tree(KILL_LIMIT) {
                return Err(StackError::Refused(format!(
                    "{name} (pid {}) did not end after SIGKILL",
                    process.pid
                )));
            }
        }
        self.forget(&running.iter().chain(&ended).copied().collect::<Vec<_>>())?;
        Ok(running.into_iter().map(|(name, _)| name).collect())
    }

    /// Records that these runs have ended, unless the process has been started again in the meantime.
    fn forget(&self, ended: &[(Name, Running)]) -> Result<(), StackError> {
        let _lock = Lock::of(&self.config.dir)?;
        let mut state = self.state()?;
        for entry in &mut state.processes {
            if entry
                .running
                .is_some_and(|running| ended.contains(&(entry.name, running)))
            {
                entry.running = None;
            }
        }
        state.save(&self.config.dir)
    }

    fn signal(&self, name: Name, signal: Signal) -> Result<(), StackError> {
        let family = self.running(name)?.with_descendants();
        // The child processes of PostgreSQL serve the clients.
        let reached = family.into_iter().map(|process| process.signal(signal));
        match reached.reduce(|first, _| first) {
            Some(true) => Ok(()),
            _ => Err(StackError::NotRunning(name.to_string())),
        }
    }

    fn running(&self, name: Name) -> Result<Running, StackError> {
        self.state()?
            .alive(name)
            .ok_or_else(|| StackError::NotRunning(name.to_string()))
    }

    fn entry(&self, name: Name) -> Result<Option<Entry>, StackError> {
        Ok(self.state()?.entry(name).cloned())
    }

    fn recorded(&self) -> Result<Vec<Name>, StackError> {
        Ok(self.state()?.processes.iter().map(|entry| entry.name).collect())
    }

    fn state(&self) -> Result<State, StackError> {
        let config = &self.config;
        let fresh = || State::new(config.ports.clone(), config.bin_dir.clone(), config.cache.clone());
        Ok(State::load(&config.dir)?.unwrap_or_else(fresh))
    }
}
