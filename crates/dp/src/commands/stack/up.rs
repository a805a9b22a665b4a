//! `dp up`: starts the servers, creates tables and topics, then starts the services.

use ops::definitions::check_configuration;
use ops::place::Place;
use ops::present::{print_json, print_line};
use ops::stack::{bring_up, bring_up_servers};

use super::status::{described, show, states};

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
    no_services: bool,
}

/// Runs `dp up`.
pub async fn up(place: &Place, args: &UpArgs, json: bool) -> anyhow::Result<()> {
    let stack = match args.no_services {
        true => bring_up_servers(place, json).await?,
        false => bring_up(place, check_configuration, json).await?,
    };
    if json {
        return print_json(&described(&stack, &states(&stack)?)?);
    }
    show(&states(&stack)?)?;
    print_line(&format!("logs and data: {}", stack.config().dir.display()))
}
