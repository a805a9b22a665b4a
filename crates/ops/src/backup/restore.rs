//! Puts a backup in the place of stores.
//!
//! Failure: a table of ClickHouse is replaced in one step after all its rows are loaded next to it, PostgreSQL in one transaction;
//! an interrupted restore is repeated, and begins from the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use service::writer::{TABLES, TableSpec};
use stores::{AcceptedGap, LatestPriceStore};
use stream::Partition;
use stream::kafka::consumer::Commit;
use stream::kafka::groups::GroupReader;

use super::examine::{Finding, Kind, here, sums};
use super::manifest::{Manifest, Place, Table};
use super::redis::{Filled, fill};
use super::{LATEST_PRICES, Store, groups_of, services_of, tables};
use crate::connection::Connection;
use crate::migrations::{self, Stores, migrate_clickhouse, migrate_postgres};
use crate::positions::Home;
use crate::positions::homes::Homes;
use crate::positions::members::{self, Active};
use crate::positions::survey::{self, Standing, Wanted, survey};
use crate::progress::Progress;
use crate::threads::reading;
use crate::topics;

/// What a restore would do, and whether it can.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The folder.
    pub backup: PathBuf,
    /// Its content.
    pub manifest: Manifest,
    /// Stores to restore, in the order in which it is done.
    pub stores: Vec<Store>,
    /// What is wrong with the backup, or with the log after it.
    pub findings: Vec<Finding>,
    /// Members of the services that have to be stopped.
    pub running: Vec<Active>,
    /// Messages that the consumers read again from the log afterwards, by table.
    pub read_again: Vec<ReadAgain>,
}

/// What a consumer reads after a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadAgain {
    /// The table that it fills.
    pub table: String,
    /// The topic.
    pub topic: String,
    /// Messages from the restored positions to the end of the log.
    pub messages: i64,
}

/// What was restored.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// Tables with their rows.
    pub tables: Vec<(String, u64)>,
    /// Redis, if it was filled.
    pub redis: Option<Filled>,
    /// Positions that were moved over messages that are gone.
    pub accepted: Vec<AcceptedGap>,
}

impl Plan {
    /// Reads and checks everything; changes nothing. Without stores: all of the backup.
    ///
    /// # Errors
    /// The manifest, Kafka, or a store that the backup does not have.
    pub async fn make(connection: &Connection, backup: &Path, stores: &[Store]) -> anyhow::Result<Plan> {
        let manifest = Manifest::read(backup)?;
        if let Some(store) = stores.iter().find(|store| !manifest.stores.contains(store)) {
            bail!("the backup {} has no {}", manifest.name, store.name());
        }
        let is_meant = |store: &Store| manifest.stores.contains(store) && (stores.is_empty() || stores.contains(store));
        let stores: Vec<Store> = Store::ALL.into_iter().filter(is_meant).collect();
        let mut findings = sums(backup, &manifest, &stores).await?;
        findings.extend(here(connection, &manifest, &stores).await?);
        let running = members::active(connection, &groups(connection, &stores)).await?;
        let read_again = read_again(connection, &manifest, &stores).await?;
        Ok(Plan {
            backup: backup.to_owned(),
            manifest,
            stores,
            findings,
            running,
            read_again,
        })
    }

    /// Whether the backup can be restored, with its losses accepted or not. Services that run can be stopped, so they do not count.
    pub fn is_possible(&self, accept_loss: bool) -> bool {
        self.findings
            .iter()
            .all(|finding| accept_loss && finding.kind.can_be_accepted())
    }

    /// The services that have to be stopped.
    pub fn services(&self) -> Vec<&'static str> {
        services_of(&self.stores)
    }
}

fn groups(connection: &Connection, stores: &[Store]) -> Vec<String> {
    let services = services_of(stores);
    services
        .into_iter()
        .flat_map(|service| groups_of(&connection.names, service))
        .collect()
}

async fn read_again(connection: &Connection, manifest: &Manifest, stores: &[Store]) -> anyhow::Result<Vec<ReadAgain>> {
    let listed = topics::list(connection).await?;
    let mut all: Vec<ReadAgain> = Vec::new();
    for place in manifest.positions.iter().filter(|place| stores.contains(&place.store)) {
        let log = listed.iter().find(|listed| listed.name == place.topic);
        let range = log.and_then(|log| log.ranges.iter().find(|range| range.partition == place.partition));
        let messages = range.map_or(0, |range| (range.end - place.next_offset.max(range.start)).max(0));
        match all.iter_mut().find(|known| known.table == place.table) {
            Some(known) => known.messages += messages,
            None => all.push(ReadAgain {
                table: place.table.clone(),
                topic: place.topic.clone(),
                messages,
            }),
        }
    }
    Ok(all)
}

/// Restores the stores of the plan.
///
/// # Errors
/// The plan is not possible, a service runs, a server, or the disk; run it again in that case.
pub async fn carry_out(connection: &Connection, plan: &Plan, accept_loss: bool) -> anyhow::Result<Restored> {
    if !plan.is_possible(accept_loss) {
        bail!("the backup cannot be restored here");
    }
    refuse_running(connection, plan).await?;
    let stores = migrations::stores(connection)?;
    let mut restored = Restored {
        tables: Vec::new(),
        redis: None,
        accepted: Vec::new(),
    };
    for store in &plan.stores {
        match store {
            Store::ClickHouse => clickhouse(connection, &stores, plan, &mut restored).await?,
            Store::Postgres => postgres(connection, &stores, plan, &mut restored).await?,
            Store::Redis => restored.redis = Some(redis(connection, &stores, &plan.manifest).await?),
        }
    }
    show_lag(connection, plan).await?;
    if plan.findings.iter().any(|finding| finding.kind == Kind::Lost) {
        restored.accepted = accept(connection, plan).await?;
    }
    Ok(restored)
}

/// Sets the committed offsets to the restored positions. Writers do not read them, but everyone who asks for lag does: without this, a
/// writer that has all events after the backup still to read would look as if it had caught up.
async fn show_lag(connection: &Connection, plan: &Plan) -> anyhow::Result<()> {
    let names = &connection.names;
    let mut of_groups: BTreeMap<String, Vec<(Partition, i64)>> = BTreeMap::new();
    for place in plan
        .manifest
        .positions
        .iter()
        .filter(|place| plan.stores.contains(&place.store))
    {
        let group = match place.store {
            Store::ClickHouse => names.writer_group(&place.service),
            Store::Postgres if place.table != LATEST_PRICES => names.served_group(&place.service),
            Store::Postgres | Store::Redis => names.group(&place.service),
        };
        let partition = Partition {
            topic: place.topic.as_str().into(),
            number: place.partition,
        };
        of_groups.entry(group).or_default().push((partition, place.next_offset));
    }
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    reading(move || {
        for (group, places) in of_groups {
            let reader = GroupReader::new(&bootstrap, &group)?;
            let partitions: Vec<Partition> = places.iter().map(|(partition, _)| partition.clone()).collect();
            let known = reader.committed(&partitions)?;
            for ((partition, next_offset), known) in places.into_iter().zip(known) {
                let metadata = known.mark.map(|mark| mark.to_metadata()).unwrap_or_default();
                reader.commit(&Commit {
                    partition,
                    next_offset,
                    metadata,
                })?;
            }
        }
        Ok(())
    })
    .await
    .context("set the committed offsets to the restored positions; the stores are restored, and the command can be run again")
}

async fn refuse_running(connection: &Connection, plan: &Plan) -> anyhow::Result<()> {
    let groups = groups(connection, &plan.stores);
    let still = members::await_none(connection, &groups, members::GONE_WITHIN).await?;
    let Some(active) = still.first() else {
        return Ok(());
    };
    bail!(
        "services still run ({active}); they would write to the store while it is replaced. Stop them first: {}",
        members::how_to_stop(&plan.services())
    )
}

async fn clickhouse(
    connection: &Connection,
    stores: &Stores,
    plan: &Plan,
    restored: &mut Restored,
) -> anyhow::Result<()> {
    let (clickhouse, names, manifest) = (&stores.clickhouse, &connection.names, &plan.manifest);
    migrate_clickhouse(connection, clickhouse).await?;
    // Backups of older versions have no rows of some tables, and do not describe their topics. Such a table stays as it is.
    let filled: Vec<(&TableSpec, &Table)> = TABLES
        .into_iter()
        .filter(|spec| partitions(manifest, (spec.topic)(names)) > 0)
        .filter_map(|spec| Some((spec, manifest.table(Store::ClickHouse, spec.name)?)))
        .collect();
    let total = filled.iter().map(|(_, table)| table.rows).sum();
    let mut progress = Progress::new("loading ClickHouse", total, "rows");
    let mut done = 0;
    for (spec, table) in &filled {
        tables::stage(
            clickhouse,
            &names.table(spec.name),
            table,
            &plan.backup,
            &mut |rows, name| {
                progress.set(done + rows, name);
            },
        )
        .await
        .with_context(|| format!("load table {}", spec.name))?;
        done += table.rows;
    }
    progress.finish();
    // Loading may have taken long enough for somebody to start a service.
    refuse_running(connection, plan).await?;
    for (spec, table) in filled {
        let partitions = partitions(manifest, (spec.topic)(names));
        tables::take_the_place(clickhouse, names, manifest, spec, partitions)
            .await
            .with_context(|| {
                format!(
                    "replace table {}: run the restore again before you start services",
                    spec.name
                )
            })?;
        restored.tables.push((table.name.clone(), table.rows));
    }
    if let Some(gaps) = manifest.table(Store::ClickHouse, tables::GAPS) {
        tables::add_gaps(clickhouse, gaps, &plan.backup).await?;
    }
    Ok(())
}

fn partitions(manifest: &Manifest, topic: &str) -> i32 {
    let topic = manifest.topics.iter().find(|known| known.name == topic);
    topic.map_or(0, |topic| topic.partitions)
}

async fn postgres(
    connection: &Connection,
    stores: &Stores,
    plan: &Plan,
    restored: &mut Restored,
) -> anyhow::Result<()> {
    migrate_postgres(connection, &stores.postgres).await?;
    let tables: Vec<&Table> = plan
        .manifest
        .tables
        .iter()
        .filter(|table| table.store == Store::Postgres)
        .collect();
    let load = stores.postgres.load().await?;
    tables::clear_postgres(&load, &connection.names, &tables).await?;
    let mut progress = Progress::new("loading PostgreSQL", tables.len() as u64, "tables");
    for (index, table) in tables.iter().enumerate() {
        progress.set(index as u64, &table.name);
        let rows = tables::load_postgres(&load, table, &plan.backup)
            .await
            .with_context(|| format!("load table {}; nothing was changed in PostgreSQL", table.name))?;
        restored.tables.push((table.name.clone(), rows));
    }
    progress.finish();
    refuse_running(connection, plan).await?;
    Ok(load.commit().await?)
}

async fn redis(connection: &Connection, stores: &Stores, manifest: &Manifest) -> anyhow::Result<Filled> {
    let prices = LatestPriceStore::new(stores.postgres.clone(), connection.names.generation());
    let partitions = partitions(manifest, &connection.names.enriched);
    fill(&stores.redis, &prices, partitions)
        .await
        .context("fill Redis from PostgreSQL")
}

/// Moves the restored positions over messages that the log no longer has, and stores each gap before.
async fn accept(connection: &Connection, plan: &Plan) -> anyhow::Result<Vec<AcceptedGap>> {
    let homes = Homes::open(connection).await?;
    let mut accepted = Vec::new();
    for service in plan.services() {
        let wanted = Wanted {
            service: Some(service.to_owned()),
            ..Wanted::default()
        };
        for standing in survey(connection, &homes, &wanted).await? {
            let survey::Finding::Removed { to, .. } = standing.finding else {
                continue;
            };
            let Some(gap) = gap(plan, &standing, to) else { continue };
            homes
                .clickhouse()
                .accept_gap(&gap)
                .await
                .context("store the gap in ClickHouse")?;
            if let Some(stored) = &standing.stored {
                homes
                    .advance(&standing.consumer, &standing.partition, stored, to)
                    .await
                    .with_context(|| format!("move the position of {}", standing.consumer.group))?;
            }
            accepted.push(gap);
        }
    }
    Ok(accepted)
}

/// The gap of a restored store; none for a consumer whose position is somewhere else.
fn gap(plan: &Plan, standing: &Standing, to: i64) -> Option<AcceptedGap> {
    let consumer = &standing.consumer;
    let is_restored = plan
        .manifest
        .positions
        .iter()
        .any(|place| plan.stores.contains(&place.store) && is_home(consumer.home, place));
    is_restored.then(|| AcceptedGap {
        service: consumer.service.to_owned(),
        consumer_group: consumer.group.clone(),
        topic: consumer.topic.clone(),
        topic_id: standing.topic_id.clone(),
        partition: standing.partition.number,
        from_offset: standing.stored.as_ref().map_or(to, |stored| stored.next_offset),
        to_offset: to,
        action: "accept".to_owned(),
        reason: format!("restored from backup {}", plan.manifest.name),
        accepted_by: std::env::var("USER").unwrap_or_default(),
    })
}

/// Whether a consumer's position is where this one was restored to.
fn is_home(home: Home, place: &Place) -> bool {
    match (home, place.store) {
        (Home::Table(table), Store::ClickHouse) => table == place.table,
        (Home::Postgres, Store::Postgres) => place.table == LATEST_PRICES,
        (Home::Served(projection), Store::Postgres) => place.table == projection.table(),
        _ => false,
    }
}
