//! `dp capacity`: how much more load the running pipeline takes.
//!
//! Failure: what cannot be measured is shown as unknown. Exit code 2 if no service and no server gives an answer, if ClickHouse
//! gives none, or if no service has figures because something does not answer.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use ops::capacity::{Capacity, GroupOf, OfDisk, OfService, capacity};
use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::inspect::clickhouse::{disks, inserted};
use ops::migrations::stores;
use ops::place::Place;
use ops::present::{bytes, found, print_either, printable, table, time_limit};
use ops::progress::Progress;
use ops::targets::{self, Target};
use ops::top::{Collector, Figures, Sample, compared};

use crate::cells::count;

/// Seconds between the two samples: long enough for several commits of each group.
const SECONDS: u64 = 8;

/// Show how much more load the running pipeline takes
///
/// An extrapolation, not a test: it measures CPU time per message for a few seconds and divides one core by it. It knows neither how
/// ClickHouse, PostgreSQL, Redis and Kafka behave under more load, nor whether a core is free, nor what the batches of a higher load
/// save. CPU time is known only for the local stack; a service with fewer than 10 messages a second has no figure. Disks: what
/// ClickHouse has written for inserts since its start, as if nothing expired; the disk of Kafka is not measured.
/// Partitions are the most workers that can share the load of a service.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 there is room; 1 a service has room for less than twice its load, falls behind, or needs longer than \
    --within, or a disk is full in less than 7 days; 2 there is no answer, or wrong usage\n\n\
    Examples:\n  dp capacity\n  dp capacity --within 30m\n  dp capacity --json | jq '.services[] | {name, headroom}'"
)]
pub struct Args {
    /// Report a service that needs longer to catch up, such as 90s or 30m. Unlike elsewhere, a number alone is minutes
    #[arg(long, value_name = "TIME", value_parser = within)]
    within: Option<Duration>,
    /// A service and its address, instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = targets::parse)]
    service: Vec<Target>,
}

/// The option took whole minutes before it took units; scripts that give it a number alone still mean minutes.
fn within(text: &str) -> Result<Duration, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => time_limit(&format!("{text}m")),
        false => time_limit(text),
    }
}

/// Runs `dp capacity`.
///
/// # Errors
/// There is no answer, an address cannot be parsed, or no services are named.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let collector = Collector::new(place, connection, &args.service, &DEFAULT_PORTS)?;
    let before = collector.sample().await?;
    let mut progress = Progress::new("measuring", SECONDS, "s");
    for second in 1..=SECONDS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        progress.set(second, "");
    }
    progress.finish();
    let now = collector.sample().await?;
    let figures = compared(Some(&before), &now);
    if figures.is_silent() {
        bail!("no service and no server gave an answer; `dp health` says why");
    }
    let clickhouse = stores(connection)?.clickhouse;
    let (disks, inserted) = (disks(&clickhouse).await?, inserted(&clickhouse).await?);
    let within = args.within.map(|time| time.as_secs_f64());
    let answer = capacity(&figures, &groups(connection, &now), &disks, inserted, within);
    if let Some(reason) = unmeasured(&answer, &figures) {
        bail!("{reason}");
    }
    print_either(connection.json, &answer, || text(&answer))?;
    if let Some(reason) = &figures.lag_unknown {
        eprintln!("warning: the lag is not known: {}", printable(reason));
    }
    Ok(found(!answer.problems.is_empty()))
}

/// Why no service has a figure, if something does not answer: then nothing is known to have room. An idle pipeline has its lag.
fn unmeasured(answer: &Capacity, figures: &Figures) -> Option<String> {
    let is_known = |service: &OfService| service.headroom.is_some() || service.lag.is_some();
    if answer.services.iter().any(is_known) {
        return None;
    }
    let bad = figures.processes.iter().filter(|process| process.state.is_bad());
    let bad: Vec<String> = bad
        .map(|process| format!("{} is {}", process.name, process.state.name()))
        .collect();
    let why = match bad.is_empty() {
        true => figures.lag_unknown.clone()?,
        false => bad.join(", "),
    };
    Some(format!(
        "no service has figures: {why}; `dp doctor` looks for the cause"
    ))
}

/// The consumer group of each service.
fn groups(connection: &Connection, now: &Sample) -> BTreeMap<String, GroupOf> {
    let seen = now.groups.as_deref().unwrap_or_default();
    let of = |(name, _): &(&str, u16)| {
        let id = connection.names.group(name);
        let partitions = seen.iter().filter(|group| group.group == id);
        let partitions = partitions.map(|group| group.offsets.len()).sum();
        ((*name).to_owned(), GroupOf { id, partitions })
    };
    DEFAULT_PORTS.iter().map(of).collect()
}

fn text(answer: &Capacity) -> String {
    let services = table(
        &[
            "service",
            "messages/s",
            "CPU %",
            "µs/message",
            "full at",
            "headroom",
            "partitions",
            "lag",
            "caught up",
        ],
        1,
        answer.services.iter().map(service_row),
    );
    let disks = table(
        &["disk", "free", "growth/day", "days until full"],
        1,
        answer.disks.iter().map(disk_row),
    );
    let problems = match answer.problems.len() {
        0 => "nothing is scarce, as far as it is known".to_owned(),
        _ => printable(&answer.problems.join("\n")),
    };
    format!("{services}\n{disks}\n{problems}")
}

fn service_row(service: &OfService) -> Vec<String> {
    let rounded = |number: Option<f64>| known(number.map(|number| count(number.round() as u64)));
    let catch_up = match service.catch_up_seconds {
        _ if service.is_falling_behind => "never".to_owned(),
        Some(seconds) if seconds < 1.0 => "now".to_owned(),
        Some(seconds) => format!("in {seconds:.0} s"),
        None => known(None),
    };
    vec![
        printable(&service.name),
        rounded(service.messages_per_second),
        rounded(service.cpu_percent),
        known(service.cpu_micros_per_message.map(|micros| format!("{micros:.1}"))),
        rounded(service.reachable_per_second),
        known(service.headroom.map(|headroom| format!("× {headroom:.1}"))),
        known(service.partitions.map(|partitions| partitions.to_string())),
        known(service.lag.map(|lag| count(lag.max(0).unsigned_abs()))),
        catch_up,
    ]
}

fn disk_row(disk: &OfDisk) -> Vec<String> {
    vec![
        printable(&disk.name),
        bytes(disk.free_bytes),
        known(disk.bytes_per_day.map(|growth| bytes(growth as u64))),
        known(disk.days_until_full.map(|days| format!("{days:.0}"))),
    ]
}

fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use ops::health::State;
    use ops::inspect::clickhouse::Inserted;
    use ops::top::{Alerts, Process};

    use super::*;

    #[test]
    fn a_time_to_catch_up_has_a_unit_or_is_in_minutes() {
        let seconds = |text| within(text).map(|time| time.as_secs());
        assert_eq!(
            [seconds("90s"), seconds("2h"), seconds("30")],
            [Ok(90), Ok(7_200), Ok(1_800)]
        );
        for (text, reason) in [("0", "longer than zero"), ("soon", "500ms, 30s"), ("", "500ms, 30s")] {
            let refused = within(text).err().unwrap_or_default();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn without_any_figure_what_does_not_answer_is_named() {
        let process = |name: &str, kind, state| Process {
            name: name.to_owned(),
            kind,
            state,
            reason: None,
            messages_per_second: Some(0.0),
            errors_per_second: None,
            dead_letters_per_second: None,
            cpu_percent: Some(1.0),
            memory_bytes: None,
            uptime_seconds: None,
        };
        let mut figures = Figures {
            time: jiff::Timestamp::UNIX_EPOCH,
            seconds: Some(8.0),
            processes: vec![
                process("projection", "service", State::Degraded),
                process("kafka", "server", State::Down),
            ],
            hops: Vec::new(),
            groups: Vec::new(),
            lag_unknown: Some("no answer".to_owned()),
            alerts: Alerts::NotConfigured,
        };
        let inserted = Inserted { bytes: 0, seconds: 0 };
        let said = |figures: &Figures| unmeasured(&capacity(figures, &BTreeMap::new(), &[], inserted, None), figures);
        let stopped = said(&figures).unwrap_or_default();
        assert!(
            stopped.contains("kafka is down") && stopped.contains("`dp doctor`"),
            "{stopped}"
        );
        figures.processes.truncate(1);
        assert!(said(&figures).is_some_and(|why| why.contains("no answer")));
        figures.lag_unknown = None;
        assert_eq!(said(&figures), None);
    }

    #[test]
    fn what_is_unknown_is_a_question_mark_and_a_growing_lag_has_no_end() {
        let service = OfService {
            name: "projection".to_owned(),
            messages_per_second: Some(1_234.4),
            cpu_percent: None,
            cpu_micros_per_message: None,
            reachable_per_second: None,
            headroom: None,
            partitions: Some(8),
            lag: Some(70_000),
            catch_up_seconds: None,
            is_falling_behind: true,
        };
        let row = service_row(&service);
        assert_eq!(row, ["projection", "1,234", "?", "?", "?", "?", "8", "70,000", "never"]);
        let disk = OfDisk {
            name: "default".to_owned(),
            free_bytes: 0,
            bytes_per_day: None,
            days_until_full: None,
        };
        assert_eq!(disk_row(&disk)[2..], ["?", "?"]);
    }
}
