//! A page of PJM's API: `{"items": […], "links": […], "totalRows": …}`, or the array of items alone.

use serde_json::value::RawValue;

use super::{columns, plain};
use crate::objects::{Object, any, object, string};
use crate::parse::Refusal;

/// The rows of a page.
pub(super) struct Page {
    /// The names of the columns, without their run.
    pub names: Vec<String>,
    /// The cells of each row in this order; `None` if it has other fields.
    pub rows: Vec<Option<Vec<String>>>,
    /// Whether it says that it is one of many, or that the whole set has another number of rows.
    pub is_part: bool,
}

pub(super) fn read(text: &str, run: &str) -> Result<Page, Refusal> {
    let whole = if text.trim_start().starts_with('[') {
        Object::new()
    } else {
        object(text)?
    };
    let items = match whole.get("items") {
        Some(items) => items.get(),
        None if whole.is_empty() => text,
        None => return Err("schema_violation"),
    };
    let items = array(items)?;
    let links = whole.get("links").map_or(Ok(Vec::new()), |links| array(links.get()))?;
    let leads_on =
        |link: &RawValue| object(link.get()).is_ok_and(|link| string(&link, "rel").as_deref() == Some("next"));
    let total = any(&whole, &["totalRows"]).and_then(|total| total.parse().ok());
    let is_part = links.iter().any(|link| leads_on(link)) || total.is_some_and(|total: usize| total != items.len());
    let rows: Vec<Option<Object>> = items.iter().map(|item| object(item.get()).ok()).collect();
    if rows.is_empty() {
        return Ok(Page {
            names: Vec::new(),
            rows: Vec::new(),
            is_part,
        });
    }
    // The first row that has fields names the columns.
    let written: Vec<String> = rows
        .iter()
        .flatten()
        .next()
        .into_iter()
        .flat_map(Object::keys)
        .cloned()
        .collect();
    let names = columns(&written, run).ok_or("schema_violation")?;
    let written: Vec<String> = written.iter().map(|name| plain(name)).collect();
    Ok(Page {
        names,
        rows: rows.into_iter().map(|row| cells(&row?, &written)).collect(),
        is_part,
    })
}

fn array(text: &str) -> Result<Vec<Box<RawValue>>, Refusal> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            "schema_violation"
        } else {
            "broken_json"
        }
    })
}

fn cells(row: &Object, names: &[String]) -> Option<Vec<String>> {
    if row.len() != names.len() {
        return None;
    }
    let cell = |name: &String| {
        let key = row.keys().find(|key| plain(key) == *name)?;
        Some(any(row, &[key.as_str()]).unwrap_or_default())
    };
    names.iter().map(cell).collect()
}
