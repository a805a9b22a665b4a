//! Documents that are pages of JSON, and CAISO's XML.

use std::fmt::Write as _;

use super::tables::COMPONENTS;
use super::{Source, TICKS, source};

pub(super) fn sources() -> Vec<Source> {
    vec![
        source("miso.rt5.expost.json", miso_five_minutes),
        source("miso.exante.json", miso_exante),
        source("caiso.oasis.xml", oasis),
        source("ercot.np4-190.json", ercot_page),
        source("pjm.da_hrl_lmps.csv/page", || pjm_page("da", 60)),
        source("pjm.rt_hrl_lmps.csv/page", || pjm_page("rt", 60)),
        source("pjm.rt_fivemin_hrl_lmps.csv/page", || pjm_page("rt", 5)),
        source("isone.ws_hourlylmp.json", isone_web_service),
        source("gas.eia_futures.json", gas_futures),
    ]
}

/// `begin`, the rows with commas between them, and `end`.
fn rows(begin: &str, end: &str, row: impl Fn(&mut String, usize)) -> Vec<u8> {
    let mut text = begin.to_owned();
    for number in 0..TICKS {
        if number > 0 {
            text.push(',');
        }
        row(&mut text, number);
    }
    text.push_str(end);
    text.into_bytes()
}

fn miso_five_minutes() -> Vec<u8> {
    let begin = r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":["#;
    rows(begin, "]}", |text, number| {
        _ = write!(
            text,
            r#"["2026-03-01T10:05:00","ALTW.NODE{number:04}","18.60","-0.20","-7.01"]"#
        );
    })
}

fn miso_exante() -> Vec<u8> {
    let begin = r#"{"LMPData":{"RefId":"01-Mar-2026 - Interval 10:05 EST","ExAnteLMP":{"HourAndMin":"10:05","Hub":["#;
    rows(begin, "]}}}", |text, number| {
        _ = write!(
            text,
            r#"{{"name":"ALTW.NODE{number:04}","LMP":"18.60","loss":"-0.20","congestion":"-7.01"}}"#
        );
    })
}

// A report item is one component of one node, with twenty hours from midnight GMT.
pub(super) fn oasis() -> Vec<u8> {
    const HOURS: usize = 20;
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<OASISReport xmlns=\"urn:example:oasis\"><MessagePayload><RTO><name>CAISO</name>\n"
        .to_owned();
    for number in 0..TICKS / HOURS * COMPONENTS.len() {
        let (_, item, price) = COMPONENTS.get(number % COMPONENTS.len()).copied().unwrap_or_default();
        let node = number / COMPONENTS.len();
        text.push_str("<REPORT_ITEM>\n<REPORT_HEADER><REPORT>PRC_LMP</REPORT><MKT_TYPE>DAM</MKT_TYPE><SEC_PER_INTERVAL>3600</SEC_PER_INTERVAL></REPORT_HEADER>\n");
        for hour in 0..HOURS {
            // 00:00 GMT is hour ending 17 of the day before.
            let (day, ending) = if hour < 8 {
                ("2026-02-28", hour + 17)
            } else {
                ("2026-03-01", hour - 7)
            };
            _ = write!(
                text,
                "<REPORT_DATA>\n<DATA_ITEM>{item}</DATA_ITEM>\n<RESOURCE_NAME>NODE_{node:04}_N001</RESOURCE_NAME>\n\
                 <OPR_DATE>{day}</OPR_DATE>\n<INTERVAL_NUM>{ending}</INTERVAL_NUM>\n\
                 <INTERVAL_START_GMT>2026-03-01T{hour:02}:00:00-00:00</INTERVAL_START_GMT>\n\
                 <INTERVAL_END_GMT>2026-03-01T{:02}:00:00-00:00</INTERVAL_END_GMT>\n<VALUE>{price}</VALUE>\n</REPORT_DATA>\n",
                hour + 1
            );
        }
        text.push_str("</REPORT_ITEM>\n");
    }
    text.push_str("</RTO></MessagePayload></OASISReport>\n");
    text.into_bytes()
}

fn ercot_page() -> Vec<u8> {
    let begin = format!(
        r#"{{"_meta":{{"totalRecords":{TICKS},"totalPages":1}},"fields":[{{"name":"deliveryDate"}},{{"name":"hourEnding"}},{{"name":"settlementPoint"}},{{"name":"settlementPointPrice"}},{{"name":"DSTFlag"}}],"data":["#
    );
    rows(&begin, "]}", |text, number| {
        let (hour, node) = (number % 24 + 1, number / 24);
        _ = write!(text, r#"["2026-03-01","{hour:02}:00","NODE_{node:04}_RN",22.1,false]"#);
    })
}

// Twelve intervals from midnight Eastern time, which is 05:00 UTC.
fn pjm_page(market: &str, minutes: usize) -> Vec<u8> {
    let end = format!(r#"],"totalRows":{TICKS}}}"#);
    rows(r#"{"items":["#, &end, |text, number| {
        let (start, node) = (number % 12 * minutes, number / 12);
        let (hour, minute) = (start / 60, start % 60);
        _ = write!(
            text,
            r#"{{"datetime_beginning_utc":"2026-03-01T{:02}:{minute:02}:00","datetime_beginning_ept":"2026-03-01T{hour:02}:{minute:02}:00","pnode_id":{},"pnode_name":"NODE{node:04}","voltage":"138 KV","equipment":"LOAD","type":"LOAD","zone":"AEP","system_energy_price_{market}":30.000000,"total_lmp_{market}":31.000000,"congestion_price_{market}":1.500000,"marginal_loss_price_{market}":-0.500000,"row_is_current":true,"version_nbr":1}}"#,
            hour + 5,
            100_000 + node
        );
    })
}

fn isone_web_service() -> Vec<u8> {
    rows(r#"{"HourlyLmps":{"HourlyLmp":["#, "]}}", |text, number| {
        let (hour, node) = (number % 24, number / 24);
        _ = write!(
            text,
            r#"{{"BeginDate":"2026-03-01T{hour:02}:00:00.000-05:00","Location":{{"@LocId":"{}","@LocType":"NETWORK NODE","$":"UN.NODE{node:04}"}},"LmpTotal":45.45,"EnergyComponent":47.56,"CongestionComponent":0,"LossComponent":-2.11}}"#,
            40_000 + node
        );
    })
}

// Four series on each of 28 days of a month.
fn gas_futures() -> Vec<u8> {
    let begin = format!(r#"{{"response":{{"total":"{TICKS}","dateFormat":"YYYY-MM-DD","frequency":"daily","data":["#);
    rows(&begin, "]}}", |text, number| {
        let day = number / 4;
        _ = write!(
            text,
            r#"{{"period":"{}-{:02}-{:02}","series":"RNGC{}","value":"2.521","units":"$/MMBTU"}}"#,
            2022 + day / 336,
            day / 28 % 12 + 1,
            day % 28 + 1,
            number % 4 + 1
        );
    })
}
