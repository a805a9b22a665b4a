//! Contracts: which days they deliver, their names, and their instrument ids.
//!
//! Role: a tenor is what a quote says (`M1`, `Q1-27`); a period is the absolute days that it means on the day of the quote. The id of
//! an instrument names the absolute contract: `GAS.HENRY_HUB.2027-01.FLAT.SETTLEMENT`.
//! Invariant: a period never changes its meaning: a relative tenor becomes a month, and the balance of a month keeps its date.
//! Failure: a text that names no tenor is refused with the forms that are known.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::Serialize;

mod error;
mod expiry;
mod holidays;
mod tenor;

pub use error::ContractError;
pub(crate) use expiry::Expiries;
pub use expiry::{last_trading_day, prompt};
pub use holidays::{is_exchange_closed, is_nerc};
pub(crate) use tenor::check_meaning;

/// What is delivered: it decides seasons and expiries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Commodity {
    Power,
    Gas,
}

/// The hours of a day that a contract delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// All hours.
    Flat,
    /// The on-peak hours of the market (5x16, or 6x16 in CAISO).
    Peak,
    /// All other hours (2x16H and 7x8).
    OffPeak,
}

impl Block {
    /// As instrument ids have it.
    fn in_ids(self) -> &'static str {
        match self {
            Block::Flat => "FLAT",
            Block::Peak => "PEAK",
            Block::OffPeak => "OFF_PEAK",
        }
    }

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Block::Flat => "flat",
            Block::Peak => "peak",
            Block::OffPeak => "off_peak",
        }
    }
}

impl FromStr for Block {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Block, ContractError> {
        const NAMES: [(Block, &[&str]); 3] = [
            (Block::Flat, &["flat", "atc", "7x24", "base", ""]),
            (Block::Peak, &["peak", "on_peak", "5x16", "6x16"]),
            (Block::OffPeak, &["off_peak", "offpeak", "off"]),
        ];
        let written = text.trim();
        let is_it = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(written));
        let found = NAMES.iter().find(|(_, names)| is_it(names));
        found
            .map(|(block, _)| *block)
            .ok_or_else(|| ContractError::UnknownBlock(text.to_owned()))
    }
}

/// A calendar month, as the number of months since year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

impl Month {
    /// The month of a year; `month` from 1 to 12.
    pub fn new(year: i16, month: i8) -> Month {
        Month(i32::from(year) * 12 + i32::from(month) - 1)
    }

    /// The month that holds a day.
    pub fn of(day: Date) -> Month {
        Month::new(day.year(), day.month())
    }

    /// This many months later.
    pub fn plus(self, months: i32) -> Month {
        Month(self.0 + months)
    }

    /// Months from `earlier` to this one.
    pub fn since(self, earlier: Month) -> i32 {
        self.0 - earlier.0
    }

    /// The month of the year, from 1 to 12.
    pub fn of_year(self) -> u8 {
        u8::try_from(self.0.rem_euclid(12) + 1).unwrap_or(1)
    }

    /// The year.
    pub fn year(self) -> i32 {
        self.0.div_euclid(12)
    }

    /// Its first day.
    ///
    /// # Errors
    /// The year is outside the calendar.
    pub fn first(self) -> Result<Date, ContractError> {
        let outside = || ContractError::OutOfCalendar(self.to_string());
        let year = i16::try_from(self.year()).map_err(|_| outside())?;
        Date::new(year, self.of_year().cast_signed(), 1).map_err(|_| outside())
    }
}

impl Month {
    /// Writes it as it is displayed.
    fn write(self, out: &mut String) {
        use std::fmt::Write as _;

        let digit = |number: i32| char::from_digit(number.rem_euclid(10).unsigned_abs(), 10).unwrap_or_default();
        match (self.year(), i32::from(self.of_year())) {
            (year @ 0..10_000, month) => {
                out.extend([year / 1000, year / 100, year / 10, year].map(digit));
                out.push('-');
                out.extend([month / 10, month].map(digit));
            }
            // Writing to a String cannot fail.
            _ => _ = write!(out, "{self}"),
        }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.of_year())
    }
}

/// Half a year in name; its months depend on the commodity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Season {
    /// Gas: April to October. Power: July and August.
    Summer,
    /// Gas: November to March of the next year. Power: January and February.
    Winter,
}

/// What a quote calls its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tenor {
    /// `M1` is the prompt month on the day of the quote.
    Relative(u16),
    /// From the day after the quote to the end of the month.
    BalanceOfMonth,
    /// A calendar month.
    Month(Month),
    /// Year and quarter, from 1 to 4.
    Quarter(i16, i8),
    /// Season and the year in which it begins.
    Season(Season, i16),
    /// January to December.
    Calendar(i16),
}

impl fmt::Display for Tenor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Tenor::Relative(ahead) => write!(f, "M{ahead}"),
            Tenor::BalanceOfMonth => f.write_str("BALMO"),
            Tenor::Month(month) => month.fmt(f),
            Tenor::Quarter(year, quarter) => write!(f, "Q{quarter}-{:02}", year % 100),
            Tenor::Season(Season::Summer, year) => write!(f, "SUM-{:02}", year % 100),
            Tenor::Season(Season::Winter, year) => write!(f, "WIN-{:02}", year % 100),
            Tenor::Calendar(year) => write!(f, "CAL-{:02}", year % 100),
        }
    }
}

/// The days that a contract delivers: `first` to the day before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    /// Its first delivery day.
    pub first: Date,
    /// The day after its last delivery day.
    pub end: Date,
    tenor: Tenor,
}

impl Tenor {
    /// The days that this tenor means on the day of its quote.
    ///
    /// # Errors
    /// The days are outside the calendar, or `BALMO` is quoted on the last day of a month.
    pub fn resolve(self, as_of: Date, commodity: Commodity) -> Result<Period, ContractError> {
        self.resolve_by(&mut Expiries::default(), as_of, commodity)
    }

    /// As [`Tenor::resolve`]; the expiries that are looked up are remembered.
    pub(crate) fn resolve_by(
        self,
        expiries: &mut Expiries,
        as_of: Date,
        commodity: Commodity,
    ) -> Result<Period, ContractError> {
        let outside = || ContractError::OutOfCalendar(self.to_string());
        let (start, months) = match self {
            Tenor::Relative(ahead) => {
                let month = expiries.prompt(as_of, commodity)?.plus(i32::from(ahead) - 1);
                return Period::month(month);
            }
            Tenor::BalanceOfMonth => {
                let (first, end) = (
                    as_of.tomorrow().map_err(|_| outside())?,
                    Month::of(as_of).plus(1).first()?,
                );
                if first >= end {
                    return Err(ContractError::NoDayLeft(as_of));
                }
                return Ok(Period {
                    first,
                    end,
                    tenor: self,
                });
            }
            Tenor::Month(month) => (month, 1),
            Tenor::Quarter(year, quarter) => (Month::new(year, quarter * 3 - 2), 3),
            Tenor::Season(Season::Summer, year) => match commodity {
                Commodity::Gas => (Month::new(year, 4), 7),
                Commodity::Power => (Month::new(year, 7), 2),
            },
            Tenor::Season(Season::Winter, year) => match commodity {
                Commodity::Gas => (Month::new(year, 11), 5),
                Commodity::Power => (Month::new(year, 1), 2),
            },
            Tenor::Calendar(year) => (Month::new(year, 1), 12),
        };
        Ok(Period {
            first: start.first()?,
            end: start.plus(months).first()?,
            tenor: self,
        })
    }
}

impl Period {
    /// The month that holds its first day.
    pub fn first_month(self) -> Month {
        Month::of(self.first)
    }

    /// The month after its last.
    pub fn end_month(self) -> Month {
        Month::of(self.end)
    }

    /// The calendar month.
    ///
    /// # Errors
    /// The year is outside the calendar.
    pub fn month(month: Month) -> Result<Period, ContractError> {
        Ok(Period {
            first: month.first()?,
            end: month.plus(1).first()?,
            tenor: Tenor::Month(month),
        })
    }

    /// Whether it is a whole calendar month.
    pub fn is_month(self) -> bool {
        !self.is_balance() && self.first_month().plus(1) == self.end_month()
    }

    /// Whether it is the rest of a month.
    pub fn is_balance(self) -> bool {
        self.tenor == Tenor::BalanceOfMonth
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tenor.fmt(f)
    }
}

/// What one quote prices: a period and its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Contract {
    pub period: Period,
    pub block: Block,
}

/// The product of the prices of contracts, as in ticks.
pub const SETTLEMENT: &str = "settlement";
/// What the balance of a month is called in instrument ids, before its month.
const BALANCE: &str = "BALMO-";

impl Contract {
    /// Writes the part of an instrument id between market and product: `<hub>.<contract>.<BLOCK>`.
    pub fn write_key(self, hub: &str, out: &mut String) {
        use std::fmt::Write as _;

        out.clear();
        out.extend([hub, "."]);
        // Writing to a String cannot fail.
        match self.period.tenor {
            Tenor::BalanceOfMonth => {
                out.push_str(BALANCE);
                self.period.first_month().write(out);
            }
            Tenor::Month(month) => month.write(out),
            tenor => _ = write!(out, "{tenor}"),
        }
        out.extend([".", self.block.in_ids()]);
    }

    /// The contract of an instrument id, from a price of this trade date. The trade date matters for the balance of a month only.
    ///
    /// # Errors
    /// The id does not name an absolute contract, or the trade date is outside the month of its balance.
    pub fn of_instrument(id: &str, trade_date: Date, commodity: Commodity) -> Result<Contract, ContractError> {
        let refused = || ContractError::NotAContract(id.to_owned());
        let mut parts = id.rsplitn(4, '.');
        let (product, block) = (parts.next(), parts.next());
        let (Some(block), Some(name), Some(_)) = (block, parts.next(), parts.next()) else {
            return Err(refused());
        };
        if !product.is_some_and(|product| product.eq_ignore_ascii_case(SETTLEMENT)) || block.is_empty() {
            return Err(refused());
        }
        let tenor = match name.strip_prefix(BALANCE) {
            Some(month) if month == Month::of(trade_date).to_string() => Tenor::BalanceOfMonth,
            Some(_) => return Err(refused()),
            None => name.parse()?,
        };
        let is_absolute = name.starts_with(BALANCE) || !matches!(tenor, Tenor::Relative(_) | Tenor::BalanceOfMonth);
        match is_absolute {
            true => Ok(Contract {
                period: tenor.resolve(trade_date, commodity)?,
                block: block.parse()?,
            }),
            false => Err(refused()),
        }
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.period, self.block.name())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tenors_mean_their_days() {
        let as_of = date(2026, 11, 24);
        for (name, commodity, first, end, printed) in [
            ("f27", Commodity::Gas, date(2027, 1, 1), date(2027, 2, 1), "2027-01"),
            (
                "2028-02",
                Commodity::Power,
                date(2028, 2, 1),
                date(2028, 3, 1),
                "2028-02",
            ),
            ("M28", Commodity::Gas, date(2028, 6, 1), date(2028, 7, 1), "2028-06"),
            ("M1", Commodity::Gas, date(2026, 12, 1), date(2027, 1, 1), "2026-12"),
            ("m2", Commodity::Power, date(2027, 1, 1), date(2027, 2, 1), "2027-01"),
            ("Q4-27", Commodity::Power, date(2027, 10, 1), date(2028, 1, 1), "Q4-27"),
            ("SUM-27", Commodity::Gas, date(2027, 4, 1), date(2027, 11, 1), "SUM-27"),
            ("WIN-27", Commodity::Gas, date(2027, 11, 1), date(2028, 4, 1), "WIN-27"),
            (
                "SUM-2027",
                Commodity::Power,
                date(2027, 7, 1),
                date(2027, 9, 1),
                "SUM-27",
            ),
            ("WIN-27", Commodity::Power, date(2027, 1, 1), date(2027, 3, 1), "WIN-27"),
            ("CAL-27", Commodity::Power, date(2027, 1, 1), date(2028, 1, 1), "CAL-27"),
            (
                "BALMO",
                Commodity::Power,
                date(2026, 11, 25),
                date(2026, 12, 1),
                "BALMO",
            ),
        ] {
            let period = name.parse::<Tenor>().unwrap().resolve(as_of, commodity).unwrap();
            assert_eq!(
                (period.first, period.end, &*period.to_string()),
                (first, end, printed),
                "{name}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_known_forms() {
        for text in [
            "", "M0", "M100", "A27", "Q5-27", "2027-13", "1999-01", "CAL-1", "CAL27", "é27", "F+7", "SUM",
        ] {
            let error = text.parse::<Tenor>().unwrap_err().to_string();
            assert!(error.contains("Q1-27"), "{text}: {error}");
        }
        assert!(
            Tenor::BalanceOfMonth
                .resolve(date(2026, 11, 30), Commodity::Power)
                .is_err()
        );
    }

    #[test]
    fn instrument_ids_name_absolute_contracts() {
        let as_of = date(2026, 11, 24);
        let mut key = String::new();
        for (tenor, block, expected) in [
            ("M1", Block::Flat, "HENRY_HUB.2026-12.FLAT"),
            ("Z26", Block::Peak, "HENRY_HUB.2026-12.PEAK"),
            ("WIN-27", Block::OffPeak, "HENRY_HUB.WIN-27.OFF_PEAK"),
            ("BALMO", Block::Flat, "HENRY_HUB.BALMO-2026-11.FLAT"),
        ] {
            let period = tenor.parse::<Tenor>().unwrap().resolve(as_of, Commodity::Gas).unwrap();
            let contract = Contract { period, block };
            contract.write_key("HENRY_HUB", &mut key);
            assert_eq!(key, expected);
            let id = format!("GAS.{key}.SETTLEMENT");
            let read = Contract::of_instrument(&id, as_of, Commodity::Gas).unwrap();
            assert_eq!((read.period.first, read.period.end), (period.first, period.end), "{id}");
            assert_eq!(read.block, block);
        }
        for id in [
            "GAS.HENRY_HUB.SPOT",
            "GAS.HENRY_HUB.2027-01.FLAT.DA",
            "GAS.HENRY_HUB.M1.FLAT.SETTLEMENT",
            "GAS.HENRY_HUB.BALMO.FLAT.SETTLEMENT",
            "GAS.HENRY_HUB.BALMO-2026-12.FLAT.SETTLEMENT",
            "GAS.HENRY_HUB.2027-01.NIGHT.SETTLEMENT",
            "GAS.HENRY_HUB.2027-01..SETTLEMENT",
            "2027-01.FLAT.SETTLEMENT",
        ] {
            assert!(Contract::of_instrument(id, as_of, Commodity::Gas).is_err(), "{id}");
        }
    }

    #[test]
    fn months_are_written_as_they_are_displayed() {
        for months in (-30_000..130_000).step_by(7) {
            let mut written = String::new();
            Month(months).write(&mut written);
            assert_eq!(written, Month(months).to_string());
        }
    }

    #[test]
    fn blocks_have_their_names_in_ids() {
        for block in [Block::Flat, Block::Peak, Block::OffPeak] {
            assert_eq!(block.in_ids(), block.name().to_ascii_uppercase());
            assert_eq!(format!(" {} ", block.in_ids()).parse(), Ok(block));
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(year in 2000i16..2100, month in 1i8..13, kind in 0..6) {
            let tenor = match kind {
                0 => Tenor::Month(Month::new(year, month)),
                1 => Tenor::Quarter(year, (month - 1) / 3 + 1),
                2 => Tenor::Season(Season::Summer, year),
                3 => Tenor::Season(Season::Winter, year),
                4 => Tenor::Calendar(year),
                _ => Tenor::Relative(u16::from(month.unsigned_abs())),
            };
            prop_assert_eq!(tenor.to_string().parse::<Tenor>().unwrap(), tenor);
        }
    }
}
