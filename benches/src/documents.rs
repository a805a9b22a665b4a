//! Large documents of every family of formats, and the stage that reads them.
//!
//! Role: what the gate of allocations and the table of costs are measured on. A document has about [`TICKS`] ticks with ordinary
//! names and numbers.

use std::fmt::Write as _;

use markets::RawMessage;
use normalization::stages::normalize::Normalize;
use ops::simulation::Shape;
use stream::hop::StageOutput;

use crate::inputs::{START, messages, normalizer, raw};

/// Ticks of a document.
pub const TICKS: usize = 5_000;
/// Append time between two documents: longer than the event window, so that the same bytes are a new event.
const APART: i64 = 400_000_000;

/// A format and a document of it.
#[derive(Debug)]
pub struct Document {
    /// Value of `dp.format`.
    pub format: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads documents of one format, each as a new one.
pub struct Reading {
    stage: Normalize,
    output: StageOutput<'static>,
    number: i64,
}

impl Reading {
    /// A stage that has read nothing.
    ///
    /// # Errors
    /// The default settings are refused.
    pub fn new() -> anyhow::Result<Reading> {
        Ok(Reading {
            stage: normalizer()?,
            output: StageOutput::default(),
            number: 0,
        })
    }

    /// Reads the document once; returns the number of its ticks.
    pub fn read(&mut self, document: &Document) -> usize {
        self.output.clear();
        self.number += 1;
        let message = RawMessage {
            format: Some(document.format),
            offset: self.number,
            appended_at: START + self.number * APART,
            ..raw(&document.bytes, 0)
        };
        self.stage.record(&message, &mut self.output, START);
        self.output.iter().count()
    }

    /// Reads these JSON envelopes; returns the number of ticks.
    pub fn read_envelopes(&mut self, envelopes: &[Vec<u8>]) -> usize {
        let mut ticks = 0;
        for payload in envelopes {
            self.output.clear();
            self.number += 1;
            let message = RawMessage {
                offset: self.number,
                appended_at: START + self.number * APART,
                ..raw(payload, 0)
            };
            self.stage.record(&message, &mut self.output, START);
            ticks += self.output.iter().count();
        }
        ticks
    }
}

/// As many JSON envelopes as a document has ticks.
///
/// # Errors
/// The simulation ends early.
pub fn envelopes() -> anyhow::Result<Vec<Vec<u8>>> {
    messages(Shape::Envelope, TICKS)
}

fn lines(header: &str, count: usize, mut row: impl FnMut(&mut String, usize)) -> Vec<u8> {
    let mut text = header.to_owned();
    for number in 0..count {
        row(&mut text, number);
        text.push('\n');
    }
    text.into_bytes()
}

macro_rules! rows {
    ($header:expr, $count:expr, $number:ident, $($format:tt)+) => {
        lines($header, $count, |text, $number| {
            _ = write!(text, $($format)+);
        })
    };
}

/// One document of each family, of the day before [`START`].
pub fn documents() -> Vec<Document> {
    let document = |format, bytes| Document { format, bytes };
    vec![
        document("miso.rt5.expost.json", miso_five_minutes()),
        document("miso.da.expost.csv", miso_hourly()),
        document("caiso.prc_lmp.csv", caiso()),
        document(
            "ercot.np6-788.csv",
            rows!(
                "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n",
                TICKS,
                n,
                "03/01/2026 10:05:13,N,NODE_{n:04}_RN,       27.04"
            ),
        ),
        document(
            "ercot.np6-905.csv",
            rows!(
                "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag\n",
                TICKS,
                n,
                "03/01/2026,{},{},NODE_{:04}_RN,RN,3.72,N",
                n % 24 + 1,
                n % 4 + 1,
                n / 24
            ),
        ),
        document(
            "ercot.np4-190.csv",
            rows!(
                "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n",
                TICKS,
                n,
                "03/01/2026,{:02}:00,NODE_{:04}_RN,22.10,N",
                n % 24 + 1,
                n / 24
            ),
        ),
        document("ercot.np4-190.json", ercot_page()),
        document("pjm.da_hrl_lmps.csv", pjm()),
        document(
            "nyiso.damlbmp_zone.csv",
            rows!(
                "\"Time Stamp\",\"Name\",\"PTID\",\"LBMP ($/MWHr)\",\"Marginal Cost Losses ($/MWHr)\",\"Marginal Cost Congestion ($/MWHr)\"\n",
                TICKS,
                n,
                "\"03/01/2026 {:02}:00\",\"NODE {:04}\",{},51.52,2.92,0.00",
                n / 250,
                n % 250,
                61_000 + n % 250
            ),
        ),
        document("isone.da_lmp.csv", isone()),
        document(
            "spp.da_lmp_sl.csv",
            rows!(
                "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n",
                TICKS,
                n,
                "03/01/2026 {:02}:00:00,03/01/2026 {:02}:00:00,LOCATION_{:04},PNODE_{:04},21.1234,-0.1234,1.2469,20.0000",
                n / 500 + 1,
                n / 500 + 7,
                n % 500,
                n % 500
            ),
        ),
    ]
}

/// Pages of objects, whose keys must not be copied for each row.
pub fn pages() -> Vec<Document> {
    vec![Document {
        format: "pjm.da_hrl_lmps.csv",
        bytes: pjm_page(),
    }]
}

fn miso_five_minutes() -> Vec<u8> {
    let mut text = r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":["#.to_owned();
    for number in 0..TICKS {
        let comma = if number == 0 { "" } else { "," };
        _ = write!(
            text,
            r#"{comma}["2026-03-01T10:05:00","ALTW.NODE{number:04}","18.60","-0.20","-7.01"]"#
        );
    }
    text.push_str("]}");
    text.into_bytes()
}

fn miso_hourly() -> Vec<u8> {
    let hours: Vec<String> = (1..=24).map(|hour| format!("HE {hour}")).collect();
    let header = format!(
        "Day Ahead Market ExPost LMPs\n03/01/2026\n,,,All Hours-Ending are Eastern Standard Time (EST)\nNode,Type,Value,{}\n",
        hours.join(",")
    );
    lines(&header, TICKS.div_ceil(24) * 3, |text, number| {
        let (value, price) = [("LMP", "21.15"), ("MLC", "-.37"), ("MCC", ".15")]
            .get(number % 3)
            .copied()
            .unwrap_or_default();
        _ = write!(
            text,
            "ALTW.NODE{:04},Gennode,{value}{}",
            number / 3,
            format!(",{price}").repeat(24)
        );
    })
}

fn caiso() -> Vec<u8> {
    let header = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,OPR_INTERVAL,NODE_ID_XML,NODE_ID,NODE,MARKET_RUN_ID,LMP_TYPE,\
        XML_DATA_ITEM,PNODE_RESMRID,GRP_TYPE,POS,MW,GROUP\n";
    let kinds = [
        ("LMP", "LMP_PRC", "31.00000"),
        ("MCE", "LMP_ENE_PRC", "30.00000"),
        ("MCC", "LMP_CONG_PRC", "1.50000"),
        ("MCL", "LMP_LOSS_PRC", "-0.50000"),
        ("MGHG", "LMP_GHG_PRC", "0.00000"),
    ];
    lines(header, TICKS * 5, |text, number| {
        let (kind, item, price) = kinds.get(number / TICKS).copied().unwrap_or_default();
        let (node, hour) = (number % TICKS / 20, number % 20);
        let (start, end) = (hour, hour + 1);
        // 00:00 GMT is hour ending 17 of the day before.
        let (day, ending) = if hour < 8 {
            ("2026-02-28", hour + 17)
        } else {
            ("2026-03-01", hour - 7)
        };
        _ = write!(
            text,
            "2026-03-01T{start:02}:00:00-00:00,2026-03-01T{end:02}:00:00-00:00,{day},{ending},0,NODE_{node:04}_N001,NODE_{node:04}_N001,\
             NODE_{node:04}_N001,DAM,{kind},{item},NODE_{node:04}_N001,ALL,0,{price},{hour}"
        );
    })
}

fn ercot_page() -> Vec<u8> {
    let mut text = format!(
        r#"{{"_meta":{{"totalRecords":{TICKS},"totalPages":1}},"fields":[{{"name":"deliveryDate"}},{{"name":"hourEnding"}},{{"name":"settlementPoint"}},{{"name":"settlementPointPrice"}},{{"name":"DSTFlag"}}],"data":["#
    );
    for number in 0..TICKS {
        let comma = if number == 0 { "" } else { "," };
        let (hour, node) = (number % 24 + 1, number / 24);
        _ = write!(
            text,
            r#"{comma}["2026-03-01","{hour:02}:00","NODE_{node:04}_RN",22.1,false]"#
        );
    }
    text.push_str("]}");
    text.into_bytes()
}

fn pjm() -> Vec<u8> {
    let header = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_da,\
        total_lmp_da,congestion_price_da,marginal_loss_price_da,row_is_current,version_nbr\n";
    lines(header, TICKS, |text, number| {
        let (hour, node) = (number % 12 + 1, number / 12);
        let utc = if hour + 5 == 12 { 12 } else { (hour + 5) % 12 };
        let half = if hour + 5 >= 12 { "PM" } else { "AM" };
        let local_half = if hour == 12 { "PM" } else { "AM" };
        _ = write!(
            text,
            "3/1/2026 {utc}:00:00 {half},3/1/2026 {hour}:00:00 {local_half},{},NODE{node:04},138 KV,LOAD,LOAD,AEP,30.000000,31.000000,\
             1.500000,-0.500000,True,1",
            100_000 + node
        );
    })
}

fn pjm_page() -> Vec<u8> {
    let mut text = r#"{"items":["#.to_owned();
    for number in 0..TICKS {
        let comma = if number == 0 { "" } else { "," };
        let (hour, node) = (number % 12, number / 12);
        _ = write!(
            text,
            r#"{comma}{{"datetime_beginning_utc":"2026-03-01T{:02}:00:00","datetime_beginning_ept":"2026-03-01T{hour:02}:00:00","pnode_id":{},"pnode_name":"NODE{node:04}","voltage":"138 KV","equipment":"LOAD","type":"LOAD","zone":"AEP","system_energy_price_da":30.000000,"total_lmp_da":31.000000,"congestion_price_da":1.500000,"marginal_loss_price_da":-0.500000,"row_is_current":true,"version_nbr":1}}"#,
            hour + 5,
            100_000 + node
        );
    }
    _ = write!(text, r#"],"totalRows":{TICKS}}}"#);
    text.into_bytes()
}

fn isone() -> Vec<u8> {
    let header = "\"C\",\"Day-Ahead Energy Market Hourly LMP Report\"\n\"H\",\"Date\",\"Hour Ending\",\"Location ID\",\"Location Name\",\
        \"Location Type\",\"Locational Marginal Price\",\"Energy Component\",\"Congestion Component\",\"Marginal Loss Component\"\n";
    let mut bytes = lines(header, TICKS, |text, number| {
        let (hour, node) = (number % 24 + 1, number / 24);
        _ = write!(
            text,
            "\"D\",\"03/01/2026\",\"{hour:02}\",{node},\"UN.NODE{node:04}\",\"NETWORK NODE\",45.45,47.56,0.0,-2.11"
        );
    });
    bytes.extend_from_slice(b"\"T\",\"5000 lines\"\n");
    bytes
}
