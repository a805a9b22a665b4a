//! A rehearsal as text, with lines of at most 80 characters unless a name is longer. Pure.

use ops::present::{printable, wrapped};
use serde_json::Value;

use super::forms::{Arrival, Published, TickForms, TickWindow};
use super::{Outcome, Rehearsal};
use crate::explain::content::Content;

const COLUMNS: usize = 80;
/// Hexadecimal digits of a record that are shown: the frame, and the beginning of the datum.
const DIGITS: usize = 40;

/// The text.
pub fn rehearsal(rehearsal: &Rehearsal) -> String {
    let mut lines = Vec::new();
    of_message(&mut lines, rehearsal);
    for tick in &rehearsal.shown {
        lines.push(String::new());
        of_tick(&mut lines, tick);
    }
    let more = rehearsal.ticks.saturating_sub(rehearsal.shown.len() as u64);
    if more > 0 {
        lines.push(String::new());
        lines.push(format!("{more} more tick(s); --rows shows more"));
    }
    if !rehearsal.missing.is_empty() {
        lines.push(String::new());
        lines.push("missing: enrichment looks these up in PostgreSQL, which was not asked".to_owned());
        for lookup in &rehearsal.missing {
            lines.extend(block(2, &format!("{}: {}", lookup.table, lookup.adds)));
        }
    }
    let notes = rehearsal.notes.iter();
    lines.extend(notes.flat_map(|note| block(0, &format!("note: {note}"))));
    lines.join("\n")
}

fn of_message(lines: &mut Vec<String>, rehearsal: &Rehearsal) {
    let what = match &rehearsal.format {
        Some(format) => format!("a document {format}"),
        None => "one tick".to_owned(),
    };
    lines.extend(block(
        0,
        &format!(
            "{} bytes, read as {what}, as if appended to {} at {}",
            rehearsal.bytes, rehearsal.topic, rehearsal.appended_at
        ),
    ));
    lines.push("a rehearsal: nothing is published".to_owned());
    let outcome = match rehearsal.outcome {
        Outcome::Accepted => format!("accepted: {} tick(s), nothing is rejected", rehearsal.ticks),
        Outcome::PartlyRejected => format!(
            "accepted: {} tick(s), except {} rejected row(s): {}",
            rehearsal.ticks, rehearsal.rejected, rehearsal.rejected_rows
        ),
        Outcome::Rejected => format!("REJECTED, a dead letter: {} error(s)", rehearsal.rejected),
    };
    lines.extend(block(0, &outcome));
    for error in &rehearsal.errors {
        let row = error.row.map_or_else(String::new, |row| format!("row {row}: "));
        lines.extend(block(2, &format!("{row}{}: {}", error.code, error.message)));
    }
    let more = rehearsal.rejected.saturating_sub(rehearsal.errors.len() as u64);
    if more > 0 {
        lines.push(format!("  {more} more; --rows shows more"));
    }
    if !rehearsal.quality_flags.is_empty() {
        let flags = rehearsal.quality_flags.iter();
        let flags: Vec<String> = flags.map(|(flag, ticks)| format!("{flag} {ticks}")).collect();
        lines.extend(block(0, &format!("ticks by quality flag: {}", flags.join(", "))));
    }
}

fn of_tick(lines: &mut Vec<String>, tick: &TickForms) {
    let of = |name: &str| shown(&tick.normalized, name);
    lines.extend(block(
        0,
        &format!(
            "tick {}: {} of market {}, tenant {}",
            tick.row,
            of("instrument_id"),
            of("market"),
            of("tenant_id")
        ),
    ));
    lines.push("  normalization".to_owned());
    let product = format!(
        "{} {} per {}, volume {}, at {}",
        of("price"),
        of("currency"),
        of("unit"),
        of("volume"),
        of("event_time")
    );
    lines.extend(block(4, &product));
    let identity = format!(
        "product {} ({}), event {}, flags {}",
        of("product"),
        of("kind"),
        of("source_event_id"),
        listed(&tick.normalized, "quality_flags")
    );
    lines.extend(block(4, &identity));
    of_record(lines, &tick.normalized_record);
    lines.push("  enrichment".to_owned());
    of_enrichment(lines, &tick.enrichment);
    of_record(lines, &tick.enriched_record);
    lines.push("  aggregation".to_owned());
    of_windows(lines, &tick.windows);
    lines.push("  projection".to_owned());
    lines.extend(block(4, &format!("key in Redis: {}", tick.price.redis_key)));
    if let Some(json) = &tick.price.json {
        let content = Content::new(json.get().as_bytes(), usize::MAX);
        let json = content.lines(COLUMNS - 4).into_iter();
        lines.extend(json.map(|line| format!("    {}", printable(&line))));
    }
}

fn of_record(lines: &mut Vec<String>, record: &Published) {
    let words = format!(
        "Avro record {}, {} bytes, key {}, partition {}",
        record.schema, record.size, record.key, record.partition
    );
    lines.extend(block(4, &words));
    let digits = record.hex.get(..DIGITS).unwrap_or(&record.hex);
    lines.push(format!("    0x{digits}… (--json has all)"));
}

fn of_enrichment(lines: &mut Vec<String>, added: &Value) {
    let of = |name: &str| shown(added, name);
    let low = match added.get("low_confidence_classification") {
        Some(Value::Bool(true)) => ", flagged as low",
        _ => "",
    };
    let words = format!(
        "commodity {}, region {}, tier {}; {}, confidence {}{low}",
        of("commodity"),
        of("region"),
        of("product_tier"),
        of("classification_method"),
        of("classification_confidence")
    );
    lines.extend(block(4, &words));
}

fn of_windows(lines: &mut Vec<String>, windows: &[TickWindow]) {
    let Some(first) = windows.first() else {
        lines.push("    no bar: its interval is longer than every configured one".to_owned());
        return;
    };
    for window in windows {
        let arrival = match window.arrival {
            Arrival::Open => "open",
            Arrival::Closed => "closed: a revision",
            Arrival::Forgotten => "from the table",
        };
        let (interval, start, end) = (window.interval, window.start, window.end);
        lines.push(format!("    {interval:<4}{start} to {end}, {arrival}"));
        if let Some([start, end]) = &window.market_time {
            lines.push(format!("        {start} to {end} there"));
        }
        let flags = listed(&window.bar, "flags");
        if !flags.is_empty() {
            lines.push(format!("        flags of its bar: {flags}"));
        }
    }
    let of = |name: &str| shown(&first.bar, name);
    let bar = format!(
        "each bar of this tick alone: open {}, high {}, low {}, close {}, volume {}, turnover {}, vwap {}, twap {}, {} tick",
        of("open"),
        of("high"),
        of("low"),
        of("close"),
        of("volume"),
        of("turnover"),
        of("vwap"),
        of("twap"),
        of("trade_count")
    );
    lines.extend(block(4, &bar));
}

/// A field as text; `none` if it has no value.
fn shown(of: &Value, name: &str) -> String {
    match of.get(name) {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The texts of a list.
fn listed(of: &Value, name: &str) -> String {
    let texts = of.get(name).and_then(Value::as_array);
    let texts: Vec<&str> = texts.into_iter().flatten().filter_map(Value::as_str).collect();
    texts.join(", ")
}

fn block(indent: usize, words: &str) -> Vec<String> {
    let lines = wrapped(&printable(words), COLUMNS - indent).into_iter();
    lines.map(|line| format!("{}{line}", " ".repeat(indent))).collect()
}
