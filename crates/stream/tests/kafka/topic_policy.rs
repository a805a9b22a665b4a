//! A cluster whose policy limits topics: the error has the policy's own words, what was asked for, and the setting.

use std::path::Path;
use std::process::Command;

use domain::Classified as _;
use stream::Brokers;
use stream::kafka::admin::{TopicSpec, create_topics};
use testkit::secured_kafka::SecuredKafka;

const POLICY: &str = r#"
import java.util.Map;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.CreateTopicPolicy;

public class AtMostTwo implements CreateTopicPolicy {
    public void configure(Map<String, ?> configs) {}
    public void validate(RequestMetadata topic) {
        if (topic.numPartitions() != null && topic.numPartitions() > 2)
            throw new PolicyViolationException("at most 2 partitions, not " + topic.numPartitions());
    }
    public void close() {}
}
"#;

#[test]
fn a_refused_topic_is_named_with_the_policies_words_and_the_setting() {
    let stack = localstack::Temporary::new().unwrap();
    let classpath = stack.kafka_classpath().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("AtMostTwo.java");
    std::fs::write(&source, POLICY).unwrap();
    let compiled = Command::new("javac")
        .args(["-cp", &classpath, "-d"])
        .arg(folder.path())
        .arg(&source)
        .output()
        .expect("javac is part of openjdk-17-jdk-headless");
    assert!(compiled.status.success(), "{compiled:?}");
    let classpath = format!("{classpath}:{}", folder.path().display());
    let policy = "create.topic.policy.class.name=AtMostTwo\n";
    let kafka = SecuredKafka::start_with(&classpath, Path::new("/var/tmp"), &[], policy).unwrap();
    let admin = Brokers::plaintext(&kafka.admin());
    let spec = |name: &str, partitions| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: 1,
        config: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime
        .block_on(create_topics(&admin, &[spec("small", 2), spec("wide", 12)]))
        .expect_err("the policy refuses it");
    assert_eq!(error.code(), "create_topic_failed", "{error}");
    let shown = error.to_string();
    for words in [
        "create topic wide",
        "at most 2 partitions, not 12",
        "partitions=12 replication=1 cleanup.policy=compact",
        "DATA_PROC_TOPIC_PARTITIONS",
    ] {
        assert!(shown.contains(words), "'{words}' is missing: {shown}");
    }
}
