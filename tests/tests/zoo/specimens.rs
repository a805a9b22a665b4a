//! The classes of the zoo: each is a strategy that generates hostile records.

use proptest::prelude::*;
use proptest::strategy::Union;
use testkit::hostile::Record;

/// The expected result of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A row.
    Tick,
    /// A dead letter and no row.
    Letter,
    /// A row or a dead letter, or both for a document.
    Something,
    /// The broker rejects it.
    Refused,
}

/// A record with its compression and its expected fate.
#[derive(Debug, Clone)]
pub struct Specimen {
    pub record: Record,
    pub compression: &'static str,
    pub fate: Fate,
}

/// Name and generator of each class. Transactions span several records, so `main.rs` generates them.
pub fn classes() -> Vec<(&'static str, BoxedStrategy<Specimen>)> {
    vec![
        ("size", size().boxed()),
        ("headers", headers().boxed()),
        ("compression", compression().boxed()),
        ("framing", framing().boxed()),
        ("json", json().boxed()),
        ("avro", avro().boxed()),
        ("documents", documents().boxed()),
        ("times", times().boxed()),
        ("ids", ids().boxed()),
        ("keys and nulls", keys_and_nulls().boxed()),
    ]
}

/// A valid message; `id` identifies its event.
pub fn good(id: &str) -> Vec<u8> {
    message(id, "\"ZOO\"", "\"2026-10-01T00:00:00Z\"").into_bytes()
}

fn message(id: &str, instrument: &str, time: &str) -> String {
    format!(
        r#"{{"envelope":{{"event_type":"ingestion.market.raw.v1","event_id":"{id}","timestamp":"2026-10-01T00:00:00Z","tenant_id":"zoo","source":"test","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":{instrument},"raw_data":{{"timestamp":{time},"price":1,"volume":2}}}}}}"#
    )
}

fn id() -> impl Strategy<Value = String> {
    any::<u128>().prop_map(|number| format!("zoo-{number:x}"))
}

fn specimen(payload: Vec<u8>, fate: Fate) -> Specimen {
    let record = Record {
        key: Some(b"zoo".to_vec()),
        payload: Some(payload),
        ..Record::default()
    };
    Specimen {
        record,
        compression: "none",
        fate,
    }
}

fn of_bytes(payloads: impl Strategy<Value = Vec<u8>>, fate: Fate) -> impl Strategy<Value = Specimen> {
    payloads.prop_map(move |payload| specimen(payload, fate))
}

const MIB: usize = 1 << 20;

fn size() -> impl Strategy<Value = Specimen> {
    let filled = |sizes: std::ops::Range<usize>| sizes.prop_map(|size| vec![b'x'; size]);
    Union::new_weighted(vec![
        (7, of_bytes(filled(MIB..3 * MIB), Fate::Letter).boxed()),
        (1, of_bytes(filled(63 * MIB..64 * MIB - 4096), Fate::Letter).boxed()),
        (1, of_bytes(filled(64 * MIB..66 * MIB), Fate::Refused).boxed()),
        (
            1,
            (60 * MIB..63 * MIB, 300_000..900_000_usize)
                .prop_map(|(payload, header)| {
                    let mut specimen = specimen(vec![b'x'; payload], Fate::Letter);
                    specimen.record.headers = vec![(b"large".to_vec(), Some(vec![b'h'; header]))];
                    specimen
                })
                .boxed(),
        ),
    ])
}

fn headers() -> impl Strategy<Value = Specimen> {
    let name = proptest::collection::vec(1u8..=255, 0..20);
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let odd = proptest::collection::vec((name, value), 1..30);
    let many = (1_000usize..200_000).prop_map(|count| vec![(b"n".to_vec(), None); count]);
    let large = (MIB..8 * MIB).prop_map(|size| vec![(b"large".to_vec(), Some(vec![7; size]))]);
    let forged = (
        prop_oneof![
            Just("dp.tenant_id"),
            Just("dp.format"),
            Just("dp.error.code"),
            Just("dp.truncated"),
            Just("__connect.errors.offset"),
            Just("dp.replay.origin"),
            Just("dp.replay.letter"),
        ],
        proptest::collection::vec(any::<u8>(), 0..300),
    );
    let forged = forged.prop_map(|(name, value)| vec![(name.as_bytes().to_vec(), Some(value))]);
    (prop_oneof![odd, many, large, forged], id()).prop_map(|(headers, id)| {
        let is_ours = headers.iter().any(|(name, _)| name.starts_with(b"dp."));
        let mut specimen = specimen(good(&id), if is_ours { Fate::Something } else { Fate::Tick });
        specimen.record.headers = headers;
        specimen
    })
}

fn compression() -> impl Strategy<Value = Specimen> {
    let codec = prop_oneof![Just("gzip"), Just("snappy"), Just("lz4"), Just("zstd")];
    let small = (codec.clone(), id()).prop_map(|(compression, id)| Specimen {
        compression,
        ..specimen(good(&id), Fate::Tick)
    });
    let padded = (codec, MIB..12 * MIB).prop_map(|(compression, size)| Specimen {
        compression,
        ..specimen(vec![0; size], Fate::Letter)
    });
    // Decompressed, it exceeds the limit of a raw record and does not fit into a dead letter.
    let bomb = prop_oneof![Just("gzip"), Just("zstd")];
    let bomb = (bomb, 73 * MIB..100 * MIB).prop_map(|(compression, size)| Specimen {
        compression,
        ..specimen(vec![0; size], Fate::Letter)
    });
    prop_oneof![5 => small, 4 => padded, 1 => bomb]
}

fn framing() -> impl Strategy<Value = Specimen> {
    let magic = prop_oneof![
        Just(vec![0u8]),
        Just(vec![0xc3, 0x01]),
        Just(vec![0xef, 0xbb, 0xbf]),
        Just(vec![0xff, 0xfe]),
        Just(vec![0x1f, 0x8b, 8]),
        Just(vec![0x28, 0xb5, 0x2f, 0xfd]),
    ];
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    of_bytes(
        (magic, body).prop_map(|(magic, body)| [magic, body].concat()),
        Fate::Letter,
    )
}

fn json() -> impl Strategy<Value = Specimen> {
    let cut = (id(), any::<prop::sample::Index>()).prop_map(|(id, at)| {
        let message = good(&id);
        message[..at.index(message.len() - 1) + 1].to_vec()
    });
    let cut = cut.prop_filter("whole", |bytes| bytes.last() != Some(&b'}') || bytes.len() < 300);
    let flipped = (id(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(id, at, byte)| {
        let mut message = good(&id);
        let at = at.index(message.len());
        message[at] = byte;
        message
    });
    let deep = (1usize..200_000).prop_map(|depth| vec![b'['; depth]);
    let number = (id(), "[0-9]{1,400}(\\.[0-9]{0,40})?([eE][+-]?[0-9]{1,9})?").prop_map(|(id, number)| {
        let message = message(&id, "\"ZOO\"", "\"2026-10-01T00:00:00Z\"");
        message
            .replace("\"price\":1", &format!("\"price\":{number}"))
            .into_bytes()
    });
    let twice = id().prop_map(|id| [good(&id), good(&id)].concat());
    let wide = id().prop_map(|id| good(&id).into_iter().flat_map(|byte| [byte, 0]).collect::<Vec<u8>>());
    let noise = proptest::collection::vec(any::<u8>(), 1..2_000);
    prop_oneof![
        2 => of_bytes(cut, Fate::Something),
        2 => of_bytes(flipped, Fate::Something),
        1 => of_bytes(deep, Fate::Letter),
        2 => of_bytes(number, Fate::Something),
        1 => of_bytes(twice, Fate::Letter),
        1 => of_bytes(wide, Fate::Letter),
        1 => of_bytes(noise, Fate::Something),
    ]
}

/// The fingerprints of raw ticks: as specified, and as older builds of the project wrote it.
const FINGERPRINTS: [[u8; 8]; 2] = [
    0xb262_cf99_ebc8_8933_u64.to_le_bytes(),
    0x1b4e_92a9_4b57_f28c_u64.to_le_bytes(),
];

fn avro() -> impl Strategy<Value = Specimen> {
    let datum = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        // Lengths beyond the end of the data.
        proptest::collection::vec(
            prop_oneof![Just(0xff_u8), Just(0x7f), Just(0x80), Just(2), Just(0)],
            0..60
        ),
    ];
    let framed = (prop::sample::select(&FINGERPRINTS[..]), datum);
    of_bytes(
        framed.prop_map(|(fingerprint, datum)| [&[0xc3, 0x01][..], &fingerprint, &datum].concat()),
        Fate::Something,
    )
}

fn documents() -> impl Strategy<Value = Specimen> {
    let cell = prop_oneof![
        Just("\"2026-10-01T00:05:00\"".to_owned()),
        Just("\"NODE\"".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        "\"[0-9]{1,6}\\.[0-9]{2}\"",
        "\"[a-zA-Z|:% ]{0,300}\"",
        "-?[0-9]{1,30}",
    ];
    let row = proptest::collection::vec(cell, 0..7).prop_map(|cells| format!("[{}]", cells.join(",")));
    let some = proptest::collection::vec(row, 1..50).prop_map(|rows| rows.join(","));
    let empty = (1usize..200_000).prop_map(|rows| vec!["[]"; rows].join(","));
    let whole = prop_oneof![3 => some, 1 => empty].prop_map(|rows| {
        format!(r#"{{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[{rows}]}}"#).into_bytes()
    });
    let format = prop_oneof![
        4 => Just("miso.rt5.expost.json".to_owned()),
        1 => "[a-z.]{0,40}",
    ];
    (
        whole,
        format,
        any::<prop::sample::Index>(),
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(document, format, at, is_cut)| {
            let end = if is_cut {
                at.index(document.len()) + 1
            } else {
                document.len()
            };
            let mut specimen = specimen(document[..end].to_vec(), Fate::Something);
            specimen.record.headers = vec![(b"dp.format".to_vec(), Some(format.into_bytes()))];
            specimen
        })
}

fn times() -> impl Strategy<Value = Specimen> {
    let time = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "[0-9]{1,30}",
        "\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})?\"",
        "\"[0-9:T.Z+-]{0,40}\"",
        Just("\"2016-12-31T23:59:60Z\"".to_owned()),
        Just("\"9999-12-31T23:59:59Z\"".to_owned()),
        Just("null".to_owned()),
    ];
    of_bytes(
        (id(), time).prop_map(|(id, time)| message(&id, "\"ZOO\"", &time).into_bytes()),
        Fate::Something,
    )
}

fn ids() -> impl Strategy<Value = Specimen> {
    let text = prop_oneof![
        "[|:%/\\\\ \\t]{1,20}",
        ".{0,300}",
        "[a-z]{255,258}",
        "[\\u{0}-\\u{1f}\\u{200b}\\u{202e}\\u{feff}é]{1,10}",
    ];
    of_bytes(
        (id(), text).prop_map(|(id, text)| {
            let instrument = serde_json::Value::String(text).to_string();
            message(&id, &instrument, "\"2026-10-01T00:00:00Z\"").into_bytes()
        }),
        Fate::Something,
    )
}

fn keys_and_nulls() -> impl Strategy<Value = Specimen> {
    let key = prop_oneof![
        Just(None),
        Just(Some(Vec::new())),
        proptest::collection::vec(any::<u8>(), 1..300).prop_map(Some),
        (MIB..3 * MIB).prop_map(|size| Some(vec![b'k'; size])),
    ];
    let payload = prop_oneof![Just(None), Just(Some(Vec::new())), id().prop_map(|id| Some(good(&id)))];
    (key, payload).prop_map(|(key, payload)| {
        let fate = match &payload {
            Some(payload) if !payload.is_empty() => Fate::Tick,
            _ => Fate::Letter,
        };
        let record = Record {
            key,
            payload,
            ..Record::default()
        };
        Specimen {
            record,
            compression: "none",
            fate,
        }
    })
}
