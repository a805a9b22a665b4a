//! Single tables, out of a store and back into it.

use anyhow::{Context as _, bail};
use domain::Claim;
use service::Names;
use service::writer::TableSpec;
use stores::clickhouse::{Claimant, copies as clickhouse_copies};
use stores::postgres::copies::{Load, Snapshot, text};
use stores::{ClickHouse, FencedTable};
use stream::kafka::describe::remembered_name;

use super::Store;
use super::files::{FileEntry, FileReader, FileWriter};
use super::manifest::{Manifest, Place, Table};
use crate::positions::homes::fenced_table;

/// The table of accepted gaps, which all generations share.
pub(super) const GAPS: &str = "accepted_gaps";

/// What is told about a copy that is under way: the rows so far, and of which table.
pub(super) type Told<'a> = &'a mut (dyn FnMut(u64, &str) + Send);

/// Copies the rows of a writer's table before these positions.
pub(super) async fn rows_of_writer(
    clickhouse: &ClickHouse,
    names: &Names,
    spec: &TableSpec,
    places: &[Place],
    backup: &std::path::Path,
    told: Told<'_>,
) -> anyhow::Result<Table> {
    let table = names.table(spec.name);
    let columns = clickhouse.stored_columns(&table).await?;
    let positions: Vec<(i32, i64)> = places
        .iter()
        .filter(|place| place.table == spec.name)
        .map(|place| (place.partition, place.next_offset))
        .collect();
    let before = clickhouse_copies::before(&positions);
    let mut files = Vec::new();
    for day in clickhouse.days_of(&table, &before).await? {
        let condition = format!("{before} AND toDate(ingested_at) = '{day}'");
        let path = format!("{}/{}/{day}.tsv.gz", Store::ClickHouse.name(), spec.name);
        let mut writer = FileWriter::create(backup, path)?;
        let copied = clickhouse.copy_out(&table, &columns, &condition, |text| {
            writer.write(text)?;
            told(writer.lines(), spec.name);
            anyhow::Ok(())
        });
        copied.await?;
        clickhouse_copies::check_end(writer.last())?;
        files.push(writer.finish(1)?);
    }
    Ok(table_of(Store::ClickHouse, spec.name, columns, files))
}

/// Copies the gaps that were accepted for this generation.
pub(super) async fn gaps(clickhouse: &ClickHouse, names: &Names, backup: &std::path::Path) -> anyhow::Result<Table> {
    let columns = clickhouse.stored_columns(GAPS).await?;
    let groups: Vec<String> = names.groups().iter().map(|(group, _)| text(group)).collect();
    let condition = format!("consumer_group IN ({})", groups.join(", "));
    let path = format!("{}/{GAPS}.tsv.gz", Store::ClickHouse.name());
    let mut writer = FileWriter::create(backup, path)?;
    clickhouse
        .copy_out(GAPS, &columns, &condition, |text| writer.write(text))
        .await?;
    clickhouse_copies::check_end(writer.last())?;
    Ok(table_of(Store::ClickHouse, GAPS, columns, vec![writer.finish(1)?]))
}

/// Copies the rows of a table of PostgreSQL that belong to this generation.
pub(super) async fn rows_of_postgres(
    snapshot: &Snapshot,
    names: &Names,
    table: &str,
    backup: &std::path::Path,
    told: Told<'_>,
) -> anyhow::Result<Table> {
    let columns = snapshot.columns(table).await?;
    if columns.is_empty() {
        bail!("table {table} does not exist: create it with `dp migrate`");
    }
    let path = format!("{}/{table}.copy.gz", Store::Postgres.name());
    let mut writer = FileWriter::create(backup, path)?;
    let condition = own_rows(names, &columns);
    let copied = snapshot.copy_out(table, &columns, &condition, |text| {
        writer.write(text)?;
        told(writer.lines(), table);
        anyhow::Ok(())
    });
    copied.await?;
    Ok(table_of(Store::Postgres, table, columns, vec![writer.finish(0)?]))
}

/// The rows of a table that this generation owns: parallel generations share the tables. Rows without a generation belong to all.
fn own_rows(names: &Names, columns: &[String]) -> String {
    let has = |name: &str| columns.iter().any(|column| column == name);
    if has("generation") {
        return format!("generation = {}", text(names.generation()));
    }
    if has("topic") {
        let feeds = names
            .raw
            .iter()
            .map(|raw| remembered_name(raw, true, names.generation()));
        let written = names.stored_topics().map(str::to_owned);
        let topics: Vec<String> = feeds.chain(written).map(|topic| text(&topic)).collect();
        return format!("topic IN ({})", topics.join(", "));
    }
    "TRUE".to_owned()
}

fn table_of(store: Store, name: &str, columns: Vec<String>, files: Vec<FileEntry>) -> Table {
    Table {
        store,
        name: name.to_owned(),
        columns,
        rows: files.iter().map(|file| file.rows).sum(),
        files,
    }
}

/// Loads the rows of a table of ClickHouse into a staged one.
pub(super) async fn stage(
    clickhouse: &ClickHouse,
    in_use: &str,
    table: &Table,
    backup: &std::path::Path,
    told: Told<'_>,
) -> anyhow::Result<String> {
    let known = clickhouse.stored_columns(in_use).await?;
    refuse_unknown(table, &known)?;
    let staged = clickhouse.stage(in_use).await?;
    let mut loaded = 0;
    for file in &table.files {
        let mut reader = FileReader::open(backup, file)?;
        clickhouse
            .copy_in(&staged, &table.columns, || reader.next_piece())
            .await
            .with_context(|| format!("load {}", file.path))?;
        loaded += file.rows;
        told(loaded, &table.name);
    }
    let found = clickhouse.count_rows(&staged).await?;
    if found != table.rows {
        bail!(
            "{staged} has {found} rows after loading, the backup has {}: nothing was replaced; run the restore again",
            table.rows
        );
    }
    Ok(staged)
}

/// Puts a staged table in the place of the one in use, and its positions where the writer looks for them.
///
/// The order matters. The claims end what earlier writers still do. The floors go before the rows: a floor of the replaced rows
/// would let the next writer skip what only those had.
pub(super) async fn take_the_place(
    clickhouse: &ClickHouse,
    names: &Names,
    manifest: &Manifest,
    spec: &TableSpec,
    partitions: i32,
) -> anyhow::Result<()> {
    let topic = (spec.topic)(names);
    let table = fenced_table(clickhouse, names, spec.name).with_context(|| format!("no writer fills {}", spec.name))?;
    let claims = claim_all(&table, topic, partitions).await?;
    clickhouse.remove_floors(topic).await?;
    clickhouse.swap_in(table.table()).await?;
    let places = manifest.positions.iter();
    for place in places.filter(|place| place.store == Store::ClickHouse && place.table == spec.name) {
        let claim = claims.iter().find(|claim| claim.partition == place.partition);
        let claim = claim.with_context(|| format!("{topic} has no partition {}", place.partition))?;
        table.save_floor(claim, &place.position()).await?;
    }
    let ids = ids(names, manifest, topic);
    clickhouse.forget_topics(&ids).await?;
    Ok(table.check_topics(&ids).await?)
}

async fn claim_all(table: &FencedTable, topic: &str, partitions: i32) -> anyhow::Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for partition in 0..partitions {
        claims.push(table.claim(topic, partition, Claimant::once()).await?);
        table.drain(topic, partition).await?;
    }
    Ok(claims)
}

/// The ids with which the rows were made, under the names that the writer compares: on a log that was replaced it refuses to run.
fn ids(names: &Names, manifest: &Manifest, source: &str) -> Vec<(String, String)> {
    let is_meant = |name: &str| name == source || names.raw.iter().any(|raw| raw == name);
    let topics = manifest.topics.iter().filter(|topic| is_meant(&topic.name));
    topics
        .filter(|topic| domain::is_known_topic_id(&topic.id))
        .map(|topic| {
            let name = remembered_name(&topic.name, topic.name != source, names.generation());
            (name, topic.id.clone())
        })
        .collect()
}

/// Adds the gaps of the backup to those that are stored. None is removed: a gap that was accepted later still explains what is
/// missing.
pub(super) async fn add_gaps(clickhouse: &ClickHouse, table: &Table, backup: &std::path::Path) -> anyhow::Result<()> {
    let staged = stage(clickhouse, GAPS, table, backup, &mut |_, _| ()).await?;
    let columns = table.columns.join(", ");
    let sql = format!(
        "INSERT INTO {0}.{GAPS} ({columns}) SELECT {columns} FROM {0}.{staged} WHERE (consumer_group, topic, topic_id, partition, \
         from_offset, to_offset) NOT IN (SELECT consumer_group, topic, topic_id, partition, from_offset, to_offset FROM {0}.{GAPS})",
        clickhouse.database()
    );
    clickhouse.exec(&sql).await?;
    Ok(clickhouse.drop_table(&staged).await?)
}

/// Replaces the rows of this generation in a table of PostgreSQL; returns how many there are now.
pub(super) async fn load_postgres(load: &Load, table: &Table, backup: &std::path::Path) -> anyhow::Result<u64> {
    let known = load.columns(&table.name).await?;
    refuse_unknown(table, &known)?;
    let mut rows = 0;
    for file in &table.files {
        let mut reader = FileReader::open(backup, file)?;
        rows += load
            .copy_in(&table.name, &table.columns, || reader.next_piece())
            .await
            .with_context(|| format!("load {}", file.path))?;
    }
    if rows != table.rows {
        bail!(
            "{} has {rows} rows after loading, the backup has {}",
            table.name,
            table.rows
        );
    }
    load.continue_numbers(&table.name).await?;
    Ok(rows)
}

/// Removes the rows that the backup replaces, referring tables first.
pub(super) async fn clear_postgres(load: &Load, names: &Names, tables: &[&Table]) -> anyhow::Result<()> {
    for table in tables.iter().rev() {
        load.delete(&table.name, &own_rows(names, &table.columns)).await?;
    }
    Ok(())
}

fn refuse_unknown(table: &Table, known: &[String]) -> anyhow::Result<()> {
    let unknown: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| !known.contains(column))
        .map(String::as_str)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    bail!(
        "{} has no column {}: the backup is of a newer version; use the dp that wrote it, or a newer one",
        table.name,
        unknown.join(", ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::settings::{Env, load};

    use super::*;

    #[test]
    fn a_generation_owns_its_rows_of_shared_tables() {
        let env = Env::from([("DATA_PROC_GENERATION".to_owned(), "g2".to_owned())]);
        let names = Names::new(&load(&env, 8080, |_| ()).unwrap().settings);
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            own_rows(&names, &columns(&["generation", "topic"])),
            "generation = 'g2'"
        );
        let topics = own_rows(&names, &columns(&["topic", "topic_id"]));
        assert!(topics.contains("'ingestion.market.raw.v1@g2'") && topics.contains("'enriched.market.ticks.v1-g2'"));
        assert_eq!(own_rows(&names, &columns(&["commodity"])), "TRUE");
    }
}
