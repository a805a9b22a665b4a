//! `dp up`: starts the servers, creates tables and topics, then starts the services.

use localstack::{Name, Ports, Service, Stack, StackConfig};

use super::blocking;
use super::services::check_configuration;
use super::status::{described, show, states};
use crate::cli::Place;
use crate::commands::interrupt::{interrupt_flag, or_interrupted, unless_interrupted};
use crate::commands::present::{print_json, print_line};
use crate::commands::{migrate, topics};
use crate::connection::{Connection, process_env, refuse_elsewhere};

/// Start the whole local stack: servers, tables, topics and services
///
/// Starts Kafka, ClickHouse, PostgreSQL and Redis as ordinary processes on 127.0.0.1, creates tables and topics, and starts
/// the four services. The first run downloads Kafka and ClickHouse (232 MB) into DATA_PROC_CACHE (~/.cache/254carbon).
/// Processes that already run are left alone, so it is safe to run it again.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    after_help = "Examples:\n  dp up\n  dp up --port-offset 1000        # a second stack in parallel with the first\n  \
                        dp up --no-services             # servers, tables and topics only"
)]
pub struct UpArgs {
    /// Start the servers and create tables and topics, but start no service
    #[arg(long)]
    pub no_services: bool,
}

/// Runs `dp up`.
pub async fn up(place: &Place, args: &UpArgs, json: bool) -> anyhow::Result<()> {
    let stack = bring_up(place, args, json).await?;
    if json {
        return print_json(&described(&stack, &states(&stack)?)?);
    }
    show(&states(&stack)?)?;
    print_line(&format!("logs and data: {}", stack.config().dir.display()))
}

/// Does the work of `dp up` and returns the stack.
pub async fn bring_up(place: &Place, args: &UpArgs, json: bool) -> anyhow::Result<Stack> {
    let interrupted = interrupt_flag();
    let services: Vec<Name> = match args.no_services {
        true => Vec::new(),
        false => Service::ALL.map(Name::from).to_vec(),
    };
    let stack = blocking({
        let place = place.clone();
        move || {
            refuse_elsewhere(&process_env())?;
            // An existing stack keeps its ports.
            let ports = match place.open() {
                Ok(stack) if place.port_offset == 0 => stack.config().ports.clone(),
                _ => Ports::for_new_stack(place.port_offset)?,
            };
            let mut config = StackConfig::new(place.folder(), ports);
            (config.progress, config.interrupted) = (true, interrupted);
            let mut stack = Stack::new(config)?;
            // Checked before anything starts: later commands would refuse such a stack.
            check_configuration(&mut stack, &services)?;
            stack.up()?;
            Ok(stack)
        }
    })
    .await?;
    let servers_run = || "the servers are still running: `dp up` continues, `dp down` stops them".to_owned();
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

/// Creates what a service needs to start. Tables come before topics, so that a topic never exists without its table.
async fn prepare_stores(connection: &Connection) -> anyhow::Result<()> {
    migrate::migrate(connection, true).await?;
    topics::create(connection, &topics::CreateArgs::default()).await?;
    Ok(())
}
