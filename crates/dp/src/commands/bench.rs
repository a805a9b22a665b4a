//! `dp bench`: how fast the pipeline is on this machine, beside what the machine and the Kafka client could do at most.
//!
//! Role: the command line, and the order of things; each benchmark is a file of its own, and the arithmetic is in
//! [`crate::bench`]. All run on a stack of their own ([`stage`]), with the programs and settings of production.
//! Failure: one line; the stack is ended and removed whatever happens, unless `--keep`. Lost or doubled ticks end in exit
//! code 1, since a fast pipeline that is wrong is not fast.

mod bare;
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
/// Without a subcommand everything is measured with modest sizes, in less than ten minutes. Each run starts servers of its
/// own beside whatever runs (ports + 2000, a folder of its own that is emptied before and removed after), publishes
/// simulated ticks of about 430 bytes of JSON, and prints the machine's facts with the figures. Figures of two runs compare only
/// on a machine that does nothing else: look at "load at start".
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp bench                                    # everything\n  \
                  dp bench hop --ticks 1000000                # one stage beside the bare Kafka client\n  \
                  dp bench pipeline --ticks 1000000 --json | jq .ticks_per_second\n  \
                  dp bench hop --keep                         # leave the stack to look at its logs\n\n\
                  Exit codes: 0 measured; 1 measured, and ticks were lost or doubled, or bars wrong; 2 could not be measured"
)]
pub struct Args {
    /// Leave the stack running and its folder in place
    #[arg(long, global = true)]
    keep: bool,
    #[command(subcommand)]
    which: Option<Which>,
}

#[derive(Debug, clap::Subcommand)]
enum Which {
    /// The Kafka client alone: consume a topic and produce it again, unchanged
    ///
    /// librdkafka with the settings of the services in a process of its own, without group, order or positions. This is the
    /// most that a stage between two topics could reach with this client.
    Passthrough(hop::Args),
    /// Normalization's real program over the same topic as the bare client
    ///
    /// Rounds of bare client and normalization alternate, so that both see the same machine; the middle round counts.
    /// ClickHouse is down for these rounds, so that normalization's writer waits and the hop is measured alone; one more round
    /// with ClickHouse tells what the writer adds.
    Hop(hop::Args),
    /// The whole pipeline: a raw backlog to ClickHouse rows, bars and latest prices
    ///
    /// The backlog is published while no service runs; then all four are started at once. CPU time for each tick of every
    /// process shows where the next bottleneck is.
    Pipeline(pipeline::Args),
    /// From the raw append to each place where a tick can be seen, at a steady rate
    ///
    /// Publishes at fixed rates, whatever the pipeline does, and prints the median, 99th and 99.9th percentile to the normalized
    /// and the enriched topic, to the latest price in Redis and to the rows in ClickHouse, and those of each hop.
    Latency(latency::Args),
    /// Start-up to the first tick, kill -9 to the next output, rolling restarts
    ///
    /// A steady load runs while services are started, killed and replaced; every output is watched from outside.
    Recovery(recovery::Args),
    /// Ticks three years old while a live load runs: until every bar holds them, and one late tick to its bar
    History(history::Args),
    /// Two workers, two processes, one core each, beside one worker
    Scaling(scaling::Args),
    /// Resident memory of every process, each minute under a steady load
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
        true => "the stack of the benchmark runs on".to_owned(),
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
    // What was measured before an error is shown all the same.
    measured.and(closed)?;
    Ok(ExitCode::from(u8::from(report.is_wrong())))
}

async fn measure(stage: &Stage, which: Option<&Which>, sections: &mut Vec<Section>) -> anyhow::Result<()> {
    sections.push(match which {
        Some(Which::Passthrough(args)) => hop::passthrough(stage, args).await?,
        Some(Which::Hop(args)) => hop::run(stage, args).await?,
        Some(Which::Pipeline(args)) => pipeline::run(stage, args).await?,
        Some(Which::Latency(args)) => with_baseline(stage, latency::run(stage, args).await?).await?,
        Some(Which::Recovery(args)) => with_baseline(stage, recovery::run(stage, args).await?).await?,
        Some(Which::History(args)) => history::run(stage, args).await?,
        Some(Which::Scaling(args)) => scaling::run(stage, args).await?,
        Some(Which::Memory(args)) => with_baseline(stage, memory::run(stage, args).await?).await?,
        Some(Which::BareClient(_)) | None => return everything(stage, sections).await,
    });
    Ok(())
}

/// Adds what the bare client does on this machine, for benchmarks that do not run it themselves.
async fn with_baseline(stage: &Stage, mut section: Section) -> anyhow::Result<Section> {
    let baseline = hop::passthrough(stage, &hop::Args::baseline()).await?;
    section.figures.passthrough_per_second = baseline.figures.ticks_per_second;
    section.rows.extend(baseline.rows);
    Ok(section)
}

/// Everything with modest sizes. The bare client is in the hop's rounds.
async fn everything(stage: &Stage, sections: &mut Vec<Section>) -> anyhow::Result<()> {
    sections.push(hop::run(stage, &hop::Args::modest()).await?);
    sections.push(pipeline::run(stage, &pipeline::Args::modest()).await?);
    sections.push(latency::run(stage, &latency::Args::modest()).await?);
    sections.push(recovery::run(stage, &recovery::Args::modest()).await?);
    sections.push(history::run(stage, &history::Args::modest()).await?);
    sections.push(scaling::run(stage, &scaling::Args::modest()).await?);
    sections.push(memory::run(stage, &memory::Args::modest()).await?);
    Ok(())
}
