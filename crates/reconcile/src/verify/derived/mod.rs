//! Compares derived prices with a recomputation from the ticks of their legs.
//!
//! Role: [`rules`] says what a series is worth at a time, [`rolled`] what the statistic of its last values is, [`compare`] names what
//! differs; [`sql`] and [`rows`] are the queries and their results, [`begun`] reads since when an instrument is a leg, [`taken_back`] which values
//! became null. The definitions are the settings of aggregation. Nothing else is shared with the stage that computes the values.
//! Invariants: every value of the newest version follows from the rows of `enriched_ticks` (quotes: `market_ticks`), whatever order they
//! came in. The earlier versions are still there: their revisions have no gap. Each query covers a part of the time, which bounds the memory
//! of the server and of this process.
//! Failure: a value that depends on what cannot be known (the clock of the stage near the hold time, expired rows, accepted gaps) is
//! counted in a note, never as a difference.

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod agreement;
mod begun;
mod compare;
mod rolled;
mod rows;
mod rules;
mod sql;
mod statistic;
mod taken_back;

use std::collections::BTreeSet;

use anyhow::Context as _;
use codec::Wire;
use curves::derived::{Definition, Formula};
use domain::{Decimal, Micros};
use service::{Names, Reader};

use super::gaps::partition_of_key;
use super::ranges::{self, Range};
use super::report::{NAMED, WrongRow};
use super::versions::{self, Compared, Outcome, Versions, notes};
use crate::products::Products;
use begun::Begun;
use compare::{Comparison, Kept};
use ops::connection::Connection;
use ops::rows::{number, text};
use ops::threads::reading;
use rows::{GoneRow, PriceRow, StoredRow};
use rules::{Asked, LONGEST_INTERVAL, Leg, Times};
use sql::{Hour, Lane, Part, Source};
use statistic::Rolled;

/// Prices of legs that are read by one query, besides those that still count at its beginning.
const PRICES_AT_ONCE: u64 = 100_000;

/// The series as aggregation has them.
#[derive(Debug, Clone)]
struct Settings {
    all: Vec<Asked>,
    times: Times,
    products: Products,
}

impl Settings {
    fn read(connection: &Connection) -> anyhow::Result<Settings> {
        let mut reader = Reader::new(&connection.env);
        let derived = aggregation::config::read(&mut reader).derived;
        let products = Products::read(&mut reader);
        reader.finish()?;
        Ok(Settings {
            all: derived.series.iter().map(|definition| asked(definition)).collect(),
            times: Times::of(derived.limits.hold),
            products,
        })
    }
}

fn asked(definition: &Definition) -> Asked {
    let heat_rate = match definition.formula {
        Formula::SparkSpread { heat_rate } => heat_rate.unscaled(),
        _ => 0,
    };
    Asked {
        series: definition.series.clone(),
        kind: definition.formula.name(),
        heat_rate,
        roles: definition.formula.legs(),
        legs: definition.legs.clone(),
        max_age: definition.max_age,
        shown_kind: definition.kind(),
        rolled: definition.rolling.map(|rolling| Rolled {
            statistic: rolling.statistic.name(),
            count: rolling.count,
            width: rolling.width,
        }),
    }
}

/// The value of a row of this series that names these legs (role, instrument, price), as text; `null` if the formula has no number. `None`
/// if the series is not configured with this kind and exactly these legs, or shows a statistic, which follows from more than these prices.
///
/// # Errors
/// A setting cannot be used, or a price is no number.
pub(crate) fn recomputed(
    connection: &Connection,
    series: &str,
    kind: &str,
    legs: &[(&str, &str, &str)],
) -> anyhow::Result<Option<String>> {
    let settings = Settings::read(connection)?;
    let Some(asked) = settings.all.into_iter().find(|asked| asked.series == series) else {
        return Ok(None);
    };
    let is_leg = |((role, instrument, _), (known, leg)): (&(&str, &str, &str), (&&str, &String))| {
        role == known && instrument == leg
    };
    let is_whole = legs.len() == asked.legs.len();
    if asked.rolled.is_some()
        || asked.kind != kind
        || !is_whole
        || !legs.iter().zip(asked.roles.iter().zip(&asked.legs)).all(is_leg)
    {
        return Ok(None);
    }
    let mut figures = Vec::new();
    for (role, _, price) in legs {
        let price = Decimal::parse(price.as_bytes()).with_context(|| format!("the price of leg {role}"))?;
        figures.push(price.unscaled());
    }
    let value = rules::value_of(&asked, &figures);
    Ok(Some(compare::value(value)))
}

/// The derived prices to compare.
pub(super) struct Derived<'a>(pub Versions<'a>);

impl Derived<'_> {
    fn names(&self) -> &Names {
        self.0.names()
    }

    /// Compares all series of all tenants.
    ///
    /// # Errors
    /// A server does not answer, or a setting cannot be used.
    pub(super) async fn check(&self) -> anyhow::Result<Outcome> {
        let settings = Settings::read(self.0.connection)?;
        let passed = self.0.passed();
        let source = Source {
            names: self.names(),
            products: &settings.products,
            passed: &passed,
        };
        let mut notes: Vec<String> = self.others(&source, &settings).await?.into_iter().collect();
        let (mut compared, mut excused) = (Compared::default(), Vec::new());
        if !settings.all.is_empty() {
            let (begun, legs) = self.begun(&settings).await?;
            let values_since = self.0.kept_since().await?;
            let tenants = self.0.clickhouse.query_json(&source.tenants(&settings.all)).await;
            for row in tenants.context("list the tenants of derived series")? {
                let tenant = text(&row, "tenant")?;
                for asked in &settings.all {
                    if self.is_excused(tenant, asked, legs.len()) {
                        excused.push(format!("{tenant}/{}", asked.series));
                        continue;
                    }
                    let is_cut = legs.iter().any(|range| range.is_cut);
                    let since = self.since(&source, (&begun, is_cut), tenant, asked).await?;
                    let lane = Lane { tenant, asked, since };
                    let found = self.lane(&source, &lane, settings.times, values_since).await?;
                    compared.add(found, self.0.named);
                }
            }
        }
        let (doubtful, gone) = (
            std::mem::take(&mut compared.doubtful),
            std::mem::take(&mut compared.gone),
        );
        compared.add(self.taken_back(doubtful).await?, self.0.named);
        notes.extend(said(&compared, &excused));
        Ok(Outcome {
            checks: vec![
                self.0.newest(compared, "legs"),
                self.0.earlier(gone, "values"),
                self.0.contents(&source.conflicting(NAMED)).await?,
            ],
            notes,
        })
    }

    /// A note on rows of series that are not configured.
    async fn others(&self, source: &Source<'_>, settings: &Settings) -> anyhow::Result<Option<String>> {
        let rows = self.0.clickhouse.query_json(&source.others(&settings.all)).await;
        let rows = rows.context("list the derived series")?;
        let mut others = Vec::new();
        for row in &rows {
            others.push(format!("{} ({} rows)", text(row, "name")?, text(row, "rows")?));
        }
        Ok((!others.is_empty()).then(|| {
            format!(
                "derived prices of series that AGGREGATION_DERIVED_SERIES does not define are not compared: {}",
                others.join(", ")
            )
        }))
    }

    /// Since when the instruments are legs, as far as their topic says; and its ranges.
    async fn begun(&self, settings: &Settings) -> anyhow::Result<(Begun, Vec<Range>)> {
        let wire: Wire = self.0.connection.wire().await?;
        let (bootstrap, topic) = (
            self.0.connection.settings.kafka_bootstrap.clone(),
            self.names().legs.clone(),
        );
        let (gaps, group) = (self.0.gaps.clone(), self.names().derived_group("aggregation"));
        let all = settings.all.clone();
        reading(move || {
            let mut ranges = ranges::ranges(&bootstrap, &[topic])?;
            gaps.leave_out(&group, &mut ranges);
            let begun = begun::read(&bootstrap, &wire, &ranges, &all)?;
            Ok((begun, ranges))
        })
        .await
        .with_context(|| format!("read {}", self.names().legs))
    }

    /// Of rows that the table lacks, those that the topic has.
    async fn taken_back(&self, doubtful: Vec<WrongRow>) -> anyhow::Result<Compared> {
        if doubtful.is_empty() {
            return Ok(Compared::default());
        }
        let (wire, since) = (self.0.connection.wire().await?, self.0.kept_since().await?);
        let (bootstrap, topic) = (
            self.0.connection.settings.kafka_bootstrap.clone(),
            self.names().derived.clone(),
        );
        let (gaps, group) = (self.0.gaps.clone(), self.names().writer_group("aggregation"));
        let cut = self.0.cut.clone();
        let keys: BTreeSet<taken_back::Key> = doubtful.iter().map(|row| row.key.clone()).collect();
        let sent = reading(move || {
            let mut ranges = ranges::ranges(&bootstrap, &[topic])?;
            // A record that came later may not have been in the table yet.
            cut.shorten(&mut ranges);
            gaps.leave_out(&group, &mut ranges);
            taken_back::read(&bootstrap, &wire, &ranges, (&keys, since))
        })
        .await
        .with_context(|| format!("read {}", self.names().derived))?;
        Ok(taken_back::missing(doubtful, &sent))
    }

    /// The first enriched offset of each leg. Retention removes legs before it removes ticks: then stored values say what was a leg.
    async fn since(
        &self,
        source: &Source<'_>,
        (begun, is_cut): (&Begun, bool),
        tenant: &str,
        asked: &Asked,
    ) -> anyhow::Result<Vec<Option<i64>>> {
        let of_topic = begun.of(tenant, asked);
        if !is_cut && of_topic.iter().all(Option::is_some) {
            return Ok(of_topic);
        }
        let mut begun = begun.clone();
        let rows = self.0.clickhouse.query_json(&source.used_since(tenant, asked)).await;
        for row in rows.with_context(|| format!("read the first legs of {}", asked.series))? {
            begun.add(tenant, asked, text(&row, "instrument")?, number(&row, "first")?);
        }
        Ok(begun.of(tenant, asked))
    }

    /// Whether an accepted gap may explain differences of the series: one leg can change many values.
    fn is_excused(&self, tenant: &str, asked: &Asked, partitions: usize) -> bool {
        let names = self.names();
        let of_series = self.0.gaps.excuse(&[
            (names.derived_group("aggregation"), &names.legs, 1),
            (names.writer_group("aggregation"), &names.derived, 1),
        ]);
        let of_ticks = self
            .0
            .gaps
            .excuse(&[(names.writer_group("enrichment"), &names.enriched, 1)]);
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let of = |id: &str, count: i32| partition_of_key(tenant, id, count);
        let ticks = self.0.connection.settings.topic_partitions;
        of_series.partitions.contains(&of(&asked.series, count))
            || asked
                .legs
                .iter()
                .any(|leg| of_ticks.partitions.contains(&of(leg, ticks)))
    }

    async fn lane(
        &self,
        source: &Source<'_>,
        lane: &Lane<'_>,
        times: Times,
        values_since: Micros,
    ) -> anyhow::Result<Compared> {
        let back = lane.asked.max_age.max(LONGEST_INTERVAL) + lane.asked.width();
        let comparison = Comparison {
            lane,
            times,
            kept: Kept {
                complete_since: self.0.complete_since(back),
                values_since,
            },
            own_tenant: &self.0.connection.settings.tenant_id,
        };
        let hours: Vec<Hour> = self.0.rows(&source.hours(lane)).await?;
        let mut compared = Compared::default();
        for part in sql::parts(&hours, PRICES_AT_ONCE)? {
            let legs = self.legs(source, lane, part, times).await?;
            let stored: Vec<StoredRow> = self.0.rows(&source.stored(lane, part)).await?;
            let stored = stored
                .into_iter()
                .map(StoredRow::stored)
                .collect::<anyhow::Result<_>>()?;
            let arrived = self.0.arrived().await?;
            compared.add(comparison.part(part, &legs, stored, &arrived), self.0.named);
        }
        let gone: Vec<GoneRow> = self.0.rows(&source.gone(lane, values_since, self.0.named)).await?;
        compared.gone = comparison.gone(&gone)?;
        Ok(compared)
    }

    async fn legs(&self, source: &Source<'_>, lane: &Lane<'_>, part: Part, times: Times) -> anyhow::Result<Vec<Leg>> {
        let mut legs = vec![Vec::new(); lane.asked.legs.len()];
        let rows: Vec<PriceRow> = self.0.rows(&source.prices(lane, part)).await?;
        for row in rows {
            let Some((leg, mut price)) = row.price(lane.asked.kind)? else {
                continue;
            };
            if let Some(prices) = legs.get_mut(leg).filter(|_| price.is_within_reach(times)) {
                prices.push(price);
            }
        }
        let max_age = lane.asked.max_age;
        Ok(legs.into_iter().map(|prices| Leg::new(prices, max_age)).collect())
    }
}

/// Notes on what was not compared.
fn said(compared: &Compared, excused: &[String]) -> Vec<String> {
    let reasons = [
        (
            compared.unknown,
            "one of their prices came about AGGREGATION_DERIVED_HOLD_S late, and only the clock of the stage decides whether it counts",
        ),
        (compared.expired, "rows of their time have expired"),
        (compared.earlier, "they belong to an earlier definition of their series"),
    ];
    let mut notes = notes(
        "derived price(s) are not compared",
        reasons,
        ("derived series", excused),
    );
    notes.extend(versions::moved("derived price(s)", compared.moved));
    if compared.early > 0 {
        // Their records cannot be told from later ones.
        notes.push(format!(
            "{} derived price(s) are shown by `as_of` before all of their prices were appended: their records have the clock of one leg, as \
             those of earlier releases do",
            compared.early
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_compared_is_said() {
        let compared = Compared {
            unknown: 2,
            earlier: 1,
            early: 3,
            ..Compared::default()
        };
        let notes = said(&compared, &["t/s".to_owned()]);
        assert_eq!(notes.len(), 4);
        assert!(
            notes.iter().any(|note| note.starts_with("2 derived price(s)")),
            "{notes:?}"
        );
        assert!(
            notes.iter().any(|note| note.ends_with("gap are not compared: t/s")),
            "{notes:?}"
        );
        assert!(said(&Compared::default(), &[]).is_empty());
    }
}
