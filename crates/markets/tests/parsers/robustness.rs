//! Properties of every document format, for damaged and arbitrary bytes: no panic, each row accounted for once, the same
//! result twice. And its containers: line ends, a byte order mark, an archive.

use std::cell::RefCell;
use std::io::Write as _;

use markets::{FORMATS, Normalizer};
use proptest::prelude::*;

use crate::common::{document, normalizer};

thread_local! {
    static NORMALIZER: RefCell<Normalizer> = RefCell::new(normalizer());
}

/// A small document of each family of formats.
const DOCUMENTS: [&str; 14] = [
    r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2026-10-02T05:00:00","A","1.5","0.1","0.2"],["2026-10-02T05:00:00","B","1.5","0.1","0.2"]]}"#,
    r#"{"LMPData":{"RefId":"02-Oct-2026 - Interval 16:50 EST","ExAnteLMP":{"HourAndMin":"16:50","Hub":[{"name":"A.HUB","LMP":"34.76","loss":"0.02","congestion":"2.00"}]}}}"#,
    "Day Ahead Market ExPost LMPs\n11/02/2025\n,,,All Hours-Ending are Eastern Standard Time (EST)\nNode,Type,Value,HE 1,HE 2,HE 3,HE 4,HE 5,HE 6,HE 7,HE 8,HE 9,HE 10,HE 11,HE 12,HE 13,HE 14,HE 15,HE 16,HE 17,HE 18,HE 19,HE 20,HE 21,HE 22,HE 23,HE 24\nA,Hub,LMP,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1\n",
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,NODE,MARKET_RUN_ID,LMP_TYPE,MW\n2019-11-03T09:00:00-00:00,2019-11-03T10:00:00-00:00,2019-11-03,25,N,DAM,LMP,1\n2019-11-03T09:00:00-00:00,2019-11-03T10:00:00-00:00,2019-11-03,25,N,DAM,MCE,1\n",
    "<m:OASISReport xmlns:m=\"x\"><m:REPORT_ITEM><m:REPORT_HEADER><m:MKT_TYPE>DAM</m:MKT_TYPE></m:REPORT_HEADER><m:REPORT_DATA><m:DATA_ITEM>LMP_PRC</m:DATA_ITEM><m:VALUE>1</m:VALUE></m:REPORT_DATA></m:REPORT_ITEM></m:OASISReport>",
    "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n11/02/2025 01:05:13,Y,HB_NORTH,       27.04\n11/02/2025 01:05:13,N,\"A\",1\n",
    "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag\n11/02/2025,2,1,LZ_AEN,LZEW,3.72,N\n",
    r#"{"_meta":{"totalRecords":1,"totalPages":1},"fields":[{"name":"deliveryDate"},{"name":"hourEnding"},{"name":"settlementPoint"},{"name":"settlementPointPrice"},{"name":"DSTFlag"}],"data":[["2025-11-02","02:00","HB_NORTH",22.1,true]]}"#,
    r#"{"items":[{"datetime_beginning_utc":"2025-09-01T04:05:00","pnode_id":1,"pnode_name":"P","total_lmp_rt":1.5,"congestion_price_rt":0,"marginal_loss_price_rt":0}],"totalRows":1}"#,
    "Time Stamp,Name,PTID,LBMP ($/MWHr),Marginal Cost Losses ($/MWHr),Marginal Cost Congestion ($/MWHr)\n11/02/2025 01:00,WEST,1,51.52,2.92,0.00\n11/02/2025 01:00,WEST,1,51.52,2.92,0.00\n",
    "C,Day-Ahead Energy Market Hourly LMP Report\nH,Date,Hour Ending,Location ID,Location Name,Location Type,Locational Marginal Price,Energy Component,Congestion Component,Marginal Loss Component\nD,11/02/2025,02X,4000,.H.INTERNAL_HUB,HUB,1,1,0,0\nT,1 lines\n",
    "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n11/02/2025 02:00:00,11/02/2025 07:00:00,A,P,1,0,0,1\n",
    "as_of,curve_id,contract,block,price,volume\n2026-11-25,PJM.WESTERN_HUB,M1,peak,55.25,100\n2026-11-25T22:30:00Z,GAS.HENRY_HUB,BALMO,flat,3.1,\n",
    r#"{"response":{"total":"1","data":[{"period":"2024-03-26","series":"RNGC1","value":"1.575","units":"$/MMBTU"}]}}"#,
];

fn outcome_of(format: &str, payload: &[u8]) -> String {
    NORMALIZER.with_borrow_mut(|normalizer| {
        let message = document(format, payload);
        let rows = match normalizer.parse(&message) {
            Ok(parsed) => parsed.rows(),
            Err(rejection) => return rejection.to_string(),
        };
        let (mut ticks, mut last, mut text) = (0, -1, String::new());
        let outcome = normalizer
            .normalize(&message, 5, &mut |tick| {
                assert!(tick.origin.index > last, "{format}");
                last = tick.origin.index;
                ticks += 1;
                text += &format!("{} {} {};", tick.instrument_id, tick.event_time, tick.price);
            })
            .unwrap();
        assert_eq!(ticks + outcome.rejected.count(), rows as u64, "{format}");
        text + &format!("{:?}", outcome.rejected)
    })
}

fn check_all(payload: &[u8]) {
    for format in FORMATS.iter() {
        assert_eq!(outcome_of(format.name, payload), outcome_of(format.name, payload));
    }
}

#[test]
fn every_document_is_of_one_format_and_readable() {
    for text in DOCUMENTS {
        check_all(text.as_bytes());
        assert!(
            FORMATS
                .iter()
                .any(|format| !outcome_of(format.name, text.as_bytes()).contains("schema_violation")),
            "{text}"
        );
    }
}

fn ticks_of(format: &str, payload: &[u8]) -> Result<Vec<String>, String> {
    let mut ticks = Vec::new();
    let outcome = NORMALIZER.with_borrow_mut(|normalizer| {
        normalizer.normalize(&document(format, payload), 5, &mut |tick| {
            ticks.push(format!(
                "{} {} {} {}",
                tick.origin.index, tick.instrument_id, tick.event_time, tick.price
            ));
        })
    });
    outcome.map(|_| ticks).map_err(|rejection| rejection.to_string())
}

fn archive(bytes: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.start_file("document", options).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn every_format_is_read_from_every_container_and_other_encodings_are_refused_by_name() {
    let mut count = 0;
    for text in DOCUMENTS {
        let marked = format!("\u{FEFF}{text}");
        let [two, one] = ["\r\n", "\r"].map(|end| text.replace('\n', end));
        let packed = archive(text.as_bytes());
        let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for format in FORMATS.iter() {
            let Ok(expected) = ticks_of(format.name, text.as_bytes()) else {
                continue;
            };
            count += expected.len();
            for payload in [marked.as_bytes(), two.as_bytes(), one.as_bytes(), &packed] {
                let found = ticks_of(format.name, payload);
                assert_eq!(found.as_ref(), Ok(&expected), "{}: {payload:?}", format.name);
            }
            for (name, payload) in [("UTF-16", wide.as_slice()), ("gzip", &[0x1F, 0x8B, 8, 0][..])] {
                let refused = ticks_of(format.name, payload).unwrap_err();
                assert!(refused.contains(name), "{}: {refused}", format.name);
            }
        }
    }
    assert!(count > 15, "{count} ticks");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_documents_never_panic_and_lose_no_row(
        at in 0..DOCUMENTS.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
    ) {
        let mut payload = DOCUMENTS[at].as_bytes().to_vec();
        for (place, byte, kind) in changes {
            let place = place.index(payload.len().max(1)).min(payload.len().saturating_sub(1));
            match kind {
                0 => payload[place] = byte,
                1 => payload.insert(place, byte),
                2 => payload.truncate(place + 1),
                _ => {
                    let part = payload[place..].to_vec();
                    payload.extend(part);
                }
            }
        }
        check_all(&payload);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[A-Za-z0-9,:/. \"\n<>{}-]{0,200}") {
        check_all(text.as_bytes());
    }
}
