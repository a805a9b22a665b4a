//! Quotes of contracts of the curves of [`crate::curves`]: new ones of which several change places, late ones, corrections, and repetitions.
//!
//! Pure; times are in milliseconds. The quotes of one contract come through several raw partitions. A repetition comes through that of the first.

use std::collections::VecDeque;

use fastrand::Rng;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::said::{Made, Said};
use super::times::Price;
use crate::curves::{self, OF_THE_LOAD, TENANT};

/// Quotes in a thousand messages.
const IN_A_THOUSAND: u64 = 10;
/// Quotes that may come again or be corrected: those of the last seconds, well inside the event-id window.
const RECENT: usize = 8;
/// Raw partitions are chosen by one of this many keys for each contract.
const KEYS: u64 = 4;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
/// Quotes of one contract that are made at once, then sent in any order.
const TOGETHER: i64 = 3;

/// Makes quotes.
#[derive(Debug)]
pub(super) struct Quotes {
    random: Rng,
    /// Begins the event ids.
    name: String,
    made: u64,
    /// With the keys of their messages.
    recent: VecDeque<(Said, Made)>,
    waiting: Vec<Price>,
}

/// A quote to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quoted {
    pub message: Made,
    /// Whether it repeats an event.
    pub is_again: bool,
}

impl Quotes {
    /// `session` is the number of the publisher among those with the same seed.
    pub(super) fn new(seed: u64, session: u32) -> Quotes {
        Quotes {
            random: Rng::with_seed(seed.rotate_left(29) ^ u64::from(session)),
            name: format!("q-{seed:x}-{session}"),
            made: 0,
            recent: VecDeque::new(),
            waiting: Vec::new(),
        }
    }

    /// A quote, if it is time for one among the messages of the load.
    pub(super) fn due(&mut self, now: i64) -> Option<Quoted> {
        (self.random.u64(..1000) < IN_A_THOUSAND).then(|| self.next(now))
    }

    /// Earlier quotes are not repeated any more.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    fn next(&mut self, now: i64) -> Quoted {
        let chance = self.random.u64(..100);
        let earlier = self.random.choice(&self.recent).cloned();
        let what = match (chance, earlier) {
            (..10, Some((said, made))) => {
                // The same bytes, or the retry of a producer that has encoded the message again.
                let message = match chance < 5 {
                    true => made,
                    false => Made {
                        key: made.key,
                        ..said.sent_at(now)
                    },
                };
                return Quoted {
                    message,
                    is_again: true,
                };
            }
            (10..30, Some((said, _))) => Price {
                cents: self.cents(),
                ..said.what
            },
            (30..45, _) => {
                let hours = self.random.i64(1..=48);
                self.quote(now, now - hours * HOUR)
            }
            _ => self.new_quote(now),
        };
        let said = Said {
            event: format!("{}-{}", self.name, self.made),
            tenant: TENANT,
            price: Some(what.cents),
            what,
            volume: self.random.u64(..50_000),
            sequence: self.random.u64(..8),
            is_flat: self.random.bool(),
            is_settled: false,
        };
        self.made += 1;
        let key = format!("{}-{}", said.what.instrument, self.random.u64(..KEYS));
        let message = Made {
            key: Some(key.into_bytes()),
            ..said.sent_at(now)
        };
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((said, message.clone()));
        Quoted {
            message,
            is_again: false,
        }
    }

    /// One of several quotes of a contract in any order.
    fn new_quote(&mut self, now: i64) -> Price {
        if let Some(quote) = self.waiting.pop() {
            return quote;
        }
        let last = self.quote(now, now);
        for before in 0..TOGETHER {
            let cents = self.cents();
            self.waiting.push(Price {
                time: last.time - before * SECOND,
                cents,
                ..last.clone()
            });
        }
        self.random.shuffle(&mut self.waiting);
        self.waiting.pop().unwrap_or(last)
    }

    fn quote(&mut self, now: i64, time: i64) -> Price {
        let curve = OF_THE_LOAD[self.random.usize(..OF_THE_LOAD.len())];
        // A clock outside of the calendar has quotes too.
        let year = Timestamp::from_millisecond(now).map_or(2026, |now| now.to_zoned(TimeZone::UTC).year());
        let contracts = curves::contracts(year);
        let (contract, block) = &contracts[self.random.usize(..contracts.len())];
        Price {
            market: curve.market,
            instrument: curves::instrument(&curve, contract, block),
            product: curves::PRODUCT,
            // Quotes of one second have one time.
            time: time / SECOND * SECOND,
            partition: None,
            cents: self.cents(),
        }
    }

    fn cents(&mut self) -> i64 {
        self.random.i64(-500..20_000)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_contract_has_quotes_out_of_order_corrected_and_late_through_several_partitions() {
        let mut quotes = Quotes::new(3, 1);
        let now = 1_790_000_000_000;
        let mut of: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        let mut again = 0;
        for number in 0..3_000 {
            let quoted = quotes.next(now + number * 300);
            if quoted.is_again {
                again += 1;
                assert!(!keys.insert(quoted.message.key), "the key of its first message");
                continue;
            }
            keys.insert(quoted.message.key);
            if let Some((said, _)) = quotes.recent.back() {
                let of_contract = of.entry(said.what.instrument.clone()).or_default();
                of_contract.push((said.what.time, said.what.cents));
            }
        }
        assert!(again > 200, "{again}");
        assert_eq!((of.len(), keys.len()), (14, 14 * KEYS as usize));
        for (instrument, quotes) in of {
            let count = |is: &dyn Fn((i64, i64), (i64, i64)) -> bool| {
                let pairs = quotes
                    .windows(2)
                    .filter(|pair| matches!(pair, [one, next] if is(*one, *next)));
                pairs.count()
            };
            assert!(
                count(&|one, next| next.0 < one.0 && next.0 > one.0 - HOUR) > 10,
                "{instrument}: order"
            );
            assert!(
                count(&|one, next| next.0 == one.0 && next.1 != one.1) > 5,
                "{instrument}: corrected"
            );
            assert!(count(&|one, next| next.0 <= one.0 - HOUR) > 10, "{instrument}: late");
        }
    }
}
