//! Layouts that curves share.
//!
//! Role: curves of one market, method, shape and day with the same contracts have one [`Layout`], whichever of them needed it first. A stage
//! has one [`Layouts`] for all its curves: on a new trade date it prepares a layout for each set of contracts, and not for each curve.
//! Invariants: a layout is a function of its key, so what is kept here decides how long a curve takes, and never what it is. What is kept is
//! bounded in bytes: beyond, layouts that no curve was made with last go first, then those that were needed longest ago.
//! Failure: contracts that have no layout; nothing is kept of them.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::civil::Date;
use markets::contract::{Contract, Month, Period};

use crate::CurveError;
use crate::layout::{Layout, Scratch, Terms};
use crate::method::Method;
use crate::snapshot::Delivery;

/// Most bytes of layouts that are kept: about 1,500 of 60 months from 22 quotes.
const MOST_BYTES: usize = 32 << 20;

/// All that a layout depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    market: Arc<str>,
    method: Method,
    shape: (u8, [u64; 12]),
    as_of: Date,
    until: Month,
    /// In the order in which they are believed.
    contracts: Vec<Contract>,
}

impl Key {
    pub(crate) fn of(terms: Terms<'_>, contracts: Vec<Contract>) -> Key {
        Key {
            market: terms.calendar.shared_market(),
            method: terms.method,
            shape: terms.shape.bits(),
            as_of: terms.as_of,
            until: terms.until,
            contracts,
        }
    }
}

/// A layout, and what the periods of its points are called.
#[derive(Debug)]
pub(crate) struct Shared {
    pub key: Arc<Key>,
    pub layout: Layout,
    /// In order of time.
    pub deliveries: Vec<(Period, Delivery)>,
}

impl Shared {
    fn of(key: Arc<Key>, terms: Terms<'_>) -> Result<Shared, CurveError> {
        let layout = Layout::of(terms, &key.contracts)?;
        let named = |period: Period| Ok((period, Delivery::of(period, terms.calendar)?));
        let deliveries = layout.periods().map(named).collect::<Result<_, CurveError>>()?;
        Ok(Shared {
            key,
            layout,
            deliveries,
        })
    }

    /// Roughly, in memory.
    fn bytes(&self) -> usize {
        let deliveries: usize = self.deliveries.iter().map(|(_, delivery)| delivery.bytes()).sum();
        self.layout.bytes() + deliveries + self.key.contracts.len() * size_of::<Contract>()
    }
}

#[derive(Debug)]
struct Kept {
    shared: Arc<Shared>,
    bytes: usize,
    /// The number of the request that it answered last.
    used: u64,
}

/// The layouts of recent sets of contracts, and the buffers for curves that are made with them.
#[derive(Debug)]
pub struct Layouts {
    kept: HashMap<Arc<Key>, Kept>,
    bytes: usize,
    most: usize,
    requests: u64,
    pub(crate) scratch: Scratch,
}

impl Default for Layouts {
    fn default() -> Layouts {
        Layouts {
            kept: HashMap::new(),
            bytes: 0,
            most: MOST_BYTES,
            requests: 0,
            scratch: Scratch::default(),
        }
    }
}

impl Layouts {
    /// Number of layouts that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The layout of this key, which is of these terms.
    pub(crate) fn get(&mut self, key: Key, terms: Terms<'_>) -> Result<Arc<Shared>, CurveError> {
        self.requests += 1;
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.used = self.requests;
            return Ok(Arc::clone(&kept.shared));
        }
        let key = Arc::new(key);
        let shared = Arc::new(Shared::of(Arc::clone(&key), terms)?);
        let kept = Kept {
            shared: Arc::clone(&shared),
            bytes: shared.bytes(),
            used: self.requests,
        };
        self.bytes += kept.bytes;
        self.kept.insert(key, kept);
        if self.bytes > self.most {
            self.evict();
        }
        Ok(shared)
    }

    /// Forgets half of what may be kept, so that each layout costs little; the newest one stays, whatever its size.
    fn evict(&mut self) {
        let rank = |kept: &Kept| (Arc::strong_count(&kept.shared) > 1, kept.used);
        let mut order: Vec<_> = self
            .kept
            .values()
            .map(|kept| (rank(kept), Arc::clone(&kept.shared.key)))
            .collect();
        order.sort_unstable_by_key(|(rank, _)| *rank);
        order.retain(|((_, used), _)| *used != self.requests);
        for (_, key) in order {
            if self.bytes <= self.most / 2 {
                break;
            }
            if let Some(gone) = self.kept.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use jiff::civil::date;
    use markets::contract::{Block, Tenor};

    use super::*;
    use crate::{Builder, DeliveryCalendar, Quote, Shape};

    const DAY: Date = date(2026, 12, 18);

    fn quotes(names: &[&str]) -> Vec<Quote> {
        let quote = |(at, name): (usize, &&str)| {
            let tenor: Tenor = name.parse().unwrap();
            let period = tenor.resolve(DAY, markets::contract::Commodity::Power).unwrap();
            Quote {
                contract: Contract {
                    period,
                    block: Block::Flat,
                },
                price: 40.0 + at as f64,
                volume: None,
                known_at: 0,
                source: (*name).to_owned(),
            }
        };
        names.iter().enumerate().map(quote).collect()
    }

    fn builder(market: &str, method: Method, shape: Shape) -> Builder {
        Builder::new(DeliveryCalendar::of(market).unwrap(), method, shape, 0.005)
    }

    #[test]
    fn curves_with_equal_terms_and_contracts_share_a_layout_and_any_other_has_its_own() {
        let ratios = |january: f64| {
            let mut ratios = [1.0; 12];
            ratios[0] = january;
            Shape::Ratio(ratios)
        };
        let (day, until) = (DAY, Month::new(2028, 1));
        let usual = ("PJM", Method::Flat, Shape::None, day, until, &["2027-01", "Q1-27"][..]);
        // Each differs from the usual in one thing, the last ones from each other too.
        let others = [
            ("MISO", Method::Flat, Shape::None, day, until, usual.5),
            ("PJM", Method::Linear, Shape::None, day, until, usual.5),
            ("PJM", Method::Flat, Shape::None, date(2026, 12, 17), until, usual.5),
            ("PJM", Method::Flat, Shape::None, day, Month::new(2028, 2), usual.5),
            ("PJM", Method::Flat, Shape::None, day, until, &["2027-01", "CAL-27"][..]),
            ("PJM", Method::Flat, ratios(1.0), day, until, usual.5),
            ("PJM", Method::Flat, ratios(1.5), day, until, usual.5),
            ("PJM", Method::Flat, Shape::Spread([1.0; 12]), day, until, usual.5),
        ];
        let mut layouts = Layouts::default();
        let mut made = |(market, method, shape, day, until, names): (&str, _, _, _, _, &[&str])| {
            let quotes = quotes(names);
            let mut builder = builder(market, method, shape);
            let curve = builder.build_with(&mut layouts, (day, until), quotes.clone()).unwrap();
            let alone = self::builder(market, method, shape).build(day, until, &quotes).unwrap();
            assert_eq!(curve, alone);
            (layouts.len(), Arc::clone(builder.last_layout().unwrap()))
        };
        let (first, again) = (made(usual), made(usual));
        assert!(first.0 == 1 && again.0 == 1 && Arc::ptr_eq(&first.1, &again.1));
        for (known, other) in (2..).zip(others) {
            assert_eq!(made(other).0, known, "{other:?}");
        }
        // The order of the quotes is none of the contracts.
        assert_eq!(
            made((usual.0, usual.1, usual.2, day, until, &["Q1-27", "2027-01"])).0,
            9
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_layouts_that_curves_use_stay_longest() {
        let mut layouts = Layouts::default();
        let mut in_use = builder("PJM", Method::Monotone, Shape::None);
        let quotes = quotes(&["2027-01", "Q1-27", "CAL-28"]);
        let until = |ahead: i32| Month::new(2040, 1).plus(ahead);
        in_use
            .build_with(&mut layouts, (DAY, until(0)), quotes.clone())
            .unwrap();
        layouts.most = 5 * layouts.bytes;
        for ahead in 1..20 {
            let mut gone = builder("PJM", Method::Monotone, Shape::None);
            gone.build_with(&mut layouts, (DAY, until(ahead)), quotes.clone())
                .unwrap();
            let total: usize = layouts.kept.values().map(|kept| kept.shared.bytes()).sum();
            assert!(total == layouts.bytes && total <= layouts.most, "{ahead}: {total}");
            let kept = |shared: &Arc<Shared>| layouts.kept.contains_key(&shared.key);
            assert!(
                kept(in_use.last_layout().unwrap()) && kept(gone.last_layout().unwrap()),
                "{ahead}"
            );
        }
        // The next curve is too large to be kept with others, and the first one still needs no new layout.
        layouts.most = 1;
        let mut large = builder("PJM", Method::Monotone, Shape::None);
        large
            .build_with(&mut layouts, (DAY, until(20)), quotes.clone())
            .unwrap();
        let before = Arc::clone(in_use.last_layout().unwrap());
        in_use.build_with(&mut layouts, (DAY, until(0)), quotes).unwrap();
        assert!(layouts.len() == 1 && Arc::ptr_eq(&before, in_use.last_layout().unwrap()));
    }
}
