//! `dp migrate`: creates and updates tables and views of ClickHouse and PostgreSQL; adds reference data on request.

use anyhow::Context as _;
use serde::Serialize;
use service::clients::{Clients, Dependency, Use};
use service::writer::TABLES;
use stores::clickhouse::restore::{self, Filled};
use stores::{ClickHouse, Postgres, Redis};

use super::present::{print_json, print_line};
use super::progress::waiting;
use crate::connection::Connection;
use crate::positions::homes::fenced_table;

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

/// The changes of a migration.
#[derive(Debug, Clone, Serialize)]
pub struct Migrated {
    /// Files applied to ClickHouse.
    pub clickhouse: usize,
    /// Files applied to PostgreSQL.
    pub postgres: usize,
    /// Tables and views of ClickHouse that had been dropped and were recreated.
    pub recreated_in_clickhouse: Vec<String>,
    /// Tables and indexes of PostgreSQL that had been dropped and were recreated.
    pub recreated_in_postgres: Vec<String>,
    /// Whether reference data was inserted.
    pub seeded: bool,
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

/// Recreates tables that were dropped manually; returns their names.
async fn recreate(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<String>> {
    let names = &connection.names;
    let (missing, some_exist) = restore::missing(clickhouse, &names.table_suffix()).await?;
    if missing.is_empty() || !some_exist {
        return Ok(Vec::new());
    }
    let emptied = TABLES
        .into_iter()
        .filter(|table| missing.contains(&names.table(table.name)));
    let emptied: Vec<Filled> = emptied
        .filter_map(|table| {
            Some(Filled {
                table: fenced_table(clickhouse, names, table.name)?,
                topic: (table.topic)(names).clone(),
                partitions: connection.settings.topic_partitions,
            })
        })
        .collect();
    restore::make_again(clickhouse, &names.table_suffix(), &emptied).await?;
    Ok(missing)
}

/// Applies the missing migrations; `seed` adds reference data.
pub async fn migrate(connection: &Connection, seed: bool) -> anyhow::Result<Migrated> {
    let Stores {
        clickhouse, postgres, ..
    } = stores(connection)?;
    let settings = &connection.settings;
    let suffix = connection.names.table_suffix();
    let at_clickhouse = || {
        format!(
            "migrate ClickHouse at {}: is it running (`dp status`)?",
            settings.clickhouse.url
        )
    };
    let at_postgres = || {
        format!(
            "migrate PostgreSQL at {}: is it running (`dp status`)?",
            settings.postgres_dsn
        )
    };
    let in_clickhouse = async {
        // A server that accepts connections and is silent is reported within seconds, before statements with long limits.
        clickhouse.ping().await?;
        let recreated = recreate(connection, &clickhouse).await?;
        let new = stores::clickhouse::migrate(&clickhouse, &suffix).await?;
        anyhow::Ok((new, recreated))
    };
    let in_postgres = async {
        postgres.ping().await?;
        let recreated = stores::postgres::recreate(&postgres).await?;
        let new = stores::postgres::migrate(&postgres).await?;
        if seed {
            stores::postgres::seed_reference(&postgres, &settings.tenant_id).await?;
        }
        anyhow::Ok((new, recreated))
    };
    let waits = format!("waiting for ClickHouse at {}", settings.clickhouse.url);
    let (in_clickhouse, recreated_in_clickhouse) = waiting(&waits, in_clickhouse).await.with_context(at_clickhouse)?;
    let waits = format!("waiting for PostgreSQL at {}", settings.postgres_dsn);
    let (in_postgres, recreated_in_postgres) = waiting(&waits, in_postgres).await.with_context(at_postgres)?;
    Ok(Migrated {
        clickhouse: in_clickhouse,
        postgres: in_postgres,
        recreated_in_clickhouse,
        recreated_in_postgres,
        seeded: seed,
    })
}

/// Clients of all stores; each connects on first use.
pub struct Stores {
    /// ClickHouse.
    pub clickhouse: ClickHouse,
    /// PostgreSQL.
    pub postgres: Postgres,
    /// Redis.
    pub redis: Redis,
}

/// Creates the clients; must be called inside the runtime.
///
/// # Errors
/// An address is invalid. A server that is down causes an error on first use.
pub fn stores(connection: &Connection) -> anyhow::Result<Stores> {
    let uses = [Dependency::ClickHouse, Dependency::Postgres, Dependency::Redis].map(Use::required);
    let create = || {
        let clients = Clients::connect(&uses, &connection.settings, &connection.names)?;
        Ok(Stores {
            clickhouse: clients.clickhouse()?,
            postgres: clients.postgres()?,
            redis: clients.redis()?,
        })
    };
    create()
        .map_err(anyhow::Error::from_boxed)
        .context("create clients: see DATA_PROC_POSTGRES_DSN and DATA_PROC_REDIS_URL")
}
