//! Pages of ERCOT's API for the reports of its real-time prices, written by hand.

use markets::{RejectCode, detect_format};

use crate::common::{every_cut_is_a_part, is_part, read, refused_whole};

/// A report as a page.
struct Report {
    format: &'static str,
    name: &'static str,
    fields: &'static [&'static str],
    rows: &'static [&'static str],
    ticks: &'static [&'static str],
    rejected: &'static [&'static str],
}

impl Report {
    fn page(&self, pages: usize, records: usize) -> String {
        let fields = self
            .fields
            .iter()
            .map(|field| format!(r#"{{"name":"{field}","dataType":"X"}}"#));
        format!(
            r#"{{"_meta":{{"totalRecords":{records},"pageSize":100,"totalPages":{pages},"currentPage":1}},"report":{{"reportEMIL":"{}"}},
            "fields":[{}],"data":[{}]}}"#,
            self.name,
            fields.collect::<Vec<_>>().join(","),
            self.rows.join(",")
        )
    }
}

/// The flag is a Boolean there; `null` is none.
const REPORTS: [Report; 4] = [
    Report {
        format: "ercot.np6-788.csv",
        name: "NP6-788-CD",
        fields: &["SCEDTimestamp", "repeatHourFlag", "settlementPoint", "LMP"],
        rows: &[
            r#"["2025-11-02T01:05:13",false,"HB_NORTH",27.04]"#,
            r#"["2025-11-02T01:05:13",true,"LZ_AEN",-0.40]"#,
            r#"["2026-06-25T00:40:18",false,"7RN_ALL","47"]"#,
            r#"["2025-11-02T01:10:13",null,"HB_NORTH",1]"#,
            r#"["2025-11-02T03:05:13",true,"HB_NORTH",1]"#,
            r#"["2025-11-02T03:05:13",false,"HB_NORTH",null]"#,
        ],
        ticks: &[
            "ERCOT.HB_NORTH.RT5 2025-11-02T06:05:13Z 300s 27.04",
            "ERCOT.LZ_AEN.RT5 2025-11-02T07:05:13Z 300s -0.4",
            "ERCOT.7RN_ALL.RT5 2026-06-25T05:40:18Z 300s 47",
        ],
        rejected: &["3: ambiguous_time", "4: invalid_time", "5: missing_price"],
    },
    Report {
        format: "ercot.np6-787.csv",
        name: "NP6-787-CD",
        fields: &["SCEDTimestamp", "repeatHourFlag", "electricalBus", "LMP"],
        rows: &[
            r#"["2025-11-02T01:05:13",true,"A",1.5]"#,
            r#"["2025-11-02T01:05:13",false,"A",2.5]"#,
            r#"["2025-11-02T02:05:13",true,"A",1]"#,
        ],
        ticks: &[
            "ERCOT.A.BUS.RT5 2025-11-02T07:05:13Z 300s 1.5",
            "ERCOT.A.BUS.RT5 2025-11-02T06:05:13Z 300s 2.5",
        ],
        rejected: &["2: invalid_time"],
    },
    Report {
        format: "ercot.np6-787.csv",
        name: "NP6-787-CD",
        fields: &[
            "SCEDTimestamp",
            "repeatHourFlag",
            "electricalBus",
            "cappedLMP",
            "uncappedLMP",
        ],
        rows: &[r#"["2026-09-25T00:40:18",false,"A",1.5,9000]"#],
        ticks: &["ERCOT.A.BUS.RT5 2026-09-25T05:40:18Z 300s 1.5"],
        rejected: &[],
    },
    Report {
        format: "ercot.np6-905.csv",
        name: "NP6-905-CD",
        fields: &[
            "deliveryDate",
            "deliveryHour",
            "deliveryInterval",
            "settlementPoint",
            "settlementPointType",
            "settlementPointPrice",
            "DSTFlag",
        ],
        rows: &[
            r#"["2025-11-02",2,1,"LZ_AEN","LZ",3.72,false]"#,
            r#"["2025-11-02",2,4,"LZ_AEN","LZEW",3.71,true]"#,
            r#"["2025-11-02",24,4,"HB_WEST","HU",-5,false]"#,
            r#"["2025-11-02",3,5,"HB_WEST","HU",1,false]"#,
            r#"["2025-11-02",3,1,"HB_WEST","HU",1,true]"#,
            r#"["2025-11-02",2,1,"HB_WEST","HU",1,null]"#,
        ],
        ticks: &[
            "ERCOT.LZ_AEN.RT15 2025-11-02T06:00:00Z 900s 3.72",
            "ERCOT.LZ_AEN.LZEW.RT15 2025-11-02T07:45:00Z 900s 3.71",
            "ERCOT.HB_WEST.RT15 2025-11-03T05:45:00Z 900s -5",
        ],
        rejected: &["3: invalid_time", "4: invalid_time", "5: ambiguous_time"],
    },
];

#[test]
fn a_page_of_real_time_prices_is_recognised_and_its_flag_tells_the_passes_apart() {
    for report in REPORTS {
        let (format, text) = (report.format, report.page(1, report.rows.len()));
        for file in ["page.json", "np6.json", ""] {
            assert_eq!(detect_format(file, text.as_bytes()), Some(format), "{}", report.name);
        }
        let found = read(format, text.as_bytes()).unwrap();
        assert_eq!(found.ticks, report.ticks, "{}: {:?}", report.name, found.messages);
        let rejected: Vec<String> = report.rejected.iter().map(|row| format!("/data/{row}")).collect();
        assert_eq!(found.rejected, rejected, "{}", report.name);
        let other = text
            .replace("\"repeatHourFlag\"", "\"flag2\"")
            .replace("\"DSTFlag\"", "\"flag2\"");
        refused_whole(format, other.as_bytes(), RejectCode::SchemaViolation, "flag2");
    }
}

#[test]
fn a_page_of_real_time_prices_says_whether_it_is_the_whole_report() {
    for report in REPORTS {
        let rows = report.rows.len();
        for (pages, records, expected) in [(1, rows, false), (2, rows, true), (1, rows + 1, true)] {
            let text = report.page(pages, records);
            assert_eq!(
                is_part(report.format, text.as_bytes()),
                expected,
                "{}: {text}",
                report.name
            );
        }
    }
}

#[test]
fn a_page_of_real_time_prices_that_is_cut_is_refused_as_a_whole() {
    for report in REPORTS {
        let text = report.page(1, report.rows.len());
        for end in 0..text.len() {
            let cut = read(report.format, &text.as_bytes()[..end]);
            assert!(cut.is_err(), "{} cut at byte {end}", report.name);
        }
        every_cut_is_a_part(report.format, text.as_bytes(), 1);
    }
}
