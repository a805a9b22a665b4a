//! The bare client as a separate process, so that its CPU time and memory can be measured.
//!
//! Contains both sides: the child (`dp bench bare-client`, hidden) and the benchmark that starts and measures it.

use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use localstack::{Server, Stack};
use serde::{Deserialize, Serialize};
use stream::Brokers;
use stream::kafka::admin::create_topics;
use stream::kafka::passthrough;

use super::stage::{Scene, blocking};
use super::watch::Ends;
use crate::figures::Figures;
use crate::usage::{Usages, peak_bytes};
use ops::present::print_json_line;
use ops::topics;

/// Name of the process in the figures.
pub const NAME: &str = "passthrough";

/// Arguments of the child.
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    from: String,
    #[arg(long)]
    to: String,
    #[arg(long)]
    messages: u64,
}

/// The child's result, one line of JSON on stdout.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    cpu_seconds: f64,
    peak_bytes: u64,
}

/// Runs the child.
pub fn run_client(args: &ClientArgs) -> anyhow::Result<ExitCode> {
    let pid = std::process::id() as i32;
    let cpu = || localstack::usage(pid).map_or(0.0, |usage| usage.cpu_seconds);
    let mut cpu_at_start = 0.0;
    blocking(|| {
        let began = || cpu_at_start = cpu();
        Ok(passthrough::run(
            // The broker of the local stack accepts connections without login.
            &Brokers::plaintext(&args.bootstrap),
            &args.from,
            &args.to,
            args.messages,
            began,
        )?)
    })?;
    print_json_line(&Answer {
        cpu_seconds: cpu() - cpu_at_start,
        peak_bytes: peak_bytes(pid),
    })?;
    // The clients close when the process ends: closing them is not part of the measurement.
    Ok(ExitCode::SUCCESS)
}

/// Moves the messages once without measuring: a broker is several times slower right after its start.
pub async fn warm_up(scene: &Scene, messages: u64) -> anyhow::Result<()> {
    let topic = format!("{}.warm-up", scene.raw());
    measure(scene, &topic, messages, None).await.map(drop)
}

/// Runs the bare client from the scene's raw topic into a new topic `to`; with `core`, pinned to that core.
pub async fn measure(scene: &Scene, to: &str, messages: u64, core: Option<usize>) -> anyhow::Result<Figures> {
    create_topic(scene, to).await?;
    blocking(|| {
        let ends = Ends::new(scene.bootstrap(), to)?;
        let kafka = || Usages::of_pids(scene.stack.pid(Server::Kafka).map(|pid| ("kafka".to_owned(), pid)));
        let mut before = Usages::default();
        // `Ends::new` has waited until the topic is known, so the child can use it.
        let mut child = Guarded(spawn(scene, to, messages, core)?);
        let seconds = ends.until(&scene.stack, messages, || before = kafka());
        let seconds = match child.0.try_wait() {
            Ok(Some(status)) if !status.success() => {
                bail!("the bare client ended early ({status}): see its error above")
            }
            _ => seconds?,
        };
        let after = kafka();
        let answer = child.answer()?;
        let mut figures = Figures::moved(messages, seconds);
        after.since(&before, messages, &mut figures);
        let micros = answer.cpu_seconds * 1e6 / messages.max(1) as f64;
        figures.cpu_us_per_tick.insert(NAME.to_owned(), micros);
        let peak = answer.peak_bytes as f64 / (1024.0 * 1024.0);
        figures.peak_rss_mb.insert(NAME.to_owned(), peak);
        let appended = ends.total()?;
        Ok(figures.with_counts(0, appended.saturating_sub(messages)))
    })
}

/// Creates a topic with the settings of a topic between two stages.
async fn create_topic(scene: &Scene, name: &str) -> anyhow::Result<()> {
    let connection = &scene.connection;
    let like = topics::specs(&connection.names, &connection.settings, None)
        .into_iter()
        .find(|spec| spec.name == connection.names.normalized)
        .map(|mut spec| {
            name.clone_into(&mut spec.name);
            spec
        })
        .context("no topic of normalized ticks is configured")?;
    create_topics(scene.bootstrap(), &[like])
        .await
        .with_context(|| format!("create topic {name}"))?;
    Ok(())
}

fn spawn(scene: &Scene, to: &str, messages: u64, core: Option<usize>) -> anyhow::Result<Child> {
    // Not the path: the program may have been rebuilt meanwhile.
    let own = format!("/proc/{}/exe", std::process::id());
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(own);
            command
        }
        None => Command::new(own),
    };
    command.args([
        "bench",
        "bare-client",
        "--bootstrap",
        scene.bootstrap().addresses(),
        "--from",
        scene.raw(),
    ]);
    command.args(["--to", to, "--messages", &messages.to_string()]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the bare client")
}

const PIN_TRIES: u32 = 20;

/// Pins a process of the stack, with all its current and future threads, to this core.
pub fn pin(stack: &Stack, name: localstack::Name, core: usize) -> anyhow::Result<()> {
    stack.use_all_cores()?;
    let pid = stack.pid(name).with_context(|| format!("{name} is not running"))?;
    let mut said = String::new();
    // taskset pins thread after thread and fails if one has ended meanwhile.
    for _ in 0..PIN_TRIES {
        let mut command = Command::new("taskset");
        command.args(["-a", "-c", "-p", &core.to_string(), &pid.to_string()]);
        let output = command.output().context("run taskset")?;
        if output.status.success() {
            return Ok(());
        }
        said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    }
    bail!("taskset cannot pin {name} to core {core}: {said}");
}

/// Kills the child if the benchmark ends early.
struct Guarded(Child);

impl Guarded {
    fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut text = String::new();
        if let Some(mut out) = self.0.stdout.take() {
            std::io::Read::read_to_string(&mut out, &mut text).context("read from the bare client")?;
        }
        let status = self.0.wait().context("wait for the bare client")?;
        if !status.success() {
            bail!("the bare client failed ({status}): see its error above");
        }
        serde_json::from_str(text.trim()).context("read the result of the bare client")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _already_ended = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}
