#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::model::fixtures::{OwnedBar, OwnedEdge, RULES};
use crate::core::window_state::Held;
use codec::state::{SequencerLane, WindowRecord};
use domain::{BarCause, BarVersion, Decimal, Interval, RawPosition, TimeWeighted, Turnover, Window};

const A: WriterId = WriterId {
    ordinal: 1,
    random: 0xa,
};
const B: WriterId = WriterId {
    ordinal: 2,
    random: 0xb,
};
const B2: WriterId = WriterId {
    ordinal: 2,
    random: 0xc,
};

#[derive(Default)]
struct Topic {
    loader: StateLoader,
}

impl Topic {
    fn put(&mut self, writer: WriterId, subject: Subject<'_>, encode: impl FnOnce(&Wire, &mut Vec<u8>)) {
        let mut value = Vec::new();
        encode(&Wire::single_object(), &mut value);
        let key = StateKey { writer, subject }.to_string();
        self.loader.record(key.as_bytes(), Some(&value)).unwrap();
    }

    fn sequencer(&mut self, writer: WriterId, position: i64) {
        self.clocked_sequencer(writer, position, None);
    }

    fn clocked_sequencer(&mut self, writer: WriterId, position: i64, log_clock: Option<Micros>) {
        let state = SequencerState {
            position,
            topic_id: "id".to_owned(),
            log_clock,
            marks_due: None,
            lanes: Vec::new(),
        };
        self.put(writer, Subject::Sequencer, |wire, out| {
            wire.encode_sequencer(&state, out)
        });
    }

    fn window(&mut self, writer: WriterId, start: Micros, last_offset: i64) {
        let bar = bar(start, last_offset);
        let subject = Subject::Window {
            tenant_id: "t",
            instrument_id: "X",
            window: bar.window,
        };
        self.put(writer, subject, |wire, out| {
            wire.encode_window(&record(&bar, "trade"), out)
        });
    }

    fn restore(&self) -> Result<(PartitionState, Option<i64>), RestoreError> {
        let owner = NewOwner {
            random: 0xd,
            topic_id: "id".to_owned(),
            rules: RULES,
            now: 0,
        };
        self.loader.restore(&Wire::single_object(), owner)
    }

    /// Offsets applied last of the restored windows.
    fn restored_offsets(&self) -> Vec<i64> {
        let mut offsets = Vec::new();
        self.restore().unwrap().0.bars("t", "X", &mut |held| match held {
            Held::Bar(bar) | Held::FromTable(bar) => offsets.push(bar.version.last_offset),
            Held::Settled(_) => {}
        });
        offsets
    }
}

fn record<'a>(bar: &'a OwnedBar, product: &'a str) -> WindowRecord<'a> {
    WindowRecord {
        product,
        mixed: false,
        from_table: false,
        bar: bar.bar(),
    }
}

fn bar(start: Micros, last_offset: i64) -> OwnedBar {
    let one = Decimal::from_unscaled(1).unwrap();
    OwnedBar {
        instrument_id: "X".to_owned(),
        window: Window {
            interval: Interval::OneMinute,
            start,
        },
        market: "MISO".to_owned(),
        prices: [one; 4],
        volume: 0,
        turnover: Turnover(0),
        vwap: None,
        time_weighted: TimeWeighted::default(),
        trade_count: 1,
        open: OwnedEdge::first_of("f", start),
        close: OwnedEdge::first_of("f", start),
        revision: 0,
        cause: Some(BarCause::Live),
        version: BarVersion {
            last_offset,
            closed: false,
        },
        last_appended_at: start,
    }
}

/// The new owner's writer id, and the keys that it will remove.
fn first_snapshot(mut state: PartitionState) -> (WriterId, Vec<Vec<u8>>) {
    let snapshot = state.snapshot(&Wire::single_object(), &mut |_| {}).unwrap();
    let id = snapshot
        .sequencer
        .iter()
        .find_map(|(key, _)| StateKey::parse(key))
        .unwrap()
        .writer;
    (id, snapshot.tombstones)
}

#[test]
fn an_empty_topic_starts_at_the_beginning() {
    let (state, start) = Topic::default().restore().unwrap();
    assert_eq!((state.instrument_count(), start), (0, None));
}

#[test]
fn saved_windows_of_other_intervals_than_the_configured_ones_are_noticed() {
    let mut topic = Topic::default();
    let other = |topic: &Topic, intervals| {
        let rules = WindowRules { intervals, ..RULES };
        topic.loader.other_intervals(&Wire::single_object(), &rules).unwrap()
    };
    assert_eq!(other(&topic, 0b00001), None, "nothing is saved");
    topic.sequencer(A, 6);
    assert_eq!(other(&topic, 0b00001), None, "no window is saved");
    topic.window(A, 0, 5);
    assert_eq!(other(&topic, 0b00001), None);
    assert_eq!(other(&topic, 0b10001), Some(vec!["1m"]), "a day would have been saved");
    assert_eq!(other(&topic, 0b00000), Some(vec!["1m"]), "no interval is configured");
    // Windows of a writer that is not restored say nothing.
    topic.sequencer(B, 7);
    assert_eq!(other(&topic, 0b10001), None);
}

#[test]
fn a_writer_that_never_finished_its_copy_is_not_chosen() {
    let mut topic = Topic::default();
    topic.window(A, 0, 5);
    topic.sequencer(A, 10);
    topic.window(B, 60_000_000, 20);
    assert_eq!(topic.restore().unwrap().1, Some(10));
    assert_eq!(topic.restored_offsets(), [5]);
}

#[test]
fn of_equal_ordinals_the_highest_position_is_chosen_with_its_windows_only() {
    let mut topic = Topic::default();
    topic.window(A, 0, 5);
    topic.sequencer(A, 99);
    topic.window(B, 0, 7);
    topic.sequencer(B, 10);
    topic.window(B2, 0, 8);
    topic.window(B2, 60_000_000, 9);
    topic.sequencer(B2, 11);
    assert_eq!(topic.restore().unwrap().1, Some(11));
    assert_eq!(topic.restored_offsets(), [8, 9]);
}

#[test]
fn the_new_ordinal_is_the_highest_and_all_old_keys_are_removed_sequencers_first() {
    let mut topic = Topic::default();
    topic.window(A, 0, 5);
    topic.sequencer(A, 10);
    topic.loader.record(b"w|7|00000000000000ff|t|X|1m|0", None).unwrap();
    let (id, tombstones) = first_snapshot(topic.restore().unwrap().0);
    assert_eq!(
        id,
        WriterId {
            ordinal: 8,
            random: 0xd
        }
    );
    let keys: Vec<&str> = tombstones.iter().map(|key| std::str::from_utf8(key).unwrap()).collect();
    assert_eq!(keys, ["s|1|000000000000000a", "w|1|000000000000000a|t|X|1m|0"]);
}

#[test]
fn a_window_that_the_log_clock_has_forgotten_is_not_restored() {
    let mut topic = Topic::default();
    topic.window(A, 0, 5);
    topic.clocked_sequencer(A, 10, Some(389_999_999));
    assert_eq!(topic.restored_offsets(), [5]);
    assert_eq!(topic.restore().unwrap().0.log_clock(), Some(389_999_999));
    topic.clocked_sequencer(A, 11, Some(390_000_000));
    assert_eq!(topic.restored_offsets(), [0i64; 0]);
}

#[test]
fn the_state_of_a_build_without_a_log_clock_is_refused() {
    let mut topic = Topic::default();
    let refused = topic.loader.record(b"m|1|000000000000000a|t|X", Some(b""));
    assert!(matches!(refused, Err(RestoreError::OlderBuild(key)) if key.starts_with("m|")));
    let lane = SequencerLane {
        feed: "f".to_owned(),
        raw_partition: 0,
        position: RawPosition { offset: 1, index: 0 },
    };
    let state = SequencerState {
        position: 1,
        topic_id: "id".to_owned(),
        log_clock: None,
        marks_due: None,
        lanes: vec![lane],
    };
    topic.put(A, Subject::Sequencer, |wire, out| wire.encode_sequencer(&state, out));
    assert!(matches!(topic.restore(), Err(RestoreError::OlderBuild(key)) if key.starts_with("s|")));
}

#[test]
fn a_window_of_an_unknown_product_is_refused() {
    let mut topic = Topic::default();
    topic.sequencer(A, 1);
    let bar = bar(0, 1);
    let subject = Subject::Window {
        tenant_id: "t",
        instrument_id: "X",
        window: bar.window,
    };
    topic.put(A, subject, |wire, out| wire.encode_window(&record(&bar, "rt7"), out));
    assert!(matches!(topic.restore(), Err(RestoreError::UnknownProduct(_, product)) if product == "rt7"));
}

#[test]
fn foreign_records_are_skipped_and_change_nothing() {
    let mut topic = Topic::default();
    topic.window(A, 0, 5);
    topic.sequencer(A, 10);
    let foreign: [(&[u8], Option<&[u8]>); 6] = [
        (b"", Some(b"{}")),
        (b"hello", Some(b"world")),
        (b"x|1", None),
        (b"w|many|0a|t|X|1m|0", Some(b"")),
        (b"s|99|00000000000000ff", Some(b"{\"position\":0}")),
        (&[0xff, 0xfe], None),
    ];
    for (key, value) in foreign {
        assert_eq!(topic.loader.record(key, value), Ok(Taken::Foreign), "{key:?}");
    }
    assert_eq!(topic.restored_offsets(), [5]);
    assert_eq!(topic.restore().unwrap().1, Some(10));
}

#[test]
fn a_state_that_the_protocol_cannot_have_written_is_refused_with_its_key() {
    let mut topic = Topic::default();
    assert!(matches!(topic.loader.record(b"x|1|0a", None), Err(RestoreError::UnknownKey(key)) if key == "x|1|0a"));
    // Our framing, but other content.
    topic.put(A, Subject::Sequencer, |_, out| {
        out.extend_from_slice(&[0xC3, 0x01]);
        out.extend_from_slice(b"another schema");
    });
    assert!(matches!(topic.restore(), Err(RestoreError::Unreadable { key, .. }) if key == "s|1|000000000000000a"));
    topic.sequencer(A, 1);
    let window = Window {
        interval: Interval::OneMinute,
        start: 60_000_000,
    };
    let subject = Subject::Window {
        tenant_id: "t",
        instrument_id: "X",
        window,
    };
    topic.put(A, subject, |wire, out| {
        wire.encode_window(&record(&bar(0, 1), "trade"), out)
    });
    assert!(matches!(topic.restore(), Err(RestoreError::KeyMismatch(_))));
}

#[test]
fn the_state_of_a_recreated_topic_is_refused() {
    let mut topic = Topic::default();
    topic.sequencer(A, 1);
    let owner = NewOwner {
        random: 0,
        topic_id: "other".to_owned(),
        rules: RULES,
        now: 0,
    };
    let refused = topic.loader.restore(&Wire::single_object(), owner);
    assert!(
        matches!(refused, Err(RestoreError::TopicChanged { saved, actual }) if (saved.as_str(), actual.as_str()) == ("id", "other"))
    );
}

fn spark(heat_rate: i64, count: usize) -> Vec<Arc<Definition>> {
    let definition = Definition {
        series: "spark".to_owned(),
        formula: curves::derived::Formula::SparkSpread {
            heat_rate: Decimal::from_integer(heat_rate).unwrap(),
        },
        legs: vec!["A".to_owned(), "B".to_owned()],
        max_age: 5,
        rolling: Some(curves::derived::RollingStatistic {
            statistic: curves::derived::Statistic::Mean,
            count: Some(count),
            width: 9,
        }),
    };
    vec![Arc::new(definition)]
}

#[test]
fn a_series_keeps_the_definition_of_its_first_values() {
    let mut loader = StateLoader::default();
    let first = spark(7, 20);
    let new = loader.new_series(&first).unwrap();
    assert_eq!(new, first);
    let (key, text) = (super::super::records::definition_key("spark"), new[0].described());
    assert_eq!(
        text,
        "spark_spread_rolling_mean:power=A:gas=B:heat_rate=7:max_age=5us:count=20:window=9us"
    );
    assert_eq!(loader.record(key.as_bytes(), Some(text.as_bytes())), Ok(Taken::Ours));
    // Builds that do not know it skip it, and it is no state of a window.
    assert!(!StateKey::names_a_writer(key.as_bytes()) && loader.is_empty());
    assert_eq!(loader.new_series(&spark(7, 20)), Ok(Vec::new()));
    for other in [spark(8, 20), spark(7, 21)] {
        let refused = loader.new_series(&other).unwrap_err();
        assert_eq!(
            refused,
            RestoreError::OtherDefinition {
                series: "spark".to_owned(),
                configured: other[0].described(),
                saved: text.clone(),
            }
        );
    }
}
