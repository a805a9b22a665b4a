//! `dp bench`: measures the pipeline on this machine, compared with the bare Kafka client.
//!
//! Role: the command line and the order of the benchmarks. Each benchmark has its own file; the arithmetic is in
//! [`crate::bench`]. All run on a separate stack ([`stage`]), with the programs and settings of production.
//! Failure: one line; the stack is always stopped and removed, unless `--keep` is given. Lost or doubled ticks or wrong bars
//! cause exit code 1: the throughput of an incorrect pipeline is meaningless.

mod bare;
mod day;
mod history;
mod hop;
mod latency;
mod load;
mod memory;
mod new_instruments;
mod observe;
mod pipeline;
mod recovery;
mod scaling;
mod stage;
mod watch;

use std::process::ExitCode;

use stream::kafka::passthrough::client_settings;

use super::interrupt::unless_interrupted;
use super::present::{print_json, print_line};
use crate::bench::figures::Section;
use crate::bench::machine::Machine;
use crate::bench::report::{ClientSettings, Report};
use crate::cli::Place;
use stage::Stage;

/// Measure throughput, latency, recovery and memory of the pipeline on this machine.
///
/// Without a subcommand it runs all benchmarks with small sizes, in about a quarter of an hour. Each run starts its own servers in
/// parallel with any other stack (default ports + 2000; the folder is emptied before the run and removed after it). It
/// publishes simulated ticks of about 430 bytes of JSON and prints the results with a description of the machine. Two runs
/// are comparable only if the machine is otherwise idle: check "load at start".
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp bench                                    # all benchmarks\n  \
                  dp bench hop --ticks 1000000                # one stage against the bare Kafka client\n  \
                  dp bench pipeline --ticks 1000000 --json | jq .ticks_per_second\n  \
                  dp bench hop --keep                         # keep the stack, to read its logs\n\n\
                  Exit codes: 0 measured and correct; 1 ticks were lost or doubled, or bars are wrong; 2 the benchmark failed"
)]
pub struct Args {
    /// Keep the stack running and keep its folder
    #[arg(long, global = true)]
    keep: bool,
    #[command(subcommand)]
    which: Option<Which>,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// Measure the bare Kafka client: consume a topic and produce it again unchanged
    ///
    /// Runs librdkafka with the settings of the services in its own process, without group, order or positions. The result is
    /// the upper limit for a stage between two topics with this client.
    Passthrough(hop::Args),
    /// Measure normalization against the bare client on the same topic
    ///
    /// Rounds of the bare client and of normalization alternate, so that both run under the same conditions; the result is the
    /// median round. ClickHouse is stopped during these rounds, so that normalization's writer waits and the hop is measured
    /// alone. One more round with ClickHouse measures the cost of the writer.
    Hop(hop::Args),
    /// Measure the whole pipeline: from a raw backlog to ClickHouse rows, bars and latest prices
    ///
    /// The backlog is published while no service runs; then all four services start at once. CPU time per tick is shown for
    /// each process, to find the next bottleneck.
    Pipeline(pipeline::Args),
    /// Measure latency from the raw append to each output, at a steady rate
    ///
    /// Publishes at fixed rates, independent of the pipeline. Prints the median, 99th and 99.9th percentile of the latency to
    /// the normalized and the enriched topic, to the latest price in Redis, to the rows in ClickHouse, and of each hop.
    Latency(latency::Args),
    /// Measure what the stack costs on an ordinary day: at a steady rate, as percent of one core
    ///
    /// After a warm-up it measures a window: percent of one core by process, requests a second at the broker by kind (needs a
    /// JDK), inserts a second at ClickHouse, and the latency to the latest price.
    Day(day::Args),
    /// Measure what the stack costs without any ticks, as percent of one core
    Idle(day::IdleArgs),
    /// Measure start-up to the first tick, kill -9 to the next output, and rolling restarts
    ///
    /// A steady load runs while services are started, killed and replaced; all outputs are polled from outside.
    Recovery(recovery::Args),
    /// Measure how fast ticks three years old reach their bars while a live load runs
    ///
    /// First a backlog of old ticks, until every bar includes them; then single late ticks, each to its restated bar. Finally
    /// every bar is compared with a recomputation.
    History(history::Args),
    /// Measure how throughput scales with workers, processes and cores
    ///
    /// Compares one worker with two workers, two processes, and processes that are pinned to one core each.
    Scaling(scaling::Args),
    /// Measure resident memory of every process each minute under a steady load
    ///
    /// With --instruments it measures instead how many bytes a new instrument costs in each process.
    Memory(memory::Args),
    #[command(hide = true)]
    BareClient(bare::ClientArgs),
}

/// Runs `dp bench`.
///
/// # Errors
/// The stack does not start, a stage stalls, or Ctrl-C.
pub async fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(Which::BareClient(client)) = &args.which {
        return bare::run_client(client);
    }
    let machine = Machine::read();
    stage::say("starting a stack for the benchmark");
    let stage = Stage::open(place, args.keep).await?;
    let mut sections = Vec::new();
    let measuring = measure(&stage, args.which.as_ref(), &mut sections);
    let measured = unless_interrupted(measuring, || match args.keep {
        true => "the stack of the benchmark is still running".to_owned(),
        false => "the stack of the benchmark was removed".to_owned(),
    });
    let measured = measured.await;
    let closed = stage.close();
    if sections.is_empty() {
        return measured.and(closed).map(|()| ExitCode::SUCCESS);
    }
    let (consumer, producer) = client_settings();
    let report = Report {
        machine,
        clients: ClientSettings { consumer, producer },
        sections,
    };
    if json {
        print_json(&report.to_json()?)?;
    } else {
        print_line(&report.shown())?;
    }
    // Results from before an error are shown, too.
    measured.and(closed)?;
    Ok(ExitCode::from(u8::from(report.is_wrong())))
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
        Some(Which::BareClient(_)) | None => return everything(stage, sections).await,
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

/// Runs all benchmarks with small sizes. The rounds of the hop include the bare client.
async fn everything(stage: &Stage, sections: &mut Vec<Section>) -> anyhow::Result<()> {
    sections.push(hop::run(stage, &hop::Args::modest()).await?);
    sections.push(pipeline::run(stage, &pipeline::Args::modest()).await?);
    sections.push(latency::run(stage, &latency::Args::modest()).await?);
    sections.push(day::idle(stage, &day::IdleArgs::modest()).await?);
    sections.push(day::run(stage, &day::Args::modest()).await?);
    sections.push(recovery::run(stage, &recovery::Args::modest()).await?);
    sections.push(history::run(stage, &history::Args::modest()).await?);
    sections.push(scaling::run(stage, &scaling::Args::modest()).await?);
    sections.push(memory::run(stage, &memory::Args::modest()).await?);
    Ok(())
}
