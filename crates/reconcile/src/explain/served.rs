//! The latest price in each store, and the differences between stores.

use std::collections::BTreeMap;

use anyhow::Context as _;
use security::{Trust, http_client};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::settings::mask;
use stores::postgres::copies::text;
use stores::{Postgres, Redis};

use super::tables::Instrument;
use super::{At, Place, TickRow};

/// A price with the digits of its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Price {
    pub price: String,
    pub volume: Option<String>,
    pub event_time: At,
    pub tick_id: String,
}

/// The price in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Quote {
    pub source: &'static str,
    pub price: Option<Price>,
    /// Why the store has no price.
    pub note: Option<String>,
    /// Whether it could not be asked: then nothing is known of its price.
    pub is_unread: bool,
}

impl Quote {
    /// The result of a query. `missing` is the note if the store has no price.
    pub fn of(source: &'static str, asked: anyhow::Result<Option<Price>>, missing: &str) -> Quote {
        let is_unread = asked.is_err();
        let (price, note) = match asked {
            Ok(Some(price)) => (Some(price), None),
            Ok(None) => (None, Some(missing.to_owned())),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Quote {
            source,
            price,
            note,
            is_unread,
        }
    }
}

impl From<&TickRow> for Price {
    fn from(tick: &TickRow) -> Price {
        Price {
            price: tick.price.clone(),
            volume: tick.volume.clone(),
            event_time: tick.event_time,
            tick_id: tick.tick_id.clone(),
        }
    }
}

/// The differences to the first store that has a price, as text. Empty if all stores agree.
pub fn disagreements(quotes: &[Quote]) -> Vec<String> {
    let mut known = quotes
        .iter()
        .filter_map(|quote| Some((quote.source, quote.price.as_ref()?)));
    let Some((source, price)) = known.next() else {
        return Vec::new();
    };
    known
        .filter(|(_, other)| *other != price)
        .map(|(other_source, other)| {
            let volume = |price: &Price| price.volume.clone().unwrap_or_else(|| "none".to_owned());
            let fields = [
                ("price", price.price.clone(), other.price.clone()),
                ("volume", volume(price), volume(other)),
                ("event time", price.event_time.to_string(), other.event_time.to_string()),
                ("tick", price.tick_id.clone(), other.tick_id.clone()),
            ];
            let differing = fields.into_iter().filter(|(_, a, b)| a != b);
            let words: Vec<String> = differing
                .map(|(name, a, b)| format!("{name} {b} instead of {a}"))
                .collect();
            format!("{other_source} disagrees with {source}: {}", words.join(", "))
        })
        .collect()
}

/// The raw message and the index in a tick id.
pub fn place_of(tick_id: &str) -> Option<(Place, i32)> {
    let mut parts = tick_id.rsplitn(4, '/');
    let index = parts.next()?.parse().ok()?;
    let offset = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    let topic = parts.next()?.to_owned();
    let place = Place {
        topic,
        partition,
        offset,
    };
    Some((place, index))
}

/// The price in Postgres.
///
/// # Errors
/// Postgres does not answer.
pub async fn postgres(postgres: &Postgres, generation: &str, of: Instrument<'_>) -> anyhow::Result<Option<Price>> {
    let sql = format!(
        "SELECT trim_scale(price)::text, trim_scale(volume)::text, ((extract(epoch FROM event_time) * 1000000)::bigint)::text, \
         feed || '/' || raw_partition || '/' || raw_offset || '/' || raw_index FROM served_latest_prices \
         WHERE {}",
        row_of(generation, of)
    );
    let rows = postgres.query_text(&sql).await.context("ask Postgres")?;
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let mut fields = row.into_iter();
    let mut next = || fields.next().flatten();
    let (price, volume, time, tick_id) = (next(), next(), next(), next());
    Ok(Some(Price {
        price: price.context("Postgres returned no price")?,
        volume,
        event_time: At(time.context("Postgres returned no time")?.parse()?),
        tick_id: tick_id.context("Postgres returned no tick")?,
    }))
}

/// The condition on an instrument's row in Postgres, whose literals are quoted otherwise than those of ClickHouse.
pub(super) fn row_of(generation: &str, of: Instrument<'_>) -> String {
    format!(
        "generation = {} AND tenant_id = {} AND instrument_id = {}",
        text(generation),
        text(of.tenant_id),
        text(of.id)
    )
}

/// The price in Redis.
///
/// # Errors
/// Redis does not answer, or the value is not a price.
pub async fn redis(redis: &Redis, of: Instrument<'_>) -> anyhow::Result<Option<Price>> {
    let key = stores::redis::Key::latest_price(of.tenant_id, of.id).to_string();
    let values = redis.get_many(std::slice::from_ref(&key)).await.context("ask Redis")?;
    match values.into_iter().next().flatten() {
        None => Ok(None),
        Some(value) => read(&value)
            .map(Some)
            .with_context(|| format!("key {key} contains {value}, which is not a price")),
    }
}

/// The price from projection's HTTP API at this address.
///
/// # Errors
/// The API does not answer, or the answer is not a price.
pub async fn http(trust: &Trust, base: &str, of: Instrument<'_>) -> anyhow::Result<Option<Price>> {
    #[derive(Deserialize)]
    struct Answer {
        prices: Vec<Box<RawValue>>,
    }
    let url = format!("{}/prices/latest", base.trim_end_matches('/'));
    let shown = mask(&url);
    let response = http_client(trust, None)?
        .get(&url)
        .query(&[("tenant_id", of.tenant_id), ("instrument_id", of.id)])
        .timeout(std::time::Duration::from_secs(5))
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("ask {shown} (is projection running? Set another address with --api)"))?;
    if response.status() == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let (status, body) = (response.status(), response.text().await?);
    anyhow::ensure!(status.is_success(), "{shown} returned {status}: {body}");
    let answer: Answer =
        serde_json::from_str(&body).with_context(|| format!("{shown} returned {body}, which is not a price"))?;
    answer.prices.first().map(|price| read(price.get())).transpose()
}

// Numbers keep their digits, because they are never parsed as JSON numbers.
fn read(json: &str) -> anyhow::Result<Price> {
    let object: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(json).context("the value is not a JSON object")?;
    let field = |name: &str| {
        let raw = object
            .get(name)
            .with_context(|| format!("field {name} is missing"))?
            .get();
        Ok::<String, anyhow::Error>(serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned()))
    };
    let time: jiff::Timestamp = field("event_time")?.parse().context("event_time is not a time")?;
    Ok(Price {
        price: field("price")?,
        volume: Some(field("volume")?).filter(|volume| volume != "null"),
        event_time: At(time.as_microsecond()),
        tick_id: field("tick_id")?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"standing":"x","price":-31.55,"volume":null,"event_time":"1970-01-01T00:00:01.000000Z","tick_id":"a/b/1/2/3"}"#;

    #[test]
    fn ids_are_quoted_as_postgres_reads_them() {
        let of = Instrument {
            tenant_id: "t",
            id: r"a'; DROP TABLE x; --\",
        };
        assert_eq!(
            row_of("", of),
            r"generation = '' AND tenant_id = 't' AND instrument_id = 'a''; DROP TABLE x; --\'"
        );
    }

    #[test]
    fn a_served_price_keeps_its_digits_and_names_its_message() {
        let price = read(JSON).unwrap();
        assert_eq!(
            (&*price.price, &price.volume, price.event_time),
            ("-31.55", &None, At(1_000_000))
        );
        let (place, index) = place_of(&price.tick_id).unwrap();
        assert_eq!((place.to_string(), index), ("a/b/1/2".to_owned(), 3));
        assert_eq!(place_of("1/2/3"), None);
        assert!(read("{}").is_err());
    }

    #[test]
    fn stores_that_disagree_are_named_with_both_values_and_one_without_a_price_is_not() {
        let price = read(JSON).unwrap();
        let other = Price {
            price: "-31.5".to_owned(),
            ..price.clone()
        };
        let quote = |source, price| Quote::of(source, Ok(price), "no row");
        let quotes = [
            quote("ClickHouse", Some(price.clone())),
            quote("Redis", None),
            quote("Postgres", Some(price)),
            quote("HTTP API", Some(other)),
        ];
        assert_eq!(
            disagreements(&quotes),
            ["HTTP API disagrees with ClickHouse: price -31.5 instead of -31.55"]
        );
        assert!(disagreements(quotes.get(..3).unwrap()).is_empty());
    }
}
