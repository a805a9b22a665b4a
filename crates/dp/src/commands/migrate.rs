//! `dp migrate`: creates and updates tables and views of ClickHouse and PostgreSQL; adds reference data on request.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::migrations::{Migrated, migrate};
use ops::present::{print_json, print_line};

/// Create the tables of ClickHouse and PostgreSQL, or update them to this version.
///
/// Each migration file of schemas/clickhouse and schemas/postgres is applied once. It is safe to run the command again, and
/// on several machines at once. The services also migrate when they start. A table that was dropped manually is recreated;
/// its service refills it from its topic, as far back as the topic goes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the tables are those of this version; 1 somebody has changed a column, which no migration repairs; 2 a \
    server is unavailable, or wrong usage\n\nExamples:\n  dp migrate\n  dp migrate --seed          # also add reference data of real hubs and zones"
)]
pub struct Args {
    /// Also insert reference data of real hubs and zones for tenant DATA_PROC_TENANT_ID; existing rows are kept
    #[arg(long)]
    seed: bool,
}

/// Runs `dp migrate`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let migrated = migrate(connection, args.seed).await?;
    match connection.json {
        true => print_json(&migrated)?,
        false => print_text(&migrated)?,
    }
    Ok(ExitCode::from(u8::from(!migrated.unfit_columns.is_empty())))
}

fn print_text(migrated: &Migrated) -> anyhow::Result<()> {
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
    for problem in &migrated.unfit_columns {
        print_line(&format!(
            "{problem}: somebody has changed the table, and no migration repairs that. `dp doctor` shows the commands that have it \
             written again"
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
