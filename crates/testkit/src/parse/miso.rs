//! MISO's real-time prices of five minutes.

use serde_json::Value;

use super::Refusal;
use super::documents::{Document, Row, has_energy, is_nothing};
use crate::numbers::at_scale_8;
use crate::times::wall;

pub(super) const REAL_TIME: &str = "miso.rt5.expost.json";
const COLUMNS: [&str; 5] = ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"];
/// EST is five hours behind UTC all year.
const BEHIND: i64 = 5 * 3_600_000_000;
const INTERVAL: i64 = 300_000_000;

pub(super) fn read(payload: &[u8]) -> Result<Document, Refusal> {
    let document: Value = serde_json::from_slice(payload).map_err(|_| "broken_json")?;
    let headers = document["headers"].as_array().ok_or("schema_violation")?;
    let data = document["data"].as_array().ok_or("schema_violation")?;
    let place = |name: &&str| headers.iter().position(|header| header == *name);
    let places: Vec<usize> = COLUMNS.iter().filter_map(place).collect();
    if headers.len() != COLUMNS.len() || places.len() != COLUMNS.len() {
        return Err("schema_violation");
    }
    Ok(Document {
        market: "MISO",
        product: "rt5",
        is_part: false,
        rows: data.iter().map(|cells| row(cells.as_array()?, &places)).collect(),
    })
}

fn row(cells: &[Value], places: &[usize]) -> Option<Row> {
    if cells.len() != COLUMNS.len() {
        return None;
    }
    let cell = |column: usize| cells.get(*places.get(column)?)?.as_str();
    let component = |column: usize| match cells.get(*places.get(column)?)? {
        Value::Null => Some(None),
        Value::String(text) if is_nothing(text.trim()) => Some(None),
        value => Some(Some(at_scale_8(value.as_str()?)?)),
    };
    let key = cell(1)?.trim();
    let price = cell(2).and_then(at_scale_8)?;
    let (loss, congestion) = (component(3)?, component(4)?);
    if let (Some(loss), Some(congestion)) = (loss, congestion)
        && !has_energy(price, congestion, loss)
    {
        return None;
    }
    if key.is_empty() {
        return None;
    }
    Some(Row {
        key: key.to_owned(),
        // The stamp is the end of the five minutes.
        start: wall(cell(0)?)? + BEHIND - INTERVAL,
        price,
        version: None,
    })
}
