//! Documents that are not what their format says: reports that were joined, and prices of other intervals.

use markets::RejectCode;

use crate::common::{Read, read, refused_whole};

const PJM_DA: &str = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_da,total_lmp_da,congestion_price_da,marginal_loss_price_da,row_is_current,version_nbr\n";
const NYISO: &str = "\"Time Stamp\",\"Name\",\"PTID\",\"LBMP ($/MWHr)\",\"Marginal Cost Losses ($/MWHr)\",\"Marginal Cost Congestion ($/MWHr)\"\n";
const MISO: &str = "Node,Type,Value,HE 1,HE 2,HE 3,HE 4,HE 5,HE 6,HE 7,HE 8,HE 9,HE 10,HE 11,HE 12,HE 13,HE 14,HE 15,HE 16,HE 17,HE 18,HE 19,HE 20,HE 21,HE 22,HE 23,HE 24\n";

fn pjm_row(node: &str, price: &str) -> String {
    format!("6/23/2025 4:00:00 AM,6/23/2025 12:00:00 AM,51217,{node},,,HUB,,35.39,{price},0,0,True,1\n")
}

/// Asserts that the ticks are those of the first report, and that each row of the second one is refused with the line where it begins.
fn is_first_report(found: &Read, first: &[String], rows: usize, line: usize) {
    assert_eq!(found.ticks, first);
    assert_eq!(found.rejected.len(), rows, "{:?}", found.messages);
    let begins = format!("line {line}");
    let named = found
        .messages
        .iter()
        .filter(|message| message.contains(&begins))
        .count();
    assert!(named >= rows.min(2), "{:?}", found.messages);
    assert!(
        found
            .messages
            .iter()
            .skip(1)
            .all(|message| message.contains("a document of its own") || message.contains("cells")),
        "{:?}",
        found.messages
    );
}

#[test]
fn rows_behind_a_second_header_are_of_another_report() {
    let day_ahead = PJM_DA.to_owned() + &pjm_row("EASTERN HUB", "33.85") + &pjm_row("WEST INT HUB", "35.82");
    let first = read("pjm.da_hrl_lmps.csv", day_ahead.as_bytes()).unwrap().ticks;
    assert_eq!(first.len(), 2);
    let reordered = "pnode_name,type,total_lmp_rt,datetime_beginning_utc\n".to_owned();
    for header in [
        PJM_DA.to_owned(),
        PJM_DA.replace("_da", "_rt"),
        format!("\u{FEFF}{}", PJM_DA.to_uppercase()),
        reordered,
    ] {
        let text = day_ahead.clone() + &header + &pjm_row("EASTERN HUB", "31.34") + &pjm_row("X HUB", "1");
        let found = read("pjm.da_hrl_lmps.csv", text.as_bytes()).unwrap();
        is_first_report(&found, &first, 3, 4);
    }
    // A row that is damaged, or names a column, does not end the document.
    for odd in ["x\n", "datetime_beginning_utc,1\n", "pnode_name,x,y\n", ",,,,\"\n"] {
        let text = PJM_DA.to_owned() + odd + &pjm_row("EASTERN HUB", "33.85") + &pjm_row("WEST INT HUB", "35.82");
        assert_eq!(
            read("pjm.da_hrl_lmps.csv", text.as_bytes()).unwrap().ticks,
            first,
            "{odd}"
        );
    }
    // The day-ahead and the real-time reports of NYISO have one header.
    let hour = |price| format!("\"07/18/2022 01:00\",\"WEST\",61752,{price},0.00,0.00\n");
    let text = format!("{NYISO}{}{NYISO}{}", hour("50"), hour("999"));
    let found = read("nyiso.damlbmp_zone.csv", text.as_bytes()).unwrap();
    is_first_report(
        &found,
        &["NYISO.WEST.DA 2022-07-18T05:00:00Z 3600s 50 e50 c0 l0".to_owned()],
        2,
        3,
    );
    let settled =
        |day| format!("as_of,curve_id,contract,block,price\n2026-11-{day},PJM.WESTERN HUB,2027-01,flat,40.5\n");
    let text = settled("24") + &settled("25");
    let found = read("curve.settlements.csv", text.as_bytes()).unwrap();
    assert_eq!((found.ticks.len(), found.rejected.len()), (1, 2));
}

#[test]
fn a_second_day_of_miso_is_not_read_as_the_first_one() {
    let report = |date: &str, node: &str, price: &str| {
        let line = |value: &str, price: &str| format!("{node},Hub,{value}{}\n", format!(",{price}").repeat(24));
        format!("Day Ahead Market ExPost LMPs\n{date}\n,,,All Hours-Ending are Eastern Standard Time (EST)\n{MISO}")
            + &line("LMP", price)
            + &line("MLC", "0")
            + &line("MCC", "0")
    };
    let one = report("11/02/2025", "A", "10");
    let first = read("miso.da.expost.csv", one.as_bytes()).unwrap().ticks;
    let text = one + &report("11/03/2025", "B", "20");
    let found = read("miso.da.expost.csv", text.as_bytes()).unwrap();
    assert_eq!(found.ticks, first);
    // Title, date, statement and header, and the three lines of the node.
    assert_eq!(found.rejected.len(), 7, "{:?}", found.messages);
    assert!(found.messages[3].contains("another report begins here"));
    assert!(
        found.messages[4..]
            .iter()
            .all(|message| message.contains("begins in line 11"))
    );
}

#[test]
fn a_second_report_of_isone_is_refused_wherever_it_begins() {
    let names = "\"H\",\"Date\",\"Hour Ending\",\"Location ID\",\"Location Name\",\"Location Type\",\"Locational Marginal Price\",\"Energy Component\",\"Congestion Component\",\"Marginal Loss Component\"\n";
    let types = "\"H\",\"Date\",\"HE\",\"String\",\"String\",\"String\",\"Number\",\"Number\",\"Number\",\"Number\"\n";
    let row = |price: &str| format!("\"D\",\"06/04/2026\",\"01\",\"321\",\"A\",\"NETWORK NODE\",{price},{price},0,0\n");
    let end = "\"T\",\"1 lines\"\n";
    let report = |title: &str, price: &str| {
        format!("\"C\",\"{title} Energy Market Hourly LMP Report\"\n{names}{types}") + &row(price) + end
    };
    let first = report("Day-Ahead", "47.19");
    let format = "isone.da_lmp.csv";
    let ticks = read(format, first.as_bytes()).unwrap().ticks;
    assert_eq!(ticks.len(), 1);
    for (second, line) in [
        (report("Real-Time", "34.49"), 6),
        (names.to_owned() + &row("34.49") + end, 6),
        (row("34.49"), 6),
    ] {
        let found = read(format, (first.clone() + &second).as_bytes()).unwrap();
        assert_eq!(found.ticks, ticks, "{second}");
        assert_eq!(found.rejected.len(), 1);
        assert!(
            found.messages[0].contains(&format!("in line {line}")) || found.messages[0].contains("begins here"),
            "{:?}",
            found.messages
        );
    }
    // Without the trailer between them.
    let text = first.replace(end, "") + &report("Real-Time", "34.49");
    let found = read(format, text.as_bytes()).unwrap();
    assert_eq!(found.ticks, ticks);
    assert!(found.messages[0].contains("begins in line 5"), "{:?}", found.messages);
    assert_eq!(found.rejected.len(), 2, "the row, and the trailer that is missing");
}

/// A document of each format with stamps this many minutes apart, in which only the stamps tell hours from minutes.
fn documents(minutes: usize, rows: usize) -> Vec<(&'static str, bool, String)> {
    let stamps: Vec<(usize, usize, usize)> = (0..rows)
        .map(|row| row * minutes)
        .map(|minute| (minute / 1_440 + 1, minute / 60 % 24, minute % 60))
        .collect();
    let rows = |row: &dyn Fn(&(usize, usize, usize)) -> String| stamps.iter().map(row).collect::<String>();
    let nyiso = NYISO.to_owned()
        + &rows(&|(day, hour, minute)| format!("07/{day:02}/2022 {hour:02}:{minute:02},WEST,61752,63.02,0.00,0.00\n"));
    let pjm = |kind: &str| {
        let header = "datetime_beginning_utc,pnode_id,pnode_name,type,total_lmp,congestion_price,marginal_loss_price\n";
        let names = ["total_lmp", "congestion_price", "marginal_loss_price"];
        let header = names.iter().fold(header.to_owned(), |text, name| {
            text.replace(name, &format!("{name}_{kind}"))
        });
        header
            + &rows(&|(day, hour, minute)| format!("2025-07-{day:02}T{hour:02}:{minute:02}:00,1,PJM-RTO,ZONE,20,0,0\n"))
    };
    let page = |kind: &str| {
        let items = rows(&|(day, hour, minute)| {
            format!(
                "{{\"datetime_beginning_utc\":\"2025-07-{day:02}T{hour:02}:{minute:02}:00\",\"pnode_id\":1,\"pnode_name\":\"PJM-RTO\",\"type\":\"ZONE\",\"total_lmp_{kind}\":20,\"congestion_price_{kind}\":0,\"marginal_loss_price_{kind}\":0}},"
            )
        });
        format!("{{\"items\":[{}]}}", items.trim_end_matches(','))
    };
    let spp = "Interval,GMTIntervalEnd,Settlement Location,Pnode,LMP,MLC,MCC,MEC\n".to_owned()
        + &rows(&|(day, hour, minute)| {
            format!("2026-07-{day:02}T{hour:02}:{minute:02}:00,2026-07-{day:02}T{hour:02}:{minute:02}:00,A,A,1,0,0,1\n")
        });
    let isone = rows(&|(day, hour, minute)| {
        format!(
            "{{\"BeginDate\":\"2025-07-{day:02}T{hour:02}:{minute:02}:00.000-04:00\",\"Location\":\"A\",\"LmpTotal\":1,\"EnergyComponent\":1,\"CongestionComponent\":0,\"LossComponent\":0}},"
        )
    });
    let miso = rows(&|(day, hour, minute)| {
        format!("[\"2026-07-{day:02}T{hour:02}:{minute:02}:00\",\"A\",\"1\",\"0\",\"0\"],")
    });
    vec![
        ("nyiso.rtlbmp_zone.csv", true, nyiso.clone()),
        ("nyiso.damlbmp_zone.csv", true, nyiso.clone()),
        ("nyiso.realtime_zone.csv", false, nyiso),
        ("pjm.rt_hrl_lmps.csv", true, pjm("rt")),
        ("pjm.da_hrl_lmps.csv", true, pjm("da")),
        ("pjm.rt_fivemin_hrl_lmps.csv", false, pjm("rt")),
        ("pjm.rt_hrl_lmps.csv", true, page("rt")),
        ("pjm.rt_fivemin_hrl_lmps.csv", false, page("rt")),
        ("spp.da_lmp_sl.csv", true, spp),
        (
            "isone.ws_hourlylmp.json",
            true,
            format!("{{\"HourlyLmps\":{{\"HourlyLmp\":[{}]}}}}", isone.trim_end_matches(',')),
        ),
        (
            "miso.rt5.expost.json",
            false,
            format!(
                "{{\"headers\":[\"INTERVAL\",\"CPNODE\",\"LMP\",\"MLC\",\"MCC\"],\"data\":[{}]}}",
                miso.trim_end_matches(',')
            ),
        ),
    ]
}

#[test]
fn prices_of_minutes_are_no_hours_and_hours_are_no_minutes() {
    for rows in [2, 24, 600] {
        for (format, is_hourly, text) in documents(5, rows) {
            match is_hourly {
                true => refused_whole(format, text.as_bytes(), RejectCode::SchemaViolation, "those of minutes"),
                false => assert!(read(format, text.as_bytes()).unwrap().rejected.is_empty(), "{format}"),
            }
        }
        for (format, is_hourly, text) in documents(60, rows) {
            match is_hourly {
                true => _ = read(format, text.as_bytes()).unwrap_or_else(|error| panic!("{format}: {error}")),
                false => refused_whole(format, text.as_bytes(), RejectCode::SchemaViolation, "those of hours"),
            }
        }
    }
    // One stamp alone may be of either.
    for (format, _, text) in documents(60, 1) {
        assert!(read(format, text.as_bytes()).is_ok(), "{format}");
    }
}
