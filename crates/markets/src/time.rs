//! Converts times of a message to UTC microseconds.
//!
//! Fractions of a microsecond are rounded towards the past, for strings and numbers alike, so that no time moves into the
//! next window.

use std::borrow::Cow;
use std::fmt::Display;

use domain::{DecimalText, Micros};

use crate::json::{Kind, Token};
use crate::rejection::{RejectCode, Rejection};

const SECOND: Micros = 1_000_000;

/// Midnight UTC of a date of the proleptic Gregorian calendar, plus hours.
pub(crate) const fn utc(year: i64, month: i64, day: i64, hour: i64) -> Micros {
    // Years begin in March, so that the leap day is the last day.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    ((era * 146_097 + day_of_era - 719_468) * 86_400 + hour * 3_600) * SECOND
}

/// A timestamp as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The wall time, read as if it were UTC.
    pub wall: Micros,
    /// Offset from UTC, if the text has a zone.
    pub offset: Option<Micros>,
}

/// Why a text is not a time. The error message shows it after the value.
type Refused = &'static str;

const NEITHER: Refused = "neither ISO 8601 nor a number";
const NO_DATE: Refused = "its date is not in the calendar";
const NO_CLOCK: Refused = "its time of day does not exist";
const NO_ZONE: Refused = "its zone is neither Z nor an offset such as -05:00, -0500 or -05";
const DATE_ALONE: Refused = "a date without a time of day";
const NO_LEAP_SECOND: Refused = "its second 60 is not a leap second, which occurs only at 23:59:60 UTC";
const TOO_FAR: Refused = "the number is too large for a time";

/// Reads a time: ISO 8601 (UTC if it has no zone), or a number since 1970 in s, ms, µs or ns, depending on its size.
///
/// # Errors
/// `invalid_time`, naming `place`.
pub(crate) fn parse(token: Token<'_>, place: impl Display) -> Result<Micros, Rejection> {
    let text = if token.kind == Kind::EscapedText {
        token.text().unwrap_or_default()
    } else {
        Cow::Borrowed(token.raw)
    };
    instant(text.as_bytes().trim_ascii()).map_err(|why| {
        let message = format!(
            "{place} is {}: {why} (accepted: 2026-10-01T00:05:00Z, or a number of s, ms, µs or ns since 1970)",
            token.shown()
        );
        Rejection::new(RejectCode::InvalidTime, message)
    })
}

pub(crate) fn instant(text: &[u8]) -> Result<Micros, Refused> {
    match stamp(text) {
        Some(stamp) => stamp.map(|stamp| stamp.wall - stamp.offset.unwrap_or(0)),
        None => epoch(text),
    }
}

/// Reads a date and a time of day, with or without a zone.
pub(crate) fn iso(text: &[u8]) -> Option<Stamp> {
    stamp(text).and_then(Result::ok)
}

// `YYYY-MM-DD` or `YYYYMMDD`, then `T` or a space, `HH[:MM[:SS[.fraction]]]` or `HH[MM[SS[.fraction]]]`, and a zone.
// `None` if it does not begin like a date.
fn stamp(text: &[u8]) -> Option<Result<Stamp, Refused>> {
    usual(text).map(Ok).or_else(|| any_stamp(text))
}

fn any_stamp(text: &[u8]) -> Option<Result<Stamp, Refused>> {
    let (year, month, day, rest) = match text {
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] | [y1, y2, y3, y4, m1, m2, d1, d2, rest @ ..] => (
            two(*y1, *y2)? * 100 + two(*y3, *y4)?,
            two(*m1, *m2)?,
            two(*d1, *d2)?,
            rest,
        ),
        _ => return None,
    };
    let is_date = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    match rest {
        [b'T' | b't' | b' ', clock @ ..] if is_date => Some(time_of_day(utc(year, month, day, 0), clock)),
        [b'T' | b't' | b' ', ..] => Some(Err(NO_DATE)),
        // Eight digits are a date if the year is plausible. As a number they would be a time in 1970.
        [] if is_date && (text.len() > 8 || (1990..2100).contains(&year)) => Some(Err(DATE_ALONE)),
        _ => None,
    }
}

// Fast path for nearly every text: `YYYY-MM-DDTHH:MM:SS[.fraction]` and a zone. `None` for any other, whose error the general
// path names.
#[inline]
fn usual(text: &[u8]) -> Option<Stamp> {
    let (date, rest) = text.split_first_chunk::<8>()?;
    let (clock, rest) = rest.split_first_chunk::<8>()?;
    let [b':', tens, ones, rest @ ..] = rest else {
        return None;
    };
    let [century, _, year, _, _, month, ..] = pairs(*date, *b"0000-00-")?;
    let [day, _, _, hour, _, _, minute, _] = pairs(*clock, *b"00T00:00")?;
    let (year, month, day) = (century * 100 + year, month, day);
    let second = two(*tens, *ones)?;
    let is_date = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, rest) = fraction(rest).ok()?;
    Some(Stamp {
        wall: utc(year, month, day, hour) + (minute * 60 + second) * SECOND + fraction,
        offset: zone(rest).ok()?,
    })
}

// At each byte, the number whose two digits are this byte and the next one. `form` has a zero at each digit; its other bytes
// must be equal, and count as the digit 0.
#[inline(always)]
fn pairs(text: [u8; 8], form: [u8; 8]) -> Option<[i64; 8]> {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Added to a byte that is too large, it sets the highest bit.
    let limits = u64::from_le_bytes(form.map(|byte| if byte == b'0' { 0x80 - 10 } else { 0x80 - 1 }));
    let digits = u64::from_le_bytes(text) ^ u64::from_le_bytes(form);
    if (digits | digits.wrapping_add(limits)) & HIGH != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    Some(pairs.to_le_bytes().map(i64::from))
}

fn time_of_day(midnight: Micros, text: &[u8]) -> Result<Stamp, Refused> {
    let (hour, rest) = leading_two(text).ok_or(NO_CLOCK)?;
    let (minute, rest, extended) = match rest {
        [b':', rest @ ..] => leading_two(rest)
            .map(|(minute, rest)| (minute, rest, true))
            .ok_or(NO_CLOCK)?,
        [b'0'..=b'9', ..] => leading_two(rest)
            .map(|(minute, rest)| (minute, rest, false))
            .ok_or(NO_CLOCK)?,
        _ => (0, rest, true),
    };
    let (second, rest) = match (rest, extended) {
        ([b':', rest @ ..], true) => leading_two(rest).ok_or(NO_CLOCK)?,
        ([b'0'..=b'9', ..], false) => leading_two(rest).ok_or(NO_CLOCK)?,
        // ISO 8601 allows fractions of an hour or a minute, but no source uses them.
        ([b'.' | b',', ..], _) => return Err(NO_CLOCK),
        _ => (0, rest),
    };
    let (fraction, rest) = fraction(rest)?;
    let offset = zone(rest)?;
    // 24:00 is the midnight at the end of the day.
    if hour > 24 || minute > 59 || second > 60 || (hour == 24 && (minute, second, fraction) != (0, 0, 0)) {
        return Err(NO_CLOCK);
    }
    let wall = midnight + ((hour * 60 + minute) * 60 + second) * SECOND + fraction;
    // A leap second counts as the next second, which is the first of a UTC day.
    if second == 60 && (wall - offset.unwrap_or(0)).rem_euclid(86_400 * SECOND) >= SECOND {
        return Err(NO_LEAP_SECOND);
    }
    Ok(Stamp { wall, offset })
}

// The fraction of a second, truncated to microseconds.
fn fraction(text: &[u8]) -> Result<(Micros, &[u8]), Refused> {
    let [b'.' | b',', rest @ ..] = text else {
        return Ok((0, text));
    };
    let (mut micros, mut after) = (0, rest);
    for unit in [100_000, 10_000, 1_000, 100, 10, 1] {
        let [digit @ b'0'..=b'9', rest @ ..] = after else {
            break;
        };
        micros += i64::from(digit - b'0') * unit;
        after = rest;
    }
    while let [b'0'..=b'9', rest @ ..] = after {
        after = rest;
    }
    if after.len() == rest.len() {
        return Err(NO_CLOCK);
    }
    Ok((micros, after))
}

fn zone(text: &[u8]) -> Result<Option<Micros>, Refused> {
    let (sign, offset) = match text {
        [] => return Ok(None),
        [b'Z' | b'z'] => return Ok(Some(0)),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        _ => return Err(NO_ZONE),
    };
    let (hours, minutes) = match offset {
        [h1, h2] => (two(*h1, *h2), Some(0)),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two(*h1, *h2), two(*m1, *m2)),
        _ => return Err(NO_ZONE),
    };
    match (hours, minutes) {
        (Some(hours @ 0..=23), Some(minutes @ 0..=59)) => Ok(Some(sign * (hours * 60 + minutes) * 60 * SECOND)),
        _ => Err(NO_ZONE),
    }
}

fn leading_two(text: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<2>()?;
    Some((two(digits[0], digits[1])?, rest))
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Seconds below 10^11, milliseconds below 10^14, microseconds below 10^17, else nanoseconds.
fn epoch(text: &[u8]) -> Result<Micros, Refused> {
    usual_epoch(text).map_or_else(|| any_epoch(text), Ok)
}

fn any_epoch(text: &[u8]) -> Result<Micros, Refused> {
    let number = DecimalText::read(text).ok_or(NEITHER)?;
    if number.digits == 0 {
        return Ok(0);
    }
    let to_micros = match number.magnitude {
        ..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        18..=20 => -3,
        _ => return Err(TOO_FAR),
    };
    let whole = usize::try_from(number.magnitude + to_micros).unwrap_or(0);
    let micros = number.cut(0, whole);
    // The last digit is not zero, so additional digits are a remainder.
    let cut_off = number.digits > whole;
    Ok(if number.negative {
        -micros - i64::from(cut_off)
    } else {
        micros
    })
}

// Fast path for nearly every number: at most 17 digits, of which the first is not 0.
#[inline]
fn usual_epoch(text: &[u8]) -> Option<Micros> {
    let unit = match (text.len(), text) {
        (_, [b'0', ..]) => return None,
        (1..=11, _) => 1_000_000,
        (12..=14, _) => 1_000,
        (15..=17, _) => 1,
        _ => return None,
    };
    let mut number = 0;
    for byte in text {
        number = match byte {
            b'0'..=b'9' => number * 10 + i64::from(byte - b'0'),
            _ => return None,
        };
    }
    Some(number * unit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Option<Micros> {
        instant(text.as_bytes()).ok()
    }

    #[test]
    fn the_usual_forms_take_the_fast_path() {
        for text in [
            "2026-10-02T12:00:00Z",
            "2026-10-02T12:00:00",
            "2026-10-02T12:00:00.000000Z",
            "2026-10-02T07:00:00.000-05:00",
        ] {
            assert!(usual(text.as_bytes()).is_some(), "{text}");
        }
        assert_eq!(usual_epoch(b"1795646000000"), Some(1_795_646_000_000_000));
    }

    #[test]
    fn a_zone_is_applied_and_utc_is_the_default() {
        let noon = Some(utc(2026, 10, 2, 12));
        for text in [
            "2026-10-02T12:00:00Z",
            "2026-10-02T12:00:00",
            "2026-10-02 12:00:00.000",
            "2026-10-02T12:00Z",
            "2026-10-02T07:00:00-05:00",
            "2026-10-02T17:30:00+0530",
            "2026-10-02T14:00:00.000000+02",
            "2026-10-02T12",
            "20261002T120000Z",
            "20261002T1200",
            "20261002T120000,000-0000",
            "20261002 070000.0-05:00",
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
        for text in [
            "1.795646e9",
            "1795646000",
            "1.795646E+12",
            "1795646e9",
            "1795646000000000000",
            "17956460000000000000e-1",
        ] {
            assert_eq!(at(text), Some(1_795_646_000_000_000), "{text}");
        }
        assert_eq!(at("99999999999999999"), Some(99_999_999_999_999_999));
        assert_eq!(at("100000000000000000"), Some(100_000_000_000_000));
        assert_eq!(at("1790942400123456789"), Some(1_790_942_400_123_456));
        assert_eq!(at("-1790942400123456789"), Some(-1_790_942_400_123_457));
        assert_eq!(at("0e999999999999999999999"), Some(0));
        assert_eq!(at("-1"), Some(-1_000_000));
        assert_eq!(at("-0.0000001"), Some(-1));
    }

    #[test]
    fn the_end_of_a_day_and_a_leap_second_equal_the_following_second() {
        let midnight = Some(utc(2017, 1, 1, 0));
        for text in [
            "2016-12-31T24:00:00Z",
            "2016-12-31T24:00",
            "20161231T240000,000Z",
            "2016-12-31T23:59:60Z",
            "2016-12-31T23:59:60",
            "20161231T235960Z",
            "2017-01-01T00:59:60+01:00",
            "2016-12-31T18:59:60-0500",
        ] {
            assert_eq!(at(text), midnight, "{text}");
        }
        assert_eq!(at("2016-12-31T23:59:60.25Z"), midnight.map(|time| time + 250_000));
    }

    #[test]
    fn an_invalid_time_is_rejected_with_the_reason() {
        for (text, why) in [
            ("", NEITHER),
            ("now", NEITHER),
            ("1.2.3", NEITHER),
            ("-", NEITHER),
            ("2026-W40-5T12:00:00Z", NEITHER),
            ("1e21", TOO_FAR),
            ("1e99999", TOO_FAR),
            ("2026-02-29T00:00:00Z", NO_DATE),
            ("2026-13-01T00:00:00Z", NO_DATE),
            ("20260431T000000Z", NO_DATE),
            ("2026-10-02", DATE_ALONE),
            ("20261002", DATE_ALONE),
            ("2026-10-02T", NO_CLOCK),
            ("2026-10-02T25:00:00Z", NO_CLOCK),
            ("2026-10-02T24:00:01Z", NO_CLOCK),
            ("2026-10-02T24:00:00.000001Z", NO_CLOCK),
            ("2026-10-02T12:60:00Z", NO_CLOCK),
            ("2026-10-02T12:00:61Z", NO_CLOCK),
            ("2026-10-02T12:00:00.Z", NO_CLOCK),
            ("2026-10-02T12:00.5Z", NO_CLOCK),
            ("2026-10-02T12:00:60Z", NO_LEAP_SECOND),
            ("2026-10-02T23:59:60-05:00", NO_LEAP_SECOND),
            ("2026-10-02T12:00:00X", NO_ZONE),
            ("2026-10-02T12:00:00 UTC", NO_ZONE),
            ("2026-10-02T12:00:00+25:00", NO_ZONE),
            ("2026-10-02T12:0000", NO_ZONE),
        ] {
            assert_eq!(instant(text.as_bytes()), Err(why), "{text}");
        }
    }

    #[test]
    fn a_changed_byte_never_passes_the_fast_path_alone() {
        for at in 0..27 {
            for byte in 0..=u8::MAX {
                let mut text = *b"2026-10-02T12:34:56.789012Z";
                text[at] = byte;
                let usual = usual(&text).map(Ok);
                assert!(usual.is_none() || usual == any_stamp(&text), "{}", text.escape_ascii());
            }
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
        fn the_fast_path_of_iso_texts_agrees_with_the_general_one(
            text in "[0-2][09][0-9]{2}[-0][01][0-9][-0][0-3][0-9][T ][0-2][0-9][:0][0-6][0-9][:0][0-6][0-9]([.,][0-9]{0,9})?(Z|z|[-+][0-2][0-9]:?[0-5][0-9])?.?",
        ) {
            if let Some(stamp) = usual(text.as_bytes()) {
                prop_assert_eq!(any_stamp(text.as_bytes()), Some(Ok(stamp)), "{}", text);
            }
        }

        #[test]
        fn the_fast_path_of_numbers_agrees_with_the_general_one(text in "[-+.e]?[0-9]{0,18}[.e]?[0-9]?") {
            if let Some(micros) = usual_epoch(text.as_bytes()) {
                prop_assert_eq!(any_epoch(text.as_bytes()), Ok(micros), "{}", text);
            }
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "[-+0-9T:.,eZ ]{0,40}") {
            let _ = at(&text);
        }
    }
}
