//! The documents that the fault run publishes: the real parsers, the oracle and the generator agree on every row.

use std::collections::BTreeMap;

use markets::{Normalizer, RawMessage, RejectedRows, Rejection, detect_format};
use testkit::documents::{Document, Documents, Kind};
use testkit::kafka::Record;
use testkit::parse::Parser;

use crate::common::{LATER, message, normalizer, samples_or_skip};

const SCHEMA_C: &str = include_str!("../../../../schemas/avro/raw_market_tick.avsc");
/// 2025-11-01T00:00:00Z: some of the documents are of the day on which Eastern time repeats an hour.
const FIRST: i64 = 1_761_955_200_000;
/// Documents of a seed are this far apart, so that they spread over three days.
const STEP: i64 = 1_800_000;
const COUNT: i64 = 150;
const SEEDS: u64 = 40;

/// Index, tenant, instrument, time, price at scale 8, product, version, and whether it is of a part of a set.
type Seen = (i32, String, String, i64, i128, String, Option<String>, bool);

/// The two readers of a document.
struct Readers {
    normalizer: Normalizer,
    oracle: Parser,
}

impl Readers {
    fn new() -> Readers {
        Readers {
            normalizer: normalizer(),
            oracle: Parser::new(SCHEMA_C, "default").unwrap(),
        }
    }

    fn by_the_parsers(
        &mut self,
        format: &str,
        payload: &[u8],
        at: i64,
    ) -> Result<(Vec<Seen>, RejectedRows), Rejection> {
        let message = RawMessage {
            format: Some(format),
            appended_at: at * 1000,
            ..message(payload)
        };
        let mut seen = Vec::new();
        let outcome = self.normalizer.normalize(&message, 5, &mut |tick| {
            seen.push((
                tick.origin.index,
                tick.tenant_id.to_owned(),
                tick.instrument_id.to_owned(),
                tick.event_time,
                tick.price.unscaled().into(),
                tick.product.to_owned(),
                tick.version.map(str::to_owned),
                tick.market_status == Some("part"),
            ));
        })?;
        Ok((seen, outcome.rejected))
    }

    fn by_the_oracle(&self, format: &str, payload: &[u8], at: i64) -> Result<(Vec<Seen>, Vec<i32>), &'static str> {
        let sound = self.oracle.parse(&Record {
            topic: "raw".to_owned(),
            partition: 0,
            offset: 0,
            timestamp: at,
            key: None,
            payload: payload.to_owned(),
            headers: vec![("dp.format".to_owned(), format.into())],
        })?;
        let seen = sound.ticks.into_iter().map(|tick| {
            (
                tick.index,
                tick.tenant,
                tick.instrument,
                tick.time,
                tick.price,
                tick.product,
                tick.version,
                tick.is_part,
            )
        });
        Ok((seen.collect(), sound.rejected))
    }

    /// Whether the parsers take a document for a part of a set.
    fn says_part(&mut self, document: &Document) -> bool {
        let message = RawMessage {
            format: Some(document.format),
            ..message(&document.payload)
        };
        self.normalizer.parse(&message).unwrap().is_part()
    }

    /// Asserts that both read the same. Returns the numbers of ticks and of rejected rows, or the code of the whole document.
    fn agree(&mut self, format: &str, payload: &[u8], at: i64) -> Result<(u64, u64), &'static str> {
        let text = String::from_utf8_lossy(payload);
        match (
            self.by_the_parsers(format, payload, at),
            self.by_the_oracle(format, payload, at),
        ) {
            (Ok((seen, rejected)), Ok((expected, bad))) => {
                assert_eq!(seen, expected, "{text}");
                let rows: Vec<i32> = rejected.first.iter().map(|row| row.index).collect();
                assert_eq!((rejected.count(), rows), (bad.len() as u64, bad), "{text}");
                for row in rejected.first.iter().filter(|_| format.ends_with(".csv")) {
                    // Line 1 is the header.
                    let place = match payload {
                        [b'{', ..] => format!("/items/{}: ", row.index),
                        _ => format!("line {}: ", row.index + 2),
                    };
                    assert!(row.rejection.message.starts_with(&place), "{place}{}", row.rejection);
                }
                Ok((seen.len() as u64, rejected.count()))
            }
            (Err(rejection), Err(code)) => {
                assert_eq!(rejection.code.name(), code, "{rejection}: {text}");
                Err(code)
            }
            (read, expected) => panic!("the parsers: {read:?}, the oracle: {expected:?}: {text}"),
        }
    }
}

#[test]
fn the_parsers_the_oracle_and_the_generator_agree_on_every_document() {
    let mut readers = Readers::new();
    let (mut ticks, mut rejected, mut broken, mut parts) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut documents = Documents::new(seed, 1);
        for at in (0..COUNT).map(|number| FIRST + number * STEP) {
            let document = documents.next(at);
            let read = readers.agree(document.format, &document.payload, at);
            assert_eq!(read.is_err(), document.kind == Kind::Broken, "{document:?}");
            match read {
                Ok((good, bad)) => {
                    assert_eq!((good, bad), (document.good, document.bad), "{document:?}");
                    (ticks, rejected) = (ticks + good, rejected + bad);
                    assert_eq!(readers.says_part(&document), document.is_part, "{document:?}");
                    parts += u64::from(document.is_part);
                }
                Err(_) => broken += 1,
            }
        }
    }
    assert!(
        ticks > 50_000 && rejected > 300 && broken > 50 && parts > 300,
        "{ticks} ticks, {rejected} rejected rows, {broken} broken documents, {parts} pages of many"
    );
}

#[test]
fn the_oracle_reads_real_documents_as_the_parsers_do() {
    let Some(folder) = samples_or_skip("the_oracle_reads_real_documents_as_the_parsers_do") else {
        return;
    };
    let known = [
        "miso.rt5.expost.json",
        "pjm.rt_fivemin_hrl_lmps.csv",
        "pjm.rt_hrl_lmps.csv",
        "pjm.da_hrl_lmps.csv",
    ];
    let mut readers = Readers::new();
    let mut read = BTreeMap::new();
    for market in ["miso", "pjm"] {
        for file in std::fs::read_dir(folder.join(market)).unwrap() {
            let path = file.unwrap().path();
            let payload = std::fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy();
            let Some(format) = detect_format(&name, &payload).filter(|format| known.contains(format)) else {
                continue;
            };
            let (ticks, bad) = readers.agree(format, &payload, LATER / 1000).unwrap();
            assert_eq!(bad, 0, "{name}");
            *read.entry(format).or_insert(0) += ticks;
        }
    }
    assert!(
        read.len() == known.len() && read.values().all(|ticks| *ticks > 10),
        "{read:?}"
    );
}

#[test]
fn documents_are_recognized_by_their_content_and_have_no_suspicious_price() {
    let (mut documents, mut normalizer) = (Documents::new(1, 1), normalizer());
    for number in 0..COUNT {
        let document = documents.next(FIRST);
        if document.kind == Kind::Broken {
            continue;
        }
        let name = document.format.trim_start_matches("pjm.");
        assert_eq!(
            detect_format(name, &document.payload),
            Some(document.format),
            "document {number}"
        );
        let message = RawMessage {
            format: Some(document.format),
            appended_at: FIRST * 1000,
            ..message(&document.payload)
        };
        let outcome = normalizer.normalize(&message, 5, &mut |tick| {
            let flags: Vec<&str> = tick.quality_flags.iter().map(domain::QualityFlag::name).collect();
            // Rows that come again with the same price are duplicates.
            let usual = [
                "valid",
                "price_negative",
                "late_arrival",
                "price_spike",
                "missing_metadata",
                "duplicate",
            ];
            assert!(flags.iter().all(|flag| usual.contains(flag)), "{flags:?}: {tick:?}");
        });
        outcome.unwrap();
    }
}
