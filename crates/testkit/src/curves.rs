//! Curves of the load, and what their snapshots must contain, by naive arithmetic.
//!
//! A snapshot of time T has of each instrument the newest quote with a log clock before T, by trade date, vintage, event time (midnight in
//! the market's zone states only the date, and ranks last), the producer's sequence and the position in the raw log. The log clock of a quote is that of its enriched partition when it came, as in [`crate::bars`], so it follows from
//! the log and not from the stage. Two things depend on the clock of the stage's own partition, which is moved by records of every
//! enriched partition, in an order that nobody stored:
//! - whether a snapshot is sent yet. It must be if an enriched partition with a quote of its interval has reached T, because the stage is then told;
//!   otherwise it may be;
//! - whether a quote came after the hold time. A snapshot that is older than the hold time may have what came late, or not.
//!
//! The contracts of the load are independent of each other, so every quote must reprice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::bars::Placed;
use crate::expect::{certainty, order};
use crate::parse::Tick;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The hold time and the maximum age of the services' defaults.
const HOLD: i64 = DAY;
const MAX_AGE: i64 = 7 * DAY;
/// The setting of the interval.
pub const SETTING: &str = "AGGREGATION_CURVES_INTERVAL_S";
/// Its value in seconds, so that a run of minutes has many snapshots.
pub const INTERVAL_S: i64 = 10;
/// The product of a quote.
pub const PRODUCT: &str = "settlement";
/// The tenant of the curves.
pub const TENANT: &str = "default";
/// Hours of a working day that are on-peak in both markets.
const PEAK_HOURS: i64 = 16;

/// A curve of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Curve {
    pub name: &'static str,
    pub market: &'static str,
    pub zone: &'static str,
    pub region: &'static str,
    pub method: &'static str,
}

/// The curves whose quotes are in the load.
pub const OF_THE_LOAD: [Curve; 2] = [
    Curve {
        name: "F_PJM",
        market: "PJM",
        zone: "America/New_York",
        region: "northeast",
        method: "smooth",
    },
    Curve {
        name: "F_ERCOT",
        market: "ERCOT",
        zone: "America/Chicago",
        region: "texas",
        method: "linear",
    },
];

/// The statement that makes these curves known.
pub fn statement(all: &[Curve]) -> String {
    let mut sql =
        "INSERT INTO taxonomy_commodities (commodity) VALUES ('electricity') ON CONFLICT DO NOTHING; ".to_owned();
    for Curve {
        name,
        market,
        region,
        method,
        ..
    } in all
    {
        sql += &format!(
            "INSERT INTO taxonomy_regions (region) VALUES ('{region}') ON CONFLICT DO NOTHING; \
             INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, interpolation_method, instruments) \
             VALUES ('{TENANT}', '{name}', '{name}', 'electricity', '{region}', '{method}', '{{{market}.FAULT.*.SETTLEMENT}}') \
             ON CONFLICT DO NOTHING; "
        );
    }
    sql
}

/// The contracts of a curve that are quoted in a year, as contract and block. They are of the next two years, so that no delivery
/// begins during a run, and no contract follows from others, also not together with those of the year before.
pub fn contracts(year: i16) -> [(String, &'static str); 7] {
    let next = year + 1;
    let short = next % 100;
    [
        (format!("{next}-02"), "flat"),
        (format!("{next}-05"), "flat"),
        (format!("{next}-08"), "flat"),
        (format!("Q3-{short:02}"), "flat"),
        (format!("Q3-{short:02}"), "peak"),
        (format!("Q4-{short:02}"), "off_peak"),
        (format!("CAL-{:02}", short + 1), "flat"),
    ]
}

/// The instrument of a contract.
pub fn instrument(curve: &Curve, contract: &str, block: &str) -> String {
    format!("{}.FAULT.{contract}.{}.SETTLEMENT", curve.market, block.to_uppercase())
}

/// A quote of a snapshot: contract, block, price at scale 8, origin and event time.
pub type Input = (String, String, i128, String, i64);

/// What a snapshot must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Origin of the newest quote of its interval, by clock.
    pub origin: String,
    /// Its quotes.
    pub inputs: BTreeSet<Input>,
    /// Whether the stage has been told that its time is over.
    pub must_exist: bool,
    /// Whether the hold time is not over, so that the quotes are certain.
    pub is_certain: bool,
}

/// What the snapshots of a curve must be, by their time. `last_clock` is the largest clock of the log.
pub fn wanted(curve: &Curve, quotes: &[Placed<'_>], last_clock: i64) -> anyhow::Result<BTreeMap<i64, Wanted>> {
    let zone = TimeZone::get(curve.zone)?;
    let interval = INTERVAL_S * SECOND;
    let mut by_end: BTreeMap<i64, Vec<&Placed<'_>>> = BTreeMap::new();
    for quote in quotes {
        let end = (quote.clock.div_euclid(interval) + 1) * interval;
        by_end.entry(end).or_default().push(quote);
    }
    let mut newest: BTreeMap<&str, &Placed<'_>> = BTreeMap::new();
    let mut snapshots = BTreeMap::new();
    for (end, of_interval) in by_end {
        for &quote in &of_interval {
            let known = newest.entry(&quote.tick.instrument).or_insert(quote);
            if rank(&zone, quote.tick)? > rank(&zone, known.tick)? {
                *known = quote;
            }
        }
        let counts = |quote: &&&Placed<'_>| quote.clock >= end - MAX_AGE;
        let is_certain = end >= last_clock - HOLD;
        let inputs = newest.values().filter(counts).map(|quote| input(quote.tick));
        let last = of_interval.iter().max_by_key(|quote| (quote.clock, place(quote.tick)));
        snapshots.insert(
            end,
            Wanted {
                origin: last
                    .map(|quote| origin(quote.tick))
                    .context("an interval without a quote")?,
                inputs: inputs.collect::<anyhow::Result<_>>()?,
                must_exist: is_certain && of_interval.iter().any(|quote| quote.last_clock >= end),
                is_certain,
            },
        );
    }
    Ok(snapshots)
}

/// Which quote of an instrument is newer.
fn rank<'t>(zone: &TimeZone, tick: &'t Tick) -> anyhow::Result<impl Ord + use<'t>> {
    let day = Timestamp::from_microsecond(tick.time)?.to_zoned(zone.clone()).date();
    let is_dated = midnight(zone, day)? == tick.time;
    Ok((day, certainty(tick), is_dated, tick.time, order(tick)))
}

fn place(tick: &Tick) -> (&str, i32, i64, i32) {
    (&tick.feed, tick.partition, tick.offset, tick.index)
}

fn origin(tick: &Tick) -> String {
    let (feed, partition, offset, index) = place(tick);
    format!("{feed}/{partition}/{offset}/{index}")
}

fn input(tick: &Tick) -> anyhow::Result<Input> {
    let parts: Vec<&str> = tick.instrument.split('.').collect();
    let [_, _, contract, block, _] = parts[..] else {
        bail!("{} names no contract", tick.instrument);
    };
    let contract = contract.to_owned();
    Ok((contract, block.to_lowercase(), tick.price, origin(tick), tick.time))
}

/// A point: contract, block, price, and start and end of its delivery in microseconds.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Point {
    pub contract: String,
    pub block: String,
    pub price: f64,
    pub delivery: (i64, i64),
}

/// Horizons, with the number of months after the current one that they reach; that of `None` is the last quoted one.
pub const HORIZONS: [(&str, Option<i32>); 5] = [
    ("1m", Some(1)),
    ("3m", Some(3)),
    ("6m", Some(6)),
    ("1y", Some(12)),
    ("all", None),
];

/// The days of a contract: the first, and the one after the last.
fn days(contract: &str) -> anyhow::Result<(Date, Date)> {
    let (first, second) = contract.split_once('-').context("a contract has two parts")?;
    let (year, month, months) = match first {
        "CAL" => (2000 + second.parse::<i16>()?, 1, 12),
        "Q1" | "Q2" | "Q3" | "Q4" => (2000 + second.parse::<i16>()?, first[1..].parse::<i8>()? * 3 - 2, 3),
        year => (year.parse()?, second.parse()?, 1),
    };
    let start = Date::new(year, month, 1)?;
    Ok((start, start.checked_add(Span::new().months(months))?))
}

fn midnight(zone: &TimeZone, day: Date) -> anyhow::Result<i64> {
    Ok(day.to_zoned(zone.clone())?.timestamp().as_microsecond())
}

/// Whether power has no on-peak hours on this day.
fn is_rest_day(day: Date) -> anyhow::Result<bool> {
    let year = day.year();
    let month = |month: i8| Date::new(year, month, 1);
    let mut holidays = vec![
        month(5)?.nth_weekday_of_month(-1, Weekday::Monday)?,
        month(9)?.nth_weekday_of_month(1, Weekday::Monday)?,
        month(11)?.nth_weekday_of_month(4, Weekday::Thursday)?,
    ];
    for (month, of_month) in [(1, 1), (7, 4), (12, 25)] {
        let day = Date::new(year, month, of_month)?;
        holidays.push(match day.weekday() {
            Weekday::Sunday => day.tomorrow()?,
            _ => day,
        });
    }
    let is_weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
    Ok(is_weekend || holidays.contains(&day))
}

/// Delivered hours from the first day to the one before `end`.
fn hours(zone: &TimeZone, (first, end): (Date, Date), block: &str) -> anyhow::Result<i64> {
    let all = (midnight(zone, end)? - midnight(zone, first)?) / (3600 * SECOND);
    let mut peak = 0;
    for day in first.series(Span::new().days(1)).take_while(|day| *day < end) {
        peak += if is_rest_day(day)? { 0 } else { PEAK_HOURS };
    }
    match block {
        "flat" => Ok(all),
        "peak" => Ok(peak),
        "off_peak" => Ok(all - peak),
        _ => bail!("there is no block {block}"),
    }
}

/// What is wrong with the points of the whole curve: every quote must be the mean of the points of its contract, by delivered hours.
pub fn flaws_of_prices(curve: &Curve, inputs: &BTreeSet<Input>, points: &[Point]) -> anyhow::Result<Vec<String>> {
    let zone = TimeZone::get(curve.zone)?;
    let mut flaws = Vec::new();
    let mut months = Vec::new();
    // What is left of the current month is in no contract of the load.
    for point in points.iter().filter(|point| point.contract != "BALMO") {
        let (first, end) = days(&point.contract)?;
        if point.delivery != (midnight(&zone, first)?, midnight(&zone, end)?) {
            flaws.push(format!("{point:?} is not a month of {}", curve.zone));
        }
        months.push((first, end, point, hours(&zone, (first, end), &point.block)?));
    }
    for (contract, block, price, ..) in inputs {
        let (first, end) = days(contract)?;
        let (mut sum, mut weight) = (0.0, 0);
        for (from, until, point, hours) in &months {
            if point.block == *block && *from >= first && *until <= end {
                sum += point.price * *hours as f64;
                weight += hours;
            }
        }
        let delivered = hours(&zone, (first, end), block)?;
        if weight != delivered {
            flaws.push(format!(
                "{contract} {block}: points of {weight} instead of {delivered} hours"
            ));
            continue;
        }
        let (mean, price) = (sum / weight as f64, *price as f64 / 1e8);
        if (mean - price).abs() > 1e-8 || mean.is_nan() {
            flaws.push(format!("{contract} {block}: the mean is {mean} instead of {price}"));
        }
    }
    Ok(flaws)
}

/// What is wrong with the points of a horizon beside those of the whole curve: where both reach, they must be equal, and they must end where the
/// horizon does.
pub fn flaws_of_horizon(
    curve: &Curve,
    months: Option<i32>,
    inputs: &BTreeSet<Input>,
    (points, whole): (&[Point], &[Point]),
) -> anyhow::Result<Vec<String>> {
    let zone = TimeZone::get(curve.zone)?;
    let last = inputs.iter().map(|(.., time)| *time).max().context("no quotes")?;
    let ends: Vec<Date> = inputs
        .iter()
        .map(|(contract, ..)| Ok(days(contract)?.1))
        .collect::<anyhow::Result<_>>()?;
    let until = match months {
        Some(months) => {
            let today = Timestamp::from_microsecond(last)?.to_zoned(zone.clone()).date();
            today.first_of_month().checked_add(Span::new().months(months + 1))?
        }
        None => ends.into_iter().max().context("no quotes")?,
    };
    let mut flaws = Vec::new();
    if points.last().map(|point| point.delivery.1) != Some(midnight(&zone, until)?) {
        flaws.push(format!("it ends with {:?} instead of before {until}", points.last()));
    }
    if let Some((one, other)) = points.iter().zip(whole).find(|(one, other)| one != other) {
        flaws.push(format!("{one:?}, but the whole curve has {other:?}"));
    }
    Ok(flaws)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_that_the_markets_publish() {
        // Counted by hand: sixteen hours for each weekday that is no holiday; clocks change in March and November.
        for (month, flat, peak) in [
            ("2026-01", 744, 336),
            ("2026-03", 743, 352),
            ("2026-07", 744, 368),
            ("2026-11", 721, 320),
            ("2028-02", 696, 336),
            ("2027-07", 744, 336),
        ] {
            for zone in ["America/New_York", "America/Chicago"] {
                let zone = TimeZone::get(zone).unwrap();
                let of = |block| hours(&zone, days(month).unwrap(), block).unwrap();
                assert_eq!((of("flat"), of("peak")), (flat, peak), "{month}");
                assert_eq!(of("off_peak"), flat - peak);
            }
        }
        assert_eq!(
            days("Q4-27").unwrap(),
            (jiff::civil::date(2027, 10, 1), jiff::civil::date(2028, 1, 1))
        );
        assert_eq!(days("CAL-28").unwrap().1, jiff::civil::date(2029, 1, 1));
    }
}
