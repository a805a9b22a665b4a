//! The derived series of the demo: a spark spread at PJM's western hub and its rolling mean, the heat rate that the market pays for
//! there, the spread between two hubs, and the western hub's day-ahead minus its real-time price.
//!
//! Role: defines them for a stack that has none, publishes the prices of legs that the simulation does not have (Henry Hub gas, and the
//! day-ahead prices of hours that have begun), and reads their newest values.
//! Failure: a stack whose aggregation runs already keeps its series; then other ones, or none, are shown.

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use localstack::{Name, Stack};
use ops::connection::{Connection, offer_series};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stores::ClickHouse;
use stores::clickhouse::literal;
use stream::kafka::publisher::{Publisher, Record};

use crate::definitions::check_configuration;

const GAS: &str = "NG_HH_M1";
const DAY_AHEAD: &str = "PJM.WESTERN%20HUB.DA";
/// Heat rate in MMBtu/MWh of a combined cycle.
const SERIES: &str = "spark:spark_spread:power=PJM.WESTERN%20HUB.SPOT:gas=NG_HH_M1:heat_rate=7.5:max_age=1h,\
    spark_mean:spark_spread:power=PJM.WESTERN%20HUB.SPOT:gas=NG_HH_M1:heat_rate=7.5:max_age=1h:rolling=mean:count=20,\
    heat:implied_heat_rate:power=PJM.WESTERN%20HUB.SPOT:gas=NG_HH_M1:max_age=1h,\
    west_east:location_spread:location=PJM.WESTERN%20HUB.SPOT:other=PJM.EASTERN%20HUB.SPOT:max_age=5m,\
    da_rt:day_ahead_minus_real_time:day_ahead=PJM.WESTERN%20HUB.DA:real_time=PJM.WESTERN%20HUB.RTH";
/// Hours whose day-ahead price is published, the current one included. The simulation has the real-time price of the last whole one.
const HOURS: i64 = 6;
/// Gas trades, one every ten minutes: within the maximum age of the spark spread at any time.
const TRADES: i64 = 7;

/// Defines the series unless the stack has some, and refuses a configuration with which services would not start.
pub fn define(stack: &mut Stack, names: &[Name]) -> anyhow::Result<()> {
    offer_series(stack, SERIES)?;
    check_configuration(stack, names)
}

/// Publishes the prices of legs; returns the number of messages.
///
/// # Errors
/// The broker does not acknowledge them.
pub async fn publish(connection: &Connection) -> anyhow::Result<u64> {
    let topic = connection.names.raw_topic(None).map_err(anyhow::Error::msg)?.to_owned();
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let messages = messages(&connection.settings.tenant_id, Timestamp::now())?;
    let send = move || {
        let mut publisher = Publisher::new(&bootstrap, "dp-demo")?;
        for (key, payload) in &messages {
            let record = Record {
                topic: &topic,
                key: Some(key.as_bytes()),
                payload: Some(payload.as_bytes()),
                ..Record::default()
            };
            publisher.send(&record)?;
        }
        publisher.finish()
    };
    tokio::task::spawn_blocking(send)
        .await
        .context("publish the legs of the derived series")?
        .context("publish the legs of the derived series")
}

/// Key and content of each message.
fn messages(tenant: &str, now: Timestamp) -> anyhow::Result<Vec<(&'static str, String)>> {
    let hour_began = Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(3_600))?;
    let mut messages = Vec::new();
    for at in 0..TRADES {
        let time = now.checked_sub(SignedDuration::from_mins(10 * at))?;
        messages.push((GAS, message(tenant, now, ("GAS", GAS, "trade"), time, 350 + 3 * at)));
    }
    for at in 0..HOURS {
        let time = hour_began.checked_sub(SignedDuration::from_hours(at))?;
        messages.push((
            DAY_AHEAD,
            message(tenant, now, ("PJM", DAY_AHEAD, "da"), time, 2_900 + 110 * at),
        ));
    }
    Ok(messages)
}

fn message(
    tenant: &str,
    now: Timestamp,
    (market, instrument, product): (&str, &str, &str),
    time: Timestamp,
    cents: i64,
) -> String {
    let price = format!("{}.{:02}", cents / 100, cents % 100);
    json!({
        "envelope": {
            "event_type": ops::simulation::EVENT_TYPE,
            "event_id": format!("demo-{}-{instrument}-{}", now.as_nanosecond(), time.as_second()),
            "timestamp": now.to_string(),
            "tenant_id": tenant,
            "source": "dp.demo",
            "version": "1.0",
        },
        "payload": {
            "market": market,
            "instrument_id": instrument,
            "raw_data": { "timestamp": time.to_string(), "product": product, "price": price, "volume": "1" },
        },
    })
    .to_string()
}

/// The newest value of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewestValue {
    /// Its name.
    pub series: String,
    /// The time of the value.
    pub time: String,
    /// With all digits; `None` if the formula has no number.
    pub value: Option<String>,
    /// Currency and unit.
    pub unit: String,
    /// Number of times that have a value.
    pub times: u32,
}

/// Reads the newest value of each series.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn read(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<NewestValue>> {
    let sql = format!(
        "SELECT toString(name) AS series, toString(toDateTime(newest.1, 'UTC')) AS time, newest.2 AS value, newest.3 AS unit, \
             toUInt32(total) AS times \
         FROM (SELECT series AS name, argMax((timestamp, if(isNull(value), NULL, toString(value)), toString(unit)), timestamp) AS newest, \
             count() AS total FROM {view} WHERE tenant_id = {tenant} GROUP BY series) ORDER BY name",
        view = connection.names.table("derived_prices_latest"),
        tenant = literal(&connection.settings.tenant_id),
    );
    clickhouse
        .query_rows(&sql)
        .await
        .context("read the newest derived prices")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use service::{Env, Reader};

    #[test]
    fn the_series_are_accepted_and_every_message_is_the_price_of_a_leg() {
        let env = Env::from([("AGGREGATION_DERIVED_SERIES".to_owned(), SERIES.to_owned())]);
        let mut reader = Reader::new(&env);
        let series = aggregation::config::read(&mut reader).derived.series;
        assert!(reader.finish().is_ok());
        assert_eq!(series.len(), 5);
        assert_eq!(series.iter().filter(|series| series.rolling.is_some()).count(), 1);
        let now: Timestamp = "2026-10-01T05:59:59.5Z".parse().unwrap();
        let messages = messages("t", now).unwrap();
        assert_eq!(messages.len() as i64, TRADES + HOURS);
        let is_leg = |key: &str| series.iter().any(|series| series.legs.iter().any(|leg| leg == key));
        assert!(messages.iter().all(|(key, _)| is_leg(key)));
        let day_ahead = messages.iter().filter(|(key, _)| *key == DAY_AHEAD);
        let last_whole_hour = day_ahead.filter(|(_, text)| text.contains("2026-10-01T04:00:00Z"));
        assert_eq!(last_whole_hour.count(), 1);
    }
}
