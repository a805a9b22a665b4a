//! A right that PostgreSQL takes away while the service runs: health names it until it is back.

use stream::kafka::publisher::{Publisher, Record};

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
    let projection = Projection::start(env);
    projection.until_ready();
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
    let workers = || projection.get("/health").1["checks"]["workers"].clone();
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
    assert_eq!(projection.get("/health/live").0, 200);
    postgres
        .exec("GRANT INSERT, UPDATE ON projection_positions TO CURRENT_USER")
        .await
        .unwrap();
    eventually("it passes", || workers()["status"] == "pass");
    while stored().await.as_deref() != Some("2") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    projection.until_ready();
}
