//! Documents of days on which clocks go forward, and of years before 2007, whose clocks changed in April and October; written by hand.

use crate::common::{every_cut_is_a_part, read};

#[test]
fn the_day_of_caiso_on_which_clocks_go_forward_has_23_hours_without_hour_three() {
    let format = "caiso.prc_lmp.csv";
    // Hour 1 begins at 08:00 UTC; behind hour 2 follows hour 4.
    let time = |hours: u32| format!("2026-03-{:02}T{:02}:00:00", 8 + hours / 24, hours % 24);
    let rows = (0..23).flat_map(|hour| {
        let (start, end) = (time(8 + hour), time(9 + hour));
        let printed = if hour < 2 { hour + 1 } else { hour + 2 };
        let prices = [("LMP", 20 + hour), ("MCE", 19 + hour), ("MCC", 1), ("MCL", 0)];
        prices.map(|(kind, price)| {
            format!("{start}-00:00,{end}-00:00,2026-03-08,{printed},TH_NP15_GEN-APND,DAM,{kind},{price}\n")
        })
    });
    let header = "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,NODE,MARKET_RUN_ID,LMP_TYPE,MW\n";
    let text = header.to_owned() + &rows.collect::<String>();
    let found = read(format, text.as_bytes()).unwrap();
    let expected: Vec<String> = (0..23)
        .map(|hour| {
            let (price, energy) = (20 + hour, 19 + hour);
            format!(
                "CAISO.TH_NP15_GEN-APND.DA {}Z 3600s {price} e{energy} c1 l0",
                time(8 + hour)
            )
        })
        .collect();
    assert_eq!(found.ticks, expected);
    assert!(found.rejected.is_empty(), "{:?}", found.messages);
    // Hour 3 does not exist, hour 25 neither.
    for wrong in ["3", "25"] {
        let text = text.replace("2026-03-08,4,", &format!("2026-03-08,{wrong},"));
        let found = read(format, text.as_bytes()).unwrap();
        assert_eq!(found.ticks.len(), 22, "{wrong}");
        assert!(!found.ticks.contains(&expected[2]), "{wrong}");
        assert!(
            !found.rejected.is_empty() && found.rejected.iter().all(|row| row.ends_with("invalid_time")),
            "{wrong}: {:?}",
            found.messages
        );
    }
}

#[test]
fn the_day_of_spp_on_which_clocks_go_forward_has_23_hours_without_two_o_clock() {
    let format = "spp.da_lmp_sl.csv";
    let stamp = |hours: u32| format!("03/{:02}/2026 {:02}:00:00", 8 + hours / 24, hours % 24);
    // Both stamps are the end: the first hour ends at 07:00 UTC, which is 01:00; the next one at 03:00.
    let row = |hour: u32| {
        let local = if hour == 0 { 1 } else { hour + 2 };
        let price = 20 + hour;
        format!("{},{},A,P,{price},0,0,{price}\n", stamp(local), stamp(7 + hour))
    };
    let header = "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n";
    let text = header.to_owned() + &(0..23).map(row).collect::<String>();
    let found = read(format, text.as_bytes()).unwrap();
    let expected: Vec<String> = (0..23)
        .map(|hour| {
            let (day, start, price) = (8 + (6 + hour) / 24, (6 + hour) % 24, 20 + hour);
            format!("SPP.A.DA 2026-03-{day:02}T{start:02}:00:00Z 3600s {price} e{price} c0 l0")
        })
        .collect();
    assert_eq!(found.ticks, expected);
    assert!(found.rejected.is_empty(), "{:?}", found.messages);
    // A row as if the clock had not changed.
    let text = text.replace(
        &format!("{},{}", stamp(4), stamp(9)),
        &format!("{},{}", stamp(3), stamp(9)),
    );
    let found = read(format, text.as_bytes()).unwrap();
    assert_eq!(
        (found.ticks.len(), found.rejected),
        (22, vec!["line 4: invalid_time".to_owned()])
    );
    every_cut_is_a_part(format, text.as_bytes(), 97);
}

const NYISO: &str = "\"Time Stamp\",\"Name\",\"PTID\",\"LBMP ($/MWHr)\",\"Marginal Cost Losses ($/MWHr)\",\"Marginal Cost Congestion ($/MWHr)\"\n";

/// The stamps as rows of one zone with prices from 50 on.
fn new_york(stamps: &[&str]) -> String {
    let rows = stamps
        .iter()
        .zip(50..)
        .map(|(stamp, price)| format!("\"{stamp}\",\"WEST\",61752,{price}.00,2.00,0.00\n"));
    NYISO.to_owned() + &rows.collect::<String>()
}

#[test]
fn hours_of_new_york_before_2007_follow_the_rules_of_their_year() {
    // Clocks went back on the last Sunday of October and forward on the first one of April.
    let text = new_york(&[
        "10/30/2005 00:00",
        "10/30/2005 01:00",
        "10/30/2005 01:00",
        "10/30/2005 02:00",
        "11/01/2005 12:00",
        "03/20/2006 12:00",
        "04/02/2006 01:00",
        "04/02/2006 02:00",
        "04/02/2006 03:00",
        "04/10/2006 12:00",
    ]);
    let starts = [
        "2005-10-30T04:00:00Z",
        "2005-10-30T05:00:00Z",
        "2005-10-30T06:00:00Z",
        "2005-10-30T07:00:00Z",
        // Daylight time by the rules since 2007, but not by those of the time.
        "2005-11-01T17:00:00Z",
        "2006-03-20T17:00:00Z",
        "2006-04-02T06:00:00Z",
        "2006-04-02T07:00:00Z",
        "2006-04-10T16:00:00Z",
    ];
    let prices = [50, 51, 52, 53, 54, 55, 56, 58, 59];
    for (format, product) in [("nyiso.damlbmp_zone.csv", "DA"), ("nyiso.rtlbmp_zone.csv", "RTH")] {
        let found = read(format, text.as_bytes()).unwrap();
        let expected: Vec<String> = starts
            .iter()
            .zip(prices)
            .map(|(start, price)| format!("NYISO.WEST.{product} {start} 3600s {price} e{} c0 l2", price - 2))
            .collect();
        assert_eq!(found.ticks, expected);
        assert_eq!(found.rejected, ["line 9: invalid_time"], "{:?}", found.messages);
    }
}

#[test]
fn five_minutes_of_new_york_before_2007_have_both_passes_of_october() {
    let text = new_york(&[
        "10/29/2006 00:55:00",
        "10/29/2006 01:00:00",
        "10/29/2006 01:05:00",
        "10/29/2006 01:55:00",
        "10/29/2006 01:00:00",
        "10/29/2006 01:05:00",
        "10/29/2006 01:55:00",
        "10/29/2006 02:00:00",
    ]);
    let found = read("nyiso.realtime_zone.csv", text.as_bytes()).unwrap();
    assert!(found.rejected.is_empty(), "{:?}", found.messages);
    // The stamp is the end.
    let starts = ["04:50", "04:55", "05:00", "05:50", "05:55", "06:00", "06:50", "06:55"];
    let expected: Vec<String> = starts
        .iter()
        .zip(50..)
        .map(|(start, price)| {
            format!(
                "NYISO.WEST.RT5 2006-10-29T{start}:00Z 300s {price} e{} c0 l2",
                price - 2
            )
        })
        .collect();
    assert_eq!(found.ticks, expected);
}

#[test]
fn stamps_of_pjm_before_2007_agree_by_the_rules_of_their_year() {
    let header = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_rt,total_lmp_rt,congestion_price_rt,marginal_loss_price_rt,row_is_current,version_nbr\n";
    let rows = [
        ("10/29/2006 5:00:00 AM", "10/29/2006 1:00:00 AM", Some("2006-10-29T05")),
        ("10/29/2006 6:00:00 AM", "10/29/2006 1:00:00 AM", Some("2006-10-29T06")),
        ("10/29/2006 7:00:00 AM", "10/29/2006 2:00:00 AM", Some("2006-10-29T07")),
        ("4/2/2006 6:00:00 AM", "4/2/2006 1:00:00 AM", Some("2006-04-02T06")),
        ("4/2/2006 7:00:00 AM", "4/2/2006 3:00:00 AM", Some("2006-04-02T07")),
        ("3/20/2006 5:00:00 PM", "3/20/2006 12:00:00 PM", Some("2006-03-20T17")),
        ("11/1/2006 5:00:00 PM", "11/1/2006 12:00:00 PM", Some("2006-11-01T17")),
        // By the rules since 2007.
        ("3/20/2006 4:00:00 PM", "3/20/2006 12:00:00 PM", None),
        ("11/1/2006 4:00:00 PM", "11/1/2006 12:00:00 PM", None),
        ("4/2/2006 7:00:00 AM", "4/2/2006 2:00:00 AM", None),
    ];
    let text = rows
        .iter()
        .map(|(utc, local, _)| format!("{utc},{local},51288,WESTERN HUB,,,HUB,,42.42,42.37,0,-0.05,True,1\n"));
    let text = header.to_owned() + &text.collect::<String>();
    let found = read("pjm.rt_hrl_lmps.csv", text.as_bytes()).unwrap();
    let expected: Vec<String> = rows
        .iter()
        .filter_map(|(.., start)| *start)
        .map(|start| format!("PJM.WESTERN%20HUB.RTH {start}:00:00Z 3600s 42.37 e42.42 c0 l-0.05 v:verified.1"))
        .collect();
    assert_eq!(found.ticks, expected);
    let rejected = ["line 9: invalid_time", "line 10: invalid_time", "line 11: invalid_time"];
    assert_eq!(found.rejected, rejected, "{:?}", found.messages);
}
