//! A right, a table or a topic that is taken away while the service runs: health names it until it is back.

use stream::kafka::publisher::{Publisher, Record};
use testkit::kafka::Topics;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_taken_away_while_running_is_named_in_health_until_it_is_back() {
    let (stack, postgres) = servers().await;
    let env = stack.env();
    let brokers = Brokers::plaintext(&env["DATA_PROC_KAFKA_BOOTSTRAP"]);
    // A record that holds no tick becomes a dead letter, and moves the stored position.
    let publish = || {
        let record = Record {
            topic: "enriched.market.ticks.v1",
            partition: Some(0),
            payload: Some(b"no tick"),
            ..Record::default()
        };
        Publisher::new(&brokers, "test").unwrap().publish(&record).unwrap();
    };
    let stored = async || {
        let position = "SELECT max(next_offset)::text FROM projection_positions WHERE partition = 0";
        postgres.query_text(position).await.unwrap()[0][0].clone()
    };
    let projection = ServiceProcess::start(PROJECTION, &env).unwrap();
    until_ready(&projection);
    publish();
    while stored().await.as_deref() != Some("1") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The owner of a table may take its own rights away, and give them back.
    postgres
        .exec("REVOKE INSERT, UPDATE ON projection_positions FROM CURRENT_USER")
        .await
        .unwrap();
    publish();
    let workers = || projection.get("/health").unwrap().1["checks"]["workers"].clone();
    eventually("the refusal is named", || {
        let error = workers()["error"].as_str().unwrap_or_default().to_owned();
        [
            "project-0",
            "grant_missing",
            "projection_positions",
            "42501",
            "docs/security.md",
        ]
        .iter()
        .all(|word| error.contains(word))
    });
    assert_eq!(projection.get("/health/live").unwrap().0, 200);
    postgres
        .exec("GRANT INSERT, UPDATE ON projection_positions TO CURRENT_USER")
        .await
        .unwrap();
    eventually("it passes", || workers()["status"] == "pass");
    while stored().await.as_deref() != Some("2") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_ready(&projection);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_dropped_and_a_topic_deleted_while_running_are_named_in_health_until_they_are_back() {
    let (stack, postgres) = servers().await;
    let env = stack.env();
    let address = &env["DATA_PROC_KAFKA_BOOTSTRAP"];
    let projection = ServiceProcess::start(PROJECTION, &env).unwrap();
    until_ready(&projection);
    let says = |check: &str, words: &[&str]| {
        eventually(check, || {
            let body = projection.get("/health").unwrap().1;
            let error = body["checks"][check]["error"].as_str().unwrap_or_default().to_owned();
            words.iter().all(|word| error.contains(word))
        });
    };
    let passes = |check: &str| {
        eventually(check, || {
            projection.get("/health").unwrap().1["checks"][check]["status"] == "pass"
        });
    };

    Topics::new(address).unwrap().delete("dlq").unwrap();
    says("kafka", &["topic dlq", "dp topics create"]);
    let dlq = TopicSpec {
        name: "dlq".into(),
        partitions: 1,
        replication: 1,
        config: Vec::new(),
    };
    create_topics(&Brokers::plaintext(address), &[dlq]).await.unwrap();
    passes("kafka");

    let publish = || {
        let record = Record {
            topic: "enriched.market.ticks.v1",
            partition: Some(0),
            payload: Some(b"no tick"),
            ..Record::default()
        };
        let mut publisher = Publisher::new(&Brokers::plaintext(address), "test").unwrap();
        publisher.publish(&record).unwrap();
    };
    publish();
    let stored = async || {
        let position = "SELECT max(next_offset)::text FROM projection_positions WHERE partition = 0";
        postgres.query_text(position).await.unwrap()[0][0].clone()
    };
    while stored().await.as_deref() != Some("1") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    postgres
        .exec("DROP TABLE served_latest_prices; DROP TABLE projection_positions")
        .await
        .unwrap();
    publish();
    let named = ["schema_missing", "projection_positions", "run `dp migrate`"];
    says("postgres_tables", &[&named[..], &["served_latest_prices"]].concat());
    says("workers", &named);
    assert_eq!(projection.get("/health/live").unwrap().0, 200);

    stores::postgres::recreate(&postgres).await.unwrap();
    passes("postgres_tables");
    passes("workers");
    // Read again from the beginning of the log.
    while stored().await.as_deref() != Some("2") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_ready(&projection);
}
