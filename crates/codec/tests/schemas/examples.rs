//! Checks every example with the schema, the reference implementation and the codec.

use std::path::Path;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use codec::compatibility::parse_whole;
use codec::{CodecError, Record, Wire, framing, json};
use serde_json::Value as Json;

use crate::{avro_json, entries, folder, stem};

fn example(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The examples of one kind (`valid`, `invalid`) with their records.
fn examples(kind: &str) -> Vec<(Record, std::path::PathBuf)> {
    let of = |record: Record| entries(&folder().join("examples").join(record.name()).join(kind));
    Record::ALL
        .into_iter()
        .flat_map(|record| of(record).into_iter().map(move |path| (record, path)))
        .collect()
}

/// The framed record of a valid example, as the reference implementation writes it.
fn framed(record: Record, path: &Path) -> Vec<u8> {
    let value = avro_json::read(&parse_whole(record.schema_text()).unwrap(), &example(path), "")
        .unwrap_or_else(|refused| panic!("{}: {refused:?}", path.display()));
    let schema = Schema::parse_str(record.schema_text()).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let datum = writer
        .write_value_to_vec(value)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    [framing::single_object_header(record.fingerprint()), datum].concat()
}

/// Reads with the codec and writes again.
fn again(record: Record, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    // It computes the fingerprints of all schemas.
    static WIRE: LazyLock<Wire> = LazyLock::new(Wire::single_object);
    let (wire, mut out) = (&*WIRE, Vec::new());
    match record {
        Record::Tick => wire.encode_tick(&wire.decode_tick(bytes)?, &mut out),
        Record::EnrichedTick => wire.encode_enriched(&wire.decode_enriched(bytes)?, &mut out),
        Record::Bar => wire.encode_bar(&wire.decode_bar(bytes)?, &mut out),
        Record::LateTick => wire.encode_late(&wire.decode_late(bytes)?, &mut out),
        Record::LegPrice => wire.encode_leg(&wire.decode_leg(bytes)?, &mut out),
        Record::DerivedPrice => wire.encode_derived(&wire.decode_derived(bytes)?, &mut out),
        Record::CurveSnapshot => wire.encode_curve(&wire.decode_curve(bytes)?, &mut out),
        Record::WindowState => wire.encode_window(&wire.decode_window(bytes)?, &mut out),
        Record::SequencerState => wire.encode_sequencer(&wire.decode_sequencer(bytes)?, &mut out),
        Record::RawMarketTick => wire.encode_raw(&wire.decode_raw(bytes)?, &mut out),
    }
    Ok(out)
}

#[test]
fn every_record_has_examples_and_every_folder_is_a_record() {
    let names: Vec<String> = entries(&folder().join("examples"))
        .iter()
        .map(|path| stem(path).to_owned())
        .collect();
    let mut records: Vec<&str> = Record::ALL.iter().map(|record| record.name()).collect();
    records.sort_unstable();
    assert_eq!(names, records);
    for record in Record::ALL {
        for kind in ["valid", "invalid"] {
            let count = examples(kind).iter().filter(|(of, _)| *of == record).count();
            assert!(count >= 2, "{} has {count} {kind} examples", record.name());
        }
    }
}

#[test]
fn valid_examples_have_the_same_bytes_in_the_codec_and_the_reference() {
    for (record, path) in examples("valid") {
        let bytes = framed(record, &path);
        assert_eq!(
            again(record, &bytes).as_deref(),
            Ok(bytes.as_slice()),
            "{}",
            path.display()
        );
    }
}

#[test]
fn invalid_examples_are_refused_at_the_field_in_their_name() {
    for (record, path) in examples("invalid") {
        let (place, _) = stem(&path)
            .split_once("__")
            .expect("named <field>__<what is wrong>.json");
        match avro_json::read(&parse_whole(record.schema_text()).unwrap(), &example(&path), "") {
            Ok(_) => panic!("{} is a valid {}", path.display(), record.name()),
            Err(refused) => assert_eq!(refused.place, place, "{}: {}", path.display(), refused.why),
        }
    }
}

#[test]
fn the_readable_json_of_an_example_matches_it_field_by_field() {
    for (record, path) in examples("valid") {
        let (found, shown) = json::describe(&Wire::single_object(), &framed(record, &path)).unwrap();
        assert_eq!(found, record);
        compare(&example(&path), &shown, &path.display().to_string());
    }
}

/// Compares by name, so that two swapped fields of one type are found.
fn compare(example: &Json, shown: &Json, place: &str) {
    for (name, expected) in example.as_object().unwrap() {
        let place = format!("{place}: {name}");
        // Fields that are shown in another form with the same content.
        let (shown, expected) = match name.as_str() {
            "tick" => (shown, expected.clone()),
            "first_origin" | "last_origin" => {
                let text = |field: &str| {
                    expected[field]
                        .as_str()
                        .map_or_else(|| expected[field].to_string(), str::to_owned)
                };
                let id = [text("feed"), text("partition"), text("offset"), text("index")].join("/");
                (&shown[name], Json::String(id))
            }
            "interval" => (&shown[name], interval(expected)),
            "missed_intervals" | "closed_intervals" => (
                &shown[name],
                expected.as_array().unwrap().iter().map(interval).collect(),
            ),
            "version_offset" => {
                let version = expected.as_u64().unwrap() * 2 + u64::from(example["closed"] == Json::Bool(true));
                (&shown["version"], Json::from(version))
            }
            "day" => {
                let days = jiff::Span::new().days(expected.as_i64().unwrap());
                (
                    &shown[name],
                    Json::String((jiff::civil::date(1970, 1, 1) + days).to_string()),
                )
            }
            "classification_confidence_percent" => (
                &shown["classification_confidence"],
                Json::from(expected.as_f64().unwrap() / 100.0),
            ),
            _ => (&shown[name], untagged(expected)),
        };
        match (&expected, shown) {
            (Json::Object(_), _) => compare(&expected, shown, &place),
            (Json::Array(expected), Json::Array(shown)) if expected.first().is_some_and(Json::is_object) => {
                assert_eq!(expected.len(), shown.len(), "{place}");
                expected
                    .iter()
                    .zip(shown)
                    .for_each(|(expected, shown)| compare(expected, shown, &place));
            }
            (Json::Number(micros), Json::String(time)) => {
                let time: jiff::Timestamp = time.parse().unwrap_or_else(|e| panic!("{place}: {e}"));
                assert_eq!(Some(time.as_microsecond()), micros.as_i64(), "{place}");
            }
            // A decimal: shown as the number with exactly these digits.
            (Json::String(digits), Json::Number(number)) => assert_eq!(number.to_string(), *digits, "{place}"),
            _ => assert_eq!(*shown, expected, "{place}"),
        }
    }
}

fn interval(symbol: &Json) -> Json {
    let name = symbol.as_str().unwrap();
    Json::String(format!("{}{}", &name[1..], &name[..1]))
}

/// The value inside a union's branch.
fn untagged(json: &Json) -> Json {
    match json.as_object() {
        Some(branch) if branch.len() == 1 => branch.values().next().unwrap().clone(),
        _ => json.clone(),
    }
}

#[test]
fn a_record_that_is_cut_anywhere_is_an_error() {
    for (record, path) in examples("valid") {
        let bytes = framed(record, &path);
        for end in 0..bytes.len() {
            assert!(again(record, &bytes[..end]).is_err(), "{} cut at {end}", path.display());
        }
    }
}

#[test]
fn a_record_with_one_bit_changed_is_an_error_or_reads_the_same_when_written_again() {
    for (record, path) in examples("valid") {
        let original = framed(record, &path);
        for bit in 0..original.len() * 8 {
            let mut bytes = original.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(written) = again(record, &bytes) {
                assert_eq!(
                    again(record, &written).as_ref(),
                    Ok(&written),
                    "{} bit {bit}",
                    path.display()
                );
            }
        }
    }
}
