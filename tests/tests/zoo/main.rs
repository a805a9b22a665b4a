//! The poison zoo (INV-9): for any record that a producer can get into a raw topic, every good message arrives, every bad
//! one becomes a dead letter or is rejected by the broker, and no partition is blocked. Unreadable records are named with
//! their position and can be skipped.
//!
//! Every run generates new records; `ZOO_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod specimens;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::{Pipeline, RAW, eventually};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use specimens::{Fate, Specimen, classes, good};
use testkit::hostile::{self, Answer, Record, Transaction};
use testkit::{http, kafka};

const GROUP: &str = "normalization-local";
const PARTITIONS: i32 = 4;
/// Specimens of each class.
const SPECIMENS: usize = 10;
/// Within this time, every readable record is read and every unreadable one is named.
const SOON: Duration = Duration::from_secs(10);

type Place = (i32, i64);

fn seed() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seed = std::env::var("ZOO_SEED").map_or(now.as_secs(), |seed| seed.parse().expect("ZOO_SEED is a number"));
    println!("ZOO_SEED={seed}");
    seed
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// The published records: class and expected fate by position.
#[derive(Default)]
struct Published {
    places: BTreeMap<Place, (&'static str, Fate)>,
    keys: BTreeMap<Place, Option<Vec<u8>>>,
}

impl Published {
    fn send(&mut self, bootstrap: &str, class: &'static str, specimen: &Specimen) {
        let answers = hostile::publish(
            bootstrap,
            RAW,
            specimen.compression,
            std::slice::from_ref(&specimen.record),
        );
        match (&answers.unwrap()[0], specimen.fate) {
            (Answer::Refused(_), Fate::Refused) => {}
            (Answer::Refused(reason), _) => panic!("{class}: rejected by the broker: {reason}"),
            (Answer::Taken(offset), Fate::Refused) => panic!("{class}: accepted by the broker at {offset}"),
            (Answer::Taken(offset), fate) => {
                let place = (specimen.record.partition, *offset);
                self.places.insert(place, (class, fate));
                self.keys.insert(place, specimen.record.key.clone());
            }
        }
    }

    fn send_good(&mut self, bootstrap: &str, partition: i32, id: &str) {
        let record = Record {
            partition,
            payload: Some(good(id)),
            ..Record::default()
        };
        let specimen = Specimen {
            record,
            compression: "none",
            fate: Fate::Tick,
        };
        self.send(bootstrap, "good", &specimen);
    }

    /// Compares the table and the dead letters with the expected fates.
    fn check(&self, pipeline: &Pipeline) {
        let rows = rows(pipeline);
        let letters: BTreeMap<Place, kafka::Record> = kafka::read_all(&pipeline.bootstrap(), "dlq")
            .unwrap()
            .into_iter()
            .map(|letter| {
                let number = |name: &str| letter.header(name).unwrap().parse::<i64>().unwrap();
                let place = (
                    number("__connect.errors.partition") as i32,
                    number("__connect.errors.offset"),
                );
                (place, letter)
            })
            .collect();
        for (place, (class, fate)) in &self.places {
            let (is_row, letter) = (rows.contains(place), letters.get(place));
            let is_right = match fate {
                Fate::Tick => is_row && letter.is_none(),
                Fate::Letter => !is_row && letter.is_some(),
                Fate::Something => is_row || letter.is_some(),
                Fate::Refused => false,
            };
            let code = letter.and_then(|letter| letter.header("dp.error.code"));
            assert!(
                is_right,
                "{class} at {place:?}: {fate:?}, but row {is_row}, dead letter {code:?}"
            );
            if let Some(letter) = letter {
                assert_eq!(
                    letter.key.is_none(),
                    self.keys[place].is_none(),
                    "{class} at {place:?}: null key"
                );
            }
        }
        let strange: Vec<&Place> = rows.iter().filter(|place| !self.places.contains_key(place)).collect();
        assert!(
            strange.is_empty(),
            "rows of messages that should have none: {strange:?}"
        );
    }
}

fn rows(pipeline: &Pipeline) -> BTreeSet<Place> {
    let rows = pipeline
        .clickhouse
        .rows("SELECT DISTINCT raw_partition, raw_offset FROM market_ticks")
        .unwrap();
    rows.iter()
        .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap()))
        .collect()
}

/// Waits until the group has committed the end of every partition; returns the duration.
fn wait_for_no_lag(bootstrap: &str) -> Duration {
    let began = Instant::now();
    let mut seen = Vec::new();
    let gone = eventually("the lag is gone", || {
        seen = kafka::committed(bootstrap, GROUP, RAW)?;
        Ok(seen
            .iter()
            .all(|(_, committed, end)| *end == 0 || *committed == Some(*end)))
    });
    assert!(gone.is_ok(), "{gone:?}: partition, committed, end: {seen:?}");
    began.elapsed()
}

#[test]
fn every_good_message_arrives_and_every_bad_one_is_accounted_for() {
    let (pipeline, seed) = (Pipeline::start().unwrap(), seed());
    let (bootstrap, mut runner) = (pipeline.bootstrap(), runner(seed));
    let mut published = Published::default();
    for (class, strategy) in classes() {
        for number in 0..SPECIMENS {
            let mut specimen = strategy.new_tree(&mut runner).unwrap().current();
            specimen.record.partition = number as i32 % PARTITIONS;
            published.send(&bootstrap, class, &specimen);
            published.send_good(&bootstrap, specimen.record.partition, &format!("{class}-{number}"));
        }
    }
    send_transactions(&bootstrap, &mut published);
    let elapsed = wait_for_no_lag(&bootstrap);
    println!("lag gone after {elapsed:?}");
    assert!(elapsed <= SOON, "the lag was gone only after {elapsed:?}");
    let ticks = published
        .places
        .values()
        .filter(|(_, fate)| *fate == Fate::Tick)
        .count();
    eventually("the ticks are in the table", || Ok(rows(&pipeline).len() >= ticks)).unwrap();
    published.check(&pipeline);
    let verified = pipeline.verify().unwrap();
    assert_eq!(
        verified.code,
        0,
        "{:?}: {:?}",
        verified.failed(),
        verified.differences()
    );
    a_smaller_dead_letter_topic_gets_shorter_letters(&pipeline, &mut published);
    unreadable_records_are_named_and_skipped(&pipeline, &mut published);
}

/// Simulates a topic that was created manually: it accepts Kafka's default of one MiB.
fn a_smaller_dead_letter_topic_gets_shorter_letters(pipeline: &Pipeline, published: &mut Published) {
    let bootstrap = pipeline.bootstrap();
    let topics = kafka::Topics::new(&bootstrap).unwrap();
    topics.set("dlq", "max.message.bytes", "1048588").unwrap();
    let record = Record {
        partition: 3,
        payload: Some(vec![b'x'; 5 << 20]),
        ..Record::default()
    };
    let specimen = Specimen {
        record,
        compression: "none",
        fate: Fate::Letter,
    };
    published.send(&bootstrap, "a letter too large", &specimen);
    let place = *published.places.keys().rfind(|(partition, _)| *partition == 3).unwrap();
    published.send_good(&bootstrap, 3, "behind a letter too large");
    wait_for_no_lag(&bootstrap);
    let letters = kafka::read_all(&bootstrap, "dlq").unwrap();
    let is_it = |letter: &&kafka::Record| {
        let is = |name: &str, value: i64| letter.header(name) == Some(value.to_string());
        is("__connect.errors.partition", place.0.into()) && is("__connect.errors.offset", place.1)
    };
    let letter = letters.iter().find(is_it).expect("the letter");
    assert_eq!(letter.header("dp.truncated").as_deref(), Some("true"));
    assert_eq!(letter.header("dp.original_size"), Some((5 << 20).to_string()));
    let said = pipeline.dp_ok(&["topics", "create"]).unwrap();
    assert!(
        said.contains("set max.message.bytes of topic dlq from 1048588 to 75497472"),
        "{said}"
    );
    // All are longer than what the broker keeps by itself, so no letter goes.
    for (hours, arguments, expected) in [
        ("2000", &["topics", "create"][..], " to 7200000000"),
        ("1000", &["topics", "create"], "topic dlq keeps retention.ms=7200000000"),
        ("1000", &["topics", "create", "--yes"], "from 7200000000 to 3600000000"),
    ] {
        let mut command = pipeline.dp(arguments);
        let output = command.env("DATA_PROC_RETENTION_DLQ_HOURS", hours).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains(expected),
            "{hours}: {output:?}"
        );
    }
}

/// Records of committed transactions become ticks; records of aborted ones are never read.
fn send_transactions(bootstrap: &str, published: &mut Published) {
    for number in 0..SPECIMENS {
        let partition = number as i32 % PARTITIONS;
        let record = |part: usize| Record {
            partition,
            payload: Some(good(&format!("transaction-{number}-{part}"))),
            ..Record::default()
        };
        let mut transaction = Transaction::begin(bootstrap, &format!("zoo-{number}"), Duration::from_secs(60)).unwrap();
        let places: Vec<Place> = (0..=number % 3)
            .map(|part| (partition, transaction.send(RAW, &record(part)).unwrap()))
            .collect();
        if number % 2 == 0 {
            transaction.commit().unwrap();
            published
                .places
                .extend(places.iter().map(|place| (*place, ("transactions", Fate::Tick))));
            published.keys.extend(places.into_iter().map(|place| (place, None)));
        } else {
            transaction.abort().unwrap();
        }
    }
}

fn unreadable_records_are_named_and_skipped(pipeline: &Pipeline, published: &mut Published) {
    let bootstrap = pipeline.bootstrap();
    let port = pipeline.stack().config().ports.normalization;
    let get = |target| anyhow::Ok(http::request(port, "GET", target, &[], "")?.body);
    let (health, metrics) = (|| get("/health"), || get("/metrics"));

    let mut open = Transaction::begin(&bootstrap, "zoo-open", Duration::from_secs(60)).unwrap();
    let held = Record {
        partition: 1,
        payload: Some(good("held")),
        ..Record::default()
    };
    let offset = open.send(RAW, &held).unwrap();
    published.send_good(&bootstrap, 1, "behind an open transaction");
    published.send_good(&bootstrap, 0, "next to an open transaction");
    named(
        &health,
        &format!("{RAW}[1] cannot be read at offset {offset}: a producer's open transaction"),
    );
    let scraped = metrics().unwrap();
    let is_shown = |line: &str| {
        line.starts_with("kafka_partition_blocked{") && line.contains("partition=\"1\"") && line.ends_with(" 1")
    };
    assert!(scraped.lines().any(is_shown), "{scraped}");
    open.abort().unwrap();
    wait_for_no_lag(&bootstrap);
    eventually(
        "health no longer names it",
        || Ok(!health()?.contains("cannot be read")),
    )
    .unwrap();

    // A batch that exceeds the client's limit after decompression.
    let bomb = Record {
        partition: 2,
        payload: Some(vec![0; 300 << 20]),
        ..Record::default()
    };
    let answers = hostile::publish(&bootstrap, RAW, "zstd", &[bomb]).unwrap();
    let Answer::Taken(offset) = answers[0] else {
        panic!("the bomb was rejected: {answers:?}");
    };
    published.send_good(&bootstrap, 2, "behind a bomb");
    published.send_good(&bootstrap, 3, "next to a bomb");
    named(&health, &format!("{RAW}[2] cannot be read at offset {offset}: "));
    position_is_blocked(pipeline, 2, &format!("cannot be read at offset {offset}: "));
    let command = health().unwrap();
    let command = command.split("skip to it with: ").nth(1).unwrap();
    let command = command.split(['"', ';']).next().unwrap().to_owned();
    assert!(
        command.ends_with(&format!("--partition 2 --to {}", offset + 1)),
        "{command}"
    );
    eventually("the other partitions continue", || {
        Ok(kafka::committed(&bootstrap, GROUP, RAW)?
            .iter()
            .all(|(partition, committed, end)| *partition == 2 || *committed == Some(*end)))
    })
    .unwrap();

    pipeline.dp_ok(&["stop", "normalization"]).unwrap();
    let mut words: Vec<&str> = command.split_whitespace().skip(1).collect();
    words.push("--yes");
    println!("{command}: {}", pipeline.dp_ok(&words).unwrap());
    pipeline.dp_ok(&["start", "normalization"]).unwrap();
    wait_for_no_lag(&bootstrap);
    // At every start, the event window is rebuilt by reading back across the bomb.
    pipeline.kill_and_restart(e2e::SERVICES[0]).unwrap();
    published.send_good(&bootstrap, 2, "after a restart");
    wait_for_no_lag(&bootstrap);
    let last = *published.places.keys().rfind(|(partition, _)| *partition == 2).unwrap();
    eventually("the row behind the bomb", || Ok(rows(pipeline).contains(&last))).unwrap();
    published.check(pipeline);
    let verified = pipeline.verify().unwrap();
    assert_eq!(
        verified.code,
        0,
        "{:?}: {:?}",
        verified.failed(),
        verified.differences()
    );
    assert!(
        verified.report.to_string().contains("accepted gap"),
        "{}",
        verified.report
    );
}

/// `dp position show` names the partition with its owner and the reason; the others are read.
fn position_is_blocked(pipeline: &Pipeline, partition: i32, reason: &str) {
    let output = pipeline
        .dp(&["position", "show", "normalization", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    for row in rows.iter().filter(|row| row["topic"] == RAW) {
        let is_blocked = row["partition"] == partition;
        assert_eq!(
            row["reader"]["state"],
            if is_blocked { "blocked" } else { "reads" },
            "{row}"
        );
        assert!(row["owner"]["client_id"].is_string() && row["state"] == "good", "{row}");
        let said = row["reader"]["reason"].as_str().unwrap_or_default();
        assert_eq!(said.contains(reason), is_blocked, "{row}");
    }
}

fn named(health: &impl Fn() -> anyhow::Result<String>, what: &str) {
    let began = Instant::now();
    eventually(what, || Ok(health()?.contains(what))).unwrap();
    let elapsed = began.elapsed();
    println!("named after {elapsed:?}: {what}");
    assert!(elapsed <= SOON, "{what}: named only after {elapsed:?}");
}
