//! The shipped rules and dashboards on a running Prometheus, Alertmanager and ClickHouse, next to the real services: every
//! target is up, every expression and statement has data, panels show the figures of the load, and each dependency that fails
//! becomes the right alert at the right receiver, and resolves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod figures;
mod verify;

use std::time::{Duration, Instant};

use e2e::watch::Watch;
use e2e::{Pipeline, eventually};
use localstack::{Name, Server, Service};

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
    // Records the first run, for the panels that show one.
    pipeline.agree().unwrap();
    let load = pipeline.publish(1);
    everything_has_data(&watch);
    load.finish().unwrap();
    pipeline.agree().unwrap();
    figures::panels_show_the_figures_of_the_load(&pipeline, &watch);
    verify::a_difference_is_shown_and_alerts_until_a_run_finds_none(&pipeline, &watch);
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
