//! ERCOT's repeated hour in documents whose flags do not tell the passes apart.

use crate::common::{Read, every_cut_is_a_part, read};

const DAY_AHEAD: &str = "DeliveryDate,HourEnding,SettlementPoint,SettlementPointPrice,DSTFlag\n";
const QUARTERS: &str =
    "DeliveryDate,DeliveryHour,DeliveryInterval,SettlementPointName,SettlementPointType,SettlementPointPrice,DSTFlag\n";

/// The starts and prices of the ticks.
fn prices(found: &Read) -> Vec<String> {
    let shown = |tick: &String| {
        tick.split_once(' ')
            .unwrap()
            .1
            .replace(":00Z 3600s", "")
            .replace(":00Z 900s", "")
    };
    found.ticks.iter().map(shown).collect()
}

#[test]
fn ercots_passes_with_one_flag_are_both_ambiguous() {
    let day_ahead = |rows: &[(&str, &str, &str)]| {
        let rows = rows
            .iter()
            .map(|(hour, price, flag)| format!("11/02/2025,{hour},HB_NORTH,{price},{flag}\n"));
        read(
            "ercot.np4-190.csv",
            (DAY_AHEAD.to_owned() + &rows.collect::<String>()).as_bytes(),
        )
        .unwrap()
    };
    let found = day_ahead(&[
        ("01:00", "19.00", "N"),
        ("02:00", "20.00", "N"),
        ("02:00", "21.00", "N"),
        ("03:00", "22.00", "N"),
    ]);
    assert_eq!(prices(&found), ["2025-11-02T05:00 19", "2025-11-02T08:00 22"]);
    assert_eq!(found.rejected, ["line 3: ambiguous_time", "line 4: ambiguous_time"]);
    let message = &found.messages[0];
    assert!(message.contains("DSTFlag") && message.contains("HB_NORTH"), "{message}");
    // Both passes may have one price, unless the other one is there as well: then it is one row twice.
    for (rows, expected) in [
        (vec![("2", "20", "N"), ("2", "20.00", "N")], vec![]),
        (vec![("2", "20", "Y"), ("2", "20.00", "Y")], vec![]),
        (
            vec![("2", "20", "N"), ("2", "21", "Y"), ("2", "20.0", "N")],
            vec![
                "2025-11-02T06:00 20",
                "2025-11-02T07:00 21",
                "2025-11-02T06:00 20 !duplicate",
            ],
        ),
        (
            vec![("2", "20", "N"), ("2", "21", "Y"), ("2", "20.5", "N")],
            vec!["2025-11-02T07:00 21"],
        ),
        (vec![("2", "20", "N"), ("2", "", "N")], vec![]),
    ] {
        assert_eq!(prices(&day_ahead(&rows)), expected, "{rows:?}");
    }
    let found = day_ahead(&[("2", "20", "N"), ("2", "21", "Y")]);
    assert_eq!(found.ticks.len(), 2, "{:?}", found.messages);
    // One pass alone, and other points.
    let text = DAY_AHEAD.to_owned() + "11/02/2025,2,A,1,N\n11/02/2025,2,B,2,N\n11/02/2025,2,A,3,Y\n";
    assert_eq!(read("ercot.np4-190.csv", text.as_bytes()).unwrap().ticks.len(), 3);
    every_cut_is_a_part("ercot.np4-190.csv", text.as_bytes(), 1);
}

#[test]
fn a_page_of_ercot_whose_flags_are_all_false_has_no_price_of_the_repeated_hour() {
    let page = r#"{"fields":[{"name":"deliveryDate"},{"name":"hourEnding"},{"name":"settlementPoint"},{"name":"settlementPointPrice"},{"name":"DSTFlag"}],
        "data":[["2025-11-02","01:00","A",1,false],["2025-11-02","02:00","A",2,false],["2025-11-02","02:00","A",3,false],["2025-11-02","03:00","A",4,false]]}"#;
    let found = read("ercot.np4-190.json", page.as_bytes()).unwrap();
    assert_eq!(prices(&found), ["2025-11-02T05:00 1", "2025-11-02T08:00 4"]);
    assert_eq!(found.rejected, ["/data/1: ambiguous_time", "/data/2: ambiguous_time"]);
}

/// Runs of the dispatch have no second in common, so only the step back shows that there are two passes.
#[test]
fn ercots_runs_of_both_passes_with_one_flag_are_ambiguous() {
    let found = |rows: &[(&str, &str)]| {
        let rows = rows
            .iter()
            .map(|(time, flag)| format!("11/01/2026 {time},{flag},HB_NORTH,20\n"));
        let header = "SCEDTimestamp,RepeatedHourFlag,SettlementPoint,LMP\n";
        let text = header.to_owned() + &rows.collect::<String>();
        read("ercot.np6-788.csv", text.as_bytes()).unwrap()
    };
    for flag in ["N", "Y"] {
        let both = ["01:00:10", "01:05:10", "01:55:10", "01:00:12", "01:05:12", "01:55:12"].map(|time| (time, flag));
        let all = found(&[&both[..], &[("02:00:10", "N")]].concat());
        assert_eq!(all.rejected.len(), 6, "{:?}", all.messages);
        assert!(all.rejected.iter().all(|rejected| rejected.ends_with("ambiguous_time")));
        assert!(all.messages[0].contains("RepeatedHourFlag"), "{:?}", all.messages);
        assert_eq!(all.ticks, ["ERCOT.HB_NORTH.RT5 2026-11-01T08:00:10Z 300s 20"]);
    }
    // The second pass first, and both sorted by the printed stamps.
    let stamps = |second: u32| (0..12).map(move |run| format!("01:{:02}:{second}", run * 5));
    let descending: Vec<String> = stamps(12).rev().chain(stamps(10).rev()).collect();
    let sorted: Vec<String> = stamps(10)
        .zip(stamps(12))
        .flat_map(|(one, other)| [one, other])
        .collect();
    for times in [descending, sorted] {
        let rows: Vec<(&str, &str)> = times.iter().map(|time| (time.as_str(), "N")).collect();
        assert_eq!(found(&rows).rejected.len(), 24, "{times:?}");
    }
    let one_pass: Vec<String> = stamps(10).collect();
    let rows: Vec<(&str, &str)> = one_pass.iter().map(|time| (time.as_str(), "N")).collect();
    assert_eq!(found(&rows).rejected, [""; 0]);
    // One pass in descending order, one with an extra run, and both with their flags.
    for rows in [
        [("01:55:10", "N"), ("01:30:10", "N"), ("01:05:10", "N")],
        [("01:00:10", "N"), ("01:00:12", "N"), ("01:55:12", "N")],
        [("01:00:10", "N"), ("01:55:10", "N"), ("01:00:12", "Y")],
    ] {
        assert_eq!(found(&rows).rejected, [""; 0], "{rows:?}");
    }
}

#[test]
fn ercots_quarters_of_both_passes_with_one_flag_are_ambiguous() {
    let row = |(hour, quarter): (u8, u8), price: usize, kind: &str| {
        format!("11/02/2025,{hour},{quarter},LZ_AEN,{kind},{price}.50,N\n")
    };
    let quarters = [
        (1, 4),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
        (2, 1),
        (2, 2),
        (2, 3),
        (2, 4),
        (3, 1),
    ];
    let rows = quarters
        .into_iter()
        .zip(1..)
        .map(|(quarter, price)| row(quarter, price, "LZ"));
    let text = QUARTERS.to_owned() + &rows.collect::<String>() + &row((2, 1), 30, "LZEW");
    let found = read("ercot.np6-905.csv", text.as_bytes()).unwrap();
    assert_eq!(
        prices(&found),
        ["2025-11-02T05:45 1.5", "2025-11-02T08:00 10.5", "2025-11-02T06:00 30.5"]
    );
    assert_eq!(found.rejected.len(), 8);
    assert!(
        found.rejected.iter().all(|row| row.ends_with("ambiguous_time")),
        "{:?}",
        found.messages
    );
}
