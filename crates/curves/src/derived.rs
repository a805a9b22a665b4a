//! Derived series: one number from the prices of several instruments, its legs.
//!
//! Role: [`Definition`] names the legs and the [`Formula`], and the [`RollingStatistic`] of its values if that is shown in their place;
//! [`Series`] takes the prices of the legs one by one, as they come from the log, and says which values follow or change.
//! Invariants: exact decimals; every value names the price, origin and age of each leg. What a value is follows from the set of prices, and
//! never from the order in which they came.
//! Failure: a definition that does not fit its formula; a price that cannot be used is counted with a [`Reason`].

mod limits;
mod price;
mod series;
mod sources;
mod statistic;
#[cfg(test)]
mod tests;
mod windows;

use domain::instrument::check_identifier;
use domain::{Decimal, LegPrice, Micros};

use crate::CurveError;
use crate::rolling::rounded;
use limits::{LONGEST_INTERVAL, Rule};

pub use limits::{Counts, Limits, Taken, read_back};
pub use series::Series;
pub use statistic::{MOST_VALUES, RollingStatistic, Statistic};

const ONE: i128 = 100_000_000;
/// Most legs of a formula.
const MOST_LEGS: usize = 2;
/// The longest age at which a price may still count.
const LONGEST_AGE: Micros = 7 * 86_400_000_000;

/// Currency and unit of each leg that has a price.
type Units<'a> = [Option<(&'a str, &'a str)>; MOST_LEGS];

/// How a value follows from its legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formula {
    /// `location - other`.
    LocationSpread,
    /// `local - reference`.
    Basis,
    /// `near - far`.
    CalendarSpread,
    /// `ask - bid` of one quote.
    BidAskSpread,
    /// `power - heat rate · gas`; the heat rate in MMBtu/MWh.
    SparkSpread {
        /// In MMBtu/MWh: about 7 for a combined cycle, 10 for a peaker.
        heat_rate: Decimal,
    },
    /// `power / gas` in MMBtu/MWh; no number if gas costs nothing or less.
    ImpliedHeatRate,
    /// `day ahead - real time` of one node.
    DayAheadMinusRealTime,
    /// `(congestion + loss) of the sink - (congestion + loss) of the source`.
    Congestion,
    /// The price of one instrument, for statistics of it.
    Price,
}

impl Formula {
    /// The names of the kinds, as configured and shown.
    pub const NAMES: [&str; 9] = [
        "location_spread",
        "basis",
        "calendar_spread",
        "bid_ask_spread",
        "spark_spread",
        "implied_heat_rate",
        "day_ahead_minus_real_time",
        "congestion",
        "price",
    ];

    /// The formula of this kind; `heat_rate` is that of a spark spread.
    pub fn named(name: &str, heat_rate: Decimal) -> Option<Formula> {
        let all = [
            Formula::LocationSpread,
            Formula::Basis,
            Formula::CalendarSpread,
            Formula::BidAskSpread,
            Formula::SparkSpread { heat_rate },
            Formula::ImpliedHeatRate,
            Formula::DayAheadMinusRealTime,
            Formula::Congestion,
            Formula::Price,
        ];
        all.into_iter().find(|formula| formula.name() == name)
    }

    /// The name of its kind.
    pub fn name(self) -> &'static str {
        match self {
            Formula::LocationSpread => "location_spread",
            Formula::Basis => "basis",
            Formula::CalendarSpread => "calendar_spread",
            Formula::BidAskSpread => "bid_ask_spread",
            Formula::SparkSpread { .. } => "spark_spread",
            Formula::ImpliedHeatRate => "implied_heat_rate",
            Formula::DayAheadMinusRealTime => "day_ahead_minus_real_time",
            Formula::Congestion => "congestion",
            Formula::Price => "price",
        }
    }

    /// The names of its legs, in order.
    pub fn legs(self) -> &'static [&'static str] {
        match self {
            Formula::LocationSpread => &["location", "other"],
            Formula::Basis => &["local", "reference"],
            Formula::CalendarSpread => &["near", "far"],
            Formula::BidAskSpread => &["quote"],
            Formula::SparkSpread { .. } | Formula::ImpliedHeatRate => &["power", "gas"],
            Formula::DayAheadMinusRealTime => &["day_ahead", "real_time"],
            Formula::Congestion => &["sink", "source"],
            Formula::Price => &["instrument"],
        }
    }

    /// What a price contributes.
    fn figure(self, leg: &LegPrice<'_>) -> Result<Decimal, Reason> {
        let of_both = |one: Option<Decimal>, sign: i128, other: Option<Decimal>| {
            let (one, other) = one.zip(other).ok_or(Reason::MissingComponent)?;
            decimal(i128::from(one.unscaled()) + sign * i128::from(other.unscaled()))
        };
        match self {
            Formula::BidAskSpread => of_both(leg.ask, -1, leg.bid),
            Formula::Congestion => of_both(leg.congestion, 1, leg.loss),
            _ => Ok(leg.price),
        }
    }

    /// The value at scale 8, rounded half to even.
    fn value(self, figures: [Option<Decimal>; MOST_LEGS], limits: &Limits) -> Result<Decimal, Reason> {
        let unscaled = |figure: Decimal| i128::from(figure.unscaled());
        let value = match (self, figures) {
            (_, [Some(one), None]) => Some(unscaled(one)),
            (Formula::ImpliedHeatRate, [_, Some(gas)]) if gas <= Decimal::ZERO && limits.holds(Rule::GasAboveZero) => {
                return Err(Reason::Undefined);
            }
            (Formula::ImpliedHeatRate, [Some(power), Some(gas)]) => rounded(unscaled(power) * ONE, unscaled(gas)),
            (Formula::SparkSpread { heat_rate }, [Some(power), Some(gas)]) => {
                rounded(unscaled(power) * ONE - unscaled(heat_rate) * unscaled(gas), ONE)
            }
            (_, [Some(first), Some(second)]) if limits.holds(Rule::Sign) => Some(unscaled(first) - unscaled(second)),
            #[cfg(test)]
            (_, [Some(first), Some(second)]) => Some(unscaled(first) + unscaled(second)),
            _ => None,
        };
        decimal(value.ok_or(Reason::TooLarge)?)
    }

    /// Whether prices in these currencies and units can be combined.
    fn fits(self, units: Units<'_>) -> bool {
        match (self, units) {
            (Formula::SparkSpread { .. } | Formula::ImpliedHeatRate, [Some(power), Some(gas)]) => {
                power.0 == gas.0 && (power.1, gas.1) == ("MWh", "MMBtu")
            }
            (_, [Some(first), Some(second)]) => first == second,
            _ => true,
        }
    }

    /// Writes the unit of the value, of legs in these currencies and units.
    fn write_unit(self, units: Units<'_>, text: &mut String) {
        let (of, by) = match (self, units) {
            (Formula::ImpliedHeatRate, [Some(power), Some(gas)]) => (gas.1, power.1),
            (_, [Some(only), _] | [None, Some(only)]) => only,
            _ => return,
        };
        text.extend([of, "/", by]);
    }
}

fn decimal(unscaled: i128) -> Result<Decimal, Reason> {
    let value = i64::try_from(unscaled).map_err(|_| Reason::TooLarge)?;
    Decimal::from_unscaled(value).map_err(|_| Reason::TooLarge)
}

/// Why a price or a time gave no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Another leg has no price at or before this time.
    Waiting,
    /// The newest price of another leg is older than the maximum age, or its delivery interval has ended.
    Stale,
    /// The formula is undefined for these prices.
    Undefined,
    /// The value is 10^10 or more.
    TooLarge,
    /// The currencies or units of the legs differ.
    UnitMismatch,
    /// The price lacks the bid, ask, congestion or loss that the formula needs.
    MissingComponent,
    /// The price is older than the hold time.
    TooLate,
    /// The price is for a time too far ahead, or its interval is too long or ends before it starts.
    OutOfReach,
    /// No configured series has this leg.
    UnknownLeg,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 9] = [
        Reason::Waiting,
        Reason::Stale,
        Reason::Undefined,
        Reason::TooLarge,
        Reason::UnitMismatch,
        Reason::MissingComponent,
        Reason::TooLate,
        Reason::OutOfReach,
        Reason::UnknownLeg,
    ];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Waiting => "waiting",
            Reason::Stale => "stale",
            Reason::Undefined => "undefined",
            Reason::TooLarge => "too_large",
            Reason::UnitMismatch => "unit_mismatch",
            Reason::MissingComponent => "missing_component",
            Reason::TooLate => "too_late",
            Reason::OutOfReach => "out_of_reach",
            Reason::UnknownLeg => "unknown_leg",
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
    /// A trade or quote counts for this long after its time, in microseconds; the price of an interval counts inside the interval.
    pub max_age: Micros,
    /// What is shown in place of the values.
    pub rolling: Option<RollingStatistic>,
}

impl Definition {
    /// Checks that it fits its formula.
    ///
    /// # Errors
    /// A name cannot be used, the legs are not those of the formula, or a number is not positive.
    pub fn check(&self) -> Result<(), CurveError> {
        let names = self.formula.legs();
        let problem = if let Err(why) = check_identifier(&self.series) {
            format!("its name {why}")
        } else if self.legs.len() != names.len() {
            format!("name {} legs: {}", names.len(), names.join(", "))
        } else if let Some(why) = self.legs.iter().find_map(|leg| check_identifier(leg).err()) {
            format!("the instrument of a leg {why}")
        } else if matches!(self.legs.as_slice(), [one, other] if one == other) {
            "its legs must be different instruments".to_owned()
        } else if matches!(self.formula, Formula::SparkSpread { heat_rate } if heat_rate <= Decimal::ZERO) {
            "the heat rate must be positive, in MMBtu/MWh".to_owned()
        } else if !(1..=LONGEST_AGE).contains(&self.max_age) {
            "the age at which a leg is stale must be positive, and at most 7 days".to_owned()
        } else if let Some(why) = self.rolling.and_then(|rolling| self.check_window(rolling)) {
            why
        } else {
            return Ok(());
        };
        Err(CurveError::BadDefinition {
            series: self.series.clone(),
            problem,
        })
    }

    fn check_window(&self, rolling: RollingStatistic) -> Option<String> {
        if !(2..=MOST_VALUES).contains(&rolling.count.unwrap_or(MOST_VALUES)) {
            Some(format!("a rolling window holds 2 to {MOST_VALUES} values"))
        } else if rolling.width <= 0 || self.reach() > LONGEST_AGE {
            Some("a rolling window must be positive, and with max_age, or 25 hours, at most 7 days".to_owned())
        } else {
            None
        }
    }

    /// The name of its kind, as shown: `basis`, or `basis_rolling_mean`.
    pub fn kind(&self) -> String {
        let formula = self.formula.name();
        self.rolling.map_or_else(
            || formula.to_owned(),
            |rolling| format!("{formula}_rolling_{}", rolling.statistic.name()),
        )
    }

    /// All that decides its values besides its name, on one line. Equal for equal definitions, however they were written.
    pub fn described(&self) -> String {
        let mut text = self.kind();
        for (role, instrument) in self.formula.legs().iter().zip(&self.legs) {
            text.push_str(&format!(":{role}={instrument}"));
        }
        if let Formula::SparkSpread { heat_rate } = self.formula {
            text.push_str(&format!(":heat_rate={heat_rate}"));
        }
        text.push_str(&format!(":max_age={}us", self.max_age));
        if let Some(RollingStatistic { count, width, .. }) = self.rolling {
            let count = count.map(|count| format!(":count={count}"));
            text.push_str(&format!("{}:window={width}us", count.unwrap_or_default()));
        }
        text
    }

    /// How long before a time the prices may lie that its value depends on.
    pub fn reach(&self) -> Micros {
        let width = self.rolling.map_or(0, |rolling| rolling.width);
        self.max_age.max(LONGEST_INTERVAL).saturating_add(width)
    }

    /// Writes the unit of what it shows, of legs in these currencies and units. A score has none.
    fn write_unit(&self, units: Units<'_>, text: &mut String) {
        let is_score = |rolling: RollingStatistic| rolling.statistic == Statistic::ZScore;
        match self.rolling.is_some_and(is_score) {
            true => text.push('1'),
            false => self.formula.write_unit(units, text),
        }
    }

    /// The place of this leg in the formula; `None` if the series has no such leg.
    pub fn leg(&self, role: &str, instrument_id: &str) -> Option<usize> {
        let legs = self.formula.legs().iter().zip(&self.legs);
        legs.enumerate()
            .find(|(_, (name, instrument))| **name == role && *instrument == instrument_id)
            .map(|(at, _)| at)
    }
}
