//! The document formats that header `dp.format` may name, and how to detect them.

/// One format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The value of the header.
    pub name: &'static str,
    /// Lower case name of the market.
    pub market: &'static str,
    /// Whether its documents become ticks. The others are dead-lettered as `unsupported_format`.
    pub has_parser: bool,
}

/// The format that has a parser.
pub(crate) const MISO_RT5_EXPOST: &str = "miso.rt5.expost.json";

const fn known(name: &'static str, market: &'static str) -> Format {
    Format {
        name,
        market,
        has_parser: false,
    }
}

/// Every known format.
pub const FORMATS: &[Format] = &[
    Format {
        name: MISO_RT5_EXPOST,
        market: "miso",
        has_parser: true,
    },
    known("miso.exante.json", "miso"),
    known("miso.da.expost.csv", "miso"),
    known("caiso.prc_lmp.csv", "caiso"),
    known("caiso.prc_rtpd_lmp.csv", "caiso"),
    known("caiso.prc_intvl_lmp.csv", "caiso"),
    known("ercot.np6-788.csv", "ercot"),
    known("ercot.np6-905.csv", "ercot"),
    known("ercot.np4-190.json", "ercot"),
    known("ercot.np4-190.csv", "ercot"),
    known("pjm.rt_fivemin_hrl_lmps.csv", "pjm"),
    known("pjm.rt_hrl_lmps.csv", "pjm"),
    known("pjm.da_hrl_lmps.csv", "pjm"),
    known("nyiso.realtime_zone.csv", "nyiso"),
    known("nyiso.damlbmp_zone.csv", "nyiso"),
    known("isone.da_lmp.csv", "isone"),
    known("isone.rt_lmp_final.csv", "isone"),
    known("isone.ws_hourlylmp.json", "isone"),
    known("spp.da_lmp_sl.csv", "spp"),
    known("gas.eia_daily.csv", "gas"),
];

/// Detects the format of a file from its content, and from its name if two formats look the same.
///
/// `head` is the beginning of the file (a few KiB are enough). `None` if no format matches: it never guesses.
pub fn detect_format(file_name: &str, head: &[u8]) -> Option<&'static str> {
    let name = file_name.to_ascii_lowercase();
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let found = if text.starts_with(['{', '[']) {
        json_format(text)
    } else {
        csv_format(&name, text)
    }?;
    FORMATS.iter().map(|format| format.name).find(|known| *known == found)
}

fn json_format(text: &str) -> Option<&'static str> {
    let holds = |needle: &str| text.contains(needle);
    if holds("\"headers\"") && holds("\"CPNODE\"") && holds("\"LMP\"") {
        Some(MISO_RT5_EXPOST)
    } else if holds("\"ExAnteLMP\"") {
        Some("miso.exante.json")
    } else if holds("\"dam_stlmnt_pnt_prices\"") {
        Some("ercot.np4-190.json")
    } else if holds("\"HourlyLmps\"") {
        Some("isone.ws_hourlylmp.json")
    } else {
        None
    }
}

fn csv_format(name: &str, text: &str) -> Option<&'static str> {
    let mut lines = text.lines().map(|line| line.trim_end().replace('"', ""));
    let header = lines.next()?;
    let upper = header.to_ascii_uppercase();
    if upper.starts_with("INTERVALSTARTTIME_GMT,") {
        caiso(text)
    } else if upper.starts_with("DATETIME_BEGINNING_UTC,") {
        pjm(name, &upper, text)
    } else if upper.starts_with("TIME STAMP,NAME,PTID,LBMP") {
        nyiso(name, &lines.next()?)
    } else if upper.contains("GMTINTERVALEND,") && upper.contains("SETTLEMENT") && !name.contains("rtbm") {
        Some("spp.da_lmp_sl.csv")
    } else {
        by_first_line(&header)
    }
}

fn by_first_line(header: &str) -> Option<&'static str> {
    const FIRST_LINES: [(&str, &str); 8] = [
        ("Day Ahead Market ExPost LMPs", "miso.da.expost.csv"),
        (
            "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP",
            "ercot.np6-788.csv",
        ),
        (
            "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName",
            "ercot.np6-905.csv",
        ),
        (
            "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice",
            "ercot.np4-190.csv",
        ),
        ("C,Day-Ahead Energy Market Hourly LMP Report", "isone.da_lmp.csv"),
        ("C,Real-Time Energy Market Hourly LMP Report", "isone.rt_lmp_final.csv"),
        ("Date,Price", "gas.eia_daily.csv"),
        ("Date,Henry Hub Natural Gas Spot Price", "gas.eia_daily.csv"),
    ];
    FIRST_LINES
        .into_iter()
        .find(|(start, _)| header.starts_with(start))
        .map(|(_, format)| format)
}

// The three reports have the same columns and differ in MARKET_RUN_ID.
fn caiso(text: &str) -> Option<&'static str> {
    let runs = [
        (",DAM,", "caiso.prc_lmp.csv"),
        (",RTPD,", "caiso.prc_rtpd_lmp.csv"),
        (",RTM,", "caiso.prc_intvl_lmp.csv"),
    ];
    runs.into_iter()
        .find(|(run, _)| text.contains(run))
        .map(|(_, format)| format)
}

fn pjm(name: &str, header: &str, text: &str) -> Option<&'static str> {
    if header.contains("TOTAL_LMP_DA") {
        Some("pjm.da_hrl_lmps.csv")
    } else if !header.contains("TOTAL_LMP_RT") {
        None
    } else if name.contains("fivemin") || text.contains(":05:00 ") {
        Some("pjm.rt_fivemin_hrl_lmps.csv")
    } else if name.contains("rt_hrl") {
        Some("pjm.rt_hrl_lmps.csv")
    } else {
        None
    }
}

// Day-ahead stamps have no seconds, real-time ones do.
fn nyiso(name: &str, first_row: &str) -> Option<&'static str> {
    let stamp = first_row.split(',').next()?;
    match (
        name.contains("damlbmp"),
        name.contains("realtime"),
        stamp.matches(':').count(),
    ) {
        (true, _, _) | (false, false, 1) => Some("nyiso.damlbmp_zone.csv"),
        (false, true, _) | (false, false, 2) => Some("nyiso.realtime_zone.csv"),
        _ => None,
    }
}
