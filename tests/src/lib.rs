//! The whole pipeline as a user has it: real servers, real programs, for the tests of this package.
//!
//! Role: builds the programs once, runs one stack for a test file, and asks the two judges: `dp verify`, and the oracle of
//! crate `testkit`, which shares no code with the services.
//! Failure: everything has a deadline, and every error says what was being done. Nothing is left behind
//! (see `localstack::Temporary`).

pub mod fault_plan;
pub mod fault_run;
mod http;
mod judges;
mod kept;
pub mod outages;
pub mod times;

use std::io::Write as _;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::{Condition, Name, Service, Stack, Temporary};
use parking_lot::{Mutex, MutexGuard};
use testkit::bars::Times;
use testkit::load::{Load, LoadPlan};
use testkit::stores::{ClickHouse, Postgres, Redis};

pub use judges::Verified;
pub use kept::Kept;

/// The raw topic.
pub const RAW: &str = "ingestion.market.raw.v1";
/// Messages a second of a load, and messages of one part of it: two seconds.
const RATE: u32 = 1_000;
const PART: u32 = 2_000;
/// How long anything may take that ought to happen by itself.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A stack with the four services on it.
pub struct Pipeline {
    stack: Box<dyn Deref<Target = Stack> + Send + Sync>,
    /// ClickHouse, by the oracle's own client.
    pub clickhouse: ClickHouse,
    /// PostgreSQL, by the oracle's own client.
    pub postgres: Postgres,
    /// Redis, by the oracle's own client.
    pub redis: Redis,
    /// When windows are closed and forgotten here, for the oracle.
    times: Times,
}

impl Pipeline {
    /// The stack of this test program, started when it is first asked for. One test has it at a time, and finds it in
    /// order: one replica of each service running, whatever the test before has left.
    pub fn shared() -> MutexGuard<'static, Pipeline> {
        static SHARED: OnceLock<Mutex<Pipeline>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match Pipeline::start() {
            Ok(pipeline) => Mutex::new(pipeline),
            Err(error) => give_up("the stack of the end-to-end tests does not start", &error),
        });
        let pipeline = shared.lock();
        if let Err(error) = pipeline.tidy() {
            give_up("the stack of the end-to-end tests cannot be put in order", &error);
        }
        pipeline
    }

    /// Ends further replicas, and starts what is not running.
    fn tidy(&self) -> anyhow::Result<()> {
        for process in self.stack.status()? {
            match (process.name, process.condition) {
                (Name::Service(_, 2..), Condition::Running | Condition::Paused) => self.stack.kill9(process.name)?,
                (name, Condition::Paused) => self.stack.resume(name)?,
                _ => {}
            }
        }
        self.stack.up()?;
        self.stack.start_services()?;
        Ok(())
    }

    /// Builds the programs, and starts everything on a stack that ends with the test.
    ///
    /// # Errors
    /// Where something cannot be built or does not start.
    pub fn start() -> anyhow::Result<Pipeline> {
        build_programs()?;
        Pipeline::on(Temporary::new()?)
    }

    /// The same, where windows are closed and forgotten at these times.
    ///
    /// # Errors
    /// Where something does not start.
    pub fn with_times(times: Times) -> anyhow::Result<Pipeline> {
        build_programs()?;
        let mut stack = Temporary::new()?;
        stack.config_mut().service_env.extend(times::settings(&times));
        Pipeline::on(stack)
    }

    /// Starts everything on this stack; its environment of the services says when windows are closed and forgotten.
    ///
    /// # Errors
    /// Where something does not start.
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

    /// `dp` with these arguments, set up for this stack.
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
                    .filter(|(name, _)| times::is_setting(name)),
            )
            .arg("--dir")
            .arg(&self.stack.config().dir)
            .args(arguments);
        command
    }

    /// Status and body of `GET path` of a service.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn get(&self, service: impl Into<Name>, path: &str) -> anyhow::Result<(u16, String)> {
        let name = service.into();
        let port = self.stack.port(name).with_context(|| format!("{name} has no port"))?;
        http::get(port, path).with_context(|| format!("ask {name}"))
    }

    /// Runs `dp`; answers what it printed.
    ///
    /// # Errors
    /// Where its exit code is not 0.
    pub fn dp_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.dp(arguments).output().context("run dp")?;
        told(&output).with_context(|| format!("dp {}", arguments.join(" ")))
    }

    /// Publishes simulated ticks; each seed gives other events.
    ///
    /// # Errors
    /// Where not every message was acknowledged.
    pub fn publish_once(&self, ticks: u32, seed: u32) -> anyhow::Result<()> {
        told(&self.simulate(ticks, seed).output().context("run dp simulate")?)
            .context("dp simulate")
            .map(drop)
    }

    /// Publishes simulated ticks until it is told to finish, so that whatever the test does meanwhile is in the middle of
    /// the load.
    pub fn publish(&self, seed: u32) -> Publishing {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let commands: Vec<Command> = (0..1_000)
            .map(|part| self.simulate(PART, seed * 1_000 + part))
            .collect();
        let thread = std::thread::spawn(move || {
            for mut command in commands {
                told(&command.output().context("run dp simulate")?).context("dp simulate")?;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok(())
        });
        Publishing {
            stop,
            thread: Some(thread),
        }
    }

    /// Publishes the oracle's own ticks until it is paused or dropped, through any outage of Kafka.
    ///
    /// # Errors
    /// Where no client can be made.
    pub fn load(&self, seed: u64) -> anyhow::Result<Load> {
        let plan = LoadPlan {
            topic: RAW.to_owned(),
            seed,
            session: 1,
            rate: RATE,
        };
        Load::start(&self.bootstrap(), plan)
    }

    fn simulate(&self, ticks: u32, seed: u32) -> Command {
        let (ticks, rate, seed) = (ticks.to_string(), RATE.to_string(), seed.to_string());
        self.dp(&[
            "simulate",
            "--ticks",
            &ticks,
            "--rate",
            &rate,
            "--seed",
            &seed,
            "--late-percent",
            "4",
            "--duplicate-percent",
            "3",
        ])
    }

    /// `kill -9`, a new start, and the wait until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub fn kill_and_restart(&self, name: impl Into<Name>) -> anyhow::Result<()> {
        let name = name.into();
        self.stack.kill9(name)?;
        self.stack.start(name)?;
        self.stack.wait_ready(name, PATIENCE)?;
        Ok(())
    }

    /// Number of ticks in the last table but one of the pipeline, to see that it moves.
    ///
    /// # Errors
    /// Where ClickHouse does not answer.
    pub fn enriched(&self) -> anyhow::Result<i128> {
        self.clickhouse.number("SELECT count() FROM enriched_ticks")
    }

    /// Waits until the pipeline has taken in at least this many more ticks: the load is under way.
    ///
    /// # Errors
    /// Where it does not.
    pub fn wait_for_more(&self, ticks: i128) -> anyhow::Result<()> {
        let goal = self.enriched()? + ticks;
        eventually("ticks arrive", || Ok(self.enriched()? >= goal))
    }
}

/// A load that is being published; it ends with the test.
pub struct Publishing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Publishing {
    /// Ends the load.
    ///
    /// # Errors
    /// Where not every message was acknowledged.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended
            .unwrap_or(Ok(Ok(())))
            .unwrap_or_else(|_| bail!("the load ended with a panic"))
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        // The test has failed already; what happened to its load is another matter.
        let _ended = self.end();
    }
}

fn give_up(what: &str, error: &anyhow::Error) -> ! {
    // Not by a macro: the test harness keeps what those print for its report, and there is none.
    let told = writeln!(std::io::stderr(), "{what}: {error:#}");
    debug_assert!(told.is_ok());
    std::process::exit(101);
}

/// What a program printed, or its error.
fn told(output: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// Asks again until it is so.
///
/// # Errors
/// When it is not so after [`PATIENCE`], with the last error.
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

/// `cargo test` builds no programs of other packages, so that is done here; nothing happens when they are fresh.
///
/// # Errors
/// Where something does not compile.
pub fn build_programs() -> anyhow::Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--workspace", "--bins", "--quiet"])
        .current_dir(root());
    // What cargo says of this test's own package: to build scripts of dependencies a change of it is a reason to run again.
    let of_the_test = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    });
    of_the_test.for_each(|name| {
        command.env_remove(name);
    });
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    told(&command.output().context("run cargo build")?)
        .context("build the programs")
        .map(drop)
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// A file of the real documents: below `DATA_PROC_SAMPLE_DATA`, else `../shared/data` beside the clone.
pub fn sample(path: &str) -> PathBuf {
    let folder = std::env::var_os("DATA_PROC_SAMPLE_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    folder.join(path)
}

/// Every service, in the order of the pipeline.
pub const SERVICES: [Service; 4] = Service::ALL;
