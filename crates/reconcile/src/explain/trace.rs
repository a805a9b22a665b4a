//! Finds the messages of an event id, a correlation id or a trace id, and follows each through every stage.
//!
//! Role: the tables name most messages. What has no row is looked for among the dead letters, and among the newest raw messages,
//! which may not have been processed yet. No table has the trace id: it is looked for in the headers of both. Then [`Session::row`] follows each message, and [`steps`](super::steps) times it.
//! Failure: an id that is found nowhere is a trace without messages, which names what was searched.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use domain::Micros;
use serde::Serialize;
use serde_json::{Map, Value};
use service::writer::tables::{ENRICHED_TICKS, LATE_TICKS, MARKET_TICKS};
use stores::clickhouse::literal;
use stream::kafka::reader::LogReader;
use stream::trace::{self, Found, TraceId, Traceparent};
use stream::{Brokers, Message, StreamError};

use super::Place;
use super::logs::LetterRow;
use super::row::{RowTrace, TickAndBars};
use super::served::{self, Price};
use super::session::Session;
use super::steps::{Served, Step, Times, steps};
use super::tables::Instrument;
use ops::dead_letters::{Wanted, each};
use ops::rows::{number, text};

/// Messages that are followed; a correlation id may have any number.
const MESSAGES: usize = 20;
/// Newest raw messages of each partition that are searched.
const NEWEST: i64 = 10_000;

/// The messages of an id.
#[derive(Debug, Serialize)]
pub struct Trace {
    /// The id.
    pub id: String,
    /// What was searched, in order.
    pub searched: Vec<String>,
    /// The messages, the oldest first.
    pub messages: Vec<TracedMessage>,
    /// What else the reader should know.
    pub notes: Vec<String>,
}

/// A message and what became of it.
#[derive(Debug, Serialize)]
pub struct TracedMessage {
    /// Where it is, or was.
    pub place: Place,
    /// The raw message and what normalization decided about it; `None` if it cannot be read.
    pub raw: Option<super::logs::RawRecord>,
    /// Its ticks.
    pub ticks: Vec<TracedTick>,
    /// Its dead letters.
    pub dead_letters: Vec<LetterRow>,
    /// Contradictions between the log and the tables.
    pub notes: Vec<String>,
}

/// A tick and its path.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct TracedTick {
    pub tick_id: String,
    pub event_id: Option<String>,
    pub correlation_id: Option<String>,
    pub tenant_id: String,
    pub instrument_id: String,
    pub price: String,
    pub steps: Vec<Step>,
}

impl Session<'_> {
    /// Traces the messages whose event id, correlation id or trace id this is. Without `tenant`, those of all tenants.
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn id(&self, id: &str, tenant: Option<&str>) -> anyhow::Result<Trace> {
        let names = &self.connection.names;
        let mut searched = vec![format!(
            "columns source_event_id and correlation_id of table {}",
            names.table(MARKET_TICKS.name)
        )];
        let in_tables = self.in_tables(id, tenant).await?;
        searched.push(format!("headers and payloads of topic {}", names.dlq));
        let mut places = &in_tables | &self.in_letters(id).await?;
        let is_trace = TraceId::parse(id).is_some();
        if places.is_empty() || is_trace {
            searched.push(format!(
                "the newest {NEWEST} messages of each partition of {}",
                names.raw.join(", ")
            ));
            places.extend(self.in_newest(id).await?);
        }
        let mut notes = Vec::new();
        if places.len() > MESSAGES {
            notes.push(format!("{MESSAGES} of at least {} messages are shown", places.len()));
        }
        let mut messages = Vec::new();
        for place in places.iter().take(MESSAGES) {
            // All ticks of a message have its trace; an event or a correlation may be one of many in a document.
            let id = (!is_trace || in_tables.contains(place)).then_some(id);
            messages.push(self.followed(place, (id, tenant)).await?);
        }
        messages.sort_by_key(|message| message.raw.as_ref()?.kept.as_ref().map(|kept| kept.appended_at));
        Ok(Trace {
            id: id.to_owned(),
            searched,
            messages,
            notes,
        })
    }

    async fn in_tables(&self, id: &str, tenant: Option<&str>) -> anyhow::Result<BTreeSet<Place>> {
        let sql = format!(
            "SELECT DISTINCT toString(feed) AS feed_, toString(raw_partition) AS partition_, toString(raw_offset) AS offset_ \
             FROM {} WHERE {} ORDER BY feed, raw_partition, raw_offset LIMIT {}",
            self.connection.names.table(MARKET_TICKS.name),
            ids(Some(id), tenant),
            MESSAGES + 1
        );
        let rows = self
            .clickhouse
            .query_json(&sql)
            .await
            .context("look for the id in ClickHouse")?;
        let place = |row: &Map<String, Value>| {
            Ok(Place {
                topic: text(row, "feed_")?.to_owned(),
                partition: number(row, "partition_")?,
                offset: number(row, "offset_")?,
            })
        };
        rows.iter().map(place).collect()
    }

    /// The raw messages of dead letters that name the id.
    async fn in_letters(&self, id: &str) -> anyhow::Result<BTreeSet<Place>> {
        let (bootstrap, dlq) = (self.reading.rules.bootstrap.clone(), self.connection.names.dlq.clone());
        let (id, raw) = (id.to_owned(), self.connection.names.raw.clone());
        ops::threads::reading(move || {
            let mut places = BTreeSet::new();
            each(&bootstrap, &dlq, &Wanted::default(), |letter, message| {
                let names = letter.correlation_id == id || is_about(message, &id);
                // A letter of a later stage names a record of that stage's topic, whose tick has a row.
                if names && raw.contains(&letter.origin.topic) {
                    places.insert(Place {
                        topic: letter.origin.topic,
                        partition: letter.origin.partition,
                        offset: letter.origin.offset,
                    });
                }
                places.len() <= MESSAGES
            })?;
            Ok(places)
        })
        .await
        .context("look for the id in the dead letters")
    }

    async fn in_newest(&self, id: &str) -> anyhow::Result<BTreeSet<Place>> {
        let (bootstrap, raw, id) = (
            self.reading.rules.bootstrap.clone(),
            self.connection.names.raw.clone(),
            id.to_owned(),
        );
        ops::threads::reading(move || newest(&bootstrap, &raw, &id))
            .await
            .context("look for the id in the raw messages")
    }

    /// The message, and those of its ticks that have this id and tenant.
    async fn followed(
        &self,
        place: &Place,
        (id, tenant): (Option<&str>, Option<&str>),
    ) -> anyhow::Result<TracedMessage> {
        let RowTrace {
            raw,
            ticks,
            dead_letters,
            notes,
            ..
        } = match self.row(place, None, None).await {
            Ok(row) => row,
            // A letter outlives a raw topic that is created again, and then names an offset that does not exist.
            Err(error) => {
                return Ok(TracedMessage {
                    place: place.clone(),
                    raw: None,
                    ticks: Vec::new(),
                    dead_letters: self.letters(place, None).await?,
                    notes: vec![format!("the message cannot be read: {error:#}")],
                });
            }
        };
        let mut details = self.details(place, (id, tenant)).await?;
        let mut traced = Vec::new();
        // A document has many ticks, of which the id may name one.
        for TickAndBars { tick, bars } in ticks {
            let Some(Detail {
                event_id,
                correlation_id,
                times,
            }) = details.remove(&tick.index)
            else {
                continue;
            };
            let served = self.served(Instrument {
                tenant_id: &tick.tenant_id,
                id: &tick.instrument_id,
            });
            traced.push(TracedTick {
                steps: steps(&tick, &times, &bars, &served.await),
                tick_id: tick.tick_id,
                event_id,
                correlation_id,
                tenant_id: tick.tenant_id,
                instrument_id: tick.instrument_id,
                price: tick.price,
            });
        }
        Ok(TracedMessage {
            place: place.clone(),
            raw: Some(raw),
            ticks: traced,
            dead_letters,
            notes,
        })
    }

    /// Ids and times of the message's ticks with this id, by index.
    async fn details(
        &self,
        place: &Place,
        (id, tenant): (Option<&str>, Option<&str>),
    ) -> anyhow::Result<BTreeMap<i32, Detail>> {
        let names = &self.connection.names;
        let of = format!(
            "feed = {} AND raw_partition = {} AND raw_offset = {}",
            literal(&place.topic),
            place.partition,
            place.offset
        );
        let select = |columns: &str, table: &str, and: &str| {
            format!(
                "SELECT toString(raw_index) AS index_, {columns} FROM {} WHERE {of}{and}",
                names.table(table)
            )
        };
        let micros = |column: &str, name: &str| format!("toString(toUnixTimestamp64Micro({column})) AS {name}");
        let ingested = micros("ingested_at", "ingested_");
        let columns = format!(
            "source_event_id AS event_, correlation_id AS correlation_, {}, {ingested}",
            micros("normalized_at", "made_")
        );
        let ask = async |sql: String| {
            self.clickhouse
                .query_json(&sql)
                .await
                .context("read the times of the ticks")
        };
        let mut details = BTreeMap::new();
        for row in ask(select(
            &columns,
            MARKET_TICKS.name,
            &format!(" AND {}", ids(id, tenant)),
        ))
        .await?
        {
            let detail = Detail {
                event_id: Some(text(&row, "event_")?.to_owned()),
                correlation_id: Some(text(&row, "correlation_")?.to_owned()),
                times: Times {
                    normalized: Some(number(&row, "made_")?),
                    in_market_ticks: Some(number(&row, "ingested_")?),
                    ..Times::default()
                },
            };
            details.insert(number(&row, "index_")?, detail);
        }
        let columns = format!("{}, {ingested}", micros("enriched_at", "made_"));
        for row in ask(select(&columns, ENRICHED_TICKS.name, "")).await? {
            let index: i32 = number(&row, "index_")?;
            if let Some(detail) = details.get_mut(&index) {
                detail.times.enriched = Some(number(&row, "made_")?);
                detail.times.in_enriched_ticks = Some(number(&row, "ingested_")?);
            }
        }
        for row in ask(select(&ingested, LATE_TICKS.name, "")).await? {
            let index: i32 = number(&row, "index_")?;
            if let Some(detail) = details.get_mut(&index) {
                detail.times.in_late_ticks = Some(number(&row, "ingested_")?);
            }
        }
        Ok(details)
    }

    async fn served(&self, instrument: Instrument<'_>) -> [Served; 2] {
        let (postgres, redis) = (self.clients.postgres(), self.clients.redis());
        let in_postgres = async {
            let postgres = postgres.map_err(|error| anyhow::anyhow!(error))?;
            let generation = self.connection.names.generation();
            let price = served::postgres(&postgres, generation, instrument).await?;
            Ok((price, updated(&postgres, generation, instrument).await?))
        };
        let in_redis = async {
            let redis = redis.map_err(|error| anyhow::anyhow!(error))?;
            Ok((served::redis(&redis, instrument).await?, None))
        };
        let (in_postgres, in_redis) = tokio::join!(in_postgres, in_redis);
        [
            of_store("postgres", in_postgres, "no row"),
            of_store("redis", in_redis, "no key: keys expire after an hour"),
        ]
    }
}

struct Detail {
    event_id: Option<String>,
    correlation_id: Option<String>,
    times: Times,
}

fn of_store(store: &'static str, asked: anyhow::Result<(Option<Price>, Option<Micros>)>, missing: &str) -> Served {
    let (price, updated) = match asked {
        Ok((Some(price), updated)) => (Ok(price), updated),
        Ok((None, _)) => (Err(missing.to_owned()), None),
        Err(error) => (Err(format!("{error:#}")), None),
    };
    Served { store, price, updated }
}

/// When PostgreSQL's price was written.
async fn updated(postgres: &stores::Postgres, generation: &str, of: Instrument<'_>) -> anyhow::Result<Option<Micros>> {
    let sql = format!(
        "SELECT (extract(epoch FROM updated_at) * 1000000)::bigint FROM served_latest_prices \
         WHERE {}",
        served::row_of(generation, of)
    );
    let rows = postgres.query_text(&sql).await.context("ask Postgres")?;
    let told = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    told.map(|micros| micros.parse().context("Postgres returned no time"))
        .transpose()
}

/// The condition for rows with this id and of this tenant.
fn ids(id: Option<&str>, tenant: Option<&str>) -> String {
    let id = id.map(literal);
    let id = id.map(|id| format!("(source_event_id = {id} OR correlation_id = {id})"));
    let tenant = tenant.map(|tenant| format!("tenant_id = {}", literal(tenant)));
    let both: Vec<String> = id.into_iter().chain(tenant).collect();
    match both.is_empty() {
        true => "1".to_owned(),
        false => both.join(" AND "),
    }
}

/// Newest raw messages that contain the id. Blocks.
fn newest(bootstrap: &Brokers, topics: &[String], id: &str) -> Result<BTreeSet<Place>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let mut places = BTreeSet::new();
    for topic in topics {
        for partition in reader.partitions(topic)? {
            let (oldest, end) = reader.log_range(&partition)?;
            reader.read(&partition, oldest.max(end - NEWEST), end, |message| {
                if is_about(message, id) {
                    places.insert(Place {
                        topic: message.topic.to_owned(),
                        partition: message.partition,
                        offset: message.offset,
                    });
                }
                places.len() <= MESSAGES
            })?;
        }
    }
    Ok(places)
}

/// Whether the message contains the id, or belongs to the trace with this id.
fn is_about(message: &Message<'_>, id: &str) -> bool {
    let is_its = |parent: &Traceparent| TraceId::parse(id) == Some(parent.trace());
    matches!(trace::find(message), Found::Trace(parent, _) if is_its(&parent))
        || contains(message.payload.unwrap_or_default(), id)
}

/// Whether the bytes contain the id as a whole: `e-1` is not part of `e-12`.
fn contains(bytes: &[u8], id: &str) -> bool {
    let id = id.as_bytes();
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    !id.is_empty()
        && bytes.windows(id.len()).enumerate().any(|(at, found)| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            found == id && !is_part(before) && !is_part(bytes.get(at + id.len()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_only_as_a_whole() {
        assert!(contains(br#"{"event_id":"e-1"}"#, "e-1"));
        assert!(contains(b"e-1", "e-1"));
        for other in [r#"{"event_id":"e-12"}"#, r#"{"event_id":"pre-e-1"}"#, "e-", ""] {
            assert!(!contains(other.as_bytes(), "e-1"), "{other}");
        }
        assert!(!contains(b"anything", ""));
    }

    #[test]
    fn ids_are_quoted() {
        assert_eq!(
            ids(Some("a'b"), Some("t")),
            r"(source_event_id = 'a\'b' OR correlation_id = 'a\'b') AND tenant_id = 't'"
        );
        assert_eq!(ids(None, Some("t")), "tenant_id = 't'");
        assert_eq!(ids(None, None), "1");
    }
}
