//! Starts a local stack: servers, then tables and topics, then services.
//!
//! Failure: if starting the servers or the services fails or is interrupted, those that this run started are stopped again.

use localstack::{Name, Ports, Service, Stack, StackConfig};

use crate::connection::{Connection, process_env, refuse_elsewhere};
use crate::hints::localized;
use crate::interrupt::{interrupt_flag, or_interrupted, unless_interrupted};
use crate::migrations;
use crate::place::Place;
use crate::threads::blocking;
use crate::topics;

/// Refuses a configuration with which services of these names would not start.
pub type Check = fn(&mut Stack, &[Name]) -> anyhow::Result<()>;

/// Starts the servers in the folder of `place` and creates tables and topics; starts no service.
///
/// # Errors
/// A server does not start, the environment is not local, or Ctrl-C.
pub async fn bring_up_servers(place: &Place, json: bool) -> anyhow::Result<Stack> {
    start_servers(place, json, |_| Ok(())).await
}

/// Does the work of `dp up` and returns the stack.
///
/// # Errors
/// As [`bring_up_servers`], or a service does not start, or `check` refuses the configuration.
pub async fn bring_up(place: &Place, check: Check, json: bool) -> anyhow::Result<Stack> {
    let services = Service::ALL.map(Name::from);
    let stack = start_servers(place, json, move |stack| check(stack, &services)).await?;
    let starting = stack.clone();
    let started = blocking(move || Ok(starting.start_services()?)).await;
    started.map_err(|error| {
        or_interrupted(error, || {
            format!("the services were stopped again, and {}", servers_run())
        })
    })?;
    Ok(stack)
}

async fn start_servers(
    place: &Place,
    json: bool,
    check: impl FnOnce(&mut Stack) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Stack> {
    let interrupted = interrupt_flag();
    let place = place.clone();
    let stack = blocking(move || {
        refuse_elsewhere(&process_env())?;
        // An existing stack keeps its ports.
        let ports = match place.open() {
            Ok(stack) if place.port_offset == 0 => stack.config().ports.clone(),
            _ => Ports::for_new_stack(place.port_offset)?,
        };
        let mut config = StackConfig::new(place.folder(), ports);
        (config.progress, config.interrupted, config.quiet_core) = (true, interrupted, true);
        let mut stack = Stack::new(config)?;
        // Checked before anything starts: later commands would refuse such a stack.
        check(&mut stack)?;
        stack.up()?;
        Ok(stack)
    })
    .await?;
    unless_interrupted(prepare_stores(&Connection::to_stack(&stack, json)?), servers_run).await?;
    Ok(stack)
}

fn servers_run() -> String {
    "the servers are still running: `dp up` continues, `dp down` stops them".to_owned()
}

/// Creates what a service needs to start. Tables come before topics, so that a topic never exists without its table.
async fn prepare_stores(connection: &Connection) -> anyhow::Result<()> {
    migrations::migrate(connection, true).await?;
    // Starting a stack removes no records.
    let made = topics::create(connection, None, false).await?;
    for sentence in made.kept {
        eprintln!("warning: {}", localized(&sentence));
    }
    Ok(())
}
