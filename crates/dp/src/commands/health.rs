//! `dp health`: one line for each service and each server, wherever they run.
//!
//! Failure: what gives no answer in time is down. Exit code 1 if anything is down or unhealthy.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::health::{Line, Overview, ask_all, checks};
use ops::hints::localized;
use ops::place::Place;
use ops::present::{print_json, print_line, printable, table};
use ops::targets::{self, Target};
use serde_json::{Value, json};

/// Show the health of services and servers
///
/// One line each: state, time and the reason if something is wrong. Services: those of the local stack, else those that
/// DATA_PROC_SERVICE_URLS or --service name. Servers: Kafka, ClickHouse, PostgreSQL, Redis and the schema registry, if one is
/// configured, at the addresses in use. Exit code 1 if a service is unhealthy or down, or a server is down.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp health\n  dp health --all\n  \
    dp health --service aggregation=http://aggregation-service:8080")]
pub struct Args {
    /// Also show every check of each service, and all together: counts, names, and whether more than half work
    #[arg(long)]
    all: bool,
    /// Ask this service instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = targets::parse)]
    service: Vec<Target>,
}

/// Runs `dp health`.
///
/// # Errors
/// An address cannot be parsed, or no services are named.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let mut lines = ask_all(place, connection, &args.service, &DEFAULT_PORTS).await?;
    if !args.all {
        lines.iter_mut().for_each(|line| line.report = None);
    }
    let is_bad = lines.iter().any(|line| line.state.is_bad());
    if connection.json {
        print_json(&json!({ "ok": !is_bad, "cluster": Overview::of(&lines), "lines": lines }))?;
    } else {
        print_line(&shown(&lines))?;
        if args.all {
            print_line(&summed_up(&Overview::of(&lines)))?;
        }
    }
    Ok(ExitCode::from(u8::from(is_bad)))
}

fn summed_up(overview: &Overview) -> String {
    let quorum = if overview.has_quorum { "available" } else { "lost" };
    let Overview {
        status, healthy, total, ..
    } = overview;
    let mut text = format!("all: {}, {healthy} of {total} healthy, quorum {quorum}", status.name());
    for (state, names) in [("degraded", &overview.degraded), ("unhealthy", &overview.unhealthy)] {
        if !names.is_empty() {
            text.push_str(&format!("; {state}: {}", printable(&names.join(", "))));
        }
    }
    text
}

fn shown(lines: &[Line]) -> String {
    let mut rows = Vec::new();
    for line in lines {
        rows.push(vec![
            line.name.clone(),
            line.state.name().to_owned(),
            line.target.clone(),
            line.reason
                .as_deref()
                .map(localized)
                .as_deref()
                .map(printable)
                .unwrap_or_default(),
            format!("{} ms", line.duration_ms),
        ]);
        for (name, check) in line.report.iter().flat_map(checks) {
            let text = |key: &str| {
                check
                    .get(key)
                    .and_then(Value::as_str)
                    .map(printable)
                    .unwrap_or_default()
            };
            let millis = check.get("duration_ms").and_then(Value::as_u64).unwrap_or_default();
            rows.push(vec![
                format!("  {name}"),
                text("status"),
                text("target"),
                localized(&text("error")),
                format!("{millis} ms"),
            ]);
        }
    }
    table(&["name", "state", "address", "reason", "time"], 4, rows)
}
