//! The metrics of the services, read as Prometheus reads them: every series is unique, declared and documented, its labels
//! come from closed sets, and counters only grow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::{Pipeline, SERVICES, eventually};
use localstack::{Server, Service};
use prometheus_parse::{Scrape, Value};
use service::metrics::{Declared, Kind, SHARED};
use testkit::kafka::{self, Outgoing, Publisher};
use testkit::times::iso;

/// One scrape of one service: its samples by series (name and labels).
struct Exported {
    service: Service,
    help: BTreeSet<String>,
    series: BTreeMap<(String, BTreeMap<String, String>), Value>,
    twice: Vec<String>,
}

impl Exported {
    fn of(pipeline: &Pipeline, service: Service) -> anyhow::Result<Exported> {
        let text = pipeline.get(service, "/metrics")?.1;
        // Duplicates are searched in the text, because the parser merges the parts of a histogram.
        let mut lines = BTreeSet::new();
        let twice = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| !lines.insert(canonical(series)))
            .map(|(series, _)| series.to_owned())
            .collect();
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned())))?;
        let help = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP "))
            .filter_map(|rest| rest.split_once(' '));
        let help = help
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(name, _)| name.to_owned())
            .collect();
        let series = scrape.samples.into_iter().map(|sample| {
            let labels = sample
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            ((sample.metric, labels), sample.value)
        });
        Ok(Exported {
            service,
            help,
            series: series.collect(),
            twice,
        })
    }

    /// The sum of all series of a counter with these labels.
    fn counter(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |found: &BTreeMap<String, String>| {
            labels
                .iter()
                .all(|(label, value)| found.get(*label).is_some_and(|known| known == value))
        };
        let values = self
            .series
            .iter()
            .filter(|((known, found), _)| known == name && has(found));
        values.map(|(_, value)| number(value).unwrap_or(0.0)).sum()
    }
}

/// A series with sorted labels, because their order has no meaning.
fn canonical(series: &str) -> String {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split("\",").collect();
    labels.sort_unstable();
    format!("{name} {labels:?}")
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) => Some(*number),
        Value::Histogram(_) | Value::Summary(_) => None,
    }
}

fn own(service: Service) -> &'static [Declared] {
    match service {
        Service::Normalization => normalization::metrics::DECLARED,
        Service::Enrichment => enrichment::metrics::DECLARED,
        Service::Aggregation => aggregation::metrics::DECLARED,
        Service::Projection => projection::metrics::DECLARED,
    }
}

fn declared(service: Service) -> impl Iterator<Item = &'static Declared> {
    SHARED.iter().chain(own(service))
}

/// The declaration of a name, and whether the name is the sum or count of a histogram.
fn declaration(service: Service, name: &str) -> Option<(&'static Declared, bool)> {
    let whole = declared(service).find(|known| known.name == name);
    let part = ["_sum", "_count"].into_iter().find_map(|part| name.strip_suffix(part));
    whole.map(|known| (known, false)).or_else(|| {
        let of = declared(service).find(|known| Some(known.name) == part && matches!(known.kind, Kind::Histogram(_)));
        of.map(|known| (known, true))
    })
}

/// The flaws of one scrape.
fn flaws(exported: &Exported, topics: &BTreeSet<String>) -> Vec<String> {
    let service = exported.service;
    let mut flaws: Vec<String> = exported
        .twice
        .iter()
        .map(|series| format!("{service:?}: duplicate series {series}"))
        .collect();
    for ((name, labels), value) in &exported.series {
        let Some((known, is_part)) = declaration(service, name) else {
            flaws.push(format!("{service:?}: {name} is not declared"));
            continue;
        };
        let is_kind = match (known.kind, value) {
            (Kind::Counter, Value::Counter(_)) | (Kind::Gauge, Value::Gauge(_)) => true,
            (Kind::Histogram(_), Value::Histogram(_)) => !is_part,
            (Kind::Histogram(_), Value::Untyped(_)) => is_part,
            _ => false,
        };
        let mut expected: BTreeSet<&str> = known.labels.iter().copied().collect();
        expected.insert("service");
        let found: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        if !is_kind || expected != found {
            flaws.push(format!(
                "{service:?}: {name} has labels {found:?} and value {value:?}, but is declared as {known:?}"
            ));
        }
        if !exported.help.contains(known.name) {
            flaws.push(format!("{service:?}: {name} has no help"));
        }
        if labels.get("service").map(String::as_str) != Some(service.name()) {
            flaws.push(format!("{service:?}: {name} has labels {labels:?}"));
        }
        if let Some(topic) = labels.get("topic").filter(|topic| !topics.contains(*topic)) {
            flaws.push(format!(
                "{service:?}: {name} has topic=\"{topic}\", which is not a topic"
            ));
        }
    }
    flaws
}

/// Counters, including those of histograms, that have decreased or disappeared.
fn decreased(before: &Exported, after: &Exported) -> Vec<String> {
    let flaw = |series: &(String, BTreeMap<String, String>), then: f64, now: Option<f64>| {
        let fell = now.is_none_or(|now| now < then);
        fell.then(|| format!("{:?}: {series:?} fell from {then} to {now:?}", before.service))
    };
    let buckets = |value: &Value| match value {
        Value::Histogram(buckets) => Some(buckets.iter().map(|bucket| bucket.count).sum::<f64>()),
        Value::Counter(count) => Some(*count),
        _ => None,
    };
    let counters = before
        .series
        .iter()
        .filter_map(|(series, value)| Some((series, buckets(value)?)));
    counters
        .filter_map(|(series, then)| flaw(series, then, after.series.get(series).and_then(buckets)))
        .collect()
}

#[test]
fn under_load_every_series_is_declared_and_unique_and_counters_never_decrease() {
    let pipeline = Pipeline::shared();
    // The metrics of `dp verify` exist since its first run.
    pipeline.agree().unwrap();
    let topics = kafka::topics(&pipeline.bootstrap()).unwrap();
    let load = pipeline.publish(31);
    pipeline.wait_for_more(1_000).unwrap();
    let mut before: Vec<Exported> = SERVICES.map(|service| Exported::of(&pipeline, service).unwrap()).into();
    for _ in 0..5 {
        pipeline.wait_for_more(500).unwrap();
        let after: Vec<Exported> = SERVICES.map(|service| Exported::of(&pipeline, service).unwrap()).into();
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(flaws(after, &topics), Vec::<String>::new());
            assert_eq!(decreased(before, after), Vec::<String>::new());
        }
        before = after;
    }
    load.finish().unwrap();
    // Every declared metric is also set: after a load none is missing.
    let missing = |exported: &Exported| -> BTreeSet<String> {
        declared(exported.service)
            .filter(|known| !exported.series.keys().any(|(found, _)| found == known.name))
            .filter(|known| !only_sometimes(exported, known.name))
            .map(|known| format!("{:?}: {}", exported.service, known.name))
            .collect()
    };
    let never_set: BTreeSet<String> = before.iter().flat_map(missing).collect();
    // Some are set by surveys: projection reads the last run of `dp verify` every 30 seconds; aggregation looks at market days when it
    // starts, and then every ten minutes. Real-time prices of the last minutes are not due yet, day-ahead prices always are.
    let mut publisher = Publisher::new(&pipeline.bootstrap(), e2e::RAW).unwrap();
    publisher.send(&day_ahead_price(&pipeline)).unwrap();
    publisher.finish().unwrap();
    eventually("the day-ahead price is stored", || {
        let prices = "SELECT count() FROM market_intervals WHERE instrument_id = 'SIGNALS.DAY_AHEAD'";
        Ok(pipeline.clickhouse.number(prices)? > 0)
    })
    .unwrap();
    pipeline.kill_and_restart(Service::Aggregation).unwrap();
    eventually("every declared metric is set", || {
        let mut now_missing = BTreeSet::new();
        for service in SERVICES {
            now_missing.extend(missing(&Exported::of(&pipeline, service)?));
        }
        let lacking: Vec<&String> = never_set.intersection(&now_missing).collect();
        anyhow::ensure!(lacking.is_empty(), "declared but never set: {lacking:?}");
        Ok(true)
    })
    .unwrap();
}

/// Metrics that do not apply here: pools of Postgres and tables of ClickHouse in services that have none, certificates of servers
/// without TLS.
fn only_sometimes(exported: &Exported, name: &str) -> bool {
    let has_pool = matches!(exported.service, Service::Enrichment | Service::Projection);
    let has_tables = exported.service != Service::Projection;
    (name.starts_with("connection_pool_") && !has_pool)
        || (name.starts_with("clickhouse_") && !has_tables)
        || name == "certificate_expiry_timestamp_seconds"
}

#[test]
fn a_dead_letter_counts_as_an_error_and_not_as_a_success() {
    let pipeline = Pipeline::shared();
    let normalization = || Exported::of(&pipeline, Service::Normalization);
    let handled = |exported: &Exported, status: &str| {
        exported.counter("messages_processed_total", &[("topic", e2e::RAW), ("status", status)])
    };
    let statuses =
        |exported: &Exported| ["success", "dead_lettered", "duplicate"].map(|status| handled(exported, status));
    let (mut before, mut after) = (normalization().unwrap(), None);
    eventually("earlier messages are counted", || {
        let now = normalization()?;
        let is_settled = statuses(&now) == statuses(&before);
        before = now;
        Ok(is_settled)
    })
    .unwrap();
    let mut publisher = Publisher::new(&pipeline.bootstrap(), e2e::RAW).unwrap();
    let payload = b"no tick at all".to_vec();
    publisher
        .send(&Outgoing {
            payload,
            ..Outgoing::default()
        })
        .unwrap();
    publisher.finish().unwrap();
    eventually("the dead letter is counted", || {
        let now = normalization()?;
        let is_handled = handled(&now, "dead_lettered") > handled(&before, "dead_lettered");
        // A letter counts when the broker has acknowledged it, which is after its message was handled.
        let errors = |exported: &Exported| exported.counter("errors_total", &[("component", "normalize")]);
        let is_acknowledged = errors(&now) > errors(&before);
        after = Some(now);
        Ok(is_handled && is_acknowledged)
    })
    .unwrap();
    let after = after.unwrap();
    let grown = |name: &str, labels: &[(&str, &str)]| after.counter(name, labels) - before.counter(name, labels);
    assert_eq!(
        handled(&after, "dead_lettered") - handled(&before, "dead_lettered"),
        1.0
    );
    assert_eq!(handled(&after, "success") - handled(&before, "success"), 0.0);
    assert_eq!(grown("dlq_messages_total", &[("stage", "normalize")]), 1.0);
    assert_eq!(grown("errors_total", &[("component", "normalize")]), 1.0);
}

/// Topics that the services and their ClickHouse writers read.
const READ: [(Service, &[&str]); 4] = [
    (Service::Normalization, &[e2e::RAW, "normalized.market.ticks.v1"]),
    (
        Service::Enrichment,
        &["normalized.market.ticks.v1", "enriched.market.ticks.v1"],
    ),
    (
        Service::Aggregation,
        &["enriched.market.ticks.v1", "aggregation.bars.v1"],
    ),
    (Service::Projection, &["enriched.market.ticks.v1"]),
];

#[test]
fn every_stage_and_writer_exports_the_five_signals_and_its_rate() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(3_000, 32_000).unwrap();
    for (service, topics) in READ {
        for topic in topics {
            eventually("the five signals are exported", || {
                let exported = Exported::of(&pipeline, service)?;
                let labels = [("topic", *topic)];
                let seen = [
                    "processing_duration_seconds",
                    "batch_messages",
                    "event_time_lag_seconds",
                ];
                let counted = seen
                    .iter()
                    .all(|name| exported.counter(&format!("{name}_count"), &labels) > 0.0);
                let handled = exported.counter("messages_processed_total", &[("topic", topic), ("status", "success")]);
                let open = exported.counter("messages_in_flight", &labels);
                Ok(counted && handled > 0.0 && open == 0.0)
            })
            .unwrap();
        }
        // A worker that lost its partitions while an earlier test froze Kafka may still wait for the group.
        eventually("the stage shows its rate", || {
            Ok(stats(&pipeline, service)["processing_rate_per_second"].as_f64() > Some(0.0))
        })
        .unwrap();
        let stats = stats(&pipeline, service);
        assert!(stats["error_rate_percent"].is_number(), "{stats}");
        assert!(stats["average_processing_time_ms"].as_f64().unwrap() > 0.0, "{stats}");
    }
    assert!(stats(&pipeline, Service::Enrichment)["enrichment_failures"].is_u64());
    let projection = stats(&pipeline, Service::Projection);
    assert!(projection["projections_updated"].as_u64().unwrap() > 0, "{projection}");
    assert!(projection["cache_invalidations"].is_u64(), "{projection}");
    assert!(
        projection["materialized_views_refreshed"].as_u64().unwrap() > 0,
        "{projection}"
    );
}

/// A trade of one instrument, always of the same minute.
fn trade(number: u32, micros: i64) -> Outgoing {
    tick("SIGNALS.CLOSING", &format!("SIGNALS-{number}"), &iso(micros), "trade")
}

/// The price of an hour of today.
fn day_ahead_price(pipeline: &Pipeline) -> Outgoing {
    let hour = "SELECT toUnixTimestamp64Micro(toDateTime64(toStartOfHour(now()), 6))";
    let hour = pipeline.clickhouse.number(hour).unwrap();
    tick(
        "SIGNALS.DAY_AHEAD",
        "SIGNALS-DAY-AHEAD",
        &iso(i64::try_from(hour).unwrap()),
        "da",
    )
}

fn tick(instrument: &str, event_id: &str, time: &str, product: &str) -> Outgoing {
    let payload = serde_json::json!({
        "envelope": {"event_type": "tick", "event_id": event_id, "timestamp": time, "tenant_id": "default", "source": "signals", "version": "1.0"},
        "payload": {"market": "MISO", "instrument_id": instrument,
            "raw_data": {"timestamp": time, "product": product, "price": "31.5", "volume": 1}},
    });
    Outgoing {
        partition: Some(0),
        key: Some(instrument.to_owned()),
        payload: payload.to_string().into_bytes(),
        headers: Vec::new(),
    }
}

#[test]
fn closed_windows_revisions_saved_states_and_changes_of_breakers_are_counted() {
    let pipeline = Pipeline::shared();
    let minute: &[(&str, &str)] = &[("interval", "1m")];
    let group: &[(&str, &str)] = &[("group", "aggregation-local")];
    let all: &[(&str, &str)] = &[];
    let watched = [
        ("bars_generated_total", minute),
        ("bars_closed_total", minute),
        ("bar_revisions_total", minute),
        ("aggregation_checkpoints_total", all),
        ("aggregation_checkpoint_seconds_count", all),
        ("aggregation_state_records_total", all),
        ("kafka_consumer_committed_offset", group),
    ];
    let figures = || -> anyhow::Result<[f64; 7]> {
        let exported = Exported::of(&pipeline, Service::Aggregation)?;
        Ok(watched.map(|(name, labels)| exported.counter(name, labels)))
    };
    // The clock of the log is the append time of these ticks: it reaches the end of their minute and 30 s more. From then on each tick
    // of the same minute revises its closed bar.
    let now = pipeline
        .clickhouse
        .number("SELECT toUnixTimestamp64Micro(now64(6))")
        .unwrap();
    let traded = i64::try_from(now).unwrap() - 25_000_000;
    let mut publisher = Publisher::new(&pipeline.bootstrap(), e2e::RAW).unwrap();
    let mut ticks = 0..;
    let mut publish = || -> anyhow::Result<()> {
        publisher.send(&trade(ticks.next().unwrap(), traded))?;
        publisher.finish()
    };
    let mut before = [f64::NAN; 7];
    eventually("the committed offsets are known", || {
        publish()?;
        before = figures()?;
        Ok(before[6] > 0.0)
    })
    .unwrap();
    let mut last = before;
    let all_grow = eventually("a window closes and is revised, and its state is saved", || {
        publish()?;
        last = figures()?;
        Ok(before.iter().zip(&last).all(|(then, now)| now > then))
    });
    assert!(all_grow.is_ok(), "{watched:?}: before {before:?}, now {last:?}");

    let changes = |to: &str| -> anyhow::Result<f64> {
        let exported = Exported::of(&pipeline, Service::Projection)?;
        let labels = [("dependency", "redis"), ("to", to)];
        Ok(exported.counter("circuit_breaker_transitions_total", &labels))
    };
    let (opened, closed) = (changes("open").unwrap(), changes("closed").unwrap());
    pipeline.stack().kill9(Server::Redis).unwrap();
    eventually("the breaker opens", || Ok(changes("open")? > opened)).unwrap();
    pipeline.stack().start(Server::Redis).unwrap();
    eventually("the breaker closes", || Ok(changes("closed")? > closed)).unwrap();
    pipeline.agree().unwrap();
}

fn stats(pipeline: &Pipeline, service: Service) -> serde_json::Value {
    serde_json::from_str(&pipeline.get(service, "/stats").unwrap().1).unwrap()
}

#[test]
fn the_lag_of_a_stopped_service_and_of_an_unavailable_store_is_visible_and_disappears() {
    let pipeline = Pipeline::shared();
    let lag = |group: &str| -> anyhow::Result<f64> {
        let exported = Exported::of(&pipeline, Service::Normalization)?;
        Ok(exported.counter("kafka_consumer_lag", &[("group", group)]))
    };
    eventually("nothing lags at first", || Ok(lag("enrichment-local")? == 0.0)).unwrap();
    assert!(pipeline.stack().stop(Service::Enrichment).unwrap());
    pipeline.publish_once(500, 33_000).unwrap();
    eventually("the lag of the stopped service is visible", || {
        Ok(lag("enrichment-local")? > 300.0)
    })
    .unwrap();

    let behind = || -> anyhow::Result<f64> {
        let exported = Exported::of(&pipeline, Service::Projection)?;
        Ok(exported.counter("projection_lag_seconds", &[("projection", "latest_price")]))
    };
    eventually("projection has stored everything", || Ok(behind()? == 0.0)).unwrap();
    pipeline.stack().pause(Server::Postgres).unwrap();
    // Enrichment starts without Postgres, and sends projection events that it cannot store.
    pipeline.stack().start(Service::Enrichment).unwrap();
    eventually("the oldest event grows older", || Ok(behind()? > 3.0)).unwrap();
    pipeline.stack().resume(Server::Postgres).unwrap();
    eventually("projection has stored everything again", || Ok(behind()? == 0.0)).unwrap();
    eventually("the lag is gone", || Ok(lag("enrichment-local")? == 0.0)).unwrap();
}

fn process(pipeline: &Pipeline, service: Service) -> procfs::process::Process {
    procfs::process::Process::new(pipeline.stack().pid(service).unwrap()).unwrap()
}

/// CPU time of the services so far, in clock ticks of the system (a hundredth of a second).
fn cpu_ticks(pipeline: &Pipeline) -> u64 {
    let stats = SERVICES.map(|service| process(pipeline, service).stat().unwrap());
    stats.iter().map(|stat| stat.utime + stat.stime).sum()
}

/// The same by service, thread and its name, without threads that have ended.
fn cpu_ticks_of_threads(pipeline: &Pipeline) -> BTreeMap<(Service, i32, String), u64> {
    let threads = |service| {
        let tasks = process(pipeline, service).tasks().unwrap().flatten();
        let stats = tasks.filter_map(|task| task.stat().ok());
        stats.map(move |stat| ((service, stat.pid, stat.comm), stat.utime + stat.stime))
    };
    SERVICES.into_iter().flat_map(threads).collect()
}

/// Regression: pending requests of the health checks made the client connect thousands of times a second, which used two
/// cores for the four services, and an assertion ended them during shutdown.
#[test]
fn while_kafka_is_down_the_services_use_little_cpu_and_afterwards_the_lag_is_known_again() {
    let pipeline = Pipeline::shared();
    let lag = || -> anyhow::Result<f64> {
        let exported = Exported::of(&pipeline, Service::Projection)?;
        Ok(exported.counter("kafka_consumer_lag", &[("group", "enrichment-local")]))
    };
    // Messages that were fetched before would still be processed.
    eventually("no group of any service has work", || {
        let exported = Exported::of(&pipeline, Service::Projection)?;
        let lags = exported
            .series
            .iter()
            .filter(|((name, _), _)| name == "kafka_consumer_lag")
            .map(|(_, lag)| matches!(lag, Value::Gauge(messages) if *messages == 0.0));
        Ok(lags.reduce(|one, other| one && other) == Some(true))
    })
    .unwrap();
    pipeline.stack().kill9(Server::Kafka).unwrap();
    eventually("the lag is not known", || Ok(lag()?.is_nan())).unwrap();
    let (began, before, threads) = (Instant::now(), cpu_ticks(&pipeline), cpu_ticks_of_threads(&pipeline));
    let is_known_to_be_away = || Ok(began.elapsed() > Duration::from_secs(10));
    eventually("ten seconds have passed", is_known_to_be_away).unwrap();
    let used = cpu_ticks(&pipeline) - before;
    let mut busy = cpu_ticks_of_threads(&pipeline);
    busy.retain(|thread, ticks| {
        *ticks = ticks.saturating_sub(*threads.get(thread).unwrap_or(&0));
        *ticks >= 10
    });
    assert!(
        used < 300,
        "{used} hundredths of a second in ten seconds without Kafka; threads with ten or more: {busy:?}"
    );
    pipeline.stack().start(Server::Kafka).unwrap();
    eventually("the lag is known again", || Ok(lag()? == 0.0)).unwrap();
    pipeline.agree().unwrap();
}
