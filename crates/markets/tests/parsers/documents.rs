//! Documents of one format, MISO's real-time prices: digit for digit, rejected rows, replays, frames.

use domain::{Kind, QualityFlag};
use markets::{RawMessage, RejectCode, Replay};

use crate::common::{APPENDED_AT, message, normalizer, run, samples_or_skip};

const CURRENT: &str = "miso/GetRealTimeFiveMinExPost_Current_20261002T1650_part.json";
const PREVIOUS: &str = "miso/GetRealTimeFiveMinExPost_Previous_20261001_0000_0010.json";
const MISO: &str = "miso.rt5.expost.json";

fn document<'a>(payload: &'a [u8], format: &'a str) -> RawMessage<'a> {
    RawMessage {
        format: Some(format),
        // Ten hours after the newest of the sample documents.
        appended_at: APPENDED_AT + 20 * 3_600_000_000,
        ..message(payload)
    }
}

/// A document of 27 rows.
fn made() -> String {
    let row = |number: usize| format!(r#"["2026-10-02T16:50:00","NODE.{number}","{number}.60","-0.20","-7.01"]"#);
    let rows: Vec<String> = (0..27).map(row).collect();
    let headers = r#"["INTERVAL","CPNODE","LMP","MLC","MCC"]"#;
    format!(r#"{{"headers":{headers},"data":[{}]}}"#, rows.join(","))
}

// Rows of the file without a JSON parser: the text between brackets, split at commas.
fn rows_of(text: &str) -> Vec<Vec<String>> {
    let data = text.split("\"data\":[").nth(1).unwrap();
    let rows = data.split('[').skip(1).map(|row| row.split(']').next().unwrap());
    rows.map(|row| row.split(',').map(|cell| cell.trim_matches('"').to_owned()).collect())
        .collect()
}

// `-0.20` and `-0.2` are the same digits; the text of a decimal has no trailing zeros.
fn shortest(text: &str) -> String {
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn cents(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 2, "{text}");
    format!("{whole}{fraction}").parse().unwrap()
}

#[test]
fn every_row_of_the_real_miso_documents_becomes_its_tick_digit_for_digit() {
    let Some(folder) = samples_or_skip("every_row_of_the_real_miso_documents_becomes_its_tick_digit_for_digit") else {
        return;
    };
    for (file, count) in [(CURRENT, 27), (PREVIOUS, 66)] {
        let payload = std::fs::read(folder.join(file)).unwrap();
        let rows = rows_of(std::str::from_utf8(&payload).unwrap());
        assert_eq!(rows.len(), count);
        let mut index = 0;
        let outcome = normalizer()
            .normalize(&document(&payload, MISO), 5, &mut |tick| {
                let [interval, node, lmp, mlc, mcc] = rows[index].as_slice() else {
                    panic!("row {index}")
                };
                assert_eq!(tick.origin.index, index as i32);
                assert_eq!(tick.instrument_id, format!("MISO.{node}.RT5"));
                assert_eq!(tick.node, Some(node.as_str()));
                assert_eq!(tick.price.to_string(), shortest(lmp));
                assert_eq!(tick.loss.unwrap().to_string(), shortest(mlc));
                assert_eq!(tick.congestion.unwrap().to_string(), shortest(mcc));
                assert_eq!(
                    tick.energy.unwrap().unscaled(),
                    (cents(lmp) - cents(mlc) - cents(mcc)) * 1_000_000
                );
                let utc: jiff::Timestamp = format!("{interval}-05:00").parse().unwrap();
                // The stamp is the end of the five-minute interval.
                assert_eq!(tick.interval_end, Some(utc.as_microsecond()));
                assert_eq!(tick.event_time, utc.as_microsecond() - 300_000_000);
                assert_eq!(
                    (tick.kind, tick.product, tick.market, tick.volume),
                    (Kind::Interval, "rt5", "MISO", None)
                );
                assert_eq!((tick.currency, tick.unit, tick.tenant_id), ("USD", "MWh", "default"));
                assert_eq!(tick.source_event_id, tick.correlation_id);
                assert_eq!(tick.causation_id, Some(tick.source_event_id));
                for flag in [
                    QualityFlag::MissingVolume,
                    QualityFlag::MissingMetadata,
                    QualityFlag::ComponentMismatch,
                    QualityFlag::OffGrid,
                ] {
                    assert!(!tick.quality_flags.contains(flag), "{flag:?}");
                }
                index += 1;
            })
            .unwrap();
        assert_eq!((outcome.ticks as usize, outcome.rejected.count()), (count, 0));
    }
}

#[test]
fn the_row_stamped_midnight_is_the_last_interval_of_the_day_before() {
    let payload =
        br#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2026-10-02T00:00:00","A","1","0","0"]]}"#;
    let mut times = Vec::new();
    normalizer()
        .normalize(&document(payload, MISO), 5, &mut |tick| {
            times.push((tick.event_time, tick.interval_end));
        })
        .unwrap();
    // 23:55 and 24:00 EST on 1 October.
    let utc = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    assert_eq!(
        times,
        [(utc("2026-10-02T04:55:00Z"), Some(utc("2026-10-02T05:00:00Z")))]
    );
}

#[test]
fn a_rejected_row_keeps_its_index_and_the_others_are_emitted() {
    let payload = r#"{"data":[["1.00","A.HUB","0.10","2026-10-02T10:00:00","0.20"],["oops","B.HUB","0.1","2026-10-02T10:00:00","0.2"],
        ["1.00","","0.1","2026-10-02T10:00:00","0.2"],["1","C","0","2026-10-02T10:00:00Z","0"],["1","D","0","2026-10-02T10:00:00"],7,
        ["2.00","E HUB","0.1","2026-10-02T10:01:00","0.2"],["1.03","F","0.10","2026-10-02T10:00:00","0.20"]],
        "headers":["LMP","CPNODE","MLC","INTERVAL","MCC"]}"#;
    let mut seen = Vec::new();
    let outcome = normalizer()
        .normalize(&document(payload.as_bytes(), MISO), 5, &mut |tick| {
            let flags: Vec<&str> = tick
                .quality_flags
                .iter()
                .map(QualityFlag::name)
                .filter(|flag| *flag != "late_arrival")
                .collect();
            seen.push((tick.origin.index, tick.instrument_id.to_owned(), flags));
        })
        .unwrap();
    let expected: [(i32, &str, &[&str]); 3] = [
        // Two energies, and neither is that of most rows.
        (0, "MISO.A.HUB.RT5", &["component_mismatch"]),
        (6, "MISO.E%20HUB.RT5", &["off_grid"]),
        (7, "MISO.F.RT5", &["component_mismatch"]),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(index, id, flags)| (index, id.to_owned(), flags.to_vec()))
        .collect();
    assert_eq!(seen, expected);
    let rejected: Vec<(i32, RejectCode)> = outcome
        .rejected
        .first
        .iter()
        .map(|row| (row.index, row.rejection.code))
        .collect();
    assert_eq!(
        rejected,
        [
            (1, RejectCode::InvalidPrice),
            (2, RejectCode::MissingInstrument),
            (3, RejectCode::InvalidTime),
            (4, RejectCode::SchemaViolation),
            (5, RejectCode::SchemaViolation),
        ]
    );
    assert_eq!(outcome.rejected.rows.text(100), "1-5");
    assert_eq!(outcome.rejected.count(), 5);
    assert_eq!(outcome.ticks, 3);
}

#[test]
fn a_row_too_far_ahead_of_the_append_time_is_rejected_and_the_others_are_emitted() {
    // The stamp is the end of the interval in EST. The first row begins ten minutes after the append, the second one second
    // later.
    let payload = br#"{"headers":["CPNODE","INTERVAL","LMP","MLC","MCC"],"data":[
        ["A","2026-10-02T07:15:00","1","0","0"],["B","2026-10-02T07:15:01","1","0","0"],["C","2026-10-02T07:05:00","1","0","0"]]}"#;
    let mut seen = Vec::new();
    let appended = RawMessage {
        appended_at: APPENDED_AT,
        ..document(payload, MISO)
    };
    let outcome = normalizer()
        .normalize(&appended, 5, &mut |tick| seen.push(tick.origin.index))
        .unwrap();
    assert_eq!(seen, [0, 2]);
    let row = &outcome.rejected.first[0];
    assert_eq!((row.index, row.rejection.code), (1, RejectCode::FutureTime));
    for part in [
        "INTERVAL is 2026-10-02T12:10:01Z, 601 s after",
        "2026-10-02T12:00:00Z",
        "at most 600 s",
        "correct the clock",
    ] {
        assert!(row.rejection.message.contains(part), "{}", row.rejection);
    }
}

#[test]
fn a_replay_emits_only_the_rejected_rows() {
    let payload = made();
    let mut replayed = document(payload.as_bytes(), MISO);
    let mut normalizer = normalizer();
    for (rows, expected) in [
        ("7,3,99", &[3, 7][..]),
        ("25-30", &[25, 26]),
        ("0,2-4,9", &[0, 2, 3, 4, 9]),
    ] {
        replayed.replay = Some(Replay {
            letter: 0,
            origin: "raw/0/5",
            rows,
            attempt: 2,
            held: false,
        });
        let mut indexes = Vec::new();
        assert_eq!(normalizer.parse(&replayed).unwrap().rows(), expected.len(), "{rows}");
        normalizer
            .normalize(&replayed, 5, &mut |tick| indexes.push(tick.origin.index))
            .unwrap();
        assert_eq!(indexes, expected, "{rows}");
    }
    for (rows, why) in [("3,x", "separated by commas"), ("3,...", "was cut"), ("9-7", "ranges")] {
        replayed.replay = Some(Replay {
            letter: 0,
            origin: "raw/0/5",
            rows,
            attempt: 2,
            held: false,
        });
        let rejection = run(&replayed).unwrap_err();
        assert_eq!(rejection.code, RejectCode::SchemaViolation);
        assert!(rejection.message.contains(why), "{rejection}");
    }
}

#[test]
fn the_same_document_is_a_different_event_for_each_tenant() {
    let payload = made();
    let own = document(payload.as_bytes(), MISO);
    let other = RawMessage {
        tenant: Some("acme"),
        ..own
    };
    let key = |message: &RawMessage<'_>| normalizer().parse(message).unwrap().event_key();
    assert_eq!(key(&own), key(&own));
    assert_ne!(key(&own), key(&other));
    let (ticks, _) = run(&other).unwrap();
    assert!(ticks.iter().all(|tick| tick.contains("tenant_id: \"acme\"")));
}

#[test]
fn a_document_with_an_invalid_frame_is_rejected_as_a_whole() {
    for (payload, code, names) in [
        ("<html>", RejectCode::BrokenJson, "HTML"),
        (
            "{\"headers\":[",
            RejectCode::BrokenJson,
            "/headers: a value is expected at byte 12",
        ),
        ("{\"data\":[]}", RejectCode::SchemaViolation, "/headers"),
        ("{\"headers\":[]}", RejectCode::SchemaViolation, "/data"),
        (
            "{\"headers\":[],\"headers\":[]}",
            RejectCode::SchemaViolation,
            "/headers: the field occurs twice",
        ),
        (
            r#"{"headers":["INTERVAL","CPNODE","LMP","MLC"],"data":[]}"#,
            RejectCode::SchemaViolation,
            "MCC",
        ),
        (
            r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC","X"],"data":[]}"#,
            RejectCode::SchemaViolation,
            "6 columns",
        ),
        ("", RejectCode::BrokenJson, "empty"),
    ] {
        let rejection = run(&document(payload.as_bytes(), MISO)).expect_err(payload);
        assert_eq!(rejection.code, code, "{payload}");
        assert!(rejection.message.contains(names), "{payload}: {rejection}");
    }
    let rejection = run(&document(b"{}", "miso.rt5.expost.xml")).unwrap_err();
    assert_eq!(rejection.code, RejectCode::UnsupportedFormat);
    assert!(rejection.message.contains("not a known format"), "{rejection}");
    let tenantless = RawMessage {
        tenant: Some("a|b"),
        ..document(b"{}", MISO)
    };
    assert_eq!(run(&tenantless).unwrap_err().code, RejectCode::InvalidIdentifier);
}
