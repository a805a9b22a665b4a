//! The whole pipeline as users run it, with real servers and real programs, for the tests of this package.
//!
//! Role: builds the programs once, runs one stack per test file, and queries the two judges: `dp verify`, and the oracle of
//! crate `testkit`, which shares no code with the services.
//! Failure: every step has a deadline, and every error names the failed step. Processes and files are removed at the end
//! (see `localstack::Temporary`).

pub mod fault_plan;
pub mod fault_run;
pub mod http;
mod judges;
mod kept;
pub mod outages;
mod programs;
mod publishing;
pub mod scenarios;
pub mod times;
pub mod watch;

use std::ops::Deref;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::{Condition, Name, Service, Stack, Temporary};
use parking_lot::{Mutex, MutexGuard};
use programs::told;
use testkit::bars::Times;
use testkit::stores::{ClickHouse, Postgres, Redis};

pub use judges::Verified;
pub use kept::Kept;
pub use programs::{build_programs, has_samples, root, sample};
pub use publishing::Publishing;

/// The raw topic.
pub const RAW: &str = "ingestion.market.raw.v1";

/// Whether `dp verify` judges by this setting of the services.
fn is_of_the_judges(name: &str) -> bool {
    times::is_setting(name)
        || [testkit::derived::SETTING, "NORMALIZATION_VENUES"].contains(&name)
        || name.starts_with("AGGREGATION_CURVES_")
}

/// Deadline for everything that happens without further action.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A stack with the four services on it.
pub struct Pipeline {
    stack: Box<dyn Deref<Target = Stack> + Send + Sync>,
    /// ClickHouse, through the oracle's own client.
    pub clickhouse: ClickHouse,
    /// PostgreSQL, through the oracle's own client.
    pub postgres: Postgres,
    /// Redis, through the oracle's own client.
    pub redis: Redis,
    /// When windows are closed and forgotten in this pipeline, for the oracle.
    times: Times,
}

/// Rows may wait for others for seconds; tests that wait for rows, and times of recovery, use this setting instead.
pub fn prompt_rows() -> (String, String) {
    ("DATA_PROC_FLUSH_INTERVAL_MS".to_owned(), "1000".to_owned())
}

impl Pipeline {
    /// A stack of this test program, for one test at a time. There are two, so that two tests run at once. Each is started
    /// when it is first needed, and tidied before each test: one replica of each service runs, whatever state the previous
    /// test left behind.
    ///
    /// # Panics
    /// If the stack cannot be started or tidied; from then on in every test at once, or each would wait for the same limit.
    #[expect(clippy::panic, reason = "a test ends if it has no stack")]
    pub fn shared() -> MutexGuard<'static, Pipeline> {
        static SHARED: [OnceLock<Mutex<Pipeline>>; 2] = [const { OnceLock::new() }; 2];
        static WAITING: AtomicUsize = AtomicUsize::new(0);
        static BROKEN: OnceLock<String> = OnceLock::new();
        let give_up = |what: &str, error: &anyhow::Error| -> ! {
            let first = BROKEN.get_or_init(|| format!("{what}: {error:#}"));
            panic!("{first}");
        };
        if let Some(first) = BROKEN.get() {
            panic!("not tried, since an earlier test found: {first}");
        }
        let started = |slot: &'static OnceLock<Mutex<Pipeline>>| {
            slot.get_or_init(|| match Pipeline::start() {
                Ok(pipeline) => Mutex::new(pipeline),
                Err(error) => give_up("the stack of the end-to-end tests does not start", &error),
            })
        };
        let free = SHARED.iter().find_map(|slot| started(slot).try_lock());
        let pipeline = free.unwrap_or_else(|| {
            let slot = WAITING.fetch_add(1, Ordering::Relaxed) % SHARED.len();
            started(&SHARED[slot]).lock()
        });
        if let Err(error) = pipeline.tidy() {
            give_up("the stack of the end-to-end tests cannot be put in order", &error);
        }
        pipeline
    }

    /// Kills additional replicas, and resumes or starts all other processes.
    fn tidy(&self) -> anyhow::Result<()> {
        for process in self.stack.status()? {
            match (process.name, process.condition) {
                (Name::Service(_, 2..), Condition::Running | Condition::Frozen) => self.stack.kill9(process.name)?,
                (name, Condition::Frozen) => self.stack.resume(name)?,
                _ => {}
            }
        }
        self.stack.up()?;
        self.stack.start_services().map_err(|error| {
            let logs = SERVICES.map(|service| format!("{}:\n{}", service.name(), self.last_lines(service.name())));
            anyhow::anyhow!("{error:#}\n{}", logs.join("\n"))
        })?;
        Ok(())
    }

    /// The last lines of a service's log.
    pub fn last_lines(&self, name: &str) -> String {
        let service = SERVICES.into_iter().find(|service| service.name() == name);
        let log = service.and_then(|service| std::fs::read_to_string(self.stack.log(service)).ok());
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Builds the programs, and starts everything on a stack that is removed when the test ends.
    ///
    /// # Errors
    /// If a build or a start fails.
    pub fn start() -> anyhow::Result<Pipeline> {
        Pipeline::with_settings([])
    }

    /// The same, with these times for closing and forgetting windows.
    ///
    /// # Errors
    /// If a build or a start fails.
    pub fn with_times(times: Times) -> anyhow::Result<Pipeline> {
        Pipeline::with_settings(times::settings(&times))
    }

    /// The same, with these settings of the services.
    ///
    /// # Errors
    /// If a build or a start fails.
    pub fn with_settings(settings: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Pipeline> {
        build_programs()?;
        let mut stack = Temporary::new()?;
        let env = &mut stack.config_mut().service_env;
        env.extend(settings);
        env.extend([prompt_rows()]);
        Pipeline::on(stack)
    }

    /// Runs `dp demo` from nothing, with its own settings only; returns what it prints, too.
    ///
    /// # Errors
    /// If a build or the demo fails.
    pub fn of_demo(ticks: u32) -> anyhow::Result<(Pipeline, String)> {
        build_programs()?;
        let stack = Temporary::new()?;
        let mut command = Command::new(stack.config().bin_dir.join("dp"));
        let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let is_setting = |name: &String| name.starts_with("DATA_PROC_") || name.starts_with("AGGREGATION_");
        for name in ours.filter(|name| is_setting(name) && name != "DATA_PROC_CACHE") {
            command.env_remove(name);
        }
        command.arg("--dir").arg(&stack.config().dir);
        let output = command.args(["demo", "--ticks", &ticks.to_string()]).output();
        let printed = told(&output.context("run dp demo")?).context("dp demo")?;
        Ok((Pipeline::on(stack)?, printed))
    }

    /// Starts everything on this stack. The service environment of the stack sets when windows are closed and forgotten.
    ///
    /// # Errors
    /// If a start fails.
    pub fn on(stack: impl Deref<Target = Stack> + Send + Sync + 'static) -> anyhow::Result<Pipeline> {
        stack.up()?;
        let env = stack.env();
        let address = |name: &str| {
            env.get(name)
                .map(String::as_str)
                .with_context(|| format!("{name} is not set"))
        };
        let pipeline = Pipeline {
            clickhouse: ClickHouse::new(address("DATA_PROC_CLICKHOUSE_URL")?, "market_data"),
            postgres: Postgres {
                dsn: address("DATA_PROC_POSTGRES_DSN")?.to_owned(),
            },
            redis: Redis::new(address("DATA_PROC_REDIS_URL")?),
            times: times::read(&stack.config().service_env)?,
            stack: Box::new(stack),
        };
        pipeline.dp_ok(&["migrate", "--seed"])?;
        pipeline.dp_ok(&["topics", "create"])?;
        pipeline.stack.start_services()?;
        Ok(pipeline)
    }

    /// The processes.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Address of Kafka.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.stack.config().ports.kafka)
    }

    /// `dp` with these arguments, configured for this stack.
    pub fn dp(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.stack.config().bin_dir.join("dp"));
        let foreign = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in foreign.filter(|name| name.starts_with("DATA_PROC_")) {
            command.env_remove(name);
        }
        command
            .envs(self.stack.env())
            .envs(
                self.stack
                    .config()
                    .service_env
                    .iter()
                    .filter(|(name, _)| is_of_the_judges(name)),
            )
            .arg("--dir")
            .arg(&self.stack.config().dir)
            .args(arguments);
        command
    }

    /// Status and body of `GET path` of a service.
    ///
    /// # Errors
    /// If the service does not answer.
    pub fn get(&self, service: impl Into<Name>, path: &str) -> anyhow::Result<(u16, String)> {
        let name = service.into();
        let port = self.stack.port(name).with_context(|| format!("{name} has no port"))?;
        http::get(port, path).with_context(|| format!("ask {name}"))
    }

    /// Runs `dp`; returns its output.
    ///
    /// # Errors
    /// If its exit code is not 0.
    pub fn dp_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.dp(arguments).output().context("run dp")?;
        told(&output).with_context(|| format!("dp {}", arguments.join(" ")))
    }

    /// Runs a command as an operator types it: the shell has the addresses of the servers, and `dp` has the folder of the stack.
    /// Returns whether it succeeded, and all that it printed.
    ///
    /// # Errors
    /// If the shell cannot be started.
    pub fn typed(&self, command: &str) -> anyhow::Result<(bool, String)> {
        let config = self.stack.config();
        let (dir, program) = (config.dir.display(), config.bin_dir.join("dp"));
        let script = format!("dp() {{ {} --dir {dir} \"$@\"; }}\n{command}", program.display());
        let output = Command::new("bash")
            .args(["-c", &script])
            .envs(self.stack.env())
            .output()
            .context("start bash")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        Ok((output.status.success(), said))
    }

    /// Kills the process with `kill -9`, restarts it and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn kill_and_restart(&self, name: impl Into<Name>) -> anyhow::Result<()> {
        let name = name.into();
        self.stack.kill9(name)?;
        self.stack.start(name)?;
        self.stack.wait_ready(name, PATIENCE)?;
        Ok(())
    }

    /// Number of rows in `enriched_ticks`, to observe progress.
    ///
    /// # Errors
    /// If ClickHouse does not answer.
    pub fn enriched(&self) -> anyhow::Result<i128> {
        self.clickhouse.number("SELECT count() FROM enriched_ticks")
    }

    /// Waits until the pipeline has stored at least this many more ticks, so that the load is in progress.
    ///
    /// # Errors
    /// If it does not within [`PATIENCE`].
    pub fn wait_for_more(&self, ticks: i128) -> anyhow::Result<()> {
        let goal = self.enriched()? + ticks;
        eventually("ticks arrive", || Ok(self.enriched()? >= goal))
    }
}

/// Polls until the condition is true.
///
/// # Errors
/// If it is not true within [`PATIENCE`], with the last error.
pub fn eventually(what: &str, mut condition: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = condition();
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            answer?;
            bail!("{what}: not within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Every service, in the order of the pipeline.
pub const SERVICES: [Service; 4] = Service::ALL;
