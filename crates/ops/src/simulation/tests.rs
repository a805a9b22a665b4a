#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};

use markets::{Normalizer, NormalizerConfig, RawMessage};
use serde_json::Value;

use super::*;

const START: Micros = 1_790_000_000_000_000;

fn plan(messages: u64, seed: u64) -> Plan {
    Plan {
        messages,
        seed,
        start: START,
        rate: None,
        duplicate_percent: 3.0,
        late_percent: 5.0,
        poison_percent: 4.0,
        tenant_id: "default".to_owned(),
    }
}

/// Key and payload.
type Published = (Vec<u8>, Vec<u8>);

fn messages(plan: Plan) -> (Vec<Published>, Counts) {
    let mut generator = Generator::new(plan).unwrap();
    let mut made = Vec::new();
    while let Some(message) = generator.next_message() {
        made.push((message.key.to_vec(), message.payload.to_vec()));
    }
    (made, generator.counts().clone())
}

#[test]
fn the_same_plan_gives_the_same_bytes_and_another_seed_different_ones() {
    let (first, first_counts) = messages(plan(3_000, 7));
    let (second, second_counts) = messages(plan(3_000, 7));
    assert!(first == second, "two runs of one plan differ");
    assert_eq!(first_counts, second_counts);
    assert!(first != messages(plan(3_000, 8)).0);
}

/// Counts the messages by their content without code of the generator: JSON with a general parser, event ids in a set. An
/// Avro record is recognized by its frame; its event id is the first field.
#[derive(Default)]
struct Recount {
    events: HashSet<String>,
    ticks: u64,
    duplicates: u64,
    shapes: BTreeMap<&'static str, u64>,
    not_json: u64,
    without_price: u64,
    of_atlantis: u64,
    huge: u64,
}

impl Recount {
    fn add(&mut self, payload: &[u8], is_refused: bool) {
        self.huge += u64::from(payload.len() > 1 << 20);
        let (shape, event_id) = if let Some(datum) = payload.strip_prefix(&[0xC3, 0x01]) {
            // 8 bytes of fingerprint, then the length of the text, zigzag, one byte below 64 characters.
            let length = usize::from(datum[8]) / 2;
            ("C (avro)", String::from_utf8(datum[9..9 + length].to_vec()).unwrap())
        } else {
            let Ok(value) = serde_json::from_slice::<Value>(payload) else {
                self.not_json += 1;
                return;
            };
            self.add_json(&value);
            match value["envelope"]["event_id"].as_str() {
                Some(event_id) => ("A (envelope)", event_id.to_owned()),
                None => ("B (flat)", value["event_id"].as_str().unwrap_or_default().to_owned()),
            }
        };
        if is_refused {
            return;
        }
        if self.events.insert(event_id) {
            self.ticks += 1;
            *self.shapes.entry(shape).or_default() += 1;
        } else {
            self.duplicates += 1;
        }
    }

    fn add_json(&mut self, value: &Value) {
        let raw = match value["payload"]["raw_payload"].as_str() {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => value["payload"]["raw_data"].clone(),
        };
        self.of_atlantis += u64::from(value["payload"]["market"] == "ATLANTIS");
        self.without_price += u64::from(raw.is_object() && raw["price"].is_null());
    }
}

#[test]
fn the_counts_agree_with_an_independent_recount_and_the_normalizer() {
    let (made, counts) = messages(plan(20_000, 254));
    let mut normalizer = Normalizer::new(NormalizerConfig::default());
    let mut recount = Recount::default();
    let mut refused: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut late = HashSet::new();
    for (offset, (key, payload)) in made.iter().enumerate() {
        let message = RawMessage {
            feed: "raw",
            partition: 0,
            offset: offset as i64,
            appended_at: START,
            key: Some(key),
            payload,
            format: None,
            tenant: None,
            replay: None,
        };
        let outcome = normalizer.normalize(&message, START, &mut |tick| {
            assert_eq!(
                tick.instrument_id.as_bytes(),
                key.as_slice(),
                "the key is the instrument"
            );
            // The price of an interval is published after its end, up to an hour after its event time.
            if tick.kind == domain::Kind::Trade && tick.event_time < START - 300_000_000 {
                late.insert(tick.source_event_id.to_owned());
            }
        });
        if let Err(rejection) = &outcome {
            *refused.entry(rejection.code.name()).or_default() += 1;
        }
        recount.add(payload, outcome.is_err());
    }
    assert_eq!(refused, counts.dead_letters);
    assert_eq!(counts.messages, 20_000);
    assert_eq!((recount.ticks, recount.duplicates), (counts.ticks, counts.duplicates));
    assert_eq!(late.len() as u64, counts.late);
    assert_eq!(recount.shapes, counts.shapes);
    assert_eq!(recount.not_json, counts.dead_letters["broken_json"]);
    assert_eq!(recount.without_price, counts.dead_letters["missing_price"]);
    assert_eq!(recount.of_atlantis, counts.dead_letters["unknown_market"]);
    assert_eq!(recount.huge, counts.dead_letters["oversize"]);
    assert_eq!(
        counts.ticks + counts.duplicates + refused.values().sum::<u64>(),
        counts.messages
    );
}

#[test]
fn a_repetition_has_the_same_event_key_as_copy_or_retry() {
    let mut plan = plan(5_000, 11);
    (plan.duplicate_percent, plan.poison_percent) = (20.0, 0.0);
    let mut generator = Generator::new(plan).unwrap();
    let mut normalizer = Normalizer::new(NormalizerConfig::default());
    let mut known: BTreeMap<(u64, u64), HashSet<Vec<u8>>> = BTreeMap::new();
    while let Some(made) = generator.next_message() {
        let message = RawMessage {
            feed: "raw",
            partition: 0,
            offset: 0,
            appended_at: START,
            key: None,
            payload: made.payload,
            format: None,
            tenant: None,
            replay: None,
        };
        let key = normalizer.parse(&message).unwrap().event_key();
        let is_repetition = made.kind == Kind::Duplicate;
        assert_eq!(known.contains_key(&(key.id, key.facts)), is_repetition);
        let forms = known.entry((key.id, key.facts)).or_default();
        forms.insert(made.payload.to_vec());
    }
    assert!(known.values().filter(|forms| forms.len() == 2).count() > 100);
}

#[test]
fn a_few_poison_messages_include_every_kind() {
    let mut plan = plan(Poison::ALL.len() as u64, 1);
    plan.poison_percent = 100.0;
    plan.duplicate_percent = 0.0;
    let codes: HashSet<&str> = Poison::ALL.iter().map(|poison| poison.code()).collect();
    let counts = messages(plan).1;
    assert_eq!(counts.dead_letters.keys().copied().collect::<HashSet<_>>(), codes);
    assert_eq!(counts.poison(), counts.messages);
}

#[test]
fn a_plan_without_errors_has_only_ticks_of_five_markets_and_three_shapes() {
    let mut plan = plan(5_000, 3);
    (plan.duplicate_percent, plan.late_percent, plan.poison_percent) = (0.0, 0.0, 0.0);
    let counts = messages(plan).1;
    assert_eq!((counts.ticks, counts.late, counts.duplicates), (5_000, 0, 0));
    assert_eq!(
        counts.markets.keys().copied().collect::<Vec<_>>(),
        ["CAISO", "ERCOT", "MISO", "NYISO", "PJM"]
    );
    assert_eq!(counts.shapes.len(), 3);
}

#[test]
fn each_interval_has_one_price() {
    let mut plan = plan(20_000, 3);
    (plan.duplicate_percent, plan.poison_percent) = (0.0, 0.0);
    let mut normalizer = Normalizer::new(NormalizerConfig::default());
    let mut priced: BTreeMap<(String, i64), u32> = BTreeMap::new();
    for (offset, (_, payload)) in messages(plan).0.iter().enumerate() {
        let message = RawMessage {
            feed: "raw",
            partition: 0,
            offset: offset as i64,
            appended_at: START,
            key: None,
            payload,
            format: None,
            tenant: None,
            replay: None,
        };
        let outcome = normalizer.normalize(&message, START, &mut |tick| {
            if tick.kind == domain::Kind::Interval {
                let key = (tick.instrument_id.to_owned(), tick.event_time);
                *priced.entry(key).or_default() += 1;
            }
        });
        outcome.unwrap();
    }
    let day_ahead = priced.keys().filter(|(instrument, _)| instrument.ends_with(".DA"));
    assert_eq!(day_ahead.count(), 32 * 24);
    assert!(priced.len() > 32 * 25 - 1 && priced.values().all(|prices| *prices == 1));
}

#[test]
fn the_clock_of_a_paced_run_advances_from_its_start_at_its_rate() {
    let mut paced = plan(1_000, 3);
    paced.rate = Some(100);
    let mut generator = Generator::new(paced).unwrap();
    for _ in 0..500 {
        generator.next_message();
    }
    assert_eq!(generator.now(), START + 5_000_000);
}

#[test]
fn an_invalid_plan_is_refused_with_the_name_of_the_option() {
    let wrong = [
        (
            Plan {
                poison_percent: 101.0,
                ..plan(1, 1)
            },
            "--poison-percent",
        ),
        (
            Plan {
                late_percent: -1.0,
                ..plan(1, 1)
            },
            "--late-percent",
        ),
        (
            Plan {
                duplicate_percent: f64::NAN,
                ..plan(1, 1)
            },
            "--duplicate-percent",
        ),
        (
            Plan {
                rate: Some(0),
                ..plan(1, 1)
            },
            "--rate",
        ),
        (Plan { start: 0, ..plan(1, 1) }, "--start-time"),
        (
            Plan {
                tenant_id: "a|b".to_owned(),
                ..plan(1, 1)
            },
            "--tenant",
        ),
        (plan(0, 1), "--ticks"),
    ];
    for (plan, option) in wrong {
        let error = Generator::new(plan).unwrap_err();
        assert!(error.starts_with(option), "{error}");
    }
}
