//! The derived series of the demo, at least one of each kind: a spark spread at PJM's western hub with its rolling mean and score,
//! the heat rate that the market pays for there, the spread to the eastern hub, the basis of a third one, the width of the quotes, the
//! price of that hub itself with its rolling mean, the day-ahead minus the real-time price, the congestion between two hubs, and the
//! spread of two months of gas with its range.
//!
//! Role: defines them for a stack that has none, publishes the prices of legs that the simulation does not have (two months of Henry Hub
//! gas, and a document with the day-ahead prices of hours that have begun), and reads their newest values.
//! Failure: a stack whose aggregation runs already keeps its series; then other ones, or none, are shown.

use std::path::Path;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use localstack::{Name, Stack};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stores::ClickHouse;
use stores::clickhouse::literal;
use stream::kafka::publisher::{Publisher, Record};

use crate::connection::{Connection, offer_series};
use crate::definitions::check_configuration;
use crate::ingest::{Documents, Sender};
use crate::simulation::EVENT_TYPE;

const GAS: &str = "NG_HH_M1";
const NEXT_MONTH: &str = "NG_HH_M2";
/// Heat rate in MMBtu/MWh of a combined cycle.
const SERIES: &str = "spark:spark_spread:power=PJM.WESTERN%20HUB.SPOT:gas=NG_HH_M1:heat_rate=7.5:max_age=1h,\
    spark_mean:spark_spread:power=PJM.WESTERN%20HUB.SPOT:gas=NG_HH_M1:heat_rate=7.5:max_age=1h:rolling=mean:count=20,\
    spark_score:spark_spread:power=PJM.WESTERN%20HUB.SPOT:gas=NG_HH_M1:heat_rate=7.5:max_age=1h:rolling=z_score:count=20,\
    heat:implied_heat_rate:power=PJM.WESTERN%20HUB.SPOT:gas=NG_HH_M1:max_age=1h,\
    west_east:location_spread:location=PJM.WESTERN%20HUB.SPOT:other=PJM.EASTERN%20HUB.SPOT:max_age=5m,\
    dominion:basis:local=PJM.DOMINION%20HUB.SPOT:reference=PJM.WESTERN%20HUB.SPOT:max_age=5m,\
    quote:bid_ask_spread:quote=PJM.WESTERN%20HUB.SPOT,\
    hub:price:instrument=PJM.WESTERN%20HUB.SPOT,\
    hub_mean:price:instrument=PJM.WESTERN%20HUB.SPOT:rolling=mean:count=10,\
    da_rt:day_ahead_minus_real_time:day_ahead=PJM.WESTERN%20HUB.DA:real_time=PJM.WESTERN%20HUB.RTH,\
    congestion:congestion:sink=PJM.WESTERN%20HUB.DA:source=PJM.EASTERN%20HUB.DA,\
    gas_months:calendar_spread:near=NG_HH_M1:far=NG_HH_M2:max_age=1h,\
    gas_range:calendar_spread:near=NG_HH_M1:far=NG_HH_M2:max_age=1h:rolling=range:window=30m";
/// Hours whose day-ahead prices are published, the current one included. The simulation has the real-time price of the last whole one.
const HOURS: i64 = 6;
/// Gas trades of each month, one every ten minutes: within the maximum age of the spark spread at any time.
const TRADES: i64 = 7;
/// The name of the document with the day-ahead prices.
const DOCUMENT: &str = "pjm_da_hrl_lmps_demo.csv";

/// Defines the series unless the stack has some, and refuses a configuration with which services would not start.
///
/// # Errors
/// A service would refuse the configuration, or it cannot be read.
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
    let (tenant, now) = (connection.settings.tenant_id.clone(), Timestamp::now());
    let (messages, document) = (messages(&tenant, now)?, document(now)?);
    let documents = Documents {
        tenant: Some(tenant),
        ..Documents::default()
    };
    let mut sender = Sender::new(connection, &documents)?;
    let send = move || -> anyhow::Result<u64> {
        let document = sender.send(Path::new(DOCUMENT), document.as_bytes())?;
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
        Ok(publisher.finish()? + document.messages)
    };
    tokio::task::spawn_blocking(send)
        .await
        .context("publish the legs of the derived series")?
        .context("publish the legs of the derived series")
}

/// Key and content of each message.
fn messages(tenant: &str, now: Timestamp) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut messages = Vec::new();
    for at in 0..TRADES {
        for (instrument, minutes, cents) in [(GAS, 0, 350 + 3 * at), (NEXT_MONTH, 5, 362 + 2 * at)] {
            let time = now.checked_sub(SignedDuration::from_mins(10 * at + minutes))?;
            messages.push((instrument, message(tenant, now, instrument, time, cents)));
        }
    }
    Ok(messages)
}

/// A report of PJM's day-ahead prices, with their components. The prices of an hour are the same in every run.
fn document(now: Timestamp) -> anyhow::Result<String> {
    let mut rows =
        "datetime_beginning_utc,pnode_id,pnode_name,type,total_lmp_da,congestion_price_da,marginal_loss_price_da,\
         row_is_current,version_nbr\n"
            .to_owned();
    let this_hour = now.as_second().div_euclid(3_600);
    for hour in (0..HOURS).map(|ago| this_hour - ago) {
        let time = Timestamp::from_second(hour * 3_600)?
            .strftime("%m/%d/%Y %H:%M:%S")
            .to_string();
        let at = hour.rem_euclid(HOURS);
        for (node, congestion, loss) in [
            ("51288,WESTERN HUB", 90 - 40 * at, 20 - 7 * at),
            ("51217,EASTERN HUB", 150 + 30 * at, 5 * at - 35),
        ] {
            let [price, congestion, loss] = [2_800 + 110 * at + congestion + loss, congestion, loss].map(dollars);
            rows.push_str(&format!("{time},{node},HUB,{price},{congestion},{loss},True,1\n"));
        }
    }
    Ok(rows)
}

fn dollars(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

fn message(tenant: &str, now: Timestamp, instrument: &str, time: Timestamp, cents: i64) -> String {
    json!({
        "envelope": {
            "event_type": EVENT_TYPE,
            "event_id": format!("demo-{}-{instrument}-{}", now.as_nanosecond(), time.as_second()),
            "timestamp": now.to_string(),
            "tenant_id": tenant,
            "source": "dp.demo",
            "version": "1.0",
        },
        "payload": {
            "market": "GAS",
            "instrument_id": instrument,
            "raw_data": { "timestamp": time.to_string(), "product": "trade", "price": dollars(cents), "volume": "1" },
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
    use curves::derived::Formula;
    use service::{Env, Reader};

    fn series() -> Vec<curves::derived::Definition> {
        let env = Env::from([("AGGREGATION_DERIVED_SERIES".to_owned(), SERIES.to_owned())]);
        let mut reader = Reader::new(&env);
        let series = aggregation::config::read(&mut reader).derived.series;
        assert!(reader.finish().is_ok());
        series.iter().map(|series| (**series).clone()).collect()
    }

    #[test]
    fn each_kind_has_a_series() {
        let series = series();
        assert_eq!(series.len(), 13);
        for kind in Formula::NAMES {
            assert!(series.iter().any(|series| series.kind() == kind), "{kind}");
        }
        assert_eq!(series.iter().filter(|series| series.rolling.is_some()).count(), 4);
    }

    #[test]
    fn every_message_is_the_price_of_a_leg_and_the_document_has_both_hubs_at_each_hour() {
        let series = series();
        let now: Timestamp = "2026-10-01T05:59:59.5Z".parse().unwrap();
        let messages = messages("t", now).unwrap();
        assert_eq!(messages.len() as i64, 2 * TRADES);
        let is_leg = |key: &str| series.iter().any(|series| series.legs.iter().any(|leg| leg == key));
        assert!(messages.iter().all(|(key, _)| is_leg(key)));
        let document = document(now).unwrap();
        assert_eq!(document.lines().count() as i64, 1 + 2 * HOURS);
        assert_eq!(
            crate::ingest::format_of(Path::new(DOCUMENT), document.as_bytes()),
            Some("pjm.da_hrl_lmps.csv")
        );
        let rows = |hour: &str| document.lines().filter(|row| row.starts_with(hour)).count();
        assert_eq!((rows("10/01/2026 05:00:00,"), rows("10/01/2026 00:00:00,")), (2, 2));
        let row = "10/01/2026 04:00:00,51288,WESTERN HUB,HUB,31.62,-0.70,-0.08,True,1";
        assert!(document.lines().any(|line| line == row), "{document}");
        assert_eq!([5, -5, -250, 3_150].map(dollars), ["0.05", "-0.05", "-2.50", "31.50"]);
    }
}
