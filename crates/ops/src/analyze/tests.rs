use stores::calls::Summary;

use super::*;
use crate::health::State;
use crate::top::{Alerts, Hop, Process};

fn figures(groups: Vec<Group>) -> Figures {
    Figures {
        time: jiff::Timestamp::UNIX_EPOCH,
        seconds: Some(5.0),
        processes: vec![process("enrichment", State::Healthy, Some(20.0))],
        hops: Vec::new(),
        groups,
        lag_unknown: None,
        alerts: Alerts::NotConfigured,
    }
}

fn process(name: &str, state: State, cpu_percent: Option<f64>) -> Process {
    Process {
        name: name.to_owned(),
        kind: "service",
        state,
        reason: None,
        messages_per_second: Some(100.0),
        errors_per_second: Some(0.0),
        dead_letters_per_second: Some(0.0),
        cpu_percent,
        memory_bytes: None,
        uptime_seconds: None,
    }
}

fn group(id: &str, lag: i64, input: f64, output: f64) -> Group {
    Group {
        group: id.to_owned(),
        topic: format!("topic of {id}"),
        stage: Some(format!("stage of {id}")),
        lag,
        in_per_second: Some(input),
        out_per_second: Some(output),
    }
}

fn call(p95_ms: f64, success_ratio: f64) -> Call {
    Call {
        service: "projection".to_owned(),
        newest: Summary {
            dependency: "redis".into(),
            operation: format!("call of {p95_ms}").into(),
            count: 10,
            window_seconds: 0.5,
            per_second: None,
            success_ratio,
            avg_ms: 1.0,
            min_ms: 1.0,
            p50_ms: 1.0,
            p95_ms,
            p99_ms: p95_ms,
            max_ms: p95_ms,
            slow_total: 0,
        },
    }
}

fn of(figures: &Figures) -> Analysis {
    analysis(figures, Measured::default())
}

#[test]
fn a_pipeline_without_problems_has_every_point_and_no_bottleneck() {
    // What arrives in a second is on its way.
    let found = of(&figures(vec![group("enrichment-local", 90, 100.0, 100.0)]));
    assert_eq!((found.score, found.bottleneck), (100, None));
    assert_eq!(found.findings, Vec::new());
    assert_eq!(found.stages[0].queue_seconds, Some(0.9));
}

#[test]
fn the_bottleneck_is_the_longest_queue_in_time_not_in_messages() {
    let found = of(&figures(vec![
        group("a", 100_000, 10_000.0, 20_000.0),
        group("b", 3_000, 100.0, 50.0),
    ]));
    let bottleneck = found.bottleneck.unwrap();
    assert_eq!(bottleneck.stage, "b");
    assert!(bottleneck.reason.contains("60.0 s"), "{bottleneck:?}");
    // The queue of b grows (25), that of a becomes shorter (10).
    assert_eq!(found.score, 65);
    assert_eq!(found.findings[0].component, "b");
}

#[test]
fn a_queue_of_a_stage_that_finishes_nothing_is_the_longest() {
    let found = of(&figures(vec![group("a", 90_000, 0.0, 1.0), group("b", 2, 0.0, 0.0)]));
    let bottleneck = found.bottleneck.unwrap();
    assert_eq!(bottleneck.stage, "b");
    assert!(bottleneck.reason.contains("finishes none"), "{bottleneck:?}");
}

#[test]
fn without_a_queue_the_busiest_service_is_the_bottleneck_if_it_is_busy() {
    let mut figures = figures(Vec::new());
    figures
        .processes
        .push(process("projection", State::Healthy, Some(85.0)));
    let found = of(&figures);
    assert_eq!(found.bottleneck.unwrap().stage, "projection");
    assert_eq!(found.score, 90);
}

#[test]
fn what_is_down_slow_or_failing_costs_and_the_score_ends_at_zero() {
    let mut figures = figures(vec![group("enrichment-local", 0, 0.0, 0.0)]);
    figures.processes = vec![process("aggregation", State::Down, None)];
    figures.processes[0].errors_per_second = Some(30.0);
    figures.hops = vec![Hop {
        stage: "stage of enrichment-local".to_owned(),
        p50_seconds: Some(1.0),
        p99_seconds: Some(2.5),
        per_second: Some(1.0),
    }];
    let measured = Measured {
        calls: vec![call(900.0, 1.0), call(1_200.0, 1.0), call(5.0, 0.5)],
        machines: Vec::new(),
    };
    let found = analysis(&figures, measured);
    // Down 40, errors in 30 % of the messages 20, latency 10, a slow call 5, a failing one 10.
    assert_eq!(found.score, 15, "{:?}", found.findings);
    let slowest: Vec<f64> = found.calls.iter().map(|call| call.newest.p95_ms).collect();
    assert_eq!(slowest, [1_200.0, 900.0, 5.0]);
    figures.processes = vec![process("a", State::Down, None); 3];
    assert_eq!(of(&figures).score, 0);
}

#[test]
fn the_latency_of_a_writer_of_tables_is_no_problem() {
    let mut figures = figures(vec![group("enrichment-local-clickhouse", 0, 0.0, 0.0)]);
    figures.hops = vec![Hop {
        stage: "stage of enrichment-local-clickhouse".to_owned(),
        p50_seconds: Some(4.0),
        p99_seconds: Some(5.0),
        per_second: Some(1.0),
    }];
    assert_eq!(of(&figures).score, 100);
}
