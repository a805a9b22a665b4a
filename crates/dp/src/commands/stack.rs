//! `dp up`, `down`, `status`, `start`, `stop`, `restart`, `ps`, `clean-data`, `completions`: the local stack.
//!
//! Role: thin words around crate `localstack`, whose calls block and therefore run beside the runtime.
//! Failure: what a failing `up` had started is stopped again; Ctrl-C counts as such a failure.

mod status;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::CommandFactory;
use clap_complete::Shell;
use localstack::{Condition, Name, Ports, ProcessStatus, Service, Stack, StackConfig, StackError};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::status::{described, optional, show, states};
use super::present::{print_json, print_line, table};
use super::{Interrupted, migrate, topics, unless_interrupted};
use crate::cli::{Cli, Place};
use crate::connection::{Connection, process_env, refuse_contradiction, refuse_elsewhere};
use crate::consent;

const READY_LIMIT: Duration = Duration::from_secs(120);
/// A wait that is longer than this is explained.
const SAID_AFTER: Duration = Duration::from_secs(2);

/// Fetch and start the servers, make tables and topics, start the services
///
/// Brings up everything on this machine: Kafka, ClickHouse, PostgreSQL and Redis as ordinary processes on 127.0.0.1,
/// then tables, topics and the four services. The first time it downloads Kafka and ClickHouse (232 MB) into
/// DATA_PROC_CACHE (~/.cache/254carbon). What runs already is left alone, so running it again is harmless.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    after_help = "Examples:\n  dp up\n  dp up --port-offset 1000        a second stack beside the first\n  \
                        dp up --no-services             servers, tables and topics only"
)]
pub struct UpArgs {
    /// Start the servers and make tables and topics, but start no service
    #[arg(long)]
    pub no_services: bool,
}

/// Start services, replicas or servers
///
/// Without a name: the four services; servers only when they are named. A further replica of a service gets a free port.
/// The services see the DATA_PROC_* and RUST_LOG variables of this shell, with the addresses of this stack.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  dp start\n  dp start normalization-2        a second replica of normalization\n  \
                        dp restart clickhouse"
)]
pub struct StartArgs {
    /// What to start: kafka, clickhouse, postgres, redis, normalization, …, or a replica such as normalization-2
    names: Vec<Name>,
    /// Do not wait until it answers its clients
    #[arg(long)]
    no_wait: bool,
}

/// Stop services, replicas or servers
///
/// Without a name: the four services and their replicas; servers only when they are named. Services drain and commit for
/// up to 30 s, so that nothing has to be read twice; nothing is lost without that either.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  dp stop\n  dp stop redis\n  dp stop --kill aggregation      as if the machine had lost it"
)]
pub struct StopArgs {
    /// What to stop
    names: Vec<Name>,
    /// kill -9 instead of an orderly end
    #[arg(long)]
    kill: bool,
}

/// Print the completion script of a shell
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  dp completions bash > ~/.local/share/bash-completion/completions/dp")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// `dp up`: servers, then tables, then topics, then services.
pub async fn up(place: &Place, args: &UpArgs, json: bool) -> anyhow::Result<()> {
    let stack = bring_up(place, args, json).await?;
    if json {
        return print_json(&described(&stack, &states(&stack)?)?);
    }
    show(&states(&stack)?)?;
    print_line(&format!("logs and data: {}", stack.config().dir.display()))
}

/// Does the work of `dp up` and answers the stack, for `dp demo`.
pub async fn bring_up(place: &Place, args: &UpArgs, json: bool) -> anyhow::Result<Stack> {
    let interrupted = interrupt_flag();
    let stack = blocking({
        let place = place.clone();
        move || {
            refuse_elsewhere(&process_env())?;
            // A stack that exists already keeps the ports that it has.
            let ports = match place.open() {
                Ok(stack) if place.port_offset == 0 => stack.config().ports.clone(),
                _ => Ports::for_new_stack(place.port_offset)?,
            };
            let mut config = StackConfig::new(place.folder(), ports);
            (config.progress, config.interrupted) = (true, interrupted);
            let stack = Stack::new(config)?;
            // Before anything is started that the commands after this one would refuse.
            refuse_contradiction(&process_env(), &stack)?;
            stack.up()?;
            Ok(stack)
        }
    })
    .await?;
    let servers_run = || "the servers run on: `dp up` continues, `dp down` stops them".to_owned();
    unless_interrupted(prepare_stores(&Connection::to_stack(&stack, json)?), servers_run).await?;
    if !args.no_services {
        let starting = stack.clone();
        let started = blocking(move || Ok(starting.start_services()?)).await;
        started.map_err(|error| {
            or_interrupted(error, || {
                format!("the services were stopped again, and {}", servers_run())
            })
        })?;
    }
    Ok(stack)
}

/// The error, or what was left where it is Ctrl-C.
fn or_interrupted(error: anyhow::Error, left: impl FnOnce() -> String) -> anyhow::Error {
    match error.downcast_ref::<StackError>() {
        Some(StackError::Interrupted) => Interrupted(left()).into(),
        _ => error,
    }
}

/// What has to exist before a service starts. Tables come first: who finds a topic finds its table, too.
async fn prepare_stores(connection: &Connection) -> anyhow::Result<()> {
    migrate::migrate(connection, true).await?;
    topics::create(connection, &topics::CreateArgs::default()).await?;
    Ok(())
}

/// `dp down`. Where there is no stack nothing runs, which is what was asked for.
pub async fn down(place: &Place, json: bool) -> anyhow::Result<()> {
    let folder = place.folder();
    if !is_stack(&folder) {
        return report("stopped", &[], json);
    }
    let stack = place.open()?;
    let stopped = blocking(move || Ok(stack.down()?)).await?;
    report("stopped", &stopped, json)
}

/// `dp status`.
pub fn status(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let stack = place.open()?;
    let states = states(&stack)?;
    if json {
        print_json(&described(&stack, &states)?)?;
    } else {
        show(&states)?;
    }
    let all_ready = states.iter().all(|state| state.why.is_none());
    Ok(if all_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// `dp ps`: processes that run now, for scripts.
pub fn ps(place: &Place, json: bool) -> anyhow::Result<()> {
    let running = running(&place.open()?)?;
    if json {
        return print_json(
            &running
                .iter()
                .map(|process| json!({ "name": process.name, "pid": process.pid, "port": process.port }))
                .collect::<Vec<_>>(),
        );
    }
    let rows = running.iter().map(|process| {
        vec![
            process.name.to_string(),
            optional(process.pid),
            process.port.to_string(),
        ]
    });
    print_line(&table(&["name", "pid", "port"], 1, rows))
}

/// The processes of the stack that are alive (a paused one is).
pub fn running(stack: &Stack) -> anyhow::Result<Vec<ProcessStatus>> {
    Ok(stack
        .status()?
        .into_iter()
        .filter(|process| process.condition != Condition::Stopped)
        .collect())
}

/// `dp start`.
pub async fn start(place: &Place, args: &StartArgs, json: bool) -> anyhow::Result<()> {
    let started = start_names(place.open()?, or_services(&args.names), args.no_wait).await?;
    report("started", &started, json)
}

/// `dp stop`.
pub async fn stop(place: &Place, args: &StopArgs, json: bool) -> anyhow::Result<()> {
    let stack = place.open()?;
    let names = if args.names.is_empty() {
        recorded_services(&stack)?
    } else {
        args.names.clone()
    };
    let kill = args.kill;
    let stopped = blocking(move || stop_names(&stack, names, kill)).await?;
    report(if kill { "killed" } else { "stopped" }, &stopped, json)
}

/// `dp restart`.
pub async fn restart(place: &Place, args: &StartArgs, json: bool) -> anyhow::Result<()> {
    let stack = place.open()?;
    // Before anything is stopped that could not be started again.
    refuse_elsewhere(&process_env())?;
    let names = or_services(&args.names);
    let (stopping, to_stop) = (stack.clone(), names.clone());
    blocking(move || stop_names(&stopping, to_stop, false)).await?;
    let restarted = start_names(stack, names, args.no_wait).await?;
    report("restarted", &restarted, json)
}

/// `dp clean-data`.
pub async fn clean_data(place: &Place, yes: bool, json: bool) -> anyhow::Result<()> {
    let folder = place.folder();
    let removed = is_stack(&folder).then_some(&folder);
    if removed.is_some() {
        let stack = place.open()?;
        let what = format!(
            "stop the stack in {} and remove all its data and logs",
            folder.display()
        );
        consent::ask(&what, "yes", yes).await?;
        blocking(move || {
            stack.down()?;
            Ok(stack.clean()?)
        })
        .await?;
    }
    if json {
        return print_json(&json!({ "removed": removed }));
    }
    let what = if removed.is_some() {
        "removed"
    } else {
        "there is no stack in"
    };
    print_line(&format!("{what} {}", folder.display()))
}

/// `dp completions`.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dp", &mut script);
    print_line(String::from_utf8_lossy(&script).trim_end())
}

fn is_stack(folder: &Path) -> bool {
    folder.join("stack.json").exists()
}

async fn start_names(mut stack: Stack, names: Vec<Name>, no_wait: bool) -> anyhow::Result<Vec<Name>> {
    refuse_elsewhere(&process_env())?;
    refuse_contradiction(&process_env(), &stack)?;
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

/// Waits until the process serves its clients, and says after a moment what it waits for.
fn wait_ready(stack: &Stack, name: Name) -> Result<(), StackError> {
    match stack.wait_ready(name, SAID_AFTER) {
        Err(StackError::NotReady { .. }) => {
            let why = stack.why_not_ready(name).unwrap_or_default();
            eprintln!("waiting up to {} s for {name}: {why}", READY_LIMIT.as_secs());
            stack.wait_ready(name, READY_LIMIT)
        }
        other => other,
    }
}

fn stop_names(stack: &Stack, names: Vec<Name>, kill: bool) -> anyhow::Result<Vec<Name>> {
    let mut stopped = Vec::new();
    for name in names {
        if kill && stack.pid(name).is_some() {
            stack.kill9(name)?;
            stopped.push(name);
        } else if !kill && stack.stop(name)? {
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

fn recorded_services(stack: &Stack) -> anyhow::Result<Vec<Name>> {
    Ok(stack
        .status()?
        .into_iter()
        .map(|process| process.name)
        .filter(|name| matches!(name, Name::Service(..)))
        .collect())
}

/// Set by Ctrl-C and SIGTERM from now on, instead of ending the program.
fn interrupt_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    tokio::spawn(async move {
        while terminated().await.is_ok() {
            set.store(true, Ordering::Relaxed);
        }
    });
    flag
}

/// Returns at Ctrl-C or SIGTERM.
pub async fn terminated() -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = term.recv() => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("a thread of the command ended early")?
}

fn report(what: &str, names: &[Name], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&json!({ what: names }));
    }
    print_line(&if names.is_empty() {
        format!("nothing {what}")
    } else {
        format!("{what}: {}", listed(names))
    })
}

fn listed(names: &[Name]) -> String {
    let names: Vec<String> = names.iter().map(Name::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "dp", &mut script);
            assert!(String::from_utf8_lossy(&script).contains("port-offset"), "{shell}");
        }
    }
}
