//! A right that the broker takes away while a worker runs: its state names it, and the worker continues once it is back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use delivery::StartAt;
use security::Secret;
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::brokers::{Login, Mechanism, Protocol, Security};
use stream::kafka::groups::GroupReader;
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::reader::LogReader;
use stream::{
    Brokers, Compression, Handler, Io, Message, Outcome, Pace, Partition, Shutdown, StreamError, WorkerConfig,
    WorkerState, WorkerStatus,
};
use testkit::secured_kafka::{PASSWORD, SecuredKafka, USER};

const TOPIC: &str = "ticks";
const GROUP: &str = "readers";
const LIMIT: Duration = Duration::from_secs(90);

/// Counts messages, and confirms each.
struct Counting(Arc<AtomicU64>);

impl Handler for Counting {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for (partition, committed) in io.committed(partitions)? {
            io.start(&partition, committed.map_or(StartAt::Beginning, StartAt::Offset));
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let partition = Partition {
            topic: message.topic.into(),
            number: message.partition,
        };
        io.commit(&partition, message.offset + 1);
        Ok(Outcome::Success)
    }

    fn turn(&mut self, _: &mut Io<'_>) -> Result<(), StreamError> {
        Ok(())
    }

    fn revoked(&mut self, _: &mut Io<'_>, _: &[Partition]) -> Result<(), StreamError> {
        Ok(())
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn secured(kafka: &SecuredKafka) -> Brokers {
    let login = Login::Password {
        mechanism: Mechanism::ScramSha512,
        username: USER.to_owned(),
        password: Secret::new(PASSWORD),
    };
    let security = Security {
        protocol: Protocol::SaslSsl,
        login: Some(login),
        authority: Some(kafka.ca()),
        ..Security::default()
    };
    Brokers::new(&kafka.secured(), security)
}

#[test]
fn a_right_taken_away_while_running_is_named_until_it_is_back() {
    let stack = localstack::Temporary::new().unwrap();
    let kafka = SecuredKafka::start(&stack.kafka_classpath().unwrap(), Path::new("/var/tmp"), &[]).unwrap();
    let admin = Brokers::plaintext(&kafka.admin());
    let spec = |name: &str| TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        replication: 1,
        config: vec![("message.timestamp.type".to_owned(), "LogAppendTime".to_owned())],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(create_topics(&admin, &[spec(TOPIC), spec("dlq")]))
        .unwrap();
    let read = ["--operation", "Read", "--topic", TOPIC];
    kafka.grant(USER, &read).unwrap();
    kafka
        .grant(USER, &["--operation", "Describe", "--topic", TOPIC])
        .unwrap();
    kafka.grant(USER, &["--operation", "Read", "--group", GROUP]).unwrap();
    // The broker applies rights in their order, and somewhat later: the last one shows that all are there.
    kafka.grant(USER, &["--operation", "Write", "--topic", "dlq"]).unwrap();
    eventually("the rights are there", || {
        LogReader::new(&secured(&kafka)).unwrap().partitions("dlq").is_ok()
    });

    let config = WorkerConfig {
        service: "tested".to_owned(),
        generation: String::new(),
        bootstrap: secured(&kafka),
        group: GROUP.to_owned(),
        topics: vec![TOPIC.to_owned()],
        pace: Pace::PROMPT,
        compression: Compression::None,
        client_id: "tested".to_owned(),
        instance_id: None,
        recorder: None,
        dlq_topic: "dlq".to_owned(),
        drain_timeout: Duration::from_secs(5),
    };
    let (status, shutdown, count) = (
        WorkerStatus::new("stage-0"),
        Shutdown::default(),
        Arc::<AtomicU64>::default(),
    );
    let worker = {
        let (status, shutdown, count) = (Arc::clone(&status), shutdown.clone(), Arc::clone(&count));
        std::thread::spawn(move || {
            stream::worker::run(&config, &status, &shutdown, || {
                Ok(Box::new(Counting(Arc::clone(&count))))
            })
        })
    };
    let publish = || {
        let record = Record {
            topic: TOPIC,
            payload: Some(b"x"),
            ..Record::default()
        };
        Publisher::new(&admin, "test").unwrap().publish(&record).unwrap();
    };
    publish();
    let partition = [Partition {
        topic: TOPIC.into(),
        number: 0,
    }];
    let groups = GroupReader::new(&admin, GROUP).unwrap();
    eventually("the first message is confirmed", || {
        assert!(!worker.is_finished(), "the worker ended: {:?}", status.state());
        groups.committed(&partition).unwrap()[0].next_offset == Some(1)
    });

    let acl = "org.apache.kafka.tools.AclCommand";
    let principal = format!("User:{USER}");
    let remove = [&["--remove", "--force", "--allow-principal", &principal][..], &read].concat();
    kafka.tool(acl, &remove).unwrap();
    publish();
    eventually("the right is named", || {
        assert!(!worker.is_finished(), "the worker ended: {:?}", status.state());
        matches!(status.state(), WorkerState::BackingOff(error) if error.contains("grant Read") && error.contains("docs/security.md"))
    });
    kafka.grant(USER, &read).unwrap();
    eventually("the second message", || count.load(Ordering::Relaxed) == 2);
    eventually("it runs", || status.state() == WorkerState::Running);
    shutdown.request();
    worker.join().unwrap().unwrap();
}
