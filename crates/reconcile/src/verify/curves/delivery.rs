//! What a contract delivers, and in how many hours. Pure.
//!
//! Role: part of the second opinion on curves. Names, periods, blocks, holidays and hours are worked out here, without crate `curves` and
//! without `markets::contract`. Of the registry of markets it uses the facts: zones and on-peak hours.
//! Invariants: a day of power has the hours of its local clock; a gas day counts as 24 hours; flat is peak and off-peak.
//! Failure: `None`: the market or the name is unknown, or the market lacks the block.

use domain::Micros;
use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use markets::Peak;

/// The blocks by their public names.
pub(super) const BLOCKS: [&str; 3] = ["flat", "peak", "off_peak"];
/// A gas day begins at nine o'clock.
const GAS_DAY_HOUR: i8 = 9;
/// The letters of the months at the exchange.
const LETTERS: &str = "FGHJKMNQUVXZ";

/// The days and the block of a contract.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Contract {
    /// `2027-01`, `Q1-27`, `SUM-27`, `WIN-27`, `CAL-27` or `BALMO`.
    pub name: String,
    pub first: Date,
    /// The day after its last one.
    pub end: Date,
    pub block: &'static str,
}

impl Contract {
    pub(crate) fn is_balance(&self) -> bool {
        self.name == "BALMO"
    }

    /// Whether it is one whole month, which the months of a curve's definition may leave out.
    pub(crate) fn is_month(&self) -> bool {
        !self.is_balance() && months_between(self.first, self.end) == 1
    }
}

impl std::fmt::Display for Contract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.block)
    }
}

/// Months from the one that holds `from` to the one that holds `to`.
pub(super) fn months_between(from: Date, to: Date) -> i32 {
    let number = |day: Date| i32::from(day.year()) * 12 + i32::from(day.month());
    number(to) - number(from)
}

/// A market whose contracts are quoted.
#[derive(Debug, Clone)]
pub(crate) struct Market {
    pub name: String,
    zone: TimeZone,
    /// `None` for gas.
    peak: Option<Peak>,
}

impl Market {
    /// The market of the registry with this name, in any case.
    pub(crate) fn of(name: &str) -> Option<Market> {
        let all = markets::describe(&markets::iso_venues());
        let found = all.into_iter().find(|market| market.name.eq_ignore_ascii_case(name))?;
        let zone = found.on_peak.map(|peak| peak.zone).or(found.time_zone)?;
        Some(Market {
            zone: TimeZoneDatabase::bundled().get(zone).ok()?,
            peak: found.on_peak,
            name: found.name,
        })
    }

    pub(super) fn is_gas(&self) -> bool {
        self.peak.is_none()
    }

    /// The local date of a time.
    pub(super) fn day_of(&self, time: Micros) -> Option<Date> {
        let time = Timestamp::from_microsecond(time).ok()?;
        Some(self.zone.to_datetime(time).date())
    }

    /// Whether the clocks of the market show 00:00:00 at a time.
    pub(super) fn is_start_of_day(&self, time: Micros) -> bool {
        let local = Timestamp::from_microsecond(time).map(|time| self.zone.to_datetime(time));
        local.is_ok_and(|local| {
            (local.hour(), local.minute(), local.second(), local.subsec_nanosecond()) == (0, 0, 0, 0)
        })
    }

    /// When the delivery of a day begins: RFC 3339 with the offset of the market.
    pub(super) fn start_of(&self, day: Date) -> Option<String> {
        let hour = if self.is_gas() { GAS_DAY_HOUR } else { 0 };
        let time = day.at(hour, 0, 0, 0).to_zoned(self.zone.clone()).ok()?;
        Some(time.timestamp().display_with_offset(time.offset()).to_string())
    }

    /// The contract of a settlement's instrument: `<market>.<hub>.<contract>.<BLOCK>.SETTLEMENT`, quoted on this day.
    pub(super) fn contract_of(&self, instrument: &str, quoted: Date) -> Option<Contract> {
        let parts: Vec<&str> = instrument.rsplitn(4, '.').collect();
        let [product, block, name, _] = parts.as_slice() else {
            return None;
        };
        if !product.eq_ignore_ascii_case("settlement") || block.is_empty() {
            return None;
        }
        let block = block_of(block)?;
        let contract = match name.strip_prefix("BALMO-") {
            Some(month) => {
                let is_its = *month == format!("{:04}-{:02}", quoted.year(), quoted.month());
                self.balance(quoted, block).filter(|_| is_its)
            }
            None => self.period(name, block),
        }?;
        self.hours(contract.first, contract.end, contract.block)?;
        Some(contract)
    }

    /// The contract of a point or quote of a snapshot on this day.
    pub(crate) fn named(&self, name: &str, block: &str, day: Date) -> Option<Contract> {
        let block = BLOCKS.into_iter().find(|known| *known == block)?;
        match name {
            "BALMO" => self.balance(day, block),
            name => self.period(name, block),
        }
    }

    fn balance(&self, quoted: Date, block: &'static str) -> Option<Contract> {
        let (first, end) = (quoted.tomorrow().ok()?, after(quoted.first_of_month(), 1)?);
        (first < end).then(|| Contract {
            name: "BALMO".to_owned(),
            first,
            end,
            block,
        })
    }

    /// A month, quarter, season or year.
    fn period(&self, name: &str, block: &'static str) -> Option<Contract> {
        let text = name.trim().to_ascii_uppercase();
        let (year, month, months, name) = match text.split_once('-') {
            None => letter_month(&text).map(|(year, month)| (year, month, 1, None))?,
            Some(("CAL", of)) => (year(of)?, 1, 12, Some("CAL")),
            Some(("SUM", of)) if self.is_gas() => (year(of)?, 4, 7, Some("SUM")),
            Some(("SUM", of)) => (year(of)?, 7, 2, Some("SUM")),
            Some(("WIN", of)) if self.is_gas() => (year(of)?, 11, 5, Some("WIN")),
            Some(("WIN", of)) => (year(of)?, 1, 2, Some("WIN")),
            Some(("Q1", of)) => (year(of)?, 1, 3, Some("Q1")),
            Some(("Q2", of)) => (year(of)?, 4, 3, Some("Q2")),
            Some(("Q3", of)) => (year(of)?, 7, 3, Some("Q3")),
            Some(("Q4", of)) => (year(of)?, 10, 3, Some("Q4")),
            Some((of, month)) if of.len() == 4 && month.len() == 2 => (year(of)?, digits(month)?, 1, None),
            Some(_) => return None,
        };
        let first = Date::new(year, i8::try_from(month).ok()?, 1).ok()?;
        Some(Contract {
            name: match name {
                Some(name) => format!("{name}-{:02}", year % 100),
                None => format!("{year:04}-{month:02}"),
            },
            first,
            end: after(first, months)?,
            block,
        })
    }

    /// Delivered hours from the first day to the one before `end`.
    pub(crate) fn hours(&self, first: Date, end: Date, block: &str) -> Option<i64> {
        match block {
            "flat" => self.all_hours(first, end),
            "peak" => self.peak_hours(first, end),
            _ => Some(self.all_hours(first, end)? - self.peak_hours(first, end)?),
        }
    }

    fn all_hours(&self, first: Date, end: Date) -> Option<i64> {
        if self.is_gas() {
            return Some(i64::from((end - first).get_days()) * 24);
        }
        let second = |day: Date| Some(day.to_zoned(self.zone.clone()).ok()?.timestamp().as_second());
        Some((second(end)? - second(first)?) / 3600)
    }

    /// Clocks change on Sundays, which have no on-peak hours.
    fn peak_hours(&self, first: Date, end: Date) -> Option<i64> {
        let peak = self.peak?;
        let works = |day: &Date| match day.weekday() {
            Weekday::Sunday => false,
            Weekday::Saturday => peak.saturday && !is_holiday(*day),
            _ => !is_holiday(*day),
        };
        let days = first.series(Span::new().days(1)).take_while(|day| *day < end);
        let days = i64::try_from(days.filter(works).count()).ok()?;
        Some(days * (i64::from(peak.last) - i64::from(peak.first) + 1))
    }
}

fn after(first: Date, months: i32) -> Option<Date> {
    first.checked_add(Span::new().months(months)).ok()
}

fn block_of(text: &str) -> Option<&'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "flat" | "atc" | "7x24" | "base" | "" => Some("flat"),
        "peak" | "on_peak" | "5x16" | "6x16" => Some("peak"),
        "off_peak" | "offpeak" | "off" => Some("off_peak"),
        _ => None,
    }
}

/// `F27` is January. `M1` to `M24` count from the day of the quote, so they name no contract.
fn letter_month(text: &str) -> Option<(i16, u32)> {
    let (letter, of) = text.split_at_checked(1)?;
    let month = u32::try_from(LETTERS.find(letter)?).ok()? + 1;
    let is_relative = letter == "M" && digits(of)? <= 24;
    (of.len() == 2 && !is_relative).then_some(())?;
    Some((year(of)?, month))
}

fn digits(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn year(text: &str) -> Option<i16> {
    let number = i16::try_from(digits(text)?).ok()?;
    match text.len() {
        2 => Some(2000 + number),
        4 => (2000..2100).contains(&number).then_some(number),
        _ => None,
    }
}

/// The six holidays of NERC. One of a date is kept on Monday if it is a Sunday.
pub(in crate::verify) fn is_holiday(day: Date) -> bool {
    let (month, number, weekday) = (day.month(), day.day(), day.weekday());
    let is_monday = weekday == Weekday::Monday;
    let is_kept = |of: i8, date: i8| month == of && (number == date || (number == date + 1 && is_monday));
    match month {
        5 => is_monday && number > 24,
        9 => is_monday && number < 8,
        11 => weekday == Weekday::Thursday && (22..29).contains(&number),
        _ => is_kept(1, 1) || is_kept(7, 4) || is_kept(12, 25),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::civil::date;
    use markets::contract::Contract as Named;

    use super::*;

    pub(in super::super) fn market(name: &str) -> Market {
        let Some(market) = Market::of(name) else {
            unreachable!("{name} is in the registry");
        };
        market
    }

    #[test]
    fn months_have_the_hours_of_the_local_calendar() {
        // Counted by hand: sixteen hours for each weekday that is no holiday.
        for (name, year, month, flat, peak) in [
            ("PJM", 2026, 3, 743, 352),
            ("PJM", 2026, 7, 744, 368),
            ("PJM", 2026, 11, 721, 320),
            ("PJM", 2028, 2, 696, 336),
            ("CAISO", 2026, 7, 744, 416),
            ("ERCOT", 2027, 7, 744, 336),
        ] {
            let first = date(year, month, 1);
            let hours = |block| market(name).hours(first, first.last_of_month().tomorrow().unwrap_or(first), block);
            assert_eq!(
                (hours("flat"), hours("peak")),
                (Some(flat), Some(peak)),
                "{name} {year}-{month}"
            );
            assert_eq!(hours("off_peak"), Some(flat - peak));
        }
        let gas = market("GAS");
        let november = (date(2026, 11, 1), date(2026, 12, 1));
        assert_eq!(gas.hours(november.0, november.1, "flat"), Some(720));
        assert_eq!(gas.hours(november.0, november.1, "peak"), None);
        assert_eq!(
            gas.start_of(date(2026, 1, 1)).as_deref(),
            Some("2026-01-01T09:00:00-06:00")
        );
    }

    #[test]
    fn an_instrument_names_the_days_that_the_pipeline_reads_from_it() {
        let names = [
            "2027-01",
            "F27",
            "m25",
            "M24",
            "M1",
            "PROMPT",
            "BALMO",
            "BALMO-2026-11",
            "BALMO-2026-12",
            "Q1-27",
            "q4-2027",
            "Q5-27",
            "SUM-27",
            "WIN-27",
            "CAL-27",
            "CAL-1999",
            "2027-13",
            "27-01",
            "X",
            "",
        ];
        for (market, commodity) in [
            (market("PJM"), markets::contract::Commodity::Power),
            (market("GAS"), markets::contract::Commodity::Gas),
        ] {
            for day in [date(2026, 11, 24), date(2026, 11, 30)] {
                for name in names {
                    for block in ["FLAT", "peak", "off", "7x24", "8x8"] {
                        let id = format!("{}.HUB.{name}.{block}.SETTLEMENT", market.name);
                        let expected = Named::of_instrument(&id, day, commodity).ok();
                        // Only power has blocks.
                        let expected = expected.filter(|named| !market.is_gas() || named.block.name() == "flat");
                        let shown = expected.map(|named| (named.to_string(), named.period.first, named.period.end));
                        let found = market.contract_of(&id, day);
                        assert_eq!(
                            found.map(|one| (one.to_string(), one.first, one.end)),
                            shown,
                            "{id} on {day}"
                        );
                    }
                }
            }
        }
        assert_eq!(
            market("PJM").contract_of("W.2027-01.FLAT.SPOT", date(2026, 11, 24)),
            None
        );
    }

    #[test]
    fn a_holiday_on_a_sunday_is_kept_on_monday() {
        let mut day = date(2023, 1, 1);
        while day < date(2032, 1, 1) {
            let is_sunday = day.weekday() == Weekday::Sunday;
            assert!(is_sunday || is_holiday(day) == markets::contract::is_nerc(day), "{day}");
            day = day.tomorrow().unwrap_or(date(2032, 1, 1));
        }
    }
}
