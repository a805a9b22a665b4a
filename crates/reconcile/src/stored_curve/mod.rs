//! A curve of reference data, built from the quotes that the pipeline has stored: what `dp curve show` and `dp demo` show.
//!
//! Role: reads the definition (`curve_metadata`) and the newest price of each of its instruments (`enriched_ticks`, [`sql`]), as known at a
//! time: the append time in the raw log. Prices of instruments with a tenor come from [`tenors`], and [`quoted`] says which prices are quotes.
//! Of one instrument the last trade date counts, and of one trade date the best vintage, then a price that states no time of the day, else the
//! last time, as in snapshots. Quotes in another currency or unit than the last one are left out, and so are those whose trade date is longer
//! before the day of the curve than the maximum age of aggregation.
//! Failure: an unknown curve, or one without quotes, is an error that says what to do.

#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod quoted;
mod sql;
mod tenors;

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use curves::{Builder, CurveSnapshot, Definition, DeliveryCalendar, Horizon, Month, Selected, Shape, Tenors};
use domain::Micros;
use domain::instrument::IdPattern;
use ops::connection::Connection;
use ops::migrations::Stores;
use ops::present::iso;
use ops::rows::text;
use serde::Serialize;
use serde_json::{Map, Value};
use service::Reader;
use stores::ReferenceStore;
use stores::postgres::{CurveRow, ReferenceInstrument};

use quoted::Quoted;
use sql::statement;
use tenors::Prices;

/// Table `curve_metadata` keeps no history.
const TODAYS_DEFINITION: &str = "the quotes are as known at that time; instruments, contract months, method and seasonal shape are those of today's row of curve_metadata";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// Tenant.
    pub tenant: &'q str,
    /// The curve, as `dp curve list` names it.
    pub curve_id: &'q str,
    /// Only quotes that were in the log by this time; `None`: now.
    pub as_of: Option<Micros>,
    /// How far it reaches.
    pub horizon: Horizon,
    /// Largest difference of a quote that others imply, in the unit of the prices.
    pub tolerance: f64,
}

/// A curve, and how its quotes fit it: what `dp curve show --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct StoredCurve {
    /// Its name in words.
    pub curve_name: String,
    /// Its points and quotes.
    #[serde(flatten)]
    pub snapshot: CurveSnapshot,
    /// Whether quotes contradict each other.
    pub contradictory: bool,
    /// What of it is not as known at the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
    /// Instruments that fit the curve and name no contract.
    pub left_out: Vec<String>,
}

/// Builds the curve.
///
/// # Errors
/// The tenant has no such curve, it has no quotes, no curve follows from them, or a store does not answer.
pub async fn read(connection: &Connection, stores: &Stores, question: Question<'_>) -> anyhow::Result<StoredCurve> {
    let Question { tenant, curve_id, .. } = question;
    let rows = rows(stores, tenant).await?;
    let row = rows.iter().find(|row| row.curve_id == curve_id);
    let row = row.with_context(|| unknown(tenant, curve_id, &rows))?;
    let as_of = question.as_of.unwrap_or_else(stream::status::wall_clock);
    let mut definition = definition(row, max_age(connection)?)?;
    let table = connection.names.table("enriched_ticks");
    let mut found = query(stores, &statement(&table, tenant, &definition, as_of)).await?;
    let prices = Prices::new(&table, (tenant, curve_id), as_of);
    let (of_tenors, ids) = of_tenors(stores, &prices, definition.max_age).await?;
    found.extend(of_tenors);
    // They are on the curve by their own rows, whatever its patterns are.
    definition.instruments.extend(ids.iter().map(|id| IdPattern::new(id)));
    let quoted = Quoted::of(&found)?;
    build(row, &definition, &quoted, as_of, question)
        .with_context(|| format!("build curve {curve_id} as known at {}", iso(as_of)))
}

async fn query(stores: &Stores, sql: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let rows = stores.clickhouse.query_json(sql).await;
    rows.context("read enriched_ticks: is ClickHouse running (`dp status`)?")
}

/// The prices of instruments with a tenor as rows of settlements, and the ids of their instruments.
async fn of_tenors(
    stores: &Stores,
    prices: &Prices,
    max_age: Micros,
) -> anyhow::Result<(Vec<Map<String, Value>>, BTreeSet<String>)> {
    let tiers = query(stores, &prices.tiers()).await?;
    let tiers: Vec<String> = tiers
        .iter()
        .map(|row| text(row, "tier").map(str::to_owned))
        .collect::<anyhow::Result<_>>()?;
    match prices.statement(&tiers, max_age) {
        Some(sql) => tenors::absolute(query(stores, &sql).await?),
        None => Ok((Vec::new(), BTreeSet::new())),
    }
}

/// The active instruments of a tenant whose prices are quotes by a tenor, by id.
///
/// # Errors
/// Postgres does not answer.
pub async fn tenor_instruments(stores: &Stores, tenant: &str) -> anyhow::Result<Vec<ReferenceInstrument>> {
    let store = ReferenceStore::new(stores.postgres.clone());
    let mut instruments = store
        .of_curves(tenant)
        .await
        .context("read taxonomy_instruments: is Postgres running (`dp status`)?")?;
    instruments.retain(|instrument| Tenors::has(&instrument.product_tier));
    Ok(instruments)
}

/// The curves of a tenant.
///
/// # Errors
/// Postgres does not answer.
pub async fn rows(stores: &Stores, tenant: &str) -> anyhow::Result<Vec<CurveRow>> {
    ReferenceStore::new(stores.postgres.clone())
        .curves(tenant)
        .await
        .context(
            "read curve_metadata: is Postgres running (`dp status`), and is the table of this release (`dp migrate`)?",
        )
}

fn unknown(tenant: &str, curve_id: &str, rows: &[CurveRow]) -> String {
    let known: Vec<&str> = rows.iter().map(|row| row.curve_id.as_str()).collect();
    match known.is_empty() {
        true => {
            format!("tenant {tenant} has no curve \"{curve_id}\", and no other: docs/curves.md shows how to define one")
        }
        false => format!(
            "tenant {tenant} has no curve \"{curve_id}\"; it has {}",
            known.join(", ")
        ),
    }
}

/// How long a quote counts, as aggregation is configured.
fn max_age(connection: &Connection) -> anyhow::Result<Micros> {
    let mut reader = Reader::new(&connection.env);
    let limits = aggregation::config::read(&mut reader).curves;
    reader.finish()?;
    Ok(limits.max_age)
}

fn definition(row: &CurveRow, max_age: Micros) -> anyhow::Result<Definition> {
    if row.instruments.is_empty() {
        bail!(
            "curve {} has no instruments: list patterns of instrument ids in column instruments of curve_metadata, such as \
             GAS.HENRY_HUB.*.SETTLEMENT (docs/curves.md)",
            row.curve_id
        );
    }
    Ok(Definition {
        curve_id: row.curve_id.clone(),
        method: row
            .interpolation_method
            .parse()
            .context("column interpolation_method of curve_metadata")?,
        shape: Shape::of_lists(&row.seasonal_ratios, &row.seasonal_spreads)
            .context("columns seasonal_ratios and seasonal_spreads of curve_metadata")?,
        instruments: row.instruments.iter().map(|text| IdPattern::new(text)).collect(),
        contract_months: row.contract_months.clone(),
        max_age,
    })
}

fn build(
    row: &CurveRow,
    definition: &Definition,
    quoted: &Quoted,
    as_of: Micros,
    question: Question<'_>,
) -> anyhow::Result<StoredCurve> {
    let Some(market) = quoted.market.as_deref() else {
        if let Some(first) = quoted.left_out.first() {
            bail!(
                "no price of the curve is a quote. {} are left out, the first one is {first}",
                quoted.left_out.len()
            );
        }
        bail!(
            "no quote was in the log: ingest settlements (`dp ingest curve.settlements.csv`), use a later --as-of, or correct the patterns \
             {}",
            row.instruments.join(" ")
        );
    };
    let calendar = DeliveryCalendar::of(market)?;
    let (prices, mut left_out) = quoted.of_one_unit(&calendar);
    let Selected {
        day,
        quotes,
        left_out: others,
    } = definition.select(&calendar, &prices)?;
    left_out.extend(others.iter().map(ToString::to_string));
    let until = question.horizon.until(day).unwrap_or_else(|| Month::of(day));
    let mut builder = Builder::new(
        calendar.clone(),
        definition.method,
        definition.shape,
        question.tolerance,
    );
    let curve = builder.build(day, until, &quotes)?;
    let newest = quotes.iter().map(|quote| quote.known_at).max().unwrap_or_default();
    let version = u64::try_from(newest).unwrap_or_default();
    let name = (definition.curve_id.as_str(), definition.method);
    Ok(StoredCurve {
        curve_name: row.curve_name.clone(),
        snapshot: CurveSnapshot::of(&curve, &calendar, name, (as_of, version, day), question.horizon)?,
        contradictory: curve.has_contradictions(),
        note: question.as_of.map(|_| TODAYS_DEFINITION),
        left_out,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::fixtures::{WEEK, example, price, row};
    use super::*;

    /// The curve of [`row`] from these quotes.
    fn built(quoted: &Quoted) -> StoredCurve {
        built_by(&row(), quoted)
    }

    fn built_by(row: &CurveRow, quoted: &Quoted) -> StoredCurve {
        let question = Question {
            tenant: "t",
            curve_id: "P",
            as_of: None,
            horizon: Horizon::All,
            tolerance: 0.005,
        };
        build(row, &definition(row, WEEK).unwrap(), quoted, 1, question).unwrap()
    }

    #[test]
    fn a_statement_has_the_patterns_and_the_time_and_no_text_ends_it() {
        let definition = definition(&row(), WEEK).unwrap();
        let sql = statement("db.enriched_ticks", "it's", &definition, 7);
        for expected in [
            r"PJM.WESTERN",
            "%.SETTLEMENT",
            "toInt64(7)",
            "LIMIT 1 BY instrument_id",
            "market = 'PJM', toYYYYMMDD(timestamp, 'America/New_York')",
        ] {
            assert!(sql.contains(expected), "{sql}");
        }
        assert!(!sql.contains("'it's'"), "{sql}");
    }

    #[test]
    fn an_earlier_time_is_noted_and_a_quote_that_contradicts_others_is_marked() {
        let shown = example(None);
        assert_eq!((shown.note, example(Some(0)).note), (None, Some(TODAYS_DEFINITION)));
        assert!(shown.contradictory);
        assert_eq!(shown.snapshot.day.to_string(), "2026-11-25");
    }

    #[test]
    fn a_price_in_another_unit_than_the_last_one_and_one_of_long_ago_are_left_out() {
        let id = |contract: &str| format!("PJM.WESTERN%20HUB.{contract}.FLAT.SETTLEMENT");
        let mut rows = [
            price(&id("2026-12"), "PJM", 1),
            price(&id("2027-01"), "PJM", 9),
            price(&id("2027-02"), "PJM", 3),
        ];
        rows[0].insert("unit_".to_owned(), "MMBtu".into());
        rows[2].insert("event_time".to_owned(), "1762142400000000".into());
        let quoted = Quoted::of(&rows).unwrap();
        let shown = built(&quoted);
        assert_eq!(shown.snapshot.inputs.len(), 1);
        let [unit, stale] = shown.left_out.as_slice() else {
            unreachable!("{:?}", shown.left_out);
        };
        assert!(unit.contains("2026-12") && unit.contains("USD/MMBtu"), "{unit}");
        assert!(stale.contains("2027-02") && stale.contains("2025-11-02"), "{stale}");
    }

    #[test]
    fn the_seasonal_shape_of_the_row_moves_its_months_and_the_quote_is_repriced() {
        let rows = [price("PJM.WESTERN%20HUB.Q1-27.FLAT.SETTLEMENT", "PJM", 6_000_000_000)];
        let quoted = Quoted::of(&rows).unwrap();
        let mut spreads = vec![0.0; 12];
        spreads[..2].copy_from_slice(&[8.0, 5.5]);
        let spreads = CurveRow {
            seasonal_spreads: spreads,
            ..row()
        };
        let mut ratios = vec![1.0; 12];
        ratios[0] = 1.5;
        let ratios = CurveRow {
            seasonal_ratios: ratios,
            ..row()
        };
        let months = |row: &CurveRow| {
            let shown = built_by(row, &quoted);
            assert!(shown.snapshot.inputs[0].residual.unwrap().abs() < 1e-8, "{shown:?}");
            let points = &shown.snapshot.points;
            let of = |month: &str| points.iter().find(|point| point.contract == month).unwrap().price;
            [of("2027-01"), of("2027-02")]
        };
        let [january, february] = months(&row());
        assert!((january - february).abs() < 1e-9);
        let [january, february] = months(&spreads);
        assert!((january - february - 2.5).abs() < 1e-9, "{january} {february}");
        let [january, february] = months(&ratios);
        assert!((january / february - 1.5).abs() < 1e-9, "{january} {february}");
        let refused = CurveRow {
            seasonal_ratios: vec![1.0; 11],
            ..row()
        };
        let error = format!("{:#}", definition(&refused, WEEK).unwrap_err());
        assert!(
            error.contains("seasonal_ratios") && error.contains("11 values"),
            "{error}"
        );
    }

    #[test]
    fn a_tick_of_another_market_than_its_id_and_a_price_beyond_any_contract_hide_no_quote() {
        let id = "PJM.WESTERN%20HUB.2026-12.FLAT.SETTLEMENT";
        let large = 999_999_999_900_000_000;
        let rows = [
            price(id, "MISO", 7),
            price(id, "PJM", 4_012_345_678),
            price(id, "PJM", large),
        ];
        let quoted = Quoted::of(&rows).unwrap();
        let shown = built(&quoted);
        let prices: Vec<f64> = shown.snapshot.inputs.iter().map(|input| input.price).collect();
        assert_eq!((shown.snapshot.market.as_str(), prices), ("PJM", vec![40.123_456_78]));
        let [market, size] = shown.left_out.as_slice() else {
            unreachable!("{:?}", shown.left_out);
        };
        assert!(
            market.contains("of market MISO") && market.contains("raw/2/7/0"),
            "{market}"
        );
        assert!(size.contains("9999999999 is beyond 100000"), "{size}");
        let sql = statement("t", "t", &definition(&row(), WEEK).unwrap(), 7);
        assert!(
            sql.contains("LIMIT 1 BY instrument_id, market, abs(price) > 100000"),
            "{sql}"
        );
    }

    #[test]
    fn instruments_of_two_markets_and_curves_without_patterns_are_refused() {
        let rows = [price("PJM.A", "PJM", 1), price("GAS.B", "GAS", 1)];
        assert!(Quoted::of(&rows).is_err());
        let without = CurveRow {
            instruments: Vec::new(),
            ..row()
        };
        assert!(
            definition(&without, WEEK)
                .unwrap_err()
                .to_string()
                .contains("GAS.HENRY_HUB.*.SETTLEMENT")
        );
        let unknown_method = CurveRow {
            interpolation_method: "spline".to_owned(),
            ..row()
        };
        assert!(definition(&unknown_method, WEEK).is_err());
    }
}
