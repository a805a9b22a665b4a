//! `make test-faults KILLS=n [SEED=s]`: the fault run on its own stack. The same seed resumes an interrupted run.
//! Exit codes: 0 if nothing was lost, doubled or wrong; 1 if something was; 2 if the run could not be finished.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Parser;
use e2e::fault_run::{self, Options};
use e2e::{Kept, Pipeline, prompt_rows, root};

/// Kills, freezes and restarts processes at random under load, and counts lost, doubled and wrong data.
#[derive(Debug, Parser)]
struct Args {
    /// Number of faults
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Seed of the plan and the load [default: the time in seconds]
    #[arg(long)]
    seed: Option<u64>,
    /// Messages per second
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Maximum number of faults at the same time
    #[arg(long, default_value_t = 3)]
    actors: u32,
    /// Faults between two checks of all data
    #[arg(long, default_value_t = 50)]
    check_every: u32,
    /// Folder of the reports (SEED.json) [default: target/test-faults]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Folder of the stack [default: /var/tmp/254carbon-faults-SEED]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keep the folder of the stack after a run without findings
    #[arg(long)]
    keep: bool,
    /// Maximum size of the folder of the stack, in MB
    #[arg(long, default_value_t = 20_000)]
    disk_limit_mb: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("fault run not finished: {error:#}");
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
    set_aside_report_without_data(&options.report, &data)?;
    eprintln!(
        "seed {seed}, report {}, data {}; run again with this seed to resume an interrupted run",
        options.report.display(),
        data.display()
    );
    let stack = Kept::open(&data).map(|mut stack| {
        stack.config_mut().service_env.extend(fault_run::settings(seed));
        stack.config_mut().service_env.extend([prompt_rows()]);
        stack
    });
    let outcome = stack.and_then(Pipeline::on).and_then(|pipeline| {
        let report = fault_run::run(&pipeline, &options);
        pipeline.stack().kill_all()?;
        report
    });
    let report = outcome.inspect_err(|_| eprintln!("logs and data are kept in {}", data.display()))?;
    println!("{report}");
    if report.is_ok() && !args.keep {
        Kept::remove(&data)?;
    } else {
        println!("logs and data are kept in {}", data.display());
    }
    Ok(report.is_ok())
}

/// A run whose data is gone cannot be resumed, so its report is renamed and a new run begins.
fn set_aside_report_without_data(report: &Path, data: &Path) -> anyhow::Result<()> {
    if report.exists() && !data.exists() {
        let earlier = report.with_extension("earlier.json");
        std::fs::rename(report, &earlier).with_context(|| format!("rename {}", report.display()))?;
        eprintln!(
            "the earlier run of this seed has no data, so a new run begins; the earlier report is {}",
            earlier.display()
        );
    }
    if data.exists() && !report.exists() {
        bail!(
            "{} contains data of a run without a report: remove it, or choose another folder with --data",
            data.display()
        );
    }
    Ok(())
}
