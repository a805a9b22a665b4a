//! `dp start`, `dp stop` and `dp restart`: single services, replicas and servers.

use std::time::Duration;

use localstack::{Name, Service, Stack, StackError};
use ops::definitions::check_configuration;
use ops::threads::blocking;

use super::report::{listed, report};
use ops::interrupt::{interrupt_flag, or_interrupted};
use ops::place::Place;
use ops::present;
use ops::progress::{self, waiting};

const READY_LIMIT: Duration = Duration::from_secs(120);
/// A longer wait is explained on stderr.
const QUIET_WAIT: Duration = Duration::from_secs(2);

/// Start services, replicas or servers
///
/// Without a name it starts the four services. Servers start only by name. An additional replica, such as normalization-2,
/// gets a free port. The services see the DATA_PROC_* and RUST_LOG variables of this shell, with the addresses of this stack.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  dp start\n  dp start clickhouse\n  \
                        dp start normalization-2        # a second replica of normalization")]
pub struct StartArgs {
    #[command(flatten)]
    which: Which,
}

/// Stop services, replicas or servers, then start them again
///
/// Without a name it restarts the four services. Use it after a new build or a change of DATA_PROC_* in this shell. Services
/// drain and commit before they stop, so no tick is lost or doubled.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  dp restart\n  dp restart projection\n  dp restart clickhouse")]
pub struct RestartArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// kafka, clickhouse, postgres, redis, normalization, enrichment, aggregation, projection, or a replica such as
    /// normalization-2
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// Return at once instead of waiting until they are ready
    #[arg(long)]
    no_wait: bool,
}

/// Stop services, replicas or servers
///
/// Without a name it stops the four services and their replicas. Servers stop only by name. Services drain and commit for up
/// to 30 s. With --kill they do not, so the next start reads some records again; no data is lost.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  dp stop\n  dp stop redis\n  \
                        dp stop --kill aggregation      # as if the machine had crashed")]
pub struct StopArgs {
    /// Services, replicas or servers to stop
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// Kill with SIGKILL (kill -9) instead of an orderly shutdown
    #[arg(long)]
    kill: bool,
}

/// Runs `dp start`.
pub async fn start(place: &Place, args: &StartArgs, json: bool) -> anyhow::Result<()> {
    let which = &args.which;
    let started = start_names(place.open()?, or_services(&which.names), which.no_wait).await?;
    report("started", &started, json)
}

/// Runs `dp stop`.
pub async fn stop(place: &Place, args: &StopArgs, json: bool) -> anyhow::Result<()> {
    let stack = place.open()?;
    let names = if args.names.is_empty() {
        recorded_services(&stack)?
    } else {
        args.names.clone()
    };
    let (kill, named) = (args.kill, args.names.clone());
    let stopped = blocking(move || stop_names(&stack, names, kill)).await?;
    progress::clear();
    for name in named.iter().filter(|name| !stopped.contains(name)) {
        eprintln!("{name} did not run");
    }
    report(if kill { "killed" } else { "stopped" }, &stopped, json)
}

/// Runs `dp restart`.
pub async fn restart(place: &Place, args: &RestartArgs, json: bool) -> anyhow::Result<()> {
    let (mut stack, which) = (place.open()?, &args.which);
    let names = or_services(&which.names);
    // Checked before anything stops that could not start again.
    check_configuration(&mut stack, &names)?;
    let (stopping, to_stop) = (stack.clone(), names.clone());
    let stopped = blocking(move || stop_names(&stopping, to_stop, false));
    waiting("stopping; services drain for up to 30 s", stopped).await?;
    let restarted = start_names(stack, names, which.no_wait).await?;
    report("restarted", &restarted, json)
}

async fn start_names(mut stack: Stack, names: Vec<Name>, no_wait: bool) -> anyhow::Result<Vec<Name>> {
    check_configuration(&mut stack, &names)?;
    (stack.config_mut().progress, stack.config_mut().interrupted) = (true, interrupt_flag());
    blocking(move || {
        let mut started = Vec::new();
        start_each(&stack, &names, no_wait, &mut started).map_err(|error| {
            or_interrupted(error.into(), || match started.is_empty() {
                true => "nothing was started".to_owned(),
                false => format!(
                    "started and left running: {}; `dp status` shows whether they are ready, `dp stop` stops them",
                    listed(&started)
                ),
            })
        })?;
        Ok(started)
    })
    .await
}

fn start_each(stack: &Stack, names: &[Name], no_wait: bool, started: &mut Vec<Name>) -> Result<(), StackError> {
    for name in names {
        stack.refuse_frozen(*name)?;
    }
    for name in names.iter().filter(|name| stack.pid(**name).is_none()) {
        stack.config().check_interrupted()?;
        stack.start(*name)?;
        started.push(*name);
    }
    if no_wait {
        return Ok(());
    }
    names.iter().try_for_each(|name| wait_ready(stack, *name))
}

/// Waits until the process is ready; explains a long wait on stderr.
fn wait_ready(stack: &Stack, name: Name) -> Result<(), StackError> {
    match stack.wait_ready(name, QUIET_WAIT) {
        Err(StackError::NotReady { .. }) => {
            let why = stack.why_not_ready(name).unwrap_or_default();
            let why = present::printable(&why);
            eprintln!("waiting up to {} s for {name}: {why}", READY_LIMIT.as_secs());
            stack.wait_ready(name, READY_LIMIT)
        }
        other => other,
    }
}

fn stop_names(stack: &Stack, names: Vec<Name>, kill: bool) -> anyhow::Result<Vec<Name>> {
    let mut stopped = Vec::new();
    for name in names {
        let runs = stack.pid(name).is_some();
        if kill && runs {
            stack.kill9(name)?;
        } else {
            // Also dismisses the failure of a process that has ended.
            stack.stop(name)?;
        }
        if runs {
            stopped.push(name);
        }
    }
    Ok(stopped)
}

fn or_services(names: &[Name]) -> Vec<Name> {
    if names.is_empty() {
        Service::ALL.map(Name::from).to_vec()
    } else {
        names.to_vec()
    }
}

/// All services that were ever started in this stack, replicas included.
fn recorded_services(stack: &Stack) -> anyhow::Result<Vec<Name>> {
    Ok(stack
        .status()?
        .into_iter()
        .map(|process| process.name)
        .filter(|name| matches!(name, Name::Service(..)))
        .collect())
}
