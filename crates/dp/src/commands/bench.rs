//! `dp bench`: measures the pipeline on this machine, compared with the bare Kafka client.
//!
//! Failure: one line; the stack is always stopped and removed, unless `--keep` is given. Lost or doubled ticks or wrong bars
//! cause exit code 1: the throughput of an incorrect pipeline is meaningless.

use std::path::PathBuf;
use std::process::ExitCode;

use bench::{Run, Which, produce};
use ops::connection::Connection;
use ops::place::Place;
use ops::present::{print_either, print_json, print_line};

/// Measure throughput, latency, recovery and memory of the pipeline on this machine.
///
/// Without a subcommand it runs all benchmarks with small sizes, the idle stack first, in about half an hour. Each run starts
/// its own servers in parallel with any other stack (default ports + 2000; the folder is emptied before the run and removed after
/// it). It publishes simulated ticks of about 430 bytes of JSON and prints the results with a description of the machine. Two runs
/// are comparable only if the machine is otherwise idle: check "load at start".
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp bench                                    # all benchmarks\n  \
                  dp bench hop --ticks 1000000                # one stage against the bare Kafka client\n  \
                  dp bench pipeline --ticks 1000000 --json | jq .ticks_per_second\n  \
                  dp bench hop --keep                         # keep the stack, to read its logs\n  \
                  dp bench hop --against target/image         # and the services of the container image\n  \
                  dp bench produce                            # the Kafka that runs, without the pipeline\n\n\
                  Exit codes: 0 measured and correct; 1 ticks were lost or doubled, or bars are wrong; 2 the benchmark failed"
)]
pub struct Args {
    /// Keep the stack running and keep its folder; for produce, keep the topic
    #[arg(long, global = true)]
    keep: bool,
    /// Then measure the same with the services of this folder, on a new stack: two builds in one run
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "keep")]
    against: Option<PathBuf>,
    #[command(subcommand)]
    which: Option<Which>,
}

impl Args {
    /// The load for the Kafka of the settings, if that is the benchmark.
    pub fn produces(&self) -> Option<&produce::Args> {
        match &self.which {
            Some(Which::Produce(args)) => Some(args),
            _ => None,
        }
    }
}

/// Runs `dp bench produce`.
///
/// # Errors
/// The topic is one of the pipeline, Kafka does not answer, or Ctrl-C.
pub async fn produce(connection: &Connection, args: &Args, load: &produce::Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.against.is_none(),
        "produce uses no services, so there is nothing to compare: omit --against"
    );
    let (produced, removed) = produce::run(connection, load, args.keep).await?;
    print_either(connection.json, &produced, || produced.shown())?;
    removed.map(|()| ExitCode::SUCCESS)
}

/// Runs `dp bench`.
///
/// # Errors
/// The stack does not start, a stage stalls, or Ctrl-C.
pub async fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(client) = bench::run_client(args.which.as_ref()) {
        return client;
    }
    let Run { report, result } = bench::run(place, args.which.as_ref(), args.keep, args.against.as_deref()).await?;
    let Some(report) = report else {
        return result.map(|()| ExitCode::SUCCESS);
    };
    if json {
        print_json(&report.to_json()?)?;
    } else {
        print_line(&report.shown())?;
    }
    // Results from before an error are shown, too.
    result?;
    Ok(ExitCode::from(u8::from(report.is_wrong())))
}
