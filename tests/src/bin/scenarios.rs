//! `make test-scenarios`: each fault of docs/faults.md on the running pipeline, with its signs and its cure. Exit codes: 0 if all
//! was as the page states; 1 if not; 2 if the run could not be finished.

use std::process::ExitCode;

use clap::Parser;
use e2e::root;
use e2e::scenarios::{Cause, Ground, described};

/// Causes each fault of docs/faults.md, looks for its signs, applies its cure, and verifies the data.
#[derive(Debug, Parser)]
struct Args {
    /// Only faults whose heading contains this text
    #[arg(long, default_value = "")]
    only: String,
    /// Print the headings and end
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("scenarios not finished: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let mut faults = described()?;
    faults.retain(|(fault, _)| fault.title.contains(&args.only));
    if args.list {
        faults.iter().for_each(|(fault, _)| println!("{}", fault.title));
        return Ok(true);
    }
    println!("Starting the pipeline, Prometheus and Alertmanager.");
    let causes: Vec<Cause> = faults.iter().map(|(_, cause)| *cause).collect();
    let ground = Ground::start(&causes)?;
    let mut outcomes = Vec::new();
    for (seed, (fault, cause)) in (1..).zip(&faults) {
        println!("{seed} of {}: {}", faults.len(), fault.title);
        if !ground.can_cause(*cause) {
            println!("    SKIPPED: it cannot be caused here");
            continue;
        }
        let outcome = ground.run(fault, *cause, seed, &mut |step| println!("    {step}"))?;
        println!("{outcome}");
        outcomes.push(outcome);
    }
    let path = root().join("target/test-scenarios.json");
    std::fs::write(&path, serde_json::to_string_pretty(&outcomes)?)?;
    println!("report: {}", path.display());
    Ok(outcomes.iter().all(|outcome| outcome.findings.is_empty()))
}
