//! Values that the schema allows but the codec rejects, encodings of other writers, and the locations that errors name.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use codec::reader::Reader;
use codec::state::{SequencerLane, SequencerState};
use codec::{CodecError, RawTick, Record, Wire, late, raw_tick, tick, writer};
use domain::{Decimal, Origin, QualityFlag, QualityFlags, RawPosition, Tick};
use proptest::prelude::*;

/// A late tick up to its price: 21 bytes, then the price.
fn late_until_price(price: i64) -> Vec<u8> {
    let mut out = Vec::new();
    writer::string("feed", &mut out);
    [3, 1, 0].into_iter().for_each(|number| writer::long(number, &mut out));
    writer::string("tenant", &mut out);
    writer::string("NG_M1", &mut out);
    writer::long(-1, &mut out);
    out.extend_from_slice(&price.to_be_bytes());
    out
}

fn late_with_price(price: i64) -> Vec<u8> {
    let mut out = late_until_price(price);
    writer::optional(None::<Decimal>, &mut out, writer::decimal);
    out.push(0);
    [5, 6].into_iter().for_each(|number| writer::long(number, &mut out));
    // No closed interval, no closing.
    out.extend_from_slice(&[0, 0]);
    out
}

#[test]
fn the_error_of_a_price_of_ten_to_the_ten_names_field_and_byte() {
    let largest = 999_999_999_999_999_999;
    for price in [largest, -largest] {
        let datum = late_with_price(price);
        let (late, read) = late::decode(&datum).unwrap();
        assert_eq!((late.price.unscaled(), read), (price, datum.len()));
    }
    for price in [largest + 1, -largest - 1, i64::MAX, i64::MIN] {
        let why = "magnitude is 10^10 or more";
        let expected = CodecError::InvalidValue {
            field: "price",
            at: 22,
            why,
        };
        assert_eq!(late::decode(&late_with_price(price)), Err(expected));
    }
}

#[test]
fn errors_name_the_field_and_the_byte_where_it_begins() {
    let whole = late_with_price(1);
    assert_eq!(
        late::decode(&whole[..3]),
        Err(CodecError::Truncated {
            field: "origin.feed",
            at: 0
        })
    );
    assert_eq!(
        late::decode(&whole[..25]),
        Err(CodecError::Truncated { field: "price", at: 22 })
    );

    let mut not_utf8 = whole.clone();
    not_utf8[10] = 0xFF;
    assert_eq!(
        late::decode(&not_utf8),
        Err(CodecError::InvalidUtf8 {
            field: "tenant_id",
            at: 8
        })
    );

    let mut third_branch = whole.clone();
    third_branch[30] = 4;
    let why = "union branch is neither 0 nor 1";
    assert_eq!(
        late::decode(&third_branch),
        Err(CodecError::InvalidValue {
            field: "volume",
            at: 30,
            why
        })
    );

    let mut sixth_interval = late_until_price(1);
    sixth_interval.extend_from_slice(&[0, 2, 10]);
    let expected = CodecError::InvalidValue {
        field: "missed_intervals",
        at: 32,
        why: "enum has no such symbol",
    };
    assert_eq!(late::decode(&sixth_interval), Err(expected));
}

#[test]
fn a_number_of_more_than_64_bits_is_refused() {
    let longest = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    assert_eq!(Reader::new(&longest).long("x"), Ok(i64::MIN));
    for last in [0x02, 0x7F, 0x80, 0xFF] {
        let mut bytes = longest;
        bytes[9] = last;
        assert_eq!(
            Reader::new(&bytes).long("x").unwrap_err(),
            CodecError::InvalidValue {
                field: "x",
                at: 0,
                why: "varint is longer than 64 bits"
            }
        );
    }
}

#[test]
fn impossible_lengths_and_counts_are_errors_at_once() {
    for length in [-1, i64::MIN, i64::MAX, 5] {
        let mut bytes = Vec::new();
        writer::long(length, &mut bytes);
        assert!(Reader::new(&bytes).string("x").is_err(), "{length}");
        // The same number as the count of an array, with no items after it.
        let mut items = Reader::new(&bytes);
        assert!(items.array("x", |item| item.long("x").map(drop)).is_err(), "{length}");
    }
}

fn flagged(flags: &[QualityFlag]) -> Tick<'static> {
    let mut set = QualityFlags::NONE;
    flags.iter().for_each(|flag| set.insert(*flag));
    Tick {
        origin: Origin {
            feed: "raw",
            partition: 1,
            offset: 2,
            index: 3,
        },
        appended_at: 4,
        source_event_id: "event",
        correlation_id: "correlation",
        tenant_id: "tenant",
        instrument_id: "instrument",
        event_time: 5,
        source_system: "feed",
        quality_flags: set,
        ..domain::fixtures::tick()
    }
}

#[test]
fn flags_are_read_from_any_array_blocks() {
    let expected = flagged(&[QualityFlag::PriceNegative, QualityFlag::LateArrival]);
    let mut ours = Vec::new();
    tick::encode(&expected, &mut ours);
    // The flags and the time of normalization, 0, end the datum: one block of two, the end, the time.
    let (head, flags) = ours.split_at(ours.len() - 5);
    assert_eq!(flags, [4, 2, 10, 0, 0]);
    for blocks in [
        // Two blocks of one; one block of two with its size in bytes; both kinds; in another order, and one twice.
        &[2, 2, 2, 10, 0, 0][..],
        &[3, 4, 2, 10, 0, 0],
        &[1, 2, 2, 2, 10, 0, 0],
        &[6, 10, 2, 2, 0, 0],
    ] {
        let datum = [head, blocks].concat();
        assert_eq!(tick::decode(&datum), Ok((expected, datum.len())), "{blocks:?}");
        let (_, rest) = reference(Record::Tick, &datum);
        assert_eq!(rest, 0, "{blocks:?}");
    }
}

#[test]
fn a_frame_of_another_record_or_with_trailing_bytes_is_refused() {
    let (wire, mut bytes) = (Wire::single_object(), Vec::new());
    wire.encode_tick(&flagged(&[]), &mut bytes);
    let error = wire.decode_enriched(&bytes).unwrap_err().to_string();
    assert!(error.contains("tick") && error.contains("enriched_tick"), "{error}");
    bytes.push(0);
    assert!(matches!(
        wire.decode_tick(&bytes),
        Err(CodecError::InvalidValue {
            field: "end of record",
            ..
        })
    ));
    for bytes in [&b"{\"a\":1}"[..], b"", b"\xC3", b"\xC3\x01\x00", b"\x00\x00"] {
        assert!(wire.decode_tick(bytes).is_err(), "{bytes:?}");
    }
}

/// The value that the reference implementation reads from a datum, and the number of bytes left over.
fn reference(record: Record, mut datum: &[u8]) -> (Value, usize) {
    let schema = Schema::parse_str(record.schema_text()).unwrap();
    let value = GenericDatumReader::builder(&schema)
        .build()
        .unwrap()
        .read_value(&mut datum)
        .unwrap();
    (value, datum.len())
}

/// The reference reads the whole datum and writes the same bytes.
fn agrees(record: Record, datum: &[u8]) {
    let (value, rest) = reference(record, datum);
    let schema = Schema::parse_str(record.schema_text()).unwrap();
    let written = GenericDatumWriter::builder(&schema)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap();
    assert_eq!((rest, written), (0, datum.to_vec()));
}

proptest! {
    #[test]
    fn state_records_agree_with_the_reference(
        position in any::<i64>(),
        log_clock in any::<Option<i64>>(),
        marks_due in any::<Option<i64>>(),
        topic_id in ".{0,20}",
        lanes in proptest::collection::vec((".{0,8}", any::<i32>(), any::<i64>(), any::<i32>()), 0..4),
    ) {
        let mut datum = Vec::new();
        let lane = |(feed, raw_partition, offset, index)| SequencerLane { feed, raw_partition, position: RawPosition { offset, index } };
        let state = SequencerState { position, topic_id, log_clock, marks_due, lanes: lanes.into_iter().map(lane).collect() };
        state.encode(&mut datum);
        agrees(Record::SequencerState, &datum);
        let length = datum.len();
        prop_assert_eq!(SequencerState::decode(&datum), Ok((state, length)));
    }

    #[test]
    fn raw_ticks_agree_with_the_reference(
        texts in proptest::collection::vec(".{0,12}", 5),
        options in proptest::collection::vec(proptest::option::of(".{0,8}"), 7),
        prices in proptest::collection::vec(proptest::option::of(-999_999_999_999_999_999_i64..=999_999_999_999_999_999), 4),
        timestamp in any::<i64>(),
        sequence in any::<Option<i64>>(),
    ) {
        let price = |index: usize| prices[index].map(|unscaled| Decimal::from_unscaled(unscaled).unwrap());
        let raw = RawTick {
            event_id: &texts[0],
            correlation_id: options[0].as_deref(),
            causation_id: options[1].as_deref(),
            tenant_id: &texts[1],
            source: &texts[2],
            market: &texts[3],
            instrument_id: &texts[4],
            symbol: options[2].as_deref(),
            timestamp,
            price: price(0).unwrap_or_default(),
            volume: price(1),
            bid: price(2),
            ask: price(3),
            node: options[3].as_deref(),
            zone: options[4].as_deref(),
            hub: options[5].as_deref(),
            market_status: options[6].as_deref(),
            sequence,
            dropped_quote: false,
        };
        let mut datum = Vec::new();
        raw_tick::encode(&raw, &mut datum);
        prop_assert_eq!(raw_tick::decode(&datum), Ok((raw, datum.len())));
        agrees(Record::RawMarketTick, &datum);
    }
}
