//! `make test-outages`: all long outages, one after the other, on their own stack. Exit codes: 0 if there are no findings;
//! 1 if there are; 2 if the run could not be finished.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::outages::{Outage, on_own_stack};
use e2e::root;

/// Stops each server for minutes under load, slows ClickHouse down, and fills its disk.
#[derive(Debug, Parser)]
struct Args {
    /// Duration of each outage in seconds
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Messages per second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seed of the load
    #[arg(long, default_value_t = 254)]
    seed: u64,
    /// Only outages whose name contains this text
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("outage run not finished: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let mut outages = Outage::ALL.to_vec();
    outages.retain(|outage| outage.to_string().contains(&args.only));
    let length = Duration::from_secs(args.seconds);
    let results = on_own_stack(&outages, length, args.seed, args.rate, |result| println!("{result}"))?;
    let path = root().join("target/test-outages.json");
    std::fs::write(&path, serde_json::to_string_pretty(&results)?)?;
    println!("report: {}", path.display());
    Ok(results.iter().all(|result| result.findings.is_empty()))
}
