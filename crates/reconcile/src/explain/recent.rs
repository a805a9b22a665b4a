//! The newest raw messages, and how far each has come: for who has no id to follow.
//!
//! Role: the log names the messages; one query of each table and one reading of the dead letters tell the rest.
//! Failure: a message without a row and without a dead letter stands at `raw`: it waits, or it was a repetition, which leaves no row.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use domain::Micros;
use ops::rows::{number, text};
use serde::Serialize;
use serde_json::{Map, Value};
use service::writer::tables::{ENRICHED_TICKS, MARKET_TICKS};
use stores::clickhouse::literal;
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};

use super::logs::letters;
use super::session::Session;
use super::{At, Place};

/// A row is written after its message was appended; machines' clocks may differ.
const CLOCKS_DIFFER: Micros = 3_600_000_000;

/// The last stage that a message has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is in the raw topic: it waits, or it was a repetition.
    Raw,
    /// Each of its ticks has a row in `market_ticks`.
    Normalized,
    /// Each of its ticks has a row in `enriched_ticks`.
    Enriched,
    /// It was rejected.
    Dlq,
}

impl Stage {
    /// Of the rows in both tables. Each table has its own writer, so either may be ahead.
    fn of(normalized: u64, enriched: u64, is_refused: bool) -> Stage {
        match (normalized, enriched) {
            (0, 0) if is_refused => Stage::Dlq,
            (0, 0) => Stage::Raw,
            _ if enriched >= normalized => Stage::Enriched,
            _ => Stage::Normalized,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Raw => "raw",
            Stage::Normalized => "normalized",
            Stage::Enriched => "enriched",
            Stage::Dlq => "dlq",
        }
    }
}

/// A raw message. Ids and instrument are those of its first tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RecentMessage {
    pub place: Place,
    pub appended_at: At,
    pub stage: Stage,
    /// Ticks with a row.
    pub ticks: u64,
    pub event_id: Option<String>,
    pub correlation_id: Option<String>,
    pub tenant_id: Option<String>,
    pub instrument_id: Option<String>,
    /// Code of its newest dead letter.
    pub dead_letter: Option<String>,
}

/// What a table has of a message.
#[derive(Debug, Default)]
struct Rows {
    count: u64,
    tenant_id: Option<String>,
    instrument_id: Option<String>,
    event_id: Option<String>,
    correlation_id: Option<String>,
}

impl Session<'_> {
    /// The newest raw messages of all feeds, the newest first.
    ///
    /// # Errors
    /// Kafka or ClickHouse does not answer.
    pub async fn recent(&self, most: usize) -> anyhow::Result<Vec<RecentMessage>> {
        let (bootstrap, raw) = (self.reading.rules.bootstrap.clone(), self.connection.names.raw.clone());
        let newest = ops::threads::reading(move || newest(&bootstrap, &raw, most))
            .await
            .context("read the newest raw messages")?;
        let Some(since) = newest.iter().map(|(_, appended_at)| *appended_at).min() else {
            return Ok(Vec::new());
        };
        let places: BTreeSet<Place> = newest.iter().map(|(place, _)| place.clone()).collect();
        let condition = among(&places, since);
        let ids = "argMin(source_event_id, raw_index) AS event_, argMin(correlation_id, raw_index) AS correlation_, ";
        let mut normalized = self.rows_of(MARKET_TICKS.name, ids, &condition).await?;
        let mut enriched = self.rows_of(ENRICHED_TICKS.name, "", &condition).await?;
        let (bootstrap, dlq) = (self.reading.rules.bootstrap.clone(), self.connection.names.dlq.clone());
        let letters = ops::threads::blocking(move || letters(&bootstrap, &dlq, &places, since))
            .await
            .context("read the dead letters")?;
        let mut codes: BTreeMap<Place, String> = letters.into_iter().map(|letter| (letter.of, letter.code)).collect();
        let message = |(place, appended_at): (Place, Micros)| {
            let (first, then) = (normalized.remove(&place), enriched.remove(&place));
            let [in_market, in_enriched] = [&first, &then].map(|rows| rows.as_ref().map_or(0, |rows| rows.count));
            let dead_letter = codes.remove(&place);
            let rows = first.or(then).unwrap_or_default();
            RecentMessage {
                stage: Stage::of(in_market, in_enriched, dead_letter.is_some()),
                ticks: in_market.max(in_enriched),
                place,
                appended_at: At(appended_at),
                event_id: rows.event_id,
                correlation_id: rows.correlation_id,
                tenant_id: rows.tenant_id,
                instrument_id: rows.instrument_id,
                dead_letter,
            }
        };
        Ok(newest.into_iter().map(message).collect())
    }

    async fn rows_of(&self, table: &str, columns: &str, condition: &str) -> anyhow::Result<BTreeMap<Place, Rows>> {
        let sql = format!(
            "SELECT toString(feed) AS feed_, toString(raw_partition) AS partition_, toString(raw_offset) AS offset_, \
             {columns}argMin(toString(tenant_id), raw_index) AS tenant_, argMin(toString(instrument_id), raw_index) AS instrument_, \
             toString(count()) AS count_ FROM {} WHERE {condition} GROUP BY feed, raw_partition, raw_offset",
            self.connection.names.table(table)
        );
        let found = self
            .clickhouse
            .query_json(&sql)
            .await
            .with_context(|| format!("look for the messages in {table}"))?;
        let rows = |row: &Map<String, Value>| {
            let place = Place {
                topic: text(row, "feed_")?.to_owned(),
                partition: number(row, "partition_")?,
                offset: number(row, "offset_")?,
            };
            let id = |name| row.get(name).and_then(Value::as_str).map(str::to_owned);
            let rows = Rows {
                count: number(row, "count_")?,
                tenant_id: id("tenant_"),
                instrument_id: id("instrument_"),
                event_id: id("event_"),
                correlation_id: id("correlation_"),
            };
            Ok((place, rows))
        };
        found.iter().map(rows).collect()
    }
}

/// The rows of these messages. The time spares reading the older parts of the table.
fn among(places: &BTreeSet<Place>, since: Micros) -> String {
    let places: Vec<String> = places
        .iter()
        .map(|place| format!("({}, {}, {})", literal(&place.topic), place.partition, place.offset))
        .collect();
    format!(
        "(feed, raw_partition, raw_offset) IN ({}) AND ingested_at >= fromUnixTimestamp64Micro(toInt64({}), 'UTC')",
        places.join(", "),
        since.saturating_sub(CLOCKS_DIFFER).max(0)
    )
}

/// The newest messages of the topics with their append times, the newest first. Blocks.
fn newest(bootstrap: &Brokers, topics: &[String], most: usize) -> Result<Vec<(Place, Micros)>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let count = i64::try_from(most).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for topic in topics {
        for partition in reader.partitions(topic)? {
            let (oldest, end) = reader.log_range(&partition)?;
            reader.read(&partition, oldest.max(end.saturating_sub(count)), end, |message| {
                let place = Place {
                    topic: message.topic.to_owned(),
                    partition: message.partition,
                    offset: message.offset,
                };
                found.push((place, message.timestamp));
                true
            })?;
        }
    }
    found.sort_by_key(|(place, appended_at)| Reverse((*appended_at, place.offset)));
    found.truncate(most);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_is_the_last_with_a_row_of_every_tick() {
        for (normalized, enriched, is_refused, expected) in [
            (0, 0, false, Stage::Raw),
            (0, 0, true, Stage::Dlq),
            (2, 1, false, Stage::Normalized),
            (2, 2, false, Stage::Enriched),
            // The writer of enriched ticks is ahead.
            (0, 1, false, Stage::Enriched),
            // Some rows of a document were rejected.
            (2, 2, true, Stage::Enriched),
        ] {
            assert_eq!(
                Stage::of(normalized, enriched, is_refused),
                expected,
                "{normalized} {enriched} {is_refused}"
            );
        }
    }

    #[test]
    fn messages_are_looked_for_by_their_place() {
        let place = |offset| Place {
            topic: "a'b".to_owned(),
            partition: 1,
            offset,
        };
        assert_eq!(
            among(&BTreeSet::from([place(3), place(2)]), 1),
            r"(feed, raw_partition, raw_offset) IN (('a\'b', 1, 2), ('a\'b', 1, 3)) AND ingested_at >= fromUnixTimestamp64Micro(toInt64(0), 'UTC')"
        );
    }
}
