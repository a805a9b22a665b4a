//! Every version of a schema that was ever used must stay readable, and no used version may change in place.
//!
//! `versions.txt` names every version with two checksums: the fingerprint in frames, which does not include logical types, and
//! one over all attributes that decide what the bytes mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use apache_avro::rabin::Rabin;
use apache_avro::schema::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use codec::compatibility::{self, kinds, parse_whole};
use codec::{Record, Wire, canonical, framing, older};
use domain::Classified;
use serde_json::{Value as Json, json};

use crate::{avro_json, entries, folder, stem};

/// Problems with the versions in a folder like `schemas/avro/`, each with its remedy.
fn problems(folder: &Path) -> Vec<String> {
    let versions = versions(folder);
    let mut problems = Vec::new();
    let mut wanted = BTreeSet::new();
    for path in entries(folder)
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "avsc"))
    {
        let name = stem(path);
        let current = std::fs::read_to_string(path).unwrap();
        let lines = versions.get(name).map_or(&[][..], Vec::as_slice);
        if lines.last() != Some(&checksums(&current)) {
            let (used, line) = (
                lines.len(),
                format!("{name} {} {}", lines.len() + 1, checksums(&current)),
            );
            problems.push(match used {
                0 => format!("{name}.avsc is not in versions.txt: add the line `{line}`"),
                _ => format!(
                    "{name}.avsc is not version {used} of versions.txt: keep what was used as old/{name}.v{used}.avsc \
                     and add the line `{line}`"
                ),
            });
        }
        for (index, line) in lines.iter().enumerate().take(lines.len().saturating_sub(1)) {
            let file = format!("{name}.v{}.avsc", index + 1);
            match std::fs::read_to_string(folder.join("old").join(&file)) {
                Err(e) => problems.push(format!("old/{file}, which versions.txt names: {e}")),
                Ok(old) if checksums(&old) != *line => {
                    problems.push(format!("old/{file} is not what versions.txt says"))
                }
                Ok(old) => problems.extend(unreadable(&old, &current).map(|why| format!("old/{file}: {why}"))),
            }
            wanted.insert(file);
        }
    }
    let surplus = entries(&folder.join("old"))
        .into_iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    problems.extend(
        surplus
            .filter(|file| !wanted.contains(file))
            .map(|file| format!("old/{file} is not in versions.txt")),
    );
    problems
}

/// Checksums of the versions of each schema, version 1 first.
fn versions(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(folder.join("versions.txt"))
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let mut words = line.splitn(3, ' ');
        let (name, number, sums) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let of_name = versions.entry(name.to_owned()).or_default();
        of_name.push(sums.to_owned());
        assert_eq!(
            number.parse(),
            Ok(of_name.len()),
            "versions.txt counts {name} from 1: {line}"
        );
    }
    versions
}

/// Why records of the old schema cannot all be read with the new one and keep their meaning.
fn unreadable(old: &str, new: &str) -> Option<String> {
    compatibility::unreadable(&parse_whole(old).unwrap(), &parse_whole(new).unwrap())
}

/// `fingerprint meaning`, both as sixteen hexadecimal digits.
fn checksums(text: &str) -> String {
    let fingerprint = canonical::fingerprint(text).unwrap();
    let meaning = format!("{:?}", kinds(&parse_whole(text).unwrap()));
    format!(
        "{:016x} {:016x}",
        fingerprint,
        xxhash_rust::xxh64::xxh64(meaning.as_bytes(), 0)
    )
}

#[test]
fn every_version_that_was_used_stays_readable() {
    let problems = problems(&folder());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_old_version_is_compiled_in_and_can_become_the_current_one() {
    let there: Vec<(String, String)> = entries(&folder().join("old"))
        .iter()
        .map(|path| (format!("{}.avsc", stem(path)), std::fs::read_to_string(path).unwrap()))
        .collect();
    let compiled_in = older::FILES
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    assert_eq!(compiled_in.collect::<Vec<_>>(), there);
    for (name, text) in there {
        let version = older::Older::new(&text).unwrap_or_else(|error| panic!("old/{name}: {error}"));
        assert!(name.starts_with(&format!("{}.v", version.record().name())), "{name}");
    }
}

/// A schema with one field edited.
fn edited(record: Record, field: &str, edit: impl FnOnce(&mut Json)) -> String {
    let mut schema: Json = serde_json::from_str(record.schema_text()).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    edit(fields.iter_mut().find(|known| known["name"] == field).unwrap());
    schema.to_string()
}

/// A schema with one more field in front, or one less.
fn with_fields(record: Record, edit: impl FnOnce(&mut Vec<Json>)) -> String {
    let mut schema: Json = serde_json::from_str(record.schema_text()).unwrap();
    edit(schema["fields"].as_array_mut().unwrap());
    schema.to_string()
}

#[test]
fn a_change_that_breaks_old_records_is_found() {
    let long_to_text = edited(Record::Bar, "trade_count", |field| field["type"] = json!("string"));
    let other_scale = edited(Record::Bar, "volume", |field| field["type"]["scale"] = json!(4));
    let millis = edited(Record::Bar, "open_time", |field| {
        field["type"]["logicalType"] = json!("timestamp-millis")
    });
    let no_longer_a_decimal = edited(Record::Bar, "volume", |field| {
        field["type"] = json!({ "type": "fixed", "name": "Volume", "size": 16 });
    });
    let renamed = edited(Record::Bar, "revision", |field| field["name"] = json!("edition"));
    let symbol_removed = edited(Record::Bar, "interval", |field| {
        field["type"]["symbols"].as_array_mut().unwrap().pop();
    });
    let required = with_fields(Record::Bar, |fields| {
        fields.push(json!({ "name": "median", "type": "long" }))
    });
    let no_longer_optional = edited(Record::Bar, "vwap", |field| {
        *field = json!({ "name": "vwap", "type": "Decimal8" })
    });
    for (change, text) in [
        ("long to text", long_to_text),
        ("other scale", other_scale),
        ("microseconds to milliseconds", millis),
        ("no longer a decimal", no_longer_a_decimal),
        ("renamed", renamed),
        ("symbol removed", symbol_removed),
        ("required field added", required),
        ("no longer optional", no_longer_optional),
    ] {
        assert!(unreadable(Record::Bar.schema_text(), &text).is_some(), "{change}");
    }
}

#[test]
fn a_compatible_change_is_accepted() {
    // The definition of the decimal moves to the new first field; the old definition becomes a reference.
    let decimal_in_front = with_fields(Record::Bar, |fields| {
        let open = fields.iter_mut().find(|field| field["name"] == "open").unwrap();
        let definition = open["type"].take();
        open["type"] = json!("Decimal8");
        fields.insert(
            0,
            json!({ "name": "median", "type": ["null", definition], "default": null }),
        );
    });
    let wider = edited(Record::Bar, "revision", |field| field["type"] = json!("long"));
    let removed = with_fields(Record::Bar, |fields| fields.retain(|field| field["name"] != "revision"));
    let symbol_added = edited(Record::Bar, "interval", |field| {
        field["type"]["symbols"].as_array_mut().unwrap().push(json!("w1"))
    });
    let optional = edited(Record::Bar, "open_time", |field| {
        field["type"] = json!(["null", field["type"]])
    });
    for (change, text) in [
        ("decimal in front", decimal_in_front),
        ("int to long", wider),
        ("removed", removed),
        ("symbol added", symbol_added),
        ("optional", optional),
    ] {
        assert_eq!(unreadable(Record::Bar.schema_text(), &text), None, "{change}");
    }
}

/// A folder like `schemas/avro/` with the bar alone.
fn folder_with(current: &str, versions: &[&str], old: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("old")).unwrap();
    std::fs::write(folder.path().join("bar.avsc"), current).unwrap();
    let lines = versions
        .iter()
        .enumerate()
        .map(|(index, text)| format!("bar {} {}\n", index + 1, checksums(text)));
    std::fs::write(folder.path().join("versions.txt"), lines.collect::<String>()).unwrap();
    for (file, text) in old {
        std::fs::write(folder.path().join("old").join(file), text).unwrap();
    }
    folder
}

#[test]
fn a_folder_is_valid_only_if_every_used_version_is_kept_named_and_readable() {
    let first = Record::Bar.schema_text();
    let optional = with_fields(Record::Bar, |fields| {
        fields.push(json!({ "name": "gap", "type": ["null", "boolean"], "default": null }));
    });
    let breaking = edited(Record::Bar, "trade_count", |field| field["type"] = json!("string"));
    let rescaled = edited(Record::Bar, "volume", |field| field["type"]["scale"] = json!(4));
    let kept = [("bar.v1.avsc", first)];
    let found = |folder: tempfile::TempDir| problems(folder.path()).join("\n");

    assert_eq!(found(folder_with(first, &[first], &[])), "");
    assert_eq!(found(folder_with(&optional, &[first, &optional], &kept)), "");

    assert!(found(folder_with(first, &[], &[])).contains(&format!("add the line `bar 1 {}`", checksums(first))));
    let changed_in_place = found(folder_with(&optional, &[first], &[]));
    assert!(
        changed_in_place.contains("bar.avsc is not version 1"),
        "{changed_in_place}"
    );
    assert!(
        changed_in_place.contains(&format!("bar 2 {}", checksums(&optional))),
        "{changed_in_place}"
    );
    assert!(found(folder_with(&rescaled, &[first], &[])).contains("bar.avsc is not version 1"));
    assert!(
        found(folder_with(&optional, &[first, &optional], &[])).contains("old/bar.v1.avsc, which versions.txt names")
    );
    assert!(found(folder_with(&breaking, &[first, &breaking], &kept)).contains("old/bar.v1.avsc: "));
    assert!(found(folder_with(&optional, &[&breaking, &optional], &kept)).contains("is not what versions.txt says"));
    assert!(found(folder_with(first, &[first], &kept)).contains("old/bar.v1.avsc is not in versions.txt"));
}

#[test]
fn an_old_record_becomes_a_current_one_that_the_codec_reads() {
    let older_text = with_fields(Record::Tick, |fields| fields.retain(|field| field["name"] != "ghg"));
    let text =
        std::fs::read_to_string(folder().join("examples/tick/valid/every_field_of_an_interval_price.json")).unwrap();
    let mut example: Json = serde_json::from_str(&text).unwrap();
    example.as_object_mut().unwrap().remove("ghg");
    let value = avro_json::read(&parse_whole(&older_text).unwrap(), &example, "").unwrap();
    let older = Schema::parse_str(&older_text).unwrap();
    let datum = GenericDatumWriter::builder(&older)
        .build()
        .unwrap()
        .write_value_to_vec(value)
        .unwrap();
    // The specification's fingerprint, and the one of `apache-avro` that earlier builds wrote.
    let former = u64::from_le_bytes(older.fingerprint::<Rabin>().bytes.try_into().unwrap());
    let specified = canonical::fingerprint(&older_text).unwrap();
    assert_ne!(former, specified);
    for fingerprint in [former, specified] {
        let framed = [&framing::single_object_header(fingerprint)[..], &datum].concat();
        // A build without the version returns an error; a build with it reads its records.
        let wire = Wire::single_object();
        let error = wire.decode_tick(&wire.current(Record::Tick, &framed)).unwrap_err();
        assert_eq!(error.code(), "unknown_schema");
        let wire = wire.also_reading(&older_text).unwrap();
        let current = wire.current(Record::Tick, &framed);
        let tick = wire.decode_tick(&current).unwrap();
        assert_eq!(tick.ghg, None);
        assert_eq!(tick.price.to_string(), "31.55");
        assert_eq!(tick.loss.map(|loss| loss.to_string()).as_deref(), Some("1.67"));
    }
}

#[test]
fn records_that_earlier_builds_wrote_are_read_under_their_fingerprint() {
    let wire = Wire::single_object();
    for record in Record::ALL {
        let schema = Schema::parse_str(record.schema_text()).unwrap();
        let former = u64::from_le_bytes(schema.fingerprint::<Rabin>().bytes.try_into().unwrap());
        let framed = framing::single_object_header(former);
        assert_eq!(wire.open(&framed).unwrap().0, record);
    }
}

#[test]
fn a_snapshot_of_before_it_had_a_clock_is_known_since_its_time() {
    let text = std::fs::read_to_string(folder().join("old/curve_snapshot.v1.avsc")).unwrap();
    let example = folder().join("examples/curve_snapshot/valid/without_points.json");
    let mut example: Json = serde_json::from_str(&std::fs::read_to_string(example).unwrap()).unwrap();
    example.as_object_mut().unwrap().remove("log_clock");
    let value = avro_json::read(&parse_whole(&text).unwrap(), &example, "").unwrap();
    let writer = Schema::parse_str(&text).unwrap();
    let writer = GenericDatumWriter::builder(&writer).build().unwrap();
    let header = framing::single_object_header(canonical::fingerprint(&text).unwrap());
    let framed = [&header[..], &writer.write_value_to_vec(value).unwrap()].concat();
    let wire = Wire::single_object();
    let current = wire.current(Record::CurveSnapshot, &framed);
    let snapshot = wire.decode_curve(&current).unwrap();
    assert_eq!((snapshot.log_clock, snapshot.version), (snapshot.as_of, 77));
    assert_eq!(snapshot.as_of, 1_763_690_460_000_000);
}
