//! Gauges of what is known of markets: how complete their days are, and whether their reports agree.

#![allow(clippy::disallowed_macros)]

use std::collections::BTreeMap;

use ::metrics::gauge;

use crate::completeness::days::DayReport;
use crate::hourly::Totals;

pub(super) const INTERVALS_DUE: &str = "market_intervals_due";
pub(super) const INTERVALS_MISSING: &str = "market_intervals_missing";
pub(super) const PRICES_MISSING: &str = "market_prices_missing";
pub(super) const CHECK_HOURS: &str = "market_check_hours";
pub(super) const CHECK_DIFFERENCE: &str = "market_check_difference";

/// Sets the gauges of completeness; returns the markets and products that have some.
pub(crate) fn completeness(reports: &[DayReport]) -> Vec<(String, String)> {
    let mut sums: BTreeMap<(String, String), [u64; 3]> = BTreeMap::new();
    for report in reports {
        let sum = sums.entry((report.market.clone(), report.product.clone())).or_default();
        let counts = [report.due as u64, report.missing_count as u64, report.missing_prices];
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    for (of, sum) in &sums {
        set_completeness(of, sum.map(|count| count as f64));
    }
    sums.into_keys().collect()
}

/// The counts of these markets and products are not known at present.
pub(crate) fn completeness_unknown(known: &[(String, String)]) {
    known.iter().for_each(|of| set_completeness(of, [f64::NAN; 3]));
}

fn set_completeness((market, product): &(String, String), counts: [f64; 3]) {
    for (name, count) in [INTERVALS_DUE, INTERVALS_MISSING, PRICES_MISSING]
        .into_iter()
        .zip(counts)
    {
        gauge!(name, "market" => market.clone(), "product" => product.clone()).set(count);
    }
}

/// Sets the gauges of the hourly reports.
pub(crate) fn market_checks(totals: &[Totals]) {
    for one in totals {
        let counts = [one.agreeing, one.differing, one.partial].map(|count| count as f64);
        set_check(one.market, one.fine, counts, one.largest);
    }
}

/// The results of these markets, each with the product of its fine prices, are not known at present.
pub(crate) fn market_checks_unknown(pairs: impl Iterator<Item = (&'static str, &'static str)>) {
    pairs.for_each(|(market, fine)| set_check(market, fine, [f64::NAN; 3], f64::NAN));
}

fn set_check(market: &'static str, fine: &str, counts: [f64; 3], largest: f64) {
    let pair = format!("{fine}/{}", markets::hourly::HOURLY);
    for (result, count) in ["agreeing", "differing", "partial"].into_iter().zip(counts) {
        gauge!(CHECK_HOURS, "market" => market, "pair" => pair.clone(), "result" => result).set(count);
    }
    gauge!(CHECK_DIFFERENCE, "market" => market, "pair" => pair).set(largest);
}
