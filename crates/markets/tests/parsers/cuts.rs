//! Documents that were damaged on their way: cut inside a last cell or after their header, or with a carriage return inside a line.

use markets::RejectCode;

use crate::common::{every_cut_is_a_part, read, refused_whole};

const PJM: &str = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,total_lmp_rt,\
    congestion_price_rt,marginal_loss_price_rt";
const PJM_ROW: &str = "11/2/2025 5:00:00 AM,11/2/2025 1:00:00 AM,51288,WESTERN HUB,,,HUB,,42.370000,0.000000,-0.050000";
const SPP: &str = "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC";
const SPP_ROW: &str = "06/04/2026 01:00:00,06/04/2026 06:00:00,A,P,47.5,0.25,0.75,46.5";
const SMD: &str = "Date,Hr_End,DA_LMP,DA_EC,DA_CC,DA_MLC,RT_LMP,RT_EC,RT_CC,RT_MLC";
const SMD_ROW: &str = "11/2/2025,03,24.63,24.64,-0.05,0.04,18.96,18.75,0.18,0.03";
const NYISO: &str = "Time Stamp,LBMP ($/MWHr),Marginal Cost Losses ($/MWHr),Marginal Cost Congestion ($/MWHr)";
const NYISO_ROW: &str = "07/18/2022 00:05:00,81.21,7.65,-1.32";

/// Format, header and row; each line ends with another column and its cell, whose beginning reads well, too.
const LAST_CELLS: [(&str, &str, &str, &str, &str); 7] = [
    ("pjm.rt_hrl_lmps.csv", PJM, PJM_ROW, "version_nbr", "12"),
    ("spp.da_lmp_sl.csv", SPP, SPP_ROW, "BAA", "SWPW"),
    ("isone.smd_hourly.csv", SMD, SMD_ROW, "Location", ".Z.MAINE"),
    ("nyiso.realtime_zone.csv", NYISO, NYISO_ROW, "Name", "CAPITL"),
    (
        "ercot.np6-788.csv",
        "SCEDTimestamp,RepeatedHourFlag,LMP",
        "06/25/2026 00:40:18,N,27.04",
        "SettlementPoint",
        "HB_NORTH",
    ),
    (
        "ercot.np6-905.csv",
        "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointPrice,DSTFlag",
        "11/03/2025,2,1,LZ_AEN,3.72,N",
        "SettlementPointType",
        "LZEW",
    ),
    (
        "curve.settlements.csv",
        "as_of,contract,block,price",
        "2026-11-25,2027-01,peak,55.25",
        "curve_id",
        "PJM.WESTERN_HUB",
    ),
];

#[test]
fn a_cut_inside_a_text_or_a_version_at_the_end_makes_no_other_price() {
    for (format, header, row, column, cell) in LAST_CELLS {
        let text = format!("{header},{column}\n{row},{cell}\n{row},{cell}\n");
        assert!(!read(format, text.as_bytes()).unwrap().ticks.is_empty(), "{format}");
        every_cut_is_a_part(format, text.as_bytes(), 1);
        let open = read(format, text.trim_end().as_bytes()).unwrap();
        assert_eq!(open.rejected[0], "line 3: schema_violation", "{format}");
        assert!(open.messages[0].contains("the document ends"), "{}", open.messages[0]);
    }
}

/// Format, header, row, and its last column and cell: what no price depends on, or a word of which no part is another one.
const HARMLESS: [(&str, &str, &str, &str, &str); 6] = [
    ("pjm.rt_hrl_lmps.csv", PJM, PJM_ROW, "occ_check", "10"),
    (
        "pjm.rt_hrl_lmps.csv",
        PJM,
        PJM_ROW,
        "ref_caseid_used_multi_interval",
        "case 1",
    ),
    ("pjm.rt_hrl_lmps.csv", PJM, PJM_ROW, "row_is_current", "False"),
    (
        "ercot.np6-788.csv",
        "SCEDTimestamp,SettlementPoint,LMP",
        "06/25/2026 00:40:18,A,27.04",
        "RepeatedHourFlag",
        "N",
    ),
    (
        "ercot.np6-788.csv",
        "SCEDTimestamp,SettlementPoint,LMP",
        "11/02/2025 01:40:18,A,27.04",
        "RepeatedHourFlag",
        "true",
    ),
    // Refused, since the hour is not repeated: without its flag it must not be read.
    (
        "ercot.np6-788.csv",
        "SCEDTimestamp,SettlementPoint,LMP",
        "06/25/2026 00:40:18,A,27.04",
        "RepeatedHourFlag",
        "Y",
    ),
];

#[test]
fn a_cut_of_what_no_price_depends_on_is_read() {
    for (format, header, row, column, cell) in HARMLESS {
        let text = format!("{header},{column}\n{row},{cell}\n");
        every_cut_is_a_part(format, text.as_bytes(), 1);
        let (open, whole) = (read(format, text.trim_end().as_bytes()), read(format, text.as_bytes()));
        assert_eq!(open.unwrap().ticks, whole.unwrap().ticks, "{format} {column}");
    }
    let report = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,NODE,MARKET_RUN_ID,MW,LMP_TYPE,POS,GROUP\n"
        .to_owned()
        + &["LMP", "MCE", "MCC", "MCL"]
            .map(|kind| {
                format!("2019-11-03T09:00:00-00:00,2019-11-03T10:00:00-00:00,2019-11-03,25,N,DAM,1.00,{kind},1,12\n")
            })
            .concat();
    assert_eq!(
        read("caiso.prc_lmp.csv", report.trim_end().as_bytes())
            .unwrap()
            .ticks
            .len(),
        1
    );
    every_cut_is_a_part("caiso.prc_lmp.csv", report.as_bytes(), 1);
    // Its last comma ends the last cell of a line.
    for text in [format!("{SPP},\n{SPP_ROW},"), format!("{SPP},BAA\n{SPP_ROW},SWPW,")] {
        assert_eq!(
            read("spp.da_lmp_sl.csv", text.as_bytes()).unwrap().ticks.len(),
            1,
            "{text}"
        );
    }
}

#[test]
fn a_document_that_ends_after_its_header_has_no_data() {
    for (format, header, _, column, _) in LAST_CELLS {
        for end in ["", "\n", "\r\n\r\n"] {
            let text = format!("{header},{column}{end}");
            refused_whole(format, text.as_bytes(), RejectCode::NoData, "no row");
        }
    }
    let hours: Vec<String> = (1..=24).map(|hour| format!("HE {hour}")).collect();
    let miso = format!(
        "Day Ahead Market ExPost LMPs\n11/02/2025\n,,,Hours-Ending are EST\nNode,Type,Value,{}\n",
        hours.join(",")
    );
    let caiso = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,NODE,MARKET_RUN_ID,LMP_TYPE,MW\n".to_owned();
    let isone =
        "C,Day-Ahead Energy Market Hourly LMP Report\nH,Date,Hour Ending,Location ID,Location Name,Location Type,\
        Locational Marginal Price,Energy Component,Congestion Component,Marginal Loss Component\nT,0 lines\n"
            .to_owned();
    for (format, text) in [
        ("miso.da.expost.csv", miso),
        ("caiso.prc_lmp.csv", caiso),
        ("isone.da_lmp.csv", isone),
        ("gas.eia_daily.csv", "Date,Price\n".to_owned()),
    ] {
        refused_whole(format, text.as_bytes(), RejectCode::NoData, "no row");
    }
    // A page says that it has no rows.
    let page = read("pjm.rt_hrl_lmps.csv", br#"{"items":[],"totalRows":0}"#).unwrap();
    assert!(page.ticks.is_empty() && page.rejected.is_empty());
}

#[test]
fn a_carriage_return_inside_a_line_loses_no_row_and_no_digit() {
    let format = "ercot.np6-788.csv";
    let header = "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP";
    let row = |node: &str| format!("06/25/2026 00:40:18,N,{node},27.04");
    let codes = |text: &str| {
        let found = read(format, text.as_bytes()).unwrap();
        (found.ticks.len(), found.rejected)
    };
    let refused = |line: u64| vec![format!("line {line}: schema_violation")];
    let two = format!("{header}\n{}\r{}\n{}\n", row("A"), row("B"), row("C"));
    assert_eq!(codes(&two), (1, refused(2)));
    let halved = format!("{header}\n{}\n{}\n", row("A").replace("27.04", "12\r7.04"), row("C"));
    assert_eq!(codes(&halved), (1, refused(2)));
    // Two at the end of each line, and one for each line.
    for end in ["\r\r\n", "\r"] {
        let text = [header, &row("A"), &row("B"), ""].join(end);
        assert_eq!(codes(&text), (2, vec![]), "{end:?}");
    }
    // One line to its only line feed.
    let mixed = [header, &row("A"), &row("B")].join("\r") + "\n";
    refused_whole(format, mixed.as_bytes(), RejectCode::SchemaViolation, "carriage return");
}

/// EIA cuts zeros at the end, and settlements have no scale: a price of fewer decimals is as whole as the others.
#[test]
fn a_price_at_the_end_of_a_format_without_a_scale_is_taken_only_with_a_line_end() {
    let settlements = "as_of,curve_id,contract,block,price\n2026-11-25,GAS.WAHA,2027-01,flat,4.2\n2026-11-25,GAS.WAHA,2027-02,flat,14.272";
    let gas = "Date,Price\n2021-02-04,2.6\n2021-02-05,12.72";
    for (format, text) in [("curve.settlements.csv", settlements), ("gas.eia_daily.csv", gas)] {
        for text in [text, text.trim_end_matches('2'), text.trim_end_matches("72")] {
            let found = read(format, text.as_bytes()).unwrap();
            assert_eq!((found.ticks.len(), found.rejected.len()), (1, 1), "{text}");
            let message = &found.messages[0];
            assert!(
                message.contains("line 3: the document ends with this number, and nothing shows that it is complete"),
                "{message}"
            );
            assert!(message.contains("end the document with a line end"), "{message}");
        }
        for end in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', end) + end;
            assert_eq!(read(format, text.as_bytes()).unwrap().ticks.len(), 2, "{text:?}");
        }
        every_cut_is_a_part(format, format!("{text}\n").as_bytes(), 1);
    }
    // The volume is another number, and its comma ends the price, but not the line.
    let volume = "as_of,curve_id,contract,block,price,volume\n2026-11-25,GAS.WAHA,2027-01,flat,4.2,100.5\n2026-11-25,GAS.WAHA,2027-02,flat,14.272,";
    for text in [volume.to_owned(), format!("{volume}10.5")] {
        assert_eq!(
            read("curve.settlements.csv", text.as_bytes()).unwrap().ticks.len(),
            1,
            "{text}"
        );
    }
}
