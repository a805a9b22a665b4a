//! A broker of its own with some topics.

use std::path::Path;

use stream::Brokers;
use stream::kafka::admin::{TopicSpec, create_topics};
use testkit::secured_kafka::SecuredKafka;

/// Ends with its broker when it is dropped.
pub struct Broker {
    /// Where it is.
    pub brokers: Brokers,
    _kafka: SecuredKafka,
    /// Owns the programs of the broker.
    _stack: localstack::Temporary,
}

/// Starts a broker with these topics, each with so many partitions.
pub fn with_topics(topics: &[(&str, i32)]) -> Broker {
    let stack = localstack::Temporary::new().unwrap();
    let kafka = SecuredKafka::start(&stack.kafka_classpath().unwrap(), Path::new("/var/tmp"), &[]).unwrap();
    let brokers = Brokers::plaintext(&kafka.admin());
    let specs: Vec<TopicSpec> = topics
        .iter()
        .map(|(name, partitions)| TopicSpec {
            name: (*name).to_owned(),
            partitions: *partitions,
            replication: 1,
            config: Vec::new(),
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(create_topics(&brokers, &specs)).unwrap();
    Broker {
        brokers,
        _kafka: kafka,
        _stack: stack,
    }
}
