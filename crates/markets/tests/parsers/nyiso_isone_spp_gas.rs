//! Documents of NYISO, ISO-NE, SPP and EIA, written by hand.

use markets::{RejectCode, detect_format};

use crate::common::{every_cut_is_a_part, is_part, read, refused_whole};

const NYISO: &str = "\"Time Stamp\",\"Name\",\"PTID\",\"LBMP ($/MWHr)\",\"Marginal Cost Losses ($/MWHr)\",\"Marginal Cost Congestion ($/MWHr)\"\n";
const REAL_TIME: &str = "nyiso.realtime_zone.csv";

fn nyiso(rows: &[(&str, &str, &str)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(stamp, name, prices)| format!("\"{stamp}\",\"{name}\",61757,{prices}\n"))
        .collect();
    format!("{NYISO}{rows}")
}

#[test]
fn nyiso_stamps_end_their_interval_and_congestion_changes_its_sign() {
    let text = nyiso(&[
        ("07/18/2022 00:05:00", "N.Y.C.", "81.21,7.65,-1.32"),
        ("07/18/2022 00:05:00", "WEST", "72.75,.51,0.00"),
        ("07/18/2022 00:06:12", "N.Y.C.", "80.00,8.00,0.00"),
        ("07/18/2022 00:08:36", "N.Y.C.", "80.00,8.00,0.00"),
        ("07/18/2022 00:10:00", "N.Y.C.", "80.00,8.00,0.00"),
        ("07/18/2022 00:20:00", "N.Y.C.", "80.00,8.00,0.00"),
        ("07/19/2022 00:00:00", "H Q", "80.00,8.00,0.00"),
    ]);
    let found = read(REAL_TIME, text.as_bytes()).unwrap();
    assert_eq!(
        found.ticks,
        [
            "NYISO.N.Y.C..RT5 2022-07-18T04:00:00Z 300s 81.21 e72.24 c1.32 l7.65",
            "NYISO.WEST.RT5 2022-07-18T04:00:00Z 300s 72.75 e72.24 c0 l0.51",
            "NYISO.N.Y.C..RT5 2022-07-18T04:05:00Z 72s 80 e72 c0 l8",
            "NYISO.N.Y.C..RT5 2022-07-18T04:06:12Z 144s 80 e72 c0 l8",
            "NYISO.N.Y.C..RT5 2022-07-18T04:08:36Z 84s 80 e72 c0 l8",
            "NYISO.N.Y.C..RT5 2022-07-18T04:15:00Z 300s 80 e72 c0 l8",
            "NYISO.H%20Q.RT5 2022-07-19T03:55:00Z 300s 80 e72 c0 l8",
        ]
    );
    every_cut_is_a_part(REAL_TIME, text.as_bytes(), 1);
    every_cut_is_a_part(REAL_TIME, text.trim_end().as_bytes(), 1);
    assert_eq!(read(REAL_TIME, text.trim_end().as_bytes()).unwrap().ticks, found.ticks);
    // The header of older files is cut.
    let old = text
        .replace("Congestion ($/MWHr)", "Congestion ($/MWH")
        .replace('"', "");
    assert_eq!(read(REAL_TIME, old.as_bytes()).unwrap(), found);
    assert_eq!(
        detect_format("20220718realtime_zone.csv", old.as_bytes()),
        Some(REAL_TIME)
    );
    assert_eq!(
        detect_format("20220718rtlbmp_zone.csv", old.as_bytes()),
        Some("nyiso.rtlbmp_zone.csv")
    );
}

#[test]
fn the_step_back_of_a_name_separates_the_passes_of_the_repeated_hour() {
    let rows: Vec<(&str, &str, &str)> = [
        "00:55:00", "01:00:00", "01:05:00", "01:55:00", "01:00:00", "01:13:16", "01:55:00", "02:00:00",
    ]
    .iter()
    .flat_map(|time| [(*time, "WEST"), (*time, "PJM")])
    .map(|(time, name)| (time, name, "1.00,0.00,0.00"))
    .collect();
    let stamped: Vec<String> = rows.iter().map(|(time, ..)| format!("11/04/2018 {time}")).collect();
    let rows: Vec<_> = rows
        .iter()
        .zip(&stamped)
        .map(|((_, name, prices), stamp)| (stamp.as_str(), *name, *prices))
        .collect();
    let text = nyiso(&rows);
    let found = read(REAL_TIME, text.as_bytes()).unwrap();
    assert!(found.rejected.is_empty());
    let west: Vec<&str> = found
        .ticks
        .iter()
        .filter(|tick| tick.starts_with("NYISO.WEST"))
        .map(|tick| &tick[25..40])
        .collect();
    // Starts in UTC.
    assert_eq!(
        west,
        [
            "T04:50:00Z 300s",
            "T04:55:00Z 300s",
            "T05:00:00Z 300s",
            "T05:50:00Z 300s",
            "T05:55:00Z 300s",
            "T06:10:00Z 196s",
            "T06:50:00Z 300s",
            "T06:55:00Z 300s"
        ]
    );
    every_cut_is_a_part(REAL_TIME, text.as_bytes(), 13);
}

#[test]
fn without_one_step_back_the_repeated_hour_is_ambiguous() {
    let pairs = ["01:00:00", "01:00:00", "01:05:00", "01:05:00"];
    let twice = ["01:05:00", "01:00:00", "01:05:00", "01:00:00"];
    let first_only = ["01:00:00", "01:05:00", "01:10:00", "01:15:00"];
    for times in [pairs, twice, first_only] {
        let stamps = times.map(|time| format!("10/30/2005 {time}"));
        let rows: Vec<_> = stamps
            .iter()
            .map(|stamp| (stamp.as_str(), "WEST", "0.00,0.00,0.00"))
            .collect();
        let found = read(REAL_TIME, nyiso(&rows).as_bytes()).unwrap();
        assert!(found.ticks.is_empty());
        assert!(
            found.rejected.iter().all(|row| row.ends_with("ambiguous_time")),
            "{:?}",
            found.rejected
        );
    }
}

#[test]
fn hourly_nyiso_stamps_begin_their_interval_and_the_repeated_one_is_printed_twice() {
    let text = nyiso(&[
        ("11/02/2025 00:00", "WEST", "51.52,2.92,0.00"),
        ("11/02/2025 01:00", "WEST", "51.52,2.92,0.00"),
        ("11/02/2025 01:00", "WEST", "50.52,2.92,-1.00"),
        ("11/02/2025 02:00", "WEST", "51.52,2.92,0.00"),
        ("03/09/2025 02:00", "WEST", "51.52,2.92,0.00"),
        ("11/03/2024 01:00", "WEST", "51.52,2.92,0.00"),
    ]);
    for (format, product) in [("nyiso.damlbmp_zone.csv", "DA"), ("nyiso.rtlbmp_zone.csv", "RTH")] {
        let found = read(format, text.as_bytes()).unwrap();
        let expected = [
            "04:00:00Z 3600s 51.52 e48.6 c0",
            "05:00:00Z 3600s 51.52 e48.6 c0",
            "06:00:00Z 3600s 50.52 e46.6 c1",
            "07:00:00Z 3600s 51.52 e48.6 c0",
        ]
        .map(|rest| format!("NYISO.WEST.{product} 2025-11-02T{rest} l2.92"));
        assert_eq!(found.ticks, expected);
        assert_eq!(found.rejected, ["line 6: invalid_time", "line 7: ambiguous_time"]);
    }
    // Hours without a telling name may be of either market, and each generator is no zone.
    for (name, format) in [
        ("x.csv", None),
        ("zone.csv", None),
        ("20251102damlbmp_zone.csv", Some("nyiso.damlbmp_zone.csv")),
        ("20251102rtlbmp_zone.csv", Some("nyiso.rtlbmp_zone.csv")),
        ("20251102damlbmp_gen.csv", None),
        ("20251102rtlbmp_gen_csv.zip", None),
    ] {
        assert_eq!(detect_format(name, text.as_bytes()), format, "{name}");
    }
    refused_whole(
        REAL_TIME,
        text.replace("PTID", "Zone").as_bytes(),
        RejectCode::SchemaViolation,
        "\"Zone\"",
    );
}

#[test]
fn five_minutes_are_no_hours_in_an_hourly_nyiso_document() {
    let text = nyiso(&[
        ("11/02/2025 00:00", "WEST", "51.52,2.92,0.00"),
        ("11/02/2025 00:05", "WEST", "51.52,2.92,0.00"),
    ]);
    for format in ["nyiso.damlbmp_zone.csv", "nyiso.rtlbmp_zone.csv"] {
        refused_whole(format, text.as_bytes(), RejectCode::SchemaViolation, "those of minutes");
        // Among hours, the row alone is refused.
        let more = text.clone() + "\"11/02/2025 03:00\",\"WEST\",61757,51.52,2.92,0.00\n";
        let found = read(format, more.as_bytes()).unwrap();
        assert_eq!(
            (found.ticks.len(), found.rejected),
            (2, vec!["line 3: invalid_time".to_owned()])
        );
    }
}

#[test]
fn the_passes_are_told_apart_only_if_the_rows_ascend() {
    let first = ("11/02/2025 01:00", "WEST", "50.72,2.92,0.00");
    let second = ("11/02/2025 01:00", "WEST", "48.63,2.92,0.00");
    let at = |stamp| (stamp, "WEST", "40.00,2.92,0.00");
    let (before, after) = (at("11/02/2025 00:00"), at("11/02/2025 02:00"));
    let early = at("11/02/2025 00:00");
    for format in ["nyiso.damlbmp_zone.csv", "nyiso.rtlbmp_zone.csv"] {
        for (rows, is_decided) in [
            (vec![before, first, second, after], true),
            (vec![before, first, second], true),
            (vec![first, second, after], true),
            // Descending; nothing tells the order; the same row once more; all of it once more; a row out of order.
            (vec![after, second, first, before], false),
            (vec![after, second, first], false),
            (vec![first, second], false),
            (vec![before, first, first, after], false),
            (vec![before, first, first, second, after], false),
            (vec![before, first, second, after, before, first, second, after], false),
            (vec![first, second, after, early], false),
        ] {
            let found = read(format, nyiso(&rows).as_bytes()).unwrap();
            let repeated: Vec<&String> = found
                .ticks
                .iter()
                .filter(|tick| tick.contains("T05:00") || tick.contains("T06:00"))
                .collect();
            if is_decided {
                assert!(repeated[0].contains("T05:00:00Z 3600s 50.72"), "{rows:?}");
                assert!(repeated[1].contains("T06:00:00Z 3600s 48.63"), "{rows:?}");
            } else {
                assert!(repeated.is_empty(), "{rows:?}: {repeated:?}");
                assert!(found.rejected.iter().all(|row| row.ends_with("ambiguous_time")));
            }
        }
    }
    // Runs: a step back of some minutes is a row out of order, and no change of the clock.
    let run = |time: &str| format!("11/02/2025 {time}:00");
    for (times, is_decided) in [
        (
            vec!["00:55", "01:00", "01:35", "01:55", "01:00", "01:35", "02:05"],
            true,
        ),
        (
            vec!["02:05", "01:35", "01:00", "01:55", "01:35", "01:00", "00:55"],
            false,
        ),
        (vec!["00:55", "01:00", "01:10", "01:05", "01:20", "01:55"], false),
        (vec!["00:55", "01:00", "01:55", "01:00", "01:35", "00:55"], false),
    ] {
        let stamps: Vec<String> = times.iter().map(|time| run(time)).collect();
        let rows: Vec<_> = stamps
            .iter()
            .map(|stamp| (stamp.as_str(), "WEST", "1.00,0.00,0.00"))
            .collect();
        let found = read(REAL_TIME, nyiso(&rows).as_bytes()).unwrap();
        assert_eq!(found.rejected.is_empty(), is_decided, "{times:?}: {:?}", found.rejected);
        assert!(found.rejected.iter().all(|row| row.ends_with("ambiguous_time")));
    }
}

/// The starts of a zone's prices, and what is rejected.
fn real_time(stamps: &[&str]) -> (Vec<String>, Vec<String>) {
    let stamps: Vec<String> = stamps.iter().map(|time| format!("07/18/2022 {time}:00")).collect();
    let rows: Vec<_> = stamps
        .iter()
        .flat_map(|stamp| ["WEST", "N.Y.C."].map(|name| (stamp.as_str(), name, "80.00,8.00,0.00")))
        .collect();
    let text = nyiso(&rows);
    every_cut_is_a_part(REAL_TIME, text.as_bytes(), 7);
    let found = read(REAL_TIME, text.as_bytes()).unwrap();
    assert!(
        found.messages.iter().all(|message| message.contains("advisory")),
        "{:?}",
        found.messages
    );
    let west = found.ticks.iter().filter(|tick| tick.starts_with("NYISO.WEST"));
    (west.map(|tick| tick[26..31].to_owned()).collect(), found.rejected)
}

#[test]
fn the_quarters_behind_the_newest_run_are_advisory_and_no_prices_of_five_minutes() {
    let (starts, rejected) = real_time(&["16:40", "16:45", "16:50", "17:00", "17:15", "17:30"]);
    assert_eq!(starts, ["20:35", "20:40", "20:45"]);
    let lines = (8..14).map(|line| format!("line {line}: schema_violation"));
    assert_eq!(rejected, lines.collect::<Vec<_>>());
    // Five minutes behind the newest run, nothing tells the first one apart.
    let (starts, rejected) = real_time(&["16:50", "16:55", "17:00", "17:15"]);
    assert_eq!((starts.len(), rejected.len()), (3, 2));
    // A gap is none if five minutes follow, or the stamp is on no quarter.
    for stamps in [
        ["16:40", "16:45", "17:00", "17:05"],
        ["16:40", "16:45", "17:00", "17:10"],
    ] {
        assert_eq!(real_time(&stamps).1, Vec::<String>::new(), "{stamps:?}");
    }
    // A document may have quarters alone.
    assert_eq!(real_time(&["16:15", "16:30", "16:45"]).0.len(), 3);
}

#[test]
fn a_nyiso_component_that_says_nothing_leaves_the_price() {
    let text = nyiso(&[
        ("07/18/2022 00:05:00", "N.Y.C.", "81.21,None,-1.32"),
        ("07/18/2022 00:05:00", "WEST", "72.75,.51,"),
        ("07/18/2022 00:05:00", "H Q", "72.75,N/A,n/a"),
        ("07/18/2022 00:05:00", "PJM", "N/A,.51,0.00"),
        ("07/18/2022 00:05:00", "NPX", "72.75,x,0.00"),
    ]);
    let found = read(REAL_TIME, text.as_bytes()).unwrap();
    assert_eq!(
        found.ticks,
        [
            "NYISO.N.Y.C..RT5 2022-07-18T04:00:00Z 300s 81.21 c1.32",
            "NYISO.WEST.RT5 2022-07-18T04:00:00Z 300s 72.75 l0.51",
            "NYISO.H%20Q.RT5 2022-07-18T04:00:00Z 300s 72.75",
        ]
    );
    assert_eq!(found.rejected, ["line 5: missing_price", "line 6: invalid_number"]);
}

const ISONE: &str = "\"C\",\"Day-Ahead Energy Market Hourly LMP Report\"\n\"C\",\"Filename: WW_DALMP_ISO_20251102.csv\"\n\
    \"H\",\"Date\",\"Hour Ending\",\"Location ID\",\"Location Name\",\"Location Type\",\"Locational Marginal Price\",\"Energy Component\",\"Congestion Component\",\"Marginal Loss Component\"\n\
    \"H\",\"Date\",\"HE\",\"String\",\"String\",\"String\",\"Number\",\"Number\",\"Number\",\"Number\"\n";

fn isone(rows: &[(&str, &str, &str)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(date, hour, prices)| {
            format!("\"D\",\"{date}\",\"{hour}\",\"4000\",\".H.INTERNAL_HUB\",\"HUB\",{prices}\n")
        })
        .collect();
    let count = rows.lines().count();
    format!("{ISONE}{rows}\"T\",\"{count} lines\"")
}

#[test]
fn isone_hours_end_in_prevailing_time_and_the_repeated_one_is_marked() {
    let good = "45.45,47.56,0.0,-2.11";
    let text = isone(&[
        ("11/02/2025", "01", good),
        ("11/02/2025", "02", good),
        ("11/02/2025", "02X", good),
        ("11/02/2025", "03", "43.730000000000004,43.73,0.0,0"),
        ("11/02/2025", "24", good),
        ("03/09/2025", "01", good),
        ("03/09/2025", "03", good),
        ("03/09/2025", "04", good),
        // Impossible hours.
        ("03/09/2025", "02", good),
        ("07/04/2025", "02X", good),
        ("11/02/2025", "03X", good),
        ("11/02/2025", "25", good),
        ("11/02/2025", "05", "x,47.56,0.0,-2.11"),
        ("11/02/2025", "05", "0.300000001,47.56,0.0,-2.11"),
    ]);
    let format = "isone.da_lmp.csv";
    assert_eq!(detect_format("x", text.as_bytes()), Some(format));
    let found = read(format, text.as_bytes()).unwrap();
    let usual = "3600s 45.45 e47.56 c0 l-2.11";
    let expected = [
        format!("2025-11-02T04:00:00Z {usual}"),
        format!("2025-11-02T05:00:00Z {usual}"),
        format!("2025-11-02T06:00:00Z {usual}"),
        "2025-11-02T07:00:00Z 3600s 43.73 e43.73 c0 l0 !rounded".to_owned(),
        format!("2025-11-03T04:00:00Z {usual}"),
        format!("2025-03-09T05:00:00Z {usual}"),
        format!("2025-03-09T06:00:00Z {usual}"),
        format!("2025-03-09T07:00:00Z {usual}"),
    ]
    .map(|rest| format!("ISONE..H.INTERNAL_HUB.DA {rest}"));
    assert_eq!(found.ticks, expected);
    let codes: Vec<&str> = found
        .rejected
        .iter()
        .map(|row| row.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "invalid_time",
            "invalid_time",
            "invalid_time",
            "invalid_time",
            "invalid_price",
            "invalid_price"
        ]
    );
    every_cut_is_a_part(format, text.as_bytes(), 1);
}

#[test]
fn an_isone_row_of_a_day_that_its_report_is_not_for_is_refused() {
    let rows = [
        ("06/03/2026", "24", "99,99,0,0"),
        ("06/04/2026", "05", "40,40,0,0"),
        ("06/05/2026", "01", "99,99,0,0"),
    ];
    let of = |days: &str| {
        let title = "\"C\",\"Filename: WW_DALMP_ISO_20251102.csv\"\n";
        let text = isone(&rows).replace(title, &format!("{title}\"C\",\"Report for: {days}\"\n"));
        read("isone.da_lmp.csv", text.as_bytes()).unwrap()
    };
    let one = of("06/04/2026 - 06/04/2026");
    assert_eq!(
        one.ticks,
        ["ISONE..H.INTERNAL_HUB.DA 2026-06-04T08:00:00Z 3600s 40 e40 c0 l0"]
    );
    assert_eq!(one.rejected, ["line 6: invalid_time", "line 8: invalid_time"]);
    assert!(
        one.messages[0].contains("Date is 2026-06-03, but the report says that it is for 2026-06-04"),
        "{:?}",
        one.messages
    );
    assert_eq!(of("06/03/2026 - 06/05/2026").rejected, [""; 0]);
}

#[test]
fn an_isone_report_without_its_trailer_says_so() {
    let text = isone(&[("06/02/2026", "01", "45.45,47.56,0.0,-2.11")])
        .replace("Day-Ahead", "Real-Time")
        .replace("WW_DALMP_ISO", "lmp_rt_prelim");
    let format = "isone.rt_lmp_final.csv";
    assert_eq!(detect_format("x", text.as_bytes()), Some(format));
    let whole = read(format, text.as_bytes()).unwrap();
    assert_eq!(
        whole.ticks,
        ["ISONE..H.INTERNAL_HUB.RTH 2026-06-02T04:00:00Z 3600s 45.45 e47.56 c0 l-2.11 v:preliminary"]
    );
    assert!(whole.rejected.is_empty());
    let trailer = "\"T\",\"1 lines\"";
    let cut = text.replace(trailer, "");
    let part = read(format, cut.as_bytes()).unwrap();
    assert_eq!((&part.ticks, part.rejected.len()), (&whole.ticks, 1));
    assert!(part.messages[0].contains("trailer"), "{}", part.messages[0]);
    assert!(is_part(format, cut.as_bytes()) && !is_part(format, text.as_bytes()));
    // The trailer has the number of data lines, and nothing follows it.
    for trailer in ["\"T\",\"2 lines\"", "\"T\",\"lines\"", "\"T\"", "T,0 lines"] {
        let other = format!("{cut}{trailer}\n");
        assert!(is_part(format, other.as_bytes()), "{trailer}");
        assert_eq!(read(format, other.as_bytes()).unwrap(), whole, "{trailer}");
    }
    let plain = format!("{cut}T,1 lines\r\n\r\n");
    assert!(!is_part(format, plain.as_bytes()));
    let row = cut.lines().last().unwrap();
    let goes_on = format!("{text}\n{row}\n");
    let found = read(format, goes_on.as_bytes()).unwrap();
    assert_eq!((found.ticks.len(), found.rejected.len()), (1, 1));
    assert!(is_part(format, goes_on.as_bytes()));
    refused_whole(
        "isone.da_lmp.csv",
        text.as_bytes(),
        RejectCode::SchemaViolation,
        "Real-Time",
    );
    refused_whole(
        format,
        text.replace("Energy Component", "Energy").as_bytes(),
        RejectCode::SchemaViolation,
        "\"Energy\"",
    );
}

#[test]
fn the_isone_web_service_gives_offsets() {
    let row = |begin: &str, price: &str| {
        format!(
            r#"{{"BeginDate":"{begin}","Location":{{"@LocId":"4001","@LocType":"LOAD ZONE","$":".Z.MAINE"}},"LmpTotal":{price},"EnergyComponent":32.04,"CongestionComponent":0,"LossComponent":0.3}}"#
        )
    };
    let rows = [
        row("2025-11-02T01:00:00.000-04:00", "32.34"),
        row("2025-11-02T01:00:00.000-05:00", "\"32.34\""),
        row("2025-11-02T01:00:00.000", "1"),
        row("2025-11-02T02:00:00.000-05:00", "null"),
        row("2025-11-02T02:05:00.000-05:00", "1"),
        row("2025-11-02T03:00:00.000-05:00", "\"N/A\""),
    ];
    let format = "isone.ws_hourlylmp.json";
    let text = format!(r#"{{"HourlyLmps":{{"HourlyLmp":[{}]}}}}"#, rows.join(","));
    // Real-time prices look the same.
    for (name, expected) in [
        ("hourlylmp_da_final_20251102.json", Some(format)),
        ("isone_day_ahead.json", Some(format)),
        ("DayAhead-20251102.json", Some(format)),
        (format, Some(format)),
        ("hourlylmp_rt_final_20251102.json", None),
        ("hourlylmp_rt_da_20251102.json", None),
        ("real_time_da.json", None),
        ("hourlylmp_data.json", None),
        ("x", None),
    ] {
        assert_eq!(detect_format(name, text.as_bytes()), expected, "{name}");
    }
    let found = read(format, text.as_bytes()).unwrap();
    let expected =
        ["05", "06"].map(|hour| format!("ISONE..Z.MAINE.DA 2025-11-02T{hour}:00:00Z 3600s 32.34 e32.04 c0 l0.3"));
    assert_eq!(found.ticks, expected);
    assert_eq!(
        found.rejected,
        [
            "/HourlyLmps/HourlyLmp/2: invalid_time",
            "/HourlyLmps/HourlyLmp/3: missing_price",
            "/HourlyLmps/HourlyLmp/4: invalid_time",
            "/HourlyLmps/HourlyLmp/5: missing_price"
        ]
    );
    let bare = format!(
        r#"{{"HourlyLmps":{{"HourlyLmp":[{}]}}}}"#,
        rows[0].replace("32.04", "\"\"").replace(":0,", ":\"None\",")
    );
    assert_eq!(
        read(format, bare.as_bytes()).unwrap().ticks,
        ["ISONE..Z.MAINE.DA 2025-11-02T05:00:00Z 3600s 32.34 l0.3"]
    );
    let single = format!(r#"{{"HourlyLmps":{{"HourlyLmp":{}}}}}"#, rows[0]);
    assert_eq!(read(format, single.as_bytes()).unwrap().ticks, expected[..1]);
    refused_whole(
        format,
        br#"{"HourlyLmps":{}}"#,
        RejectCode::SchemaViolation,
        "/HourlyLmps/HourlyLmp is missing",
    );
}

#[test]
fn a_sheet_of_the_isone_workbook_has_two_prices_in_a_row() {
    let format = "isone.smd_hourly.csv";
    let text = "Date,Hr_End,Location,DA_Demand,RT_Demand,DA_LMP,DA_EC,DA_CC,DA_MLC,RT_LMP,RT_EC,RT_CC,RT_MLC,Dry_Bulb,Dew_Point\n\
                11/2/2025,02X,.Z.MAINE,1,1,24.63,24.64,-0.05,0.04,18.960000000000001,18.75,0.18,0.03,53,51\n\
                11/2/2025,03,.Z.MAINE,1,1,24.63,24.64,-0.05,0.04,,18.75,0.18,0.03,53,51\n";
    assert_eq!(detect_format("x", text.as_bytes()), Some(format));
    let found = read(format, text.as_bytes()).unwrap();
    assert_eq!(
        found.ticks,
        [
            "ISONE..Z.MAINE.DA 2025-11-02T06:00:00Z 3600s 24.63 e24.64 c-0.05 l0.04",
            "ISONE..Z.MAINE.RTH 2025-11-02T06:00:00Z 3600s 18.96 e18.75 c0.18 l0.03 !rounded",
            "ISONE..Z.MAINE.DA 2025-11-02T07:00:00Z 3600s 24.63 e24.64 c-0.05 l0.04",
        ]
    );
    assert_eq!(found.rejected, ["line 3: missing_price"]);
    let nowhere = text.replace("Location,", "").replace(".Z.MAINE,", "");
    refused_whole(format, nowhere.as_bytes(), RejectCode::MissingInstrument, "location");
}

#[test]
fn spp_stamps_and_headers_have_many_styles() {
    let format = "spp.da_lmp_sl.csv";
    let expected = [
        "SPP.SPPNORTH_HUB.DA 2026-06-04T05:00:00Z 3600s 47 e46 c0.75 l0.25",
        "SPP.AVA.SWPW.DA 2026-06-04T06:00:00Z 3600s 0.5 e0.5 c0 l0",
    ];
    for (header, first, second) in [
        (
            "INTERVAL,GMTINTERVALEND,BAA,SETTLEMENT_LOCATION,PNODE,LMP,MLC,MCC,MEC",
            "6/4/2026 1:00,6/4/2026 6:00",
            "6/4/2026 2:00,6/4/2026 7:00",
        ),
        (
            "Interval,GMTIntervalEnd,BAA,Settlement Location,Pnode,LMP,MLC,MCC,MEC",
            "06/04/2026 01:00:00,06/04/2026 06:00:00",
            "06/04/2026 02:00:00,06/04/2026 07:00:00",
        ),
        (
            "Interval,GMT Interval End,BAA,Settlement_Location,Pnode,LMP,MLC,MCC,MEC,",
            "6/4/2026 01:00,6/4/2026 06:00",
            "6/4/2026 02:00,6/4/2026 07:00",
        ),
    ] {
        let comma = if header.ends_with(',') { "," } else { "" };
        let text = format!(
            "{header}\r\n{first},SPP,SPPNORTH_HUB,N,47,.25,0.7500,46{comma}\r\n{second},SWPW,AVA,AVA,0.5,0,0,0.5000{comma}\r\n"
        );
        assert_eq!(detect_format("DA-LMP-SL.csv", text.as_bytes()), Some(format));
        let found = read(format, text.as_bytes()).unwrap();
        assert_eq!(
            (found.ticks, found.rejected),
            (expected.map(str::to_owned).to_vec(), vec![]),
            "{header}"
        );
        every_cut_is_a_part(format, text.as_bytes(), 1);
    }
    let old = "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n11/02/2025 02:00:00,11/02/2025 07:00:00,A,P,1,0,0,1\n\
               11/02/2025 02:00:00,11/02/2025 08:00:00,A,P,1,0,0,1\n11/02/2025 02:00:00,11/02/2025 09:00:00,A,P,1,0,0,1\n";
    let found = read(format, old.as_bytes()).unwrap();
    assert_eq!(
        found.ticks,
        ["06", "07"].map(|hour| format!("SPP.A.DA 2025-11-02T{hour}:00:00Z 3600s 1 e1 c0 l0"))
    );
    assert_eq!(found.rejected, ["line 4: invalid_time"]);
    refused_whole(
        format,
        old.replace("MEC", "MGHG").as_bytes(),
        RejectCode::SchemaViolation,
        "MGHG",
    );
}

#[test]
fn an_spp_row_without_its_area_is_not_taken_for_the_one_of_spp() {
    let text = "Interval,GMTIntervalEnd,BAA,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n\
                06/04/2026 01:00:00,06/04/2026 06:00:00,SPP,AVA,AVA,20,0,0,20\n06/04/2026 01:00:00,06/04/2026 06:00:00,,AVA,AVA,55,0,0,55\n";
    let found = read("spp.da_lmp_sl.csv", text.as_bytes()).unwrap();
    assert_eq!(found.ticks, ["SPP.AVA.DA 2026-06-04T05:00:00Z 3600s 20 e20 c0 l0"]);
    assert_eq!(found.rejected, ["line 3: schema_violation"]);
    assert!(found.messages[0].contains("BAA is empty"), "{:?}", found.messages);
}

#[test]
fn an_spp_row_off_the_hour_is_no_hour() {
    let text = "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n06/04/2026 01:00:00,06/04/2026 06:00:00,A,P,1,0,0,1\n\
                06/04/2026 02:00:00,06/04/2026 07:00:00,A,P,1,0,0,1\n06/04/2026 02:05:00,06/04/2026 07:05:00,A,P,1,0,0,1\n";
    let found = read("spp.da_lmp_sl.csv", text.as_bytes()).unwrap();
    assert_eq!(
        (found.ticks.len(), found.rejected),
        (2, vec!["line 4: invalid_time".to_owned()])
    );
}

#[test]
fn the_columns_of_gas_prices_may_be_in_either_order() {
    let format = "gas.eia_daily.csv";
    let usual = read(format, b"Date,Price\n2021-02-04,2.6\n2021-02-05,2.7\n").unwrap();
    assert_eq!(usual.ticks.len(), 2);
    for text in [
        "Price,Date\n2.6,2021-02-04\n2.7,2021-02-05\n",
        "Source,EIA\nHenry Hub Natural Gas Spot Price (Dollars per Million Btu),Day\n2.6,2021-02-04\n2.7,2021-02-05\n",
    ] {
        assert_eq!(read(format, text.as_bytes()).unwrap().ticks, usual.ticks, "{text}");
        assert_eq!(detect_format("x.csv", text.as_bytes()), Some(format));
    }
    // Only what is wrong is named.
    let rejection = read(format, b"Date,Cost\n2021-02-04,2.6\n").unwrap_err();
    assert_eq!(
        rejection.message,
        "the header lacks Price and has other columns: \"Cost\""
    );
}

#[test]
fn a_gas_day_begins_at_nine_in_central_time() {
    let format = "gas.eia_daily.csv";
    for header in [
        "Date,Price",
        "Day,Henry Hub Natural Gas Spot Price Dollars per Million Btu",
        "Source,EIA\nDate,Henry Hub Natural Gas Spot Price (Dollars per Million Btu)",
    ] {
        let text = format!("{header}\n2021-02-17,23.86\n3/13/2021,2.6\n\"Nov 6, 2021\",5\n2021-11-08,\n");
        assert_eq!(detect_format("x", text.as_bytes()), Some(format), "{header}");
        let found = read(format, text.as_bytes()).unwrap();
        assert_eq!(
            found.ticks,
            [
                "GAS.HENRY_HUB.SPOT 2021-02-17T15:00:00Z 86400s 23.86",
                "GAS.HENRY_HUB.SPOT 2021-03-13T15:00:00Z 82800s 2.6",
                "GAS.HENRY_HUB.SPOT 2021-11-06T14:00:00Z 90000s 5",
            ]
        );
        assert!(found.rejected[0].ends_with("missing_price"), "{:?}", found.rejected);
        every_cut_is_a_part(format, text.as_bytes(), 1);
    }
    refused_whole(format, b"Date,Price,Volume\n", RejectCode::SchemaViolation, "Volume");
}
