//! The steps for tables of ClickHouse.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use codec::{Record, Wire};
use domain::{Classified as _, ErrorClass, Interval, Window};
use ops::connection::Connection;
use ops::progress::Progress;
use ops::threads::reading;
use service::writer::TableSpec;
use stores::ClickHouse;
use stores::clickhouse::{BarKey, newest_bars};
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};

use super::choice::{BarChoice, Candidate, Newest, choose_bar};
use super::report::Reasons;
use super::table::Table;
use super::tick_id::{Period, TickId};
use crate::verify::blocks::BlockKey;
use crate::verify::canonical::SourceText;
use crate::verify::gaps::Gaps;
use crate::verify::table_checks::TableChecks;
use crate::verify::{Depth, WrongRow};

/// Bars that are looked up with one query.
const BARS_AT_ONCE: usize = 400;

const OF_THE_WRITER: &str = "a row of another period is missing before it, and both come after the position of the writer: it writes \
    them when its service starts (`dp restart`); or repair without --from and --to";

const IN_FLIGHT: &str =
    "it comes after the position of the table's writer, which has messages in flight: it writes the row itself";

/// Which rows of a table of ticks are written.
pub(super) struct Chosen<'a> {
    /// The table without the suffix of a generation.
    pub(super) table: &'static str,
    /// Blocks of offsets of its topic.
    pub(super) blocks: &'a [BlockKey],
    /// Ticks.
    pub(super) period: &'a Period,
    /// Whether rows after the writer's position are left to it.
    pub(super) in_flight: bool,
}

/// Writes the chosen rows that a table of ticks lacks; returns how many.
pub(super) async fn ticks(
    connection: &Connection,
    clickhouse: &ClickHouse,
    chosen: Chosen<'_>,
    reasons: &mut Reasons,
) -> anyhow::Result<u64> {
    let name = chosen.table;
    let spec = TableSpec::named(name).with_context(|| format!("no writer fills {name}"))?;
    let text = SourceText::of(spec).with_context(|| format!("{name} is not a table of ticks"))?;
    let gaps = Gaps::load(clickhouse, &connection.names).await?;
    let checks = TableChecks {
        connection,
        clickhouse,
        gaps: &gaps,
        depth: Depth::REPAIRED,
    };
    let log = checks.source_log(spec, text).await?;
    let blocks = chosen.blocks.to_vec();
    let places = reading(move || log.places(&blocks)).await?;
    let table = Table::open(connection, clickhouse, spec).await?;
    let total = places.values().map(|places| places.len() as u64).sum();
    let mut progress = Progress::new(&format!("repairing {name}"), total, "records");
    let (mut written, mut seen) = (0, 0);
    for (partition, places) in places {
        let mut candidates = candidates(places, chosen.period);
        if chosen.in_flight {
            let position = table.position(partition).await?;
            let own = candidates.extract_if(.., |candidate| candidate.offset >= position);
            reasons.extend(own.map(|candidate| (candidate.tick.to_string(), IN_FLIGHT.to_owned())));
        }
        if !candidates.iter().any(|candidate| candidate.is_wanted) {
            continue;
        }
        let told = |records| {
            seen += records;
            progress.set(seen, "");
        };
        let done = table.write_ticks(partition, &candidates, told).await?;
        written += done.written;
        for choice in done.choices {
            for (tick, other) in choice.elsewhere {
                let why =
                    format!("{name} has the tick from offset {other} of the topic, a repetition: nothing is lost");
                reasons.insert(tick.to_string(), why);
            }
            for tick in choice.of_the_writer {
                reasons.insert(tick.to_string(), OF_THE_WRITER.to_owned());
            }
        }
    }
    progress.finish();
    Ok(written)
}

fn candidates(places: Vec<(i64, String)>, period: &Period) -> Vec<Candidate> {
    let candidate = |(offset, id): (i64, String)| {
        Some(Candidate {
            offset,
            is_wanted: period.contains(&id),
            tick: TickId::parse(&id)?,
        })
    };
    places.into_iter().filter_map(candidate).collect()
}

/// A bar of the comparison, with its key.
struct Wanted {
    tenant: String,
    instrument: String,
    window: Window,
    text: String,
}

impl Wanted {
    fn of(row: &WrongRow) -> Option<Wanted> {
        let [tenant, instrument, interval, start] = row.key.as_slice() else {
            return None;
        };
        let start: jiff::civil::DateTime = start.parse().ok()?;
        let start = start.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Wanted {
            tenant: tenant.clone(),
            instrument: instrument.clone(),
            window: Window {
                interval: Interval::from_name(interval)?,
                start: start.as_microsecond(),
            },
            text: row.text.clone(),
        })
    }

    fn key(&self) -> BarKey<'_> {
        (&self.tenant, &self.instrument, self.window)
    }
}

type OwnedKey = (String, String, &'static str, i64);

fn owned((tenant, instrument, window): &BarKey<'_>) -> OwnedKey {
    (
        (*tenant).to_owned(),
        (*instrument).to_owned(),
        window.interval.name(),
        window.start,
    )
}

/// Writes the newest versions of these bars again; returns how many. Without `writes` it only looks for their records.
pub(super) async fn bars(
    connection: &Connection,
    clickhouse: &ClickHouse,
    (rows, in_flight): (&[WrongRow], bool),
    writes: bool,
    reasons: &mut Reasons,
) -> anyhow::Result<u64> {
    let spec = TableSpec::named("bars").context("no writer fills bars")?;
    let wanted: Vec<Wanted> = rows.iter().filter_map(Wanted::of).collect();
    let keys: BTreeSet<OwnedKey> = wanted.iter().map(|bar| owned(&bar.key())).collect();
    let (bootstrap, wire) = (connection.settings.kafka_bootstrap.clone(), connection.wire().await?);
    let topic = (spec.topic)(&connection.names).clone();
    let newest = reading(move || newest_records(&bootstrap, &topic, &wire, &keys))
        .await
        .context("read the topic of bars")?;
    let chosen = choose(connection, clickhouse, &wanted, &newest).await?;
    let mut partitions: BTreeMap<i32, Vec<&Wanted>> = BTreeMap::new();
    for (bar, choice) in wanted.iter().zip(&chosen) {
        match choice {
            BarChoice::Write(record) => partitions.entry(record.partition).or_default().push(bar),
            BarChoice::Leave(why) => _ = reasons.insert(bar.text.clone(), (*why).to_owned()),
        }
    }
    if !writes || partitions.is_empty() {
        return Ok(partitions.values().map(|bars| bars.len() as u64).sum());
    }
    let table = Table::open(connection, clickhouse, spec).await?;
    let mut progress = Progress::new("repairing bars", partitions.len() as u64, "partitions");
    let mut written = 0;
    for (done, (partition, mut bars)) in (1..).zip(partitions) {
        if in_flight {
            let position = table.position(partition).await?;
            let is_own = |bar: &mut &Wanted| {
                newest
                    .get(&owned(&bar.key()))
                    .is_some_and(|record| record.offset >= position)
            };
            let own = bars.extract_if(.., is_own);
            reasons.extend(own.map(|bar| (bar.text.clone(), IN_FLIGHT.to_owned())));
        }
        if !bars.is_empty() {
            let still = async || lacking(connection, clickhouse, &bars, &newest).await;
            written += table.write_bars(partition, still).await?;
        }
        progress.set(done, "");
    }
    progress.finish();
    Ok(written)
}

/// Offsets of the records of these bars that the table lacks now.
async fn lacking(
    connection: &Connection,
    clickhouse: &ClickHouse,
    bars: &[&Wanted],
    newest: &BTreeMap<OwnedKey, Newest>,
) -> anyhow::Result<BTreeSet<i64>> {
    let mut offsets = BTreeSet::new();
    for part in bars.chunks(BARS_AT_ONCE) {
        for choice in choose_of(connection, clickhouse, part, newest).await? {
            if let BarChoice::Write(record) = choice {
                offsets.insert(record.offset);
            }
        }
    }
    Ok(offsets)
}

async fn choose(
    connection: &Connection,
    clickhouse: &ClickHouse,
    wanted: &[Wanted],
    newest: &BTreeMap<OwnedKey, Newest>,
) -> anyhow::Result<Vec<BarChoice>> {
    let all: Vec<&Wanted> = wanted.iter().collect();
    let mut chosen = Vec::with_capacity(all.len());
    for part in all.chunks(BARS_AT_ONCE) {
        chosen.extend(choose_of(connection, clickhouse, part, newest).await?);
    }
    Ok(chosen)
}

/// Decides about each of these bars from what the table has of it now.
async fn choose_of(
    connection: &Connection,
    clickhouse: &ClickHouse,
    wanted: &[&Wanted],
    newest: &BTreeMap<OwnedKey, Newest>,
) -> anyhow::Result<Vec<BarChoice>> {
    let keys: Vec<BarKey<'_>> = wanted.iter().map(|bar| bar.key()).collect();
    let stored = newest_bars(clickhouse, &connection.names.table("bars_latest"), &keys)
        .await
        .context("read the bars")?;
    let mut versions = BTreeMap::new();
    for bar in stored.iter().filter_map(|stored| stored.bar()) {
        versions.insert(owned(&(bar.tenant_id, bar.instrument_id, bar.window)), bar.version);
    }
    let choice = |bar: &&Wanted| {
        let key = owned(&bar.key());
        choose_bar(newest.get(&key).copied(), versions.get(&key).copied())
    };
    Ok(wanted.iter().map(choice).collect())
}

/// The newest record of each of these bars. Blocks.
fn newest_records(
    bootstrap: &Brokers,
    topic: &str,
    wire: &Wire,
    keys: &BTreeSet<OwnedKey>,
) -> Result<BTreeMap<OwnedKey, Newest>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let mut newest: BTreeMap<OwnedKey, Newest> = BTreeMap::new();
    for partition in reader.partitions(topic)? {
        let (first, end) = reader.log_range(&partition)?;
        let mut failed = None;
        reader.read(&partition, first, end, |message| {
            let payload = wire.current(Record::Bar, message.payload.unwrap_or_default());
            let bar = match wire.decode_bar(payload.as_ref()) {
                Ok(bar) => bar,
                Err(error) if error.class() == ErrorClass::Poison => return true,
                Err(error) => {
                    let place = format!("{partition} offset {}: {error}", message.offset);
                    failed = Some(StreamError::transient(error.code(), place));
                    return false;
                }
            };
            let key = owned(&(bar.tenant_id, bar.instrument_id, bar.window));
            if keys.contains(&key) {
                let found = Newest {
                    version: bar.version.as_u64(),
                    offset: message.offset,
                    partition: message.partition,
                };
                newest
                    .entry(key)
                    .and_modify(|known| *known = (*known).max(found))
                    .or_insert(found);
            }
            true
        })?;
        if let Some(failed) = failed {
            return Err(failed);
        }
    }
    Ok(newest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::verify::Wrong;

    #[test]
    fn the_key_of_a_bar_is_read_from_the_comparison() {
        let row = WrongRow {
            wrong: Wrong::Missing,
            key: ["t", "i/j", "5m", "2026-10-01 10:05:00.000000"]
                .map(str::to_owned)
                .to_vec(),
            origin: String::new(),
            text: "bar".to_owned(),
        };
        let bar = Wanted::of(&row).unwrap();
        let expected: jiff::Timestamp = "2026-10-01T10:05:00Z".parse().unwrap();
        assert_eq!(
            owned(&bar.key()),
            ("t".to_owned(), "i/j".to_owned(), "5m", expected.as_microsecond())
        );
    }
}
