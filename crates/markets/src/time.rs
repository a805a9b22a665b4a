//! Times of a message (interfaces section 1, "Times"), to UTC microseconds.
//!
//! Finer than a microsecond is cut off towards the past, for texts and numbers alike, so that no time moves into the
//! next window.

use std::borrow::Cow;

use domain::Micros;

use crate::json::{Kind, Token};
use crate::rejection::{RejectCode, Rejection};

const SECOND: Micros = 1_000_000;

/// Midnight UTC of a date of the proleptic Gregorian calendar, plus hours.
pub(crate) const fn utc(year: i64, month: i64, day: i64, hour: i64) -> Micros {
    // Days since 1970 of years that begin in March, so that the leap day comes last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    ((era * 146_097 + day_of_era - 719_468) * 86_400 + hour * 3_600) * SECOND
}

/// A stamp as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The wall time, read as if it were UTC.
    pub wall: Micros,
    /// What the zone adds to UTC, where the text has one.
    pub offset: Option<Micros>,
}

/// Reads a time: ISO 8601 (without zone = UTC), or seconds, milliseconds or microseconds since 1970 by size.
///
/// # Errors
/// `invalid_time`, naming `place`.
pub(crate) fn parse(token: Token<'_>, place: &str) -> Result<Micros, Rejection> {
    let text = if token.kind == Kind::EscapedText {
        token.text().unwrap_or_default()
    } else {
        Cow::Borrowed(token.raw)
    };
    instant(text.as_bytes().trim_ascii()).ok_or_else(|| {
        let message = format!(
            "{place} is {}: neither ISO 8601 nor a number of seconds, ms or µs",
            token.shown()
        );
        Rejection::new(RejectCode::InvalidTime, message)
    })
}

pub(crate) fn instant(text: &[u8]) -> Option<Micros> {
    match iso(text) {
        Some(stamp) => Some(stamp.wall - stamp.offset.unwrap_or(0)),
        None => epoch(text),
    }
}

/// Reads `YYYY-MM-DDTHH:MM[:SS[.fraction]][Z|±HH[[:]MM]]`, with `T` or a space.
pub(crate) fn iso(text: &[u8]) -> Option<Stamp> {
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T' | b't' | b' ',
        h1,
        h2,
        b':',
        n1,
        n2,
        rest @ ..,
    ] = text
    else {
        return None;
    };
    let year = two(*y1, *y2)? * 100 + two(*y3, *y4)?;
    let (month, day, hour, minute) = (two(*m1, *m2)?, two(*d1, *d2)?, two(*h1, *h2)?, two(*n1, *n2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 {
        return None;
    }
    let (within_minute, rest) = seconds(rest)?;
    Some(Stamp {
        wall: utc(year, month, day, hour) + minute * 60 * SECOND + within_minute,
        offset: zone(rest)?,
    })
}

fn seconds(text: &[u8]) -> Option<(Micros, &[u8])> {
    let [b':', s1, s2, rest @ ..] = text else {
        return Some((0, text));
    };
    let second = two(*s1, *s2).filter(|second| *second < 60)?;
    let (b'.' | b',', fraction) = (match rest.split_first() {
        Some((point, fraction)) => (*point, fraction),
        None => return Some((second * SECOND, rest)),
    }) else {
        return Some((second * SECOND, rest));
    };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = fraction
        .split_at_checked(digits)
        .filter(|(digits, _)| !digits.is_empty())?;
    let micros = (0..6).fold(0, |sum, at| {
        sum * 10 + digits.get(at).map_or(0, |digit| i64::from(digit - b'0'))
    });
    Some((second * SECOND + micros, rest))
}

// Some(None): no zone. None: not a zone.
fn zone(text: &[u8]) -> Option<Option<Micros>> {
    let (sign, hours, minutes) = match text {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [sign, h1, h2] => (sign, two(*h1, *h2)?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, two(*h1, *h2)?, two(*m1, *m2)?),
        _ => return None,
    };
    let size = (hours * 60 + minutes) * 60 * SECOND;
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        b'+' => Some(Some(size)),
        b'-' => Some(Some(-size)),
        _ => None,
    }
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Seconds below 10^11, milliseconds below 10^14, else microseconds. Exponents do not occur in times.
fn epoch(text: &[u8]) -> Option<Micros> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = digits.split_at_checked(point)?;
    let fraction = fraction.strip_prefix(b".").unwrap_or(fraction);
    if whole.is_empty() || whole.len() > 17 || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let whole = whole.iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let decimals = if whole < 100_000_000_000 {
        6
    } else if whole < 100_000_000_000_000 {
        3
    } else {
        0
    };
    let magnitude = (0..decimals).fold(whole, |sum, at| {
        sum * 10 + fraction.get(at).map_or(0, |digit| i64::from(digit - b'0'))
    });
    let cut_off = fraction.iter().skip(decimals).any(|digit| *digit != b'0');
    Some(if negative {
        -magnitude - i64::from(cut_off)
    } else {
        magnitude
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Option<Micros> {
        instant(text.as_bytes())
    }

    #[test]
    fn a_zone_is_applied_and_none_is_utc() {
        let noon = Some(utc(2026, 10, 2, 12));
        for text in [
            "2026-10-02T12:00:00Z",
            "2026-10-02T12:00:00",
            "2026-10-02 12:00:00.000",
            "2026-10-02T12:00Z",
            "2026-10-02T07:00:00-05:00",
            "2026-10-02T17:30:00+0530",
            "2026-10-02T14:00:00.000000+02",
        ] {
            assert_eq!(at(text), noon, "{text}");
        }
    }

    #[test]
    fn numbers_are_seconds_milliseconds_or_microseconds_by_size() {
        let time = Some(1_762_795_433_971_744);
        for text in ["1762795433.9717445", "1762795433971.744", "1762795433971744"] {
            assert_eq!(at(text), time, "{text}");
        }
        assert_eq!(at("99999999999"), Some(99_999_999_999_000_000));
        assert_eq!(at("100000000000"), Some(100_000_000_000_000));
        assert_eq!(at("99999999999999"), Some(99_999_999_999_999_000));
        assert_eq!(at("100000000000000"), Some(100_000_000_000_000));
        assert_eq!(at("-1"), Some(-1_000_000));
        assert_eq!(at("-0.0000001"), Some(-1));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-10-02T24:00:00Z",
            "2026-10-02T12:00:60Z",
            "2026-10-02",
            "2026-10-02T12:00:00X",
            "2026-10-02T12:00:00.Z",
            "2026-10-02T12:00:00+25:00",
            "1.2.3",
            "1e9",
            "-",
            "999999999999999999",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn iso_texts_agree_with_jiff(micros in -2_000_000_000_000_000i64..4_000_000_000_000_000) {
            let timestamp = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(at(&timestamp.to_string()), Some(micros));
            let offset = jiff::tz::offset(-5);
            prop_assert_eq!(at(&timestamp.display_with_offset(offset).to_string()), Some(micros));
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "[-+0-9T:.Z ]{0,40}") {
            let _ = at(&text);
        }
    }
}
