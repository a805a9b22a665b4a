//! Which hours are to be compared, and what was found in them. No I/O.

use std::collections::BTreeMap;

use domain::Micros;
use markets::hourly::HOURLY;

use super::HOUR;

/// Hours of one statement.
const PART: Micros = 6 * HOUR;

/// Prices of a market and product that have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub market: String,
    pub product: String,
    /// Beginnings of the first and of the last interval.
    pub earliest: Micros,
    pub latest: Micros,
}

/// Hours of a market that are to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub market: &'static str,
    /// Product of the fine prices.
    pub fine: &'static str,
    pub from: Micros,
    pub to: Micros,
}

impl Due {
    /// The hours in parts: a market has 100,000 hours of nodes on a day, and ten times as many fine prices.
    pub fn parts(&self) -> Vec<(Micros, Micros)> {
        let mut parts = Vec::new();
        let mut from = self.from;
        while from < self.to {
            let to = self.to.min(from + PART);
            parts.push((from, to));
            from = to;
        }
        parts
    }
}

/// What was found in one hour of a market: numbers of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Hour {
    pub start: Micros,
    pub agreeing: u64,
    pub differing: u64,
    pub partial: u64,
    /// The largest absolute difference of a node, USD.
    pub largest: f64,
    /// When the last price of the hour was stored.
    pub came: Micros,
}

/// The sums of one pair of products.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Totals {
    pub market: &'static str,
    pub fine: &'static str,
    pub agreeing: u64,
    pub differing: u64,
    pub partial: u64,
    pub largest: f64,
}

/// What is known of each pair.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    market: &'static str,
    fine: &'static str,
    /// End of the last hour that has an hourly price.
    reported_until: Option<Micros>,
    hours: BTreeMap<Micros, Hour>,
}

impl Ledger {
    /// A ledger of these markets, each with the product of its fine prices.
    pub fn new(pairs: impl Iterator<Item = (&'static str, &'static str)>) -> Ledger {
        let pair = |(market, fine)| Pair {
            market,
            fine,
            reported_until: None,
            hours: BTreeMap::new(),
        };
        Ledger {
            pairs: pairs.map(pair).collect(),
        }
    }

    /// The hours of the prices that have come, as far as hourly reports reach.
    pub fn due(&mut self, arrived: &[Arrived]) -> Vec<Due> {
        self.pairs.iter_mut().filter_map(|pair| pair.due(arrived)).collect()
    }

    /// What was found in these hours, instead of what was known of them.
    pub fn replace(&mut self, due: &Due, (from, to): (Micros, Micros), hours: Vec<Hour>) {
        let of = |pair: &&mut Pair| (pair.market, pair.fine) == (due.market, due.fine);
        if let Some(pair) = self.pairs.iter_mut().find(of) {
            pair.hours.retain(|start, _| *start < from || *start >= to);
            pair.hours.extend(hours.into_iter().map(|hour| (hour.start, hour)));
        }
    }

    /// Forgets the hours that began before.
    pub fn forget_before(&mut self, begin: Micros) {
        for pair in &mut self.pairs {
            pair.hours.retain(|start, _| *start >= begin);
        }
    }

    /// The sums of each pair over the hours of which a price was stored since.
    pub fn totals(&self, since: Micros) -> Vec<Totals> {
        self.pairs.iter().map(|pair| pair.totals(since)).collect()
    }
}

impl Pair {
    fn due(&mut self, arrived: &[Arrived]) -> Option<Due> {
        let of = |product: &str| {
            let is_its = |one: &&Arrived| one.market == self.market && one.product == product;
            let hours = |one: &Arrived| (hour_of(one.earliest), hour_of(one.latest) + HOUR);
            arrived.iter().find(is_its).map(hours)
        };
        let (hourly, fine) = (of(HOURLY), of(self.fine));
        self.reported_until = self.reported_until.max(hourly.map(|(_, to)| to));
        let until = self.reported_until?;
        // Fine prices after the last report have nothing to be compared with yet.
        let fine = fine.map(|(from, to)| (from, to.min(until)));
        let ranges = hourly.into_iter().chain(fine).filter(|(from, to)| from < to);
        let (from, to) = ranges.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?;
        Some(Due {
            market: self.market,
            fine: self.fine,
            from,
            to,
        })
    }

    fn totals(&self, since: Micros) -> Totals {
        let none = Totals {
            market: self.market,
            fine: self.fine,
            agreeing: 0,
            differing: 0,
            partial: 0,
            largest: 0.0,
        };
        let recent = self.hours.values().filter(|hour| hour.came >= since);
        recent.fold(none, |sum, hour| Totals {
            agreeing: sum.agreeing + hour.agreeing,
            differing: sum.differing + hour.differing,
            partial: sum.partial + hour.partial,
            largest: sum.largest.max(hour.largest),
            ..sum
        })
    }
}

fn hour_of(time: Micros) -> Micros {
    time.div_euclid(HOUR) * HOUR
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Micros = HOUR / 60;
    const DAY: Micros = 24 * HOUR;

    fn ledger() -> Ledger {
        Ledger::new([("MISO", "rt5"), ("NYISO", "rt5")].into_iter())
    }

    fn arrived(market: &str, product: &str, earliest: Micros, latest: Micros) -> Arrived {
        Arrived {
            market: market.to_owned(),
            product: product.to_owned(),
            earliest,
            latest,
        }
    }

    fn due(market: &'static str, from: Micros, to: Micros) -> Due {
        Due {
            market,
            fine: "rt5",
            from,
            to,
        }
    }

    fn hour(start: Micros, differing: u64, largest: f64, came: Micros) -> Hour {
        Hour {
            start,
            agreeing: 10,
            differing,
            partial: 1,
            largest,
            came,
        }
    }

    #[test]
    fn fine_prices_alone_are_never_asked_for() {
        let mut ledger = ledger();
        let now = 100 * HOUR;
        assert_eq!(ledger.due(&[arrived("MISO", "rt5", now - DAY, now)]), []);
        // Nor those after the last report.
        let report = arrived("MISO", HOURLY, now - DAY, now - HOUR);
        assert_eq!(ledger.due(&[report]), [due("MISO", now - DAY, now)]);
        assert_eq!(ledger.due(&[arrived("MISO", "rt5", now, now + 55 * MINUTE)]), []);
        assert_eq!(ledger.due(&[]), []);
        // The day-ahead price of the same market is no fine price, and another market is another one.
        let others = [
            arrived("MISO", "da", now - DAY, now),
            arrived("NYISO", "rt5", now - DAY, now),
        ];
        assert_eq!(ledger.due(&others), []);
    }

    #[test]
    fn a_report_and_a_correction_of_fine_prices_are_compared_in_their_hours_only() {
        let mut ledger = ledger();
        let now = 100 * HOUR;
        let came = [
            arrived("NYISO", "rt5", now - 30 * MINUTE, now + 7 * MINUTE),
            arrived("NYISO", HOURLY, now - 3 * HOUR, now - 2 * HOUR),
        ];
        assert_eq!(ledger.due(&came), [due("NYISO", now - 3 * HOUR, now - HOUR)]);
        // A fine price of a reported hour comes again, with new ones of now.
        let again = arrived("NYISO", "rt5", now - 2 * HOUR + 5 * MINUTE, now + 12 * MINUTE);
        assert_eq!(ledger.due(&[again]), [due("NYISO", now - 2 * HOUR, now - HOUR)]);
        // An old report does not take the later hours back.
        let old = arrived("NYISO", HOURLY, now - 9 * HOUR, now - 9 * HOUR);
        assert_eq!(ledger.due(&[old]), [due("NYISO", now - 9 * HOUR, now - 8 * HOUR)]);
        let late = arrived("NYISO", "rt5", now - 2 * HOUR, now - 2 * HOUR);
        assert_eq!(ledger.due(&[late]), [due("NYISO", now - 2 * HOUR, now - HOUR)]);
    }

    #[test]
    fn long_ranges_are_asked_for_in_parts() {
        let parts = due("MISO", HOUR, HOUR + 2 * PART + 5 * HOUR).parts();
        assert_eq!(
            parts,
            [
                (HOUR, HOUR + PART),
                (HOUR + PART, HOUR + 2 * PART),
                (HOUR + 2 * PART, HOUR + 2 * PART + 5 * HOUR)
            ]
        );
    }

    #[test]
    fn the_sums_are_those_of_the_last_findings_of_each_hour() {
        let (mut ledger, now) = (ledger(), 100 * HOUR);
        let all = due("MISO", now - 4 * HOUR, now);
        let hours = (1..=4).map(|ago| hour(now - ago * HOUR, 2, ago as f64, now - ago * MINUTE));
        ledger.replace(&all, (all.from, all.to), hours.collect());
        // Of MISO; NYISO has no hours.
        let sums = |ledger: &Ledger, since| {
            let totals = ledger.totals(since);
            let sums = |one: &Totals| (one.agreeing, one.differing, one.partial, one.largest);
            let of = |market| totals.iter().find(|one| one.market == market).map(sums);
            assert_eq!(of("NYISO"), Some((0, 0, 0, 0.0)));
            of("MISO").unwrap_or_default()
        };
        assert_eq!(sums(&ledger, 0), (40, 8, 4, 4.0));
        // Only hours that a price has come of since then.
        assert_eq!(sums(&ledger, now - 2 * MINUTE), (20, 4, 2, 2.0));
        // A correction ends the differences of an hour; an hour that lost its prices is gone.
        ledger.replace(
            &all,
            (now - 4 * HOUR, now - 2 * HOUR),
            vec![hour(now - 4 * HOUR, 0, 0.01, now)],
        );
        assert_eq!(sums(&ledger, 0), (30, 4, 3, 2.0));
        ledger.forget_before(now - HOUR);
        assert_eq!(sums(&ledger, 0), (10, 2, 1, 1.0));
        ledger.forget_before(now);
        assert_eq!(sums(&ledger, 0), (0, 0, 0, 0.0));
    }
}
