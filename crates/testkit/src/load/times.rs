//! Prices and their event times: live, late by minutes to years, in the future; first prices and corrections.
//!
//! Role: the part of the load that tests that every bar counts every tick, in any order and however late. Pure. Times are in
//! milliseconds.

use std::collections::VecDeque;

use crate::random::Random;

/// Markets and the instruments of each.
const MARKETS: [&str; 4] = ["MISO", "CAISO", "PJM", "ERCOT"];
const INSTRUMENTS: u64 = 12;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Number of recent prices that may be corrected, corrections included.
const CORRECTED: usize = 60;
/// The raw partition whose producers are an hour behind.
const BEHIND: i32 = 0;

/// A price with its instrument and event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Price {
    pub market: &'static str,
    pub instrument: String,
    pub product: &'static str,
    pub time: i64,
    /// The raw partition; `None` if the key decides.
    pub partition: Option<i32>,
    /// In hundredths.
    pub cents: i64,
}

/// Chooses the next price.
#[derive(Debug, Default)]
pub(super) struct Prices {
    /// Hours of a day-ahead result, in the order in which they are sent.
    day_ahead: Vec<Price>,
    /// Prices of intervals that may be published again.
    of_intervals: VecDeque<Price>,
}

impl Prices {
    pub(super) fn next(&mut self, random: &mut Random, now: i64) -> Price {
        match random.below(100) {
            0..12 => self.real_time(random, now),
            12..22 => self.day_ahead(random, now),
            22..30 => self.correction(random, now),
            // A producer that is always ten minutes late.
            30..34 => trade(random, "SLOW", now - 10 * MINUTE),
            34..38 => Price {
                partition: Some(BEHIND),
                ..trade(random, "BEHIND", now - HOUR)
            },
            38..42 => {
                let late = 3 * 365 * DAY - minutes(random, 2_000);
                trade(random, "OLD", now - late)
            }
            // Almost as far in the future as a wrong clock may be.
            42..44 => trade(random, "AHEAD", now + 9 * MINUTE),
            44..46 => {
                let late = 10 * MINUTE + minutes(random, 50);
                trade(random, "HUB", now - late)
            }
            46 => {
                let late = HOUR + minutes(random, 30 * 60);
                trade(random, "HUB", now - late)
            }
            _ => {
                let late = random.below(1_500) as i64;
                // Many ticks of an instrument have the same time.
                trade(random, "HUB", (now - late) / 500 * 500)
            }
        }
    }

    /// A price as an ISO publishes it: minutes after its five-minute interval.
    fn real_time(&mut self, random: &mut Random, now: i64) -> Price {
        let published = now - 5 * MINUTE - minutes(random, 5);
        let price = Price {
            product: "rt5",
            ..trade(random, "RT", published - published.rem_euclid(5 * MINUTE))
        };
        self.remember(price)
    }

    /// The next hour of tomorrow's result. Its hours come in any order.
    fn day_ahead(&mut self, random: &mut Random, now: i64) -> Price {
        if self.day_ahead.is_empty() {
            let midnight = now - now.rem_euclid(DAY) + DAY;
            let first = trade(random, "DA", midnight);
            let mut hour = |hour: i64| Price {
                product: "day_ahead",
                time: midnight + hour * HOUR,
                cents: cents(random),
                ..first.clone()
            };
            self.day_ahead = (0..24).map(&mut hour).collect();
            random.shuffle(&mut self.day_ahead);
        }
        match self.day_ahead.pop() {
            Some(price) => self.remember(price),
            None => trade(random, "HUB", now),
        }
    }

    /// A new price of an interval that already has one, sometimes the same price again.
    fn correction(&mut self, random: &mut Random, now: i64) -> Price {
        let chosen = random.below(self.of_intervals.len().max(1) as u64) as usize;
        match self.of_intervals.get(chosen) {
            Some(price) if random.below(4) == 0 => price.clone(),
            Some(price) => Price {
                cents: cents(random),
                ..price.clone()
            },
            None => self.real_time(random, now),
        }
    }

    fn remember(&mut self, price: Price) -> Price {
        if self.of_intervals.len() == CORRECTED {
            self.of_intervals.pop_front();
        }
        self.of_intervals.push_back(price.clone());
        price
    }
}

fn trade(random: &mut Random, group: &str, time: i64) -> Price {
    let number = random.below(INSTRUMENTS * MARKETS.len() as u64);
    let market = MARKETS
        .get((number % MARKETS.len() as u64) as usize)
        .copied()
        .unwrap_or("MISO");
    Price {
        market,
        instrument: format!("{market}.FAULT.{group}{:02}", number / MARKETS.len() as u64),
        product: "trade",
        time,
        partition: None,
        cents: cents(random),
    }
}

fn cents(random: &mut Random) -> i64 {
    random.below(20_000) as i64 - 1_000
}

fn minutes(random: &mut Random, below: u64) -> i64 {
    random.below(below) as i64 * MINUTE
}
