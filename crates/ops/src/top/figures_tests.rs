#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::scrape::Scrape;

/// A service with these counters after `uptime` seconds.
fn service(name: &str, uptime: f64, messages: u32, observed: u32) -> Seen {
    let text = format!(
        "# TYPE uptime_seconds gauge\nuptime_seconds{{service=\"enrichment\"}} {uptime}\n\
         # TYPE memory_usage_bytes gauge\nmemory_usage_bytes{{service=\"enrichment\"}} 1048576\n\
         # TYPE errors_total counter\nerrors_total{{service=\"enrichment\",error_type=\"x\"}} {}\n\
         # TYPE messages_processed_total counter\n\
         messages_processed_total{{service=\"enrichment\",topic=\"in\",status=\"success\"}} {messages}\n\
         messages_processed_total{{service=\"enrichment\",topic=\"in\",status=\"observed\"}} {observed}\n\
         messages_processed_total{{service=\"enrichment\",topic=\"of the writer\",status=\"success\"}} 9999\n\
         # TYPE end_to_end_latency_seconds histogram\n\
         end_to_end_latency_seconds_bucket{{service=\"enrichment\",stage=\"enrichment\",le=\"0.01\"}} {}\n\
         end_to_end_latency_seconds_bucket{{service=\"enrichment\",stage=\"enrichment\",le=\"+Inf\"}} {messages}\n",
        messages / 10,
        messages / 2,
    );
    let inputs = BTreeMap::from([("enrichment".to_owned(), vec!["in".to_owned()])]);
    seen(name, false).exporting(&Scrape::parse(&text), &inputs)
}

fn seen(name: &str, is_server: bool) -> Seen {
    Seen {
        name: name.to_owned(),
        is_server,
        state: State::Healthy,
        reason: None,
        counters: None,
        pid: None,
        cpu_seconds: None,
        memory_bytes: None,
        uptime_seconds: None,
    }
}

fn server(pid: i32, cpu_seconds: f64) -> Seen {
    Seen {
        pid: Some(pid),
        cpu_seconds: Some(cpu_seconds),
        ..seen("kafka", true)
    }
}

fn sample(seconds: u64, processes: Vec<Seen>) -> Sample {
    Sample {
        time: jiff::Timestamp::UNIX_EPOCH,
        elapsed: Duration::from_secs(seconds),
        processes,
        groups: Ok(Vec::new()),
        alerts: Alerts::NotConfigured,
    }
}

#[test]
fn rates_are_those_between_the_samples_and_of_the_first_stage() {
    let before = sample(0, vec![service("enrichment", 100.0, 1_000, 50)]);
    let now = sample(2, vec![service("enrichment", 102.0, 3_000, 70)]);
    let process = &compared(Some(&before), &now).processes[0];
    assert_eq!(process.messages_per_second, Some(1_000.0));
    assert_eq!(process.errors_per_second, Some(100.0));
    assert_eq!(process.dead_letters_per_second, Some(0.0));
    assert_eq!(
        (process.memory_bytes, process.uptime_seconds),
        (Some(1 << 20), Some(102))
    );
    // Not known without processes of a local stack.
    assert_eq!(process.cpu_percent, None);
}

#[test]
fn without_an_earlier_sample_there_are_no_rates() {
    let figures = compared(
        None,
        &sample(0, vec![service("enrichment", 100.0, 1_000, 0), server(7, 1.0)]),
    );
    assert_eq!(figures.seconds, None);
    assert_eq!(figures.processes[0].messages_per_second, None);
    assert_eq!(figures.processes[1].cpu_percent, None);
    assert_eq!(figures.hops[0].p50_seconds, None);
}

#[test]
fn a_process_that_was_restarted_or_is_another_one_has_no_rates() {
    let before = sample(0, vec![service("enrichment", 100.0, 1_000, 0), server(7, 1.0)]);
    for uptime in [1.0, 500.0] {
        let now = sample(2, vec![service("enrichment", uptime, 3_000, 0), server(8, 2.0)]);
        let figures = compared(Some(&before), &now);
        assert_eq!(figures.processes[0].messages_per_second, None, "{uptime}");
        assert_eq!(figures.processes[1].cpu_percent, None);
        assert_eq!(figures.hops[0].p99_seconds, None);
    }
}

#[test]
fn cpu_is_a_share_of_a_core() {
    let figures = compared(
        Some(&sample(1, vec![server(7, 10.0)])),
        &sample(5, vec![server(7, 16.0)]),
    );
    assert_eq!(figures.processes[0].cpu_percent, Some(150.0));
}

#[test]
fn latency_is_that_of_the_new_messages_of_all_replicas() {
    let both = |one: Seen, two: Seen| vec![one, two];
    let before = both(service("enrichment", 10.0, 0, 0), service("enrichment-2", 10.0, 100, 0));
    let now = both(
        service("enrichment", 12.0, 200, 0),
        service("enrichment-2", 12.0, 100, 0),
    );
    let hops = compared(Some(&sample(0, before)), &sample(2, now)).hops;
    assert_eq!(hops.len(), 1);
    assert_eq!((hops[0].p50_seconds, hops[0].per_second), (Some(0.01), Some(100.0)));
}

#[test]
fn stages_are_in_the_order_of_the_data() {
    let mut one = service("enrichment", 1.0, 1, 0);
    let latency = &mut one.counters.as_mut().unwrap().latency;
    for stage in [
        "latest_price",
        "another",
        "clickhouse_bars",
        "clickhouse_enriched_ticks",
        "normalization",
    ] {
        latency.insert(stage.to_owned(), Histogram::default());
    }
    let figures = compared(None, &sample(0, vec![one]));
    let stages: Vec<&str> = figures.hops.iter().map(|hop| hop.stage.as_str()).collect();
    assert_eq!(
        stages,
        [
            "normalization",
            "enrichment",
            "clickhouse_enriched_ticks",
            "clickhouse_bars",
            "latest_price",
            "another"
        ]
    );
}

#[test]
fn the_rates_of_a_group_count_partitions_of_both_samples() {
    let group = |offsets: &[(i32, Option<i64>, i64)], lag| GroupSeen {
        group: "enrichment-local".to_owned(),
        topic: "in".to_owned(),
        stage: None,
        lag,
        offsets: offsets
            .iter()
            .map(|(number, position, end)| (*number, (*position, *end)))
            .collect(),
    };
    let with = |seconds, groups| Sample {
        groups,
        ..sample(seconds, Vec::new())
    };
    let before = with(0, Ok(vec![group(&[(0, Some(10), 100), (1, None, 50)], 140)]));
    let now = with(
        2,
        Ok(vec![group(
            &[(0, Some(50), 120), (1, Some(50), 50), (2, Some(9), 9)],
            70,
        )]),
    );
    let figures = compared(Some(&before), &now);
    let expected = (70, Some(10.0), Some(20.0));
    let found = &figures.groups[0];
    assert_eq!((found.lag, found.in_per_second, found.out_per_second), expected);
    assert_eq!(compared(None, &now).groups[0].in_per_second, None);

    let figures = compared(Some(&now), &with(4, Err("Kafka does not answer".to_owned())));
    assert_eq!(figures.lag_unknown.as_deref(), Some("Kafka does not answer"));
    assert!(figures.groups.is_empty());
}
