//! Documents of the largest size, on a real broker: every row is accounted for, memory is bounded, and the probes answer
//! in the meantime.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use localstack::{Server, Temporary};
use serde_json::Value;
use stream::Brokers;
use stream::Partition;
use stream::dead_letter::header;
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::reader::LogReader;
use stream::kafka::settings::{MAX_RAW_BYTES, MAX_SENT_BYTES};
use testkit::PATIENCE;
use testkit::process::ServiceProcess;

const RAW: &str = "ingestion.market.raw.v1";
const NORMALIZED: &str = "normalized.market.ticks.v1";
const MISO: &str = "miso.rt5.expost.json";
const FRAME: &str = r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":["#;
/// Most memory that normalization may use, whatever a document contains.
const MOST_MEGABYTES: u64 = 400;

/// 19.5 MB.
const EMPTY_ROWS: usize = 6_500_000;
/// Of 250 bytes each: 50 MB.
const GOOD_ROWS: usize = 200_000;

fn ask(port: u16, head: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ndp.format: {MISO}\r\n"
    )
    .unwrap();
    write!(stream, "content-length: {length}\r\n\r\n").unwrap();
    // A server that rejects the length closes the connection before the body is written.
    _ = stream.write_all(body);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn document(row: &str, rows: usize) -> Vec<u8> {
    let rows = vec![row; rows].join(",");
    format!("{FRAME}{rows}]}}").into_bytes()
}

fn kafka() -> (Temporary, Brokers) {
    let stack = Temporary::new().unwrap();
    stack.start(Server::Kafka).unwrap();
    stack.wait_ready(Server::Kafka, PATIENCE).unwrap();
    let bootstrap = Brokers::plaintext(&stack.env()["DATA_PROC_KAFKA_BOOTSTRAP"]);
    let topic = |name: &str, partitions: i32, largest: usize| TopicSpec {
        name: name.into(),
        partitions,
        replication: 1,
        config: [
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("max.message.bytes", largest.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec(),
    };
    let later = [
        "enriched.market.ticks.v1",
        "aggregation.bars.v1",
        "aggregation.late.v1",
        "aggregation.state.v1",
    ];
    let mut topics = vec![
        topic(RAW, 4, MAX_RAW_BYTES),
        topic(NORMALIZED, 4, MAX_SENT_BYTES),
        topic("dlq", 1, MAX_SENT_BYTES),
    ];
    topics.extend(later.map(|name| topic(name, 4, MAX_SENT_BYTES)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(create_topics(&bootstrap, &topics)).unwrap();
    (stack, bootstrap)
}

/// Code and rejected rows of the dead letters, by the offset of the document.
fn letters(bootstrap: &Brokers) -> BTreeMap<String, (String, String)> {
    let reader = LogReader::new(bootstrap).unwrap();
    let dlq = Partition {
        topic: "dlq".into(),
        number: 0,
    };
    let (start, end) = reader.log_range(&dlq).unwrap();
    let mut letters = BTreeMap::new();
    let read = reader.read(&dlq, start, end, |message| {
        let text = |name: &str| String::from_utf8_lossy(message.header(name).unwrap_or_default()).into_owned();
        letters.insert(text(header::OFFSET), (text(header::CODE), text(header::REJECTED_ROWS)));
        true
    });
    read.unwrap();
    letters
}

fn normalized(bootstrap: &Brokers) -> i64 {
    let reader = LogReader::new(bootstrap).unwrap();
    let ends = (0..4).map(|number| {
        reader
            .log_range(&Partition {
                topic: NORMALIZED.into(),
                number,
            })
            .unwrap()
            .1
    });
    ends.sum()
}

#[test]
fn the_largest_documents_are_read_and_validated_in_bounded_memory() {
    let (stack, bootstrap) = kafka();
    let mut env = stack.env();
    env.insert("DATA_PROC_PROCESSING_TIMEOUT".into(), "170".into());
    let normalization = ServiceProcess::start(env!("CARGO_BIN_EXE_normalization"), &env).unwrap();
    let empty_rows = document("[]", EMPTY_ROWS);
    let padding = " ".repeat(195);
    let good_rows = document(
        &format!(r#"["2026-10-02T10:00:00","A.HUB",{padding}"31.55","0.10","0.20"]"#),
        GOOD_ROWS,
    );
    let too_large = vec![b' '; 60_000_000];
    assert!(
        good_rows.len() > 49_000_000 && good_rows.len() < 50 << 20,
        "{}",
        good_rows.len()
    );

    let mut publisher = Publisher::new(&bootstrap, "test").unwrap();
    for payload in [&empty_rows, &too_large, &good_rows] {
        let record = Record {
            topic: RAW,
            partition: Some(0),
            payload: Some(payload),
            headers: &[("dp.format", MISO.as_bytes())],
            ..Record::default()
        };
        publisher.publish(&record).unwrap();
    }
    publisher.finish().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while normalized(&bootstrap) < GOOD_ROWS as i64 {
        assert!(
            Instant::now() < deadline,
            "{} ticks; {:?}",
            normalized(&bootstrap),
            letters(&bootstrap)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let letters = letters(&bootstrap);
    let expected = [("0", "schema_violation", "0-6499999"), ("1", "oversize", "")];
    let expected = expected.map(|(offset, code, rows)| (offset.to_owned(), (code.to_owned(), rows.to_owned())));
    assert_eq!(letters, BTreeMap::from(expected));
    let from_the_log = normalization.peak_bytes().unwrap() >> 20;

    // The same document in a request: the probes answer during the validation, and the answer is small.
    let port = normalization.port();
    let request = std::thread::spawn(move || ask(port, "POST /validate", &empty_rows));
    let mut slowest = Duration::ZERO;
    while !request.is_finished() {
        let asked = Instant::now();
        let (head, _) = ask(port, "GET /health/live", b"");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    let (head, body) = request.join().unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && body.len() < 50_000,
        "{head} {}",
        body.len()
    );
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&answer["valid"], &answer["error_count"]),
        (&false.into(), &EMPTY_ROWS.into())
    );
    assert_eq!(answer["rejected_rows"], "0-6499999");
    // Kubernetes gives a probe one second.
    assert!(slowest < Duration::from_secs(1), "a probe waited {slowest:?}");
    // A document that is too large is rejected before it is read.
    let (head, body) = ask(port, "POST /validate", &too_large);
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert!(
        body.contains("52428800") && head.contains("application/problem+json"),
        "{head} {body}"
    );

    let peak = normalization.peak_bytes().unwrap() >> 20;
    println!("peak memory: {from_the_log} MB from the log, {peak} MB with requests; slowest probe {slowest:?}");
    assert!(
        peak < MOST_MEGABYTES,
        "normalization used {peak} MB, {from_the_log} MB of them before the request"
    );
}
