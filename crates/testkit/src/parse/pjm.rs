//! PJM's prices, as CSV or as a page of its API. A CSV without its last end of line is not understood.

mod page;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Refusal;
use super::documents::{Document, Row, has_energy, is_nothing};
use crate::numbers::at_scale_8;
use crate::times::{micros, slashed, wall};
use page::Page;

pub(super) const FIVE_MINUTES: &str = "pjm.rt_fivemin_hrl_lmps.csv";
pub(super) const HOURLY: &str = "pjm.rt_hrl_lmps.csv";
pub(super) const DAY_AHEAD: &str = "pjm.da_hrl_lmps.csv";

const REQUIRED: [&str; 6] = [
    "datetimebeginningutc",
    "pnodeid",
    "pnodename",
    "totallmp",
    "congestionprice",
    "marginallossprice",
];
const OPTIONAL: [&str; 10] = [
    "datetimebeginningept",
    "type",
    "zone",
    "systemenergyprice",
    "rowiscurrent",
    "versionnbr",
    "voltage",
    "equipment",
    "occcheck",
    "refcaseidusedmultiinterval",
];
/// In microseconds.
const HOUR: i64 = 3_600_000_000;
/// Columns whose names end with the market run, `rt` or `da`.
const OF_RUN: [&str; 4] = ["systemenergyprice", "totallmp", "congestionprice", "marginallossprice"];

pub(super) fn read(payload: &[u8], format: &str, eastern: &TimeZone) -> Result<Document, Refusal> {
    let (product, run) = match format {
        DAY_AHEAD => ("da", "da"),
        FIVE_MINUTES => ("rt5", "rt"),
        _ => ("rth", "rt"),
    };
    let text = std::str::from_utf8(payload).map_err(|_| "schema_violation")?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let page = if text.trim_start().starts_with(['{', '[']) {
        page::read(text, run)?
    } else {
        report(text, run)?
    };
    // A row of five minutes is none of an hour.
    let is_of = |row: &Row| product == "rt5" || row.start % HOUR == 0;
    let read = |cells: Option<Vec<String>>| row(&cells?, &page.names, eastern).filter(is_of);
    Ok(Document {
        market: "PJM",
        product,
        is_part: page.is_part,
        rows: page.rows.into_iter().map(read).collect(),
    })
}

/// A CSV. It says nothing about other parts of its set.
fn report(text: &str, run: &str) -> Result<Page, Refusal> {
    let blank = [' ', ',', '"', '\t', '\u{1A}', '\r'];
    let mut lines = text.split('\n').filter(|line| !line.trim_matches(blank).is_empty());
    let names = cells(lines.next().unwrap_or_default()).ok_or("schema_violation")?;
    let names = columns(&names, run).ok_or("schema_violation")?;
    let rows: Vec<_> = lines.map(cells).collect();
    if rows.is_empty() {
        return Err("no_data");
    }
    if !text.ends_with('\n') {
        return Err("unsupported_format");
    }
    Ok(Page {
        names,
        rows,
        is_part: false,
    })
}

fn plain(name: &str) -> String {
    let letters: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    letters.to_lowercase()
}

/// The names of the columns, without their run. `None` if one is missing, unknown or there twice.
fn columns(written: &[String], run: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for name in written {
        let mut name = plain(name);
        if let Some(short) = name.strip_suffix(run).filter(|short| OF_RUN.contains(short)) {
            name = short.to_owned();
        } else if OF_RUN.contains(&name.as_str()) {
            return None;
        }
        let is_known = REQUIRED.contains(&name.as_str()) || OPTIONAL.contains(&name.as_str());
        if !is_known || names.contains(&name) {
            return None;
        }
        names.push(name);
    }
    REQUIRED
        .iter()
        .all(|name| names.iter().any(|one| one == name))
        .then_some(names)
}

/// The cells of a line. `None` if a quote is not closed.
fn cells(line: &str) -> Option<Vec<String>> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(character),
        }
    }
    cells.push(cell);
    (!quoted).then_some(cells)
}

fn row(cells: &[String], names: &[String], eastern: &TimeZone) -> Option<Row> {
    let beyond = cells.get(names.len()..)?;
    if beyond.iter().any(|cell| !cell.trim().is_empty()) {
        return None;
    }
    let cell = |name: &str| {
        let at = names.iter().position(|known| known == name);
        Some(cells.get(at?)?.trim())
    };
    let (node, id) = (cell("pnodename")?, cell("pnodeid")?);
    if node.is_empty() || id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let utc = cell("datetimebeginningutc")?;
    let start = slashed(utc).or_else(|| micros(utc).filter(|_| utc.contains(['T', ' '])))?;
    let local = cell("datetimebeginningept").unwrap_or_default();
    if !local.is_empty() && slashed(local).or_else(|| wall(local))? != on_the_wall(start, eastern)? {
        return None;
    }
    let price = at_scale_8(cell("totallmp")?)?;
    let component = |name: &str| match cell(name) {
        None => Some(None),
        Some(text) if is_nothing(text) => Some(None),
        Some(text) => at_scale_8(text).map(Some),
    };
    let (congestion, loss) = (component("congestionprice")?, component("marginallossprice")?);
    component("systemenergyprice")?;
    if let (None, Some(congestion), Some(loss)) = (cell("systemenergyprice"), congestion, loss)
        && !has_energy(price, congestion, loss)
    {
        return None;
    }
    let has_own_name = |kind: &&str| ["HUB", "ZONE", "INTERFACE"].contains(&kind.to_uppercase().as_str());
    Some(Row {
        // Other names are cut short, and several nodes may have the same.
        key: match cell("type").filter(has_own_name) {
            Some(_) => node.to_owned(),
            None => format!("{node}.{id}"),
        },
        start,
        price,
        version: Some(version(cell("versionnbr"), cell("rowiscurrent"))?),
    })
}

fn version(number: Option<&str>, is_current: Option<&str>) -> Option<String> {
    if number.is_none() && is_current.is_none() {
        return Some("unverified".to_owned());
    }
    let mut version = "verified".to_owned();
    if let Some(number) = number {
        version.push_str(&format!(".{}", number.parse::<u32>().ok()?));
    }
    match is_current.map(str::to_lowercase).as_deref() {
        None | Some("true" | "1" | "yes") => {}
        Some("false" | "0" | "no") => version.push_str(".superseded"),
        _ => return None,
    }
    Some(version)
}

/// The local time of an instant, as microseconds since 1970 of a clock that shows UTC.
fn on_the_wall(instant: i64, zone: &TimeZone) -> Option<i64> {
    let local = zone.to_datetime(Timestamp::from_microsecond(instant).ok()?);
    let shown = local.to_zoned(TimeZone::UTC).ok()?;
    Some(shown.timestamp().as_microsecond())
}
