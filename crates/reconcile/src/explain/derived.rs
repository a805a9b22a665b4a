//! Traces the value of a derived series to the prices of its legs, and these to their raw messages.
//!
//! Invariant: the value is recomputed from the prices that the row names, with the definition in the settings, and each of these prices
//! is compared with its tick.
//! Failure: a tick or message that a store no longer has is reported as gone; a series that is no longer configured is not recomputed.

use std::collections::BTreeSet;

use anyhow::Context as _;
use domain::{Decimal, Micros};
use serde::Serialize;
use serde_json::{Map, Value};
use service::Names;
use service::writer::tables::DERIVED_PRICES;
use stores::clickhouse::literal;

use super::logs::{RawRecord, Search};
use super::served::place_of;
use super::session::{LOOKED_THROUGH, Session};
use super::{At, Place, TickRow};
use crate::sql::moment;
use crate::verify::derived::recomputed;
use ops::rows::{number, text};

/// Between the formula and the statistic in the kind of a rolling statistic.
const ROLLING: &str = "_rolling_";

/// A version of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct DerivedVersion {
    pub version: u64,
    /// `None`: undefined for its prices, or no longer computable.
    pub value: Option<String>,
    /// How often the value of this time was sent before.
    pub revision: i32,
    pub cause: String,
    /// The tick that caused it.
    pub cause_origin: String,
    /// The log clock when it was sent: `as_of` of `GET /derived/{series}` finds it from then on.
    pub known_at: At,
    /// Position in the topic of derived prices.
    pub place: Place,
    pub ingested_at: At,
}

/// A leg of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct DerivedLeg {
    pub role: String,
    pub instrument_id: String,
    /// What it contributes to the formula.
    pub price: String,
    pub event_time: At,
    /// By how much it is older than the value, in microseconds; 0 inside its delivery interval.
    pub age: Micros,
    pub origin: String,
    /// Its tick in the tables.
    pub tick: Option<TickRow>,
    /// What its tick says instead. Empty if both agree.
    pub differences: Vec<String>,
}

/// A derived value traced back.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct DerivedTrace {
    pub tenant_id: String,
    pub series: String,
    pub kind: String,
    pub time: At,
    pub unit: String,
    /// The versions that the table still has, newest first.
    pub versions: Vec<DerivedVersion>,
    /// Of the newest version.
    pub legs: Vec<DerivedLeg>,
    /// The value that follows from the legs; `None` if the series is not configured with them, or a leg is missing.
    pub recomputed: Option<String>,
    pub raw: Vec<RawRecord>,
    /// Whether the value follows from its legs, and each leg is the price of its tick.
    pub agrees: bool,
    pub notes: Vec<String>,
}

impl DerivedTrace {
    /// The value of the newest version, as text.
    pub fn value(&self) -> &str {
        let value = self.versions.first().and_then(|version| version.value.as_deref());
        value.unwrap_or("null")
    }
}

impl Session<'_> {
    /// Traces the newest value of the series, or the newest one at or before a time.
    ///
    /// # Errors
    /// The series has no such value, or a server does not answer.
    pub async fn derived(&self, tenant: &str, series: &str, at: Option<Micros>) -> anyhow::Result<DerivedTrace> {
        let names = &self.connection.names;
        let rows = self.clickhouse.query_json(&versions(names, (tenant, series), at)).await;
        let rows = rows.context("read the versions of the derived price")?;
        let Some(newest) = rows.first() else {
            return Err(self.no_value(tenant, series, at).await?);
        };
        let time = At(number(newest, "time_")?);
        let mut legs = Vec::new();
        for place in ["first", "second"] {
            if let Some(leg) = leg(newest, place)? {
                legs.push(self.with_tick(leg).await?);
            }
        }
        let mut trace = DerivedTrace {
            tenant_id: tenant.to_owned(),
            series: series.to_owned(),
            kind: text(newest, "kind_")?.to_owned(),
            time,
            unit: text(newest, "unit_")?.to_owned(),
            versions: rows
                .iter()
                .map(|row| version(row, names))
                .collect::<anyhow::Result<_>>()?,
            recomputed: None,
            raw: self.raw(places(&legs), Search::UpTo(LOOKED_THROUGH)).await?,
            legs,
            agrees: true,
            notes: Vec::new(),
        };
        if at.is_some_and(|at| at != time.0) {
            trace.notes.push(format!(
                "no row is stored at {}: this is the newest value before it",
                At(at.unwrap_or_default())
            ));
        }
        self.judge(&mut trace)?;
        Ok(trace)
    }

    async fn with_tick(&self, mut leg: DerivedLeg) -> anyhow::Result<DerivedLeg> {
        if let Some((place, index)) = place_of(&leg.origin) {
            leg.tick = self.tables().ticks_from(&place, Some(index)).await?.into_iter().next();
        }
        Ok(leg)
    }

    /// Recomputes the value, and compares each leg with its tick.
    fn judge(&self, trace: &mut DerivedTrace) -> anyhow::Result<()> {
        // What these kinds use of a price is not in the rows of its trace.
        let formula = trace
            .kind
            .split_once(ROLLING)
            .map_or(trace.kind.as_str(), |(formula, _)| formula);
        let is_of_price = !matches!(formula, "bid_ask_spread" | "congestion");
        for leg in &mut trace.legs {
            leg.differences = differences(leg, is_of_price);
            trace.agrees &= leg.differences.is_empty();
            if leg.tick.is_none() {
                trace
                    .notes
                    .push(format!("no table has the tick {} of leg {}", leg.origin, leg.role));
            }
        }
        let legs: Vec<(&str, &str, &str)> = trace
            .legs
            .iter()
            .map(|leg| (leg.role.as_str(), leg.instrument_id.as_str(), leg.price.as_str()))
            .collect();
        match recomputed(self.connection, &trace.series, &trace.kind, &legs)? {
            None if trace.kind.contains(ROLLING) => trace.notes.push(
                "a rolling statistic follows from earlier values too, and is not recomputed here: dp verify does it; the legs are those of its last \
                 value"
                    .to_owned(),
            ),
            None => trace.notes.push(
                "the value is not recomputed: AGGREGATION_DERIVED_SERIES does not define this series with these legs, or a leg has no price"
                    .to_owned(),
            ),
            Some(value) => {
                trace.agrees &= value == trace.value();
                trace.recomputed = Some(value);
            }
        }
        Ok(())
    }

    async fn no_value(&self, tenant: &str, series: &str, at: Option<Micros>) -> anyhow::Result<anyhow::Error> {
        let sql = format!(
            "SELECT toString(tenant_id) AS tenant_, toString(series) AS name_, toString(toUnixTimestamp64Micro(min(timestamp))) AS first_ \
             FROM {} GROUP BY tenant_, name_ ORDER BY name_ != {}, tenant_ != {}, name_ LIMIT 5",
            self.connection.names.table(DERIVED_PRICES.name),
            literal(series),
            literal(tenant)
        );
        let none = "no derived series has a value yet: AGGREGATION_DERIVED_SERIES defines them";
        let hint = self.instead(&sql, tenant, none).await?;
        let until = at.map(|at| format!(" at or before {}", At(at))).unwrap_or_default();
        Ok(anyhow::anyhow!(
            "series {series} of tenant {tenant} has no value{until}: {hint}"
        ))
    }
}

/// The versions of the newest time of the series, not after `at`.
fn versions(names: &Names, (tenant, series): (&str, &str), at: Option<Micros>) -> String {
    let table = names.table(DERIVED_PRICES.name);
    let until = at.map(|at| format!(" AND timestamp <= {}", moment(at)));
    let of = format!("tenant_id = {} AND series = {}", literal(tenant), literal(series));
    let optional = |column: &str| format!("if(isNull({column}), NULL, toString({column}))");
    let leg = |leg: &str| {
        format!(
            "CAST({leg}_role, 'Nullable(String)') AS {leg}_role_, CAST({leg}_instrument, 'Nullable(String)') AS {leg}_instrument_, \
             {} AS {leg}_price_, {} AS {leg}_time_, {} AS {leg}_age_, {leg}_origin AS {leg}_origin_",
            optional(&format!("{leg}_price")),
            optional(&format!("toUnixTimestamp64Micro({leg}_time)")),
            optional(&format!("{leg}_age")),
        )
    };
    format!(
        "SELECT toString(toUnixTimestamp64Micro(timestamp)) AS time_, toString(kind) AS kind_, {value} AS value_, toString(unit) AS unit_, \
         {first}, {second}, toString(version) AS version_, toString(revision) AS revision_, toString(cause) AS cause_, \
         cause_origin AS cause_origin_, toString(toUnixTimestamp64Micro(log_clock)) AS known_, \
         toString(src_partition) AS src_partition_, toString(src_offset) AS src_offset_, \
         toString(toUnixTimestamp64Micro(ingested_at)) AS ingested_ FROM {table} WHERE {of} \
         AND timestamp = (SELECT max(timestamp) FROM {table} WHERE {of}{until}) ORDER BY version DESC, src_offset DESC",
        value = optional("value"),
        first = leg("first"),
        second = leg("second"),
        until = until.unwrap_or_default(),
    )
}

fn optional<'r>(row: &'r Map<String, Value>, name: &str) -> Option<&'r str> {
    row.get(name).and_then(Value::as_str)
}

fn version(row: &Map<String, Value>, names: &Names) -> anyhow::Result<DerivedVersion> {
    Ok(DerivedVersion {
        version: number(row, "version_")?,
        value: optional(row, "value_").map(digits).transpose()?,
        revision: number(row, "revision_")?,
        cause: text(row, "cause_")?.to_owned(),
        cause_origin: text(row, "cause_origin_")?.to_owned(),
        known_at: At(number(row, "known_")?),
        place: Place {
            topic: names.derived.clone(),
            partition: number(row, "src_partition_")?,
            offset: number(row, "src_offset_")?,
        },
        ingested_at: At(number(row, "ingested_")?),
    })
}

/// A number without zeros at its end.
fn digits(text: &str) -> anyhow::Result<String> {
    let number = Decimal::parse(text.as_bytes()).with_context(|| format!("ClickHouse returned the value {text}"))?;
    Ok(number.to_string())
}

fn leg(row: &Map<String, Value>, place: &str) -> anyhow::Result<Option<DerivedLeg>> {
    let Some(role) = optional(row, &format!("{place}_role_")) else {
        return Ok(None);
    };
    let owned = |name: &str| text(row, &format!("{place}_{name}_")).map(str::to_owned);
    Ok(Some(DerivedLeg {
        role: role.to_owned(),
        instrument_id: owned("instrument")?,
        price: owned("price")?,
        event_time: At(number(row, &format!("{place}_time_"))?),
        age: number(row, &format!("{place}_age_"))?,
        origin: owned("origin")?,
        tick: None,
        differences: Vec::new(),
    }))
}

fn places(legs: &[DerivedLeg]) -> BTreeSet<Place> {
    let origins = legs.iter().filter_map(|leg| place_of(&leg.origin));
    origins.map(|(place, _)| place).collect()
}

/// What the tick of a leg says instead.
fn differences(leg: &DerivedLeg, is_of_price: bool) -> Vec<String> {
    let Some(tick) = &leg.tick else { return Vec::new() };
    let price = |text: &str| Decimal::parse(text.as_bytes()).ok();
    let mut differences = Vec::new();
    if tick.instrument_id != leg.instrument_id {
        differences.push(format!("its tick is of {}", tick.instrument_id));
    }
    if tick.event_time != leg.event_time {
        differences.push(format!("its tick has the time {}", tick.event_time));
    }
    if is_of_price && price(&tick.price) != price(&leg.price) {
        differences.push(format!("its tick has the price {}", tick.price));
    }
    differences
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
pub(super) mod tests {
    use super::super::bar::tests::traced;
    use super::*;

    pub(in super::super) fn leg() -> DerivedLeg {
        let tick = traced().1.ticks[0].tick.clone();
        DerivedLeg {
            role: "power".to_owned(),
            instrument_id: tick.instrument_id.clone(),
            price: tick.price.clone(),
            event_time: tick.event_time,
            age: 90_500_000,
            origin: tick.tick_id.clone(),
            tick: Some(tick),
            differences: Vec::new(),
        }
    }

    #[test]
    fn a_leg_that_is_not_the_price_of_its_tick_is_named() {
        let right = leg();
        assert!(differences(&right, true).is_empty());
        let wrong = DerivedLeg {
            price: "-0.5".to_owned(),
            event_time: At(right.event_time.0 + 1),
            ..right
        };
        assert_eq!(differences(&wrong, true).len(), 2);
        assert_eq!(differences(&wrong, false).len(), 1);
        let gone = DerivedLeg { tick: None, ..wrong };
        assert!(differences(&gone, true).is_empty());
    }
}
