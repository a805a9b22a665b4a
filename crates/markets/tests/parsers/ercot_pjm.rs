//! Documents of ERCOT and PJM, written by hand.

use markets::{RejectCode, detect_format};

use crate::common::{every_cut_is_a_part, is_part, read, refused_whole};

fn ticks(format: &str, text: &str) -> Vec<String> {
    let read = read(format, text.as_bytes()).unwrap();
    assert!(read.rejected.is_empty(), "{:?}", read.messages);
    read.ticks
}

fn codes(format: &str, text: &str) -> Vec<String> {
    read(format, text.as_bytes()).unwrap().rejected
}

#[test]
fn ercot_runs_keep_their_instant_and_padded_numbers() {
    let text = "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\r\n11/02/2025 01:05:13,N,HB_NORTH,       27.04\r\n11/02/2025 01:05:13,Y,LZ_AEN,        -.40\r\n06/25/2026 00:40:18,N,7RN_ALL,47\r\n";
    let format = "ercot.np6-788.csv";
    assert_eq!(detect_format("x", text.as_bytes()), Some(format));
    assert_eq!(
        ticks(format, text),
        [
            "ERCOT.HB_NORTH.RT5 2025-11-02T06:05:13Z 300s 27.04",
            "ERCOT.LZ_AEN.RT5 2025-11-02T07:05:13Z 300s -0.4",
            "ERCOT.7RN_ALL.RT5 2026-06-25T05:40:18Z 300s 47",
        ]
    );
    every_cut_is_a_part(format, text.as_bytes(), 1);
    // Other spellings of the same columns.
    let other = text.replace(
        "SCEDTimestamp,RepeatedHourFlag,SettlementPoint",
        "SCED Timestamp,Repeated Hour Flag ,\"Settlement Point\"",
    );
    assert_eq!(ticks(format, &other), ticks(format, text));
}

#[test]
fn an_ercot_row_whose_time_is_ambiguous_or_impossible_is_rejected_alone() {
    let format = "ercot.np6-788.csv";
    let text = "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n11/02/2025 01:05:13,,A,1\n11/02/2025 03:05:13,Y,A,1\n03/08/2026 02:10:00,N,A,1\n\
                03/08/2026 03:10:00,N,A,1\n03/08/2026 03:10:00,maybe,A,1\n03/08/2026,N,A,1\n03/08/2026 03:10:00,N,,1\n03/08/2026 03:10:00,N,A,\n03/08/2026 03:10:00,N,A,1,2\n\
                03/08/2026 03:10:00,N,\"A,1\n03/08/2026 03:10:00,N,B,1e400\n";
    assert_eq!(
        codes(format, text),
        [
            "line 2: ambiguous_time",
            "line 3: invalid_time",
            "line 4: invalid_time",
            "line 6: schema_violation",
            "line 7: invalid_time",
            "line 8: missing_instrument",
            "line 9: missing_price",
            "line 10: schema_violation",
            "line 11: schema_violation",
            "line 12: invalid_price",
        ]
    );
    assert_eq!(
        read(format, text.as_bytes()).unwrap().ticks,
        ["ERCOT.A.RT5 2026-03-08T08:10:00Z 300s 1"]
    );
}

#[test]
fn ercot_buses_have_one_price_column_or_two() {
    let format = "ercot.np6-787.csv";
    for (header, row) in [
        ("SCEDTimestamp,RepeatedHourFlag,ElectricalBus,LMP", "A,1.5"),
        (
            "SCEDTimestamp,RepeatedHourFlag,ElectricalBus,CappedLMP,UncappedLMP",
            "A,1.5,9000",
        ),
        (
            "SCEDTimestamp,DSTFlag,ElectricBusName,UncappedLMP,CappedLMP",
            "A,9000,1.5",
        ),
    ] {
        let text = format!("{header}\n06/25/2026 00:40:18,N,{row}\n");
        assert_eq!(detect_format("x", text.as_bytes()), Some(format), "{header}");
        assert_eq!(ticks(format, &text), ["ERCOT.A.BUS.RT5 2026-06-25T05:40:18Z 300s 1.5"]);
    }
    for header in [
        "SCEDTimestamp,RepeatedHourFlag,ElectricalBus,LMP,CappedLMP",
        "SCEDTimestamp,RepeatedHourFlag,ElectricalBus,UncappedLMP",
        "SCEDTimestamp,RepeatedHourFlag,ElectricalBus,LMP_2",
    ] {
        refused_whole(
            format,
            format!("{header}\n").as_bytes(),
            RejectCode::SchemaViolation,
            "LMP",
        );
    }
}

#[test]
fn ercot_quarters_of_the_same_name_are_told_apart_by_their_type() {
    let format = "ercot.np6-905.csv";
    let text = "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag    \n\
                11/02/2025,2,1,LZ_AEN,LZ,3.72,N\n11/02/2025,2,4,LZ_AEN,LZEW,3.71,Y\n11/02/2025,24,4,HB_WEST,HU,-5,N\n\
                11/02/2025,25,1,HB_WEST,HU,1,N\n11/02/2025,3,5,HB_WEST,HU,1,N\n03/09/2025,3,1,HB_WEST,HU,1,N\n";
    let found = read(format, text.as_bytes()).unwrap();
    assert_eq!(
        found.ticks,
        [
            "ERCOT.LZ_AEN.RT15 2025-11-02T06:00:00Z 900s 3.72",
            "ERCOT.LZ_AEN.LZEW.RT15 2025-11-02T07:45:00Z 900s 3.71",
            "ERCOT.HB_WEST.RT15 2025-11-03T05:45:00Z 900s -5",
        ]
    );
    assert_eq!(
        found.rejected,
        ["line 5: invalid_time", "line 6: invalid_time", "line 7: invalid_time"]
    );
    every_cut_is_a_part(format, text.as_bytes(), 1);
}

#[test]
fn the_end_of_ercots_first_pass_may_be_printed_as_one_o_clock_a_second_time() {
    let format = "ercot.np6-905.csv";
    let header = "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag\n";
    let document = |quarters: &[(u8, u8, &str)], kind: &str| {
        let rows = quarters.iter().enumerate().map(|(number, (hour, quarter, flag))| {
            format!("11/06/2016,{hour},{quarter},LZ_AEN,{kind},{}.50,{flag}\n", number + 1)
        });
        rows.collect::<String>()
    };
    let printed = [
        (1, 3, "N"),
        (1, 4, "N"),
        (2, 1, "N"),
        (2, 2, "N"),
        (2, 3, "N"),
        (1, 4, "N"),
        (2, 1, "Y"),
        (2, 4, "Y"),
        (3, 1, "N"),
    ];
    let text = header.to_owned() + &document(&printed, "LZ");
    let starts = [
        "05:30", "05:45", "06:00", "06:15", "06:30", "06:45", "07:00", "07:45", "08:00",
    ];
    let expected = |starts: &[&str]| -> Vec<String> {
        let tick =
            |(number, start): (usize, &&str)| format!("ERCOT.LZ_AEN.RT15 2016-11-06T{start}:00Z 900s {}.5", number + 1);
        starts.iter().enumerate().map(tick).collect()
    };
    assert_eq!(ticks(format, &text), expected(&starts));
    // Each type is a price of its own.
    let weighted = document(&[(1, 4, "N")], "LZEW");
    assert_eq!(
        ticks(format, &(text + &weighted)).last().unwrap(),
        "ERCOT.LZ_AEN.LZEW.RT15 2016-11-06T05:45:00Z 900s 1.5"
    );
    // With the quarter itself, the row is only there twice; so it is on another day.
    let twice = header.to_owned() + &document(&[(1, 4, "N"), (2, 4, "N"), (1, 4, "N")], "LZ").replace("3.50", "1.50");
    let found = ticks(format, &twice);
    assert_eq!(found[..2], expected(&["05:45", "06:45"]));
    assert_eq!(found[2], format!("{} !duplicate", found[0]));
    let other_day = document(&[(1, 4, "N"), (1, 4, "N")], "LZ")
        .replace("11/06", "11/07")
        .replace("2.50", "1.50");
    let found = ticks(format, &(header.to_owned() + &other_day));
    assert!(
        found.iter().all(|tick| tick.contains("2016-11-07T06:45:00Z")),
        "{found:?}"
    );
    // In another order, or without the quarters between them, nothing tells which of the two is the later one.
    let descending: Vec<(u8, u8, &str)> = printed.iter().copied().rev().collect();
    for (rows, decided) in [
        (descending, 7),
        (vec![(1, 3, "N"), (1, 4, "N"), (1, 4, "N"), (2, 1, "N"), (2, 2, "N")], 3),
        (vec![(1, 4, "N"), (2, 1, "N"), (2, 2, "N"), (1, 4, "N"), (1, 4, "N")], 2),
    ] {
        let text = header.to_owned() + &document(&rows, "LZ");
        let found = read(format, text.as_bytes()).unwrap();
        assert_eq!(found.ticks.len(), decided, "{rows:?}");
        assert!(
            found
                .ticks
                .iter()
                .all(|tick| !tick.contains("T05:45") && !tick.contains("T06:45"))
        );
        assert!(found.rejected.iter().all(|row| row.ends_with("ambiguous_time")));
    }
    // Hour ending 25 and a flagged hour that is not repeated do not exist.
    let impossible = header.to_owned() + &document(&[(25, 1, "N"), (3, 1, "Y"), (1, 4, "Y")], "LZ");
    assert_eq!(
        codes(format, &impossible),
        ["line 2: invalid_time", "line 3: invalid_time", "line 4: invalid_time"]
    );
}

fn page(rows: &str, pages: u32, records: u32) -> String {
    format!(
        r#"{{"_meta":{{"totalRecords":{records},"pageSize":100,"totalPages":{pages},"currentPage":1}},"report":{{"reportEMIL":"NP4-190-CD"}},
        "fields":[{{"name":"deliveryDate","dataType":"DATE"}},{{"name":"hourEnding"}},{{"name":"settlementPoint"}},{{"name":"settlementPointPrice"}},{{"name":"DSTFlag"}}],
        "data":[{rows}]}}"#
    )
}

#[test]
fn an_ercot_page_is_read_like_the_report_and_may_be_one_of_many() {
    let rows = r#"["2025-11-02","02:00","HB_NORTH",22.1,true],["2025-11-02","02:00","HB_NORTH",23,false],["2025-11-02","24:00","HB_NORTH","24.5",false],["2025-11-02","01:00","HB_NORTH",null,false]"#;
    let format = "ercot.np4-190.json";
    let text = page(rows, 1, 4);
    assert_eq!(detect_format("x", text.as_bytes()), Some(format));
    let found = read(format, text.as_bytes()).unwrap();
    let expected = [
        "ERCOT.HB_NORTH.DA 2025-11-02T07:00:00Z 3600s 22.1",
        "ERCOT.HB_NORTH.DA 2025-11-02T06:00:00Z 3600s 23",
        "ERCOT.HB_NORTH.DA 2025-11-03T05:00:00Z 3600s 24.5",
    ];
    assert_eq!(found.ticks, expected);
    assert_eq!(found.rejected, ["/data/3: missing_price"]);
    for (text, expected) in [
        (page(rows, 1, 4), false),
        (page(rows, 2, 4), true),
        (page(rows, 1, 5), true),
    ] {
        assert_eq!(is_part(format, text.as_bytes()), expected);
    }
    for end in (0..text.len()).step_by(23) {
        assert!(read(format, &text.as_bytes()[..end]).is_err());
    }
    refused_whole(
        format,
        text.replace("DSTFlag", "flag2").as_bytes(),
        RejectCode::SchemaViolation,
        "flag2",
    );
    let csv = "Delivery Date,Hour Ending,Settlement Point,Settlement Point Price,DSTFlag\n11/02/2025,02:00,HB_NORTH,22.1,Y\n11/02/2025,2:00,HB_NORTH,23,N\n11/02/2025,24:00,HB_NORTH,24.5,N\n11/02/2025,25:00,HB_NORTH,1,N\n11/02/2025,04:00,HB_NORTH,1,Y\n";
    assert_eq!(detect_format("x", csv.as_bytes()), Some("ercot.np4-190.csv"));
    let found = read("ercot.np4-190.csv", csv.as_bytes()).unwrap();
    assert_eq!(found.ticks, expected);
    assert_eq!(found.rejected, ["line 5: invalid_time", "line 6: invalid_time"]);
}

const PJM: &str = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_rt,total_lmp_rt,congestion_price_rt,marginal_loss_price_rt,row_is_current,version_nbr\n";

fn hourly(rows: &str) -> String {
    format!("{PJM}{rows}")
}

#[test]
fn pjm_rows_are_keyed_by_their_number_unless_their_name_is_unique() {
    let text = hourly(
        "11/2/2025 5:00:00 AM,11/2/2025 1:00:00 AM,51288,WESTERN HUB,,,HUB,,42.42,42.370000,0.000000,-0.050000,True,1\n\
         11/2/2025 6:00:00 AM,11/2/2025 1:00:00 AM,48592,ALDENE,230 KV,T-10,LOAD,PSEG,42.2,42.01,0,-0.19,False,1\n\
         11/2/2025 6:00:00 AM,11/2/2025 1:00:00 AM,48592,ALDENE,230 KV,T-10,LOAD,PSEG,42.2,43.01,0,-0.19,TRUE,2\n",
    );
    let format = "pjm.rt_hrl_lmps.csv";
    assert_eq!(detect_format("rt_hrl_lmps.csv", text.as_bytes()), Some(format));
    assert_eq!(detect_format("lmps.csv", text.as_bytes()), None);
    assert_eq!(
        ticks(format, &text),
        [
            "PJM.WESTERN%20HUB.RTH 2025-11-02T05:00:00Z 3600s 42.37 e42.42 c0 l-0.05 v:verified.1",
            "PJM.ALDENE.48592.RTH 2025-11-02T06:00:00Z 3600s 42.01 e42.2 c0 l-0.19 v:verified.1.superseded",
            "PJM.ALDENE.48592.RTH 2025-11-02T06:00:00Z 3600s 43.01 e42.2 c0 l-0.19 v:verified.2 !component_mismatch",
        ]
    );
    every_cut_is_a_part(format, text.as_bytes(), 1);
}

#[test]
fn pjm_rows_that_contradict_themselves_are_rejected_alone() {
    let good = "11/2/2025 5:00:00 AM,11/2/2025 1:00:00 AM,1,PJM-RTO,,,ZONE,,42.42,42.37,0,-0.05,True,1\n";
    for (from, to, code) in [
        ("11/2/2025 1:00", "11/2/2025 12:00", "invalid_time"),
        ("5:00:00 AM", "17:00:00 AM", "invalid_time"),
        (",1,PJM-RTO", ",x,PJM-RTO", "missing_instrument"),
        (",True,1", ",maybe,1", "schema_violation"),
        (",True,1", ",True,", "schema_violation"),
        ("42.37", "\"1,042.37\"", "invalid_price"),
    ] {
        let text = hourly(&format!("{}{good}", good.replacen(from, to, 1)));
        let found = read("pjm.rt_hrl_lmps.csv", text.as_bytes()).unwrap();
        assert_eq!(found.rejected, [format!("line 2: {code}")], "{to}");
        assert_eq!(found.ticks.len(), 1);
    }
    refused_whole(
        "pjm.da_hrl_lmps.csv",
        hourly(good).as_bytes(),
        RejectCode::SchemaViolation,
        "total_lmp_da",
    );
    refused_whole(
        "pjm.rt_hrl_lmps.csv",
        b" <!doctype html>",
        RejectCode::SchemaViolation,
        "HTML",
    );
}

#[test]
fn a_pjm_row_off_the_hour_is_no_hour() {
    let row = |minute: &str| {
        format!("11/2/2025 5:{minute}:00 AM,11/2/2025 1:{minute}:00 AM,1,PJM-RTO,,,ZONE,,42.42,42.37,0,-0.05,True,1\n")
    };
    let text = hourly(&(row("00") + &row("05") + &row("07")));
    let day_ahead = text.replace("_rt", "_da");
    for (format, text) in [("pjm.rt_hrl_lmps.csv", &text), ("pjm.da_hrl_lmps.csv", &day_ahead)] {
        refused_whole(format, text.as_bytes(), RejectCode::SchemaViolation, "those of minutes");
        // Among hours, the rows alone are refused.
        let (header, rows) = text.split_once('\n').unwrap();
        let others = [6, 7].map(|hour| {
            let first = rows.lines().next().unwrap();
            first
                .replace(" 5:", &format!(" {hour}:"))
                .replace(" 1:", &format!(" {}:", hour - 5))
                + "\n"
        });
        let found = read(format, format!("{header}\n{rows}{}", others.concat()).as_bytes()).unwrap();
        assert_eq!(
            found.rejected,
            ["line 3: invalid_time", "line 4: invalid_time"],
            "{format}"
        );
        assert_eq!(found.ticks.len(), 3);
    }
    // Off the grid of five minutes is a flag.
    let found = ticks("pjm.rt_fivemin_hrl_lmps.csv", &text);
    let flagged: Vec<bool> = found.iter().map(|tick| tick.contains("off_grid")).collect();
    assert_eq!(flagged, [false, false, true]);
}

#[test]
fn a_page_of_pjm_is_read_like_the_report_and_tells_what_is_missing() {
    let items = r#"[{"datetime_beginning_utc":"2025-09-01T04:05:00","datetime_beginning_ept":"2025-09-01T00:05:00","pnode_id":1,"pnode_name":"PJM-RTO","type":"ZONE","zone":null,"total_lmp_rt":18.68613,"congestion_price_rt":0.009298,"marginal_loss_price_rt":0.006832,"occ_check":0,"ref_caseid_used_multi_interval":"x"},
        {"datetime_beginning_ept":"2025-09-01T00:10:00","datetime_beginning_utc":"2025-09-01T04:10:00","pnode_id":1,"pnode_name":"PJM-RTO","type":"ZONE","zone":null,"total_lmp_rt":"oops","congestion_price_rt":0,"marginal_loss_price_rt":0,"occ_check":0,"ref_caseid_used_multi_interval":"x"},
        {"other":1}, 5]"#;
    let format = "pjm.rt_fivemin_hrl_lmps.csv";
    let expected = ["PJM.PJM-RTO.RT5 2025-09-01T04:05:00Z 300s 18.68613 e18.67 c0.009298 l0.006832 v:unverified"];
    for (text, place, expected_part) in [
        (items.to_owned(), "", false),
        (
            format!(r#"{{"items":{items},"totalRows":4,"links":[{{"rel":"self","href":"x"}}]}}"#),
            "/items",
            false,
        ),
        (
            format!(r#"{{"links":[{{"rel":"next","href":"x"}}],"items":{items},"totalRows":4}}"#),
            "/items",
            true,
        ),
        (format!(r#"{{"items":{items},"totalRows":400}}"#), "/items", true),
    ] {
        assert_eq!(detect_format("x.json", text.as_bytes()), Some(format));
        let found = read(format, text.as_bytes()).unwrap();
        assert_eq!(found.ticks, expected);
        let places =
            ["/1: invalid_price", "/2: schema_violation", "/3: schema_violation"].map(|row| format!("{place}{row}"));
        assert_eq!(found.rejected, places);
        assert_eq!(is_part(format, text.as_bytes()), expected_part, "{text}");
        for end in (0..text.len()).step_by(11) {
            assert!(read(format, &text.as_bytes()[..end]).is_err());
        }
    }
}
