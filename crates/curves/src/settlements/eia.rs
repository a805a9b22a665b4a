//! EIA's series of gas futures: JSON of its API, series `RNGC1` to `RNGC4`, the first to fourth nearby contract on Henry Hub.
//!
//! `period` is the trade date, so the contract is `M1` to `M4` on that day; prices are in $/MMBTU.

use serde::Deserialize;
use serde_json::Value;

use super::{Settlement, Settlements, as_of, decimal};
use crate::CurveError;
use crate::contract::{Block, Tenor};

/// The curve of these series.
const CURVE: &str = "GAS.HENRY_HUB";
const UNIT: &str = "$/MMBTU";

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    response: Response<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    data: Vec<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Element {
    period: String,
    series: String,
    /// A string in newer versions of the API, a number in older ones; null for a day without a price.
    value: Value,
    units: Option<String>,
}

pub(super) fn parse(text: &str) -> Result<Settlements, CurveError> {
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| {
        CurveError::Unreadable(format!(
            "the JSON is not an answer of EIA's API with \"response\" and \"data\": {error}"
        ))
    })?;
    let mut found = Settlements::default();
    for (element, number) in document.response.data.iter().zip(1..) {
        let read = serde_json::from_str::<Element>(element.get()).map_err(|error| error.to_string());
        found.add(number, read.and_then(|element| row(number, &element)));
    }
    Ok(found)
}

fn row(line: u64, element: &Element) -> Result<Settlement, String> {
    let nearby = element
        .series
        .strip_prefix("RNGC")
        .and_then(|number| number.parse().ok());
    let Some(nearby @ 1..=4) = nearby else {
        return Err(format!("series \"{}\" is none of RNGC1 to RNGC4", element.series));
    };
    if let Some(units) = element
        .units
        .as_deref()
        .filter(|units| !units.eq_ignore_ascii_case(UNIT))
    {
        return Err(format!("units \"{units}\": {UNIT} is expected"));
    }
    let price = match &element.value {
        Value::String(text) => decimal("value", text.trim())?,
        Value::Number(number) => decimal("value", &number.to_string())?,
        other => return Err(format!("value {other} is no price")),
    };
    let (day, known_at) = as_of(&element.period)?;
    Ok(Settlement {
        line,
        as_of: day,
        known_at,
        curve_id: CURVE.to_owned(),
        tenor: Tenor::Relative(nearby),
        block: Block::Flat,
        price,
        volume: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::contract::Commodity;

    #[test]
    fn nearby_contracts_mean_the_months_of_their_trade_date() {
        let text = r#"{"response":{"total":"6","data":[
            {"period":"2024-03-26","series":"RNGC1","value":"1.575","units":"$/MMBTU"},
            {"period":"2024-03-27","series":"RNGC1","value":1.718,"units":"$/MMBTU"},
            {"period":"2024-03-27","series":"RNGC4","value":"2.5","units":"$/MMBTU"},
            {"period":"2024-03-28","series":"RNGC1","value":null,"units":"$/MMBTU"},
            {"period":"2024-03-28","series":"RNGC5","value":"1","units":"$/MMBTU"},
            {"period":"2024-03-28","series":"RNGC1","value":"1","units":"EUR/MWH"},
            {"series":"RNGC1"}]},"apiVersion":"2.1.14"}"#;
        let found = Settlements::parse(text).unwrap();
        let contracts: Vec<String> = found
            .rows
            .iter()
            .map(|row| row.quote(Commodity::Gas).unwrap().contract.period.to_string())
            .collect();
        assert_eq!(contracts, ["2024-04", "2024-05", "2024-08"]);
        assert_eq!(found.rows[1].price.to_string(), "1.718");
        let lines: Vec<u64> = found.rejected.iter().map(|rejected| rejected.line).collect();
        assert_eq!(lines, [4, 5, 6, 7]);
        assert!(
            Settlements::parse("{\"series\": []}")
                .unwrap_err()
                .to_string()
                .contains("EIA")
        );
    }
}
