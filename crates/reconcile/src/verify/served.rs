//! Compares the served prices in Postgres and Redis with the newest tick of every instrument. Ticks are ordered by event
//! time, then vintage, then the producer's sequence (a tick without one comes first), then origin.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use domain::Micros;
use serde_json::Value;
use serde_json::value::RawValue;
use service::Names;
use service::writer::tables::ENRICHED_TICKS;
use stores::clickhouse::literal;
use stores::{ClickHouse, Postgres, Redis, redis};

use super::cut::{Arrived, Cut};
use super::gaps::{self, Excuse, Gaps};
use super::report::{Check, Differences, Subject, Wrong, WrongRow};
use super::tables::{count, parts};
use crate::sql::VINTAGE;
use ops::present::iso;
use ops::rows::text;

/// Keys expire after 3600 s. Shortly before that, a missing key is no longer a difference.
pub(super) const KEY_LIFE: i64 = 3_540;
/// Keys read with one command.
const KEYS_AT_ONCE: usize = 1_000;

/// The compared fields of a price; times are in microseconds.
const FIELDS: [&str; 8] = [
    "price",
    "volume",
    "event_time",
    "tick_id",
    "market",
    "product",
    "currency",
    "unit",
];

/// The values of [`FIELDS`], in that order.
type Price = [String; 8];
/// Tenant and instrument.
type Key = (String, String);

/// A price in Postgres.
pub struct Served {
    price: Price,
    /// Seconds since it was written.
    age: i64,
}

/// The newest tick of every instrument, up to the cut.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn newest(
    clickhouse: &ClickHouse,
    names: &Names,
    (gaps, cut): (&Gaps, &Cut),
) -> anyhow::Result<BTreeMap<Key, Price>> {
    let table = names.table(ENRICHED_TICKS.name);
    let parts = parts(count(clickhouse, &table).await?);
    let passed = gaps.condition(&names.group("projection"), &names.enriched) + &cut.condition(&names.enriched);
    let mut newest = BTreeMap::new();
    for part in 0..parts {
        let sql = format!(
            "SELECT toString(tenant_id) AS tenant, toString(instrument_id) AS instrument, \
             argMax((toString(price), ifNull(toString(volume), 'null'), toString(toUnixTimestamp64Micro(timestamp)), tick_id, \
             toString(market), toString(product), toString(currency), toString(ifNull(instrument_unit, unit))), \
             (timestamp, {VINTAGE}, isNotNull(sequence), ifNull(sequence, 0), toString(feed), raw_partition, raw_offset, raw_index)) AS price, \
             [price.1, price.2, price.3, price.4, price.5, price.6, price.7, price.8] AS fields \
             FROM {table} WHERE cityHash64(tenant_id, instrument_id) % {parts} = {part}{passed} GROUP BY tenant_id, instrument_id"
        );
        for row in clickhouse.query_json(&sql).await.context("find the newest ticks")? {
            let fields = row
                .get("fields")
                .and_then(Value::as_array)
                .context("ClickHouse returned no fields")?;
            let fields: Vec<String> = fields
                .iter()
                .filter_map(|field| field.as_str().map(str::to_owned))
                .collect();
            let price: Price = fields
                .try_into()
                .ok()
                .context("ClickHouse returned an unexpected number of fields")?;
            newest.insert(
                (text(&row, "tenant")?.to_owned(), text(&row, "instrument")?.to_owned()),
                price,
            );
        }
    }
    Ok(newest)
}

/// The prices in Postgres.
///
/// # Errors
/// Postgres does not answer.
pub async fn in_postgres(postgres: &Postgres, names: &Names) -> anyhow::Result<BTreeMap<Key, Served>> {
    let sql = format!(
        "SELECT tenant_id, instrument_id, trim_scale(price)::text, coalesce(trim_scale(volume)::text, 'null'), \
         ((extract(epoch FROM event_time) * 1000000)::bigint)::text, \
         feed || '/' || raw_partition || '/' || raw_offset || '/' || raw_index, market, product, currency, unit, \
         (extract(epoch FROM now() - updated_at)::bigint)::text \
         FROM served_latest_prices WHERE generation = {}",
        literal(names.generation())
    );
    let rows = postgres.query_text(&sql).await.context("read the served prices")?;
    rows.into_iter().map(in_row).collect()
}

/// The price of a row of [`in_postgres`]. No column of the table may be null.
fn in_row(row: Vec<Option<String>>) -> anyhow::Result<(Key, Served)> {
    let count = row.len();
    let fields: Option<Vec<String>> = row.into_iter().collect();
    let fields: Option<[String; 11]> = fields.and_then(|fields| fields.try_into().ok());
    let [tenant, instrument, price @ .., age] = fields.with_context(|| {
        format!("PostgreSQL returned a served price of {count} columns, where 11 without a null are expected: are its columns those of this release (`dp migrate`)?")
    })?;
    let age = age
        .parse::<i64>()
        .with_context(|| format!("PostgreSQL returned {age} as the age of a served price, which is no whole number"))?;
    Ok(((tenant, instrument), Served { price, age }))
}

/// A note on prices whose event time is in the future. The stores agree on them, but no current tick replaces them, so one
/// wrong timestamp freezes its instrument. Day-ahead prices are expected to be in the future.
pub fn ahead_of_the_clock(newest: &BTreeMap<Key, Price>, now: Micros) -> Option<String> {
    // Some products are published nearly an hour ahead.
    const TOLERATED: Micros = 3_600_000_000;
    // In the order of FIELDS.
    let time = |[_, _, event_time, ..]: &Price| event_time.parse::<Micros>().unwrap_or(0);
    let is_day_ahead = |[_, _, _, _, _, product, ..]: &Price| product == "da";
    let ahead = || {
        newest
            .iter()
            .filter(|(_, price)| !is_day_ahead(price) && time(price) > now + TOLERATED)
    };
    let (key, furthest) = ahead().max_by_key(|(_, price)| time(price))?;
    Some(format!(
        "{} latest price(s) have an event time more than an hour in the future, the furthest is {} at {}: until then, current \
         ticks count as late and do not replace it. `dp explain price` shows the message that it came from",
        ahead().count(),
        name(key),
        iso(time(furthest)),
    ))
}

/// If accepted gaps have kept ticks from the table that projection has read, expects projection's price instead. Does this
/// for at most as many prices as the gaps can explain.
pub fn believe(
    newest: &mut BTreeMap<Key, Price>,
    served: &BTreeMap<Key, Served>,
    arrived: &Arrived,
    excuse: &Excuse,
    partitions: i32,
) {
    let mut left = excuse.results;
    for (key, found) in served.iter().filter(|(_, found)| !has_changed(&found.price, arrived)) {
        let is_excused = || {
            excuse
                .partitions
                .contains(&gaps::partition_of_key(&key.0, &key.1, partitions))
        };
        if left > 0 && newest.get(key) != Some(&found.price) && is_excused() {
            left -= 1;
            newest.insert(key.clone(), found.price.clone());
        }
    }
}

/// Whether a price is that of a tick that arrived since the cut.
fn has_changed([_, _, _, tick_id, ..]: &Price, arrived: &Arrived) -> bool {
    arrived.has(tick_id)
}

/// Compares the prices in Postgres; the second value is the number of those that have changed since the cut. `arrived` are the ticks since, up
/// to a time after `served` was read.
pub fn compare_postgres(
    newest: &BTreeMap<Key, Price>,
    served: &BTreeMap<Key, Served>,
    arrived: &Arrived,
) -> (Check, u64) {
    let mut differences = Differences::default();
    let changed = served.iter().filter(|(_, found)| has_changed(&found.price, arrived));
    let changed: BTreeSet<&Key> = changed.map(|(key, _)| key).collect();
    let is_compared = |key: &Key| !changed.contains(key);
    for (key, price) in newest.iter().filter(|(key, _)| is_compared(key)) {
        match served.get(key) {
            None => differences.add_row(wrong(
                Wrong::Missing,
                key,
                price,
                format!("{} is not served: {}", name(key), all(price)),
            )),
            Some(found) if found.price != *price => differences.add_row(wrong(
                Wrong::Different,
                key,
                price,
                format!("{} differs: {}", name(key), changes(price, &found.price)),
            )),
            Some(_) => {}
        }
    }
    let extra = served
        .iter()
        .filter(|(key, _)| !newest.contains_key(*key) && is_compared(key));
    differences.extend(extra.map(|(key, found)| {
        let text = format!("{} is served, but has no tick: {}", name(key), all(&found.price));
        wrong(Wrong::Surplus, key, &found.price, text)
    }));
    let count = |all: usize, known: usize| (all - known) as u64;
    let expected = count(
        newest.len(),
        changed.iter().filter(|key| newest.contains_key(**key)).count(),
    );
    let check = Check::new(
        "Postgres: latest price of each instrument",
        expected,
        count(served.len(), changed.len()),
        differences,
    );
    (check.about(Subject::Postgres), changed.len() as u64)
}

/// A wrong price, with the tick of this one.
fn wrong(wrong: Wrong, (tenant, instrument): &Key, [_, _, _, tick_id, ..]: &Price, text: String) -> WrongRow {
    WrongRow {
        wrong,
        key: vec![tenant.clone(), instrument.clone()],
        origin: tick_id.clone(),
        text,
    }
}

/// The values in Redis whose keys match, by their keys.
///
/// # Errors
/// Redis does not answer.
pub async fn in_redis(redis: &Redis, pattern: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut keys: Vec<String> = redis.scan(pattern).await.context("list the keys of Redis")?;
    keys.sort();
    keys.dedup();
    let mut found = BTreeMap::new();
    for part in keys.chunks(KEYS_AT_ONCE) {
        let values = redis.get_many(part).await.context("read the values of Redis")?;
        found.extend(
            part.iter()
                .zip(values)
                .filter_map(|(key, value)| Some((key.clone(), value?))),
        );
    }
    Ok(found)
}

/// Compares the prices in Redis; the second value is the number of those that have changed since the cut. A missing key is a difference only if
/// it cannot have expired. `arrived` are the ticks since, up to a time after `found` was read.
pub fn compare_redis(
    newest: &BTreeMap<Key, Price>,
    served: &BTreeMap<Key, Served>,
    found: &BTreeMap<String, String>,
    arrived: &Arrived,
) -> (Check, u64) {
    let mut differences = Differences::default();
    let is_new = |value: &String| read(value).is_some_and(|price| has_changed(&price, arrived));
    let changed: BTreeSet<&String> = found
        .iter()
        .filter(|(_, value)| is_new(value))
        .map(|(name, _)| name)
        .collect();
    let compared = (found.len() - changed.len()) as u64;
    let mut expected = compared;
    let mut known: BTreeMap<String, ()> = BTreeMap::new();
    for (key, price) in newest {
        let name = redis::Key::latest_price(&key.0, &key.1).to_string();
        if changed.contains(&name) {
            continue;
        }
        let mut add = |kind, text| differences.add_row(wrong(kind, key, price, text));
        match found.get(&name).map(|value| read(value)) {
            Some(Some(value)) if value == *price => {}
            Some(Some(value)) => add(
                Wrong::Different,
                format!("key {name} differs: {}", changes(price, &value)),
            ),
            Some(None) => add(Wrong::Different, format!("key {name} does not contain a price")),
            // A price that is missing in Postgres as well is a difference in both checks.
            None if served.get(key).is_none_or(|served| served.age < KEY_LIFE) => {
                expected += 1;
                add(Wrong::Missing, format!("key {name} is missing: {}", all(price)));
            }
            None => {}
        }
        known.insert(name, ());
    }
    let is_extra = |name: &String| !known.contains_key(name) && !changed.contains(name);
    for (name, value) in found.iter().filter(|(name, _)| is_extra(name)) {
        expected -= 1;
        let origin = read(value).map_or_else(String::new, |[_, _, _, tick_id, ..]| tick_id);
        differences.add_row(WrongRow {
            wrong: Wrong::Surplus,
            key: vec![name.clone()],
            origin,
            text: format!("key {name} exists, but its instrument has no tick"),
        });
    }
    let check = Check::new(
        "Redis: latest price of each instrument",
        expected,
        compared,
        differences,
    );
    (check.about(Subject::Redis), changed.len() as u64)
}

// The fields as strings. Numbers keep their digits.
fn read(value: &str) -> Option<Price> {
    let object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(value).ok()?;
    let mut price: Price = Default::default();
    for (field, name) in price.iter_mut().zip(FIELDS) {
        let raw = object.get(name)?.get();
        *field = serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
        if name == "event_time" {
            *field = field.parse::<jiff::Timestamp>().ok()?.as_microsecond().to_string();
        }
    }
    Some(price)
}

fn name(key: &Key) -> String {
    format!("instrument {} of tenant {}", key.1, key.0)
}

fn all(price: &Price) -> String {
    let values: Vec<String> = FIELDS
        .iter()
        .zip(price)
        .take(4)
        .map(|(name, value)| format!("{name} {}", shown(name, value)))
        .collect();
    values.join(", ")
}

fn changes(expected: &Price, found: &Price) -> String {
    let values: Vec<String> = FIELDS
        .iter()
        .zip(expected.iter().zip(found))
        .filter(|(_, (expected, found))| expected != found)
        .map(|(name, (expected, found))| {
            format!("{name} is {} instead of {}", shown(name, found), shown(name, expected))
        })
        .collect();
    values.join(", ")
}

fn shown(name: &str, value: &str) -> String {
    let time = (name == "event_time").then(|| value.parse().ok()).flatten();
    time.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .map_or_else(|| value.to_owned(), |time: jiff::Timestamp| time.to_string())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::super::cut::tests::{ends, raw_cut};
    use super::*;

    const JSON: &str = r#"{"standing":"x","tenant_id":"t","instrument_id":"i","price":-31.55,"volume":null,"event_time":"1970-01-01T00:00:01.000000Z","tick_id":"f/0/1/2","market":"PJM","product":"rth","currency":"USD","unit":"MWh"}"#;

    fn price(price: &str) -> Price {
        [price, "null", "1000000", "f/0/1/2", "PJM", "rth", "USD", "MWh"].map(str::to_owned)
    }

    fn newest(text: &str) -> BTreeMap<Key, Price> {
        [(("t".to_owned(), "i".to_owned()), price(text))].into()
    }

    fn redis(newest: &BTreeMap<Key, Price>, age: i64, keys: &[&str]) -> Vec<String> {
        let served = |price: &Price| Served {
            price: price.clone(),
            age,
        };
        let served = newest.iter().map(|(key, price)| (key.clone(), served(price))).collect();
        let found = keys.iter().map(|key| ((*key).to_owned(), JSON.to_owned())).collect();
        compare_redis(newest, &served, &found, &Arrived::default())
            .0
            .differences
            .named
    }

    fn compare_postgres(newest: &BTreeMap<Key, Price>, served: &BTreeMap<Key, Served>) -> Check {
        super::compare_postgres(newest, served, &Arrived::default()).0
    }

    #[test]
    fn a_price_of_a_tick_that_arrived_meanwhile_is_not_compared_and_any_other_is() {
        let of = |tick: &str| {
            let mut price = price("7");
            price[3] = tick.to_owned();
            price
        };
        let key = |instrument: &str| ("t".to_owned(), instrument.to_owned());
        // The served price of `lost` is older than the cut, `new` had no tick before it, and the log has no tick of `ghost`.
        let served: BTreeMap<Key, Served> = [
            ("moved", "raw/0/12/0"),
            ("lost", "raw/0/3/0"),
            ("new", "raw/0/11/0"),
            ("ghost", "raw/0/99/0"),
        ]
        .map(|(instrument, tick)| {
            (
                key(instrument),
                Served {
                    price: of(tick),
                    age: 0,
                },
            )
        })
        .into();
        let newest: BTreeMap<Key, Price> = [
            (key("moved"), of("raw/0/8/0")),
            (key("lost"), of("raw/0/9/0")),
            (key("absent"), of("raw/0/2/0")),
        ]
        .into();
        let arrived = raw_cut(10).arrived(ends(&[("raw", 0, 20)]));
        let (check, changed) = super::compare_postgres(&newest, &served, &arrived);
        let wrong: Vec<(&str, Wrong)> = check
            .differences
            .rows
            .iter()
            .map(|row| (row.key[1].as_str(), row.wrong))
            .collect();
        let all = [
            ("absent", Wrong::Missing),
            ("lost", Wrong::Different),
            ("ghost", Wrong::Surplus),
        ];
        assert_eq!((wrong.as_slice(), changed), (&all[..], 2));
        assert_eq!((check.expected, check.found), (2, 2));

        let in_redis = |(key, served): (&Key, &Served)| {
            let json = JSON.replace("f/0/1/2", &served.price[3]).replace("-31.55", "7");
            (redis::Key::latest_price(&key.0, &key.1).to_string(), json)
        };
        let found = served.iter().map(in_redis).collect();
        let (copies, changed) = compare_redis(&newest, &served, &found, &arrived);
        assert_eq!((copies.differences.total, changed), (3, 2), "{copies:?}");
        assert_eq!((copies.expected, copies.found), (2, 2));
    }

    #[test]
    fn projection_is_believed_only_for_prices_that_a_gap_explains_and_only_as_often() {
        let served: BTreeMap<Key, Served> = ["i", "j", "k"]
            .map(|id| {
                let price = price("7");
                (("t".to_owned(), id.to_owned()), Served { price, age: 0 })
            })
            .into();
        let believed = |partitions: &[i32], results| {
            let (mut newest, excuse) = (
                newest("1"),
                Excuse {
                    partitions: partitions.iter().copied().collect(),
                    results,
                },
            );
            believe(&mut newest, &served, &Arrived::default(), &excuse, 1);
            compare_postgres(&newest, &served).differences.total
        };
        assert_eq!(believed(&[0], 3), 0);
        assert_eq!(believed(&[0], 2), 1);
        assert_eq!(believed(&[], 3), 3);
    }

    #[test]
    fn prices_in_redis_keep_their_digits() {
        assert_eq!(read(JSON), Some(price("-31.55")));
        assert_eq!(read("{}"), None);
        assert!(redis(&newest("-31.55"), 0, &["served:latest_price:t:i"]).is_empty());
    }

    #[test]
    fn wrong_missing_and_unknown_keys_are_differences_and_expired_ones_are_not() {
        let key = "served:latest_price:t:i";
        assert_eq!(
            redis(&newest("1"), 0, &[key]),
            ["key served:latest_price:t:i differs: price is -31.55 instead of 1"]
        );
        assert_eq!(redis(&newest("-31.55"), 0, &[]).len(), 1);
        assert!(redis(&newest("-31.55"), KEY_LIFE, &[]).is_empty());
        assert_eq!(
            redis(&newest("-31.55"), 0, &[key, "served:latest_price:t:j"]),
            ["key served:latest_price:t:j exists, but its instrument has no tick"]
        );
    }

    #[test]
    fn postgres_differences_name_the_instrument_and_both_values() {
        let served = |text: &str| -> BTreeMap<Key, Served> {
            [(
                ("t".to_owned(), "i".to_owned()),
                Served {
                    price: price(text),
                    age: 0,
                },
            )]
            .into()
        };
        assert!(compare_postgres(&newest("1"), &served("1")).ok);
        let differing = compare_postgres(&newest("1"), &served("2"));
        assert_eq!(
            differing.differences.named,
            ["instrument i of tenant t differs: price is 2 instead of 1"]
        );
        let missing = compare_postgres(&newest("1"), &BTreeMap::new()).differences.named;
        assert_eq!(
            missing,
            [
                "instrument i of tenant t is not served: price 1, volume null, event_time 1970-01-01T00:00:01Z, tick_id f/0/1/2"
            ]
        );
        assert!(
            compare_postgres(&BTreeMap::new(), &served("2"))
                .differences
                .named
                .iter()
                .all(|text| text.contains("has no tick"))
        );
    }

    #[test]
    fn a_price_in_the_future_is_named_unless_it_is_a_day_ahead_one() {
        let price = |minutes: i64, product: &str| {
            let micros = (minutes * 60_000_000).to_string();
            ["1", "null", micros.as_str(), "f/0/1/2", "PJM", product, "USD", "MWh"].map(str::to_owned)
        };
        let key = |instrument: &str| ("acme".to_owned(), instrument.to_owned());
        let mut newest = BTreeMap::from([(key("A"), price(60, "trade")), (key("B"), price(1_000, "da"))]);
        assert_eq!(ahead_of_the_clock(&newest, 0), None);
        newest.insert(key("C"), price(8_640, "trade"));
        let note = ahead_of_the_clock(&newest, 0).unwrap_or_default();
        assert!(
            note.starts_with("1 latest price(s)") && note.contains('C') && note.contains("1970-01-07"),
            "{note}"
        );
    }

    #[test]
    fn a_row_of_postgres_is_read_whole_or_is_an_error() {
        let row = |count: i64| -> Vec<Option<String>> { (0..count).map(|number| Some(number.to_string())).collect() };
        let (key, served) = in_row(row(11)).unwrap();
        assert_eq!(key, ("0".to_owned(), "1".to_owned()));
        assert_eq!(
            served.price,
            ["2", "3", "4", "5", "6", "7", "8", "9"].map(str::to_owned)
        );
        assert_eq!(served.age, 10);
        let (mut null, mut aged) = (row(11), row(11));
        null[5] = None;
        aged[10] = Some("soon".to_owned());
        for (wrong, says) in [
            (row(10), "of 10 columns"),
            (null, "without a null"),
            (aged, "returned soon as the age"),
        ] {
            assert!(
                in_row(wrong).is_err_and(|error| error.to_string().contains(says)),
                "{says}"
            );
        }
    }
}
