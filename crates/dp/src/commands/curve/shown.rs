//! A curve as text: its points, the quotes that are not points, the rows that were rejected, and a chart.

use curves::{CurveSnapshot, SnapshotInput, SnapshotPoint, State};
use ops::present::table;

use crate::cells::shortened;
use crate::curve_text::{chart_of, name};

/// Rejected rows that are written out.
const SHOWN: usize = 8;
/// Characters of a list of contracts.
const LISTED: usize = 30;
/// Width of the longest reason of a rejected row.
const REASON: usize = 68;

pub(super) fn text(snapshot: &CurveSnapshot, rejected: &[String]) -> String {
    let holds = |input: &&SnapshotInput| matches!(input.state, State::Repriced | State::Consistent);
    let held = snapshot.inputs.iter().filter(holds).count();
    let mut parts = vec![format!(
        "{} on {}, {}: {held} of {} quotes hold, hours of {}",
        snapshot.curve_id,
        snapshot.day,
        snapshot.method.name(),
        snapshot.inputs.len(),
        snapshot.market
    )];
    parts.push(points(snapshot));
    parts.extend(chart_of(snapshot));
    parts.extend(quotes(snapshot));
    parts.extend(contradictions(snapshot));
    if !rejected.is_empty() {
        let listed = rejected
            .iter()
            .take(SHOWN)
            .map(|row| format!("  {}", shortened(row, REASON)));
        let more = rejected.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("  and {more} more (--json)"));
        let lines: Vec<String> = listed.chain(more).collect();
        parts.push(format!("{} rows rejected:\n{}", rejected.len(), lines.join("\n")));
    }
    parts.join("\n")
}

fn points(snapshot: &CurveSnapshot) -> String {
    let row = |point: &SnapshotPoint| {
        let quote = snapshot.inputs.iter().find(|input| is_of(input, point));
        vec![
            point.contract.clone(),
            point.block.name().to_owned(),
            name(&point.method),
            price(point.price),
            quote.map_or_else(String::new, residual),
        ]
    };
    let headers = ["contract", "block", "from", "price", "residual"];
    table(&headers, 3, snapshot.points.iter().map(row))
}

fn is_of(input: &SnapshotInput, point: &SnapshotPoint) -> bool {
    input.curve_price.is_some() && (&input.contract, input.block) == (&point.contract, point.block)
}

/// Quotes of several months, and those that were not used.
fn quotes(snapshot: &CurveSnapshot) -> Option<String> {
    let is_point = |input: &&SnapshotInput| {
        input.state == State::Repriced && snapshot.points.iter().any(|point| is_of(input, point))
    };
    let others: Vec<&SnapshotInput> = snapshot.inputs.iter().filter(|input| !is_point(input)).collect();
    let row = |input: &&SnapshotInput| {
        vec![
            input.contract.clone(),
            input.block.name().to_owned(),
            name(&input.state),
            shortened(&input.source, LISTED),
            price(input.price),
            input.curve_price.map_or_else(String::new, price),
            residual(input),
        ]
    };
    let headers = ["quote", "block", "state", "source", "price", "curve", "residual"];
    (!others.is_empty()).then(|| table(&headers, 4, others.iter().map(row)))
}

pub(super) fn contradictions(snapshot: &CurveSnapshot) -> Vec<String> {
    let wrong = snapshot
        .inputs
        .iter()
        .filter(|input| input.state == State::Contradictory);
    wrong
        .map(|input| {
            format!(
                "{} {} contradicts {}",
                input.contract,
                input.block.name(),
                shortened(&input.implied_by.join(", "), REASON - LISTED)
            )
        })
        .collect()
}

fn price(value: f64) -> String {
    format!("{value:.4}")
}

pub(super) fn residual(input: &SnapshotInput) -> String {
    input
        .residual
        .map_or_else(String::new, |residual| format!("{residual:.4}"))
}
