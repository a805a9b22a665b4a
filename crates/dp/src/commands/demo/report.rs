//! The table at the end of the demo.

use std::collections::{BTreeMap, BTreeSet};

use domain::Interval;
use serde::Serialize;
use service::writer::TABLES;

use bench::outputs::counts::{Figures, Quantiles};
use bench::outputs::scrape::Load;
use ops::demo::derived::NewestValue;
use ops::demo::market_days::MarketDay;
use ops::ingest::EXAMPLE_DAY;
use ops::present::{grouped, table};
use ops::simulation::Counts;
use reconcile::stored_curve::StoredCurve;

/// The latency of one step, in the calm phase and under full load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Name, such as "raw append → normalized".
    pub name: String,
    /// At the calm rate.
    pub calm: Option<Quantiles>,
    /// During the bulk phase at full speed: mostly time in queues.
    pub bulk: Option<Quantiles>,
}

/// The measurements of the demo.
#[derive(Debug, Clone, Serialize)]
pub struct DemoReport {
    /// Counts of the simulation, both phases.
    pub published: Counts,
    /// Documents that were ingested.
    pub documents: u64,
    /// Messages with prices of legs of the derived series.
    pub legs: u64,
    /// Figures before this run.
    pub before: Figures,
    /// Figures after it.
    pub after: Figures,
    /// Messages of the bulk phase.
    pub bulk_messages: u64,
    /// Seconds from the first message of the bulk phase until no group had lag.
    pub bulk_seconds: f64,
    /// Messages a second of the calm phase.
    pub calm_rate: u64,
    /// Latencies.
    pub steps: Vec<Step>,
    /// CPU and memory.
    pub load: Vec<Load>,
    /// The day-ahead prices of the example documents.
    pub market_days: Vec<MarketDay>,
    /// The newest value of each derived series.
    pub derived: Vec<NewestValue>,
    /// A forward curve of the example settlements; it is shown after the table.
    pub curve: Option<StoredCurve>,
}

impl DemoReport {
    /// Raw messages a second, from the first publish until every store had all of them.
    pub fn messages_per_second(&self) -> f64 {
        self.bulk_messages as f64 / self.bulk_seconds.max(0.001)
    }

    /// The table.
    pub fn shown(&self) -> String {
        let mut rows = Vec::new();
        self.count_rows(&mut rows);
        self.store_rows(&mut rows);
        self.market_day_rows(&mut rows);
        self.derived_rows(&mut rows);
        self.latency_rows(&mut rows);
        self.load_rows(&mut rows);
        table(&["", "published", "arrived", "total"], 1, rows)
    }

    fn count_rows(&self, rows: &mut Vec<Vec<String>>) {
        let (before, after, published) = (&self.before, &self.after, &self.published);
        let raw = published.messages + self.documents + self.legs;
        let ticks = |figures: &Figures| *figures.tables.get("market_ticks").unwrap_or(&0);
        rows.extend([
            counted("raw messages", Some(raw), before.raw_messages, after.raw_messages),
            counted("ticks", None, ticks(before), ticks(after)),
            counted("  from the simulation", Some(published.ticks), 0, 0),
            counted(
                "repeated events",
                Some(published.duplicates),
                before.duplicates(),
                after.duplicates(),
            ),
            counted("ticks flagged late_arrival", None, before.late, after.late),
            counted("  late by 10 min and more", Some(published.late), 0, 0),
            counted(
                "dead-lettered messages",
                None,
                before.dead_messages,
                after.dead_messages,
            ),
            counted(
                "dead-lettered rows of documents",
                None,
                before.rejected_rows,
                after.rejected_rows,
            ),
        ]);
        let codes: BTreeSet<&str> = after
            .dead_letters
            .keys()
            .map(String::as_str)
            .chain(published.dead_letters.keys().copied())
            .collect();
        for code in codes {
            let of = |figures: &Figures| *figures.dead_letters.get(code).unwrap_or(&0);
            let sent = published.dead_letters.get(code).copied();
            rows.push(counted(&format!("  {code}"), sent, of(before), of(after)));
        }
    }

    fn store_rows(&self, rows: &mut Vec<Vec<String>>) {
        let (before, after) = (&self.before, &self.after);
        let pair = |name: &str, key: &str, of: fn(&Figures) -> &BTreeMap<String, i64>| {
            counted(
                name,
                None,
                *of(before).get(key).unwrap_or(&0),
                *of(after).get(key).unwrap_or(&0),
            )
        };
        rows.extend(TABLES.map(|table| {
            let name = format!("ClickHouse rows of {}", table.name);
            pair(&name, table.name, |figures| &figures.tables)
        }));
        for interval in Interval::ALL {
            rows.push(pair(
                &format!("  {} bars", interval.name()),
                interval.name(),
                |figures| &figures.bars,
            ));
        }
        rows.push(counted(
            "latest prices in PostgreSQL",
            None,
            before.postgres_prices,
            after.postgres_prices,
        ));
        rows.push(counted(
            "latest prices in Redis",
            None,
            before.redis_prices,
            after.redis_prices,
        ));
    }

    fn market_day_rows(&self, rows: &mut Vec<Vec<String>>) {
        let name = format!("example documents, day-ahead prices of {EXAMPLE_DAY}");
        rows.push(section(&name, "hours", "prices", "mean USD/MWh"));
        for day in &self.market_days {
            rows.push(vec![
                day.market.clone(),
                format!("{} of {}", day.present, day.expected),
                grouped(day.prices.into()),
                day.mean.map_or_else(String::new, |mean| format!("{mean:.2}")),
            ]);
        }
    }

    fn derived_rows(&self, rows: &mut Vec<Vec<String>>) {
        if self.derived.is_empty() {
            return;
        }
        rows.push(section("derived series: newest value", "times", "value", "unit"));
        for series in &self.derived {
            let value = series.value.clone().unwrap_or_else(|| "null".to_owned());
            rows.push(vec![
                format!("{} at {}", series.series, series.time),
                grouped(series.times.into()),
                value,
                series.unit.clone(),
            ]);
        }
    }

    fn latency_rows(&self, rows: &mut Vec<Vec<String>>) {
        let calm = format!("at {}/s: p50 ms", grouped(self.calm_rate as i64));
        rows.push(section("latency", &calm, "p99 ms", "full load: p99 ms"));
        let shown = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
        for step in &self.steps {
            let (p50, p99) = (
                step.calm.map(|quantiles| quantiles.p50_ms),
                step.calm.map(|quantiles| quantiles.p99_ms),
            );
            rows.push(vec![
                step.name.clone(),
                shown(p50),
                shown(p99),
                shown(step.bulk.map(|quantiles| quantiles.p99_ms)),
            ]);
        }
    }

    fn load_rows(&self, rows: &mut Vec<Vec<String>>) {
        rows.push(section(
            "process, during the bulk phase",
            "CPU µs a tick",
            "CPU s",
            "memory MB",
        ));
        for load in &self.load {
            rows.push(vec![
                load.name.clone(),
                format!("{:.2}", load.cpu_micros_per_message),
                format!("{:.1}", load.cpu_seconds),
                grouped((load.resident_bytes >> 20) as i64),
            ]);
        }
        let micros: f64 = self.load.iter().map(|load| load.cpu_micros_per_message).sum();
        let seconds: f64 = self.load.iter().map(|load| load.cpu_seconds).sum();
        let memory: u64 = self.load.iter().map(|load| load.resident_bytes >> 20).sum();
        rows.push(vec![
            "all".to_owned(),
            format!("{micros:.2}"),
            format!("{seconds:.1}"),
            grouped(memory as i64),
        ]);
        rows.push(section("throughput", "messages", "seconds", "ticks/s"));
        rows.push(vec![
            "raw topic → every store".to_owned(),
            grouped(self.bulk_messages as i64),
            format!("{:.1}", self.bulk_seconds),
            grouped(self.messages_per_second() as i64),
        ]);
    }
}

/// A row of counts; "arrived" is the difference. Rows that only have a published count leave the other cells empty.
fn counted(name: &str, published: Option<u64>, before: i64, after: i64) -> Vec<String> {
    let sent = published.map_or_else(String::new, |count| grouped(count as i64));
    let is_note = name.starts_with("  from") || name.starts_with("  late by");
    let (now, all) = if is_note {
        (String::new(), String::new())
    } else {
        (grouped(after - before), grouped(after))
    };
    vec![name.to_owned(), sent, now, all]
}

fn section(name: &str, first: &str, second: &str, third: &str) -> Vec<String> {
    vec![
        format!("── {name}"),
        format!("─ {first}"),
        format!("─ {second}"),
        format!("─ {third}"),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report() -> DemoReport {
        let tables = |count: i64| {
            TABLES
                .map(|table| (table.name.to_owned(), count))
                .into_iter()
                .collect::<BTreeMap<_, _>>()
        };
        DemoReport {
            published: Counts {
                messages: 100,
                ticks: 90,
                duplicates: 6,
                dead_letters: [("broken_json", 4)].into(),
                ..Counts::default()
            },
            documents: 1,
            legs: 1,
            before: Figures {
                raw_messages: 1_000,
                messages_with_ticks: 1_000,
                tables: tables(1_000),
                ..Figures::default()
            },
            after: Figures {
                raw_messages: 1_102,
                messages_with_ticks: 1_091,
                dead_messages: 5,
                dead_letters: [("broken_json".to_owned(), 4), ("unsupported_format".to_owned(), 1)].into(),
                tables: tables(1_111),
                ..Figures::default()
            },
            bulk_messages: 102,
            bulk_seconds: 0.5,
            calm_rate: 1_000,
            steps: vec![Step {
                name: "raw append → normalized".to_owned(),
                calm: Some(Quantiles {
                    p50_ms: 3.1,
                    p99_ms: 9.0,
                    p999_ms: 12.0,
                }),
                bulk: None,
            }],
            load: vec![Load {
                name: "normalization".to_owned(),
                cpu_seconds: 1.0,
                cpu_micros_per_message: 2.19,
                resident_bytes: 50 << 20,
            }],
            market_days: vec![MarketDay {
                market: "PJM".to_owned(),
                expected: 25,
                present: 24,
                prices: 48,
                complete_bars: 0,
                mean: Some(31.5),
            }],
            derived: vec![NewestValue {
                series: "spark".to_owned(),
                time: "2026-10-01 00:05:00".to_owned(),
                value: Some("25.125".to_owned()),
                unit: "USD/MWh".to_owned(),
                times: 1_234,
            }],
            curve: None,
        }
    }

    #[test]
    fn the_table_has_counts_of_published_arrived_and_total() {
        let shown = report().shown();
        let cells = |name: &str| -> Vec<String> {
            let line = shown.lines().find(|line| line.contains(name)).unwrap();
            line.split(['│', '┆'])
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect()
        };
        assert_eq!(cells("raw messages"), ["raw messages", "102", "102", "1,102"]);
        assert_eq!(cells("repeated events"), ["repeated events", "6", "6", "6"]);
        assert_eq!(cells("unsupported_format"), ["unsupported_format", "1", "1"]);
        assert_eq!(cells("rows of market_ticks")[1..], ["111", "1,111"]);
        assert_eq!(cells("append → normalized")[1..], ["3.1", "9.0"]);
        assert_eq!(cells("every store")[1..], ["102", "0.5", "204"]);
        assert_eq!(cells("PJM")[1..], ["24 of 25", "48", "31.50"]);
        assert_eq!(
            cells("spark at 2026-10-01 00:05:00")[1..],
            ["1,234", "25.125", "USD/MWh"]
        );
    }
}
