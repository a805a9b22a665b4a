//! Which quotes the snapshots of a curve must be made from. Pure.
//!
//! Role: the second opinion of `dp verify`. It works on whole sets of quotes, not step by step, and shares no code with crate `curves`.
//! Invariants: an interval of the log clock with a quote that came within the hold time has a snapshot, whose time is its end. It has of
//! each instrument the best quote with a clock before that time, by (trade date, vintage, stated time, sequence, origin), unless this
//! one is older than the maximum age, or its trade date is further before the last one, or it has another unit than the last one. A quote that
//! was read when a time was before the hold time does not change its snapshot.
//! Failure: an old quote hides newer ones of an earlier trade date as long as the stage remembers it, which its clock decides. Where that
//! matters, the answer is [`Wanted::Unknown`], never an error.

use std::collections::BTreeMap;

use domain::Micros;
use jiff::Span;
use jiff::civil::Date;

use super::super::versions::Origin;
use super::definition::{Definition, Membership};
use super::delivery::{Contract, Market, months_between};

const HOUR: Micros = 3_600_000_000;
/// A contract ends at most so many years after its trade date.
const MOST_YEARS: i16 = 20;
/// At scale 8, either way: 100,000 per unit. A larger price is no quote.
const MOST_FIGURE: u64 = 10_000_000_000_000;
/// A curve has at most so many quotes: those that deliver first.
const MOST_QUOTES: usize = 1_000;
/// How far ahead of the log clock the event time of a quote may lie.
const AHEAD: Micros = 24 * HOUR;
/// By how much the clock of the stage may be ahead of a quote whose leg is not in the log any more.
const MOST_SLACK: Micros = HOUR;

/// The settings of aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub interval: Micros,
    pub hold: Micros,
    pub max_age: Micros,
}

impl Times {
    /// The end of the interval of a clock.
    pub(super) fn end_of(self, clock: Micros) -> Option<Micros> {
        let interval = self.interval.max(1);
        clock.div_euclid(interval).checked_add(1)?.checked_mul(interval)
    }

    /// Whether a price of one trade date counts on a day. A part of a day of the maximum age is a day.
    fn is_fresh(self, traded: Date, day: Date) -> bool {
        let most = (self.max_age + 24 * HOUR - 1) / (24 * HOUR);
        i64::from((day - traded).get_days()) <= most
    }

    /// The latest clock at which the stage has read a quote whose leg is not in the log any more.
    pub(super) fn read_by(self, clock: Micros) -> Micros {
        clock.saturating_add(MOST_SLACK.min(self.hold / 2))
    }
}

/// A quote as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quote {
    pub instrument: String,
    /// What reference data says that the instrument is, in upper case, with its block if it names one; `None` for a settlement, whose
    /// instrument is its contract.
    pub tenor: Option<String>,
    pub market: String,
    /// The log clock at its tick.
    pub clock: Micros,
    /// The clock of the stage when it read the quote.
    pub read: Micros,
    /// The newest log clock of its partition.
    pub newest_clock: Micros,
    pub time: Micros,
    /// Its trade date in the market's zone, which [`Quotes::new`] fills in.
    pub day: Date,
    /// Whether it states no time of that day, which [`Quotes::new`] fills in, too.
    pub is_dated: bool,
    /// Larger for a more certain price.
    pub vintage: i64,
    pub sequence: Option<i64>,
    pub origin: Origin,
    /// At scale 8.
    pub figure: i64,
    /// Likewise; `None` if its source states none.
    pub volume: Option<i64>,
    /// Currency and unit.
    pub unit: (String, String),
    /// How the curve was defined, if the log still says it.
    pub definition: Option<String>,
}

impl Quote {
    /// The settlement of a day ranks above the prices of times of the day.
    fn rank(&self) -> (Date, i64, bool, Micros, Option<i64>, &Origin) {
        (
            self.day,
            self.vintage,
            self.is_dated,
            self.time,
            self.sequence,
            &self.origin,
        )
    }

    /// Whether its id names no other market and a contract of its own, at a time that it can have.
    fn is_placed(&self, market: &Market) -> bool {
        let is_near = |contract: &Contract| {
            let last = self.day.checked_add(Span::new().years(MOST_YEARS));
            last.is_ok_and(|last| contract.end <= last)
        };
        let contract = market.contract_of(&self.instrument, self.day).filter(is_near);
        let is_defined = self.definition.as_deref().is_none_or(|text| {
            let definition = Definition::of(text);
            definition.is_some_and(|definition| definition.has(&self.instrument) != Membership::OtherHub)
        });
        let (of_id, _) = self.instrument.split_once('.').unwrap_or_default();
        let is_own = of_id.eq_ignore_ascii_case(&market.name) || Market::of(of_id).is_none();
        let is_a_price = self.figure.unsigned_abs() <= MOST_FIGURE;
        contract.is_some() && is_own && is_a_price && is_defined && self.time <= self.clock.saturating_add(AHEAD)
    }

    /// Whether it counts by the definition of the newest quote; `None` if its own is not in the log any more.
    fn is_member(&self, text: &str, definition: &Definition) -> Option<bool> {
        match definition.has(&self.instrument) {
            Membership::Yes => Some(true),
            Membership::OtherHub => Some(false),
            Membership::ByItsRow => self.definition.as_deref().map(|own| own == text),
        }
    }
}

/// What becomes of a quote in a curve, as far as the quotes alone say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is repriced, or others imply it.
    Used,
    InDelivery,
    Superseded,
    NoDelivery,
}

/// A quote that a snapshot must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    pub contract: Contract,
    /// At scale 8.
    pub figure: i64,
    /// Likewise.
    pub volume: Option<i64>,
    pub time: Micros,
    pub origin: Origin,
    pub fate: Fate,
}

/// What the snapshots of a time must be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub market: String,
    /// Of the newest quote of the interval.
    pub origin: Origin,
    pub definition: Option<String>,
    /// The last trade date.
    pub day: Date,
    pub inputs: Vec<Input>,
    /// When the newest quote of the interval came.
    pub clock: Micros,
    /// Whether a tick after the interval has told the stage that it is over.
    pub is_over: bool,
}

/// What the table must have of a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No snapshot: the interval has no quote that counts.
    Nothing,
    /// No snapshot, or one without points: no quote can be used.
    NoCurve,
    /// A snapshot to each horizon.
    Snapshots(Content),
    /// It depends on the clock of the stage.
    Unknown,
}

/// What is known of an instrument at a time.
enum Best<'q> {
    Quote(&'q Quote),
    None,
    Unknown,
}

/// The quotes of a curve of a tenant.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    /// By clock.
    by_instrument: BTreeMap<String, Vec<Quote>>,
    by_end: BTreeMap<Micros, Vec<Quote>>,
    /// `None`: the registry does not have it.
    markets: BTreeMap<String, Option<Market>>,
}

impl Quotes {
    /// Those that name a contract.
    pub(super) fn new(quotes: Vec<Quote>, times: Times) -> Quotes {
        let mut found = Quotes::default();
        for mut quote in quotes {
            if !found.markets.contains_key(&quote.market) {
                found.markets.insert(quote.market.clone(), Market::of(&quote.market));
            }
            let day = found.market(&quote.market).and_then(|market| market.day_of(quote.time));
            let Some(day) = day else { continue };
            quote.day = day;
            if let Some(tenor) = &quote.tenor {
                let contract = found
                    .market(&quote.market)
                    .and_then(|market| resolved(market, tenor, day));
                let Some(contract) = contract else { continue };
                quote.instrument = format!("{}.{contract}.SETTLEMENT", quote.instrument);
            }
            quote.is_dated = found
                .market(&quote.market)
                .is_some_and(|market| market.is_start_of_day(quote.time));
            let is_placed = found
                .market(&quote.market)
                .is_some_and(|market| quote.is_placed(market));
            let Some(end) = times.end_of(quote.clock).filter(|_| is_placed) else {
                continue;
            };
            found.by_end.entry(end).or_default().push(quote.clone());
            found
                .by_instrument
                .entry(quote.instrument.clone())
                .or_default()
                .push(quote);
        }
        for quotes in found.by_instrument.values_mut() {
            quotes.sort_by_key(|quote| quote.clock);
        }
        found
    }

    fn market(&self, name: &str) -> Option<&Market> {
        self.markets.get(name)?.as_ref()
    }

    /// The ends of the intervals that have quotes.
    pub(super) fn ends(&self) -> impl Iterator<Item = Micros> {
        self.by_end.keys().copied()
    }

    /// What the table must have of this time. `stored` is the definition that its rows name.
    pub(super) fn wanted(&self, at: Micros, stored: Option<&str>, times: Times) -> Wanted {
        let is_held = |quote: &&Quote| quote.read.saturating_sub(times.hold) <= at;
        let of_interval: Vec<&Quote> = self.by_end.get(&at).into_iter().flatten().filter(is_held).collect();
        let Some(newest) = of_interval.iter().max_by_key(|quote| (quote.clock, &quote.origin)) else {
            return Wanted::Nothing;
        };
        let mut best = Vec::new();
        for quotes in self.by_instrument.values() {
            match best_at(quotes, at, times) {
                Best::Unknown => return Wanted::Unknown,
                Best::None => {}
                Best::Quote(quote) if quote.market == newest.market => best.push(quote),
                Best::Quote(_) => {}
            }
        }
        let text = newest.definition.as_deref().or(stored).unwrap_or_default();
        let Some(definition) = Definition::of(text) else {
            return Wanted::Unknown;
        };
        let members: Vec<Option<bool>> = best.iter().map(|quote| quote.is_member(text, &definition)).collect();
        if members.contains(&None) {
            return Wanted::Unknown;
        }
        let mut members = members.into_iter();
        best.retain(|_| members.next().flatten() == Some(true));
        let last = best.iter().max_by_key(|quote| (quote.day, quote.clock, &quote.origin));
        let unit = last.map(|quote| quote.unit.clone());
        best.retain(|quote| unit.as_ref() == Some(&quote.unit));
        let market = self.market(&newest.market);
        let made = market.and_then(|market| Some((market, inputs(market, &best, &definition.months, times)?)));
        let Some((market, (day, inputs))) = made else {
            return Wanted::NoCurve;
        };
        Wanted::Snapshots(Content {
            market: market.name.clone(),
            origin: newest.origin.clone(),
            definition: newest.definition.clone(),
            day,
            inputs,
            clock: newest.clock,
            is_over: of_interval.iter().any(|quote| quote.newest_clock >= at),
        })
    }
}

/// What a tenor and its block mean on a day, as they are called in instrument ids.
fn resolved(market: &Market, tier: &str, day: Date) -> Option<String> {
    let (tenor, block) = match tier.split_once(' ') {
        Some((tenor, block)) => (tenor, block.trim_start()),
        None => (tier, "FLAT"),
    };
    let ahead: Option<i32> = match tenor {
        "PROMPT" => Some(1),
        _ => tenor.strip_prefix('M').and_then(|months| months.parse().ok()),
    };
    let contract = match (tenor, ahead) {
        ("BALMO" | "BOM", _) => format!("BALMO-{:04}-{:02}", day.year(), day.month()),
        (_, Some(ahead @ 1..=24)) => prompt(market, day)?.plus(ahead - 1).to_string(),
        _ => market.named(tenor, &block.to_ascii_lowercase(), day)?.name,
    };
    Some(format!("{contract}.{block}"))
}

/// The month that `M1` means on a day. The expiry calendar is a fact of the exchange, as the zones are.
fn prompt(market: &Market, day: Date) -> Option<markets::contract::Month> {
    let commodity = match market.is_gas() {
        true => markets::contract::Commodity::Gas,
        false => markets::contract::Commodity::Power,
    };
    markets::contract::prompt(day, commodity).ok()
}

/// The best quote of an instrument at a time.
fn best_at(quotes: &[Quote], at: Micros, times: Times) -> Best<'_> {
    let end = quotes.partition_point(|quote| quote.clock < at);
    let fresh = quotes.partition_point(|quote| quote.clock < at.saturating_sub(times.max_age));
    let (old, fresh) = quotes.get(..end).unwrap_or_default().split_at(fresh.min(end));
    let held = || fresh.iter().filter(|quote| quote.read.saturating_sub(times.hold) <= at);
    let Some(best) = held().max_by_key(|quote| quote.rank()) else {
        return Best::None;
    };
    // An old quote with a newer trade date hides this one until it is forgotten: the maximum age and the hold time after it came.
    let last_read = held().map(|quote| quote.read).max().unwrap_or(at);
    let remembered = last_read.saturating_sub(times.hold).saturating_sub(times.max_age);
    let hides = |quote: &&Quote| quote.rank() > best.rank() && quote.read.saturating_sub(times.hold) <= at;
    // The stage may never have kept one that is not the best of all.
    match old.iter().filter(hides).max_by_key(|quote| quote.rank()) {
        None => Best::Quote(best),
        Some(hiding) if hiding.clock >= remembered => Best::None,
        Some(_) => Best::Unknown,
    }
}

/// The day of the curve, and the quotes of contracts that still deliver. `None` if no quote can be used.
fn inputs(market: &Market, best: &[&Quote], months: &[i32], times: Times) -> Option<(Date, Vec<Input>)> {
    let day = best.iter().map(|quote| quote.day).max()?;
    let prompt = prompt(market, day)?.first().ok()?;
    let counts = |contract: &Contract| {
        let ahead = months_between(prompt, contract.first) + 1;
        let is_counted = months.is_empty() || !contract.is_month() || months.contains(&ahead);
        is_counted && contract.end > day
    };
    let fresh = best.iter().filter(|quote| times.is_fresh(quote.day, day));
    let mut quoted: Vec<(Contract, &Quote)> = fresh
        .filter_map(|quote| Some((market.contract_of(&quote.instrument, quote.day).filter(counts)?, *quote)))
        .collect();
    quoted.sort_by_key(|(contract, quote)| (contract.end, &quote.instrument));
    quoted.truncate(MOST_QUOTES);
    quoted.sort_by_key(|(_, quote)| &quote.instrument);
    let input = |(contract, quote): (Contract, &Quote)| Input {
        contract,
        figure: quote.figure,
        volume: quote.volume,
        time: quote.time,
        origin: quote.origin.clone(),
        fate: Fate::Used,
    };
    let mut inputs: Vec<Input> = quoted.into_iter().map(input).collect();
    let fates: Vec<Fate> = (0..inputs.len()).map(|at| fate(market, day, &inputs, at)).collect();
    for (input, fate) in inputs.iter_mut().zip(&fates) {
        input.fate = *fate;
    }
    fates.contains(&Fate::Used).then_some((day, inputs))
}

/// Contracts of one delivery may have two instruments (`F27`, `2027-01`); of equally new quotes the later instrument counts.
fn fate(market: &Market, day: Date, inputs: &[Input], at: usize) -> Fate {
    let Some(input) = inputs.get(at) else {
        return Fate::Superseded;
    };
    let contract = &input.contract;
    let is_due = match contract.is_balance() {
        true => day.tomorrow().is_ok_and(|next| next == contract.first),
        false => contract.first > day,
    };
    let same = inputs
        .iter()
        .enumerate()
        .filter(|(_, other)| other.contract == *contract);
    let newest = same.max_by_key(|(at, other)| (other.time, *at)).map(|(at, _)| at);
    match () {
        () if !is_due => Fate::InDelivery,
        () if newest != Some(at) => Fate::Superseded,
        () if market.hours(contract.first, contract.end, contract.block) == Some(0) => Fate::NoDelivery,
        () => Fate::Used,
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;

    const MINUTE: Micros = 60_000_000;
    /// 18 December 2026 in New York; a whole minute.
    pub(in super::super) const START: Micros = 1_797_620_400_000_000;
    pub(in super::super) const TIMES: Times = Times {
        interval: MINUTE,
        hold: 24 * HOUR,
        max_age: 2 * HOUR,
    };

    /// A settlement of this contract that came this many minutes after the start.
    pub(in super::super) fn quote(contract: &str, minutes: i64, price: i64, offset: i64) -> Quote {
        let clock = START + minutes * MINUTE;
        Quote {
            instrument: format!("PJM.W.{contract}.FLAT.SETTLEMENT"),
            tenor: None,
            market: "PJM".to_owned(),
            clock,
            read: clock,
            newest_clock: Micros::MAX,
            time: clock,
            day: Date::ZERO,
            is_dated: false,
            vintage: 1,
            sequence: None,
            origin: ("raw".to_owned(), 0, offset, 0),
            figure: price * 100_000_000,
            volume: None,
            unit: ("USD".to_owned(), "MWh".to_owned()),
            definition: Some("flat".to_owned()),
        }
    }

    fn at(minutes: i64, quotes: &[Quote]) -> Wanted {
        let quotes = Quotes::new(quotes.to_vec(), TIMES);
        quotes.wanted(START + minutes * MINUTE, None, TIMES)
    }

    /// Contract, price and fate of each input.
    fn shown(wanted: Wanted) -> Vec<(String, i64, Fate)> {
        let Wanted::Snapshots(content) = wanted else {
            unreachable!("snapshots, not {wanted:?}");
        };
        let of = |input: Input| (input.contract.to_string(), input.figure / 100_000_000, input.fate);
        content.inputs.into_iter().map(of).collect()
    }

    fn used(contract: &str, price: i64) -> (String, i64, Fate) {
        (format!("{contract} flat"), price, Fate::Used)
    }

    #[test]
    fn an_interval_with_a_quote_has_the_newest_quote_of_each_contract_before_its_end() {
        let quotes = [
            quote("2027-01", 0, 40, 1),
            quote("Q1-27", 3, 41, 2),
            quote("2027-01", 5, 42, 3),
        ];
        assert_eq!(shown(at(1, &quotes)), [used("2027-01", 40)]);
        assert_eq!(at(2, &quotes), Wanted::Nothing);
        assert_eq!(shown(at(4, &quotes)), [used("2027-01", 40), used("Q1-27", 41)]);
        assert_eq!(shown(at(6, &quotes)), [used("2027-01", 42), used("Q1-27", 41)]);
        // Two hours after it came, a quote is too old.
        let later = [&quotes[..], &[quote("CAL-28", 124, 50, 4)]].concat();
        assert_eq!(shown(at(125, &later)), [used("2027-01", 42), used("CAL-28", 50)]);
    }

    #[test]
    fn an_older_trade_date_never_replaces_a_newer_one() {
        let mut old = quote("2027-01", 4, 39, 9);
        old.time = START - 24 * HOUR;
        let quotes = [quote("2027-01", 0, 40, 1), old.clone()];
        assert_eq!(shown(at(5, &quotes)), [used("2027-01", 40)]);
        // The newer one is too old, and hides the other one while the stage remembers it; how long, its clock decides.
        let behind = |minutes: i64| {
            let mut late = quote("2027-01", minutes, 39, 9);
            late.time = old.time;
            [quote("2027-01", 0, 40, 1), quote("Q1-27", minutes, 41, 8), late]
        };
        assert_eq!(shown(at(26 * 60 + 1, &behind(26 * 60))), [used("Q1-27", 41)]);
        assert_eq!(at(26 * 60 + 2, &behind(26 * 60 + 1)), Wanted::Unknown);
    }

    #[test]
    fn a_quote_that_was_read_after_the_hold_time_changes_nothing() {
        let quotes = |read: Micros| {
            let late = Quote {
                read,
                ..quote("Q1-27", 0, 41, 2)
            };
            [quote("2027-01", 0, 40, 1), late]
        };
        assert_eq!(shown(at(1, &quotes(START + MINUTE + 24 * HOUR))).len(), 2);
        assert_eq!(
            shown(at(1, &quotes(START + MINUTE + 24 * HOUR + 1))),
            [used("2027-01", 40)]
        );
    }

    #[test]
    fn what_names_no_contract_is_no_quote_and_a_definition_may_leave_months_out() {
        let unplaced = [
            Quote {
                market: "ICE".to_owned(),
                ..quote("2027-01", 0, 40, 1)
            },
            Quote {
                figure: -10_000_000_000_001,
                ..quote("2027-01", 0, 40, 1)
            },
            // The id is of PJM.
            Quote {
                market: "MISO".to_owned(),
                ..quote("2027-01", 0, 40, 1)
            },
            Quote {
                instrument: "PJM.W.SPOT".to_owned(),
                ..quote("2027-01", 0, 40, 1)
            },
            Quote {
                definition: Some("spline".to_owned()),
                ..quote("2027-01", 0, 40, 1)
            },
            Quote {
                time: START + 25 * HOUR,
                ..quote("2027-01", 0, 40, 1)
            },
        ];
        assert_eq!(at(1, &unplaced), Wanted::Nothing);
        let mut quotes = vec![
            quote("2027-01", 0, 40, 1),
            quote("2027-03", 0, 41, 2),
            quote("Q1-27", 0, 42, 3),
        ];
        quotes[2].definition = Some("smooth;3".to_owned());
        assert_eq!(shown(at(1, &quotes)), [used("2027-03", 41), used("Q1-27", 42)]);
        quotes.truncate(1);
        quotes[0].definition = Some("smooth;3".to_owned());
        assert_eq!(at(1, &quotes), Wanted::NoCurve);
        quotes[0].definition = None;
        assert_eq!(at(1, &quotes), Wanted::Unknown);
    }

    #[test]
    fn a_quote_of_a_tenor_is_one_of_the_contract_that_it_means_on_its_day() {
        let of = |tenor: &str, offset| Quote {
            instrument: "ELEC".to_owned(),
            tenor: Some(tenor.to_owned()),
            ..quote("", 0, 40, offset)
        };
        for (tenor, contract) in [
            ("M1", "2027-01"),
            ("PROMPT", "2027-01"),
            ("M02", "2027-02"),
            ("BALMO", "BALMO"),
        ] {
            assert_eq!(shown(at(1, &[of(tenor, 1)])), [used(contract, 40)], "{tenor}");
        }
        for (tier, contract) in [
            ("Q1-27 PEAK", "Q1-27 peak"),
            ("F27  OFF_PEAK", "2027-01 off_peak"),
            ("CAL-2028 FLAT", "CAL-28 flat"),
            ("M27 FLAT", "2027-06 flat"),
            ("M2 PEAK", "2027-02 peak"),
        ] {
            let expected = (contract.to_owned(), 40, Fate::Used);
            assert_eq!(shown(at(1, &[of(tier, 1)])), [expected], "{tier}");
        }
        // As the last day of the month, on which no balance is left.
        let mut last = of("BALMO", 1);
        (last.time, last.clock, last.read) = (START + 13 * 24 * HOUR, START + 13 * 24 * HOUR, START + 13 * 24 * HOUR);
        assert_eq!(at(13 * 24 * 60 + 1, &[last]), Wanted::Nothing);
    }

    #[test]
    fn quotes_in_delivery_or_of_the_same_contract_are_said_to_be_so() {
        let quotes = [
            quote("F27", 0, 40, 1),
            quote("2027-01", 0, 41, 2),
            quote("2026-12", 0, 42, 3),
            quote("Q4-26", 0, 43, 4),
        ];
        let expected = [
            ("2026-12 flat".to_owned(), 42, Fate::InDelivery),
            ("2027-01 flat".to_owned(), 41, Fate::Superseded),
            used("2027-01", 40),
            ("Q4-26 flat".to_owned(), 43, Fate::InDelivery),
        ];
        let mut found = shown(at(1, &quotes));
        found.sort_by_key(|(name, price, _)| (name.clone(), -price));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_price_that_states_only_its_date_ranks_above_those_of_times_of_that_day() {
        let mut dated = quote("2027-01", 1, 41, 2);
        // The start of the day in New York.
        dated.time = START - 14 * HOUR;
        assert_eq!(
            shown(at(2, &[quote("2027-01", 0, 40, 1), dated])),
            [used("2027-01", 41)]
        );
    }

    #[test]
    fn quotes_of_a_trade_date_long_before_the_last_one_are_stale() {
        let of = |days: i64| {
            let mut archive = quote("CAL-27", 0, 90, 2);
            archive.time = START - days * 24 * HOUR;
            archive
        };
        let today = quote("2027-01", 0, 40, 1);
        // The maximum age of two hours is a day.
        assert_eq!(shown(at(1, &[today.clone(), of(1)])).len(), 2);
        assert_eq!(shown(at(1, &[today, of(2)])), [used("2027-01", 40)]);
        assert_eq!(shown(at(1, &[of(400)])), [used("CAL-27", 90)]);
    }

    #[test]
    fn quotes_of_another_unit_than_the_last_one_and_contracts_far_ahead_do_not_count() {
        let mut other = quote("Q1-27", 0, 41, 1);
        other.unit.0 = "CAD".to_owned();
        assert_eq!(
            shown(at(1, &[other.clone(), quote("2027-01", 0, 40, 2)])),
            [used("2027-01", 40)]
        );
        assert_eq!(shown(at(1, &[quote("2027-01", 0, 40, 0), other])), [used("Q1-27", 41)]);
        assert_eq!(at(1, &[quote("CAL-46", 0, 40, 1)]), Wanted::Nothing);
        assert_eq!(shown(at(1, &[quote("CAL-45", 0, 40, 1)])), [used("CAL-45", 40)]);
    }

    #[test]
    fn an_instrument_that_the_last_definition_leaves_out_does_not_count() {
        let defined = |contract: &str, definition: &str, offset| Quote {
            definition: Some(definition.to_owned()),
            ..quote(contract, 0, 40, offset)
        };
        let (all, months) = ("flat;;PJM.W.*", "flat;;PJM.W.2027-*");
        let quotes = [defined("CAL-27", all, 1), defined("2027-01", months, 2)];
        assert_eq!(shown(at(1, &quotes)), [used("2027-01", 40)]);
        let by_its_row = [defined("CAL-27", months, 1), defined("2027-01", months, 2)];
        assert_eq!(shown(at(1, &by_its_row)).len(), 2);
        let mut gone = by_its_row.clone();
        gone[0].definition = None;
        assert_eq!(at(1, &gone), Wanted::Unknown);
        assert_eq!(at(1, &[defined("X1.CAL-27", all, 1)]), Wanted::Nothing);
    }
}
