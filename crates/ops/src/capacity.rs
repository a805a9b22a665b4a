//! How much more load a running pipeline takes, extrapolated from what it does now. Pure.
//!
//! Role: CPU time per message gives the rate at which one core is full; lag and rates give the time to catch up; inserted bytes
//! give the days until a disk is full.
//! Invariant: what cannot be measured is absent, and is no problem. An idle service has no CPU time per message.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inspect::clickhouse::{Disk, Inserted};
use crate::top::{Figures, Process};

/// Less headroom is a problem.
pub const LEAST_HEADROOM: f64 = 2.0;
/// A disk that fills sooner is a problem.
pub const LEAST_DAYS: f64 = 7.0;
/// With fewer messages a second, the CPU time is mostly that of an idle service.
const LEAST_RATE: f64 = 10.0;
/// A server that has run for less has no rate of inserts yet.
const LEAST_UPTIME: u64 = 600;
const DAY: f64 = 86_400.0;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Capacity {
    /// Services in the order of the pipeline.
    pub services: Vec<OfService>,
    /// The disks of ClickHouse.
    pub disks: Vec<OfDisk>,
    /// What is scarce, and what to do next.
    pub problems: Vec<String>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfService {
    /// Its name.
    pub name: String,
    /// Messages a second that its first stage has handled.
    pub messages_per_second: Option<f64>,
    /// CPU time; 100 is one core.
    pub cpu_percent: Option<f64>,
    /// CPU time per message, in microseconds.
    pub cpu_micros_per_message: Option<f64>,
    /// Messages a second at which it would fill one core.
    pub reachable_per_second: Option<f64>,
    /// How many times the present load that is.
    pub headroom: Option<f64>,
    /// Partitions that it reads: the most workers that share its load.
    pub partitions: Option<usize>,
    /// Messages that its group has not committed.
    pub lag: Option<i64>,
    /// Seconds until the lag is gone at present rates; absent if it is not known, or never.
    pub catch_up_seconds: Option<f64>,
    /// Whether the lag does not become smaller.
    pub is_falling_behind: bool,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfDisk {
    /// Its name in ClickHouse.
    pub name: String,
    /// Free space.
    pub free_bytes: u64,
    /// Growth, if all inserts went to this disk and nothing expired.
    pub bytes_per_day: Option<f64>,
    /// Days until it is full.
    pub days_until_full: Option<f64>,
}

/// What is known of the consumer group of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupOf {
    /// Its id.
    pub id: String,
    /// Partitions that it reads.
    pub partitions: usize,
}

/// The capacity by these figures. `groups` has the group of each service; `within` is the time in which a lag must be gone, in seconds.
pub fn capacity(
    figures: &Figures,
    groups: &BTreeMap<String, GroupOf>,
    disks: &[Disk],
    inserted: Inserted,
    within: Option<f64>,
) -> Capacity {
    let services = figures.processes.iter().filter(|process| process.kind == "service");
    let services: Vec<OfService> = services
        .map(|process| of_service(process, figures, groups.get(base(&process.name))))
        .collect();
    let disks: Vec<OfDisk> = disks.iter().map(|disk| of_disk(disk, inserted)).collect();
    let problems = services.iter().flat_map(|service| problems_of(service, within));
    let problems = problems.chain(disks.iter().filter_map(problem_of_disk)).collect();
    Capacity {
        services,
        disks,
        problems,
    }
}

/// The service of a replica: `normalization` of `normalization-2`.
fn base(name: &str) -> &str {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('-')
        .filter(|(_, rest)| number(rest))
        .map_or(name, |(base, _)| base)
}

fn of_service(process: &Process, figures: &Figures, group: Option<&GroupOf>) -> OfService {
    let rate = process.messages_per_second;
    let micros = rate
        .filter(|rate| *rate >= LEAST_RATE)
        .zip(process.cpu_percent.filter(|percent| *percent > 0.0))
        .map(|(rate, percent)| percent * 1e4 / rate);
    let reachable = micros.map(|micros| 1e6 / micros);
    let of_group: Vec<_> = figures
        .groups
        .iter()
        .filter(|seen| group.is_some_and(|group| group.id == seen.group))
        .collect();
    let lag = (!of_group.is_empty()).then(|| of_group.iter().map(|seen| seen.lag).sum::<i64>());
    let input: Option<f64> = of_group.iter().map(|seen| seen.in_per_second).sum();
    let output: Option<f64> = of_group.iter().map(|seen| seen.out_per_second).sum();
    let (catch_up_seconds, is_falling_behind) = match (lag, input, output) {
        (Some(lag), Some(input), Some(output)) => catch_up(lag as f64, input, output),
        _ => (None, false),
    };
    OfService {
        name: process.name.clone(),
        messages_per_second: rate,
        cpu_percent: process.cpu_percent,
        cpu_micros_per_message: micros,
        reachable_per_second: reachable,
        headroom: reachable.zip(rate).map(|(reachable, rate)| reachable / rate),
        partitions: group.map(|group| group.partitions).filter(|partitions| *partitions > 0),
        lag,
        catch_up_seconds,
        is_falling_behind,
    }
}

/// Seconds until the lag is gone, and whether it never is. The input of one second is on its way, and no lag.
fn catch_up(lag: f64, input: f64, output: f64) -> (Option<f64>, bool) {
    if lag <= input.max(1.0) {
        (Some(0.0), false)
    } else if output > input {
        (Some(lag / (output - input)), false)
    } else {
        (None, true)
    }
}

fn of_disk(disk: &Disk, inserted: Inserted) -> OfDisk {
    let is_known = inserted.seconds >= LEAST_UPTIME;
    let per_day = is_known.then(|| inserted.bytes as f64 / inserted.seconds as f64 * DAY);
    OfDisk {
        name: disk.name.clone(),
        free_bytes: disk.free_bytes,
        bytes_per_day: per_day,
        days_until_full: per_day
            .filter(|per_day| *per_day > 0.0)
            .map(|per_day| disk.free_bytes as f64 / per_day),
    }
}

fn problems_of(service: &OfService, within: Option<f64>) -> Vec<String> {
    let name = &service.name;
    let mut problems = Vec::new();
    if let Some(headroom) = service.headroom.filter(|headroom| *headroom < LEAST_HEADROOM) {
        problems.push(format!(
            "{name} has room for {headroom:.1} times its load on one core: start a replica, if a core is free"
        ));
    }
    if service.is_falling_behind {
        problems.push(format!(
            "{name} falls behind: its lag does not become smaller; see `dp groups`"
        ));
    }
    if let Some((seconds, within)) = service.catch_up_seconds.zip(within)
        && seconds > within
    {
        problems.push(format!(
            "{name} needs {:.0} minutes to catch up, longer than {:.0}; see `dp groups`",
            seconds / 60.0,
            within / 60.0
        ));
    }
    problems
}

fn problem_of_disk(disk: &OfDisk) -> Option<String> {
    let days = disk.days_until_full.filter(|days| *days < LEAST_DAYS)?;
    Some(format!(
        "disk {} of ClickHouse is full in {days:.1} days: enlarge it, or shorten the retention (`dp retention show`)",
        disk.name
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::health::State;
    use crate::top::{Alerts, Group};

    fn figures(rate: f64, cpu: Option<f64>, lag: i64, input: f64, output: f64) -> Figures {
        Figures {
            time: jiff::Timestamp::UNIX_EPOCH,
            seconds: Some(5.0),
            processes: vec![Process {
                name: "enrichment-2".to_owned(),
                kind: "service",
                state: State::Healthy,
                reason: None,
                messages_per_second: Some(rate),
                errors_per_second: None,
                dead_letters_per_second: None,
                cpu_percent: cpu,
                memory_bytes: None,
                uptime_seconds: None,
            }],
            hops: Vec::new(),
            groups: vec![Group {
                group: "enrichers".to_owned(),
                topic: "ticks".to_owned(),
                stage: None,
                lag,
                in_per_second: Some(input),
                out_per_second: Some(output),
            }],
            lag_unknown: None,
            alerts: Alerts::NotConfigured,
        }
    }

    fn of(figures: &Figures, disks: &[Disk], inserted: Inserted, within: Option<f64>) -> Capacity {
        let group = GroupOf {
            id: "enrichers".to_owned(),
            partitions: 8,
        };
        let groups = BTreeMap::from([("enrichment".to_owned(), group)]);
        capacity(figures, &groups, disks, inserted, within)
    }

    const NOTHING: Inserted = Inserted { bytes: 0, seconds: 0 };

    #[test]
    fn the_reachable_rate_is_that_of_a_full_core() {
        let found = of(&figures(5_000.0, Some(25.0), 10, 5_000.0, 5_000.0), &[], NOTHING, None);
        let service = &found.services[0];
        assert_eq!(service.cpu_micros_per_message, Some(50.0));
        assert_eq!(service.reachable_per_second, Some(20_000.0));
        assert_eq!((service.headroom, service.partitions), (Some(4.0), Some(8)));
        assert_eq!(found.problems, Vec::<String>::new());
        let tight = of(&figures(5_000.0, Some(80.0), 0, 0.0, 0.0), &[], NOTHING, None);
        assert!(tight.problems[0].contains("1.2 times"), "{:?}", tight.problems);
    }

    #[test]
    fn an_idle_service_and_one_without_cpu_time_have_no_headroom_and_no_problem() {
        for (rate, cpu) in [(0.0, Some(3.0)), (9.0, Some(90.0)), (5_000.0, None)] {
            let found = of(&figures(rate, cpu, 0, 0.0, 0.0), &[], NOTHING, None);
            assert_eq!((found.services[0].headroom, found.problems.len()), (None, 0), "{rate}");
        }
    }

    #[test]
    fn a_lag_is_gone_by_the_difference_of_the_rates_or_never() {
        for (lag, input, output, within, seconds, problem) in [
            (90, 100.0, 100.0, None, Some(0.0), None),
            (6_000, 100.0, 120.0, None, Some(300.0), None),
            (6_000, 100.0, 120.0, Some(60.0), Some(300.0), Some("needs 5 minutes")),
            (6_000, 100.0, 120.0, Some(600.0), Some(300.0), None),
            (6_000, 100.0, 100.0, None, None, Some("falls behind")),
        ] {
            let found = of(&figures(0.0, None, lag, input, output), &[], NOTHING, within);
            assert_eq!(found.services[0].catch_up_seconds, seconds, "{lag} {output}");
            let said = found.problems.first().map(String::as_str);
            assert!(
                match problem {
                    Some(words) => said.is_some_and(|said| said.contains(words)),
                    None => said.is_none(),
                },
                "{lag} {output}: {said:?}"
            );
        }
    }

    #[test]
    fn a_disk_fills_by_what_was_inserted_since_the_start_of_the_server() {
        let disk = |free_bytes| Disk {
            name: "default".to_owned(),
            path: "/".to_owned(),
            free_bytes,
            total_bytes: 1_000_000_000,
        };
        let idle = figures(0.0, None, 0, 0.0, 0.0);
        let hour = Inserted {
            bytes: 1_000_000,
            seconds: 3_600,
        };
        let found = of(&idle, &[disk(240_000_000), disk(24_000_000)], hour, None);
        assert_eq!(found.disks[0].days_until_full, Some(10.0));
        assert_eq!(found.disks[1].days_until_full, Some(1.0));
        assert_eq!(found.problems.len(), 1);
        assert!(found.problems[0].contains("full in 1.0 days"), "{:?}", found.problems);
        let young = Inserted {
            bytes: 1_000_000,
            seconds: 599,
        };
        assert_eq!(of(&idle, &[disk(1)], young, None).disks[0].bytes_per_day, None);
    }

    #[test]
    fn a_replica_belongs_to_its_service() {
        assert_eq!(
            [base("a-2"), base("a"), base("a-b"), base("a-")],
            ["a", "a", "a-b", "a-"]
        );
    }
}
