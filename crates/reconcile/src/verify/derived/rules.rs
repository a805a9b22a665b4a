//! What a derived series is worth at one time, from the prices of its legs. Pure.
//!
//! Role: the second opinion of `dp verify`. It works on whole sets of prices, not step by step, and shares no code with
//! `curves::derived`.
//! Invariants: the price of a leg at time t is the newest one that counts at t: inside its delivery interval, or not older than the
//! maximum age. Of several prices of one time the best one counts. A price that was read when t was before the hold time does not change
//! the value at t.
//! Failure: the log clock of the stage is known only within [`Times::slack`]. Where that decides, the value is [`Wanted::Unknown`], never
//! an error.

use domain::Micros;

use super::super::versions::Origin;
use super::statistic::Rolled;

const HOUR: Micros = 3_600_000_000;
/// How far ahead of the log clock a price may lie.
pub(super) const AHEAD: Micros = 48 * HOUR;
/// The longest delivery interval.
pub(super) const LONGEST_INTERVAL: Micros = 25 * HOUR;
/// By how much the log clock of the stage may be ahead of the append time of the message that it reads.
const MOST_SLACK: Micros = HOUR;
pub(super) const ONE: i128 = 100_000_000;
/// Decimals are smaller than this, at scale 8.
const LIMIT: i128 = 1_000_000_000_000_000_000;

/// A series as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub series: String,
    pub kind: &'static str,
    /// At scale 8; only a spark spread has one.
    pub heat_rate: i64,
    pub roles: &'static [&'static str],
    /// Instruments, in the order of the roles.
    pub legs: Vec<String>,
    pub max_age: Micros,
    /// The kind of its rows: with the statistic, if it shows one.
    pub shown_kind: String,
    /// The statistic that it shows in place of its values.
    pub rolled: Option<Rolled>,
}

impl Asked {
    /// How long before a value its window reaches.
    pub(super) fn width(&self) -> Micros {
        self.rolled.map_or(0, |rolled| rolled.width)
    }
}

/// Until when prices change a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub hold: Micros,
    pub slack: Micros,
}

impl Times {
    pub(super) fn of(hold: Micros) -> Times {
        Times {
            hold,
            slack: MOST_SLACK.min(hold / 2),
        }
    }

    /// Whether a price that was appended then changes the value at this time. `None`: it depends on the clock of the stage.
    fn changes(self, price: &Price, time: Micros) -> Option<bool> {
        let floor = price.appended.saturating_sub(self.hold);
        if floor > time {
            return Some(false);
        }
        (floor.saturating_add(self.slack) <= time && !price.is_doubtful).then_some(true)
    }

    /// Whether the stage certainly held a better price that counts no longer when it read the other one of the same time. It forgets a
    /// price as soon as that counts only before the hold time.
    fn replaces(self, over: &Price, price: &Price, max_age: Micros) -> bool {
        let floor = over.appended.max(price.appended).saturating_sub(self.hold);
        floor.saturating_add(self.slack) <= over.last(max_age)
    }
}

/// A price of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Price {
    pub time: Micros,
    /// End of its delivery interval.
    pub ends: Option<Micros>,
    pub appended: Micros,
    /// Larger for a more certain price.
    pub vintage: i64,
    pub sequence: Option<i64>,
    pub origin: Origin,
    /// What it contributes, at scale 8.
    pub figure: i64,
    pub currency: String,
    pub unit: String,
    /// Whether it depends on the clock of the stage if the price is used at all.
    pub is_doubtful: bool,
}

impl Price {
    /// The last microsecond at which it counts.
    fn last(&self, max_age: Micros) -> Micros {
        match self.ends {
            Some(end) => end - 1,
            None => self.time.saturating_add(max_age),
        }
    }

    fn rank(&self) -> (i64, Option<i64>, &Origin) {
        (self.vintage, self.sequence, &self.origin)
    }

    /// Whether the stage can use it. Marks it if that depends on the clock.
    pub(super) fn is_within_reach(&mut self, times: Times) -> bool {
        let length = self.ends.map(|end| end.saturating_sub(self.time));
        let ahead = self.time.saturating_sub(self.appended);
        self.is_doubtful = ahead > AHEAD;
        length.is_none_or(|length| (1..=LONGEST_INTERVAL).contains(&length)) && ahead <= AHEAD + times.slack
    }
}

/// What a price contributes to a series of this kind: the price, ask and bid, or congestion and loss, at scale 8.
pub(super) fn figure(kind: &str, first: Option<i64>, second: Option<i64>) -> Option<i64> {
    let second = || second.map(i128::from);
    let figure = match kind {
        "bid_ask_spread" => i128::from(first?) - second()?,
        "congestion" => i128::from(first?) + second()?,
        _ => i128::from(first?),
    };
    is_decimal(figure)
}

pub(super) fn is_decimal(number: i128) -> Option<i64> {
    i64::try_from(number).ok().filter(|_| number.abs() < LIMIT)
}

/// The prices of one leg.
#[derive(Debug, Default)]
pub(super) struct Leg {
    /// By time; of one time the best one first.
    prices: Vec<Price>,
    /// For each price, the last microsecond at which it or an earlier one counts.
    until: Vec<Micros>,
}

/// What is known of a leg at one time.
enum Found<'a> {
    Price(&'a Price),
    Nothing,
    Unknown,
}

impl Leg {
    pub(super) fn new(mut prices: Vec<Price>, max_age: Micros) -> Leg {
        prices.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| b.rank().cmp(&a.rank())));
        let mut until = Vec::with_capacity(prices.len());
        let mut longest = Micros::MIN;
        for price in &prices {
            longest = longest.max(price.last(max_age));
            until.push(longest);
        }
        Leg { prices, until }
    }

    /// The times of its prices.
    pub(super) fn times(&self) -> impl Iterator<Item = Micros> {
        self.prices.iter().map(|price| price.time)
    }

    /// The prices of exactly this time, the best one first.
    fn of(&self, time: Micros) -> &[Price] {
        let start = self.prices.partition_point(|price| price.time < time);
        let end = self.prices.partition_point(|price| price.time <= time);
        self.prices.get(start..end).unwrap_or_default()
    }

    /// The prices that count at this time, or did until a better one came: one for each currency and unit.
    fn counting(&self, time: Micros, asked: &Asked, times: Times) -> Vec<&Price> {
        let end = self.prices.partition_point(|price| price.time <= time);
        let until_then = self.prices.iter().zip(&self.until).take(end).rev();
        let mut counting: Vec<&Price> = Vec::new();
        for (price, _) in until_then.take_while(|(_, until)| **until >= time) {
            let counts = price.last(asked.max_age) >= time && times.changes(price, time) != Some(false);
            let is_known = |known: &&Price| (&known.currency, &known.unit) == (&price.currency, &price.unit);
            if counts && !counting.iter().any(is_known) {
                counting.push(price);
            }
        }
        counting
    }

    fn at(&self, time: Micros, asked: &Asked, times: Times) -> Found<'_> {
        let mut end = self.prices.partition_point(|price| price.time <= time);
        while let Some(newest) = end.checked_sub(1).and_then(|last| self.prices.get(last)) {
            let reached = self.until.get(end - 1).copied().unwrap_or(Micros::MIN);
            if reached < time {
                break;
            }
            let start = self.prices.partition_point(|price| price.time < newest.time);
            let mut over: Option<&Price> = None;
            for price in self.prices.get(start..end).unwrap_or_default() {
                let counts = match times.changes(price, time) {
                    None => return Found::Unknown,
                    Some(false) => continue,
                    Some(true) => price.last(asked.max_age) >= time,
                };
                match over {
                    None if counts => return Found::Price(price),
                    // It replaces the others of its time.
                    None => over = Some(price),
                    Some(over) if counts && !times.replaces(over, price, asked.max_age) => return Found::Unknown,
                    Some(_) => {}
                }
            }
            end = start;
        }
        Found::Nothing
    }
}

/// Whether there may have been a value at a time that has none: a better price has replaced one that counts. Returns the newest price that
/// it may have used.
pub(super) fn may_have_been_sent<'a>(time: Micros, legs: &'a [Leg], asked: &Asked, times: Times) -> Option<&'a Price> {
    let counting: Vec<Vec<&Price>> = legs.iter().map(|leg| leg.counting(time, asked, times)).collect();
    let fitting = match counting.as_slice() {
        [one] => one.first().copied(),
        [first, second] => {
            let fits_one = |price: &&&Price| second.iter().any(|other| fits(asked.kind, &[**price, *other]));
            first.iter().find(fits_one).copied()
        }
        _ => None,
    };
    let newest = counting.iter().flatten().max_by_key(|price| price.appended).copied();
    fitting.and(newest)
}

/// A leg as a value uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Used {
    pub figure: i64,
    pub time: Micros,
    pub age: Micros,
    pub origin: Origin,
}

/// The row that a time must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// At scale 8; `None` if the formula has no number.
    pub value: Option<i64>,
    pub unit: String,
    pub legs: Vec<Used>,
    /// When the newest of these prices was appended.
    pub appended: Micros,
}

/// What the table must have at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No row: no leg has a price at this time.
    Nothing,
    /// No row, or one without a value: a leg has no price, or the units differ.
    NoValue,
    /// This row.
    Row(Row),
    /// It depends on the clock of the stage.
    Unknown,
}

/// What the table must have at this time. There are as many `legs` as the series has.
pub(super) fn wanted(time: Micros, legs: &[Leg], asked: &Asked, times: Times) -> Wanted {
    let of_time = legs.iter().flat_map(|leg| leg.of(time));
    let is_time: Vec<Option<bool>> = of_time.map(|price| times.changes(price, time)).collect();
    if is_time.contains(&None) {
        return Wanted::Unknown;
    }
    if !is_time.contains(&Some(true)) {
        return Wanted::Nothing;
    }
    let mut used = Vec::with_capacity(legs.len());
    let mut is_complete = true;
    for leg in legs {
        match leg.at(time, asked, times) {
            Found::Unknown => return Wanted::Unknown,
            Found::Nothing => is_complete = false,
            Found::Price(price) => used.push(price),
        }
    }
    if !is_complete || !fits(asked.kind, &used) {
        return Wanted::NoValue;
    }
    let figures: Vec<i64> = used.iter().map(|price| price.figure).collect();
    Wanted::Row(Row {
        value: value_of(asked, &figures),
        unit: unit(asked.kind, &used),
        appended: used.iter().map(|price| price.appended).max().unwrap_or(Micros::MIN),
        legs: used
            .iter()
            .map(|price| Used {
                figure: price.figure,
                time: price.time,
                age: if price.ends.is_some() { 0 } else { time - price.time },
                origin: price.origin.clone(),
            })
            .collect(),
    })
}

fn is_of_power_and_gas(kind: &str) -> bool {
    matches!(kind, "spark_spread" | "implied_heat_rate")
}

fn fits(kind: &str, used: &[&Price]) -> bool {
    let [first, second] = used else { return true };
    let are_units_right = match is_of_power_and_gas(kind) {
        // A heat rate is in MMBtu/MWh.
        true => first.unit == "MWh" && second.unit == "MMBtu",
        false => first.unit == second.unit,
    };
    first.currency == second.currency && are_units_right
}

fn unit(kind: &str, used: &[&Price]) -> String {
    match (kind, used) {
        ("implied_heat_rate", [power, gas]) => format!("{}/{}", gas.unit, power.unit),
        (_, [first, ..]) => format!("{}/{}", first.currency, first.unit),
        (_, []) => String::new(),
    }
}

/// The value of these figures, one for each leg; `None` if the formula has no number, or one that is too large.
pub(super) fn value_of(asked: &Asked, figures: &[i64]) -> Option<i64> {
    let figures: Vec<i128> = figures.iter().map(|figure| i128::from(*figure)).collect();
    value(asked, &figures).and_then(is_decimal)
}

fn value(asked: &Asked, figures: &[i128]) -> Option<i128> {
    match (asked.kind, figures) {
        ("implied_heat_rate", [power, gas]) => (*gas > 0).then(|| divided(power * ONE, *gas)),
        ("spark_spread", [power, gas]) => Some(divided(power * ONE - i128::from(asked.heat_rate) * gas, ONE)),
        (_, [one]) => Some(*one),
        (_, [first, second]) => Some(first - second),
        _ => None,
    }
}

/// The quotient by a positive number, rounded half to even.
pub(super) fn divided(number: i128, by: i128) -> i128 {
    let (floor, rest) = (number.div_euclid(by), number.rem_euclid(by));
    let is_up = match (rest * 2).cmp(&by) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => floor.rem_euclid(2) == 1,
    };
    floor + i128::from(is_up)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn asked(kind: &'static str) -> Asked {
        Asked {
            series: "s".to_owned(),
            kind,
            heat_rate: 750_000_000,
            roles: &["local", "reference"],
            legs: vec!["A".to_owned(), "B".to_owned()],
            max_age: 60,
            shown_kind: kind.to_owned(),
            rolled: None,
        }
    }

    const TIMES: Times = Times {
        hold: 1_000,
        slack: 100,
    };

    pub(in super::super) fn trade(time: Micros, price: i64, offset: i64) -> Price {
        Price {
            time,
            ends: None,
            appended: time,
            vintage: 1,
            sequence: None,
            origin: ("raw".to_owned(), 0, offset, 0),
            figure: price * 100_000_000,
            currency: "USD".to_owned(),
            unit: "MWh".to_owned(),
            is_doubtful: false,
        }
    }

    fn at(time: Micros, kind: &'static str, first: &[Price], second: &[Price]) -> Wanted {
        let leg = |prices: &[Price]| Leg::new(prices.to_vec(), 60);
        wanted(time, &[leg(first), leg(second)], &asked(kind), TIMES)
    }

    fn number(wanted: Wanted) -> Option<i64> {
        match wanted {
            Wanted::Row(row) => row.value,
            _ => None,
        }
    }

    #[test]
    fn a_value_uses_the_newest_price_that_counts() {
        let (first, second) = (
            [trade(100, 7, 0), trade(130, 9, 1)],
            [trade(90, 3, 2), trade(140, 4, 3)],
        );
        assert_eq!(number(at(100, "basis", &first, &second)), Some(400_000_000));
        assert_eq!(number(at(130, "basis", &first, &second)), Some(600_000_000));
        assert_eq!(number(at(140, "basis", &first, &second)), Some(500_000_000));
        assert_eq!(at(90, "basis", &first, &second), Wanted::NoValue);
        assert_eq!(at(120, "basis", &first, &second), Wanted::Nothing);
        // After 60 microseconds a trade is stale.
        let late = [trade(151, 1, 4)];
        assert_eq!(at(151, "basis", &late, &second[..1]), Wanted::NoValue);
        assert!(number(at(150, "basis", &[trade(150, 1, 4)], &second[..1])).is_some());
    }

    #[test]
    fn an_interval_counts_until_it_ends_and_the_best_of_one_time_replaces_the_others() {
        let interval = |vintage, price, offset| Price {
            ends: Some(400),
            vintage,
            ..trade(100, price, offset)
        };
        let first = [interval(2, 5, 9), interval(8, 6, 3), trade(40, 1, 1)];
        let seconds = [trade(399, 1, 4), trade(400, 1, 5)];
        let Wanted::Row(row) = at(399, "basis", &first, &seconds) else {
            unreachable!("a value");
        };
        assert_eq!((row.value, row.legs[0].age), (Some(500_000_000), 0));
        assert_eq!(row.legs[0].origin.2, 3);
        assert_eq!(at(400, "basis", &first, &seconds), Wanted::NoValue);
    }

    #[test]
    fn formulas_round_half_to_even_and_have_no_number_without_a_positive_gas_price() {
        let gas = |price, offset| Price {
            unit: "MMBtu".to_owned(),
            ..trade(100, price, offset)
        };
        let (fifty_five, four, three) = ([trade(100, 55, 0)], [gas(4, 1)], [gas(3, 2)]);
        assert_eq!(number(at(100, "spark_spread", &fifty_five, &four)), Some(2_500_000_000));
        assert_eq!(
            number(at(100, "implied_heat_rate", &fifty_five, &four)),
            Some(1_375_000_000)
        );
        assert_eq!(
            number(at(100, "implied_heat_rate", &fifty_five, &three)),
            Some(1_833_333_333)
        );
        let free = [gas(0, 3)];
        let Wanted::Row(row) = at(100, "implied_heat_rate", &fifty_five, &free) else {
            unreachable!("a row without a number");
        };
        assert_eq!((row.value, row.unit.as_str()), (None, "MMBtu/MWh"));
        assert_eq!(
            [divided(5, 2), divided(7, 2), divided(-5, 2), divided(-7, 2)],
            [2, 4, -2, -4]
        );
        let euro = [Price {
            currency: "EUR".to_owned(),
            ..gas(1, 4)
        }];
        assert_eq!(at(100, "spark_spread", &fifty_five, &euro), Wanted::NoValue);
        // Both in MWh, or in the wrong order.
        for kind in ["spark_spread", "implied_heat_rate"] {
            assert_eq!(at(100, kind, &fifty_five, &[trade(100, 4, 1)]), Wanted::NoValue);
            assert_eq!(at(100, kind, &four, &fifty_five), Wanted::NoValue);
        }
        assert_eq!(figure("congestion", Some(5), None), None);
        assert_eq!(figure("bid_ask_spread", Some(5), Some(3)), Some(2));
        assert_eq!(figure("price", Some(5), None), Some(5));
    }

    #[test]
    fn a_price_that_came_after_the_hold_time_changes_nothing_and_near_it_nobody_knows() {
        let first = [trade(100, 7, 0)];
        let appended = |appended| {
            [
                trade(100, 3, 1),
                Price {
                    appended,
                    ..trade(100, 1, 2)
                },
            ]
        };
        assert_eq!(number(at(100, "basis", &first, &appended(1_000))), Some(600_000_000));
        assert_eq!(at(100, "basis", &first, &appended(1_050)), Wanted::Unknown);
        assert_eq!(number(at(100, "basis", &first, &appended(1_101))), Some(400_000_000));
    }

    #[test]
    fn a_better_price_that_came_after_its_own_end_leaves_the_other_of_its_time() {
        let times = Times { hold: 1_000, slack: 10 };
        let at = |appended| {
            let interval = Price {
                ends: Some(110),
                vintage: 2,
                appended,
                ..trade(100, 9, 1)
            };
            let legs = [vec![trade(100, 7, 0), interval], vec![trade(150, 3, 2)]];
            wanted(150, &legs.map(|prices| Leg::new(prices, 60)), &asked("basis"), times)
        };
        assert_eq!(at(1_099), Wanted::NoValue);
        // The stage may have forgotten the times before 110, and the interval with them.
        assert_eq!(at(1_100), Wanted::Unknown);
    }

    #[test]
    fn a_price_far_ahead_or_of_a_long_interval_is_not_used() {
        let times = Times::of(24 * HOUR);
        let mut price = trade(100 * HOUR, 1, 0);
        let mut check = |ahead: Micros, length: Option<Micros>| {
            price.appended = price.time - ahead;
            price.ends = length.map(|length| price.time + length);
            (price.is_within_reach(times), price.is_doubtful)
        };
        assert_eq!(check(48 * HOUR, None), (true, false));
        assert_eq!(check(48 * HOUR + 1, None), (true, true));
        assert_eq!(check(49 * HOUR + 1, None), (false, true));
        assert_eq!(check(0, Some(LONGEST_INTERVAL)), (true, false));
        assert_eq!(check(0, Some(LONGEST_INTERVAL + 1)), (false, false));
        assert_eq!(check(0, Some(0)), (false, false));
    }
}
