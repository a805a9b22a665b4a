//! `make test-outages`: every longer outage, one after the other, on a stack of its own. Exit code 0: everything held;
//! 1: something did not; 2: the run could not be finished.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::outages::{Outage, on_own_stack};
use e2e::root;

/// Takes each server away for minutes under load, makes ClickHouse slow, and fills its disk.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of each outage
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Messages a second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seed of the load
    #[arg(long, default_value_t = 254)]
    seed: u64,
    /// Only outages whose name holds this text
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("the outages could not be finished: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let mut outages = Outage::ALL.to_vec();
    outages.retain(|outage| outage.to_string().contains(&args.only));
    let length = Duration::from_secs(args.seconds);
    let passed = on_own_stack(&outages, length, args.seed, args.rate, |passed| println!("{passed}"))?;
    let path = root().join("target/test-outages.json");
    std::fs::write(&path, serde_json::to_string_pretty(&passed)?)?;
    println!("report: {}", path.display());
    Ok(passed.iter().all(|passed| passed.findings.is_empty()))
}
