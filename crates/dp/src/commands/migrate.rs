//! `dp migrate`: tables and views of ClickHouse and PostgreSQL, and reference data on request.

use anyhow::Context as _;
use serde::Serialize;
use service::clients::{Clients, Dependency, Use};
use stores::clickhouse::restore::{self, Filled};
use stores::{ClickHouse, Postgres, Redis};

use super::present::{print_json, print_line};
use crate::connection::Connection;
use crate::positions::homes::fenced_table;

/// Make the tables of ClickHouse and PostgreSQL, or bring them up to date.
///
/// Every migration file of schemas/clickhouse and schemas/postgres is applied once; running the command twice, or in two
/// places at once, does no harm. The services do the same when they start. A table of ClickHouse that was dropped by hand is
/// made again; its writer fills it from its topic, as far back as the topic goes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp migrate\n  dp migrate --seed          # and reference data of real hubs and zones"
)]
pub struct Args {
    /// Also put reference data of real hubs and zones in place, for tenant DATA_PROC_TENANT_ID; rows that exist stay
    #[arg(long)]
    seed: bool,
}

/// What was new.
#[derive(Debug, Clone, Serialize)]
pub struct Migrated {
    /// Files applied to ClickHouse.
    pub clickhouse: usize,
    /// Files applied to PostgreSQL.
    pub postgres: usize,
    /// Tables and views of ClickHouse that had been dropped, and were made again.
    pub made_again: Vec<String>,
    /// Whether reference data were put in place.
    pub seeded: bool,
}

/// Runs `dp migrate`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let migrated = migrate(connection, args.seed).await?;
    if connection.json {
        return print_json(&migrated);
    }
    let seeded = if migrated.seeded {
        "; reference data are in place"
    } else {
        ""
    };
    print_line(&format!(
        "applied {} new migration(s) to ClickHouse and {} to PostgreSQL{seeded}",
        migrated.clickhouse, migrated.postgres
    ))?;
    if migrated.made_again.is_empty() {
        return Ok(());
    }
    print_line(&format!(
        "made again in ClickHouse: {}. The writers fill these tables from their topics: start the services that have ended \
         (`dp start`), then look with `dp verify`. What a topic holds no more comes back by a new generation only \
         (DATA_PROC_GENERATION)",
        migrated.made_again.join(", ")
    ))
}

/// Makes tables again that were dropped by hand; answers which.
async fn make_again(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<String>> {
    let names = &connection.names;
    let (missing, some_exist) = restore::missing(clickhouse, &names.table_suffix()).await?;
    if missing.is_empty() || !some_exist {
        return Ok(Vec::new());
    }
    let sources = [
        ("market_ticks", &names.normalized),
        ("enriched_ticks", &names.enriched),
        ("bars", &names.bars),
        ("late_ticks", &names.late),
    ];
    let emptied = sources
        .into_iter()
        .filter(|(base, _)| missing.contains(&names.table(base)));
    let emptied: Vec<Filled> = emptied
        .filter_map(|(base, topic)| {
            Some(Filled {
                table: fenced_table(clickhouse, names, base)?,
                topic: topic.clone(),
                partitions: connection.settings.topic_partitions,
            })
        })
        .collect();
    restore::make_again(clickhouse, &names.table_suffix(), &emptied).await?;
    Ok(missing)
}

/// Applies what is missing; `seed` adds reference data.
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
    let made_again = make_again(connection, &clickhouse).await.with_context(at_clickhouse)?;
    let migrated = Migrated {
        clickhouse: stores::clickhouse::migrate(&clickhouse, &suffix)
            .await
            .with_context(at_clickhouse)?,
        made_again,
        postgres: stores::postgres::migrate(&postgres).await.with_context(|| {
            format!(
                "migrate PostgreSQL at {}: is it running (`dp status`)?",
                settings.postgres_dsn
            )
        })?,
        seeded: seed,
    };
    if seed {
        stores::postgres::seed_reference(&postgres, &settings.tenant_id)
            .await
            .context("put reference data in place")?;
    }
    Ok(migrated)
}

/// Clients of all stores; each connects when it is first asked.
pub struct Stores {
    /// ClickHouse.
    pub clickhouse: ClickHouse,
    /// PostgreSQL.
    pub postgres: Postgres,
    /// Redis.
    pub redis: Redis,
}

/// Makes the clients; must be called inside of the runtime.
///
/// # Errors
/// An address that cannot be read. A server that is down shows when it is asked.
pub fn stores(connection: &Connection) -> anyhow::Result<Stores> {
    let uses = [Dependency::ClickHouse, Dependency::Postgres, Dependency::Redis].map(Use::required);
    let make = || {
        let clients = Clients::connect(&uses, &connection.settings, &connection.names)?;
        Ok(Stores {
            clickhouse: clients.clickhouse()?,
            postgres: clients.postgres()?,
            redis: clients.redis()?,
        })
    };
    make()
        .map_err(anyhow::Error::from_boxed)
        .context("make clients: see DATA_PROC_POSTGRES_DSN and DATA_PROC_REDIS_URL")
}
