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
    let (mut outcomes, count) = (Vec::new(), faults.len());
    let (secured, usual): (Vec<_>, Vec<_>) = faults.into_iter().partition(|(_, cause)| cause.needs_tls());
    let mut seeds = 1..;
    for group in [usual, secured].into_iter().filter(|group| !group.is_empty()) {
        println!("Starting the pipeline, Prometheus and Alertmanager.");
        let causes: Vec<Cause> = group.iter().map(|(_, cause)| *cause).collect();
        let ground = Ground::start(&causes)?;
        for ((fault, cause), seed) in group.iter().zip(&mut seeds) {
            println!("{seed} of {count}: {}", fault.title);
            let outcome = ground.run(fault, *cause, seed, &mut |step| println!("    {step}"))?;
            println!("{outcome}");
            outcomes.push(outcome);
        }
    }
    let path = root().join("target/test-scenarios.json");
    std::fs::write(&path, serde_json::to_string_pretty(&outcomes)?)?;
    println!("report: {}", path.display());
    Ok(outcomes.iter().all(|outcome| outcome.findings.is_empty()))
}
