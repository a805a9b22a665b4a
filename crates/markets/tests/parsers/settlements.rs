//! Settlements of contracts, written by hand: `curve.settlements.csv` and `gas.eia_futures.json`.

use markets::{RejectCode, Settlements, detect_format};
use proptest::prelude::*;

use crate::common::{self, document, every_cut_is_a_part, is_part, normalizer, read, refused_whole};

const CSV: &str = "curve.settlements.csv";
const FUTURES: &str = "gas.eia_futures.json";
const HEADER: &str = "as_of,curve_id,contract,block,price,volume";

#[test]
fn settlements_are_prices_of_absolute_contracts_in_the_market_of_their_curve() {
    let text = format!(
        "{HEADER}\n\
         2026-11-25,PJM.WESTERN_HUB,M1,peak,55.25,100\n\
         2026-11-25,pjm.western hub,Q1-27,flat,61.40,\n\
         2026-11-25T22:30:00Z,PJM.WESTERN_HUB,BALMO,off_peak,-1.5,\n\
         2026-11-01,GAS.HENRY_HUB,F27,flat,3.215,12\n\
         2026-11-25,GAS.WAHA,M1,flat,-0.35,\n\
         2026-11-26,GAS.WAHA,M1,flat,0.4,\n\
         2026-11-25,MISO.INDIANA.HUB,CAL-27,peak,48,\n\
         2026-11-25,MISO.NEW PLACE,WIN-27,peak,50,\n"
    );
    assert_eq!(detect_format("x", text.as_bytes()), Some(CSV));
    let found = read(CSV, text.as_bytes()).unwrap();
    assert_eq!(found.rejected, [""; 0]);
    assert_eq!(
        found.ticks,
        [
            "PJM.WESTERN%20HUB.2026-12.PEAK.SETTLEMENT 2026-11-25T05:00:00Z 86400s 55.25",
            "PJM.WESTERN%20HUB.Q1-27.FLAT.SETTLEMENT 2026-11-25T05:00:00Z 86400s 61.4",
            "PJM.WESTERN%20HUB.BALMO-2026-11.OFF_PEAK.SETTLEMENT 2026-11-25T22:30:00Z 23400s -1.5",
            // The day on which clocks are set back.
            "GAS.HENRY_HUB.2027-01.FLAT.SETTLEMENT 2026-11-01T05:00:00Z 90000s 3.215",
            // The contract of December stops trading on 25 November.
            "GAS.WAHA.2026-12.FLAT.SETTLEMENT 2026-11-25T06:00:00Z 86400s -0.35",
            "GAS.WAHA.2027-01.FLAT.SETTLEMENT 2026-11-26T06:00:00Z 86400s 0.4",
            // Contracts of MISO are in prevailing time, its prices are not.
            "MISO.INDIANA.HUB.CAL-27.PEAK.SETTLEMENT 2026-11-25T05:00:00Z 86400s 48",
            "MISO.NEW%20PLACE.WIN-27.PEAK.SETTLEMENT 2026-11-25T05:00:00Z 86400s 50 !unknown_node",
        ]
    );
    every_cut_is_a_part(CSV, text.as_bytes(), 1);
    let mut facts = Vec::new();
    normalizer()
        .normalize(&document(CSV, text.as_bytes()), 5, &mut |tick| {
            let volume = tick.volume.map(|volume| volume.to_string());
            facts.push(format!(
                "{} {} {} {:?} {volume:?}",
                tick.market, tick.product, tick.unit, tick.hub
            ));
            assert!(tick.quality_flags.iter().all(|flag| flag.name() != "late_arrival"));
        })
        .unwrap();
    let first = facts.first().map(String::as_str);
    assert_eq!(first, Some("PJM settlement MWh Some(\"WESTERN HUB\") Some(\"100\")"));
    assert_eq!(
        facts.get(3).map(String::as_str),
        Some("GAS settlement MMBtu Some(\"HENRY_HUB\") Some(\"12\")")
    );
}

#[test]
fn rows_that_cannot_be_read_are_rejected_alone_with_their_line_and_the_reason() {
    let rows = [
        (
            "2026-11-25,ICE.NBP,M1,flat,1,",
            "unknown_market",
            "begins with no market",
        ),
        ("2026-11-25,PJM,M1,flat,1,", "missing_instrument", "names no hub"),
        ("2026-11-25,,M1,flat,1,", "missing_instrument", "curve_id is empty"),
        (",PJM.WESTERN HUB,M1,flat,1,", "missing_time", "as_of"),
        (
            "25.11.2026,PJM.WESTERN HUB,M1,flat,1,",
            "invalid_time",
            "as_of is \"25.11.2026\"",
        ),
        (
            "2026-11-25,PJM.WESTERN HUB,F277,flat,1,",
            "schema_violation",
            "\"F277\" is no contract",
        ),
        (
            "2026-11-25,PJM.WESTERN HUB,M1,night,1,",
            "schema_violation",
            "\"night\" is no block",
        ),
        ("2026-11-25,PJM.WESTERN HUB,M1,flat,x,", "invalid_price", "price is"),
        (
            "2026-11-25,PJM.WESTERN HUB,M1,flat,,",
            "missing_price",
            "there is no price",
        ),
        ("2026-11-25,PJM.WESTERN HUB,M1,flat,1,x", "invalid_number", "volume is"),
        (
            "2026-11-25,PJM.WESTERN HUB,M1,flat,1,-1",
            "negative_volume",
            "volume is -1",
        ),
        (
            "2026-11-30,PJM.WESTERN HUB,BALMO,flat,1,",
            "schema_violation",
            "has no day left",
        ),
        ("2026-11-25,GAS.WAHA,M1,peak,1,", "schema_violation", "no on-peak block"),
        ("2026-11-25,PJM.WESTERN HUB,M1,flat", "schema_violation", "cells"),
        (
            "2028-11-25,PJM.WESTERN HUB,M1,flat,1,",
            "future_time",
            "correct the trade date",
        ),
    ];
    let good = "2026-11-25,PJM.WESTERN HUB,M2,flat,40,1";
    let text: String = rows.iter().map(|(row, ..)| format!("{row}\n{good}\n")).collect();
    let found = read(CSV, format!("{HEADER}\n{text}").as_bytes()).unwrap();
    assert_eq!(found.ticks.len(), rows.len());
    let expected: Vec<String> = rows
        .iter()
        .zip(0..)
        .map(|((_, code, _), at)| format!("line {}: {code}", 2 + 2 * at))
        .collect();
    assert_eq!(found.rejected, expected, "{:#?}", found.messages);
    for ((_, _, reason), message) in rows.iter().zip(&found.messages) {
        assert!(message.contains(reason), "{message}");
    }
    for (header, reason) in [
        ("as_of,curve_id,contract,price", "block"),
        ("as_of,curve_id,contract,block,price,volumes", "volumes"),
        ("as_of,curve_id,contract,block,price,Price", "Price"),
    ] {
        refused_whole(CSV, header.as_bytes(), RejectCode::SchemaViolation, reason);
    }
}

#[test]
fn a_code_of_june_that_lies_ahead_is_not_taken_for_a_number_of_months() {
    let of = |day: &str, contract: &str| {
        let text = format!("{HEADER}\n{day},GAS.HENRY_HUB,{contract},flat,6.5,\n");
        let found = read(CSV, text.as_bytes()).unwrap();
        found.ticks.into_iter().chain(found.messages).collect::<String>()
    };
    for (day, contract, june) in [
        ("2008-11-14", "M09", "2009-06"),
        ("2023-11-15", "m24", "2024-06"),
        ("2015-11-16", "M24", "2024-06"),
        ("2024-06-03", "M24", "2024-06"),
    ] {
        let refused = of(day, contract);
        assert!(refused.contains("code of") && refused.contains(june), "{refused}");
    }
    for (day, contract, month) in [
        ("2026-11-02", "M09", "2027-08"),
        ("2024-07-01", "M24", "2026-07"),
        ("2026-11-02", "M24", "2028-11"),
        ("2023-11-15", "M9", "2024-08"),
        ("2023-11-15", "N24", "2024-07"),
        ("2026-11-02", "M27", "2027-06"),
    ] {
        let read = of(day, contract);
        assert!(read.contains(&format!(".{month}.FLAT")), "{day} {contract}: {read}");
    }
}

#[test]
fn a_corrected_settlement_has_the_instrument_and_the_time_of_the_first_one() {
    let first = read(CSV, format!("{HEADER}\n2026-11-25,GAS.WAHA,M1,flat,1,\n").as_bytes()).unwrap();
    let second = read(CSV, format!("{HEADER}\n2026-11-25,GAS.WAHA,Z26,7x24,2,\n").as_bytes()).unwrap();
    let named = |found: &common::Read| {
        found
            .ticks
            .first()
            .map(|tick| tick.rsplit_once(' ').unwrap().0.to_owned())
    };
    assert_eq!(named(&first), named(&second));
}

#[test]
fn nearby_futures_mean_the_months_of_their_trade_date() {
    let text = r#"{"response":{"total":"7","frequency":"daily","data":[
        {"period":"2024-03-26","series":"RNGC1","value":"1.575","units":"$/MMBTU"},
        {"period":"2024-03-27","series":"RNGC1","value":1.718,"units":"$/MMBTU"},
        {"period":"2024-03-27","series":"RNGC4","value":"2.5","units":"$/MMBTU"},
        {"period":"2024-03-28","series":"RNGC1","value":null,"units":"$/MMBTU"},
        {"period":"2024-03-28","series":"RNGC5","value":"1","units":"$/MMBTU"},
        {"period":"2024-03-28","series":"RNGC1","value":"1","units":"EUR/MWH"},
        {"series":"RNGC1"}]},"apiVersion":"2.1.14"}"#;
    assert_eq!(detect_format("x", text.as_bytes()), Some(FUTURES));
    let found = read(FUTURES, text.as_bytes()).unwrap();
    assert_eq!(
        found.ticks,
        [
            "GAS.HENRY_HUB.2024-04.FLAT.SETTLEMENT 2024-03-26T05:00:00Z 86400s 1.575",
            "GAS.HENRY_HUB.2024-05.FLAT.SETTLEMENT 2024-03-27T05:00:00Z 86400s 1.718",
            "GAS.HENRY_HUB.2024-08.FLAT.SETTLEMENT 2024-03-27T05:00:00Z 86400s 2.5",
        ]
    );
    assert_eq!(
        found.rejected,
        [
            "/response/data/3: missing_price",
            "/response/data/4: missing_instrument",
            "/response/data/5: schema_violation",
            "/response/data/6: schema_violation",
        ]
    );
    every_cut_is_a_part(FUTURES, text.as_bytes(), 1);
    assert!(!is_part(FUTURES, text.as_bytes()));
    assert!(is_part(
        FUTURES,
        text.replace("\"total\":\"7\"", "\"total\":\"12\"").as_bytes()
    ));
    refused_whole(
        FUTURES,
        br#"{"response":{"total":"0","data":[]}}"#,
        RejectCode::NoData,
        "empty",
    );
    // The mean of a week, month or year is no settlement of a day.
    for other in ["weekly", "monthly", "annual", "Daily average"] {
        let answer = text.replace("\"frequency\":\"daily\"", &format!("\"frequency\":\"{other}\""));
        refused_whole(FUTURES, answer.as_bytes(), RejectCode::SchemaViolation, other);
    }
    let asked = |frequency: &str| {
        let request = format!(
            ",\"request\":{{\"command\":\"x\",\"params\":{{\"frequency\":\"{frequency}\",\"data\":[\"value\"]}}}},\"apiVersion\""
        );
        text.replace("\"frequency\":\"daily\",", "")
            .replace(",\"apiVersion\"", &request)
    };
    refused_whole(
        FUTURES,
        asked("weekly").as_bytes(),
        RejectCode::SchemaViolation,
        "weekly",
    );
    assert_eq!(read(FUTURES, asked("daily").as_bytes()).unwrap(), found);
    for twice in [
        "\"frequency\":\"daily\",\"frequency\":\"weekly\"",
        "\"frequency\":\"daily\",\"total\":\"7\"",
    ] {
        let answer = text.replace("\"frequency\":\"daily\"", twice);
        refused_whole(FUTURES, answer.as_bytes(), RejectCode::SchemaViolation, "twice");
    }
    refused_whole(
        FUTURES,
        br#"{"series":[]}"#,
        RejectCode::SchemaViolation,
        "/response/data",
    );
}

#[test]
fn rows_can_be_read_for_markets_that_the_registry_does_not_have() {
    let text = format!("{HEADER}\n2026-11-25,ICE.NBP,M1,flat,90,\nx,ICE.NBP,M1,flat,90,\n");
    let found = Settlements::parse(text.as_bytes()).unwrap();
    let rows: Vec<(&str, &str)> = found
        .rows
        .iter()
        .map(|row| (row.place.as_str(), row.curve_id.as_str()))
        .collect();
    assert_eq!(rows, [("line 2", "ICE.NBP")]);
    let [reason] = found.rejected.as_slice() else {
        panic!("{:?}", found.rejected);
    };
    assert!(reason.starts_with("line 3: as_of"), "{reason}");
}

/// The ticks without what depends on earlier prices, and the codes of the rejected rows.
fn facts(rows: &str) -> (Vec<String>, Vec<String>) {
    let found = read(CSV, format!("{HEADER}\n{rows}").as_bytes()).unwrap();
    let before = |text: &String, end: &str| text.split_once(end).map_or(text.as_str(), |(text, _)| text).to_owned();
    let code = |text: &String| text.rsplit(' ').next().unwrap_or_default().to_owned();
    (
        found.ticks.iter().map(|tick| before(tick, " !")).collect(),
        found.rejected.iter().map(code).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    // What is remembered of the rows before changes none.
    #[test]
    fn a_row_is_read_as_if_it_were_alone(
        rows in prop::collection::vec(
            (
                "(2026-11-2[4-8]|2026-11-30|2026-12-31|2026-11-25T2[23]:30:00Z|2026-11-26T0[0-9]:00:00\\+01:00|x)",
                "(GAS\\.WAHA|gas\\.waha|GAS\\.HENRY_HUB|PJM\\.WESTERN HUB|CAISO\\.NEW|MISO\\.INDIANA\\.HUB|MISO|ICE\\.NBP)",
                "(M1|m2|M24|BALMO|F27|2027-02|Q1-27|SUM-2027|WIN-27|CAL-28|M0|SUM-20277)",
                "(flat|flat|PEAK|off_peak|night)",
            ),
            1..9,
        ),
    ) {
        let rows: Vec<String> = rows
            .iter()
            .map(|(day, curve, contract, block)| format!("{day},{curve},{contract},{block},1.25,\n"))
            .collect();
        let (mut ticks, mut rejected) = (Vec::new(), Vec::new());
        for row in &rows {
            let (alone, refused) = facts(row);
            ticks.extend(alone);
            rejected.extend(refused);
        }
        prop_assert_eq!(facts(&rows.concat()), (ticks, rejected));
    }
}
