//! `dp migrate`: creates and updates tables and views of ClickHouse and PostgreSQL; adds reference data on request.

use ops::connection::Connection;
use ops::migrations::migrate;
use ops::present::{print_json, print_line};

/// Create the tables of ClickHouse and PostgreSQL, or update them to this version.
///
/// Each migration file of schemas/clickhouse and schemas/postgres is applied once. It is safe to run the command again, and
/// on several machines at once. The services also migrate when they start. A table that was dropped manually is recreated;
/// its service refills it from its topic, as far back as the topic goes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp migrate\n  dp migrate --seed          # also add reference data of real hubs and zones"
)]
pub struct Args {
    /// Also insert reference data of real hubs and zones for tenant DATA_PROC_TENANT_ID; existing rows are kept
    #[arg(long)]
    seed: bool,
}

/// Runs `dp migrate`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let migrated = migrate(connection, args.seed).await?;
    if connection.json {
        return print_json(&migrated);
    }
    let seeded = if migrated.seeded {
        "; reference data is in place"
    } else {
        ""
    };
    print_line(&format!(
        "applied {} new migration(s) to ClickHouse and {} to PostgreSQL{seeded}",
        migrated.clickhouse, migrated.postgres
    ))?;
    if !migrated.recreated_in_postgres.is_empty() {
        print_line(&format!(
            "recreated in PostgreSQL: {}. Projection refills served_latest_prices from its topic, as far back as the topic goes. \
             Insert the rows of other tables again",
            migrated.recreated_in_postgres.join(", ")
        ))?;
    }
    if migrated.recreated_in_clickhouse.is_empty() {
        return Ok(());
    }
    print_line(&format!(
        "recreated in ClickHouse: {}. The writers refill these tables from their topics: start stopped services with \
         `dp start`, then check with `dp verify`. Rows that their topic no longer contains need a new generation \
         (DATA_PROC_GENERATION)",
        migrated.recreated_in_clickhouse.join(", ")
    ))
}
