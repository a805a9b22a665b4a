//! A partition whose last record belongs to a transaction ends with a marker that no reader gets. A worker that takes such a partition
//! again must not wait for a message at that place.

use std::time::{Duration, Instant};

use e2e::{PATIENCE, Pipeline, eventually};
use localstack::{Server, Service};
use testkit::hostile::{Record, Transaction};
use testkit::kafka;

const RAW: &str = "ingestion.market.raw.v1";
/// Longer than the session of a member: the client gives its partitions up by itself.
const AWAY: Duration = Duration::from_secs(13);

fn tick(id: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "envelope": {
            "event_type": "ingestion.market.raw.v1", "event_id": id, "timestamp": "2026-10-01T00:00:00Z", "tenant_id": "marker",
            "source": "test", "version": "1.0",
        },
        "payload": {
            "market": "MISO", "instrument_id": "MARKER",
            "raw_data": {"timestamp": "2026-10-01T00:00:00Z", "price": 1, "volume": 2},
        },
    });
    body.to_string().into_bytes()
}

/// Ends every raw partition with a marker.
fn end_with_markers(pipeline: &Pipeline) {
    let bootstrap = pipeline.bootstrap();
    for (partition, _) in kafka::ends(&bootstrap, RAW).unwrap() {
        let record = Record {
            partition,
            payload: Some(tick(&format!("marker-{partition}"))),
            ..Record::default()
        };
        let id = format!("marker-{partition}");
        let mut transaction = Transaction::begin(&bootstrap, &id, Duration::from_secs(60)).unwrap();
        transaction.send(RAW, &record).unwrap();
        transaction.commit().unwrap();
    }
}

#[test]
fn a_partition_that_ends_with_a_marker_is_ready_again_after_kafka_was_away_and_after_a_restart() {
    let pipeline = Pipeline::shared();
    let stack = pipeline.stack();
    pipeline.publish_once(200, 61).unwrap();
    end_with_markers(&pipeline);
    pipeline.agree().unwrap();

    stack.kill9(Server::Kafka).unwrap();
    let killed = Instant::now();
    eventually("the session of the members is over", || Ok(killed.elapsed() > AWAY)).unwrap();
    stack.start(Server::Kafka).unwrap();
    stack.wait_ready(Service::Normalization, PATIENCE).unwrap();

    pipeline.kill_and_restart(Service::Normalization).unwrap();
    pipeline.publish_once(200, 62).unwrap();
    pipeline.agree().unwrap();
}
