//! The expiry calendar: which month is the prompt on a day.
//!
//! Rules: futures on Henry Hub gas (NYMEX NG) stop trading three business days before the first day of the delivery month; monthly
//! power stops on the last business day before it. On its last trading day a contract is still the prompt.

use jiff::civil::Date;

use super::{Commodity, ContractError, Month, is_exchange_closed};

/// The last trading day of a delivery month.
///
/// # Errors
/// The month is outside the calendar.
pub fn last_trading_day(month: Month, commodity: Commodity) -> Result<Date, ContractError> {
    let outside = || ContractError::OutOfCalendar(month.to_string());
    let mut left = match commodity {
        Commodity::Gas => 3,
        Commodity::Power => 1,
    };
    let mut day = month.first()?;
    while left > 0 {
        day = day.yesterday().map_err(|_| outside())?;
        left -= i32::from(!is_exchange_closed(day));
    }
    Ok(day)
}

/// The month that `M1` means on a day.
///
/// # Errors
/// The month is outside the calendar.
pub fn prompt(as_of: Date, commodity: Commodity) -> Result<Month, ContractError> {
    Expiries::default().prompt(as_of, commodity)
}

/// Remembers the last trading day of one month: the quotes of a document follow each other.
#[derive(Debug, Default)]
pub(crate) struct Expiries(Option<(Month, Commodity, Date)>);

impl Expiries {
    /// As [`prompt`].
    pub(crate) fn prompt(&mut self, as_of: Date, commodity: Commodity) -> Result<Month, ContractError> {
        let next = Month::of(as_of).plus(1);
        let last = match self.0 {
            Some((month, of, last)) if (month, of) == (next, commodity) => last,
            _ => {
                let last = last_trading_day(next, commodity)?;
                self.0 = Some((next, commodity, last));
                last
            }
        };
        Ok(next.plus(i32::from(as_of > last)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn gas_expires_on_the_days_that_the_exchange_published() {
        for (year, month, day) in [
            (2024, 1, date(2023, 12, 27)),
            (2024, 3, date(2024, 2, 27)),
            (2024, 4, date(2024, 3, 26)),
            (2024, 7, date(2024, 6, 26)),
            (2024, 12, date(2024, 11, 26)),
            (2025, 1, date(2024, 12, 27)),
            (2025, 6, date(2025, 5, 28)),
            (2026, 1, date(2025, 12, 29)),
        ] {
            assert_eq!(last_trading_day(Month::new(year, month), Commodity::Gas).unwrap(), day);
        }
    }

    #[test]
    fn remembered_expiries_are_those_of_the_calendar() {
        let mut expiries = Expiries::default();
        for day in date(2024, 1, 1).series(jiff::Span::new().days(1)).take(800) {
            for commodity in [Commodity::Gas, Commodity::Power, Commodity::Power] {
                assert_eq!(expiries.prompt(day, commodity), prompt(day, commodity), "{day}");
            }
        }
    }

    #[test]
    fn the_prompt_rolls_the_day_after_the_last_trading_day() {
        let month = |day, commodity| prompt(day, commodity).unwrap().to_string();
        assert_eq!(month(date(2024, 11, 26), Commodity::Gas), "2024-12");
        assert_eq!(month(date(2024, 11, 27), Commodity::Gas), "2025-01");
        assert_eq!(month(date(2024, 11, 29), Commodity::Power), "2024-12");
        assert_eq!(month(date(2024, 11, 30), Commodity::Power), "2025-01");
        assert_eq!(month(date(2024, 12, 1), Commodity::Gas), "2025-01");
    }
}
