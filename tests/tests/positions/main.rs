//! Positions that no longer match their logs, on a real broker. Each fatal message contains topic, partition, offsets and a
//! command. After running that command unchanged, all services continue and `dp verify` agrees. The tests share one stack,
//! one at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod generations;
mod passed;
mod raw_topics;
mod resets;

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::{PATIENCE, Pipeline, RAW, SERVICES, eventually};
use localstack::Service;
use parking_lot::MutexGuard;
use testkit::kafka::{self, Outgoing, Publisher, Topics};

const NORMALIZED: &str = "normalized.market.ticks.v1";
const ENRICHED: &str = "enriched.market.ticks.v1";

/// The shared stack, with some ticks in every partition.
fn filled() -> MutexGuard<'static, Pipeline> {
    let pipeline = Pipeline::shared();
    if pipeline.enriched().unwrap() == 0 {
        pipeline.publish_once(600, 1).unwrap();
        eventually("ticks arrive", || Ok(pipeline.enriched()? > 500)).unwrap();
    }
    pipeline
}

fn stop(pipeline: &Pipeline, services: &[Service]) {
    services.iter().for_each(|service| {
        pipeline.stack().stop(*service).unwrap();
    });
}

fn start(pipeline: &Pipeline, services: &[Service]) {
    services.iter().for_each(|service| {
        pipeline.stack().start(*service).unwrap();
    });
    services
        .iter()
        .for_each(|service| pipeline.stack().wait_ready(*service, PATIENCE).unwrap());
}

fn log_length(pipeline: &Pipeline, service: Service) -> usize {
    std::fs::read(pipeline.stack().log(service)).map_or(0, |log| log.len())
}

/// Waits until the service has exited; returns the log line with the reason.
fn ended(pipeline: &Pipeline, service: Service, log_from: usize) -> String {
    eventually(&format!("{service:?} ends"), || {
        Ok(pipeline.stack().pid(service).is_none())
    })
    .unwrap();
    let log = std::fs::read(pipeline.stack().log(service)).unwrap();
    let text = String::from_utf8_lossy(&log[log_from..]).into_owned();
    let line = text.lines().find(|line| line.contains("thread failed"));
    line.unwrap_or_else(|| panic!("no line with the reason: {text}"))
        .to_owned()
}

/// Starts a service that must exit; returns the log line with the reason.
fn refuses_to_run(pipeline: &Pipeline, service: Service) -> String {
    let log_from = log_length(pipeline, service);
    pipeline.stack().start(service).unwrap();
    ended(pipeline, service, log_from)
}

/// The command in a message.
fn command_in(message: &str) -> String {
    message
        .split('`')
        .nth(1)
        .unwrap_or_else(|| panic!("no command: {message}"))
        .to_owned()
}

/// Runs a command as an operator would type it; it must succeed.
fn run_as_typed(pipeline: &Pipeline, command: &str) -> String {
    // Without a terminal, what gives records up asks for --yes.
    let confirmed = match command.contains("dp position ") {
        true => format!("{command} --yes"),
        false => command.to_owned(),
    };
    let (succeeded, said) = pipeline.typed(&confirmed).unwrap();
    assert!(succeeded, "{command}: {said}");
    said
}

/// Checks that `dp verify` agrees; returns the names of its checks.
fn agrees(pipeline: &Pipeline) -> Vec<String> {
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?} {:?}", verified.failed(), verified.differences());
    let checks = verified.report["checks"].as_array().unwrap();
    checks
        .iter()
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect()
}

fn end(pipeline: &Pipeline, topic: &str, partition: i32) -> i64 {
    let ends = kafka::ends(&pipeline.bootstrap(), topic).unwrap();
    ends.into_iter().find(|(number, _)| *number == partition).unwrap().1
}

/// Publishes good ticks to one raw partition.
fn publish_to(pipeline: &Pipeline, partition: i32, ticks: usize, name: &str) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for number in 0..ticks {
        let (instrument, event) = (format!("MISO.{name}.HUB{number}"), format!("{name}-{number}"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let tick = format!(r#"{{"timestamp":{now},"price":{number}.25,"volume":1}}"#);
        let envelope = format!(
            r#"{{"event_type":"market.tick","event_id":"{event}","timestamp":"2026-01-01T00:00:00Z","tenant_id":"default","source":"positions","version":"1.0"}}"#
        );
        let payload = format!(
            r#"{{"envelope":{envelope},"payload":{{"market":"MISO","instrument_id":"{instrument}","raw_data":{tick}}}}}"#
        );
        let outgoing = Outgoing {
            partition: Some(partition),
            key: Some(instrument),
            payload: payload.into_bytes(),
            ..Outgoing::default()
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
}

fn topics(pipeline: &Pipeline) -> Topics {
    Topics::new(&pipeline.bootstrap()).unwrap()
}

fn all_hold(message: &str, parts: &[String]) {
    parts
        .iter()
        .for_each(|part| assert!(message.contains(part.as_str()), "{part} is not in: {message}"));
}
