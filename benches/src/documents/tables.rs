//! Documents that are tables of CSV, by market.

use std::fmt::Write as _;

use super::{Source, TICKS, source};

/// Short name, data item and value of the components of CAISO's prices.
pub(super) const COMPONENTS: [(&str, &str, &str); 5] = [
    ("LMP", "LMP_PRC", "31.00000"),
    ("MCE", "LMP_ENE_PRC", "30.00000"),
    ("MCC", "LMP_CONG_PRC", "1.50000"),
    ("MCL", "LMP_LOSS_PRC", "-0.50000"),
    ("MGHG", "LMP_GHG_PRC", "0.00000"),
];

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

pub(super) fn sources() -> Vec<Source> {
    [miso(), caiso(), ercot(), pjm(), nyiso(), isone(), spp(), settlements()]
        .into_iter()
        .flatten()
        .collect()
}

fn miso() -> Vec<Source> {
    vec![
        source("miso.da.expost.csv", || miso_hourly("Day Ahead Market ExPost LMPs")),
        source("miso.rt_lmp.csv", || miso_hourly("Real Time Market LMPs (Final)")),
    ]
}

fn miso_hourly(title: &str) -> Vec<u8> {
    let hours: Vec<String> = (1..=24).map(|hour| format!("HE {hour}")).collect();
    let header = format!(
        "{title}\n03/01/2026\n,,,All Hours-Ending are Eastern Standard Time (EST)\nNode,Type,Value,{}\n",
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

fn caiso() -> Vec<Source> {
    vec![
        source("caiso.prc_lmp.csv", caiso_hours),
        source("caiso.prc_rtpd_lmp.csv", || caiso_intervals("RTPD", "PRC", 15)),
        source("caiso.prc_intvl_lmp.csv", || caiso_intervals("RTM", "VALUE", 5)),
    ]
}

fn caiso_hours() -> Vec<u8> {
    let header = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,OPR_INTERVAL,NODE_ID_XML,NODE_ID,NODE,MARKET_RUN_ID,LMP_TYPE,\
        XML_DATA_ITEM,PNODE_RESMRID,GRP_TYPE,POS,MW,GROUP\n";
    lines(header, TICKS * 5, |text, number| {
        let (kind, item, price) = COMPONENTS.get(number / TICKS).copied().unwrap_or_default();
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

// Twenty intervals from midnight of the Pacific day, which is 08:00 GMT.
fn caiso_intervals(run: &str, price: &str, minutes: usize) -> Vec<u8> {
    let header = format!(
        "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,NODE_ID_XML,NODE_ID,NODE,MARKET_RUN_ID,LMP_TYPE,XML_DATA_ITEM,\
         PNODE_RESMRID,GRP_TYPE,POS,{price},OPR_INTERVAL,GROUP\n"
    );
    lines(&header, TICKS * 5, |text, number| {
        let (kind, item, price) = COMPONENTS.get(number / TICKS).copied().unwrap_or_default();
        let (node, start) = (number % TICKS / 20, number % 20 * minutes);
        let gmt = |minutes: usize| format!("2026-03-01T{:02}:{:02}:00-00:00", 8 + minutes / 60, minutes % 60);
        _ = write!(
            text,
            "{},{},2026-03-01,{},NODE_{node:04}_N001,NODE_{node:04}_N001,NODE_{node:04}_N001,{run},{kind},{item},\
             NODE_{node:04}_N001,ALL,1,{price},{},1",
            gmt(start),
            gmt(start + minutes),
            start / 60 + 1,
            start % 60 / minutes + 1
        );
    })
}

fn ercot() -> Vec<Source> {
    let sced = || {
        rows!(
            "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n",
            TICKS,
            n,
            "03/01/2026 10:05:13,N,NODE_{n:04}_RN,       27.04"
        )
    };
    let buses = || {
        rows!(
            "SCEDTimestamp,RepeatedHourFlag,ElectricalBus,LMP\n",
            TICKS,
            n,
            "03/01/2026 10:05:13,N,BUS{n:04},       27.04"
        )
    };
    let capped = || {
        rows!(
            "SCEDTimestamp,RepeatedHourFlag,ElectricalBus,CappedLMP,UncappedLMP\n",
            TICKS,
            n,
            "03/01/2026 10:05:13,N,BUS{n:04},       27.04,       27.04"
        )
    };
    let quarters = || {
        rows!(
            "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag\n",
            TICKS,
            n,
            "03/01/2026,{},{},NODE_{:04}_RN,RN,3.72,N",
            n % 24 + 1,
            n % 4 + 1,
            n / 24
        )
    };
    let day_ahead = || {
        rows!(
            "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n",
            TICKS,
            n,
            "03/01/2026,{:02}:00,NODE_{:04}_RN,22.10,N",
            n % 24 + 1,
            n / 24
        )
    };
    vec![
        source("ercot.np6-788.csv", sced),
        source("ercot.np6-787.csv", buses),
        source("ercot.np6-787.csv/capped", capped),
        source("ercot.np6-905.csv", quarters),
        source("ercot.np4-190.csv", day_ahead),
    ]
}

fn pjm() -> Vec<Source> {
    vec![
        source("pjm.da_hrl_lmps.csv", || pjm_table("da", 60, true)),
        source("pjm.rt_hrl_lmps.csv", || pjm_table("rt", 60, true)),
        source("pjm.rt_fivemin_hrl_lmps.csv", || pjm_table("rt", 5, true)),
        source("pjm.rt_fivemin_hrl_lmps.csv/unverified", || pjm_table("rt", 5, false)),
    ]
}

// Twelve intervals from 01:00 Eastern time, which is 06:00 UTC.
fn pjm_table(market: &str, minutes: usize, is_verified: bool) -> Vec<u8> {
    let stamp = |minutes: usize| {
        let (hour, half) = (minutes / 60, if minutes < 720 { "AM" } else { "PM" });
        format!("3/1/2026 {}:{:02}:00 {half}", (hour + 11) % 12 + 1, minutes % 60)
    };
    let (energy, last) = match is_verified {
        true => (format!("system_energy_price_{market},"), "row_is_current,version_nbr"),
        false => (String::new(), "occ_check,ref_caseid_used_multi_interval"),
    };
    let header = format!(
        "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,{energy}total_lmp_{market},\
         congestion_price_{market},marginal_loss_price_{market},{last}\n"
    );
    let (energy, last) = if is_verified {
        ("30.000000,", "True,1")
    } else {
        ("", "0,case 0")
    };
    lines(&header, TICKS, |text, number| {
        let (start, node) = (60 + number % 12 * minutes, number / 12);
        _ = write!(
            text,
            "{},{},{},NODE{node:04},138 KV,LOAD,LOAD,AEP,{energy}31.000000,1.500000,-0.500000,{last}",
            stamp(start + 300),
            stamp(start),
            100_000 + node
        );
    })
}

fn nyiso() -> Vec<Source> {
    const HEADER: &str = "\"Time Stamp\",\"Name\",\"PTID\",\"LBMP ($/MWHr)\",\"Marginal Cost Losses ($/MWHr)\",\
        \"Marginal Cost Congestion ($/MWHr)\"\n";
    let hours = || {
        rows!(
            HEADER,
            TICKS,
            n,
            "\"03/01/2026 {:02}:00\",\"NODE {:04}\",{},51.52,2.92,0.00",
            n / 250,
            n % 250,
            61_000 + n % 250
        )
    };
    let five_minutes = || {
        rows!(
            HEADER,
            TICKS,
            n,
            "\"03/01/2026 10:{:02}:00\",\"NODE {:04}\",{},51.52,2.92,0.00",
            n / 500 * 5 + 5,
            n % 500,
            61_000 + n % 500
        )
    };
    vec![
        source("nyiso.damlbmp_zone.csv", hours),
        source("nyiso.rtlbmp_zone.csv", hours),
        source("nyiso.realtime_zone.csv", five_minutes),
    ]
}

fn isone() -> Vec<Source> {
    let workbook = || {
        rows!(
            "Date,Hr_End,Location,DA_Demand,RT_Demand,DA_LMP,DA_EC,DA_CC,DA_MLC,RT_LMP,RT_EC,RT_CC,RT_MLC,Dry_Bulb,Dew_Point\n",
            TICKS / 2,
            n,
            "3/1/2026,{:02},UN.NODE{:04},1,1,28.12,28.86,-0.70,-0.04,33.66,32.86,0.55,0.25,53,51",
            n % 24 + 1,
            n / 24
        )
    };
    vec![
        source("isone.da_lmp.csv", || isone_report("Day-Ahead")),
        source("isone.rt_lmp_final.csv", || isone_report("Real-Time")),
        source("isone.smd_hourly.csv", workbook),
    ]
}

fn isone_report(market: &str) -> Vec<u8> {
    let header = format!(
        "\"C\",\"{market} Energy Market Hourly LMP Report\"\n\"H\",\"Date\",\"Hour Ending\",\"Location ID\",\"Location Name\",\
        \"Location Type\",\"Locational Marginal Price\",\"Energy Component\",\"Congestion Component\",\"Marginal Loss Component\"\n"
    );
    let mut bytes = lines(&header, TICKS, |text, number| {
        let (hour, node) = (number % 24 + 1, number / 24);
        _ = write!(
            text,
            "\"D\",\"03/01/2026\",\"{hour:02}\",{node},\"UN.NODE{node:04}\",\"NETWORK NODE\",45.45,47.56,0.0,-2.11"
        );
    });
    bytes.extend_from_slice(b"\"T\",\"5000 lines\"\n");
    bytes
}

fn spp() -> Vec<Source> {
    let own = || {
        rows!(
            "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n",
            TICKS,
            n,
            "03/01/2026 {:02}:00:00,03/01/2026 {:02}:00:00,LOCATION_{:04},PNODE_{:04},21.1234,-0.1234,1.2469,20.0000",
            n / 500 + 1,
            n / 500 + 7,
            n % 500,
            n % 500
        )
    };
    let areas = || {
        rows!(
            "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC,BAA\n",
            TICKS,
            n,
            "03/01/2026 {:02}:00:00,03/01/2026 {:02}:00:00,LOCATION_{:04},PNODE_{:04},21.1234,-0.1234,1.2469,20.0000,{}",
            n / 500 + 1,
            n / 500 + 7,
            n % 500,
            n % 500,
            if n % 2 == 0 { "SPP" } else { "SWPW" }
        )
    };
    vec![
        source("spp.da_lmp_sl.csv", own),
        source("spp.da_lmp_sl.csv/areas", areas),
    ]
}

// Days of gas are fifteen years of twelve times 28 days; settlements are nine days of eight hubs, 24 months and three blocks.
fn settlements() -> Vec<Source> {
    const HUBS: [&str; 8] = [
        "ARKANSAS",
        "ILLINOIS",
        "INDIANA",
        "LOUISIANA",
        "MICHIGAN",
        "MINN",
        "MS",
        "TEXAS",
    ];
    let gas = || {
        rows!(
            "Date,Price\n",
            TICKS,
            n,
            "{}-{:02}-{:02},4.15",
            2010 + n / 336,
            n / 28 % 12 + 1,
            n % 28 + 1
        )
    };
    let contracts = || {
        rows!(
            "as_of,curve_id,contract,block,price,volume\n",
            TICKS,
            n,
            "2026-02-{:02},MISO.{}.HUB,M{},{},41.25,10",
            n / 576 + 2,
            HUBS.get(n / 72 % 8).copied().unwrap_or_default(),
            n / 3 % 24 + 1,
            ["flat", "peak", "off_peak"].get(n % 3).copied().unwrap_or_default()
        )
    };
    vec![
        source("gas.eia_daily.csv", gas),
        source("curve.settlements.csv", contracts),
    ]
}
