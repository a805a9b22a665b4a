//! A curve of the pipeline as text: a chart, its points, and its quotes with their numbers and residuals.

use curves::{SnapshotInput, SnapshotPoint, State};
use ops::present::{table, wrapped};
use reconcile::stored_curve::StoredCurve;

use super::shown::{contradictions, residual};
use crate::cells::shortened;
use crate::curve_text::{chart_of, heading, name, price};

/// Instruments that are no quotes, and are written out.
const LEFT_OUT: usize = 4;
/// Width of a reason.
const REASON: usize = 76;
/// Width of a note.
const WIDTH: usize = 80;
/// Width of the numbers of quotes.
const NUMBERS: usize = 6;

pub(super) fn text(shown: &StoredCurve) -> String {
    let snapshot = &shown.snapshot;
    let mut parts = heading(shown);
    parts.extend(shown.note.into_iter().flat_map(|note| wrapped(note, WIDTH)));
    parts.extend(chart_of(snapshot));
    parts.push(points(shown));
    parts.push(quotes(shown));
    parts.extend(contradictions(snapshot));
    if !shown.left_out.is_empty() {
        parts.push(format!("{} instruments are not quotes:", shown.left_out.len()));
        let first = shown.left_out.iter().take(LEFT_OUT);
        parts.extend(first.map(|reason| format!("  {}", shortened(reason, REASON))));
    }
    parts.join("\n")
}

fn points(shown: &StoredCurve) -> String {
    let row = |point: &SnapshotPoint| {
        vec![
            date(&point.delivery_start),
            date(&point.delivery_end),
            point.block.name().to_owned(),
            name(&point.method),
            shortened(&numbers(shown, point), NUMBERS),
            price(point.price),
            format!("{:.1}", point.confidence),
        ]
    };
    let headers = ["from", "until", "block", "method", "quotes", "price", "sure"];
    table(&headers, 5, shown.snapshot.points.iter().map(row))
}

/// The numbers of the quotes that a point is made from.
fn numbers(shown: &StoredCurve, point: &SnapshotPoint) -> String {
    let inputs = shown.snapshot.inputs.iter().zip(1..);
    let of_point = inputs.filter(|(input, _)| input.state == State::Repriced && point.sources.contains(&input.source));
    let numbers: Vec<String> = of_point.map(|(_, number): (_, usize)| number.to_string()).collect();
    numbers.join(",")
}

fn quotes(shown: &StoredCurve) -> String {
    let row = |(input, number): (&SnapshotInput, usize)| {
        vec![
            number.to_string(),
            input.contract.clone(),
            input.block.name().to_owned(),
            name(&input.state),
            price(input.price),
            input.curve_price.map_or_else(String::new, price),
            residual(input),
        ]
    };
    let headers = ["no", "quote", "block", "state", "price", "curve", "residual"];
    table(&headers, 4, shown.snapshot.inputs.iter().zip(1..).map(row))
}

/// The local date of a time with its zone.
fn date(time: &str) -> String {
    time.chars().take(10).collect()
}
