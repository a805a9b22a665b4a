//! A curve for tests: those of this module, and of the commands that print it.
//!
//! Only `dev-dependencies` turn on the feature `fixtures`, so no program can use it.
#![allow(clippy::unwrap_used)]

use curves::Horizon;
use domain::Micros;
use serde_json::{Map, Value};
use stores::postgres::CurveRow;

use super::quoted::Quoted;
use super::{Question, StoredCurve, build, definition};

/// A row of `curve_metadata`: a curve of a hub of PJM.
pub fn row() -> CurveRow {
    CurveRow {
        tenant_id: "t".to_owned(),
        curve_id: "P".to_owned(),
        curve_name: "PJM".to_owned(),
        commodity: "electricity".to_owned(),
        region: "northeast".to_owned(),
        contract_months: Vec::new(),
        interpolation_method: "flat".to_owned(),
        instruments: vec!["PJM.WESTERN%20HUB.*.SETTLEMENT".to_owned()],
        seasonal_ratios: Vec::new(),
        seasonal_spreads: Vec::new(),
    }
}

/// The maximum age of quotes.
pub(super) const WEEK: Micros = 7 * 86_400_000_000;

/// A settlement as ClickHouse returns it.
pub(super) fn price(instrument: &str, market: &str, unscaled: i64) -> Map<String, Value> {
    // Midnight of 25 November 2026 in New York.
    let row = serde_json::json!({
        "instrument_id": instrument, "market": market, "event_time": "1795582800000000", "unscaled": unscaled.to_string(),
        "traded": "-1", "origin": format!("raw/2/{unscaled}/0"), "appended": unscaled.to_string(), "currency_": "USD", "unit_": "MWh",
    });
    row.as_object().unwrap().clone()
}

/// A curve with a contradictory quote, as known at 2026-11-25.
pub fn example(as_of: Option<Micros>) -> StoredCurve {
    let rows = [
        price("PJM.WESTERN%20HUB.2026-12.FLAT.SETTLEMENT", "PJM", 4_012_345_678),
        price("PJM.WESTERN%20HUB.Q1-27.PEAK.SETTLEMENT", "PJM", 7_000_000_000),
        price("PJM.WESTERN%20HUB.Q1-27.OFF_PEAK.SETTLEMENT", "PJM", 5_000_000_000),
        price("PJM.WESTERN%20HUB.Q1-27.FLAT.SETTLEMENT", "PJM", 9_000_000_000),
    ];
    let question = Question {
        tenant: "t",
        curve_id: "P",
        as_of,
        horizon: Horizon::All,
        tolerance: 0.005,
    };
    let (row, quoted) = (row(), Quoted::of(&rows).unwrap());
    build(
        &row,
        &definition(&row, WEEK).unwrap(),
        &quoted,
        1_795_600_000_000_000,
        question,
    )
    .unwrap()
}
