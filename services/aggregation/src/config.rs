//! The settings of aggregation: `AGGREGATION_*`.
//!
//! The intervals and the close and forget times decide which bars count a tick, whether the stream or the table computes
//! them, and the revisions of a bar (INV-1 requires the same configuration). To change them on a running system, build a
//! new generation. The checkpoint and idle times may change at any time.

mod curves;
mod derived;

use std::time::Duration;

use ::curves::snapshots::Limits;
use domain::{Interval, Micros, Product};
use service::Reader;
use stores::{HistoryLimits, ProductClose};

use crate::core::log_clock::{Times, WindowRules};
use crate::core::restate::RestateRules;

pub use derived::{DerivedConfig, longest_reach};

/// The service's own settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Intervals, lateness, idle closes.
    pub rules: WindowRules,
    /// Time between the starts of two checkpoints: how often open bars are sent and state is saved.
    pub checkpoint_interval: Duration,
    /// Settings of the second stage, `restate`.
    pub restate: RestateConfig,
    /// The derived series; without them, the third stage does not run.
    pub derived: DerivedConfig,
    /// How snapshots of curves are made.
    pub curves: Limits,
}

/// Settings of the second stage. All of them may change at any time.
#[derive(Debug, Clone)]
pub struct RestateConfig {
    /// Windows per statement, and how long they wait to be batched.
    pub rules: RestateRules,
    /// Resource limits of a statement in ClickHouse.
    pub limits: HistoryLimits,
    /// Close times of the windows, the same as in the stream.
    pub products: Vec<ProductClose>,
}

const DAY_MS: u64 = 86_400_000;

/// Reads the settings; problems are collected in the reader.
pub fn read(reader: &mut Reader<'_>) -> Config {
    let intervals = intervals(reader);
    let delay = reader.number(
        "AGGREGATION_WATERMARK_DELAY_MS",
        30_000,
        0..=DAY_MS,
        "delay from the end of a window until its bar of trades or day-ahead prices closes, by the append times of the log",
    );
    let max_late = reader.number(
        "AGGREGATION_MAX_LATE_MS",
        300_000,
        0..=7 * DAY_MS,
        "time after this close in which the stream still adds ticks; later ones are added from ClickHouse",
    );
    let real_time_close = reader.number(
        "AGGREGATION_REAL_TIME_CLOSE_MS",
        900_000,
        0..=DAY_MS,
        "delay from the end of a window until its bar of real-time interval prices closes; ISOs publish them minutes later",
    );
    let real_time_late = reader.number(
        "AGGREGATION_REAL_TIME_MAX_LATE_MS",
        2_700_000,
        0..=7 * DAY_MS,
        "time after this close in which the stream still adds prices",
    );
    let idle = reader.number(
        "AGGREGATION_IDLE_CLOSE_MS",
        120_000,
        1_000..=DAY_MS,
        "time without ticks in a partition after which ended bars are sent as closed",
    );
    let checkpoint = reader.number(
        "AGGREGATION_CHECKPOINT_MS",
        1_000,
        10..=600_000,
        "time between two checkpoints; open bars are sent this often",
    );
    let rules = WindowRules {
        intervals,
        at_once: times(delay, max_late),
        after_interval: times(real_time_close, real_time_late),
        idle_close: micros(idle),
        #[cfg(test)]
        without: None,
    };
    Config {
        restate: read_restate(reader, &rules),
        derived: derived::read(reader),
        curves: curves::read(reader),
        rules,
        checkpoint_interval: Duration::from_millis(checkpoint),
    }
}

/// The intervals with bars, as bits.
fn intervals(reader: &mut Reader<'_>) -> u8 {
    let names = reader.list_of_some(
        "AGGREGATION_BAR_INTERVALS",
        "1m,5m,15m,1h,4h,1d,1d-local",
        "lengths of bars; 4h and 1d-local (the market's day) are views over the bars of 1h",
    );
    let mut intervals = 0;
    for name in names {
        let interval = match &*name {
            "4h" | "1d-local" => Some(Interval::OneHour),
            name => Interval::from_name(name),
        };
        match interval {
            Some(interval) => intervals |= 1 << interval.index(),
            None => reader.problem(format!(
                "AGGREGATION_BAR_INTERVALS must list some of 1m, 5m, 15m, 1h, 4h, 1d, 1d-local, got '{name}'"
            )),
        }
    }
    intervals
}

fn read_restate(reader: &mut Reader<'_>, rules: &WindowRules) -> RestateConfig {
    let windows = reader.number(
        "AGGREGATION_RESTATE_WINDOWS",
        5_000,
        1..=100_000,
        "most windows of late ticks per statement on enriched_ticks; each partition queues the same number in memory",
    );
    let linger = reader.number(
        "AGGREGATION_RESTATE_LINGER_MS",
        500,
        0..=60_000,
        "how long a late tick waits to be batched with others",
    );
    let memory = reader.number(
        "AGGREGATION_RESTATE_MEMORY_MB",
        1_024,
        16..=1_048_576,
        "ClickHouse memory limit of such a statement; if it is exceeded, statements get fewer windows",
    );
    let threads = reader.number(
        "AGGREGATION_RESTATE_THREADS",
        2,
        1..=256,
        "ClickHouse threads per such statement",
    );
    let time = reader.number(
        "AGGREGATION_RESTATE_TIMEOUT_S",
        60,
        1..=3_600,
        "time limit of such a statement; if it is exceeded, statements get fewer windows",
    );
    RestateConfig {
        rules: RestateRules {
            intervals: rules.intervals,
            windows: usize::try_from(windows).unwrap_or(usize::MAX),
            linger: micros(linger),
        },
        limits: HistoryLimits {
            memory_bytes: memory << 20,
            threads,
            time: Duration::from_secs(time),
        },
        products: Product::ALL
            .map(|product| ProductClose {
                product,
                close_after: rules.times(product).close_after,
            })
            .to_vec(),
    }
}

fn times(close_after: u64, then: u64) -> Times {
    Times {
        close_after: micros(close_after),
        forget_after: micros(close_after.saturating_add(then)),
    }
}

fn micros(milliseconds: u64) -> Micros {
    i64::try_from(milliseconds)
        .unwrap_or(i64::MAX / 1000)
        .saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::Env;

    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let env = Env::new();
        let settings = read(&mut Reader::new(&env));
        assert_eq!(settings.rules.intervals, 0b11111);
        let seconds = |times: Times| (times.close_after / 1_000_000, times.forget_after / 1_000_000);
        assert_eq!(seconds(settings.rules.at_once), (30, 330));
        assert_eq!(seconds(settings.rules.after_interval), (15 * 60, 60 * 60));
        assert_eq!(settings.checkpoint_interval, Duration::from_secs(1));
        assert_eq!(settings.restate.rules.windows, 5_000);
        let closes: Vec<Micros> = settings
            .restate
            .products
            .iter()
            .map(|of| of.close_after / 1_000_000)
            .collect();
        assert_eq!(closes, [30, 30, 900, 900, 900, 900, 900]);
    }

    #[test]
    fn no_interval_is_refused() {
        let env = Env::from([("AGGREGATION_BAR_INTERVALS".to_owned(), ",".to_owned())]);
        let mut reader = Reader::new(&env);
        read(&mut reader);
        let problems = reader.finish().map(|_| ()).unwrap_err().problems;
        assert_eq!(problems, ["AGGREGATION_BAR_INTERVALS must name at least one item"]);
    }

    #[test]
    fn a_view_over_the_bars_of_an_hour_needs_them() {
        for name in ["4h", "1d-local"] {
            let env = Env::from([("AGGREGATION_BAR_INTERVALS".to_owned(), format!("5m,{name}"))]);
            let mut reader = Reader::new(&env);
            assert_eq!(read(&mut reader).rules.intervals, 0b01010);
            assert!(reader.finish().is_ok());
        }
    }

    #[test]
    fn an_unknown_interval_is_reported_with_its_name() {
        let env = Env::from([("AGGREGATION_BAR_INTERVALS".to_owned(), "5m,2h".to_owned())]);
        let mut reader = Reader::new(&env);
        assert_eq!(read(&mut reader).rules.intervals, 0b00010);
        assert!(
            reader
                .finish()
                .is_err_and(|error| error.problems.iter().any(|problem| problem.contains("'2h'")))
        );
    }
}
