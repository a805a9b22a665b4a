//! A curve as text, as far as several commands show it: its heading, its chart, and a short table of its months.

mod chart;

use curves::{Block, CurveSnapshot, SnapshotPoint};
use ops::present::{iso, table};
use reconcile::stored_curve::StoredCurve;
use serde::Serialize;

/// Most months of the short table: the balance of the month and a year.
const MONTHS: usize = 13;
/// Prices from here on have two decimals, so that columns keep their width.
const LARGE: f64 = 999.0;

/// What the curve is, and of when.
pub fn heading(curve: &StoredCurve) -> Vec<String> {
    let snapshot = &curve.snapshot;
    vec![
        format!("{} ({})", snapshot.curve_id, curve.curve_name),
        format!("as known at {}", iso(snapshot.as_of)),
        format!(
            "settlements of {}, {}, hours of {}",
            snapshot.day,
            snapshot.method.name(),
            snapshot.market
        ),
    ]
}

/// The points that the chart shows: the flat ones if there are some, otherwise those of the block that has prices.
fn drawn(snapshot: &CurveSnapshot) -> Vec<&SnapshotPoint> {
    let Some(first) = snapshot.points.first() else {
        return Vec::new();
    };
    let has_flat = snapshot.points.iter().any(|point| point.block == Block::Flat);
    let block = if has_flat { Block::Flat } else { first.block };
    snapshot.points.iter().filter(|point| point.block == block).collect()
}

/// The chart of its prices; `None` for less than two.
pub fn chart_of(snapshot: &CurveSnapshot) -> Option<String> {
    let drawn = drawn(snapshot);
    let prices: Vec<f64> = drawn.iter().map(|point| point.price).collect();
    let ends = (drawn.first()?.contract.as_str(), drawn.last()?.contract.as_str());
    chart::drawn(&prices, ends)
}

/// The heading, the chart and the first months; `more` is the command that shows the rest.
pub fn short(curve: &StoredCurve, more: &str) -> String {
    let snapshot = &curve.snapshot;
    let months = drawn(snapshot);
    let row = |point: &&SnapshotPoint| {
        vec![
            point.contract.clone(),
            point.block.name().to_owned(),
            name(&point.method),
            price(point.price),
            format!("{:.1}", point.confidence),
        ]
    };
    let headers = ["month", "block", "method", "price", "sure"];
    let mut parts = heading(curve);
    parts.extend(chart_of(snapshot));
    parts.push(table(&headers, 3, months.iter().take(MONTHS).map(row)));
    let others = snapshot.points.len() - months.len().min(MONTHS);
    parts.push(match others {
        0 => format!("{more}: with its quotes"),
        _ => format!("{more}: with its quotes and {others} more points"),
    });
    parts.join("\n")
}

/// A price, in a column.
pub fn price(value: f64) -> String {
    match value.abs() < LARGE {
        true => format!("{value:.4}"),
        false => format!("{value:.2}"),
    }
}

/// The public name of a value, as `--json` has it.
pub fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use curves::Basis;
    use reconcile::stored_curve::fixtures::example;

    use super::*;

    #[test]
    fn a_short_curve_has_months_with_prices_and_methods_within_80_columns() {
        let text = short(&example(None), "dp curve show P");
        for expected in [
            "P (PJM)",
            "settlements of 2026-11-25, flat, hours of PJM",
            "┤",
            "2026-12",
            "40.1235",
            "quoted",
            "dp curve show P: ",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains("peak"), "{text}");
    }

    #[test]
    fn a_long_curve_shows_a_year_and_counts_the_rest() {
        let mut curve = example(None);
        let mut points = curve.snapshot.points.iter();
        let quoted = points.find(|point| point.method == Basis::Quoted).cloned();
        curve.snapshot.points = quoted.into_iter().cycle().take(60).collect();
        let text = short(&curve, "dp curve show P");
        assert_eq!(text.matches("quoted").count(), MONTHS, "{text}");
        assert!(text.ends_with("and 47 more points"), "{text}");
    }
}
