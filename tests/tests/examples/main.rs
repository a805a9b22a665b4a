//! The examples of the help texts of `dp`, run as an operator pastes them, on the stack and the data of a demo.
//!
//! Role: `dp::examples` has the lines. `table` names those that are not run, and the order of those that change something; `values` has
//! what stands in them for a value of this run. Lines that only read run first, some at a time.
//! A line is right if each `dp` in it ends with 0, or with 1 because it found something, and prints something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files;
mod shell;
mod table;
mod values;

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::{Pipeline, eventually};
use parking_lot::Mutex;
use shell::{Backups, Shell};
use testkit::alertmanager::Alertmanager;

/// Ticks of the demo, beside those that measure latency.
const TICKS: u32 = 5_000;
/// Lines that run at a time. They mostly wait for servers, or measure for some seconds.
const LANES: usize = 4;
/// A line that takes longer is named in the output of the test.
const LONG: Duration = Duration::from_secs(5);
/// The id of an event, the trace and the tenant of examples.
const EVENT: &str = "order-17";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TENANT: &str = "acme";
/// Alerts of examples, the worst first, each with its severity and service.
const ALERTS: [[&str; 3]; 2] = [
    ["RedisDown", "critical", "redis"],
    ["InstrumentsSilent", "warning", "projection"],
];

/// What the lines use.
struct Run<'p> {
    pipeline: &'p Pipeline,
    shell: Shell,
}

impl Run<'_> {
    /// Runs an example; returns what is wrong.
    fn problem(&self, example: &str) -> Option<String> {
        let line = match values::filled(self.pipeline, &self.shell, example) {
            Ok(line) => line,
            Err(error) => return Some(format!("{example}: {error:#}")),
        };
        let began = Instant::now();
        let wrong = match self.shell.run(&line, table::follows(example)) {
            Ok(done) => done.wrong().map(|wrong| format!("{wrong}:\n{}", done.said)),
            Err(error) => Some(format!("{error:#}")),
        };
        if began.elapsed() > LONG {
            println!("{:.0} s: {line}", began.elapsed().as_secs_f64());
        }
        wrong.map(|wrong| format!("{example}\n  run as: {line}\n  {wrong}"))
    }

    /// Runs lines that do not disturb each other.
    fn side_by_side(&self, lines: &[String]) -> Vec<String> {
        let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..LANES {
                scope.spawn(|| {
                    while let Some(line) = lines.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let problem = self.problem(line);
                        wrong.lock().extend(problem);
                    }
                });
            }
        });
        wrong.into_inner()
    }
}

/// The examples, each once, in the order of the help.
fn examples() -> Vec<String> {
    let mut lines = Vec::new();
    for example in dp::examples::all() {
        if !lines.contains(&example.line) {
            lines.push(example.line);
        }
    }
    lines
}

/// Data that a demo lacks: prices of another tenant, an event with a known id and trace, and alerts.
fn prepare(run: &Run<'_>, alertmanager: &Alertmanager) {
    let dp = |arguments: &[&str]| run.shell.dp(arguments).unwrap();
    dp(&["simulate", "--ticks", "2000", "--tenant", TENANT]);
    let tick = [
        "--market",
        "MISO",
        "--instrument",
        "MISO.INDIANA.HUB.RT5",
        "--price",
        "31.55",
    ];
    let ids = ["--event-id", EVENT, "--traceparent", TRACE, "--tenant", TENANT];
    dp(&[&["send"][..], &tick[..], &ids[..]].concat());
    for [name, severity, service] in ALERTS {
        alertmanager.fire(name, severity, service).unwrap();
    }
    eventually("the event is stored", || {
        let stored = format!("SELECT count() FROM market_ticks WHERE source_event_id = '{EVENT}'");
        Ok(run.pipeline.clickhouse.number(&stored)? > 0)
    })
    .unwrap();
    eventually("the alerts fire", || {
        let listed = run.shell.json(&["alerts", "list"])?;
        Ok(listed["alerts"]
            .as_array()
            .is_some_and(|alerts| alerts.len() == ALERTS.len()))
    })
    .unwrap();
}

#[test]
fn every_example_of_a_help_text_runs_on_the_data_of_a_demo() {
    let (pipeline, _) = Pipeline::of_demo(TICKS).unwrap();
    let _backups = Backups::of(&pipeline);
    let alertmanager = Alertmanager::start("").unwrap();
    let run = Run {
        shell: Shell::new(&pipeline, &alertmanager.url()).unwrap(),
        pipeline: &pipeline,
    };
    if !run.shell.has_jq() {
        // Past the capture of the test harness, which would hide it since the test passes.
        _ = writeln!(std::io::stderr(), "SKIPPED the filters of the examples: jq is missing");
    }
    files::write(&run.shell.here(), &pipeline).unwrap();
    prepare(&run, &alertmanager);

    let is_excepted = |line: &String| table::EXCEPTIONS.iter().any(|(entry, _)| table::means(entry, line));
    let (mut changing, reading): (Vec<String>, Vec<String>) = examples()
        .into_iter()
        .filter(|line| !is_excepted(line))
        .partition(|line| table::phase(line) > 0);
    // Stable: those of one phase stay in the order of the help.
    changing.sort_by_key(|line| table::phase(line));
    assert!(
        reading.len() > 150 && changing.len() > 80,
        "{} {}",
        reading.len(),
        changing.len()
    );
    let mut wrong = run.side_by_side(&reading);
    wrong.extend(changing.iter().filter_map(|line| run.problem(line)));
    assert!(
        wrong.is_empty(),
        "{} examples fail:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}

#[test]
fn every_exception_and_every_value_belongs_to_an_example() {
    let lines = examples();
    let entries: Vec<&str> = table::without_line(&lines)
        .into_iter()
        .chain(values::without_line(&lines))
        .collect();
    assert!(entries.is_empty(), "no example has these any more: {entries:#?}");
}
