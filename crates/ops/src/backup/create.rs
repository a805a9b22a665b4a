//! Copies the stores of a pipeline that may run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use service::Names;
use service::writer::TABLES;
use stores::postgres::copies::{Snapshot, newest_version, tables, text};
use stores::{ClickHouse, Projection};

use super::manifest::{FORMAT, Lane, Manifest, Place, Schema, Topic, lanes};
use super::{LATEST_PRICES, MANIFEST, Store, files, tables as copy};
use crate::connection::Connection;
use crate::migrations;
use crate::positions::homes::fenced_table;
use crate::progress::Progress;
use crate::topics::{self, Listed};

/// The projection whose position stands next to its prices.
const PROJECTION: &str = "projection";

/// What to copy, and where to.
#[derive(Debug, Clone)]
pub struct Order {
    /// The folder of the backup, which does not exist yet.
    pub backup: PathBuf,
    /// Its name.
    pub name: String,
    /// Stores to copy.
    pub stores: Vec<Store>,
}

/// Copies the stores; the pipeline may run and be under load.
///
/// # Errors
/// A server, the disk, or a folder that exists already.
pub async fn create(connection: &Connection, order: &Order) -> anyhow::Result<Manifest> {
    let created_at = jiff::Timestamp::now();
    let topics = used_topics(connection).await?;
    begin(&order.backup)?;
    let stores = migrations::stores(connection)?;
    let mut manifest = Manifest {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        name: order.name.clone(),
        created_at,
        finished_at: created_at,
        environment: connection.settings.environment.name().to_owned(),
        generation: connection.names.generation().to_owned(),
        stores: order.stores.clone(),
        schema: Schema {
            clickhouse: stores::clickhouse::newest_version(),
            postgres: newest_version(),
        },
        topics,
        positions: Vec::new(),
        tables: Vec::new(),
        redis_prices: None,
    };
    if order.stores.contains(&Store::ClickHouse) {
        clickhouse(connection, &stores.clickhouse, &order.backup, &mut manifest)
            .await
            .with_context(|| format!("copy ClickHouse at {}", connection.settings.clickhouse.url))?;
    }
    if order.stores.contains(&Store::Postgres) {
        let snapshot = stores.postgres.snapshot().await?;
        postgres(connection, &snapshot, &order.backup, &mut manifest)
            .await
            .with_context(|| format!("copy PostgreSQL at {}", connection.settings.postgres_dsn))?;
    }
    if order.stores.contains(&Store::Redis) {
        let counts = stores.redis.count_latest_prices().await;
        manifest.redis_prices = Some(counts.context("count the prices in Redis")?.values().sum());
    }
    manifest.finished_at = jiff::Timestamp::now();
    manifest.write(&order.backup)?;
    Ok(manifest)
}

/// Creates the folder. An interrupted copy of the same name is not continued, since its files are of another moment.
fn begin(backup: &Path) -> anyhow::Result<()> {
    if backup.exists() {
        let state = if backup.join(MANIFEST).exists() {
            "a backup"
        } else {
            "an incomplete backup"
        };
        bail!(
            "{} exists already and is {state}: choose another --name, or remove the folder",
            backup.display()
        );
    }
    files::create_folder(backup).with_context(|| format!("create {}", backup.display()))
}

/// The topics that rows and positions refer to.
async fn used_topics(connection: &Connection) -> anyhow::Result<Vec<Topic>> {
    let names = &connection.names;
    let all = topics::list(connection).await?;
    let used = all.iter().filter(|listed| is_used(names, &listed.name));
    let described = used.map(|listed: &Listed| {
        let id = listed.id.clone().with_context(|| {
            format!(
                "topic {} does not exist: create it with `dp topics create`",
                listed.name
            )
        })?;
        Ok(Topic {
            name: listed.name.clone(),
            id,
            partitions: listed.partitions,
        })
    });
    described.collect()
}

fn is_used(names: &Names, topic: &str) -> bool {
    names.raw.iter().any(|raw| raw == topic) || names.stored_topics().contains(&topic)
}

/// All positions first, then the rows before them: writers may go on meanwhile.
async fn clickhouse(
    connection: &Connection,
    clickhouse: &ClickHouse,
    backup: &Path,
    manifest: &mut Manifest,
) -> anyhow::Result<()> {
    let names = &connection.names;
    let mut total = 0;
    for spec in TABLES {
        let topic = (spec.topic)(names);
        let table =
            fenced_table(clickhouse, names, spec.name).with_context(|| format!("no writer fills {}", spec.name))?;
        let known = manifest.topics.iter().find(|known| known.name == *topic);
        let partitions = known
            .with_context(|| format!("topic {topic}, which fills {}, is not described", spec.name))?
            .partitions;
        for partition in 0..partitions {
            if let Some(position) = table.read_back(topic, partition).await? {
                manifest.positions.push(Place {
                    store: Store::ClickHouse,
                    table: spec.name.to_owned(),
                    service: spec.service.to_owned(),
                    topic: topic.clone(),
                    partition,
                    next_offset: position.next_offset,
                    sequencer: lanes(&position),
                });
            }
        }
        total += clickhouse.count_rows(table.table()).await?;
    }
    let mut progress = Progress::new("copying ClickHouse", total, "rows");
    let mut done = 0;
    for spec in TABLES {
        let table = copy::rows_of_writer(
            clickhouse,
            names,
            spec,
            &manifest.positions,
            backup,
            &mut |rows, table| {
                progress.set(done + rows, table);
            },
        )
        .await
        .with_context(|| format!("copy table {}", spec.name))?;
        done += table.rows;
        manifest.tables.push(table);
    }
    progress.finish();
    manifest.tables.push(copy::gaps(clickhouse, names, backup).await?);
    Ok(())
}

async fn postgres(
    connection: &Connection,
    snapshot: &Snapshot,
    backup: &Path,
    manifest: &mut Manifest,
) -> anyhow::Result<()> {
    let tables = tables();
    let mut progress = Progress::new("copying PostgreSQL", tables.len() as u64, "tables");
    for (index, table) in tables.into_iter().enumerate() {
        progress.set(index as u64, table);
        let copied = copy::rows_of_postgres(snapshot, &connection.names, table, backup, &mut |_, _| ()).await;
        manifest
            .tables
            .push(copied.with_context(|| format!("copy table {table}"))?);
    }
    progress.finish();
    let sql = format!(
        "SELECT topic, partition, next_offset, sequencer, projection FROM projection_positions WHERE generation = {} \
         ORDER BY projection, topic, partition",
        text(connection.names.generation())
    );
    for row in snapshot.query_text(&sql).await? {
        manifest.positions.push(projected(&row)?);
    }
    Ok(())
}

/// The table next to whose rows the positions of this projection stand.
fn served_table(projection: &str) -> &'static str {
    let found = Projection::ALL.into_iter().find(|known| known.name() == projection);
    found.map_or(LATEST_PRICES, Projection::table)
}

/// A position of a projection.
fn projected(row: &[Option<String>]) -> anyhow::Result<Place> {
    let cell = |index: usize| {
        row.get(index)
            .and_then(Option::as_deref)
            .context("a position has an empty column")
    };
    let sequencer: Vec<Lane> = serde_json::from_str(cell(3)?).context("read the sequencer of a position")?;
    Ok(Place {
        store: Store::Postgres,
        table: served_table(cell(4)?).to_owned(),
        service: PROJECTION.to_owned(),
        topic: cell(0)?.to_owned(),
        partition: cell(1)?.parse().context("read a partition")?,
        next_offset: cell(2)?.parse().context("read an offset")?,
        sequencer,
    })
}

#[cfg(test)]
mod tests {
    use service::settings::{Env, load};

    use super::*;

    #[test]
    fn the_topic_of_every_table_is_described_also_in_a_generation() {
        let env = Env::from([("DATA_PROC_GENERATION".to_owned(), "g2".to_owned())]);
        let names = Names::new(&load(&env, 8080, |_| ()).unwrap().settings);
        for spec in TABLES {
            assert!(is_used(&names, (spec.topic)(&names)), "{}", spec.name);
        }
        assert!(!is_used(&names, "dlq") && !is_used(&names, "aggregation.bars.v1"));
    }
}
