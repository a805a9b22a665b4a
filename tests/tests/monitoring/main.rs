//! The shipped rules and dashboards on a running Prometheus, Alertmanager and ClickHouse, next to the real services: every
//! target is up, every expression and statement has data, panels show the figures of the load, and each dependency that fails
//! becomes the right alert at the right receiver, and resolves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod watch;

use std::time::{Duration, Instant};

use e2e::{PATIENCE, Pipeline, eventually};
use localstack::{Name, Server, Service};
use serde_json::Value;

use watch::Watch;

/// Rates need several scrapes, and some panels look back five minutes.
const DATA_WITHIN: Duration = Duration::from_secs(240);
/// Series of exporters that run only where the pipeline is deployed: of Kafka, of ClickHouse's own endpoint, of containers.
const NOT_HERE: [&str; 8] = [
    "Data processing: stores and machines: Kafka: replicas out of sync",
    "Data processing: stores and machines: Kafka: brokers",
    "Data processing: stores and machines: Kafka: messages",
    "Data processing: stores and machines: ClickHouse: disk",
    "Data processing: stores and machines: ClickHouse: parts",
    "Data processing: stores and machines: ClickHouse: memory",
    "Data processing: stores and machines: Containers: CPU",
    "Data processing: stores and machines: Containers: memory",
];

#[test]
fn rules_and_panels_have_data_show_the_figures_of_the_load_and_alerts_arrive_and_resolve() {
    let pipeline = Pipeline::start().unwrap();
    let watch = Watch::start(&pipeline).unwrap();
    // Before the load, since an increase does not count what a series had at its first scrape.
    eventually("every target is up", || match watch.targets_down()? {
        down if down.is_empty() => Ok(true),
        down => anyhow::bail!("{down:?}"),
    })
    .unwrap();
    let load = pipeline.publish(1);
    everything_has_data(&watch);
    load.finish().unwrap();
    pipeline.agree().unwrap();
    panels_show_the_figures_of_the_load(&pipeline, &watch);
    for (broken, labels) in [
        (Name::Server(Server::Redis), vec![("alertname", "RedisDown")]),
        (Name::Server(Server::Postgres), vec![("alertname", "PostgresDown")]),
        (
            Name::Server(Server::ClickHouse),
            vec![("alertname", "CircuitBreakerOpen"), ("dependency", "clickhouse")],
        ),
        (
            Name::Server(Server::Kafka),
            vec![("alertname", "ServiceUnhealthy"), ("service", "enrichment")],
        ),
        (
            Name::from(Service::Normalization),
            vec![("alertname", "ServiceDown"), ("service", "normalization")],
        ),
    ] {
        alert_arrives_and_resolves(&pipeline, &watch, broken, labels);
    }
}

fn everything_has_data(watch: &Watch) {
    let deadline = Instant::now() + DATA_WITHIN;
    loop {
        let empty = watch.without_data().unwrap();
        let missing: Vec<&String> = empty
            .iter()
            .filter(|place| !NOT_HERE.contains(&place.as_str()))
            .collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "without data: {missing:#?}");
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// Sum of a column over the rows of a panel that `wanted` accepts.
fn sum(watch: &Watch, panel: &str, column: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<f64> {
    let rows = watch.panel(panel)?;
    Ok(rows
        .iter()
        .filter(|row| wanted(row))
        .filter_map(|row| row[column].as_f64())
        .sum())
}

/// Publishes valid ticks of new events.
fn publish(pipeline: &Pipeline, ticks: u32, seed: u32) {
    let (ticks, seed) = (ticks.to_string(), seed.to_string());
    let none = [
        "--poison-percent",
        "0",
        "--duplicate-percent",
        "0",
        "--late-percent",
        "0",
    ];
    let mut arguments = vec!["simulate", "--ticks", &ticks, "--seed", &seed];
    arguments.extend(none);
    pipeline.dp_ok(&arguments).unwrap();
}

fn panels_show_the_figures_of_the_load(pipeline: &Pipeline, watch: &Watch) {
    let expected = pipeline.expected().unwrap();
    let ticks = expected.ticks.len() as f64;
    let by_market = "Data processing: markets and data quality: Ticks by market and product";
    assert_eq!(sum(watch, by_market, "ticks", |_| true).unwrap(), ticks);
    let tables = "Data processing: stores and machines: ClickHouse: tables";
    assert_eq!(
        sum(watch, tables, "stored_rows", |row| row["table"] == "market_ticks").unwrap(),
        ticks
    );
    let reference = count_of_reference(pipeline);
    assert_eq!(
        sum(watch, "Data processing: enrichment: Reference rows", "value", |_| true).unwrap(),
        reference
    );
    // The ten most frequent codes. Prometheus extrapolates an increase to the ends of its range.
    let letters = watch.panel("Data processing: normalization: Dead letters").unwrap();
    assert_eq!(letters.len(), 10, "{letters:?}");
    for letter in &letters {
        let code = letter["error_code"].as_str().unwrap();
        let published = expected
            .dead_letters
            .values()
            .filter(|published| *published == code)
            .count() as f64;
        let shown = letter["value"].as_f64().unwrap();
        assert!(
            (shown - published).abs() <= 0.1 * published,
            "{code}: {shown} of {published}"
        );
    }

    // A stopped stage's lag is the number of messages that were published meanwhile.
    let (published, again) = (600.0, 300.0);
    for service in [Service::Aggregation, Service::Projection] {
        pipeline.stack().stop(service).unwrap();
    }
    publish(pipeline, published as u32, 71);
    let lag = |board: &str, group: &str, expected: f64| {
        let panel = format!("Data processing: {board}: Consumer lag");
        eventually(&format!("{panel} of {group} is {expected}"), || {
            let found = sum(watch, &panel, "value", |row| row["group"] == group)?;
            anyhow::ensure!(found == expected, "it is {found}");
            Ok(true)
        })
        .unwrap();
    };
    lag("aggregation", "aggregation-local", published);
    lag("projection", "projection-local", published);
    pipeline.stack().stop(Service::Enrichment).unwrap();
    publish(pipeline, again as u32, 72);
    lag("overview", "enrichment-local", again);
    lag("enrichment", "enrichment-local", again);
    pipeline.stack().start_services().unwrap();
    for service in [Service::Enrichment, Service::Aggregation, Service::Projection] {
        pipeline.stack().wait_ready(service, PATIENCE).unwrap();
    }
    pipeline.agree().unwrap();
}

/// Rows of reference data by a query of its own: instruments, and their aliases.
fn count_of_reference(pipeline: &Pipeline) -> f64 {
    let rows = pipeline
        .postgres
        .rows(
            "SELECT (SELECT count(*) FROM taxonomy_instruments WHERE active) + (SELECT count(*) FROM instrument_aliases \
             JOIN taxonomy_instruments USING (tenant_id, instrument_id) WHERE active)",
        )
        .unwrap();
    rows[0][0].parse().unwrap()
}

fn alert_arrives_and_resolves(pipeline: &Pipeline, watch: &Watch, broken: Name, mut labels: Vec<(&str, &str)>) {
    labels.push(("severity", "critical"));
    let notified = |status: &str| {
        eventually(&format!("{labels:?} {status}"), || {
            anyhow::ensure!(watch.is_notified("pager", status, &labels), "{}", watch.notified());
            Ok(true)
        })
        .unwrap();
    };
    assert!(
        !watch.is_notified("pager", "firing", &labels),
        "{labels:?} before {broken} was stopped"
    );
    pipeline.stack().kill9(broken).unwrap();
    notified("firing");
    pipeline.stack().up().unwrap();
    pipeline.stack().start_services().unwrap();
    notified("resolved");
}
