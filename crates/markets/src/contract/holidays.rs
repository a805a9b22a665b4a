//! Holidays: those of NERC, on which power contracts deliver no on-peak hours, and those of the exchange, which move expiries.
//!
//! Sources: the additional off-peak days of NERC (six holidays, one on a Sunday is kept on Monday), and the holiday calendar of
//! CME Group for energy (a holiday on a Saturday is kept on Friday, except New Year's Day, which is then not kept).

use jiff::civil::{Date, Weekday};

/// Whether NERC counts the day as a holiday.
pub fn is_nerc(day: Date) -> bool {
    let is_fixed = |month, of_month| is_on_or_after_sunday(day, month, of_month);
    is_fixed(1, 1) || is_fixed(7, 4) || is_fixed(12, 25) || is_moving(day)
}

/// Whether the exchange does not settle on this day: weekends and holidays.
pub fn is_exchange_closed(day: Date) -> bool {
    let is_weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
    let is_on_friday = |month, of_month| {
        day.weekday() == Weekday::Friday
            && day
                .tomorrow()
                .is_ok_and(|saturday| (saturday.month(), saturday.day()) == (month, of_month))
    };
    let is_fixed = |month, of_month| is_on_or_after_sunday(day, month, of_month) || is_on_friday(month, of_month);
    let is_monday = |month, week: i8| {
        day.month() == month && day.weekday() == Weekday::Monday && (week * 7 - 6..=week * 7).contains(&day.day())
    };
    is_weekend
        || is_on_or_after_sunday(day, 1, 1)
        || is_monday(1, 3)
        || is_monday(2, 3)
        || Some(day) == good_friday(day.year())
        || (day.year() >= 2022 && is_fixed(6, 19))
        || is_fixed(7, 4)
        || is_fixed(12, 25)
        || is_moving(day)
}

/// The date itself, or the Monday after it if it is a Sunday.
fn is_on_or_after_sunday(day: Date, month: i8, of_month: i8) -> bool {
    let is_date = |day: Date| (day.month(), day.day()) == (month, of_month);
    match day.weekday() {
        Weekday::Sunday => false,
        Weekday::Monday => is_date(day) || day.yesterday().is_ok_and(is_date),
        _ => is_date(day),
    }
}

/// Memorial Day, Labor Day and Thanksgiving: holidays of both.
fn is_moving(day: Date) -> bool {
    match (day.month(), day.weekday()) {
        (5, Weekday::Monday) => day.day() > 24,
        (9, Weekday::Monday) => day.day() <= 7,
        (11, Weekday::Thursday) => (22..=28).contains(&day.day()),
        _ => false,
    }
}

/// Two days before Easter, by the Gregorian computus (Meeus, Astronomical Algorithms, chapter 8).
fn good_friday(year: i16) -> Option<Date> {
    let year = i32::from(year);
    let (golden, century, rest) = (year % 19, year / 100, year % 100);
    let skipped = (century - century / 4 - (8 * century + 13) / 25 + 19 * golden + 15) % 30;
    let epact = skipped - (skipped / 28) * (1 - (29 / (skipped + 1)) * ((21 - golden) / 11));
    let weekday = (100 * century + rest + year / 4 + epact + 2 - century + century / 4) % 7;
    let offset = epact - weekday;
    let month = 3 + (offset + 40) / 44;
    let day = offset + 28 - 31 * (month / 4);
    let easter = Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    );
    easter.ok()?.checked_sub(jiff::Span::new().days(2)).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// As NERC publishes them.
    const NERC: [Date; 18] = [
        date(2023, 1, 2),
        date(2023, 5, 29),
        date(2023, 7, 4),
        date(2023, 9, 4),
        date(2023, 11, 23),
        date(2023, 12, 25),
        date(2026, 1, 1),
        date(2026, 5, 25),
        date(2026, 7, 4),
        date(2026, 9, 7),
        date(2026, 11, 26),
        date(2026, 12, 25),
        date(2027, 1, 1),
        date(2027, 5, 31),
        date(2027, 7, 5),
        date(2027, 9, 6),
        date(2027, 11, 25),
        date(2027, 12, 25),
    ];

    #[test]
    fn the_holidays_of_nerc_are_the_published_ones() {
        for year in [2023, 2026, 2027] {
            let days = date(year, 1, 1).series(jiff::Span::new().days(1)).take(365);
            let found: Vec<Date> = days.filter(|day| is_nerc(*day)).collect();
            let published: Vec<Date> = NERC.iter().copied().filter(|day| day.year() == year).collect();
            assert_eq!(found, published);
        }
    }

    #[test]
    fn easter_moves_and_new_years_day_on_a_saturday_is_not_kept() {
        for (year, month, day) in [
            (2008, 3, 21),
            (2019, 4, 19),
            (2024, 3, 29),
            (2025, 4, 18),
            (2026, 4, 3),
            (2038, 4, 23),
        ] {
            assert_eq!(good_friday(year), Some(date(year, month, day)));
        }
        assert!(!is_exchange_closed(date(2021, 12, 31)));
        assert!(is_exchange_closed(date(2021, 12, 24)) && is_exchange_closed(date(2023, 1, 2)));
        assert!(is_exchange_closed(date(2026, 7, 3)) && is_exchange_closed(date(2026, 6, 19)));
        assert!(!is_exchange_closed(date(2021, 6, 18)) && !is_exchange_closed(date(2024, 11, 29)));
    }
}
