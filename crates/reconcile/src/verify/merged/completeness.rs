//! Compares the view of completeness with the intervals that have a price in `market_ticks`.
//!
//! Role: the days and their lengths are those of the local clock (`calendar`), the lengths of intervals those of the products; the server only counts the intervals
//! of each hour. Of the counts of the view, `expected`, `present` and `present_whole` are compared: those of instruments and prices need all pairs in memory.
//! Invariant: a day is wrong only if its intervals were the same before and after the view was read.
//! Failure: a view that cannot be read is an error; a difference never is.

use std::collections::BTreeMap;

use anyhow::Context as _;
use domain::{Micros, Product};
use ops::present::iso;
use ops::rows::{number, text};
use serde::Deserialize;
use service::Names;
use service::writer::tables::MARKET_TICKS;
use stores::ClickHouse;
use stores::clickhouse::{Merged, literal};

use super::calendar::{Calendars, HOUR};
use super::parsed::parsed;
use crate::verify::report::{Check, Differences, Subject};

/// The compared counts.
const COUNTS: [&str; 3] = ["expected", "present", "present_whole"];

/// A market day of a product.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Day {
    tenant: String,
    market: String,
    product: String,
    /// Midnight in UTC of its date.
    time: Micros,
}

impl Day {
    fn shown(&self) -> String {
        let time = iso(self.time);
        let date = time.split('T').next().unwrap_or_default();
        format!("{}/{}/{}/{date}", self.tenant, self.market, self.product)
    }
}

/// The days that have a price, with the values of [`COUNTS`].
type Days = BTreeMap<Day, [i64; 3]>;

/// The intervals of one hour that have a price.
struct Hour {
    tenant: String,
    market: String,
    /// Its beginning.
    start: Micros,
    present: i64,
    /// Those with a price of a document that is its whole set.
    whole: i64,
}

#[derive(Deserialize)]
struct HourRow {
    tenant: String,
    of_market: String,
    start: String,
    present: String,
    whole: String,
}

/// Compares the view; the second value is the number of days that have changed meanwhile.
///
/// # Errors
/// ClickHouse does not answer, or the view is missing.
pub(super) async fn check(
    clickhouse: &ClickHouse,
    names: &Names,
    calendars: &Calendars,
) -> anyhow::Result<(Check, u64)> {
    let wanted = wanted(clickhouse, names, calendars).await?;
    let view = names.table("completeness");
    let found = found(clickhouse, &view, calendars).await?;
    let since = match wanted == found {
        true => wanted.clone(),
        false => self::wanted(clickhouse, names, calendars).await?,
    };
    let (compared, moved) = compare(&wanted, &found, &since);
    let (expected, counted, mut differences) = (compared.expected, compared.found, Differences::default());
    for wrong in compared.wrong {
        differences.add(format!("{view} {wrong}"));
    }
    let title = format!("{view}: days match the intervals of {}", names.table(MARKET_TICKS.name));
    Ok((
        Check::new(title, expected, counted, differences).about(Subject::View),
        moved,
    ))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    expected: u64,
    found: u64,
    /// One sentence each.
    wrong: Vec<String>,
}

/// Compares the days whose intervals are still those of `wanted`.
fn compare(wanted: &Days, found: &Days, since: &Days) -> (Compared, u64) {
    let (mut compared, mut moved) = (Compared::default(), 0);
    let surplus = found.keys().filter(|day| !wanted.contains_key(*day));
    for day in wanted.keys().chain(surplus) {
        let (expected, shown) = (wanted.get(day), found.get(day));
        if expected != since.get(day) && expected != shown {
            moved += 1;
            continue;
        }
        compared.expected += u64::from(expected.is_some());
        compared.found += u64::from(shown.is_some());
        let words = match (expected, shown) {
            (Some(expected), Some(shown)) if expected != shown => {
                let counts = COUNTS.iter().zip(expected.iter().zip(shown));
                let changed = counts.filter(|(_, (expected, shown))| expected != shown);
                let texts = changed.map(|(name, (expected, shown))| format!("{name} is {shown} instead of {expected}"));
                format!("differs: {}", texts.collect::<Vec<_>>().join(", "))
            }
            (Some(_), None) => "is missing, although it has prices".to_owned(),
            (None, Some(_)) => "exists, but it has no price".to_owned(),
            _ => continue,
        };
        compared.wrong.push(format!("{} {words}", day.shown()));
    }
    (compared, moved)
}

/// The days that the prices of `market_ticks` give.
async fn wanted(clickhouse: &ClickHouse, names: &Names, calendars: &Calendars) -> anyhow::Result<Days> {
    let mut days = Days::new();
    for product in Product::ALL {
        let Some(length) = markets::interval_of(product.name()) else {
            continue;
        };
        let sql = format!(
            "SELECT toString(tenant_id) AS tenant, toString(market) AS of_market, toString({HOUR} * hour) AS start, \
             toString(uniqExact(slot)) AS present, toString(uniqExactIf(slot, is_whole)) AS whole FROM (\
             SELECT tenant_id, market, toUnixTimestamp64Micro(timestamp) AS micros, intDiv(micros, {HOUR}) AS hour, \
             intDiv(micros, {length}) AS slot, ifNull(market_status, '') != 'part' AS is_whole FROM {ticks} \
             WHERE kind = 'interval' AND product = {product}) GROUP BY tenant_id, market, hour",
            ticks = names.table(MARKET_TICKS.name),
            product = literal(product.name()),
        );
        let rows = clickhouse.query_rows(&sql).await;
        let rows: Vec<HourRow> = rows.context("count the intervals that have a price")?;
        for row in rows {
            let hour = Hour {
                start: parsed("the beginning of an hour", &row.start)?,
                present: parsed("a number of intervals", &row.present)?,
                whole: parsed("a number of intervals", &row.whole)?,
                tenant: row.tenant,
                market: row.of_market,
            };
            add(&mut days, calendars, (product.name(), length), hour);
        }
    }
    Ok(days)
}

/// Adds an hour to its market day. Intervals are not longer than an hour, so none is in two.
fn add(days: &mut Days, calendars: &Calendars, (product, length): (&str, Micros), hour: Hour) {
    let Some(name) = calendars.name(Merged::MarketDays, &hour.market, hour.start) else {
        return;
    };
    let Some(extent) = calendars.extent(Merged::MarketDays, &hour.market, name) else {
        return;
    };
    let day = Day {
        tenant: hour.tenant,
        market: hour.market,
        product: product.to_owned(),
        time: name.time,
    };
    let [expected, present, whole] = days.entry(day).or_default();
    *expected = (extent.end - extent.start) / length;
    *present += hour.present;
    *whole += hour.whole;
}

/// The days of the view, without those of markets that the registry does not have.
async fn found(clickhouse: &ClickHouse, view: &str, calendars: &Calendars) -> anyhow::Result<Days> {
    let counts = COUNTS.map(|count| format!("toString({count}) AS {count}_"));
    let sql = format!(
        "SELECT toString(tenant_id) AS tenant, toString(market) AS of_market, toString(product) AS of_product, \
         toString(toUnixTimestamp64Micro(toDateTime64(day, 6, 'UTC'))) AS time, {} FROM {view}",
        counts.join(", ")
    );
    let rows = clickhouse.query_json(&sql).await;
    let mut days = Days::new();
    for row in rows.with_context(|| {
        format!(
            "read view {view}: if its columns are not those of this release, drop it, and create it with `dp migrate`"
        )
    })? {
        let day = Day {
            tenant: text(&row, "tenant")?.to_owned(),
            market: text(&row, "of_market")?.to_owned(),
            product: text(&row, "of_product")?.to_owned(),
            time: number(&row, "time")?,
        };
        let counts = [
            number(&row, "expected_")?,
            number(&row, "present_")?,
            number(&row, "present_whole_")?,
        ];
        if calendars.know(&day.market) {
            days.insert(day, counts);
        }
    }
    Ok(days)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LENGTH: Micros = 300_000_000;

    /// Two hours of PJM on 2 November 2025, which has 25, and one of the day after it.
    fn days() -> Days {
        let calendars = Calendars::of_registry().unwrap();
        let mut days = Days::new();
        for (start, present, whole) in [
            ("2025-11-02T04:00:00Z", 12, 12),
            ("2025-11-03T04:00:00Z", 3, 1),
            ("2025-11-03T05:00:00Z", 5, 5),
        ] {
            let start: jiff::Timestamp = start.parse().unwrap();
            let hour = |market: &str| Hour {
                tenant: "t".to_owned(),
                market: market.to_owned(),
                start: start.as_microsecond(),
                present,
                whole,
            };
            add(&mut days, &calendars, ("rt5", LENGTH), hour("PJM"));
            // It has no market day.
            add(&mut days, &calendars, ("rt5", LENGTH), hour("ICE"));
        }
        days
    }

    #[test]
    fn a_day_expects_the_intervals_of_its_local_clock_and_has_those_of_its_hours() {
        let found: Vec<(String, [i64; 3])> = days().iter().map(|(day, counts)| (day.shown(), *counts)).collect();
        let expected = [
            ("t/PJM/rt5/2025-11-02".to_owned(), [300, 15, 13]),
            ("t/PJM/rt5/2025-11-03".to_owned(), [288, 5, 5]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn each_count_that_differs_and_each_day_that_only_one_side_has_is_named() {
        let wanted = days();
        let (same, moved) = compare(&wanted, &wanted, &wanted);
        assert_eq!((same.expected, same.found, same.wrong.len(), moved), (2, 2, 0, 0));
        for (at, name) in COUNTS.iter().enumerate() {
            let mut found = wanted.clone();
            *found.values_mut().next().unwrap().get_mut(at).unwrap() += 7;
            let (compared, _) = compare(&wanted, &found, &wanted);
            let named = compared.wrong.first().unwrap();
            assert!(
                named.starts_with(&format!("t/PJM/rt5/2025-11-02 differs: {name} is ")),
                "{named}"
            );
            assert_eq!(compared.wrong.len(), 1);
        }
        let mut one = wanted.clone();
        one.pop_first();
        let (missing, _) = compare(&wanted, &one, &wanted);
        let (surplus, _) = compare(&one, &wanted, &one);
        assert_eq!(
            missing.wrong,
            ["t/PJM/rt5/2025-11-02 is missing, although it has prices"]
        );
        assert_eq!(surplus.wrong, ["t/PJM/rt5/2025-11-02 exists, but it has no price"]);
        assert_eq!(
            (missing.expected, missing.found, surplus.expected, surplus.found),
            (2, 1, 1, 2)
        );
        // A price of the day has arrived meanwhile.
        let (compared, moved) = compare(&one, &wanted, &wanted);
        assert_eq!(
            (compared.expected, compared.found, compared.wrong.len(), moved),
            (1, 1, 0, 1)
        );
    }
}
