//! The output of a benchmark: tables for users, one JSON document for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::figures::{Figures, Row, Section};
use super::goals::Goal;
use super::machine::Machine;
use ops::present::{grouped, table};

/// Kafka client settings of a hop, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientSettings {
    /// Of the consumer.
    pub consumer: BTreeMap<String, String>,
    /// Of the producer.
    pub producer: BTreeMap<String, String>,
}

/// The result of one run.
#[derive(Debug)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// Client settings. The bare client and the services use the same ones.
    pub clients: ClientSettings,
    /// The benchmarks in the order in which they ran.
    pub sections: Vec<Section>,
    /// The same with another build of the services, if that was wanted.
    pub against: Option<Against>,
}

/// The benchmarks with the services of another folder.
#[derive(Debug)]
pub struct Against {
    /// The folder.
    pub services: PathBuf,
    /// The benchmarks in the order in which they ran.
    pub sections: Vec<Section>,
}

impl Report {
    /// One JSON document. The figures of a single benchmark are at the top level, those of several under their names; those of another
    /// build are under `against` in the same way.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        let mut document = Map::new();
        document.insert("machine".to_owned(), serde_json::to_value(&self.machine)?);
        let clients = json!({ "consumer": self.clients.consumer, "producer": self.clients.producer });
        document.insert("client_settings".to_owned(), clients);
        document.extend(sections_json(&self.sections)?);
        if let Some(Against { services, sections }) = &self.against {
            let mut other = sections_json(sections)?;
            other.insert("services".to_owned(), services.display().to_string().into());
            document.insert("against".to_owned(), other.into());
        }
        Ok(Value::Object(document))
    }

    fn all_sections(&self) -> impl Iterator<Item = &Section> {
        let others = self.against.iter().flat_map(|against| &against.sections);
        self.sections.iter().chain(others)
    }

    /// Whether any tick was lost or doubled, or any bar wrong.
    pub fn is_wrong(&self) -> bool {
        let wrong = |figures: &Figures| {
            let counts = [figures.lost, figures.doubled, figures.wrong_bars];
            counts.into_iter().flatten().any(|count| count > 0)
        };
        self.all_sections()
            .any(|section| wrong(&section.figures) || section.rows.iter().any(|row| wrong(&row.figures)))
    }

    /// Tables and notes as text.
    pub fn shown(&self) -> String {
        let mut text = self.machine.shown();
        self.sections.iter().for_each(|section| show(section, &mut text));
        if let Some(Against { services, sections }) = &self.against {
            text.push_str(&format!("\n\nThe same with the services of {}", services.display()));
            sections.iter().for_each(|section| show(section, &mut text));
        }
        let settings = |settings: &BTreeMap<String, String>| {
            let pairs: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.join(" ")
        };
        text.push_str(&format!(
            "\n\nKafka client settings of the bare client and of every service\n· consumer: {}\n· producer: {}",
            settings(&self.clients.consumer),
            settings(&self.clients.producer)
        ));
        text
    }
}

fn sections_json(sections: &[Section]) -> serde_json::Result<Map<String, Value>> {
    let mut document = Map::new();
    for section in sections {
        match serde_json::to_value(section)? {
            Value::Object(fields) if sections.len() == 1 => document.extend(fields),
            value => {
                document.insert(section.bench.to_owned(), value);
            }
        }
    }
    Ok(document)
}

fn show(section: &Section, text: &mut String) {
    text.push_str(&format!("\n\n{}\n{}", section.bench, rows_shown(&section.rows)));
    text.push_str(&goals_shown(&section.rows));
    for note in &section.notes {
        text.push_str(&format!("\n· {note}"));
    }
}

/// A table of goals and results; empty without goals.
fn goals_shown(rows: &[Row]) -> String {
    let line = |row: &Row, goal: &Goal| {
        let verdict = if goal.is_met { "met" } else { "missed" };
        vec![
            row.name.clone(),
            goal.name.to_owned(),
            goal.limit(),
            format!("{:.2}", goal.result),
            verdict.to_owned(),
        ]
    };
    let lines: Vec<Vec<String>> = rows
        .iter()
        .flat_map(|row| row.goals.iter().map(move |goal| line(row, goal)))
        .collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("\n{}", table(&["", "what", "goal", "result", ""], 2, lines)),
    }
}

type Column = (&'static str, fn(&Figures) -> Option<String>);

const COLUMNS: [Column; 14] = [
    ("ticks", |f| f.ticks.map(whole)),
    ("seconds", |f| f.seconds.map(|v| format!("{v:.2}"))),
    ("ticks/s", |f| f.ticks_per_second.map(|v| whole(v as u64))),
    ("bare client/s", |f| f.passthrough_per_second.map(|v| whole(v as u64))),
    ("ratio", |f| f.ratio.map(|v| format!("{v:.2}"))),
    ("lost", |f| f.lost.map(whole)),
    ("doubled", |f| f.doubled.map(whole)),
    ("wrong bars", |f| f.wrong_bars.map(whole)),
    ("p50 ms", |f| f.p50_ms.map(|v| format!("{v:.1}"))),
    ("p99 ms", |f| f.p99_ms.map(|v| format!("{v:.1}"))),
    ("p99.9 ms", |f| f.p999_ms.map(|v| format!("{v:.1}"))),
    ("% of a core", |f| f.core_percent_total.map(|v| format!("{v:.1}"))),
    ("inserts/s", |f| f.inserts_per_second.map(|v| format!("{v:.1}"))),
    ("wake-ups/s", |f| f.wake_ups_per_second.map(|v| format!("{v:.0}"))),
];

/// Up to three tables: memory with a column for each process, the rows with every column that has a value, and CPU and memory
/// of each process.
fn rows_shown(rows: &[Row]) -> String {
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|(_, cell)| rows.iter().any(|row| cell(&row.figures).is_some()))
        .collect();
    let mut headers = vec![""];
    headers.extend(columns.iter().map(|(name, _)| *name));
    let has_any = |row: &&Row| columns.iter().any(|(_, cell)| cell(&row.figures).is_some());
    let line = |row: &Row| {
        let cells = columns.iter().map(|(_, cell)| cell(&row.figures).unwrap_or_default());
        std::iter::once(row.name.clone()).chain(cells).collect()
    };
    let lines: Vec<Vec<String>> = rows.iter().filter(has_any).map(line).collect();
    let memory_alone = |row: &&Row| row.figures.cpu_us_per_tick.is_empty() && !row.figures.peak_rss_mb.is_empty();
    let (memory, looked_at): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(memory_alone);
    let day = looked_at.iter().flat_map(|row| shares_of(row)).collect::<Vec<_>>();
    let processes: Vec<Vec<String>> = looked_at.into_iter().flat_map(processes_of).collect();
    let mut tables = Vec::new();
    if !memory.is_empty() {
        tables.push(memory_shown(&memory));
    }
    if !lines.is_empty() {
        tables.push(table(&headers, 1, lines));
    }
    if !day.is_empty() {
        tables.push(table(&["", "", ""], 2, day));
    }
    if !processes.is_empty() {
        tables.push(table(&["", "process", "CPU µs/tick", "peak MB"], 2, processes));
    }
    tables.join("\n")
}

/// Shares of a core by process, and requests a second by kind, largest first.
fn shares_of(row: &Row) -> Vec<Vec<String>> {
    let sorted = |values: &BTreeMap<String, f64>, unit: &str| {
        let mut values: Vec<(&String, f64)> = values.iter().map(|(name, value)| (name, *value)).collect();
        values.sort_by(|one, other| other.1.total_cmp(&one.1));
        let line = |(name, value): (&String, f64)| vec![row.name.clone(), name.clone(), format!("{value:.1} {unit}")];
        values.into_iter().map(line).collect::<Vec<_>>()
    };
    let mut lines = sorted(&row.figures.core_percent, "% of a core");
    lines.extend(sorted(&row.figures.requests_per_second, "requests/s"));
    lines.extend(weighed(row));
    lines
}

/// What the percentage of a core is without the machine.
fn weighed(row: &Row) -> Vec<Vec<String>> {
    let of = &row.figures;
    let figures = [
        ("cost of a wake-up", of.wake_up_us, " µs"),
        ("all wake-ups at that cost", of.wake_ups_percent, " % of a core"),
        ("% of a core ÷ cost of a wake-up", of.core_percent_per_wake_up_us, ""),
        (
            "% of a core ÷ the bare client's CPU µs a message",
            of.core_percent_per_client_us,
            "",
        ),
    ];
    let line = |(name, value, unit): (&str, Option<f64>, &str)| {
        let value = value?;
        Some(vec![row.name.clone(), name.to_owned(), format!("{value:.2}{unit}")])
    };
    figures.into_iter().filter_map(line).collect()
}

fn memory_shown(rows: &[&Row]) -> String {
    let names: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| row.figures.peak_rss_mb.keys().map(String::as_str))
        .collect();
    let headers: Vec<&str> = std::iter::once("MB").chain(names.iter().copied()).collect();
    let lines = rows.iter().map(|row| {
        let megabytes = names.iter().map(|name| row.figures.peak_rss_mb.get(*name));
        let cells = megabytes.map(|mb| mb.map(|mb| format!("{mb:.0}")).unwrap_or_default());
        std::iter::once(row.name.clone()).chain(cells).collect()
    });
    table(&headers, 1, lines)
}

fn processes_of(row: &Row) -> Vec<Vec<String>> {
    let (cpu, memory) = (&row.figures.cpu_us_per_tick, &row.figures.peak_rss_mb);
    let mut names: Vec<&String> = cpu.keys().chain(memory.keys()).collect();
    names.sort();
    names.dedup();
    let line = |name: &String| {
        vec![
            row.name.clone(),
            name.clone(),
            cpu.get(name).map(|v| format!("{v:.2}")).unwrap_or_default(),
            memory.get(name).map(|v| format!("{v:.0}")).unwrap_or_default(),
        ]
    };
    names.into_iter().map(line).collect()
}

fn whole(value: u64) -> String {
    grouped(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn section(bench: &'static str) -> Section {
        let mut figures = Figures::moved(1_000_000, 4.0).against(500_000.0);
        figures.cpu_us_per_tick.insert("normalization".to_owned(), 2.345);
        Section {
            bench,
            figures: figures.clone(),
            rows: vec![Row::new("one worker", figures), Row::new("empty", Figures::lasted(1.0))],
            notes: vec!["a note".to_owned()],
        }
    }

    fn report(sections: Vec<Section>) -> Report {
        let consumer = BTreeMap::from([("fetch.min.bytes".to_owned(), "1".to_owned())]);
        Report {
            machine: Machine::read(),
            clients: ClientSettings {
                consumer,
                producer: BTreeMap::new(),
            },
            sections,
            against: None,
        }
    }

    #[test]
    fn one_benchmark_has_its_figures_at_the_top() {
        let value = report(vec![section("hop")]).to_json().unwrap();
        assert_eq!(
            (value["ratio"].as_f64(), value["bench"].as_str()),
            (Some(0.5), Some("hop"))
        );
        assert_eq!(value["cpu_us_per_tick"]["normalization"].as_f64(), Some(2.345));
        assert!(value["machine"]["cores"].as_u64().is_some());
    }

    #[test]
    fn several_benchmarks_are_under_their_names() {
        let value = report(vec![section("hop"), section("pipeline")]).to_json().unwrap();
        assert_eq!(value["pipeline"]["ticks"].as_u64(), Some(1_000_000));
        assert!(value.get("ratio").is_none());
    }

    #[test]
    fn another_build_is_beside_the_first_and_counts_as_much() {
        let mut doubled = section("hop");
        doubled.figures.doubled = Some(1);
        let mut both = report(vec![section("hop")]);
        assert!(!both.is_wrong());
        both.against = Some(Against {
            services: PathBuf::from("target/image"),
            sections: vec![doubled],
        });
        let value = both.to_json().unwrap();
        assert_eq!((value["ratio"].as_f64(), value.get("doubled")), (Some(0.5), None));
        let other = &value["against"];
        assert_eq!(
            (other["ratio"].as_f64(), other["doubled"].as_u64()),
            (Some(0.5), Some(1))
        );
        assert_eq!(other["services"], "target/image");
        assert!(both.is_wrong() && both.shown().contains("The same with the services of target/image"));
    }

    #[test]
    fn memory_alone_has_a_line_for_each_row_and_a_column_for_each_process() {
        let memory = |name: &str, mb: f64| {
            let peak_rss_mb = BTreeMap::from([("redis".to_owned(), 12.4), ("projection".to_owned(), mb)]);
            Row::new(
                name,
                Figures {
                    peak_rss_mb,
                    ..Figures::default()
                },
            )
        };
        let text = rows_shown(&[memory("minute 1", 17.0), memory("minute 2", 18.0)]);
        let cells = |line: &str| {
            line.split(['│', '┆'])
                .map(str::trim)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let lines: Vec<_> = text.lines().map(cells).filter(|cells| cells.len() == 5).collect();
        assert_eq!(
            lines,
            [
                ["", "MB", "projection", "redis", ""],
                ["", "minute 1", "17", "12", ""],
                ["", "minute 2", "18", "12", ""]
            ]
        );
    }

    #[test]
    fn a_percentage_is_also_shown_without_the_machine_as_far_as_that_was_measured() {
        let row = |per_client| {
            let figures = Figures {
                wake_up_us: Some(43.756),
                wake_ups_percent: Some(2.4),
                core_percent_per_wake_up_us: Some(0.1),
                core_percent_per_client_us: per_client,
                ..Figures::default()
            };
            Row::new("idle", figures)
        };
        let values = |row: &Row| {
            weighed(row)
                .into_iter()
                .filter_map(|mut line| line.pop())
                .collect::<Vec<_>>()
        };
        assert_eq!(values(&row(None)), ["43.76 µs", "2.40 % of a core", "0.10"]);
        assert_eq!(values(&row(Some(2.5))).last().map(String::as_str), Some("2.50"));
        assert!(rows_shown(&[row(None)]).contains("cost of a wake-up"));
    }

    #[test]
    fn only_columns_with_a_value_are_shown() {
        let text = report(vec![section("hop")]).shown();
        for part in [
            "1,000,000",
            "250,000",
            "0.50",
            "normalization",
            "2.35",
            "· a note",
            "fetch.min.bytes=1",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("p99"), "{text}");
    }
}
