//! `make test-faults KILLS=n [SEED=s]`: the fault run on a stack of its own. The same seed continues where an interrupted run
//! was. Exit code 0: nothing lost, doubled or wrong; 1: something was; 2: the run could not be finished.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Parser;
use e2e::fault_run::{self, Options};
use e2e::{Kept, Pipeline, root, times};

/// Kills, freezes and restarts everything at random while ticks flow, and counts what is lost, doubled or wrong.
#[derive(Debug, Parser)]
struct Args {
    /// Faults to do
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Seed of the plan [default: from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Messages a second
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Faults at the same time, at most
    #[arg(long, default_value_t = 3)]
    actors: u32,
    /// Faults between two checks of everything
    #[arg(long, default_value_t = 50)]
    check_every: u32,
    /// Folder of the reports, SEED.json each [default: target/test-faults]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Folder of the stack's data [default: /var/tmp/254carbon-faults-SEED]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keep the stack's data when the run has ended well
    #[arg(long)]
    keep: bool,
    /// Largest size of the stack's data, in MB
    #[arg(long, default_value_t = 20_000)]
    disk_limit_mb: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("the fault run could not be finished: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<bool> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("read the clock")?
            .as_secs(),
    };
    let data = args
        .data
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("/var/tmp/254carbon-faults-{seed}")));
    let folder = args.dir.clone().unwrap_or_else(|| root().join("target/test-faults"));
    let options = Options {
        kills: args.kills,
        seed,
        rate: args.rate,
        actors: args.actors,
        check_every: args.check_every.max(1),
        report: folder.join(format!("{seed}.json")),
        disk_limit_mb: args.disk_limit_mb,
    };
    begin_anew_without_data(&options.report, &data)?;
    eprintln!(
        "seed {seed}; report {}; data {}; the same seed continues with an interrupted run",
        options.report.display(),
        data.display()
    );
    let stack = Kept::open(&data).map(|mut stack| {
        let times = times::settings(&fault_run::times(seed));
        stack.config_mut().service_env.extend(times);
        stack
    });
    let outcome = stack.and_then(Pipeline::on).and_then(|pipeline| {
        let report = fault_run::run(&pipeline, &options);
        pipeline.stack().kill_all()?;
        report
    });
    let report = outcome.inspect_err(|_| eprintln!("logs and data stay in {}", data.display()))?;
    println!("{report}");
    if report.is_ok() && !args.keep {
        Kept::remove(&data)?;
    } else {
        println!("logs and data stay in {}", data.display());
    }
    Ok(report.is_ok())
}

/// The report of a run whose data are gone cannot be gone on with: it is kept under another name.
fn begin_anew_without_data(report: &Path, data: &Path) -> anyhow::Result<()> {
    if report.exists() && !data.exists() {
        let earlier = report.with_extension("earlier.json");
        std::fs::rename(report, &earlier).with_context(|| format!("rename {}", report.display()))?;
        eprintln!(
            "the run of this seed has ended, and begins anew; its report is {}",
            earlier.display()
        );
    }
    if data.exists() && !report.exists() {
        bail!(
            "{} is of a run without a report: remove it, or use another --data",
            data.display()
        );
    }
    Ok(())
}
