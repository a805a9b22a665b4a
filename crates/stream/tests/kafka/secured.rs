//! A real broker that accepts only clients with a password, a token or a certificate. Every mechanism works with every client,
//! and each wrong credential or setting gives one error that names it and the setting to change.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use domain::{Classified as _, ErrorClass};
use security::Secret;
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::brokers::{ClientCertificate, Login, Mechanism, Protocol, Security};
use stream::kafka::consumer::{Commit, GroupConsumer};
use stream::kafka::groups::GroupReader;
use stream::kafka::probe::Probe;
use stream::kafka::producer::{OrderedProducer, Output};
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::reader::LogReader;
use stream::kafka::settings;
use stream::kafka::token::TokensFrom;
use stream::kafka::topic_settings::largest_record;
use stream::{Brokers, Compression, Pace, Partition, StreamError};
use testkit::PATIENCE;
use testkit::certificates::{Authority, IssuedFiles};
use testkit::secured_kafka::{PASSWORD, SecuredKafka, USER};
use testkit::token_endpoint::TokenEndpoint;

const TOPIC: &str = "ticks";
/// Exists, but user `limited` has no rights on it.
const CLOSED: &str = "closed";
const ACCESS_WITHIN: Duration = Duration::from_secs(4);

/// One broker for all tests of this module: it takes seconds to start.
static KAFKA: LazyLock<SecuredKafka> = LazyLock::new(|| {
    let stack = localstack::Temporary::new().unwrap();
    let kafka = SecuredKafka::start(
        &stack.kafka_classpath().unwrap(),
        Path::new("/var/tmp"),
        &["rotated", "limited"],
    )
    .unwrap();
    let admin = Brokers::plaintext(&kafka.admin());
    runtime()
        .block_on(create_topics(&admin, &[spec(TOPIC, 1), spec(CLOSED, 1)]))
        .unwrap();
    for user in [USER, "rotated"] {
        let rights = ["--operation", "All", "--topic", TOPIC, "--group", "*", "--cluster"];
        kafka.grant(user, &rights).unwrap();
    }
    kafka
});

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn spec(name: &str, replication: i32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        replication,
        config: Vec::new(),
    }
}

fn password(mechanism: Mechanism, username: &str, password: Secret) -> Login {
    Login::Password {
        mechanism,
        username: username.to_owned(),
        password,
    }
}

fn token(endpoint: &TokenEndpoint, secret: &str) -> Login {
    Login::Token(TokensFrom {
        url: endpoint.url.clone(),
        client_id: USER.to_owned(),
        client_secret: Secret::new(secret),
        scope: String::new(),
    })
}

fn sasl_ssl(login: Login) -> Security {
    Security {
        protocol: Protocol::SaslSsl,
        login: Some(login),
        authority: Some(KAFKA.ca()),
        ..Security::default()
    }
}

fn scram(user: &str) -> Security {
    sasl_ssl(password(Mechanism::ScramSha512, user, Secret::new(PASSWORD)))
}

fn mutual(certificate: Option<IssuedFiles>) -> Security {
    Security {
        protocol: Protocol::Ssl,
        authority: Some(KAFKA.ca()),
        certificate: certificate.map(|IssuedFiles { certificate, key }| ClientCertificate {
            certificate,
            key,
            key_password: None,
        }),
        ..Security::default()
    }
}

fn client_certificate() -> IssuedFiles {
    KAFKA
        .authority
        .client(USER)
        .unwrap()
        .write(KAFKA.folder(), "client")
        .unwrap()
}

fn partition() -> Partition {
    Partition {
        topic: TOPIC.into(),
        number: 0,
    }
}

fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Publishes, produces, reads, joins a group, commits and queries, with every client of the project.
fn works_with_every_client(brokers: &Brokers, group: &str) {
    Probe::new(brokers).unwrap().check_access(PATIENCE).unwrap();
    let record = Record {
        topic: TOPIC,
        payload: Some(group.as_bytes()),
        ..Record::default()
    };
    let place = Publisher::new(brokers, "test").unwrap().publish(&record).unwrap();
    let producer = OrderedProducer::new(brokers, "test", Compression::None);
    let headers = Vec::new();
    let ticket = producer
        .send(
            &Output {
                topic: TOPIC,
                partition: 0,
                key: None,
                payload: Some(b"output"),
                headers: &headers,
            },
            || true,
        )
        .unwrap();
    eventually("acknowledgement", || {
        producer.serve(Duration::from_millis(10)).unwrap();
        (producer.acked_through() >= ticket).then_some(())
    });
    let reader = LogReader::new(brokers).unwrap();
    let mut seen = Vec::new();
    let read = |message: &stream::Message<'_>| {
        seen.push(message.payload.map(<[u8]>::to_vec));
        true
    };
    reader.read(&partition(), place.offset, place.offset + 1, read).unwrap();
    assert_eq!(seen, [Some(group.as_bytes().to_vec())]);
    let client = settings::consumer(brokers, group, "test", Pace::PROMPT);
    let consumer = GroupConsumer::subscribe(brokers, &client, &[TOPIC.to_owned()]).unwrap();
    eventually("assignment", || {
        consumer.renew();
        assert!(consumer.poll(Duration::from_millis(50)).unwrap().is_none());
        (!consumer.take_events().is_empty()).then_some(())
    });
    consumer.acknowledge_assignment().unwrap();
    let commit = Commit {
        partition: partition(),
        next_offset: 1,
        metadata: String::new(),
    };
    consumer.commit(&[commit], true).unwrap();
    let committed = GroupReader::new(brokers, group)
        .unwrap()
        .committed(&[partition()])
        .unwrap();
    assert_eq!(committed[0].next_offset, Some(1));
    let groups = [(group.to_owned(), vec![TOPIC.to_owned()])];
    let probe = Probe::new(brokers).unwrap();
    let lags = eventually("lag", || probe.lags(&groups, Duration::from_secs(2)).ok());
    assert_eq!(lags[0].1.committed, Some(1));
}

#[test]
fn each_mechanism_works_with_every_client() {
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let security = sasl_ssl(password(mechanism, USER, Secret::new(PASSWORD)));
        works_with_every_client(&Brokers::new(&KAFKA.secured(), security), mechanism.name());
    }
    let security = mutual(Some(client_certificate()));
    works_with_every_client(&Brokers::new(&KAFKA.mutual(), security), "certificate");
}

#[test]
fn a_token_works_with_every_client_and_is_renewed() {
    let endpoint = TokenEndpoint::start(USER, "s3cret", Duration::from_secs(5)).unwrap();
    let brokers = Brokers::new(&KAFKA.secured(), sasl_ssl(token(&endpoint, "s3cret")));
    works_with_every_client(&brokers, "token");
    let reader = LogReader::new(&brokers).unwrap();
    assert_eq!(reader.partitions(TOPIC).unwrap().len(), 1);
    eventually("renewal", || (endpoint.granted() >= 2).then_some(()));
    works_with_every_client(&brokers, "token-again");
    // All these clients share one token.
    assert!(endpoint.granted() < 10, "{} tokens", endpoint.granted());
}

/// The error of the check at start.
fn refusal(addresses: &str, security: Security) -> StreamError {
    let brokers = Brokers::new(addresses, security);
    match Probe::new(&brokers).and_then(|probe| probe.check_access(ACCESS_WITHIN)) {
        Err(error) => error,
        Ok(()) => panic!("{addresses} lets {:?} in", brokers.security()),
    }
}

#[test]
fn each_wrong_setting_is_one_fatal_error_that_names_it() {
    let unknown = Authority::new("somebody else").unwrap();
    let unknown_ca = unknown.write(KAFKA.folder(), "unknown-ca.pem").unwrap();
    let garbage = KAFKA.folder().join("garbage.pem");
    std::fs::write(&garbage, "no certificate").unwrap();
    let with_ca = |path: PathBuf| Security {
        authority: Some(path),
        ..scram(USER)
    };
    let unknown_client = unknown.client(USER).unwrap().write(KAFKA.folder(), "unknown").unwrap();
    let expired_client = KAFKA.authority.expired_client(USER).unwrap();
    let expired_client = expired_client.write(KAFKA.folder(), "expired-client").unwrap();
    let mixed = IssuedFiles {
        certificate: client_certificate().certificate,
        key: unknown_client.key.clone(),
    };
    let endpoint = TokenEndpoint::start(USER, "s3cret", Duration::from_secs(60)).unwrap();
    let wrong = |mechanism| sasl_ssl(password(mechanism, USER, Secret::new("wrong")));
    let by_address = KAFKA.secured().replace("localhost", "127.0.0.1");
    for (what, addresses, security, code, words) in [
        (
            "password, PLAIN",
            KAFKA.secured(),
            wrong(Mechanism::Plain),
            "kafka_login_refused",
            "DATA_PROC_KAFKA_SASL_PASSWORD",
        ),
        (
            "password, SCRAM",
            KAFKA.secured(),
            wrong(Mechanism::ScramSha256),
            "kafka_login_refused",
            "DATA_PROC_KAFKA_SASL_PASSWORD",
        ),
        (
            "mechanism",
            KAFKA.scram_only(),
            sasl_ssl(password(Mechanism::Plain, USER, Secret::new(PASSWORD))),
            "kafka_mechanism_refused",
            "SCRAM-SHA-512",
        ),
        (
            "client secret",
            KAFKA.secured(),
            sasl_ssl(token(&endpoint, "wrong")),
            "kafka_token_refused",
            "DATA_PROC_KAFKA_SASL_OAUTH_CLIENT_SECRET",
        ),
        (
            "unknown authority",
            KAFKA.secured(),
            with_ca(unknown_ca),
            "kafka_certificate_refused",
            "from an authority that is not accepted",
        ),
        (
            "no authority",
            KAFKA.secured(),
            Security {
                authority: None,
                ..scram(USER)
            },
            "kafka_certificate_refused",
            "DATA_PROC_KAFKA_SSL_CA",
        ),
        (
            "no PEM file",
            KAFKA.secured(),
            with_ca(garbage),
            "kafka_refused",
            "DATA_PROC_KAFKA_SSL_CA",
        ),
        (
            "expired server",
            KAFKA.expired(),
            scram(USER),
            "kafka_certificate_refused",
            "it has expired",
        ),
        (
            "host name",
            by_address,
            scram(USER),
            "kafka_certificate_refused",
            "it is not for host name 127.0.0.1",
        ),
        (
            "no certificate",
            KAFKA.mutual(),
            mutual(None),
            "kafka_client_certificate_missing",
            "DATA_PROC_KAFKA_SSL_CERTIFICATE",
        ),
        (
            "unknown client",
            KAFKA.mutual(),
            mutual(Some(unknown_client)),
            "kafka_client_certificate_refused",
            "DATA_PROC_KAFKA_SSL_CERTIFICATE",
        ),
        (
            "expired client",
            KAFKA.mutual(),
            mutual(Some(expired_client)),
            "kafka_client_certificate_refused",
            "DATA_PROC_KAFKA_SSL_CERTIFICATE",
        ),
        (
            "key of another",
            KAFKA.mutual(),
            mutual(Some(mixed)),
            "kafka_refused",
            "DATA_PROC_KAFKA_SSL_KEY",
        ),
        (
            "plaintext to TLS",
            KAFKA.secured(),
            Security::default(),
            "kafka_listener_is_tls",
            "DATA_PROC_KAFKA_SECURITY_PROTOCOL",
        ),
        (
            "TLS to plaintext",
            KAFKA.admin(),
            scram(USER),
            "kafka_listener_is_plaintext",
            "DATA_PROC_KAFKA_BOOTSTRAP",
        ),
    ] {
        let error = refusal(&addresses, security);
        eprintln!("{what}: {} {error}", error.code());
        assert_eq!(
            (error.code(), error.class()),
            (code, ErrorClass::Fatal),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(words), "{what}: {error}");
        assert!(!error.to_string().contains(PASSWORD), "{what}: {error}");
    }
}

#[test]
fn an_unavailable_broker_is_not_a_refusal() {
    let away = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let brokers = Brokers::new(&away.to_string(), scram(USER));
    Probe::new(&brokers).unwrap().check_access(ACCESS_WITHIN).unwrap();
}

#[test]
fn a_refused_login_is_the_error_of_every_call() {
    let security = sasl_ssl(password(Mechanism::ScramSha512, USER, Secret::new("wrong")));
    let brokers = Brokers::new(&KAFKA.secured(), security);
    let probe = Probe::new(&brokers).unwrap();
    for error in [
        LogReader::new(&brokers)
            .unwrap()
            .partitions(TOPIC)
            .expect_err("refused"),
        probe
            .describe(&[TOPIC.to_owned()], Duration::from_secs(2))
            .expect_err("refused"),
        Publisher::new(&brokers, "test")
            .unwrap()
            .publish(&Record {
                topic: TOPIC,
                ..Record::default()
            })
            .expect_err("refused"),
        runtime()
            .block_on(create_topics(&brokers, &[spec("never", 1)]))
            .expect_err("refused"),
    ] {
        assert_eq!(error.code(), "kafka_login_refused", "{error}");
        assert!(error.to_string().contains("DATA_PROC_KAFKA_SASL_PASSWORD"), "{error}");
    }
}

#[test]
fn a_missing_right_is_fatal_and_says_what_to_grant() {
    let brokers = Brokers::new(&KAFKA.secured(), scram("limited"));
    Probe::new(&brokers).unwrap().check_access(PATIENCE).unwrap();
    let refused = |error: StreamError, words: &str| {
        assert_eq!(
            (error.code(), error.class()),
            ("kafka_right_missing", ErrorClass::Fatal),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{words}: {error}");
    };
    let probe = Probe::new(&brokers).unwrap();
    refused(
        probe.describe(&[CLOSED.to_owned()], PATIENCE).expect_err("no right"),
        CLOSED,
    );
    refused(
        LogReader::new(&brokers)
            .unwrap()
            .partitions(CLOSED)
            .expect_err("no right"),
        CLOSED,
    );
    refused(
        runtime()
            .block_on(create_topics(&brokers, &[spec("never", 1)]))
            .expect_err("no right"),
        "never",
    );
    let groups = [("not-ours".to_owned(), vec![TOPIC.to_owned()])];
    KAFKA
        .grant("limited", &["--operation", "Describe", "--topic", TOPIC])
        .unwrap();
    let lags = || probe.lags(&groups, Duration::from_secs(5)).err();
    // The right on the topic takes some time to apply.
    let is_of_group = |error: &StreamError| error.to_string().contains("not-ours");
    refused(
        eventually("lags", || lags().filter(is_of_group)),
        "grant Describe on the group",
    );
    let client = settings::consumer(&brokers, "no-such-right", "test", Pace::PROMPT);
    let consumer = GroupConsumer::subscribe(&brokers, &client, &[TOPIC.to_owned()]).unwrap();
    let error = eventually("group", || consumer.poll(Duration::from_millis(50)).err());
    refused(error, "no-such-right");
    let producer = OrderedProducer::new(&brokers, "test", Compression::None);
    let headers = Vec::new();
    let output = Output {
        topic: TOPIC,
        partition: 0,
        key: None,
        payload: Some(b"output"),
        headers: &headers,
    };
    let error = eventually("delivery", || {
        let sent = producer.send(&output, || true);
        sent.and_then(|_| producer.serve(Duration::from_millis(50))).err()
    });
    refused(error, "grant");
}

#[test]
fn an_existing_client_uses_a_rotated_password() {
    let file = KAFKA.folder().join("rotated");
    std::fs::write(&file, PASSWORD).unwrap();
    let secret = Secret::in_file("X_FILE", &file).unwrap();
    let security = sasl_ssl(password(Mechanism::ScramSha512, "rotated", secret));
    let brokers = Brokers::new(&KAFKA.secured(), security);
    let probe = Probe::new(&brokers).unwrap();
    let topics = [TOPIC.to_owned()];
    probe.describe(&topics, PATIENCE).unwrap();
    KAFKA.set_password("rotated", "SCRAM-SHA-512", "n3w").unwrap();
    // The existing connection continues. A new client is refused, and later accepted without being created again.
    let late = Probe::new(&brokers).unwrap();
    eventually("refusal", || late.describe(&topics, Duration::from_secs(1)).err());
    std::fs::write(&file, "n3w").unwrap();
    eventually("the new password", || {
        late.describe(&topics, Duration::from_secs(1)).ok()
    });
    assert_eq!(brokers.trouble(), None);
}

#[test]
fn the_error_of_a_record_that_is_too_large_names_the_setting() {
    let admin = Brokers::plaintext(&KAFKA.admin());
    let small = TopicSpec {
        config: vec![("max.message.bytes".to_owned(), "1000".to_owned())],
        ..spec("small", 1)
    };
    runtime().block_on(create_topics(&admin, &[small])).unwrap();
    assert_eq!(runtime().block_on(largest_record(&admin, "small")).unwrap(), Some(1000));
    assert_eq!(runtime().block_on(largest_record(&admin, "none")).unwrap(), None);
    // User `limited` may not read the settings.
    let limited = Brokers::new(&KAFKA.secured(), scram("limited"));
    assert_eq!(runtime().block_on(largest_record(&limited, "small")).unwrap(), None);
    // Random bytes do not shrink when they are compressed.
    let mut noise = fastrand::Rng::with_seed(1);
    let payload: Vec<u8> = (0..4000).map(|_| noise.u8(..)).collect();
    let record = Record {
        topic: "small",
        payload: Some(&payload),
        ..Record::default()
    };
    let error = Publisher::new(&admin, "test")
        .unwrap()
        .publish(&record)
        .expect_err("too large");
    assert!(
        error.to_string().contains("small") && error.to_string().contains("max.message.bytes"),
        "{error}"
    );
}

#[test]
fn too_few_brokers_are_named_with_the_setting() {
    let admin = Brokers::plaintext(&KAFKA.admin());
    let error = runtime()
        .block_on(create_topics(&admin, &[spec("three", 3)]))
        .expect_err("one broker");
    assert_eq!(error.code(), "create_topic_failed", "{error}");
    for words in ["three", "DATA_PROC_KAFKA_REPLICATION_FACTOR", "3"] {
        assert!(error.to_string().contains(words), "{error}");
    }
}
