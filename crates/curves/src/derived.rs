//! Derived series: one number from the prices of several instruments, its legs.
//!
//! Role: a definition names the legs; a series takes their prices one by one, as they come from the log, and says what follows.
//! Invariants: exact decimals; every value names the price, origin and age of each leg; ages are counted on the log's clock, so the same log
//! gives the same values. A stale or missing leg gives no value, and a count.
//! Failure: a definition that does not fit its formula; a value of 10^10 or more.

use std::collections::BTreeMap;

use domain::{Decimal, Micros};

use crate::CurveError;
use crate::rolling::rounded;

const ONE: i128 = 100_000_000;

/// How a value follows from its legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formula {
    /// `location - other`, for the same delivery interval.
    LocationSpread,
    /// `local - reference`.
    Basis,
    /// `near - far`.
    CalendarSpread,
    /// `ask - bid`.
    BidAskSpread,
    /// `power - heat rate · gas`; the heat rate in MMBtu/MWh.
    SparkSpread {
        /// In MMBtu/MWh: about 7 for a combined cycle, 10 for a peaker.
        heat_rate: Decimal,
    },
    /// `power / gas` in MMBtu/MWh; no number if gas costs nothing or less.
    ImpliedHeatRate,
    /// `day ahead - real time` of one node, for the same delivery interval.
    DayAheadMinusRealTime,
    /// `(mcc + mlc) of the sink - (mcc + mlc) of the source`, for the same delivery interval.
    Congestion,
}

impl Formula {
    /// The names of its legs, in order.
    pub fn legs(self) -> &'static [&'static str] {
        match self {
            Formula::LocationSpread => &["location", "other"],
            Formula::Basis => &["local", "reference"],
            Formula::CalendarSpread => &["near", "far"],
            Formula::BidAskSpread => &["ask", "bid"],
            Formula::SparkSpread { .. } | Formula::ImpliedHeatRate => &["power", "gas"],
            Formula::DayAheadMinusRealTime => &["day_ahead", "real_time"],
            Formula::Congestion => &["sink_mcc", "sink_mlc", "source_mcc", "source_mlc"],
        }
    }

    /// Whether its legs are prices of one delivery interval; else the newest price of each counts.
    pub fn needs_same_interval(self) -> bool {
        matches!(
            self,
            Formula::LocationSpread | Formula::DayAheadMinusRealTime | Formula::Congestion
        )
    }

    /// The value at scale 8; `None` if it is undefined.
    fn value(self, prices: &[i128]) -> Option<i128> {
        match (self, prices) {
            (Formula::SparkSpread { heat_rate }, [power, gas]) => {
                rounded(power * ONE - i128::from(heat_rate.unscaled()) * gas, ONE)
            }
            (Formula::ImpliedHeatRate, [_, gas]) if *gas <= 0 => None,
            (Formula::ImpliedHeatRate, [power, gas]) => rounded(power * ONE, *gas),
            (Formula::Congestion, [sink_mcc, sink_mlc, source_mcc, source_mlc]) => {
                Some(sink_mcc + sink_mlc - source_mcc - source_mlc)
            }
            (_, [first, second]) => Some(first - second),
            _ => None,
        }
    }
}

/// A series as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub series: String,
    /// How its values are computed.
    pub formula: Formula,
    /// The instruments of the legs, in the order of [`Formula::legs`].
    pub legs: Vec<String>,
    /// A leg older than this on the log's clock is stale, in microseconds.
    pub max_age: Micros,
}

/// One price of one leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegPrice {
    /// The price, or the component of one.
    pub price: Decimal,
    /// Start of the delivery interval, or time of the trade.
    pub event_time: Micros,
    /// The log's clock when it came.
    pub clock: Micros,
    /// The origin of its tick.
    pub origin: String,
}

/// A leg as a value used it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedLeg {
    /// Its name in the formula.
    pub name: &'static str,
    /// Its instrument.
    pub instrument: String,
    /// What it cost.
    pub price: Decimal,
    /// Where it came from.
    pub origin: String,
    /// On the log's clock, in microseconds.
    pub age: Micros,
}

/// One value of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedPrice {
    /// Start of the delivery interval, or the newest event time of the legs.
    pub event_time: Micros,
    /// `None` if the formula is undefined for these prices.
    pub value: Option<Decimal>,
    /// In the order of the formula.
    pub legs: Vec<UsedLeg>,
    /// How often this interval had a value before.
    pub revision: u32,
    /// The name of the leg that came.
    pub cause: &'static str,
}

/// What follows from the price of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A value.
    Value(DerivedPrice),
    /// Another leg has no price yet.
    Waiting,
    /// Another leg is too old.
    Stale,
    /// A newer price of this leg is known.
    Older,
}

/// Counts of what became of the prices of legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Counts {
    pub values: u64,
    pub undefined: u64,
    pub waiting: u64,
    /// Values that a stale leg prevented, and intervals whose other legs did not come in time.
    pub stale: u64,
    pub older: u64,
}

/// The legs of one interval, or the newest of all.
#[derive(Debug, Clone, Default)]
struct Meeting {
    legs: Vec<Option<LegPrice>>,
    values: u32,
}

/// A series and the legs that it knows.
#[derive(Debug, Clone)]
pub struct Series {
    definition: Definition,
    /// By delivery interval; one at time 0 if the newest prices count.
    meetings: BTreeMap<Micros, Meeting>,
    counts: Counts,
}

impl Series {
    /// A series without prices.
    ///
    /// # Errors
    /// The legs are not those of the formula, or a number is not positive.
    pub fn new(definition: Definition) -> Result<Series, CurveError> {
        let names = definition.formula.legs();
        let problem = match (definition.legs.len() == names.len(), definition.formula) {
            (false, _) => format!("name {} legs: {}", names.len(), names.join(", ")),
            (_, Formula::SparkSpread { heat_rate }) if heat_rate <= Decimal::ZERO => {
                "the heat rate must be positive, in MMBtu/MWh".to_owned()
            }
            _ if definition.max_age <= 0 => "the age at which a leg is stale must be positive".to_owned(),
            _ => {
                return Ok(Series {
                    definition,
                    meetings: BTreeMap::new(),
                    counts: Counts::default(),
                });
            }
        };
        Err(CurveError::BadDefinition {
            series: definition.series,
            problem,
        })
    }

    /// The definition.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// What became of the prices so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes the next price of a leg, in the order of the log.
    ///
    /// # Errors
    /// There is no such leg, or the value is 10^10 or more.
    pub fn take(&mut self, leg: usize, price: LegPrice) -> Result<Outcome, CurveError> {
        let clock = price.clock;
        self.forget(clock);
        let names = self.definition.formula.legs();
        let key = if self.definition.formula.needs_same_interval() {
            price.event_time
        } else {
            0
        };
        let meeting = self.meetings.entry(key).or_default();
        meeting.legs.resize(names.len(), None);
        let (Some(slot), Some(cause)) = (meeting.legs.get_mut(leg), names.get(leg)) else {
            return Err(CurveError::BadDefinition {
                series: self.definition.series.clone(),
                problem: format!("it has no leg {leg}, but {}: {}", names.len(), names.join(", ")),
            });
        };
        if slot.as_ref().is_some_and(|known| known.event_time > price.event_time) {
            self.counts.older += 1;
            return Ok(Outcome::Older);
        }
        *slot = Some(price);
        let known: Vec<&LegPrice> = meeting.legs.iter().flatten().collect();
        if known.len() < names.len() {
            self.counts.waiting += 1;
            return Ok(Outcome::Waiting);
        }
        if known
            .iter()
            .any(|leg| clock.saturating_sub(leg.clock) > self.definition.max_age)
        {
            self.counts.stale += 1;
            return Ok(Outcome::Stale);
        }
        let value = valued(&self.definition, &known, clock, meeting.values, cause)?;
        meeting.values += 1;
        match value.value {
            Some(_) => self.counts.values += 1,
            None => self.counts.undefined += 1,
        }
        Ok(Outcome::Value(value))
    }

    /// Forgets intervals whose first leg is too old to be used.
    fn forget(&mut self, clock: Micros) {
        if !self.definition.formula.needs_same_interval() {
            return;
        }
        let max_age = self.definition.max_age;
        let counts = &mut self.counts;
        self.meetings.retain(|_, meeting| {
            let oldest = meeting.legs.iter().flatten().map(|leg| leg.clock).min();
            let is_kept = oldest.is_some_and(|oldest| clock.saturating_sub(oldest) <= max_age);
            counts.stale += u64::from(!is_kept && meeting.values == 0);
            is_kept
        });
    }
}

fn valued(
    definition: &Definition,
    known: &[&LegPrice],
    clock: Micros,
    revision: u32,
    cause: &'static str,
) -> Result<DerivedPrice, CurveError> {
    let too_large = || CurveError::TooLarge(format!("series \"{}\"", definition.series));
    let prices: Vec<i128> = known.iter().map(|leg| i128::from(leg.price.unscaled())).collect();
    let value = definition.formula.value(&prices);
    let decimal = |unscaled: i128| {
        i64::try_from(unscaled)
            .ok()
            .and_then(|value| Decimal::from_unscaled(value).ok())
    };
    let value = value
        .map(|unscaled| decimal(unscaled).ok_or_else(too_large))
        .transpose()?;
    let legs = definition.formula.legs().iter().zip(&definition.legs).zip(known);
    Ok(DerivedPrice {
        event_time: known.iter().map(|leg| leg.event_time).max().unwrap_or_default(),
        value,
        revision,
        cause,
        legs: legs
            .map(|((name, instrument), leg)| UsedLeg {
                name,
                instrument: instrument.clone(),
                price: leg.price,
                origin: leg.origin.clone(),
                age: clock.saturating_sub(leg.clock),
            })
            .collect(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_AGE: Micros = 60;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    fn series(formula: Formula) -> Series {
        Series::new(Definition {
            series: "test".into(),
            formula,
            legs: formula.legs().iter().map(|leg| format!("PJM.{leg}")).collect(),
            max_age: MAX_AGE,
        })
        .unwrap()
    }

    fn leg(price: &str, event_time: Micros, clock: Micros) -> LegPrice {
        LegPrice {
            price: decimal(price),
            event_time,
            clock,
            origin: format!("raw/0/{clock}/0"),
        }
    }

    fn last(formula: Formula, prices: &[&str]) -> Option<String> {
        let mut series = series(formula);
        let mut found = None;
        for (at, price) in prices.iter().enumerate() {
            if let Outcome::Value(value) = series.take(at, leg(price, 7, 7)).unwrap() {
                found = value.value.map(|value| value.to_string());
            }
        }
        found
    }

    #[test]
    fn each_formula_gives_its_worked_example() {
        let spark = Formula::SparkSpread {
            heat_rate: decimal("7.5"),
        };
        assert_eq!(last(spark, &["55", "4"]).as_deref(), Some("25"));
        assert_eq!(last(spark, &["20", "-1.00000001"]).as_deref(), Some("27.50000008"));
        assert_eq!(last(Formula::ImpliedHeatRate, &["55", "4"]).as_deref(), Some("13.75"));
        assert_eq!(
            last(Formula::ImpliedHeatRate, &["-55", "3"]).as_deref(),
            Some("-18.33333333")
        );
        assert_eq!(last(Formula::ImpliedHeatRate, &["55", "0"]), None);
        assert_eq!(last(Formula::ImpliedHeatRate, &["55", "-2"]), None);
        assert_eq!(last(Formula::Basis, &["2.10", "3.45"]).as_deref(), Some("-1.35"));
        assert_eq!(last(Formula::CalendarSpread, &["3", "3.5"]).as_deref(), Some("-0.5"));
        assert_eq!(last(Formula::BidAskSpread, &["3.02", "3.01"]).as_deref(), Some("0.01"));
        assert_eq!(
            last(Formula::DayAheadMinusRealTime, &["31.5", "-10"]).as_deref(),
            Some("41.5")
        );
        assert_eq!(
            last(Formula::Congestion, &["5", "1", "-2", "0.5"]).as_deref(),
            Some("7.5")
        );
    }

    #[test]
    fn a_value_names_its_legs_and_a_stale_leg_gives_none() {
        let mut series = series(Formula::Basis);
        assert_eq!(series.take(1, leg("3", 10, 100)).unwrap(), Outcome::Waiting);
        let Outcome::Value(value) = series.take(0, leg("5", 11, 160)).unwrap() else {
            panic!()
        };
        assert_eq!(
            (value.value, value.event_time, value.cause),
            (Some(decimal("2")), 11, "local")
        );
        assert_eq!(
            (&*value.legs[1].origin, value.legs[1].age, value.legs[0].age),
            ("raw/0/100/0", 60, 0)
        );
        assert_eq!(series.take(0, leg("6", 12, 161)).unwrap(), Outcome::Stale);
        assert_eq!(series.take(0, leg("6", 11, 161)).unwrap(), Outcome::Older);
        assert!(matches!(series.take(1, leg("4", 12, 162)).unwrap(), Outcome::Value(_)));
        let counts = Counts {
            values: 2,
            waiting: 1,
            stale: 1,
            older: 1,
            undefined: 0,
        };
        assert_eq!(series.counts(), counts);
    }

    #[test]
    fn legs_of_other_intervals_never_meet_and_a_corrected_leg_makes_a_revision() {
        let mut series = series(Formula::DayAheadMinusRealTime);
        assert_eq!(series.take(0, leg("30", 0, 1)).unwrap(), Outcome::Waiting);
        assert_eq!(series.take(0, leg("40", 3600, 1)).unwrap(), Outcome::Waiting);
        let Outcome::Value(first) = series.take(1, leg("25", 0, 2)).unwrap() else {
            panic!()
        };
        assert_eq!((first.value, first.revision), (Some(decimal("5")), 0));
        let Outcome::Value(again) = series.take(1, leg("26", 0, 3)).unwrap() else {
            panic!()
        };
        assert_eq!(
            (again.value, again.revision, again.cause),
            (Some(decimal("4")), 1, "real_time")
        );
        // The hour at 3600 never got its real-time price; the hour at 0 had values.
        assert_eq!(series.take(0, leg("1", 7200, 62)).unwrap(), Outcome::Waiting);
        assert_eq!((series.counts().stale, series.meetings.len()), (1, 1));
    }

    #[test]
    fn definitions_that_do_not_fit_are_refused() {
        let bad = |formula, legs: usize, max_age| {
            let legs = vec!["X".to_owned(); legs];
            Series::new(Definition {
                series: "s".into(),
                formula,
                legs,
                max_age,
            })
            .unwrap_err()
            .to_string()
        };
        assert!(bad(Formula::Congestion, 2, 1).contains("sink_mcc"));
        assert!(bad(Formula::Basis, 2, 0).contains("positive"));
        assert!(
            bad(
                Formula::SparkSpread {
                    heat_rate: Decimal::ZERO
                },
                2,
                1
            )
            .contains("heat rate")
        );
        assert!(series(Formula::Basis).take(2, leg("1", 0, 0)).is_err());
        let mut wide = series(Formula::CalendarSpread);
        wide.take(0, leg("9999999999", 0, 0)).unwrap();
        assert!(
            wide.take(1, leg("-9999999999", 0, 0))
                .unwrap_err()
                .to_string()
                .contains("test")
        );
    }

    proptest! {
        /// The value is that of the newest leg on each side, whatever came before.
        #[test]
        fn the_newest_legs_count(ticks in proptest::collection::vec((0usize..2, -1_000i64..1_000, 0i64..50), 1..60)) {
            let mut series = series(Formula::Basis);
            let mut newest: [Option<(i64, i64)>; 2] = [None; 2];
            let mut clock = 0;
            for (at, price, step) in ticks {
                clock += step;
                newest[at] = Some((price, clock));
                let expected = match (newest[0], newest[1]) {
                    (Some(local), Some(reference)) if clock - local.1.min(reference.1) <= MAX_AGE => Some(local.0 - reference.0),
                    _ => None,
                };
                let found = match series.take(at, leg(&price.to_string(), clock, clock)).unwrap() {
                    Outcome::Value(value) => value.value,
                    _ => None,
                };
                prop_assert_eq!(found, expected.map(|value| Decimal::from_integer(value).unwrap()));
            }
        }
    }
}
