//! What the pipeline may cost on two cores: every goal of the benchmarks, and its comparison with a measurement. Pure.
//!
//! docs/performance.md keeps the results, and says of each missed goal what it would take.

use crate::bare;
use crate::figures::{Figures, Row};

pub use crate::goal::Goal;

/// Percent of one core without ticks.
const IDLE_PERCENT: f64 = 5.0;
/// Rates that have a goal, in ticks a second, with the percent of one core.
const PERCENT: [(u64, f64); 3] = [(200, 20.0), (2_000, 40.0), (8_000, 80.0)];
/// From the raw append to the latest price, p99, at every rate.
const LATENCY_MS: f64 = 100.0;
/// The rate that has a goal for the median as well, in ticks a second, and that median.
const FULL_RATE: (u64, f64) = (30_000, 20.0);

/// Of the stack without ticks.
pub fn idle(figures: &Figures) -> Vec<Goal> {
    percent(figures, IDLE_PERCENT).into_iter().collect()
}

/// Of a steady rate; none for a rate without a goal.
pub fn day(rate: u64, figures: &Figures) -> Vec<Goal> {
    let Some((_, limit)) = PERCENT.iter().find(|(of, _)| *of == rate) else {
        return Vec::new();
    };
    percent(figures, *limit).into_iter().chain(p99(figures)).collect()
}

fn percent(figures: &Figures, limit: f64) -> Option<Goal> {
    let total = figures.core_percent_total?;
    Some(Goal::at_most("percent of one core", limit, total))
}

fn p99(figures: &Figures) -> Option<Goal> {
    let p99 = figures.p99_ms?;
    Some(Goal::at_most("p99 ms to the latest price", LATENCY_MS, p99))
}

/// Of the way to the latest price at this rate.
pub fn latency(rate: u64, figures: &Figures) -> Vec<Goal> {
    let (full, limit) = FULL_RATE;
    let median = figures.p50_ms.filter(|_| rate == full);
    let median = median.map(|p50| Goal::at_most("p50 ms to the latest price", limit, p50));
    median.into_iter().chain(p99(figures)).collect()
}

/// Of normalization between two topics; `client` is the same of the bare client.
pub fn hop(hop: &Figures, client: &Figures) -> Vec<Goal> {
    let ratio = hop
        .ratio
        .map(|ratio| Goal::at_least("rate ÷ the bare client's", 0.8, ratio));
    let cpu = cpu_of(hop, "normalization")
        .zip(cpu_of(client, bare::NAME))
        .filter(|(_, client)| *client > 0.0)
        .map(|(own, client)| Goal::at_most("CPU a tick ÷ the bare client's", 1.4, own / client));
    ratio.into_iter().chain(cpu).collect()
}

/// Of a writer of rows, by the CPU that it adds to its service.
pub fn writer(micros: f64) -> Goal {
    Goal::at_most("CPU µs a row of the ClickHouse writer", 0.8, micros)
}

/// Of the way from a backlog to every store.
pub fn pipeline(figures: &Figures) -> Vec<Goal> {
    let services = ["normalization", "enrichment", "aggregation", "projection"];
    let all: f64 = figures.cpu_us_per_tick.values().sum();
    let peaks = services
        .iter()
        .filter_map(|service| figures.peak_rss_mb.get(*service).copied());
    let of = |name, limit, result: Option<f64>| result.map(|result| Goal::at_most(name, limit, result));
    [
        figures
            .ticks_per_second
            .map(|rate| Goal::at_least("ticks a second", 100_000.0, rate)),
        figures
            .ratio
            .map(|ratio| Goal::at_least("rate ÷ the bare client's", 0.27, ratio)),
        of("CPU µs a tick, all processes", 20.0, (all > 0.0).then_some(all)),
        of(
            "CPU µs a tick, ClickHouse (two rows)",
            5.0,
            cpu_of(figures, "clickhouse"),
        ),
        of("CPU µs a tick, aggregation", 1.5, cpu_of(figures, "aggregation")),
        of("peak MB of the largest service", 100.0, peaks.reduce(f64::max)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cpu_of(figures: &Figures, process: &str) -> Option<f64> {
    figures.cpu_us_per_tick.get(process).copied()
}

/// Of the time from `kill -9` of a service to its next output.
pub fn killed(row: &mut Row) {
    row.goals = lasts(row, "s to the next output", 2.0);
}

/// Of the longest time without an output in a rolling restart.
pub fn rolled(row: &mut Row) {
    row.goals = lasts(row, "s without an output", 1.0);
}

fn lasts(row: &Row, name: &'static str, limit: f64) -> Vec<Goal> {
    let seconds = row.figures.seconds.into_iter();
    seconds.map(|seconds| Goal::at_most(name, limit, seconds)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(goals: &[Goal]) -> Vec<(&str, String, bool)> {
        goals
            .iter()
            .map(|goal| (goal.name, goal.limit(), goal.is_met))
            .collect()
    }

    #[test]
    fn a_result_at_its_limit_is_met_and_beyond_it_missed() {
        let figures = |percent, p99| Figures {
            core_percent_total: Some(percent),
            p99_ms: Some(p99),
            ..Figures::default()
        };
        assert_eq!(
            verdicts(&day(200, &figures(20.0, 100.1))),
            [
                ("percent of one core", "≤ 20".to_owned(), true),
                ("p99 ms to the latest price", "≤ 100".to_owned(), false)
            ]
        );
        assert_eq!(day(300, &figures(1.0, 1.0)), []);
        assert_eq!(verdicts(&idle(&figures(5.1, 1.0))).len(), 1);
        let hop_figures = |cpu: f64, name: &str| {
            let mut figures = Figures::moved(80, 1.0).against(100.0);
            figures.cpu_us_per_tick.insert(name.to_owned(), cpu);
            figures
        };
        let (own, client) = (hop_figures(3.0, "normalization"), hop_figures(2.0, bare::NAME));
        assert_eq!(
            verdicts(&hop(&own, &client)),
            [
                ("rate ÷ the bare client's", "≥ 0.8".to_owned(), true),
                ("CPU a tick ÷ the bare client's", "≤ 1.4".to_owned(), false)
            ]
        );
    }

    #[test]
    fn a_backlog_is_judged_by_all_its_processes_and_only_by_what_was_measured() {
        let mut figures = Figures::moved(1_000, 0.01).against(200_000.0);
        for (process, cpu, peak) in [
            ("kafka", 9.0, 700.0),
            ("clickhouse", 6.0, 300.0),
            ("projection", 5.5, 99.0),
        ] {
            figures.cpu_us_per_tick.insert(process.to_owned(), cpu);
            figures.peak_rss_mb.insert(process.to_owned(), peak);
        }
        let missed: Vec<(&str, f64)> = pipeline(&figures)
            .into_iter()
            .filter(|goal| !goal.is_met)
            .map(|goal| (goal.name, goal.result))
            .collect();
        assert_eq!(
            missed,
            [
                ("CPU µs a tick, all processes", 20.5),
                ("CPU µs a tick, ClickHouse (two rows)", 6.0)
            ]
        );
        assert_eq!(pipeline(&figures).len(), 5);
        assert_eq!(pipeline(&Figures::default()), []);
        let mut row = Row::new("kill -9", Figures::lasted(2.1));
        killed(&mut row);
        assert!(matches!(&row.goals[..], [goal] if !goal.is_met));
    }
}
