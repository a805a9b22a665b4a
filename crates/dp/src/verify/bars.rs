//! Bars against a recomputation in SQL from the enriched ticks less the late ones.
//!
//! Invariant: every number of the newest version of a bar, its edges and the offset of its last tick included, follows
//! from the rows of `enriched_ticks` and `late_ticks`. All arithmetic is on exact decimals and 256-bit integers.
//! Memory in the server is bounded by looking at a part of the instruments at a time.

use anyhow::Context as _;
use domain::Interval;
use serde_json::Value;
use service::Names;
use stores::ClickHouse;

use super::gaps::{Excuse, Gaps};
use super::report::{Check, Differences, NAMED};
use super::tables::{named, number};

/// What is compared, in the order of the texts.
const VALUES: [&str; 13] = [
    "open",
    "high",
    "low",
    "close",
    "volume",
    "turnover",
    "vwap",
    "trade_count",
    "open_time",
    "first_tick",
    "close_time",
    "last_tick",
    "last_offset",
];

/// Turnover / volume at scale 8, half to even, as `domain::Turnover::vwap` has it; volumes are never negative.
const VWAP: &str = "abs(toInt256(reinterpretAsInt128(turnover_))) AS t_, \
    greatest(toInt256(reinterpretAsInt128(volume_)), toInt256(1)) AS v_, intDiv(t_, v_) AS q_, t_ % v_ AS r_, \
    q_ + (r_ * 2 > v_ OR (r_ * 2 = v_ AND q_ % 2 = 1)) AS rounded_, \
    if(volume_ = 0 OR rounded_ >= toInt256('1000000000000000000'), '\\\\N', \
    toString(if(turnover_ < 0, -rounded_, rounded_))) AS vwap_";

/// Compares all bars of these intervals.
///
/// # Errors
/// ClickHouse does not answer, or a table is missing.
pub async fn check(
    clickhouse: &ClickHouse,
    names: &Names,
    gaps: &Gaps,
    intervals: &[Interval],
    parts: u64,
) -> anyhow::Result<Check> {
    let (mut expected, mut found, mut excused) = (0, 0, 0);
    let mut differences = Differences::default();
    let passed = Passed {
        ticks: gaps.condition(&names.group("aggregation"), &names.enriched),
        results: gaps.excuse(&[
            (
                names.writer_group("enrichment"),
                &names.enriched,
                intervals.len() as u64,
            ),
            (names.writer_group("aggregation"), &names.late, intervals.len() as u64),
            (names.writer_group("aggregation"), &names.bars, 1),
        ]),
    };
    for part in 0..parts {
        let sql = sql(names, intervals, &is_in(part, parts), &passed);
        let rows = clickhouse.query_json(&sql).await.context("recompute bars")?;
        let row = rows.first().context("ClickHouse answered nothing about bars")?;
        expected += number::<u64>(row, "expected")?;
        found += number::<u64>(row, "found")?;
        excused += number::<u64>(row, "excused")?;
        let examples = row.get("examples").and_then(Value::as_array).into_iter().flatten();
        differences.merge(Differences {
            total: number(row, "differing")?,
            named: examples
                .filter_map(Value::as_array)
                .filter_map(|example| name_one(example))
                .collect(),
        });
    }
    if excused > passed.results.results {
        differences.add(format!(
            "{excused} bars of partitions with accepted gaps differ, and only {} records were passed",
            passed.results.results
        ));
    }
    Ok(Check::new(
        "bars: newest versions by ticks less late ones",
        expected,
        found,
        differences,
    ))
}

/// One of so many parts of the instruments.
fn is_in(part: u64, parts: u64) -> String {
    format!("cityHash64(tenant_id, instrument_id) % {parts} = {part}")
}

/// Bars that say two things under one version, which must have one content whoever wrote it.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn check_versions(clickhouse: &ClickHouse, names: &Names, parts: u64) -> anyhow::Result<Differences> {
    let mut differences = Differences::default();
    for part in 0..parts {
        let sql = format!(
            "SELECT concat(tenant_id, '/', instrument_id, '/', interval, '/', toString(window_start), ': ', \
             toString(uniqExact(content)), ' contents of version ', toString(version)) AS row, toString(count() OVER ()) AS total \
             FROM (SELECT *, (open, high, low, close, volume, turnover, ifNull(toString(vwap), ''), trade_count, revision) AS content \
             FROM {} WHERE {}) GROUP BY tenant_id, instrument_id, interval, window_start, version \
             HAVING uniqExact(content) > 1 LIMIT {NAMED}",
            names.table("bars"),
            is_in(part, parts),
        );
        differences.merge(
            named(clickhouse, &sql, str::to_owned)
                .await
                .context("compare versions of bars")?,
        );
    }
    Ok(differences)
}

/// What accepted gaps change in this comparison.
struct Passed {
    /// Ticks that aggregation has passed: no bar holds them.
    ticks: String,
    /// Bars whose ticks, late ticks or last version a writer has passed: their difference is expected.
    results: Excuse,
}

fn sql(names: &Names, intervals: &[Interval], part: &str, passed: &Passed) -> String {
    let list = |of: fn(&Interval) -> String| intervals.iter().map(of).collect::<Vec<_>>().join(", ");
    let (labels, lengths) = (
        list(|interval| format!("'{}'", interval.name())),
        list(|interval| interval.micros().to_string()),
    );
    let (enriched, late, bars) = (
        names.table("enriched_ticks"),
        names.table("late_ticks"),
        names.table("bars"),
    );
    // A missing sequence sorts before every given one.
    let edge = "(toUnixTimestamp64Micro(timestamp), isNotNull(sequence), ifNull(sequence, 0), toString(feed), raw_partition, raw_offset, raw_index)";
    let edge_texts = |edge: &str| {
        format!(
            "toString({edge}.1), concat({edge}.4, '/', toString({edge}.5), '/', toString({edge}.6), '/', toString({edge}.7))"
        )
    };
    let place = |edge: &str| {
        format!(
            "concat({edge}_feed, '/', toString({edge}_partition), '/', toString({edge}_offset), '/', toString({edge}_index))"
        )
    };
    let wanted = format!(
        "SELECT toString(tenant_id) AS tenant, toString(instrument_id) AS instrument, label, start, src_ AS src, 1 AS is_wanted, \
         [toString(open_), toString(high_), toString(low_), toString(close_), toString(volume_), toString(turnover_), vwap_, \
         toString(count_), {first}, {last}, toString(last_offset_)] AS content FROM (SELECT *, {VWAP} FROM (\
         SELECT tenant_id, instrument_id, kept.1 AS label, micros - positiveModulo(micros, kept.2) AS start, \
         argMin(price, {edge}) AS open_, max(price) AS high_, min(price) AS low_, argMax(price, {edge}) AS close_, \
         sum(toDecimal128(ifNull(volume, 0), 8)) AS volume_, \
         sum(toDecimal128(price, 8) * toDecimal128(ifNull(volume, 0), 8)) AS turnover_, \
         count() AS count_, min({edge}) AS first_, max({edge}) AS last_, max(src_offset) AS last_offset_, any(src_partition) AS src_ FROM (\
         SELECT *, toUnixTimestamp64Micro(timestamp) AS micros FROM {enriched} WHERE {part}{passed}) AS ticks \
         LEFT JOIN (SELECT feed, raw_partition, raw_offset, raw_index, groupUniqArrayArray(intervals) AS missed FROM {late} \
         GROUP BY feed, raw_partition, raw_offset, raw_index) AS late USING (feed, raw_partition, raw_offset, raw_index) \
         ARRAY JOIN arrayFilter(i -> NOT has(missed, i.1), arrayZip([{labels}], [{lengths}])) AS kept \
         GROUP BY tenant_id, instrument_id, label, start))",
        passed = passed.ticks,
        first = edge_texts("first_"),
        last = edge_texts("last_"),
    );
    let newest = format!(
        "SELECT toString(tenant_id) AS tenant, toString(instrument_id) AS instrument, toString(interval) AS label, \
         toUnixTimestamp64Micro(window_start) AS start, src_partition AS src, 0 AS is_wanted, \
         [toString(open), toString(high), toString(low), toString(close), toString(volume), toString(turnover), \
         ifNull(toString(reinterpretAsInt64(vwap)), '\\\\N'), toString(trade_count), \
         toString(toUnixTimestamp64Micro(open_time)), {first}, toString(toUnixTimestamp64Micro(close_time)), {last}, \
         toString(intDiv(version, 2))] AS content FROM (\
         SELECT * FROM {bars} WHERE {part} AND interval IN ({labels}) \
         ORDER BY version DESC LIMIT 1 BY tenant_id, instrument_id, interval, window_start)",
        first = place("first"),
        last = place("last"),
    );
    let partitions: Vec<String> = passed.results.partitions.iter().map(i32::to_string).collect();
    // A literal of an empty array has no type.
    let partitions = format!("CAST([{}], 'Array(Int32)')", partitions.join(", "));
    format!(
        "SELECT toString(countIf(notEmpty(wanted) AND NOT excuse)) AS expected, \
         toString(countIf(notEmpty(newest) AND NOT excuse)) AS found, toString(countIf(excuse)) AS excused, \
         toString(countIf(wanted != newest AND NOT excuse)) AS differing, \
         groupArrayIf({NAMED})([[tenant, instrument, label, toString(fromUnixTimestamp64Micro(start, 'UTC'))], wanted, newest], \
         wanted != newest AND NOT excuse) AS examples FROM (\
         SELECT tenant, instrument, label, start, anyIf(content, is_wanted = 1) AS wanted, anyIf(content, is_wanted = 0) AS newest, \
         wanted != newest AND has({partitions}, any(src)) AS excuse \
         FROM ({wanted} UNION ALL {newest}) GROUP BY tenant, instrument, label, start)"
    )
}

fn name_one(example: &[Value]) -> Option<String> {
    let texts =
        |index: usize| -> Option<Vec<&str>> { example.get(index)?.as_array()?.iter().map(Value::as_str).collect() };
    let (key, wanted, newest) = (texts(0)?.join("/"), texts(1)?, texts(2)?);
    Some(match (wanted.is_empty(), newest.is_empty()) {
        (false, true) => format!("bar {key} is missing: {}", all(&wanted)),
        (true, false) => format!("bar {key} is there, and no tick lies in it: {}", all(&newest)),
        _ => {
            let changed: Vec<String> = VALUES
                .iter()
                .zip(wanted.iter().zip(&newest))
                .filter(|(_, (wanted, newest))| wanted != newest)
                .map(|(name, (wanted, newest))| {
                    format!("{name} is {} instead of {}", shown(name, newest), shown(name, wanted))
                })
                .collect();
            format!("bar {key} differs: {}", changed.join(", "))
        }
    })
}

fn all(values: &[&str]) -> String {
    let named: Vec<String> = VALUES
        .iter()
        .zip(values)
        .take(8)
        .map(|(name, value)| format!("{name} {}", shown(name, value)))
        .collect();
    named.join(", ")
}

// The VWAP is compared as an integer at scale 8.
fn shown(name: &str, value: &str) -> String {
    let unscaled = (name == "vwap").then(|| value.parse::<i64>().ok()).flatten();
    match unscaled.and_then(|unscaled| domain::Decimal::from_unscaled(unscaled).ok()) {
        Some(decimal) => decimal.to_string(),
        None if value == "\\N" => "null".to_owned(),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example(wanted: Value, newest: Value) -> Option<String> {
        name_one(&[json!(["t", "i", "1m", "2026"]), wanted, newest])
    }

    #[test]
    fn a_bar_that_differs_is_named_with_both_values() {
        let wanted = json!([
            "1",
            "2",
            "1",
            "2",
            "3",
            "4",
            "155000000",
            "2",
            "0",
            "f/0/1/0",
            "1",
            "f/0/2/0",
            "9"
        ]);
        let mut newest = wanted.clone();
        newest[1] = json!("5");
        newest[6] = json!("\\N");
        assert_eq!(
            example(wanted.clone(), newest).as_deref(),
            Some("bar t/i/1m/2026 differs: high is 5 instead of 2, vwap is null instead of 1.55")
        );
        assert!(
            example(wanted.clone(), json!([]))
                .is_some_and(|text| text.starts_with("bar t/i/1m/2026 is missing: open 1, high 2"))
        );
        assert!(example(json!([]), wanted).is_some_and(|text| text.contains("no tick lies in it")));
    }
}
