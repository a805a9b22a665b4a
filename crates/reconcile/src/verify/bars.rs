//! Compares bars with a recomputation in SQL from all ticks of their windows ([`bars_sql`](super::bars_sql)).
//!
//! Invariant: every value of the newest version of a bar follows from the rows of `enriched_ticks`, whether the stream or
//! `restate` computed the bar. This includes first and last tick, the offset of the last tick, `revision`, `cause` and `closed`.
//! Each query covers a part of the instruments, which bounds the memory of the server.

use std::collections::BTreeMap;

use anyhow::Context as _;
use domain::Interval;
use serde_json::{Map, Value};
use service::Names;
use service::writer::tables::BARS;
use stores::ClickHouse;

pub use super::bars_sql::Expired;
use super::bars_sql::{Bounds, Question};
use super::cut::Cut;
use super::gaps::{Excuse, Gaps};
use super::ranges::Range;
use super::report::{Check, Differences, NAMED, Subject, Wrong, WrongRow};
use super::tables::named;
use super::versions;
use crate::products::Products;
use ops::rows::number;

/// The compared values, in the order of the query.
const VALUES: [&str; 19] = [
    "open",
    "high",
    "low",
    "close",
    "volume",
    "turnover",
    "vwap",
    "twap",
    "price_seconds",
    "priced_seconds",
    "trade_count",
    "open_time",
    "first_tick",
    "close_time",
    "last_tick",
    "last_offset",
    "revision",
    "cause",
    "closed",
];

/// The bars to compare, and the rules for them.
pub struct Bars<'a> {
    /// The client.
    pub clickhouse: &'a ClickHouse,
    /// Names of the tables.
    pub names: &'a Names,
    /// Accepted gaps.
    pub gaps: &'a Gaps,
    /// How far ticks are compared.
    pub cut: &'a Cut,
    /// When windows close.
    pub products: &'a Products,
    /// Intervals of the bars.
    pub intervals: &'a [Interval],
    /// Number of queries: each covers a part of the instruments.
    pub parts: u64,
    /// Partitions of `enriched_ticks` that have expired rows.
    pub expired: &'a [Expired],
    /// Wrong bars that are looked at one by one.
    pub named: usize,
}

impl Bars<'_> {
    /// Compares the bars. The second value are notes on bars that are not compared. `ends` reads the ranges of the enriched topic.
    ///
    /// # Errors
    /// A server does not answer, or a table is missing.
    pub async fn check(
        &self,
        ends: impl AsyncFn() -> anyhow::Result<Vec<Range>>,
    ) -> anyhow::Result<(Check, Vec<String>)> {
        let mut found = Found::default();
        for part in 0..self.parts {
            let mut bounds = Bounds::of(self.cut.of_topic(&self.names.enriched));
            let mut of_part = self.part(part, &bounds).await?;
            // A bar of a tick that the log does not have was not changed by one that arrived.
            if !of_part.last.is_empty() && bounds.tightened(&of_part.last, &ends().await?) {
                of_part = self.part(part, &bounds).await?;
            }
            found.add(of_part);
        }
        let mut differences = found.differences;
        let excuse = self.excuse();
        if found.excused > excuse.results {
            differences.add(format!(
                "{} bars of partitions with accepted gaps differ, but the gaps explain at most {}",
                found.excused, excuse.results
            ));
        }
        let check = Check::new(
            "bars: newest versions match their ticks",
            found.expected,
            found.found,
            differences,
        );
        let notes = cannot_be_restated(&found.expired).into_iter();
        let notes = notes.chain(versions::moved("bar(s)", found.moved)).collect();
        Ok((check.about(Subject::Versions(BARS.name)), notes))
    }

    /// Compares the bars of a part of the instruments.
    async fn part(&self, part: u64, bounds: &Bounds) -> anyhow::Result<Found> {
        let enriched = &self.names.enriched;
        let passed = self.gaps.condition(&self.names.group("aggregation"), enriched) + &self.cut.condition(enriched);
        let question = Question {
            names: self.names,
            products: self.products,
            intervals: self.intervals,
            part: is_in(part, self.parts),
            passed: &passed,
            excused: self.excuse().partitions.iter().copied().collect(),
            expired: self.expired,
            bounds,
            named: self.named,
        };
        let rows = self.clickhouse.query_json(&question.sql()).await;
        let rows = rows.context("recompute bars")?;
        Found::read(rows.first().context("ClickHouse returned no result for the bars")?)
    }

    /// Bars that may differ because a consumer has passed their ticks or their last version.
    fn excuse(&self) -> Excuse {
        let (names, bars) = (self.names, self.intervals.len() as u64);
        self.gaps.excuse(&[
            (names.writer_group("enrichment"), &names.enriched, bars),
            (names.restate_group("aggregation"), &names.late, bars),
            (names.writer_group("aggregation"), &names.bars, 1),
        ])
    }
}

/// What the query says of a part of the bars.
#[derive(Debug, Default)]
struct Found {
    expected: u64,
    found: u64,
    excused: u64,
    differences: Differences,
    expired: Differences,
    /// Bars that have changed since the cut.
    moved: u64,
    /// The last offset of those, by partition.
    last: BTreeMap<i32, i64>,
}

impl Found {
    fn read(row: &Map<String, Value>) -> anyhow::Result<Found> {
        let examples = |column| row.get(column).and_then(Value::as_array).into_iter().flatten();
        let examples = |column| examples(column).filter_map(Value::as_array);
        let rows: Vec<WrongRow> = examples("examples").filter_map(|example| wrong_one(example)).collect();
        let last = examples("last").filter_map(|pair| Some((whole(pair, 0)?, whole(pair, 1)?)));
        Ok(Found {
            expected: number(row, "expected")?,
            found: number(row, "found")?,
            excused: number(row, "excused")?,
            differences: Differences {
                total: number(row, "differing")?,
                named: rows.iter().take(NAMED).map(|row| row.text.clone()).collect(),
                rows,
                ..Differences::default()
            },
            expired: Differences {
                total: number(row, "expired_bars")?,
                named: examples("expired_examples").filter_map(|key| joined(key)).collect(),
                ..Differences::default()
            },
            moved: number(row, "moved_bars")?,
            last: last.collect(),
        })
    }

    fn add(&mut self, other: Found) {
        self.expected += other.expected;
        self.found += other.found;
        self.excused += other.excused;
        self.differences.merge(other.differences);
        self.expired.merge(other.expired);
        self.moved += other.moved;
    }
}

fn whole<N: std::str::FromStr>(of: &[Value], at: usize) -> Option<N> {
    of.get(at)?.as_str()?.parse().ok()
}

fn cannot_be_restated(expired: &Differences) -> Option<String> {
    (expired.total > 0).then(|| {
        let more = expired.total - (expired.named.len() as u64).min(expired.total);
        format!(
            "{} bar(s) cannot be recomputed, because rows of their windows have expired from enriched_ticks. They are kept \
             as they are, without ticks that arrived later: {}{}",
            expired.total,
            expired.named.join(", "),
            if more > 0 { format!(", and {more} more") } else { String::new() }
        )
    })
}

/// The SQL condition for one part of the instruments.
fn is_in(part: u64, parts: u64) -> String {
    format!("cityHash64(tenant_id, instrument_id) % {parts} = {part}")
}

/// Bars with conflicting contents for one version. A version must have one content, whichever writer has written it. The cause is left
/// out, since a release without causes may have written one of its rows.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn check_versions(clickhouse: &ClickHouse, names: &Names, parts: u64) -> anyhow::Result<Differences> {
    let mut differences = Differences::default();
    for part in 0..parts {
        let sql = format!(
            "SELECT concat(tenant_id, '/', instrument_id, '/', interval, '/', toString(window_start), ': ', \
             toString(uniqExact(content)), ' different contents of version ', toString(version)) AS row, toString(count() OVER ()) AS total \
             FROM (SELECT *, (open, high, low, close, volume, turnover, ifNull(toString(vwap), ''), trade_count, revision) AS content \
             FROM {} WHERE {}) GROUP BY tenant_id, instrument_id, interval, window_start, version \
             HAVING uniqExact(content) > 1 LIMIT {NAMED}",
            names.table(BARS.name),
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

/// The place of `last_tick` in [`VALUES`].
const LAST_TICK: usize = 14;

fn wrong_one(example: &[Value]) -> Option<WrongRow> {
    let texts =
        |index: usize| -> Option<Vec<&str>> { example.get(index)?.as_array()?.iter().map(Value::as_str).collect() };
    let (key, wanted, newest) = (texts(0)?, texts(1)?, texts(2)?);
    let name = key.join("/");
    let (wrong, text) = match (wanted.is_empty(), newest.is_empty()) {
        (false, true) => (Wrong::Missing, format!("bar {name} is missing: {}", all(&wanted))),
        (true, false) => (
            Wrong::Surplus,
            format!("bar {name} exists, but its window has no tick: {}", all(&newest)),
        ),
        _ => {
            let changed: Vec<String> = VALUES
                .iter()
                .zip(wanted.iter().zip(&newest))
                .filter(|(_, (wanted, newest))| wanted != newest)
                .map(|(name, (wanted, newest))| {
                    format!("{name} is {} instead of {}", shown(name, newest), shown(name, wanted))
                })
                .collect();
            (Wrong::Different, format!("bar {name} differs: {}", changed.join(", ")))
        }
    };
    let origin = wanted.get(LAST_TICK).or_else(|| newest.get(LAST_TICK));
    Some(WrongRow {
        wrong,
        key: key.into_iter().map(str::to_owned).collect(),
        origin: origin.map_or_else(String::new, |origin| (*origin).to_owned()),
        text,
    })
}

fn joined(texts: &[Value]) -> Option<String> {
    let texts: Option<Vec<&str>> = texts.iter().map(Value::as_str).collect();
    texts.map(|texts| texts.join("/"))
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

// The averages are compared as integers at scale 8.
fn shown(name: &str, value: &str) -> String {
    let unscaled = matches!(name, "vwap" | "twap")
        .then(|| value.parse::<i64>().ok())
        .flatten();
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
        wrong_one(&[json!(["t", "i", "1m", "2026"]), wanted, newest]).map(|row| row.text)
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
            "\\N",
            "0",
            "0",
            "2",
            "0",
            "f/0/1/0",
            "1",
            "f/0/2/0",
            "9",
            "0",
            "live",
            "1"
        ]);
        let mut newest = wanted.clone();
        newest[1] = json!("5");
        newest[6] = json!("\\N");
        newest[17] = json!("late");
        newest[18] = json!("0");
        assert_eq!(
            example(wanted.clone(), newest).as_deref(),
            Some(
                "bar t/i/1m/2026 differs: high is 5 instead of 2, vwap is null instead of 1.55, cause is late instead of live, \
                 closed is 0 instead of 1"
            )
        );
        assert!(
            example(wanted.clone(), json!([]))
                .is_some_and(|text| text.starts_with("bar t/i/1m/2026 is missing: open 1, high 2"))
        );
        assert!(example(json!([]), wanted.clone()).is_some_and(|text| text.contains("its window has no tick")));
        let missing = wrong_one(&[json!(["t", "i/j", "1m", "2026"]), wanted, json!([])]);
        assert!(missing.is_some_and(|row| row.wrong == Wrong::Missing
            && row.key == ["t", "i/j", "1m", "2026"]
            && row.origin == "f/0/2/0"));
    }

    #[test]
    fn bars_that_cannot_be_recomputed_are_named() {
        let expired = Differences {
            total: 3,
            named: vec!["t/i/1m/2025".to_owned(), "t/i/5m/2025".to_owned()],
            ..Differences::default()
        };
        let note = cannot_be_restated(&expired).unwrap_or_default();
        assert!(note.starts_with("3 bar(s) cannot be recomputed"), "{note}");
        assert!(note.ends_with("t/i/1m/2025, t/i/5m/2025, and 1 more"), "{note}");
        assert_eq!(cannot_be_restated(&Differences::default()), None);
    }
}
