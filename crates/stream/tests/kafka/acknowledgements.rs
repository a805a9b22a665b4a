//! A worker that rests between its turns still sees every acknowledgement: its positions follow the broker.

use std::time::{Duration, Instant};

use stream::Partition;
use stream::kafka::producer::{OrderedProducer, Output};
use stream::kafka::reader::LogReader;
use stream::kafka::settings::Compression;

use crate::broker;
use testkit::PATIENCE;

const TOPIC: &str = "outputs";
const PARTITIONS: i32 = 16;
const ROUNDS: i64 = 40;

/// Regression: the reports of a round come partition by partition, in any order. A turn that stopped at the first one that
/// did not move the position left the others to the next turn, and the position fell behind further and further.
#[test]
fn one_turn_serves_the_reports_of_all_partitions_in_whatever_order_they_come() {
    let broker = broker::with_topics(&[(TOPIC, PARTITIONS)]);
    let brokers = &broker.brokers;
    let producer = OrderedProducer::new(brokers, "test", Compression::None);
    let log = LogReader::new(brokers).unwrap();
    let is_in_the_log = |number: i32, round: i64| {
        let partition = Partition {
            topic: TOPIC.into(),
            number,
        };
        log.log_range(&partition).is_ok_and(|(_, end)| end > round)
    };
    let headers = Vec::new();
    for round in 0..ROUNDS {
        for partition in 0..PARTITIONS {
            let output = Output {
                topic: TOPIC,
                partition,
                key: None,
                payload: Some(b"output"),
                headers: &headers,
            };
            producer.send(&output, || true).unwrap();
        }
        producer.push();
        let began = Instant::now();
        while !(0..PARTITIONS).all(|number| is_in_the_log(number, round)) {
            assert!(began.elapsed() < PATIENCE, "round {round} is not in the log");
        }
        producer.serve(Duration::ZERO).unwrap();
    }
    let open = producer.last_ticket().0 - producer.acked_through().0;
    let of_two_rounds = 2 * PARTITIONS as u64;
    assert!(
        open <= of_two_rounds,
        "{open} outputs of {} are open",
        producer.last_ticket().0
    );
}
