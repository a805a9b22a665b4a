//! Creates and updates the tables of ClickHouse and PostgreSQL, and the clients of all stores.
//!
//! Role: what `dp migrate`, `dp up` and the benchmarks do before anything is written.
//! Failure: a server that does not answer is reported with its address; migrations that are applied stay applied, and another
//! run applies the rest.

use anyhow::Context as _;
use serde::Serialize;
use service::clients::{Clients, Dependency, Use};
use service::writer::TABLES;
use stores::clickhouse::restore::{self, Filled};
use stores::clickhouse::unfit_columns;
use stores::{ClickHouse, Postgres, Redis};

use crate::connection::Connection;
use crate::positions::homes::fenced_table;
use crate::progress::waiting;

/// The changes of a migration.
#[derive(Debug, Clone, Serialize)]
pub struct Migrated {
    /// Files applied to ClickHouse, and the views of the markets if they are new.
    pub clickhouse: usize,
    /// Files applied to PostgreSQL.
    pub postgres: usize,
    /// Tables and views of ClickHouse that had been dropped and were recreated.
    pub recreated_in_clickhouse: Vec<String>,
    /// Tables and indexes of PostgreSQL that had been dropped and were recreated.
    pub recreated_in_postgres: Vec<String>,
    /// Columns of ClickHouse that somebody has dropped or changed: no migration restores them.
    pub unfit_columns: Vec<String>,
    /// Whether reference data was inserted.
    pub seeded: bool,
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
    let (in_clickhouse, recreated_in_clickhouse) = migrate_clickhouse(connection, &clickhouse).await?;
    let unfit_columns = unfit_in_clickhouse(connection, &clickhouse).await?;
    let (in_postgres, recreated_in_postgres) = migrate_postgres(connection, &postgres).await?;
    if seed {
        let tenant = &connection.settings.tenant_id;
        stores::postgres::seed_reference(&postgres, tenant)
            .await
            .with_context(|| at_postgres(connection))?;
    }
    Ok(Migrated {
        clickhouse: in_clickhouse,
        postgres: in_postgres,
        recreated_in_clickhouse,
        recreated_in_postgres,
        unfit_columns,
        seeded: seed,
    })
}

async fn unfit_in_clickhouse(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<String>> {
    let suffix = connection.names.table_suffix();
    let mut found = Vec::new();
    for table in TABLES {
        let unfit = unfit_columns(clickhouse, table.layout, &suffix).await;
        found.extend(unfit.with_context(|| format!("look at the columns of {}", table.name))?);
    }
    Ok(found)
}

/// Applies the missing migrations of ClickHouse; returns the number of new files and the recreated tables.
///
/// # Errors
/// The server, with its address.
pub async fn migrate_clickhouse(
    connection: &Connection,
    clickhouse: &ClickHouse,
) -> anyhow::Result<(usize, Vec<String>)> {
    let url = &connection.settings.clickhouse.url;
    let work = async {
        // A server that accepts connections and is silent is reported within seconds, before statements with long limits.
        clickhouse.ping().await?;
        let recreated = recreate(connection, clickhouse).await?;
        let new = stores::clickhouse::migrate(clickhouse, &connection.names.table_suffix()).await?;
        anyhow::Ok((new, recreated))
    };
    waiting(&format!("waiting for ClickHouse at {url}"), work)
        .await
        .with_context(|| format!("migrate ClickHouse at {url}: is it running (`dp status`)?"))
}

/// Applies the missing migrations of PostgreSQL; returns the number of new files and the recreated tables and indexes.
///
/// # Errors
/// The server, with its address.
pub async fn migrate_postgres(connection: &Connection, postgres: &Postgres) -> anyhow::Result<(usize, Vec<String>)> {
    let work = async {
        postgres.ping().await?;
        let recreated = stores::postgres::recreate(postgres).await?;
        let new = stores::postgres::migrate(postgres).await?;
        anyhow::Ok((new, recreated))
    };
    let waits = format!("waiting for PostgreSQL at {}", connection.settings.postgres_dsn);
    waiting(&waits, work).await.with_context(|| at_postgres(connection))
}

fn at_postgres(connection: &Connection) -> String {
    let dsn = &connection.settings.postgres_dsn;
    format!("migrate PostgreSQL at {dsn}: is it running (`dp status`)?")
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
