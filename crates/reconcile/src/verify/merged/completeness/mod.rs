//! Compares the view of completeness with the interval prices of `market_ticks`, date by date.
//!
//! Role: `asked` is what is compared; `pieces` says which market days are compared together, and which partitions have their prices; `read` reads both sides. All counts of
//! the view are compared.
//! Invariants: a day is wrong only if its prices were the same before and after the view was read. No query reads more than the partitions that
//! have prices of its date.
//! Failure: a view that cannot be read is an error; a difference never is. A date that ClickHouse cannot count in time is not compared, and is
//! counted.

mod asked;
mod pieces;
mod read;

use std::collections::BTreeMap;

use domain::{Classified, Micros};
use ops::present::iso;
use service::Names;
use service::writer::tables::MARKET_TICKS;
use stores::{ClickHouse, StoreError};

use super::calendar::Calendars;
use crate::verify::report::{Check, Differences, Subject};
use crate::verify::versions;
use asked::Asked;
use pieces::Piece;

/// The compared counts.
const COUNTS: [&str; 6] = ["expected", "present", "present_whole", "instruments", "prices", "rows"];
/// The values of [`COUNTS`].
type Counts = [i64; 6];

/// How often both sides are read until the prices did not change meanwhile.
const READINGS: u8 = 3;
/// After so many pieces that took too long, no other is tried: each takes minutes.
const SLOW: usize = 3;

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

/// The days that have a price.
type Days = BTreeMap<Day, Counts>;

/// Compares the view; also returns notes on the days that are not compared.
///
/// # Errors
/// ClickHouse does not answer, or the view is missing.
pub(super) async fn check(
    clickhouse: &ClickHouse,
    names: &Names,
    calendars: &Calendars,
) -> anyhow::Result<(Check, Vec<String>)> {
    let asked = Asked {
        clickhouse,
        calendars,
        ticks: names.table(MARKET_TICKS.name),
        view: names.table("completeness"),
    };
    let view = &asked.view;
    let dates = asked.dates().await?;
    let markets: Vec<&'static str> = markets::power_markets().map(|market| market.name).collect();
    let (mut total, mut moved, mut left_out) = (Compared::default(), 0, LeftOut::default());
    left_out.beyond = dates.beyond();
    for piece in dates.pieces(&markets) {
        if left_out.slow.len() >= SLOW {
            left_out.untried += 1;
            continue;
        }
        match asked.compared(&piece).await {
            Ok((compared, changed)) => {
                total.add(compared);
                moved += changed;
            }
            Err(error) if is_slow(&error) => left_out.slow.push(format!("{} ({error:#})", piece.shown())),
            Err(error) => return Err(error),
        }
    }
    let mut differences = Differences::default();
    for wrong in total.wrong {
        differences.add(format!("{view} {wrong}"));
    }
    let title = format!("{view}: days match the prices of {}", asked.ticks);
    let check = Check::new(title, total.expected, total.found, differences);
    let mut notes = left_out.notes(view);
    notes.extend(versions::moved(&format!("market day(s) of view {view}"), moved));
    let left_out = moved + left_out.count();
    Ok((check.about(Subject::View).without(left_out), notes))
}

/// Whether the server did not end a query in time, or had too little memory for it. It answers others.
fn is_slow(error: &anyhow::Error) -> bool {
    let of_store = error.downcast_ref::<StoreError>();
    of_store.is_some_and(|error| matches!(error.code(), "timeout" | "cancelled" | "overloaded"))
}

/// Dates that are not compared.
#[derive(Debug, Default)]
struct LeftOut {
    /// Pieces that took too long, with the error.
    slow: Vec<String>,
    /// Pieces after them.
    untried: u64,
    /// Dates that the view cannot hold.
    beyond: usize,
}

impl LeftOut {
    fn count(&self) -> u64 {
        self.untried + (self.slow.len() + self.beyond) as u64
    }

    fn notes(&self, view: &str) -> Vec<String> {
        let slow = (!self.slow.is_empty()).then(|| {
            let after = match self.untried {
                0 => String::new(),
                more => format!(", nor {more} date(s) after them"),
            };
            format!(
                "dates of view {view} are not compared, because ClickHouse did not count their prices in time: {}{after}. Run `dp verify` again \
                 when ClickHouse has less to do",
                self.slow.join(", ")
            )
        });
        let beyond = (self.beyond > 0).then(|| {
            format!(
                "{} date(s) with prices are not compared with view {view}, which holds dates from 1970 to 2106 only",
                self.beyond
            )
        });
        slow.into_iter().chain(beyond).collect()
    }
}

impl Asked<'_> {
    /// Compares a piece; the second value is the number of days that have changed meanwhile.
    async fn compared(&self, piece: &Piece) -> anyhow::Result<(Compared, u64)> {
        let mut wanted = self.wanted(piece).await?;
        let mut left = READINGS;
        loop {
            let found = self.found(piece).await?;
            if found == wanted {
                return Ok(compare(&wanted, &found, &wanted));
            }
            let since = self.wanted(piece).await?;
            left -= 1;
            if left == 0 || since == wanted {
                return Ok(compare(&wanted, &found, &since));
            }
            wanted = since;
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    expected: u64,
    found: u64,
    /// One sentence each.
    wrong: Vec<String>,
}

impl Compared {
    fn add(&mut self, other: Compared) {
        self.expected += other.expected;
        self.found += other.found;
        self.wrong.extend(other.wrong);
    }
}

/// Compares the days whose prices are still those of `wanted`.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two days of a product.
    fn days() -> Days {
        let day = |time: &str| Day {
            tenant: "t".to_owned(),
            market: "PJM".to_owned(),
            product: "rt5".to_owned(),
            time: time.parse::<jiff::Timestamp>().unwrap().as_microsecond(),
        };
        let [first, second] = ["2025-11-02T00:00:00Z", "2025-11-03T00:00:00Z"].map(day);
        Days::from([(first, [300, 15, 13, 2, 20, 21]), (second, [288, 5, 5, 1, 5, 5])])
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

    #[test]
    fn dates_that_are_left_out_are_counted_and_noted() {
        let mut left_out = LeftOut::default();
        assert_eq!((left_out.count(), left_out.notes("v").len()), (0, 0));
        left_out.slow.push("PJM/2026-10-01 (no response)".to_owned());
        (left_out.untried, left_out.beyond) = (4, 2);
        let notes = left_out.notes("v");
        assert_eq!((left_out.count(), notes.len()), (7, 2));
        for part in [
            "in time: PJM/2026-10-01 (no response), nor 4 date(s) after them.",
            "2 date(s) with prices",
        ] {
            assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
        }
    }
}
