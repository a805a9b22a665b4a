//! Measures the pipeline on this machine, compared with the bare Kafka client.
//!
//! Role: one file for each benchmark; [`figures`], [`goals`], [`report`] and [`statistics`] are their arithmetic, [`wake_up`] says what
//! they are without the machine, [`outputs`] reads what the pipeline has written and what its processes have used. All benchmarks but
//! [`produce`] run on a separate stack ([`stage`]), with the programs and settings of production.
//! Invariant: the JSON keys of [`figures::Figures`] are a contract with tools that compare runs.
//! Failure: the stack is always stopped and removed, unless it is kept on request. Figures from before an error are reported.

mod bare;
mod day;
pub mod figures;
mod goal;
pub mod goals;
mod history;
mod hop;
mod latency;
mod load;
pub mod machine;
mod memory;
mod new_instruments;
mod observe;
pub mod outputs;
mod pipeline;
pub mod produce;
mod quiet;
mod recovery;
pub mod report;
pub mod requests;
mod rows;
mod scaling;
mod stage;
pub mod statistics;
pub mod usage;
mod wake_up;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use localstack::Service;
use ops::interrupt::unless_interrupted;
use ops::place::Place;
use stream::kafka::passthrough::client_settings;

use figures::Section;
use machine::Machine;
use report::{Against, ClientSettings, Report};
use stage::Stage;

/// The benchmarks.
#[derive(Debug, clap::Subcommand)]
#[allow(missing_docs)]
pub enum Which {
    /// Measure the bare Kafka client: consume a topic and produce it again unchanged
    ///
    /// Runs librdkafka with the settings of the services in its own process, without group, order or positions. The result is
    /// the upper limit for a stage between two topics with this client.
    #[command(after_help = "Examples:\n  dp bench passthrough\n  dp bench passthrough --ticks 1000000 --rounds 5")]
    Passthrough(hop::Args),
    /// Measure normalization against the bare client on the same topic
    ///
    /// Rounds of the bare client and of normalization alternate, so that both run under the same conditions; the result is the
    /// median round. ClickHouse is stopped during these rounds, so that normalization's writer waits and the hop is measured
    /// alone. One more round with ClickHouse measures the cost of the writer.
    #[command(after_help = "Examples:\n  dp bench hop --ticks 1000000\n  dp bench hop --against target/image")]
    Hop(hop::Args),
    /// Measure the whole pipeline: from a raw backlog to ClickHouse rows, bars and latest prices
    ///
    /// The backlog is published while no service runs; then all four services start at once. CPU time per tick is shown for
    /// each process, to find the next bottleneck.
    #[command(
        after_help = "Examples:\n  dp bench pipeline\n  dp bench pipeline --ticks 1000000 --json | jq .ticks_per_second"
    )]
    Pipeline(pipeline::Args),
    /// Measure latency from the raw append to each output, at a steady rate
    ///
    /// Publishes at fixed rates, independent of the pipeline. Prints the median, 99th and 99.9th percentile of the latency to
    /// the normalized and the enriched topic, to the latest price in Redis, to the rows in ClickHouse, and of each hop.
    #[command(after_help = "Examples:\n  dp bench latency\n  dp bench latency --rate 2000 --seconds 60")]
    Latency(latency::Args),
    /// Measure what the stack costs on an ordinary day: at a steady rate, as percent of one core
    ///
    /// After a warm-up it measures a window: percent of one core by process, requests a second at the broker by kind (needs a
    /// JDK), inserts a second at ClickHouse, and the latency to the latest price. Then it measures what a wake-up costs on this
    /// machine, and what the counted wake-ups take at that cost.
    #[command(after_help = "Examples:\n  dp bench day --rate 200\n  dp bench day --rate 2000 --seconds 120 --json")]
    Day(day::Args),
    /// Measure what the stack costs without any ticks, as percent of one core
    #[command(after_help = "Examples:\n  dp bench idle\n  dp bench idle --warm-up 600 --seconds 60")]
    Idle(day::IdleArgs),
    /// Measure start-up to the first tick, kill -9 to the next output, and rolling restarts
    ///
    /// A steady load runs while services are started, killed and replaced; all outputs are polled from outside.
    #[command(after_help = "Examples:\n  dp bench recovery\n  dp bench recovery --rate 2000 --instruments 10000")]
    Recovery(recovery::Args),
    /// Measure how fast ticks three years old reach their bars while a live load runs
    ///
    /// First a backlog of old ticks, until every bar includes them; then single late ticks, each to its restated bar. Finally
    /// every bar is compared with a recomputation.
    #[command(after_help = "Examples:\n  dp bench history\n  dp bench history --ticks 200000 --late 50")]
    History(history::Args),
    /// Measure how throughput scales with workers, processes and cores
    ///
    /// Compares one worker with two workers, two processes, and processes that are pinned to one core each.
    #[command(after_help = "Examples:\n  dp bench scaling --ticks 500000")]
    Scaling(scaling::Args),
    /// Measure resident memory of every process each minute under a steady load
    ///
    /// With --instruments it measures instead how many bytes a new instrument costs in each process.
    #[command(after_help = "Examples:\n  dp bench memory --minutes 10\n  dp bench memory --instruments 100000")]
    Memory(memory::Args),
    /// Send records to a topic of their own and measure their acknowledgements
    ///
    /// The only benchmark without a stack of its own: it uses the Kafka of the settings, as `kafka-producer-perf-test` does. It creates
    /// the topic if it is missing, and then deletes it again, unless --keep is given; topics of the pipeline are refused. Records have
    /// the producer settings of the services and go to all partitions in turn. Latency is the time to the acknowledgement. Without
    /// --rate it includes the wait in the client's queue.
    Produce(produce::Args),
    #[command(hide = true)]
    BareClient(bare::ClientArgs),
}

/// What a run has measured.
#[derive(Debug)]
pub struct Run {
    /// The figures, unless there are none.
    pub report: Option<Report>,
    /// Why the run ended early, if it did.
    pub result: anyhow::Result<()>,
}

/// The client that [`Which::BareClient`] runs in its own process, if that is wanted.
pub fn run_client(which: Option<&Which>) -> Option<anyhow::Result<ExitCode>> {
    match which {
        Some(Which::BareClient(client)) => Some(bare::run_client(client)),
        _ => None,
    }
}

/// Runs one benchmark, or all of them with small sizes. The stack is removed afterwards, unless `keep`. With `against`, a folder with
/// other programs of the services, the same follows on a new stack with these.
///
/// # Errors
/// The stack does not start, or that folder lacks a program. An error of a benchmark is part of the [`Run`].
pub async fn run(place: &Place, which: Option<&Which>, keep: bool, against: Option<&Path>) -> anyhow::Result<Run> {
    let against = against.map(services_in).transpose()?;
    let machine = Machine::read();
    let (sections, mut result) = on_a_stack(place, which, keep, None).await?;
    let mut other = None;
    if let Some(services) = against.filter(|_| result.is_ok()) {
        stage::say(&format!("the same with the services of {}", services.display()));
        match on_a_stack(place, which, keep, Some(&services)).await {
            Ok((sections, ended)) => {
                result = ended;
                other = Some(Against { services, sections });
            }
            Err(error) => result = Err(error),
        }
    }
    let report = (!sections.is_empty()).then(|| {
        let (consumer, producer) = client_settings();
        Report {
            machine,
            clients: ClientSettings { consumer, producer },
            sections,
            against: other,
        }
    });
    Ok(Run { report, result })
}

/// The folder, with all services in it: a missing one would end the run after its first half.
fn services_in(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(folder).with_context(|| format!("find {}", folder.display()))?;
    let missing = Service::ALL.map(|service| folder.join(service.name()));
    match missing.into_iter().find(|program| !program.is_file()) {
        Some(program) => bail!(
            "{} is missing: scripts/image_programs.sh builds the services of the container image",
            program.display()
        ),
        None => Ok(folder),
    }
}

/// What was measured on a stack of its own, and why it ended early, if it did.
async fn on_a_stack(
    place: &Place,
    which: Option<&Which>,
    keep: bool,
    services: Option<&Path>,
) -> anyhow::Result<(Vec<Section>, anyhow::Result<()>)> {
    stage::say("starting a stack for the benchmark");
    let stage = Stage::open(place, keep, services).await?;
    let mut sections = Vec::new();
    let measuring = measure(&stage, which, &mut sections);
    let measured = unless_interrupted(measuring, || match keep {
        true => "the stack of the benchmark is still running".to_owned(),
        false => "the stack of the benchmark was removed".to_owned(),
    });
    let measured = measured.await;
    wake_up::relate(&mut sections);
    let closed = stage.close();
    Ok((sections, measured.and(closed)))
}

async fn measure(stage: &Stage, which: Option<&Which>, sections: &mut Vec<Section>) -> anyhow::Result<()> {
    sections.push(match which {
        Some(Which::Passthrough(args)) => hop::passthrough(stage, args).await?,
        Some(Which::Hop(args)) => hop::run(stage, args).await?,
        Some(Which::Pipeline(args)) => pipeline::run(stage, args).await?,
        Some(Which::Latency(args)) => with_baseline(stage, latency::run(stage, args).await?).await?,
        Some(Which::Day(args)) => day::run(stage, args).await?,
        Some(Which::Idle(args)) => day::idle(stage, args).await?,
        Some(Which::Recovery(args)) => with_baseline(stage, recovery::run(stage, args).await?).await?,
        Some(Which::History(args)) => history::run(stage, args).await?,
        Some(Which::Scaling(args)) => scaling::run(stage, args).await?,
        Some(Which::Memory(args)) => with_baseline(stage, memory::run(stage, args).await?).await?,
        // Neither of the first two uses this stack: their callers run them before.
        Some(Which::BareClient(_) | Which::Produce(_)) | None => return everything(stage, sections).await,
    });
    Ok(())
}

/// Adds the throughput of the bare client, for benchmarks that do not measure it themselves.
async fn with_baseline(stage: &Stage, mut section: Section) -> anyhow::Result<Section> {
    let baseline = hop::passthrough(stage, &hop::Args::baseline()).await?;
    section.figures.passthrough_per_second = baseline.figures.ticks_per_second;
    section.rows.extend(baseline.rows);
    Ok(section)
}

/// Runs all benchmarks with small sizes. The rounds of the hop include the bare client. The idle stack comes first, because after a load
/// of 30,000 ticks a second it would count what that has left to do.
async fn everything(stage: &Stage, sections: &mut Vec<Section>) -> anyhow::Result<()> {
    sections.push(day::idle(stage, &day::IdleArgs::usual()).await?);
    sections.push(hop::run(stage, &hop::Args::modest()).await?);
    sections.push(pipeline::run(stage, &pipeline::Args::modest()).await?);
    sections.push(latency::run(stage, &latency::Args::modest()).await?);
    sections.push(day::run(stage, &day::Args::modest()).await?);
    sections.push(recovery::run(stage, &recovery::Args::modest()).await?);
    sections.push(history::run(stage, &history::Args::modest()).await?);
    sections.push(scaling::run(stage, &scaling::Args::modest()).await?);
    sections.push(memory::run(stage, &memory::Args::modest()).await?);
    Ok(())
}
