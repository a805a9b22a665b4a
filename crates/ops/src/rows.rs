//! Columns of a row that ClickHouse has returned as JSON.
//!
//! Failure: a column that is missing or of another kind is an error that names it.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// A string column of a result.
///
/// # Errors
/// The row has no such text.
pub fn text<'r>(row: &'r Map<String, Value>, name: &str) -> anyhow::Result<&'r str> {
    row.get(name)
        .and_then(Value::as_str)
        .with_context(|| format!("ClickHouse returned no text for column {name}"))
}

/// A number column of a result that was queried as text, or as an integer of 64 bits.
///
/// # Errors
/// The row has no such number.
pub fn number<T: std::str::FromStr>(row: &Map<String, Value>, name: &str) -> anyhow::Result<T> {
    let text = text(row, name)?;
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("ClickHouse returned {text} for column {name}, which is not a valid number"),
    }
}
