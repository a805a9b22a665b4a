//! `dp analyze`: what limits the running pipeline, how good its state is, and what to do.
//!
//! Failure: what cannot be measured is shown as unknown. Exit code 2 if no service and no server gives an answer.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use ops::analyze::collect::{measured, stats};
use ops::analyze::{Analysis, Call, Finding, MachineUse, Stage, analysis};
use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::hints::localized;
use ops::place::Place;
use ops::present::{bytes, duration, found, print_either, printable, table, wrapped};
use ops::progress::Progress;
use ops::targets::{self, Target};
use ops::top::{Collector, compared};
use service::Names;

use crate::cells::{count, shortened};

/// Operations that the text shows; JSON has all.
const SHOWN_CALLS: usize = 8;
/// Columns of a line of text.
const WIDTH: usize = 80;

/// Analyze what limits the running pipeline: bottleneck, score, recommendations
///
/// Measures for a few seconds: queues, rates and latency of each stage, processor time of each service (local stack only), the calls of
/// ClickHouse, PostgreSQL, Redis and Kafka by each service in the last hour, and processors, memory, disk and network of the machine
/// of each service. The bottleneck is the stage whose queue takes the longest at its present rate; without a queue, a service
/// that uses 80 % of a core. The score is 100 without the cost of each finding: down or unhealthy 40, a queue that does not become shorter 25, a
/// nearly full disk 25, errors in 10 % of the messages 20, others 5 or 10.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing was found; 1 something was found; 2 there is no answer, or wrong usage\n\n\
    Examples:\n  dp analyze\n  dp analyze --for 30s\n  dp analyze --json | jq '{score, bottleneck, findings}'\n  \
    dp analyze --json | jq '.calls[] | {operation, p95_ms, p99_ms}'"
)]
pub struct Args {
    /// How long to measure
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = duration)]
    lasts: Duration,
    /// A service and its address, instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = targets::parse)]
    service: Vec<Target>,
}

/// Runs `dp analyze`.
///
/// # Errors
/// There is no answer, an address cannot be parsed, or no services are named.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&args.lasts) {
        bail!("--for is a time from 1s to 10m");
    }
    let collector = Collector::new(place, connection, &args.service, &DEFAULT_PORTS)?;
    let ask = || stats(place, connection, &args.service, &DEFAULT_PORTS);
    let (first, stats_before) = tokio::try_join!(collector.sample(), ask())?;
    wait(args.lasts).await;
    let (last, stats_now) = tokio::try_join!(collector.sample(), ask())?;
    let figures = compared(Some(&first), &last);
    if figures.is_silent() {
        bail!("no service and no server gave an answer; `dp health` says why");
    }
    let seconds = figures.seconds.unwrap_or_default();
    let mut answer = analysis(&figures, measured(&stats_before, stats_now, seconds));
    for finding in &mut answer.findings {
        // Before lines are wrapped: a command that is broken over two lines is not recognized.
        finding.recommendation = localized(&finding.recommendation);
    }
    print_either(connection.json, &answer, || text(&answer, &connection.names))?;
    if let Some(reason) = &figures.lag_unknown {
        eprintln!("warning: the queues are not known: {}", printable(reason));
    }
    Ok(found(!answer.findings.is_empty()))
}

async fn wait(lasts: Duration) {
    let mut progress = Progress::new("measuring", lasts.as_secs(), "s");
    let until = tokio::time::Instant::now() + lasts;
    for second in 1..=lasts.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        progress.set(second, "");
    }
    tokio::time::sleep_until(until).await;
    progress.finish();
}

fn text(answer: &Analysis, names: &Names) -> String {
    let stages = table(
        &["stage", "queue", "takes", "in/s", "out/s", "p99"],
        1,
        answer.stages.iter().map(|stage| stage_row(stage, names)),
    );
    let calls = table(
        &["service", "call", "p50 ms", "p95 ms", "p99 ms", "fail %"],
        2,
        answer.calls.iter().take(SHOWN_CALLS).map(call_row),
    );
    let machines = table(
        &["machine of", "resource", "in use", "total", "%"],
        2,
        answer.machines.iter().flat_map(machine_rows),
    );
    let bottleneck = match &answer.bottleneck {
        Some(bottleneck) => format!("bottleneck: {}: {}", bottleneck.stage, bottleneck.reason),
        None => "bottleneck: none".to_owned(),
    };
    let mut lines = vec![stages, calls, machines, format!("score: {} of 100", answer.score)];
    lines.extend(wrapped(&printable(&bottleneck), WIDTH));
    lines.extend(answer.findings.iter().flat_map(finding_lines));
    lines.join("\n")
}

fn stage_row(stage: &Stage, names: &Names) -> Vec<String> {
    let rate = |rate: Option<f64>| known(rate.map(|rate| count(rate.round() as u64)));
    let seconds = |seconds: Option<f64>| known(seconds.map(|seconds| format!("{seconds:.2} s")));
    vec![
        printable(names.stage_of(&stage.group).unwrap_or(&stage.group)),
        count(stage.queue.max(0).unsigned_abs()),
        seconds(stage.queue_seconds),
        rate(stage.in_per_second),
        rate(stage.out_per_second),
        seconds(stage.p99_seconds),
    ]
}

fn call_row(call: &Call) -> Vec<String> {
    let millis = |millis: f64| format!("{millis:.1}");
    let Call { service, newest } = call;
    vec![
        shortened(service, 13),
        shortened(&format!("{} {}", newest.dependency, newest.operation), 22),
        millis(newest.p50_ms),
        millis(newest.p95_ms),
        millis(newest.p99_ms),
        format!("{:.1}", (1.0 - newest.success_ratio) * 100.0),
    ]
}

fn machine_rows(machine: &MachineUse) -> Vec<Vec<String>> {
    let name = shortened(&machine.services.join(", "), 20);
    let percent = |percent: Option<f64>| known(percent.map(|percent| format!("{percent:.0}")));
    let row = |resource: &str, used: Option<String>, total: Option<String>, share: Option<f64>| {
        vec![
            name.clone(),
            resource.to_owned(),
            known(used),
            known(total),
            percent(share),
        ]
    };
    let cores = machine.cores.map(|cores| cores as f64);
    let in_use = machine
        .cpu_percent
        .zip(cores)
        .map(|(percent, cores)| percent / 100.0 * cores);
    let mut rows = vec![row(
        "cores",
        in_use.map(|cores| format!("{cores:.1}")),
        machine.cores.map(|cores| cores.to_string()),
        machine.cpu_percent,
    )];
    for (resource, used) in [("memory", machine.memory), ("disk", machine.disk)] {
        rows.push(row(
            resource,
            used.map(|used| bytes(used.used_bytes)),
            used.map(|used| bytes(used.total_bytes)),
            used.map(|used| used.percent),
        ));
    }
    for (resource, rate) in [
        ("received/s", machine.received_per_second),
        ("sent/s", machine.sent_per_second),
    ] {
        let rate = known(rate.map(|rate| bytes(rate as u64)));
        rows.push(vec![
            name.clone(),
            resource.to_owned(),
            rate,
            String::new(),
            String::new(),
        ]);
    }
    rows
}

fn finding_lines(finding: &Finding) -> Vec<String> {
    let Finding {
        component,
        problem,
        recommendation,
        cost,
    } = finding;
    let line = format!("-{cost} {component}: {problem}; next: {recommendation}");
    wrapped(&printable(&line), WIDTH)
}

fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| "?".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ops::analyze::Bottleneck;
    use stores::calls::Summary;

    use super::*;

    fn answer() -> Analysis {
        Analysis {
            time: jiff::Timestamp::UNIX_EPOCH,
            analysis_seconds: Some(5.0),
            score: 60,
            bottleneck: Some(Bottleneck {
                stage: "normalization-local-clickhouse".to_owned(),
                reason: "1234567 messages of normalized.market.ticks.v1 wait, and it finishes none".to_owned(),
            }),
            findings: vec![Finding {
                component: "normalization-local-clickhouse".to_owned(),
                problem: "1234567 messages of normalized.market.ticks.v1 wait, and the queue does not become shorter"
                    .to_owned(),
                recommendation: "dp capacity".to_owned(),
                cost: 25,
            }],
            stages: vec![Stage {
                group: "normalization-local-clickhouse".to_owned(),
                topic: "normalized.market.ticks.v1".to_owned(),
                queue: 1_234_567,
                queue_seconds: None,
                in_per_second: Some(12_345.4),
                out_per_second: Some(0.0),
                p99_seconds: Some(12.5),
                is_behind: true,
            }],
            calls: vec![Call {
                service: "normalization-10".to_owned(),
                newest: Summary {
                    dependency: "clickhouse".into(),
                    operation: "read the end of the table".into(),
                    count: 3,
                    window_seconds: 0.5,
                    per_second: None,
                    success_ratio: 0.5,
                    avg_ms: 1.0,
                    min_ms: 1.0,
                    p50_ms: 1_234.56,
                    p95_ms: 2_345.67,
                    p99_ms: 3_456.78,
                    max_ms: 4_000.0,
                    slow_total: 2,
                },
            }],
            machines: vec![MachineUse {
                services: ["normalization", "enrichment", "aggregation"]
                    .map(str::to_owned)
                    .to_vec(),
                boot_id: None,
                cores: Some(2),
                cpu_percent: Some(62.0),
                memory: None,
                disk: None,
                received_per_second: Some(1_048_576.0),
                sent_per_second: None,
            }],
        }
    }

    #[test]
    fn the_text_fits_a_terminal_and_what_is_unknown_is_a_question_mark() {
        let settings = service::settings::load(&service::Env::new(), 0, |_| ())
            .unwrap()
            .settings;
        let shown = text(&answer(), &Names::new(&settings));
        for line in shown.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(
            shown.contains("score: 60 of 100") && shown.contains("-25 normalization-local-clickhouse"),
            "{shown}"
        );
        let row = stage_row(&answer().stages[0], &Names::new(&settings));
        assert_eq!(
            row,
            ["normalization-clickhouse", "1,234,567", "?", "12,345", "0", "12.50 s"]
        );
        assert_eq!(machine_rows(&answer().machines[0])[0][1..], ["cores", "1.2", "2", "62"]);
    }
}
