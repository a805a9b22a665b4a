//! Foreign records in topics that only the services of this pipeline write to. On its own stack, because `dp verify` names
//! such records as long as they are in the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use e2e::{Pipeline, eventually};
use testkit::kafka::{self, Outgoing, Publisher};

const NORMALIZED: &str = "normalized.market.ticks.v1";
const ENRICHED: &str = "enriched.market.ticks.v1";
/// Marker and fingerprint of a record in single-object encoding.
const AVRO_HEADER: usize = 10;

/// The variable-length integer at this position, and the position after it.
fn integer(bytes: &[u8], mut at: usize) -> (i64, usize) {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let byte = bytes[at];
        value |= u64::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte & 0x80 == 0 {
            return ((value >> 1) as i64 ^ -((value & 1) as i64), at);
        }
    }
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest > 0x7f {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The same tick with another raw offset. The origin is the first field of a tick, and the offset is its third part.
fn with_raw_offset(tick: &[u8], offset: i64) -> Vec<u8> {
    let (feed_length, at) = integer(tick, AVRO_HEADER);
    let (_partition, at) = integer(tick, at + usize::try_from(feed_length).unwrap());
    let (_offset, rest) = integer(tick, at);
    let mut forged = tick[..at].to_vec();
    write_integer(offset, &mut forged);
    forged.extend_from_slice(&tick[rest..]);
    forged
}

/// Service, stage and topic of every dead letter with code `foreign_origin`.
fn refused_by(pipeline: &Pipeline) -> BTreeSet<(String, String, String)> {
    let letters = kafka::read_all(&pipeline.bootstrap(), "dlq").unwrap();
    let foreign = letters
        .iter()
        .filter(|letter| letter.header("dp.error.code").as_deref() == Some("foreign_origin"));
    let text = |letter: &kafka::Record, name: &str| letter.header(name).unwrap();
    foreign
        .map(|letter| {
            (
                text(letter, "dp.service"),
                text(letter, "__connect.errors.stage"),
                text(letter, "__connect.errors.topic"),
            )
        })
        .collect()
}

#[test]
fn a_forged_tick_with_a_far_origin_is_rejected_and_does_not_hide_later_ticks() {
    let pipeline = Pipeline::shared();
    let bootstrap = pipeline.bootstrap();
    pipeline.publish_once(300, 9_001).unwrap();
    pipeline.agree().unwrap();
    let tick = kafka::read_all(&bootstrap, NORMALIZED).unwrap().pop().unwrap();
    let forged = with_raw_offset(&tick.payload, 1 << 60);
    assert!(forged.len() > tick.payload.len() && forged.ends_with(&tick.payload[tick.payload.len() - 40..]));
    let mut publisher = Publisher::new(&bootstrap, NORMALIZED).unwrap();
    publisher
        .send(&Outgoing {
            partition: Some(tick.partition),
            key: tick.key.map(|key| String::from_utf8(key).unwrap()),
            payload: forged,
            headers: Vec::new(),
        })
        .unwrap();
    publisher.finish().unwrap();

    let named = |(service, stage, topic): (&str, &str, &str)| (service.to_owned(), stage.to_owned(), topic.to_owned());
    let expected: BTreeSet<_> = [
        ("normalization", "clickhouse", NORMALIZED),
        ("enrichment", "clickhouse", ENRICHED),
        ("aggregation", "aggregation", ENRICHED),
        ("projection", "project", ENRICHED),
    ]
    .map(named)
    .into();
    eventually("every stage with a sequencer rejects it", || {
        Ok(refused_by(&pipeline) == expected)
    })
    .unwrap();

    // `dp verify` names the two records and nothing else, so every later tick was processed.
    pipeline.publish_once(500, 9_002).unwrap();
    let verified = pipeline.verify().unwrap();
    let by_topic = |topic: &str| format!("{topic}: records that are unreadable or have no raw message");
    assert_eq!(
        verified.failed(),
        [
            "dead letters of later stages".to_owned(),
            by_topic(NORMALIZED),
            by_topic(ENRICHED)
        ],
        "{:?}",
        verified.differences()
    );
    let place = format!("{NORMALIZED}/{}", tick.partition);
    assert!(
        verified.differences().iter().any(|named| named.contains(&place)),
        "{:?}",
        verified.differences()
    );
    let compared = pipeline.compared_with(&pipeline.expected().unwrap()).unwrap();
    let wrong: Vec<String> = compared
        .iter()
        .filter(|one| !one.is_ok())
        .map(ToString::to_string)
        .collect();
    // The oracle does not expect dead letters of later stages.
    assert!(wrong.iter().all(|one| one.starts_with("dlq")), "{wrong:?}");
}
