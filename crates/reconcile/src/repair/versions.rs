//! The step for tables that keep versions of their rows: bars, derived prices and snapshots of curves.
//!
//! Role: finds the records of lost rows in their topic, and has those written that the table lacks under a claim ([`super::table`]).
//! [`choice`](super::choice) decides, [`TableSpec`] knows the tables.
//! Failure: a record that cannot be read is passed over, as its writer has sent it to the dead letters.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use codec::{Record, Wire};
use domain::{Classified as _, ErrorClass, Micros};
use ops::connection::Connection;
use ops::progress::Progress;
use ops::threads::reading;
use serde::Deserialize;
use service::writer::{TableSpec, VersionKey, Versioned};
use stores::ClickHouse;
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};

use super::choice::{Place, VersionChoice, choose_versions};
use super::report::Reasons;
use super::rows::IN_FLIGHT;
use super::table::Table;
use super::versioned::{key_of, left};
use crate::verify::{Wrong, WrongRow};

/// Rows that are looked up with one query.
const AT_ONCE: usize = 400;

/// Rows of a table that may have lost versions.
pub(super) struct Lost<'a> {
    /// The table without the suffix of a generation.
    pub(super) table: &'static str,
    pub(super) rows: &'a [WrongRow],
    /// Whether rows after the writer's position are left to it.
    pub(super) arrives: bool,
}

/// A row of the comparison, with its key.
struct Wanted {
    key: VersionKey,
    wrong: Wrong,
    text: String,
}

impl Wanted {
    fn of(row: &WrongRow) -> Option<Wanted> {
        Some(Wanted {
            key: key_of(row)?,
            wrong: row.wrong,
            text: row.text.clone(),
        })
    }
}

/// The last record of each version of a row.
type Records = BTreeMap<u64, Place>;

/// The records to write in one partition: their offsets, each with its row.
type Chosen<'w> = Vec<(i64, &'w Wanted)>;

/// Writes the versions of these rows that the table lacks; returns how many. Without `writes` it only looks for their records.
pub(super) async fn versions(
    connection: &Connection,
    clickhouse: &ClickHouse,
    lost: Lost<'_>,
    writes: bool,
    reasons: &mut Reasons,
) -> anyhow::Result<u64> {
    let name = lost.table;
    let spec = TableSpec::named(name).with_context(|| format!("no writer fills {name}"))?;
    let versioned = spec.versions.as_ref();
    let versioned = versioned.with_context(|| format!("{name} keeps no versions"))?;
    let wanted: Vec<Wanted> = lost.rows.iter().filter_map(Wanted::of).collect();
    let lookup = Lookup {
        clickhouse,
        name,
        versioned,
        table: connection.names.table(name),
        records: of_topic(connection, spec, versioned, &wanted).await?,
    };
    let partitions = lookup.chosen(&wanted, reasons).await?;
    if !writes || partitions.is_empty() {
        return Ok(partitions.values().map(|chosen| chosen.len() as u64).sum());
    }
    let table = Table::open(connection, clickhouse, spec).await?;
    let mut progress = Progress::new(&format!("repairing {name}"), partitions.len() as u64, "partitions");
    let mut written = 0;
    for (done, (partition, chosen)) in (1..).zip(partitions) {
        let end = match lost.arrives {
            true => table.position(partition).await?,
            false => i64::MAX,
        };
        let (chosen, of_the_writer): (Chosen<'_>, Chosen<'_>) =
            chosen.into_iter().partition(|(offset, _)| *offset < end);
        reasons.extend(
            of_the_writer
                .into_iter()
                .map(|(_, row)| (row.text.clone(), IN_FLIGHT.to_owned())),
        );
        if !chosen.is_empty() {
            let mut rows: Vec<&Wanted> = chosen.into_iter().map(|(_, row)| row).collect();
            // A row may lack several versions.
            rows.dedup_by(|row, other| std::ptr::eq(*row, *other));
            let still = async || lookup.lacking(&rows, partition, end).await;
            written += table.write_versions(partition, still).await?;
        }
        progress.set(done, "");
    }
    progress.finish();
    Ok(written)
}

#[derive(Deserialize)]
struct Found {
    key_tenant: String,
    key_name: String,
    key_span: String,
    key_time: Micros,
    versions: BTreeSet<u64>,
}

/// What the topic has of lost rows, and where the table is asked for them.
struct Lookup<'a> {
    clickhouse: &'a ClickHouse,
    /// Of the table, without the suffix of a generation.
    name: &'static str,
    versioned: &'static Versioned,
    /// With the suffix of its generation.
    table: String,
    records: BTreeMap<VersionKey, Records>,
}

impl Lookup<'_> {
    /// What is written, by partition. The others get their reason.
    async fn chosen<'w>(
        &self,
        wanted: &'w [Wanted],
        reasons: &mut Reasons,
    ) -> anyhow::Result<BTreeMap<i32, Chosen<'w>>> {
        let all: Vec<&Wanted> = wanted.iter().collect();
        let mut partitions: BTreeMap<i32, Chosen<'w>> = BTreeMap::new();
        for (row, choice) in wanted.iter().zip(self.choose(&all).await?) {
            match choice {
                VersionChoice::Write(places) => {
                    for place in places {
                        partitions.entry(place.partition).or_default().push((place.offset, row));
                    }
                }
                VersionChoice::Leave(why) => {
                    let why = left(self.name, self.versioned.cure, (row.wrong, why));
                    reasons.insert(row.text.clone(), why);
                }
            }
        }
        Ok(partitions)
    }

    /// Offsets below `end` of a partition with records of these rows that the table lacks now.
    async fn lacking(&self, wanted: &[&Wanted], partition: i32, end: i64) -> anyhow::Result<BTreeSet<i64>> {
        let mut offsets = BTreeSet::new();
        for choice in self.choose(wanted).await? {
            if let VersionChoice::Write(places) = choice {
                let own = places
                    .iter()
                    .filter(|place| place.partition == partition && place.offset < end);
                offsets.extend(own.map(|place| place.offset));
            }
        }
        Ok(offsets)
    }

    /// Decides about each of these rows from what the table has of it now.
    async fn choose(&self, wanted: &[&Wanted]) -> anyhow::Result<Vec<VersionChoice>> {
        let (none, mut chosen) = (Records::new(), Vec::with_capacity(wanted.len()));
        for part in wanted.chunks(AT_ONCE) {
            let stored = self.stored(part).await?;
            for row in part {
                let records = self.records.get(&row.key).unwrap_or(&none);
                let stored = stored.get(&row.key).cloned().unwrap_or_default();
                chosen.push(choose_versions(records, &stored, self.versioned.keeps_all));
            }
        }
        Ok(chosen)
    }

    async fn stored(&self, part: &[&Wanted]) -> anyhow::Result<BTreeMap<VersionKey, BTreeSet<u64>>> {
        let keys: Vec<&VersionKey> = part.iter().map(|row| &row.key).collect();
        let sql = self.versioned.stored(&self.table, &keys);
        let found: Vec<Found> = self
            .clickhouse
            .query_rows(&sql)
            .await
            .with_context(|| format!("look for versions in {}", self.table))?;
        let key = |row: Found| {
            let key = VersionKey {
                tenant: row.key_tenant,
                name: row.key_name,
                span: row.key_span,
                time: row.key_time,
            };
            (key, row.versions)
        };
        Ok(found.into_iter().map(key).collect())
    }
}

async fn of_topic(
    connection: &Connection,
    spec: &'static TableSpec,
    versioned: &'static Versioned,
    wanted: &[Wanted],
) -> anyhow::Result<BTreeMap<VersionKey, Records>> {
    let keys: BTreeSet<VersionKey> = wanted.iter().map(|row| row.key.clone()).collect();
    let (bootstrap, wire) = (connection.settings.kafka_bootstrap.clone(), connection.wire().await?);
    let topic = (spec.topic)(&connection.names).clone();
    reading(move || records(&bootstrap, (topic.as_str(), spec.record), &wire, versioned, &keys))
        .await
        .with_context(|| format!("read {}", (spec.topic)(&connection.names)))
}

/// The records of these rows in their topic. Blocks.
fn records(
    bootstrap: &Brokers,
    (topic, record): (&str, Record),
    wire: &Wire,
    versioned: &Versioned,
    keys: &BTreeSet<VersionKey>,
) -> Result<BTreeMap<VersionKey, Records>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let mut found: BTreeMap<VersionKey, Records> = BTreeMap::new();
    for partition in reader.partitions(topic)? {
        let (first, end) = reader.log_range(&partition)?;
        let mut failed = None;
        reader.read(&partition, first, end, |message| {
            let payload = wire.current(record, message.payload.unwrap_or_default());
            match (versioned.of_record)(wire, payload.as_ref()) {
                Ok((key, version)) if keys.contains(&key) => {
                    let place = Place {
                        partition: message.partition,
                        offset: message.offset,
                    };
                    found.entry(key).or_default().insert(version, place);
                }
                Ok(_) => {}
                Err(error) if error.class() == ErrorClass::Poison => {}
                Err(error) => {
                    let place = format!("{partition} offset {}: {error}", message.offset);
                    failed = Some(StreamError::transient(error.code(), place));
                }
            }
            failed.is_none()
        })?;
        if let Some(failed) = failed {
            return Err(failed);
        }
    }
    Ok(found)
}
