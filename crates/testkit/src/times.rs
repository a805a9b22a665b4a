//! Reads the times of messages: converts every accepted form to the one that jiff reads.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::numbers::written_out;

const MICRO: i64 = 1_000_000;

/// Microseconds since 1970; `None` if the text is not a time.
pub fn micros(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(micros) = text.strip_suffix("us") {
        return micros.parse().ok();
    }
    calendar(text).or_else(|| number(text))
}

/// The time on a wall, as microseconds since 1970 of a clock that shows UTC. `None` if the text is not a date and a time of day, or
/// has a zone.
pub fn wall(text: &str) -> Option<i64> {
    let text = text.trim();
    let (_, clock) = text.split_once(['T', 't', ' '])?;
    if clock.contains(['Z', 'z', '+', '-']) {
        return None;
    }
    calendar(text)
}

/// As [`wall`], of a date with slashes: `9/1/2025 4:05:00 AM`, `06/25/2026 00:40`.
pub fn slashed(text: &str) -> Option<i64> {
    let (date, clock) = text.trim().split_once(' ')?;
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        let is_number = lengths.contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
        is_number.then(|| text.parse::<i16>().ok()).flatten()
    };
    let mut date = date.split('/');
    let (month, day, year) = (date.next()?, date.next()?, date.next()?);
    let (month, day, year) = (digits(month, 1..=2)?, digits(day, 1..=2)?, digits(year, 4..=4)?);
    let day = jiff::civil::Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let upper = clock.trim().to_uppercase();
    let half = ["AM", "PM"].into_iter().position(|half| upper.ends_with(half));
    let clock = upper.trim_end_matches(['A', 'P', 'M']).trim_end();
    let mut clock = clock.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next().unwrap_or("00"));
    let (hour, minute, second) = (digits(hour, 1..=2)?, digits(minute, 2..=2)?, digits(second, 2..=2)?);
    let hour = match half {
        Some(half) if (1..=12).contains(&hour) => hour % 12 + 12 * i16::try_from(half).ok()?,
        None if hour < 24 || (hour == 24 && minute == 0 && second == 0) => hour,
        _ => return None,
    };
    if date.next().is_some() || clock.next().is_some() || minute > 59 || second > 59 {
        return None;
    }
    let midnight = day.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond();
    Some(midnight + ((i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second)) * MICRO)
}

// The number of digits before the point decides the unit.
fn number(text: &str) -> Option<i64> {
    let (negative, whole, fraction) = written_out(text)?;
    if text.len() == 8
        && whole.len() == 8
        && text
            .parse::<jiff::civil::Date>()
            .is_ok_and(|date| (1990..2100).contains(&date.year()))
    {
        return None;
    }
    let unit = match whole.len() {
        ..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        18..=20 => -3,
        _ => return None,
    };
    // With 18 decimals, every relevant digit is in the integer.
    let digits = format!("{whole}{:0<18}", fraction.get(..18).unwrap_or(&fraction));
    let value: i128 = digits.parse().ok()?;
    let value = if negative { -value } else { value };
    let divisor = 10_i128.pow(u32::try_from(18 - unit).ok()?);
    // Digits that were cut after the eighteenth decimal move a negative number down.
    let beyond = i64::from(negative && fraction.len() > 18 && value % divisor == 0);
    i64::try_from(value.div_euclid(divisor))
        .ok()
        .map(|micros| micros - beyond)
}

fn calendar(text: &str) -> Option<i64> {
    let upper = text.to_uppercase().replace(',', ".");
    let (date, rest) = upper.split_once(['T', ' '])?;
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    // The extended form has all separators, the basic form has none.
    let plain = |text: &str, separator: char, lengths: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        let is_extended = parts
            .iter()
            .map(|part| part.len())
            .eq(lengths.iter().copied().take(parts.len()));
        (parts.len() == 1 || is_extended).then(|| parts.concat())
    };
    let (clock, fraction) = clock
        .split_once('.')
        .map_or((clock, None), |(clock, rest)| (clock, Some(rest)));
    let (date, clock) = (plain(date, '-', &[4, 2, 2])?, plain(clock, ':', &[2, 2, 2])?);
    if fraction.is_some_and(|fraction| fraction.is_empty() || clock.len() != 6) {
        return None;
    }
    let fraction = fraction.unwrap_or_default();
    if date.len() != 8
        || !matches!(clock.len(), 2 | 4 | 6)
        || !date.chars().chain(clock.chars()).all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let part = |at: usize| clock.get(at..at + 2).map_or(Some(0), |two| two.parse::<i64>().ok());
    let (hour, minute, second) = (part(0)?, part(2)?, part(4)?);
    let fraction: i64 = format!("{:0<6}", fraction.get(..6).unwrap_or(fraction)).parse().ok()?;
    if hour > 24 || minute > 59 || second > 60 || (hour == 24 && minute + second + fraction > 0) {
        return None;
    }
    let midnight: DateTime = format!("{}-{}-{}T00:00", date.get(..4)?, date.get(4..6)?, date.get(6..)?)
        .parse()
        .ok()?;
    let elapsed = ((hour * 60 + minute) * 60 + second) * MICRO + fraction;
    let wall = midnight.checked_add(SignedDuration::from_micros(elapsed)).ok()?;
    let time = wall.to_zoned(TimeZone::fixed(offset(zone)?)).ok()?.timestamp();
    let is_leap = second < 60 || time.to_zoned(TimeZone::UTC).time() < jiff::civil::time(0, 0, 1, 0);
    is_leap.then(|| Timestamp::as_microsecond(time))
}

fn offset(zone: &str) -> Option<Offset> {
    if zone.is_empty() || zone == "Z" {
        return Some(Offset::UTC);
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let digits = format!("{:0<4}", digits.replace(':', ""));
    let seconds = digits.get(..2)?.parse::<i32>().ok()? * 3600 + digits.get(2..)?.parse::<i32>().ok()? * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()
}

/// Formats microseconds since 1970 in ISO 8601, which `micros` can read.
pub fn iso(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_read() {
        for text in [
            "2026-10-02T12:00:00Z",
            "20261002T120000Z",
            "2026-10-02 07:00-0500",
            "20261002T1730+05:30",
            "2026-10-02T12:00:00,000",
            "1790942400",
            "1.7909424e9",
            "1790942400000",
            "1790942400000000.0",
            "1790942400000000999",
        ] {
            assert_eq!(micros(text), Some(1_790_942_400_000_000), "{text}");
        }
        assert_eq!(micros("2016-12-31T23:59:60Z"), micros("2016-12-31T24:00Z"));
        assert_eq!(micros("-0.0000001"), Some(-1));
        for text in [
            "2026-10-02",
            "20261002",
            "2026-10-02T24:00:01Z",
            "2026-10-02T12:00:60Z",
            "now",
            "",
            "1e30",
        ] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn the_time_on_a_wall_has_no_zone() {
        for text in [
            "2026-10-02T12:00:00",
            "20261002 1200",
            "10/2/2026 12:00:00 PM",
            "10/02/2026 12:00",
            "10/2/2026 12:00 pm",
        ] {
            assert_eq!(
                wall(text).or_else(|| slashed(text)),
                Some(1_790_942_400_000_000),
                "{text}"
            );
        }
        assert_eq!(slashed("10/2/2026 12:05:09 AM"), Some(1_790_899_509_000_000));
        assert_eq!(slashed("10/1/2026 24:00"), slashed("10/2/2026 0:00"));
        for text in [
            "2026-10-02T12:00:00Z",
            "2026-10-02T12:00:00-05:00",
            "2026-10-02",
            "10/2/2026",
            "13/2/2026 12:00",
            "10/2/26 12:00",
            "10/2/2026 13:00 PM",
            "10/2/2026 0:00 AM",
            "10/2/2026 24:01",
            "10/2/2026 12",
            "10/2/2026 12:60",
            "10/2/2026 12:00:00 EPT",
        ] {
            assert_eq!(wall(text).or_else(|| slashed(text)), None, "{text}");
        }
    }
}
