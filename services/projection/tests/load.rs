//! The process with many prices, on real servers: readiness, memory per instrument, and cost of the count.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "load/revoked.rs"]
mod revoked;

use std::time::{Duration, Instant};

use localstack::{Server, Temporary};
use security::{Secret, Trust};
use serde_json::Value;
use stores::Postgres;
use stores::postgres::migrate;
use stream::Brokers;
use stream::kafka::admin::{TopicSpec, create_topics};
use testkit::PATIENCE;
use testkit::process::ServiceProcess;

const PARTITIONS: i32 = 4;
/// Prices stored before the service starts.
const STORED: i64 = 300_000;
/// Most memory per instrument.
const MOST_BYTES: u64 = 500;
/// A count that reads every price takes a hundred times as long with the stored prices as without any.
const MOST_TIMES_AS_LONG: u32 = 20;

const PROJECTION: &str = env!("CARGO_BIN_EXE_projection");

fn until_ready(projection: &ServiceProcess) {
    projection
        .wait_until("ready", "/health/ready", |status, _| status == 200)
        .unwrap();
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
            "aggregation.derived.v1",
            "aggregation.curves.v1",
            "aggregation.legs.v1",
            "aggregation.state.v1",
            "projection.invalidation.v1",
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

/// How long the fastest of twenty counts takes, which is how long one takes without what else the machine does. It is at least a
/// millisecond, so that two short times are not compared.
fn fastest_count(projection: &ServiceProcess, prices: i64) -> Duration {
    let one = || {
        let asked = Instant::now();
        loop {
            let (status, answer) = projection.get("/cache/status").unwrap();
            let took = asked.elapsed();
            // There is no number while the first count of all runs.
            if status == 200 && answer["latest_prices"].is_null() && took < PATIENCE {
                continue;
            }
            assert_eq!((status, &answer["latest_prices"]), (200, &prices.into()));
            return took;
        }
    };
    (0..20).map(|_| one()).min().unwrap().max(Duration::from_millis(1))
}

fn state_of(projection: &ServiceProcess) -> Value {
    projection.get("/health").unwrap().1["checks"]["state"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_when_its_prices_are_read_and_each_costs_little_memory() {
    let (stack, postgres) = servers().await;

    let mut env = stack.env();
    // Freed memory that the allocator keeps for later does not grow with the prices.
    env.insert("MALLOC_TRIM_THRESHOLD_".into(), "131072".into());
    env.insert("MALLOC_TOP_PAD_".into(), "0".into());
    // Without stored prices, for comparison.
    let empty = ServiceProcess::start(PROJECTION, &env).unwrap();
    until_ready(&empty);
    let before = empty.resident_bytes().unwrap();
    let count_of_none = fastest_count(&empty, 0);
    drop(empty);

    let rows = format!(
        "INSERT INTO served_latest_prices SELECT '', 'default', 'MISO.NODE_' || i || '.RT5', i, 1, \
         timestamptz 'epoch' + i * interval '1 s', 'ingestion.market.raw.v1', 0, i, 0, i % {PARTITIONS}, 'MISO', 'rt5', \
         'USD', 'MWh', '{{}}', now() FROM generate_series(1, {STORED}) i"
    );
    postgres.exec(&rows).await.unwrap();

    // While the prices cannot be read, the service is live but not ready, and reports what it waits for.
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
    let projection = ServiceProcess::start(PROJECTION, &env).unwrap();
    eventually("the restoring state is told", || {
        state_of(&projection)["status"] == "fail"
    });
    let state = state_of(&projection);
    let error = state["error"].as_str().unwrap_or_default();
    assert!(
        error.contains("project-0 is restoring enriched.market.ticks.v1") && error.contains("prices read"),
        "{state}"
    );
    let (status, ready) = projection.get("/health/ready").unwrap();
    assert!(
        status == 503 && ready["error"].as_str().unwrap().starts_with("state: "),
        "{status} {ready}"
    );
    assert_eq!(projection.get("/health/live").unwrap().0, 200);
    gate.exec("SELECT pg_advisory_unlock(1)").await.unwrap();
    locked.await.unwrap();
    until_ready(&projection);
    assert_eq!(state_of(&projection)["status"], "pass");

    // Redis is filled, and its prices are counted while a request waits.
    eventually("redis holds all prices", || {
        projection.get("/cache/status").unwrap().1["latest_prices"] == STORED
    });
    let count = fastest_count(&projection, STORED);
    let cost = projection.resident_bytes().unwrap().saturating_sub(before) / STORED.unsigned_abs();
    println!("{cost} bytes an instrument; a count takes {count:?}, of none {count_of_none:?}");
    assert!(cost <= MOST_BYTES, "{cost} bytes an instrument");
    assert!(
        count <= count_of_none * MOST_TIMES_AS_LONG,
        "{count:?}, of none {count_of_none:?}"
    );
}
