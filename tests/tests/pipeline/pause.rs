//! `dp pause` and `dp resume`: a paused stage takes no input, also after a restart, and every tick counts exactly once afterwards. The
//! messages of a paused tenant are dead letters, those of others flow, and every tick counts once after the replay.

use e2e::{Pipeline, RAW, eventually};
use localstack::Service;
use serde_json::Value;
use testkit::kafka::{self, Outgoing, Publisher};

const NORMALIZED: &str = "normalized.market.ticks.v1";
const ENRICHED: &str = "enriched.market.ticks.v1";
const CONTROL: &str = "pipeline.control.v1";
const STAGES: usize = 12;

/// Ends every pause when the test ends, so that a failure does not reach the tests after it.
struct Cleared<'a>(&'a Pipeline);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let _tried = self.0.dp(&["resume", "--all", "--no-wait"]).output();
    }
}

/// The JSON of a command that must end with this code.
fn json(pipeline: &Pipeline, code: i32, arguments: &[&str]) -> Value {
    let output = pipeline.dp(&[arguments, &["--json"]].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn messages(pipeline: &Pipeline, topic: &str) -> i64 {
    let ends = kafka::ends(&pipeline.bootstrap(), topic).unwrap();
    ends.into_iter().map(|(_, end)| end).sum()
}

fn lag(pipeline: &Pipeline, group: &str, topic: &str) -> anyhow::Result<i64> {
    let partitions = kafka::committed(&pipeline.bootstrap(), group, topic)?;
    Ok(partitions
        .iter()
        .map(|(_, committed, end)| end - committed.unwrap_or(0))
        .sum())
}

/// What the check of orders says; empty if it passes.
fn said(pipeline: &Pipeline, service: Service) -> anyhow::Result<String> {
    let report: Value = serde_json::from_str(&pipeline.get(service, "/health")?.1)?;
    let check = &report["checks"]["paused"];
    anyhow::ensure!(
        (check["status"] == "pass") == check["error"].is_null() && check["critical"] == false,
        "{check}"
    );
    Ok(check["error"].as_str().unwrap_or_default().to_owned())
}

/// Whether the service knows the order and follows it.
fn is_paused(pipeline: &Pipeline, service: Service, stage: &str) -> anyhow::Result<bool> {
    let stats: Value = serde_json::from_str(&pipeline.get(service, "/stats")?.1)?;
    let workers = stats["orders"]["workers"].as_array().cloned().unwrap_or_default();
    let mut of_stage = workers.iter().filter(|worker| worker["stage"] == stage);
    Ok(of_stage.any(|worker| worker["paused"] == true && worker["takes_input"] == false))
}

#[test]
fn a_paused_stage_takes_no_input_through_a_restart_and_then_goes_on_where_it_stopped() {
    let pipeline = Pipeline::shared();
    let _cleared = Cleared(&pipeline);
    let load = pipeline.load(91).unwrap();
    pipeline.wait_for_more(500).unwrap();

    let order = ["pause", "enrichment", "--reason", "a test", "--by", "ann"];
    let done = json(&pipeline, 0, &order);
    assert_eq!(
        (&done["orders"][0]["stage"], &done["orders"][0]["by"]),
        (&"enrichment".into(), &"ann".into())
    );
    assert_eq!(
        (&done["instances"][0]["service"], &done["instances"][0]["state"]),
        (&"enrichment".into(), &"done".into())
    );
    let written = messages(&pipeline, ENRICHED);
    let waiting = lag(&pipeline, "enrichment-local", NORMALIZED).unwrap();
    load.go_on_for(3_000);
    eventually("its input waits", || {
        Ok(lag(&pipeline, "enrichment-local", NORMALIZED)? > waiting + 1_000)
    })
    .unwrap();
    assert_eq!(messages(&pipeline, ENRICHED), written, "no output while it is paused");

    let told = said(&pipeline, Service::Enrichment).unwrap();
    for part in ["enrichment is paused", "by ann (a test)", "dp resume enrichment"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(pipeline.get(Service::Enrichment, "/health/ready").unwrap().0, 200);
    let metrics = pipeline.get(Service::Enrichment, "/metrics").unwrap().1;
    let gauge = |stage: &str| {
        let is_its =
            |line: &&str| line.starts_with("kafka_consumer_paused{") && line.contains(&format!("stage=\"{stage}\""));
        metrics.lines().find(is_its).map(|line| line.ends_with(" 1"))
    };
    assert_eq!(
        (gauge("enrichment"), gauge("enrichment-clickhouse")),
        (Some(true), Some(false))
    );

    pipeline.kill_and_restart(Service::Enrichment).unwrap();
    eventually("the order outlives the restart", || {
        is_paused(&pipeline, Service::Enrichment, "enrichment")
    })
    .unwrap();
    load.go_on_for(1_000);
    assert_eq!(
        messages(&pipeline, ENRICHED),
        written,
        "no output after the restart either"
    );
    let listed = json(&pipeline, 1, &["pause"]);
    assert_eq!((&listed[0]["stage"], &listed[1]), (&"enrichment".into(), &Value::Null));
    let found = json(&pipeline, 1, &["doctor", "--timeout=3m"]);
    let finding = found["findings"].as_array().unwrap().iter().find(|finding| {
        finding["next"]
            .as_str()
            .is_some_and(|next| next.ends_with(" resume enrichment"))
    });
    assert!(finding.is_some(), "{found}");
    let stalled = found.to_string().contains("group enrichment-local processes nothing");
    assert!(!stalled, "a paused stage is not stalled: {found}");

    json(&pipeline, 0, &["resume", "enrichment"]);
    assert_eq!(said(&pipeline, Service::Enrichment).unwrap(), "");
    load.pause().unwrap();
    pipeline.agree().unwrap();
    assert_eq!(json(&pipeline, 0, &["pause"]), Value::Array(Vec::new()));
}

#[test]
fn all_stages_can_be_paused_and_restarted_under_load() {
    let pipeline = Pipeline::shared();
    let _cleared = Cleared(&pipeline);
    let load = pipeline.load(92).unwrap();
    pipeline.wait_for_more(500).unwrap();
    let done = json(&pipeline, 0, &["pause", "--all", "--wait", "110s"]);
    assert_eq!(done["instances"].as_array().map(Vec::len), Some(STAGES), "{done}");
    let before = [NORMALIZED, ENRICHED].map(|topic| messages(&pipeline, topic));
    // A stage that reads messages back, or its state, becomes ready all the same.
    for service in e2e::SERVICES {
        pipeline.kill_and_restart(service).unwrap();
    }
    load.go_on_for(2_000);
    assert_eq!([NORMALIZED, ENRICHED].map(|topic| messages(&pipeline, topic)), before);
    let done = json(&pipeline, 0, &["resume", "--all", "--wait", "110s"]);
    assert_eq!(done["orders"].as_array().map(Vec::len), Some(STAGES), "{done}");
    load.pause().unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn a_pause_for_a_time_ends_by_itself_and_what_is_no_order_changes_nothing() {
    let pipeline = Pipeline::shared();
    let _cleared = Cleared(&pipeline);
    json(&pipeline, 0, &["pause", "projection", "--for", "30s"]);
    let mut publisher = Publisher::new(&pipeline.bootstrap(), CONTROL).unwrap();
    for (key, payload) in [("projection", "resume it"), ("projector", r#"{"paused":true}"#)] {
        let outgoing = Outgoing {
            partition: Some(0),
            key: Some(key.to_owned()),
            payload: payload.as_bytes().to_vec(),
            ..Outgoing::default()
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
    let end = messages(&pipeline, CONTROL);
    eventually("the service has read the records", || {
        let stats: Value = serde_json::from_str(&pipeline.get(Service::Projection, "/stats")?.1)?;
        Ok(stats["orders"]["read_to"] == end)
    })
    .unwrap();
    assert!(
        said(&pipeline, Service::Projection)
            .unwrap()
            .contains("projection is paused")
    );
    eventually("its time is over", || {
        Ok(said(&pipeline, Service::Projection)?.is_empty())
    })
    .unwrap();
    pipeline.publish_once(500, 93).unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn a_service_that_does_not_run_is_named_and_follows_the_order_when_it_starts() {
    let pipeline = Pipeline::shared();
    let _cleared = Cleared(&pipeline);
    assert!(pipeline.stack().stop(Service::Enrichment).unwrap());
    let done = json(&pipeline, 1, &["pause", "enrichment"]);
    assert_eq!(done["instances"][0]["state"], "down", "{done}");
    pipeline.stack().start_services().unwrap();
    eventually("it follows the order", || {
        is_paused(&pipeline, Service::Enrichment, "enrichment")
    })
    .unwrap();
    let refused = pipeline.dp(&["pause", "enrich"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    json(&pipeline, 0, &["resume", "enrichment"]);
    pipeline.publish_once(500, 94).unwrap();
    pipeline.agree().unwrap();
}

/// A paused tenant, whose id has what keys encode, and another one.
const HELD: &str = "pause:50%";
const FLOWS: &str = "pause-flows";

/// Publishes ticks of both tenants with these numbers, and the first ten a second time, as a producer does that got no answer.
fn publish_both(pipeline: &Pipeline, numbers: std::ops::Range<usize>) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for number in numbers.clone().chain(numbers.start..numbers.start + 10) {
        for tenant in [HELD, FLOWS] {
            let payload = format!(
                r#"{{"envelope":{{"event_type":"tick","event_id":"pause-{number}","timestamp":"2026-10-01T10:00:00Z","tenant_id":"{tenant}","source":"pause","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"PAUSE.{number}","raw_data":{{"timestamp":"2026-10-01T10:00:00Z","price":31.55,"volume":1}}}}}}"#
            );
            let outgoing = Outgoing {
                key: Some(format!("PAUSE.{number}")),
                payload: payload.into_bytes(),
                ..Outgoing::default()
            };
            publisher.send(&outgoing).unwrap();
        }
    }
    publisher.finish().unwrap();
}

/// Waits until a tenant has so many rows, each of its own instrument.
fn wait_for_rows(pipeline: &Pipeline, tenant: &str, rows: usize) {
    let sql = format!("SELECT count(), uniqExact(instrument_id) FROM market_ticks WHERE tenant_id = '{tenant}'");
    let expected = [rows.to_string(), rows.to_string()];
    eventually(&sql, || Ok(pipeline.clickhouse.rows(&sql)? == [expected.clone()])).unwrap();
}

#[test]
fn messages_of_a_paused_tenant_are_letters_and_count_once_after_the_replay_while_others_flow() {
    let pipeline = Pipeline::shared();
    let _cleared = Cleared(&pipeline);
    let load = pipeline.load(95).unwrap();
    publish_both(&pipeline, 0..100);
    wait_for_rows(&pipeline, HELD, 100);

    let done = json(
        &pipeline,
        0,
        &["pause", "--tenant", HELD, "--reason", "a test", "--by", "ann"],
    );
    assert_eq!(
        (&done["orders"][0]["tenant"], &done["orders"][0]["by"]),
        (&HELD.into(), &"ann".into())
    );
    assert_eq!(done["instances"][0]["service"], "normalization", "{done}");
    let told = said(&pipeline, Service::Normalization).unwrap();
    assert!(
        told.contains(&format!("tenant {HELD} is paused")) && told.contains("by ann (a test)"),
        "{told}"
    );
    assert_eq!(said(&pipeline, Service::Enrichment).unwrap(), "");
    let listed = json(&pipeline, 1, &["pause"]);
    assert_eq!(
        (&listed[0]["tenant"], &listed[0]["stage"]),
        (&HELD.into(), &Value::Null)
    );

    // Retries of events from before the pause are repetitions, and get no letter.
    publish_both(&pipeline, 0..100);
    publish_both(&pipeline, 100..200);
    pipeline.kill_and_restart(Service::Normalization).unwrap();
    publish_both(&pipeline, 200..300);
    wait_for_rows(&pipeline, FLOWS, 300);
    let letters = |number: usize| {
        eventually("the letters of the tenant", || {
            let code = i32::from(number > 0);
            let of = ["dlq", "list", "--code", "tenant_paused", "--tenant", HELD, "--json"];
            let output = pipeline.dp(&of).output()?;
            let listed: Value = serde_json::from_slice(&output.stdout)?;
            Ok(output.status.code() == Some(code) && listed["matching"] == number)
        })
        .unwrap();
    };
    letters(200);
    wait_for_rows(&pipeline, HELD, 100);
    let replay = ["dlq", "replay", "--code", "tenant_paused", "--tenant", HELD];
    let refused = json(&pipeline, 1, &replay);
    assert_eq!(refused["kept"].as_array().map(Vec::len), Some(200), "{refused}");

    let done = json(&pipeline, 0, &["resume", "--tenant", HELD]);
    assert_eq!(done["orders"][0]["tenant"], HELD);
    assert_eq!(said(&pipeline, Service::Normalization).unwrap(), "");
    publish_both(&pipeline, 300..400);
    wait_for_rows(&pipeline, HELD, 200);
    // A process that starts after the end of the pause knows what it has held.
    pipeline.kill_and_restart(Service::Normalization).unwrap();
    let replayed = json(&pipeline, 0, &replay);
    assert_eq!(replayed["replayed"].as_array().map(Vec::len), Some(200), "{replayed}");
    letters(0);
    for tenant in [HELD, FLOWS] {
        wait_for_rows(&pipeline, tenant, 400);
    }
    load.pause().unwrap();
    pipeline.agree().unwrap();
    assert_eq!(json(&pipeline, 0, &["pause"]), Value::Array(Vec::new()));
}
