//! Hand-made documents of each market that publishes fine prices and an hourly report: their stamps are read so that the mean of the fine
//! prices is the hourly price, and not if a stamp were read as the other end of its interval. (The real documents next to the project
//! have no market with both reports of one hour.)

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::{Decimal, Micros};
use markets::hourly::{Compared, Comparison, HOURLY, Hour, pairs};

use crate::common::{document, normalizer};

const HOUR: Micros = 3_600_000_000;
/// Prices of two hours in steps of five minutes; a price moves by at least 1 from one step to the next.
const FINE: [i64; 24] = [
    20, 22, 25, 21, 30, 45, 44, 40, 38, 35, 31, 33, 90, 80, 70, 75, 60, 55, 50, 45, 41, 40, 42, 44,
];

/// The mean of the prices of an hour, with six decimals.
fn mean(hour: usize) -> String {
    let sum: i64 = FINE.iter().skip(hour * 12).take(12).sum();
    let millionths = sum * 1_000_000 / 12;
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

/// `HH:MM` of a minute of the day.
fn clock(minute: usize) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// `offset` moves the stamps of the fine prices by five minutes.
struct Documents {
    market: &'static str,
    fine: (&'static str, fn(offset: usize) -> String),
    hourly: (&'static str, fn() -> String),
}

const DOCUMENTS: [Documents; 3] = [
    Documents {
        market: "MISO",
        fine: ("miso.rt5.expost.json", |offset| {
            let row = |(step, price): (usize, &i64)| {
                let end = clock((step + 1 + offset) * 5);
                format!(r#"["2026-09-26T{end}:00","MINN.HUB","{price}.00","1.00","2.00"]"#)
            };
            let rows: Vec<String> = FINE.iter().enumerate().map(row).collect();
            format!(
                r#"{{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[{}]}}"#,
                rows.join(",")
            )
        }),
        hourly: ("miso.rt_lmp.csv", || {
            let mut text = "Real Time Market LMPs (Final)\n09/26/2026\n,,,All Hours-Ending are Eastern Standard Time (EST)\nNode,Type,Value".to_owned();
            (1..=24).for_each(|hour| _ = write!(text, ",HE {hour}"));
            for (value, first, rest) in [
                ("LMP", [mean(0), mean(1)], "7.00"),
                ("MCC", ["2.00".into(), "2.00".into()], "2.00"),
                ("MLC", ["1.00".into(), "1.00".into()], "1.00"),
            ] {
                _ = write!(
                    text,
                    "\nMINN.HUB,Hub,{value},{},{}{}",
                    first[0],
                    first[1],
                    format!(",{rest}").repeat(22)
                );
            }
            text + "\n"
        }),
    },
    Documents {
        market: "PJM",
        fine: ("pjm.rt_fivemin_hrl_lmps.csv", |offset| {
            pjm(FINE
                .iter()
                .enumerate()
                .map(|(step, price)| (240 + (step + offset) * 5, format!("{price}.000000"))))
        }),
        hourly: ("pjm.rt_hrl_lmps.csv", || {
            pjm((0..2).map(|hour| (240 + hour * 60, mean(hour))))
        }),
    },
    Documents {
        market: "NYISO",
        fine: ("nyiso.realtime_zone.csv", |offset| {
            // An additional run cuts the seventh interval: its price holds for 84 of the 300 seconds, and the rest has another one of
            // the same mean.
            let stamps = FINE.iter().enumerate().flat_map(|(step, price)| {
                let end = (step + 1 + offset) * 5;
                let stamp = format!("{}:00", clock(end));
                match step {
                    6 => vec![(format!("{}:24", clock(end - 4)), price + 18), (stamp, price - 7)],
                    _ => vec![(stamp, *price)],
                }
            });
            nyiso(stamps.map(|(stamp, price)| (stamp, price.to_string())))
        }),
        hourly: ("nyiso.rtlbmp_zone.csv", || {
            nyiso((0..2).map(|hour| (clock(hour * 60), mean(hour))))
        }),
    },
];

/// `minute` is counted in UTC; Eastern prevailing time is four hours behind.
fn pjm(rows: impl Iterator<Item = (usize, String)>) -> String {
    let mut text = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_rt,\
        total_lmp_rt,congestion_price_rt,marginal_loss_price_rt,row_is_current,version_nbr\n"
        .to_owned();
    for (minute, price) in rows {
        let (utc, local) = (clock(minute), clock(minute - 240));
        _ = writeln!(
            text,
            "9/26/2026 {utc}:00,9/26/2026 {local}:00,51288,WESTERN HUB,,,HUB,,{price},{price},0,0,True,1"
        );
    }
    text
}

fn nyiso(rows: impl Iterator<Item = (String, String)>) -> String {
    let mut text =
        "\"Time Stamp\",\"Name\",\"PTID\",\"LBMP ($/MWHr)\",\"Marginal Cost Losses ($/MWHr)\",\"Marginal Cost Congestion ($/MWHr)\"\n".to_owned();
    for (stamp, price) in rows {
        _ = writeln!(text, "\"09/26/2026 {stamp}\",\"WEST\",61752,{price},0.00,0.00");
    }
    text
}

/// Compares the documents of a market. Hours without an hourly price are left out, as in the statement of `dp check-market`.
fn compared(documents: &Documents, offset: usize) -> Compared {
    let mut hours: BTreeMap<(String, Micros), (Option<Decimal>, i128, Micros)> = BTreeMap::new();
    for (format, text) in [
        (documents.fine.0, (documents.fine.1)(offset)),
        (documents.hourly.0, (documents.hourly.1)()),
    ] {
        let outcome = normalizer().normalize(&document(format, text.as_bytes()), 5, &mut |tick| {
            assert_eq!(tick.market, documents.market);
            let node = tick.instrument_id.rsplit_once('.').unwrap().0;
            let hour = hours
                .entry((node.to_owned(), tick.event_time.div_euclid(HOUR) * HOUR))
                .or_default();
            if tick.product == HOURLY {
                hour.0 = Some(tick.price);
            } else {
                let length = tick.interval_end.unwrap() - tick.event_time;
                hour.1 += i128::from(tick.price.unscaled()) * i128::from(length);
                hour.2 += length;
            }
        });
        assert!(outcome.unwrap().rejected.is_empty(), "{format}");
    }
    // Ten rounded fine prices and the rounded hourly one.
    let mut comparison = Comparison::new(Decimal::parse(b"0.02").unwrap(), 5);
    for ((node, start), (hourly, weighted, covered)) in hours {
        if let (Some(hourly), true) = (hourly, covered > 0) {
            comparison.add(&Hour {
                node,
                start,
                hourly,
                weighted,
                covered,
            });
        }
    }
    comparison.found()
}

#[test]
fn the_stamps_of_each_market_make_the_mean_of_an_hour() {
    let markets: Vec<&str> = DOCUMENTS.iter().map(|documents| documents.market).collect();
    assert_eq!(markets, pairs().map(|(market, _)| market).collect::<Vec<_>>());
    for documents in &DOCUMENTS {
        let found = compared(documents, 0);
        assert_eq!(
            (found.compared, found.differing, found.partial),
            (2, 0, 0),
            "{}: {found:?}",
            documents.market
        );
    }
}

#[test]
fn a_stamp_read_as_the_other_end_of_its_interval_is_found() {
    for documents in &DOCUMENTS {
        let found = compared(documents, 1);
        // The first hour lacks its first interval; the second one has the last price of the first.
        assert_eq!(
            (found.compared, found.differing),
            (1, 1),
            "{}: {found:?}",
            documents.market
        );
        assert!(found.partial > 0, "{}: {found:?}", documents.market);
        let worst = found.worst.first().unwrap();
        assert!(worst.difference.starts_with("0.9166"), "{worst:?}");
    }
}
