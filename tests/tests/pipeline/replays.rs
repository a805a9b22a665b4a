//! Replays of dead letters: each rejected row and message counts once, whenever `dp dlq replay`, normalization or Kafka is killed.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use e2e::{PATIENCE, Pipeline, RAW, eventually};
use localstack::{Name, Server, Service};
use serde_json::Value;
use testkit::kafka::{self, Outgoing, Publisher};

const DOCUMENTS: usize = 150;
const TICKS: usize = 150;
const PRICE: &str = "43210.00";
/// Letters of one run: more runs are needed than there are victims.
const LIMIT: usize = 60;
const NORMALIZATION: Name = Name::Service(Service::Normalization, 1);
const KAFKA: Name = Name::Server(Server::Kafka);
/// What is killed while the letters are replayed, beside the command.
const VICTIMS: [Name; 3] = [NORMALIZATION, KAFKA, NORMALIZATION];

/// A document with three rows, the second of them with a price that the rule rejects.
fn document(number: usize) -> Outgoing {
    let row = |node: &str, price: &str| {
        format!(r#"["2026-10-03T05:00:00","REPLAYS.{node}{number}","{price}","0.00","0.00"]"#)
    };
    let rows = [row("A", "1.00"), row("B", PRICE), row("C", "2.00")].join(",");
    Outgoing {
        payload: format!(r#"{{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[{rows}]}}"#).into_bytes(),
        headers: vec![("dp.format".to_owned(), "miso.rt5.expost.json".to_owned())],
        ..Outgoing::default()
    }
}

fn tick(number: usize) -> Outgoing {
    let payload = format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"REPLAYS-{number}","timestamp":"2026-10-01T10:00:00Z","tenant_id":"alpha","source":"replays","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"REPLAYS.T{number}","raw_data":{{"timestamp":"2026-10-01T10:00:00Z","price":{PRICE},"volume":1}}}}}}"#
    );
    Outgoing {
        payload: payload.into_bytes(),
        ..Outgoing::default()
    }
}

/// Restarts normalization with a rule that rejects such prices, or without one.
fn restart(pipeline: &Pipeline, rule: Option<&str>) {
    let mut restart = pipeline.dp(&["restart", "normalization"]);
    restart.envs(rule.map(|rule| ("NORMALIZATION_RULES_REJECT", rule)));
    let output = restart.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Exit code and JSON of a command.
fn json(pipeline: &Pipeline, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = pipeline.dp(arguments).arg("--json").output().unwrap();
    let value = serde_json::from_slice(&output.stdout);
    let value = value.unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), value)
}

fn letters(pipeline: &Pipeline) -> anyhow::Result<u64> {
    let (_, listed) = json(pipeline, &["dlq", "list", "--code", "quality_rule"]);
    Ok(listed["matching"].as_u64().unwrap())
}

/// The value of the first line of normalization's metrics that begins like this.
fn gauge(pipeline: &Pipeline, begins: &str) -> anyhow::Result<Option<f64>> {
    let (_, metrics) = pipeline.get(Service::Normalization, "/metrics")?;
    let line = metrics.lines().find(|line| line.starts_with(begins));
    Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
}

/// Runs the command for so long, then kills it. After half of the time, kills this process of the pipeline. Returns how the command ended
/// by itself, if it did.
fn replay_for(pipeline: &Pipeline, wait: Duration, victim: Option<Name>) -> Option<ExitStatus> {
    let limit = LIMIT.to_string();
    let mut run = pipeline
        .dp(&["dlq", "replay", "--code", "quality_rule", "--limit", &limit])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (began, mut victim) = (Instant::now(), victim);
    let mut ended = None;
    while ended.is_none() && began.elapsed() < wait {
        ended = run.try_wait().unwrap();
        if began.elapsed() >= wait / 2
            && let Some(name) = victim.take()
        {
            pipeline.stack().kill9(name).unwrap();
        }
        std::thread::yield_now();
    }
    if ended.is_none() {
        run.kill().unwrap();
    }
    run.wait().unwrap();
    // The run was shorter than half of the time.
    if let Some(name) = victim {
        pipeline.stack().kill9(name).unwrap();
    }
    ended
}

/// Replays until nothing is left, at most [`LIMIT`] letters with each run that ends by itself. Kills the other runs, each later than the one
/// before. After each of the first runs that end, one of [`VICTIMS`] is killed while the next run goes on, and started again after it.
fn replay_with_kills(pipeline: &Pipeline) -> u32 {
    let (mut kills, mut wait) = (0, Duration::ZERO);
    let (mut victims, mut victim) = (VICTIMS.into_iter(), None);
    loop {
        let killed = victim.take();
        let ended = replay_for(pipeline, wait, killed);
        if let Some(name) = killed {
            pipeline.stack().start(name).unwrap();
            pipeline.stack().wait_ready(name, PATIENCE).unwrap();
        }
        match ended.map(|status| status.code()) {
            None => {
                kills += 1;
                wait += Duration::from_millis(60);
            }
            // 1: more are left than the limit.
            Some(Some(0 | 1)) => {
                if letters(pipeline).unwrap() == 0 {
                    break;
                }
                victim = victims.next();
                wait /= 2;
            }
            Some(code) => assert_eq!((code, killed), (Some(2), Some(KAFKA))),
        }
    }
    assert_eq!(victims.next(), None, "the replays ended before it was killed");
    kills
}

/// With the rule gone, the letters are valid: `dp verify` names them and their cure, and no row as missing.
fn waits_for_the_replay(pipeline: &Pipeline) {
    let (code, verified) = json(pipeline, &["verify", "--wait", "120"]);
    assert_eq!(code, Some(1), "{verified:#}");
    let differing: Vec<&Value> = verified["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .collect();
    assert_eq!(differing.len(), 1, "{differing:#?}");
    assert_eq!(
        (&differing[0]["name"], &differing[0]["found"]),
        (&"dead letters that are valid now".into(), &(DOCUMENTS + TICKS).into())
    );
    assert!(
        differing[0].to_string().contains("`dp dlq replay` sends it"),
        "{differing:#?}"
    );
}

#[test]
fn a_letter_is_replayed_once_whenever_the_command_is_killed() {
    let pipeline = Pipeline::shared();
    restart(&pipeline, Some("price_maximum"));
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    (0..DOCUMENTS).for_each(|number| publisher.send(&document(number)).unwrap());
    (0..TICKS).for_each(|number| publisher.send(&tick(number)).unwrap());
    publisher.finish().unwrap();
    eventually("each is a dead letter", || {
        Ok(letters(&pipeline)? == (DOCUMENTS + TICKS) as u64)
    })
    .unwrap();
    restart(&pipeline, None);
    // Of a process that has rejected nothing itself.
    let open = json(&pipeline, &["dlq", "stats"]).1["letters"].as_f64();
    eventually("the gauges of a new process are those of the topic", || {
        let oldest = gauge(&pipeline, "dlq_oldest_message_age_seconds{")?;
        Ok(gauge(&pipeline, "dlq_size{")? == open && oldest.is_some_and(|age| age > 0.0))
    })
    .unwrap();
    waits_for_the_replay(&pipeline);

    let (code, planned) = json(&pipeline, &["dlq", "replay", "--code", "quality_rule", "--dry-run"]);
    assert_eq!(code, Some(0));
    assert_eq!(planned["replayed"].as_array().unwrap().len(), DOCUMENTS + TICKS);
    let kills = replay_with_kills(&pipeline);
    assert!(kills >= 3, "{kills}");
    assert_eq!(letters(&pipeline).unwrap(), 0);
    let (code, again) = json(&pipeline, &["dlq", "replay", "--code", "quality_rule"]);
    assert_eq!((code, again["replayed"].as_array().unwrap().len()), (Some(0), 0));

    // In the log: one replay of each letter.
    let raw = kafka::read_all(&pipeline.bootstrap(), RAW).unwrap();
    let mut replays: BTreeMap<String, usize> = BTreeMap::new();
    let ours = |record: &&kafka::Record| String::from_utf8_lossy(&record.payload).contains("REPLAYS");
    raw.iter()
        .filter(ours)
        .filter_map(|record| record.header("dp.replay.letter"))
        .for_each(|letter| *replays.entry(letter).or_default() += 1);
    assert_eq!(replays.len(), DOCUMENTS + TICKS);
    assert!(replays.values().all(|count| *count == 1), "{replays:?}");

    // In the tables: each row and each tick once.
    let sql = "SELECT count(), uniqExact(instrument_id) FROM market_ticks WHERE instrument_id LIKE '%REPLAYS.%'";
    let all = (3 * DOCUMENTS + TICKS).to_string();
    eventually(sql, || {
        Ok(pipeline.clickhouse.rows(sql)? == [[all.clone(), all.clone()]])
    })
    .unwrap();
    pipeline.agree().unwrap();

    let open = json(&pipeline, &["dlq", "stats"]).1["letters"].as_f64();
    eventually("dlq_size counts the open letters", || {
        Ok(gauge(&pipeline, "dlq_size{")? == open)
    })
    .unwrap();
    // A process that `dp` has started is not a child of this program, but other tests wait for their child processes.
    assert!(pipeline.stack().stop(Service::Normalization).unwrap());
    pipeline.stack().start_services().unwrap();
}
