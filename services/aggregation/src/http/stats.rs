//! The fields of `/stats`: counters since the start of the process, and windows in memory.

use domain::Interval;
use serde_json::{Map, Value, json};

use crate::metrics::RestateTotals;
use crate::view::Views;

/// Fields of the first stage.
pub fn of_stream(views: &Views) -> Map<String, Value> {
    let (totals, windows) = (views.totals(), views.windows());
    let open: u64 = windows.iter().map(|count| count.open).sum();
    let of_intervals = Interval::ALL
        .into_iter()
        .zip(windows)
        .zip(totals.bars.into_iter().zip(totals.revisions));
    let by_interval: Map<String, Value> = of_intervals
        .map(|((interval, windows), (bars, revisions))| {
            let counts = json!({"bars_generated": bars, "revisions": revisions, "windows_open": windows.open, "windows_closed": windows.closed});
            (interval.name().to_owned(), counts)
        })
        .collect();
    let fields = [
        ("bars_generated", json!(totals.bars.iter().sum::<u64>())),
        ("active_windows", json!(open)),
        ("intervals", by_interval.into()),
        ("late_ticks", json!(totals.late)),
        ("closings_by_table", json!(totals.closings_by_table)),
        ("duplicates_refused", json!(totals.duplicates)),
        ("checkpoints", json!(totals.checkpoints)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Fields of the second stage.
pub fn of_restate(totals: &RestateTotals) -> Map<String, Value> {
    let [windows, not_restated, waiting] = totals.counts();
    [
        ("windows_restated", windows),
        ("windows_not_restated", not_restated),
        ("windows_to_restate", waiting),
    ]
    .into_iter()
    .map(|(name, count)| (name.to_owned(), json!(count)))
    .collect()
}
