//! Compares what is there with what is due. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use domain::Micros;
use jiff::ToSpan as _;
use jiff::civil::Date;
use markets::{MarketDay, interval_of, products_of};
use serde::Serialize;

use super::survey::{Asked, Seen};

/// One market, product and market day.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayReport {
    pub market: String,
    pub product: String,
    pub day: String,
    /// Intervals of the whole day.
    pub expected: usize,
    /// Those that should have a price by now.
    pub due: usize,
    /// Due intervals that have a price.
    pub present: usize,
    /// Due intervals that only documents have that are not their whole set.
    pub part_only: usize,
    pub instruments: u64,
    /// Pairs of instrument and interval that have a price.
    pub prices: u64,
    /// Prices that instruments of this day lack in intervals that have prices of others.
    pub missing_prices: u64,
    pub missing_count: usize,
    pub missing: Vec<Range>,
    pub has_gaps: bool,
}

/// Adjacent intervals without a price.
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from: Micros,
    pub to: Micros,
}

impl Range {
    /// `2026-11-01T05:00:00Z to 2026-11-01T06:00:00Z`.
    pub fn text(&self) -> String {
        format!("{} to {}", iso(self.from), iso(self.to))
    }
}

impl Serialize for Range {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [("from", iso(self.from)), ("to", iso(self.to))]
            .into_iter()
            .collect::<BTreeMap<_, _>>()
            .serialize(serializer)
    }
}

/// One report for each day of each market and product that is expected: those with a price in the asked days or the week
/// before, and those that are named.
pub fn reports(asked: &Asked<'_>, seen: Vec<Seen>) -> Vec<DayReport> {
    let mut first_days: BTreeMap<(String, String), Date> = BTreeMap::new();
    for seen in &seen {
        let key = (seen.market.clone(), seen.product.clone());
        let first = first_days.entry(key).or_insert(seen.day);
        *first = seen.day.min(*first);
    }
    if let Some(market) = asked.market {
        let named = |product: &&&str| asked.product.is_none_or(|asked| asked == **product);
        // Each product of a market that is named with one day or with a product.
        let is_explicit = asked.product.is_some() || asked.days.0 == asked.days.1;
        let products = products_of(market);
        for product in products.iter().filter(named).filter(|_| is_explicit) {
            let key = (market.to_owned(), (*product).to_owned());
            first_days.entry(key).or_insert(asked.days.0);
        }
    }
    let by_day: BTreeMap<(&str, &str, Date), &Seen> = seen
        .iter()
        .map(|seen| ((seen.market.as_str(), seen.product.as_str(), seen.day), seen))
        .collect();
    let mut reports = Vec::new();
    for ((market, product), first) in &first_days {
        let mut day = asked.days.0.max(*first);
        while day <= asked.days.1 {
            let there = by_day.get(&(market.as_str(), product.as_str(), day)).copied();
            reports.extend(report(asked, (market, product, day), there));
            let Ok(next) = day.checked_add(1.day()) else { break };
            day = next;
        }
    }
    reports
}

/// The report of one day; `None` if nothing is due.
fn report(asked: &Asked<'_>, (market, product, day): (&str, &str, Date), seen: Option<&Seen>) -> Option<DayReport> {
    let length = interval_of(product)?;
    let of_day = MarketDay::of(market, day)?;
    let all: Vec<Micros> = of_day.intervals(product).collect();
    let is_due = |start: &Micros| match product {
        // All hours of a day are published together, on the day before.
        "da" => of_day.start <= asked.due_until || seen.is_some(),
        _ => start + length <= asked.due_until,
    };
    let due: Vec<Micros> = all.iter().copied().filter(is_due).collect();
    if due.is_empty() {
        return None;
    }
    let set = |times: Option<&Vec<Micros>>| times.into_iter().flatten().copied().collect::<BTreeSet<Micros>>();
    let (starts, whole) = (set(seen.map(|seen| &seen.starts)), set(seen.map(|seen| &seen.whole)));
    let missing: Vec<Micros> = due.iter().copied().filter(|start| !starts.contains(start)).collect();
    let present = due.len() - missing.len();
    let part_only = due
        .iter()
        .filter(|start| starts.contains(start) && !whole.contains(start))
        .count();
    let (instruments, prices) = seen.map_or((0, 0), |seen| (seen.instruments, seen.prices));
    let missing_prices = (instruments * starts.len() as u64).saturating_sub(prices);
    Some(DayReport {
        market: market.to_owned(),
        product: product.to_owned(),
        day: day.to_string(),
        expected: all.len(),
        due: due.len(),
        present,
        part_only,
        instruments,
        prices,
        missing_prices,
        missing_count: missing.len(),
        has_gaps: !missing.is_empty() || part_only > 0 || missing_prices > 0,
        missing: ranges(&missing, length),
    })
}

fn iso(time: Micros) -> String {
    jiff::Timestamp::from_microsecond(time).map_or_else(|_| time.to_string(), |at| at.to_string())
}

fn ranges(starts: &[Micros], length: Micros) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for &start in starts {
        match ranges.last_mut() {
            Some(last) if last.to == start => last.to = start + length,
            _ => ranges.push(Range {
                from: start,
                to: start + length,
            }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const HOUR: Micros = 3_600_000_000;

    fn asked(day: Date, due_until: Micros) -> Asked<'static> {
        Asked {
            tenant: "t",
            market: None,
            product: None,
            days: (day, day),
            due_until,
        }
    }

    fn hours(market: &str, day: Date) -> Vec<Micros> {
        MarketDay::of(market, day).map_or_else(Vec::new, |day| day.intervals("da").collect())
    }

    fn seen(market: &str, product: &str, day: Date, starts: Vec<Micros>) -> Seen {
        Seen {
            market: market.to_owned(),
            product: product.to_owned(),
            day,
            prices: starts.len() as u64,
            whole: starts.clone(),
            starts,
            instruments: 1,
        }
    }

    #[test]
    fn the_repeated_hour_is_two_intervals_and_the_missing_one_none() {
        let (fall, spring) = (date(2025, 11, 2), date(2026, 3, 8));
        for (day, expected) in [(fall, 25), (spring, 23)] {
            let all = hours("PJM", day);
            let complete = reports(&asked(day, Micros::MAX / 2), vec![seen("PJM", "da", day, all.clone())]);
            assert_eq!(
                (complete.len(), complete[0].due, complete[0].has_gaps),
                (1, expected, false)
            );
            // Without the second pass of the repeated hour, as a parser that ignores the clock would leave it.
            let mut lacking = all;
            let lost = lacking.remove(2);
            let found = reports(&asked(day, Micros::MAX / 2), vec![seen("PJM", "da", day, lacking)]);
            assert_eq!(
                found[0].missing,
                [Range {
                    from: lost,
                    to: lost + HOUR
                }]
            );
            assert!(found[0].has_gaps);
        }
    }

    #[test]
    fn a_day_without_any_price_is_a_gap_if_the_week_before_had_some() {
        let (day, before) = (date(2026, 7, 4), date(2026, 7, 1));
        let earlier = seen("MISO", "da", before, hours("MISO", before));
        let found = reports(&asked(day, Micros::MAX / 2), vec![earlier]);
        assert_eq!((found.len(), found[0].due, found[0].present), (1, 24, 0));
        assert_eq!(found[0].missing.len(), 1, "one range for the whole day");
        assert_eq!(reports(&asked(day, Micros::MAX / 2), Vec::new()), []);
    }

    #[test]
    fn what_is_not_due_is_no_gap_and_what_only_a_part_has_is_one() {
        let day = date(2026, 7, 4);
        let all = hours("PJM", day);
        let noon = all[12];
        let found = reports(&asked(day, noon), vec![seen("PJM", "rth", day, all[..12].to_vec())]);
        assert_eq!((found[0].expected, found[0].due, found[0].has_gaps), (24, 12, false));
        let mut page = seen("PJM", "rth", day, all[..12].to_vec());
        page.whole.truncate(10);
        let found = reports(&asked(day, noon), vec![page]);
        assert_eq!((found[0].part_only, found[0].has_gaps), (2, true));
        // Two instruments, one price fewer than pairs.
        let mut holes = seen("PJM", "rth", day, all[..12].to_vec());
        (holes.instruments, holes.prices) = (2, 23);
        assert_eq!(reports(&asked(day, noon), vec![holes])[0].missing_prices, 1);
    }
}
