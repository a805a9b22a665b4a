//! Enrichment on the real servers: exactly once into ClickHouse across a kill, dead letters, changes of reference data, and
//! an outage of Postgres.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "stack/changes.rs"]
mod changes;
#[path = "stack/revoked.rs"]
mod revoked;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use codec::Wire;
use domain::{Origin, Tick};
use localstack::{Server, Temporary};
use serde_json::Value;
use service::clients::{Clients, Dependency, Use};
use service::{Names, Settings};
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::publisher::{Publisher, Record};
use testkit::process::ServiceProcess;

const USES: &[Use] = &[
    Use::required(Dependency::ClickHouse),
    Use::required(Dependency::Postgres),
];
const TICKS: i64 = 20_000;

struct Bench {
    stack: Temporary,
    runtime: tokio::runtime::Runtime,
    env: BTreeMap<String, String>,
    settings: Settings,
    names: Names,
    clients: Clients,
}

fn bench() -> Bench {
    bench_on(Temporary::new().unwrap())
}

fn bench_on(stack: Temporary) -> Bench {
    stack.up().unwrap();
    let mut env = stack.env();
    env.insert("DATA_PROC_HEALTH_PORT".into(), "0".into());
    env.insert("DATA_PROC_FLUSH_INTERVAL_MS".into(), "200".into());
    let settings = service::settings::load(&env, 0, |_| ()).unwrap().settings;
    let names = Names::new(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let clients = {
        let _context = runtime.enter();
        Clients::connect(USES, &settings, &names).unwrap()
    };
    let topics: Vec<TopicSpec> = [
        &names.raw[0],
        &names.normalized,
        &names.enriched,
        &names.bars,
        &names.late,
        &names.state,
        &names.dlq,
    ]
    .into_iter()
    .map(|name| TopicSpec {
        name: name.clone(),
        partitions: if *name == names.dlq { 1 } else { 4 },
        replication: 1,
        config: vec![],
    })
    .collect();
    runtime.block_on(async {
        create_topics(&settings.kafka_bootstrap, &topics).await.unwrap();
        clients.migrate_postgres().await.unwrap();
        stores::postgres::seed_reference(&clients.postgres().unwrap(), "default")
            .await
            .unwrap();
    });
    Bench {
        stack,
        runtime,
        env,
        settings,
        names,
        clients,
    }
}

impl Bench {
    fn clickhouse(&self, sql: &str) -> Vec<serde_json::Map<String, Value>> {
        // The table does not exist before the service has created it.
        self.runtime
            .block_on(self.clients.clickhouse().unwrap().query_json(sql))
            .unwrap_or_default()
    }

    fn postgres(&self, sql: &str) {
        self.runtime
            .block_on(self.clients.postgres().unwrap().exec(sql))
            .unwrap();
    }

    fn wait_for_rows(&self, expected: i64, service: &ServiceProcess) {
        let sql = "SELECT count() AS n, uniqExact(feed, raw_partition, raw_offset, raw_index) AS u FROM enriched_ticks";
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let rows = self.clickhouse(sql);
            let number = |name: &str| {
                rows.first()
                    .and_then(|row| row[name].as_str()?.parse::<i64>().ok())
                    .unwrap_or(0)
            };
            if number("n") == expected && number("u") == expected {
                return;
            }
            assert!(number("n") <= expected, "doubled: {rows:?}");
            assert!(
                Instant::now() < deadline,
                "{rows:?} of {expected}; {}",
                service.get("/stats").unwrap().1
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Publishes the ticks with these raw offsets, each twice, as a restarted stage does.
    fn publish(&self, offsets: std::ops::Range<i64>) {
        let wire = Wire::single_object();
        let mut publisher = Publisher::new(&self.settings.kafka_bootstrap, "test").unwrap();
        let instruments = [
            "MISO.INDIANA.HUB.RT5",
            "HEATING_OIL_TEST",
            "XYZZY",
            "MISO.SOMEWHERE.RT5",
        ];
        // The raw messages of the origins: a tick without one would be foreign.
        for _ in offsets.clone() {
            publisher
                .send(&Record {
                    topic: &self.names.raw[0],
                    partition: Some(0),
                    ..Record::default()
                })
                .unwrap();
        }
        for _ in 0..2 {
            for offset in offsets.clone() {
                let partition = (offset % 4) as i32;
                let instrument_id = instruments[partition as usize];
                let market = if instrument_id.starts_with("MISO") {
                    "MISO"
                } else {
                    "NYMEX"
                };
                let mut payload = Vec::new();
                wire.encode_tick(&tick(&self.names.raw[0], offset, instrument_id, market), &mut payload);
                let key = format!("default|{instrument_id}");
                publisher
                    .send(&Record {
                        topic: &self.names.normalized,
                        partition: Some(partition),
                        key: Some(key.as_bytes()),
                        payload: Some(&payload),
                        ..Record::default()
                    })
                    .unwrap();
            }
        }
        publisher.finish().unwrap();
    }
}

fn tick<'a>(feed: &'a str, offset: i64, instrument_id: &'a str, market: &'a str) -> Tick<'a> {
    Tick {
        origin: Origin {
            feed,
            partition: 0,
            offset,
            index: 0,
        },
        appended_at: stream::status::wall_clock(),
        tenant_id: "default",
        instrument_id,
        market,
        event_time: 1_700_000_000_000_000 + offset,
        price: "31.55".parse().unwrap(),
        product: "rt5",
        normalized_at: 1,
        ..domain::fixtures::tick()
    }
}

const ENRICHMENT: &str = env!("CARGO_BIN_EXE_enrichment");

#[test]
fn ticks_are_enriched_exactly_once_across_a_kill_and_an_outage() {
    let bench = bench();
    let service = ServiceProcess::start(ENRICHMENT, &bench.env).unwrap();
    service
        .wait_until("ready", "/health/ready", |status, _| status == 200)
        .unwrap();

    bench.publish(0..TICKS);
    let half = Instant::now() + Duration::from_secs(30);
    while bench
        .clickhouse("SELECT count() AS n FROM enriched_ticks HAVING n > 0")
        .is_empty()
    {
        assert!(Instant::now() < half, "{:?}", service.get("/stats").unwrap());
    }
    service.signal("-KILL").unwrap();
    let service = ServiceProcess::start(ENRICHMENT, &bench.env).unwrap();
    bench.wait_for_rows(TICKS, &service);

    let methods = "SELECT instrument_id, classification_method AS m, commodity AS c, count() AS n FROM enriched_ticks \
                   GROUP BY ALL ORDER BY instrument_id";
    let found: Vec<String> = bench
        .clickhouse(methods)
        .iter()
        .map(|row| format!("{} {} {} {}", row["instrument_id"], row["m"], row["c"], row["n"]))
        .collect();
    let quarter = TICKS / 4;
    let expected = [
        ("HEATING_OIL_TEST", "rule_based", "refined_products"),
        ("MISO.INDIANA.HUB.RT5", "database", "electricity"),
        ("MISO.SOMEWHERE.RT5", "rule_based", "electricity"),
        ("XYZZY", "fallback", "unknown"),
    ]
    .map(|(id, method, commodity)| format!("\"{id}\" \"{method}\" \"{commodity}\" \"{quarter}\""));
    assert_eq!(found, expected);

    // A row added to Postgres is used for the next tick, without a restart.
    service
        .wait_until("rules first", "/taxonomy/XYZZY", |_, body| {
            body["classification_method"] == "fallback"
        })
        .unwrap();
    bench.postgres(
        "INSERT INTO taxonomy_instruments (tenant_id, instrument_id, commodity, region) VALUES ('default', 'XYZZY', 'coal', 'west')",
    );
    service
        .wait_until("the notification", "/taxonomy/XYZZY", |_, body| {
            body["classification_method"] == "database"
        })
        .unwrap();

    // While Postgres is down: degraded, still ready, and ticks continue with the rows in memory.
    bench.stack.kill9(Server::Postgres).unwrap();
    service
        .wait_until("degraded", "/health", |status, body| {
            status == 200 && body["status"] == "degraded" && body["postgres"] == false
        })
        .unwrap();
    assert_eq!(service.get("/health/ready").unwrap().0, 200);
    bench.publish(TICKS..TICKS + 400);
    bench.wait_for_rows(TICKS + 400, &service);
    let known = bench
        .clickhouse("SELECT count() AS n FROM enriched_ticks WHERE instrument_id = 'XYZZY' AND commodity = 'coal'");
    assert_eq!(known[0]["n"], "100");

    let (_, stats) = service.get("/stats").unwrap();
    println!("{stats}");
    assert!(stats["memory_usage_bytes"].as_u64().unwrap() < 150_000_000, "{stats}");
    assert_eq!(service.signal("-TERM").unwrap(), Some(0));
}

#[test]
fn a_message_that_is_not_a_tick_becomes_a_dead_letter_and_the_next_tick_is_processed() {
    let bench = bench();
    let service = ServiceProcess::start(ENRICHMENT, &bench.env).unwrap();
    let mut publisher = Publisher::new(&bench.settings.kafka_bootstrap, "test").unwrap();
    let poison = Record {
        topic: &bench.names.normalized,
        partition: Some(1),
        key: Some(b"default|X"),
        payload: Some(b"{\"no\":\"tick\"}"),
        ..Record::default()
    };
    publisher.send(&poison).unwrap();
    publisher.finish().unwrap();
    bench.publish(0..40);
    bench.wait_for_rows(40, &service);
    let metrics = service.get("/metrics").unwrap().1.to_string();
    assert!(metrics.contains("error_code=\\\"unknown_schema\\\"} 1"), "{metrics}");
    let reader = stream::kafka::reader::LogReader::new(&bench.settings.kafka_bootstrap).unwrap();
    let partition = stream::Partition {
        topic: bench.names.dlq.as_str().into(),
        number: 0,
    };
    let mut letters = Vec::new();
    let (first, end) = reader.log_range(&partition).unwrap();
    reader
        .read(&partition, first, end, |message| {
            letters.push((
                message.payload.map(<[u8]>::to_vec),
                message.header("dp.error.code").map(<[u8]>::to_vec),
            ));
            true
        })
        .unwrap();
    assert_eq!(
        letters,
        [(Some(b"{\"no\":\"tick\"}".to_vec()), Some(b"unknown_schema".to_vec()))]
    );
    assert_eq!(service.signal("-TERM").unwrap(), Some(0));
}
