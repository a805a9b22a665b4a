//! The process with many prices, on real servers: readiness, memory per instrument, and latency of the count.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "load/revoked.rs"]
mod revoked;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use localstack::{Server, Temporary};
use security::{Secret, Trust};
use serde_json::Value;
use stores::Postgres;
use stores::postgres::migrate;
use stream::Brokers;
use stream::kafka::admin::{TopicSpec, create_topics};

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;
/// Prices stored before the service starts.
const STORED: i64 = 200_000;
/// Most memory per instrument.
const MOST_BYTES: u64 = 500;

struct Projection {
    child: Child,
    port: u16,
}

impl Projection {
    fn start(mut env: BTreeMap<String, String>) -> Projection {
        env.insert("DATA_PROC_HEALTH_PORT".into(), "0".into());
        let mut child = Command::new(env!("CARGO_BIN_EXE_projection"))
            .env_clear()
            .envs(env)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addresses = loop {
            let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["event"] == "started" {
                break line["addresses"].as_str().unwrap().to_owned();
            }
        };
        // The log is printed if the test fails.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        let port = addresses.trim_matches(['[', ']']).rsplit(':').next().unwrap();
        Projection {
            port: port.parse().unwrap(),
            child,
        }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        get(self.port, path)
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    fn until_ready(&self) {
        eventually("ready", || self.get("/health/ready").0 == 200);
    }
}

impl Drop for Projection {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn get(port: u16, path: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn servers() -> (Temporary, Postgres) {
    let stack = Temporary::new().unwrap();
    for server in [Server::Kafka, Server::Postgres, Server::Redis] {
        stack.start(server).unwrap();
    }
    for server in [Server::Kafka, Server::Postgres, Server::Redis] {
        stack.wait_ready(server, PATIENCE).unwrap();
    }
    let topic = |name: &str, partitions| TopicSpec {
        name: name.into(),
        partitions,
        replication: 1,
        config: vec![("message.timestamp.type".into(), "LogAppendTime".into())],
    };
    let mut topics = vec![topic("dlq", 1)];
    topics.extend(
        [
            "ingestion.market.raw.v1",
            "normalized.market.ticks.v1",
            "enriched.market.ticks.v1",
            "aggregation.bars.v1",
            "aggregation.late.v1",
            "aggregation.state.v1",
        ]
        .map(|name| topic(name, PARTITIONS)),
    );
    let env = stack.env();
    create_topics(&Brokers::plaintext(&env["DATA_PROC_KAFKA_BOOTSTRAP"]), &topics)
        .await
        .unwrap();
    let postgres = Postgres::connect(
        &Secret::new(env["DATA_PROC_POSTGRES_DSN"].as_str()),
        &Trust::default(),
        5,
    )
    .unwrap();
    migrate(&postgres).await.unwrap();
    (stack, postgres)
}

fn state_of(projection: &Projection) -> Value {
    projection.get("/health").1["checks"]["state"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_when_its_prices_are_read_and_each_costs_little_memory() {
    let (stack, postgres) = servers().await;

    // Without stored prices, for comparison.
    let empty = Projection::start(stack.env());
    empty.until_ready();
    let before = empty.resident_bytes();
    drop(empty);

    let rows = format!(
        "INSERT INTO served_latest_prices SELECT '', 'default', 'MISO.NODE_' || i || '.RT5', i, 1, \
         timestamptz 'epoch' + i * interval '1 s', 'ingestion.market.raw.v1', 0, i, 0, i % {PARTITIONS}, 'MISO', 'rt5', \
         'USD', 'MWh', '{{}}', now() FROM generate_series(1, {STORED}) i"
    );
    postgres.exec(&rows).await.unwrap();

    // While the prices cannot be read, the service is live but not ready, and reports what it waits for.
    let env = stack.env();
    // One session locks the table until the other releases its advisory lock.
    let session = || {
        Postgres::connect(
            &Secret::new(env["DATA_PROC_POSTGRES_DSN"].as_str()),
            &Trust::default(),
            1,
        )
        .unwrap()
    };
    let (gate, locker) = (session(), session());
    gate.exec("SELECT pg_advisory_lock(1)").await.unwrap();
    let locked = tokio::spawn(async move {
        let lock =
            "BEGIN; LOCK TABLE served_latest_prices IN ACCESS EXCLUSIVE MODE; SELECT pg_advisory_lock(1); COMMIT";
        locker.exec(lock).await.unwrap();
    });
    let is_locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                     AND relation = 'served_latest_prices'::regclass";
    while postgres.query_text(is_locked).await.unwrap() != [[Some("1".to_owned())]] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let projection = Projection::start(env.clone());
    eventually("the restore is reported", || state_of(&projection)["status"] == "fail");
    let state = state_of(&projection);
    let error = state["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("project-0 is restoring enriched.market.ticks.v1") && error.contains("prices read"),
        "{state}"
    );
    let (status, ready) = projection.get("/health/ready");
    assert!(
        status == 503 && ready["error"].as_str().unwrap().starts_with("state: "),
        "{status} {ready}"
    );
    assert_eq!(projection.get("/health/live").0, 200);
    gate.exec("SELECT pg_advisory_unlock(1)").await.unwrap();
    locked.await.unwrap();
    projection.until_ready();
    assert_eq!(state_of(&projection)["status"], "pass");

    // Redis is filled, and its prices are counted while a request waits.
    eventually("redis holds all prices", || {
        projection.get("/cache/status").1["latest_prices"] == STORED
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        let (status, answer) = projection.get("/cache/status");
        slowest = slowest.max(asked.elapsed());
        assert_eq!((status, &answer["latest_prices"]), (200, &STORED.into()));
    }
    let cost = projection.resident_bytes().saturating_sub(before) / STORED.unsigned_abs();
    println!("{cost} bytes an instrument; slowest count {slowest:?}");
    assert!(cost <= MOST_BYTES, "{cost} bytes an instrument");
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
}
