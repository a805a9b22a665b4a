//! The newest row of a name as ClickHouse returns it. Pure.
//!
//! Failure: a number that cannot be read is an error; points or quotes that are no JSON differ from all that are served.

use std::str::FromStr;

use anyhow::Context as _;
use domain::Micros;
use ops::present::iso;
use serde::Deserialize;
use serde_json::{Value, json};

use super::kind::Key;
use super::rows::{Common, Expected, Price, Snapshot, with_times};

/// A row of `curve_snapshots` as it is asked for.
#[derive(Deserialize)]
pub(super) struct CurveRow {
    tenant_: String,
    name_: String,
    horizon_: String,
    time_: String,
    version_: String,
    partition_: String,
    revision_: String,
    cause_: String,
    origin_: String,
    market_: String,
    day_: String,
    method_: String,
    definition_: String,
    points_: String,
    inputs_: String,
}

impl CurveRow {
    pub(super) fn expected(self) -> anyhow::Result<(Key, Expected)> {
        let key = [self.tenant_, self.name_, self.horizon_];
        let snapshot = Snapshot {
            of: Common {
                names: key.clone(),
                rank: (number("as_of", &self.time_)?, number("version", &self.version_)?),
                revision: number("revision", &self.revision_)?,
                cause: self.cause_,
                origin: self.origin_,
                known: None,
            },
            market: self.market_,
            day: self.day_,
            method: self.method_,
            definition: self.definition_,
            points: list(self.points_),
            inputs: with_times(list(self.inputs_)),
        };
        let partition = number("src_partition", &self.partition_)?;
        Ok((
            key,
            Expected {
                row: snapshot.row(),
                partition,
            },
        ))
    }
}

/// A row of `derived_prices` as it is asked for.
#[derive(Deserialize)]
pub(super) struct PriceRow {
    tenant_: String,
    name_: String,
    time_: String,
    version_: String,
    partition_: String,
    revision_: String,
    cause_: String,
    origin_: String,
    kind_: String,
    value_: Option<String>,
    unit_: String,
    first_role_: Option<String>,
    first_instrument_: Option<String>,
    first_price_: Option<String>,
    first_time_: Option<String>,
    first_age_: Option<String>,
    first_origin_: Option<String>,
    second_role_: Option<String>,
    second_instrument_: Option<String>,
    second_price_: Option<String>,
    second_time_: Option<String>,
    second_age_: Option<String>,
    second_origin_: Option<String>,
}

impl PriceRow {
    pub(super) fn expected(self) -> anyhow::Result<(Key, Expected)> {
        let key = [self.tenant_, self.name_, String::new()];
        let first = [
            self.first_role_,
            self.first_instrument_,
            self.first_price_,
            self.first_time_,
            self.first_age_,
            self.first_origin_,
        ];
        let second = [
            self.second_role_,
            self.second_instrument_,
            self.second_price_,
            self.second_time_,
            self.second_age_,
            self.second_origin_,
        ];
        let mut legs = Vec::new();
        for columns in [first, second] {
            legs.extend(leg(columns)?);
        }
        let price = Price {
            of: Common {
                names: key.clone(),
                rank: (number("timestamp", &self.time_)?, number("version", &self.version_)?),
                revision: number("revision", &self.revision_)?,
                cause: self.cause_,
                origin: self.origin_,
                known: None,
            },
            kind: self.kind_,
            value: self.value_,
            unit: self.unit_,
            legs,
        };
        let partition = number("src_partition", &self.partition_)?;
        Ok((
            key,
            Expected {
                row: price.row(),
                partition,
            },
        ))
    }
}

/// Role, instrument, price, time, age and origin; `None` without a role.
fn leg([role, instrument, price, time, age, origin]: [Option<String>; 6]) -> anyhow::Result<Option<Value>> {
    let Some(role) = role else { return Ok(None) };
    let time: Option<Micros> = time.map(|time| number("the time of a leg", &time)).transpose()?;
    let age: Option<i64> = age.map(|age| number("the age of a leg", &age)).transpose()?;
    Ok(Some(json!({
        "role": role,
        "instrument_id": instrument,
        "price": price,
        "event_time": time.map(iso),
        "age": age,
        "origin": origin,
    })))
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str, text: &str) -> anyhow::Result<T> {
    text.parse::<T>()
        .with_context(|| format!("ClickHouse returned {text} for {name}, which is not a valid number"))
}

/// A JSON text of a column; one that is no JSON equals none that is served.
fn list(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(list) => list,
        Err(_) => Value::String(text),
    }
}
