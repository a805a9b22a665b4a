//! Local times of markets: stamps as they are printed, and their conversion to UTC.
//!
//! Role: the only place that knows time zones. The zones are compiled in, so that neither the machine nor `TZ` changes a tick
//! (INV-1).
//! Invariants: a local time that occurs twice is converted only if the caller knows which pass is meant; a local time that
//! does not exist is refused, never moved.
//! Failure: `invalid_time` or `ambiguous_time`.

use std::sync::LazyLock;

use domain::Micros;
use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::time;

mod changes;

use changes::Changes;

pub(crate) const SECOND: Micros = 1_000_000;
pub(crate) const MINUTE: Micros = 60 * SECOND;
pub(crate) const HOUR: Micros = 60 * MINUTE;
pub(crate) const DAY: Micros = 24 * HOUR;

pub(crate) static EASTERN: Zone = Zone(LazyLock::new(|| Changes::of("America/New_York")));
pub(crate) static CENTRAL: Zone = Zone(LazyLock::new(|| Changes::of("America/Chicago")));
pub(crate) static PACIFIC: Zone = Zone(LazyLock::new(|| Changes::of("America/Los_Angeles")));

/// Which of the two passes of a repeated local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Daylight saving time.
    First,
    /// Standard time.
    Second,
}

/// A local time read as if it were UTC.
pub(crate) type Wall = Micros;

/// The UTC time, or times, of a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instants {
    Once(Micros),
    Never,
    Twice(Micros, Micros),
    /// Beyond the years that times may have.
    OutOfRange,
}

/// A time zone with daylight saving time.
pub(crate) struct Zone(LazyLock<Changes>);

impl Zone {
    /// The UTC times of a local time.
    pub(crate) fn instants(&self, wall: Wall) -> Instants {
        self.0.instants(wall)
    }

    /// The UTC time of a local time. `pass` decides between the two of a repeated one, and must not be `Second` for another.
    pub(crate) fn utc(&self, wall: Wall, pass: Option<Pass>) -> Result<Micros, Rejection> {
        self.instants(wall).of(wall, pass)
    }

    /// The local time of a UTC time.
    pub(crate) fn wall(&self, utc: Micros) -> Wall {
        self.0.wall(utc)
    }
}

impl Instants {
    /// As [`Zone::utc`]; these are the instants of `wall`.
    pub(crate) fn of(self, wall: Wall, pass: Option<Pass>) -> Result<Micros, Rejection> {
        match (self, pass) {
            (Instants::Once(_), Some(Pass::Second)) => Err(Rejection::new(
                RejectCode::InvalidTime,
                format!("{} is marked as repeated, but it occurs once", shown(wall)),
            )),
            (Instants::Once(utc) | Instants::Twice(utc, _), Some(Pass::First)) | (Instants::Once(utc), None) => Ok(utc),
            (Instants::Twice(_, utc), Some(Pass::Second)) => Ok(utc),
            (Instants::Twice(..), None) => Err(ambiguous(wall)),
            (Instants::Never, _) => Err(Rejection::new(
                RejectCode::InvalidTime,
                format!("{} does not exist: the clock is set forward over it", shown(wall)),
            )),
            (Instants::OutOfRange, _) => Err(out_of_range(wall)),
        }
    }
}

#[cold]
pub(crate) fn out_of_range(wall: Wall) -> Rejection {
    let message = format!(
        "{} is beyond the years that a time may have: correct the date and send it again",
        shown(wall)
    );
    Rejection::new(RejectCode::TimeOutOfRange, message)
}

pub(crate) fn ambiguous(wall: Wall) -> Rejection {
    let message = format!(
        "{} occurs twice on this day, and nothing tells which one is meant",
        shown(wall)
    );
    Rejection::new(RejectCode::AmbiguousTime, message)
}

/// A local time for a message.
pub(crate) fn shown(wall: Wall) -> String {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    // It reaches further than UTC times do.
    EPOCH
        .checked_add(SignedDuration::from_micros(wall))
        .map_or_else(|_| format!("{wall} µs"), |stamp| stamp.to_string().replace('T', " "))
}

/// A local day for a message.
pub(crate) fn shown_day(wall: Wall) -> String {
    let shown = shown(wall);
    shown.split(' ').next().unwrap_or_default().to_owned()
}

/// Reads a date and a time of day without a zone: `9/1/2025 4:05:00 AM`, `06/25/2026 00:40:18`, `6/4/2026 1:00`, or ISO 8601.
pub(crate) fn local(text: &str, column: &str) -> Result<Wall, Rejection> {
    let read = match time::iso(text.as_bytes()) {
        Some(stamp) => stamp.offset.is_none().then_some(stamp.wall),
        None => slashed(text),
    };
    read.ok_or_else(|| unreadable(text, column, "a local date and time"))
}

/// Reads a UTC time: as [`local`], or ISO 8601 with a zone.
pub(crate) fn utc(text: &str, column: &str) -> Result<Micros, Rejection> {
    time::iso(text.as_bytes())
        .map(|stamp| stamp.wall - stamp.offset.unwrap_or(0))
        .or_else(|| slashed(text))
        .ok_or_else(|| unreadable(text, column, "a date and time in UTC"))
}

/// Reads a date: `11/2/2025`, `2025-11-02`, `Jan 4, 2021`, or one of the first two with the time 00:00. Returns its midnight.
pub(crate) fn date(text: &str, column: &str) -> Result<Wall, Rejection> {
    let read = calendar_date(text)
        .or_else(|| dashed(text))
        .or_else(|| named_month(text))
        .or_else(|| local(text, column).ok().filter(|wall| wall.rem_euclid(DAY) == 0));
    read.ok_or_else(|| unreadable(text, column, "a date"))
}

#[cold]
fn unreadable(text: &str, column: &str, expected: &str) -> Rejection {
    if text.is_empty() {
        return Rejection::new(RejectCode::MissingTime, format!("{column} is empty"));
    }
    let message = format!("{column} is \"{}\": {expected} is expected", excerpt(text));
    Rejection::new(RejectCode::InvalidTime, message)
}

// Month/day/year of four digits, with or without leading zeros.
fn calendar_date(text: &str) -> Option<Wall> {
    leading_date(text)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(wall, _)| wall)
}

fn leading_date(text: &str) -> Option<(Wall, &str)> {
    let (month, rest) = leading(text, 1, 2)?;
    let (day, rest) = leading(rest.strip_prefix('/')?, 1, 2)?;
    let (year, rest) = leading(rest.strip_prefix('/')?, 4, 4)?;
    Some((midnight(year, month, day)?, rest))
}

fn dashed(text: &str) -> Option<Wall> {
    let (year, rest) = leading(text, 4, 4)?;
    let (month, rest) = leading(rest.strip_prefix('-')?, 1, 2)?;
    let (day, rest) = leading(rest.strip_prefix('-')?, 1, 2)?;
    midnight(year, month, day).filter(|_| rest.is_empty())
}

// `Jan 04, 2021`, `January 4, 2021` and `04-Jan-2021`.
fn named_month(text: &str) -> Option<Wall> {
    let mut parts = text.split([' ', ',', '-']).filter(|part| !part.is_empty());
    let (first, second, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (month, day) = match month(first) {
        Some(month) => (month, second),
        None => (month(second)?, first),
    };
    midnight(digits(year, 4, 4)?, month, digits(day, 1, 2)?)
}

fn month(name: &str) -> Option<i64> {
    const NAMES: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let at = NAMES
        .iter()
        .position(|known| name.len() >= 3 && known.starts_with(&name))?;
    i64::try_from(at + 1).ok()
}

fn midnight(year: i64, month: i64, day: i64) -> Option<Wall> {
    let exists = (1..=12).contains(&month) && (1..=time::days_in_month(year, month)).contains(&day);
    exists.then(|| time::utc(year, month, day, 0))
}

// `M/D/YYYY H:MM[:SS[.fraction]] [AM|PM]`.
fn slashed(text: &str) -> Option<Wall> {
    let (date, rest) = leading_date(text)?;
    Some(date + time_of_day(rest.strip_prefix(' ')?.trim())?)
}

/// Reads `H:MM[:SS[.fraction]]`, with or without AM or PM; `24:00` is the end of the day.
pub(crate) fn time_of_day(text: &str) -> Option<Micros> {
    let (hour, rest) = leading(text, 1, 2)?;
    let (minute, rest) = leading(rest.strip_prefix(':')?, 2, 2)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => seconds(rest)?,
        None => (0, rest),
    };
    let half = match rest.trim_start() {
        _ if rest.is_empty() => None,
        half if half.eq_ignore_ascii_case("am") => Some(0),
        half if half.eq_ignore_ascii_case("pm") => Some(12),
        _ => return None,
    };
    if minute > 59 || second >= MINUTE {
        return None;
    }
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(half) => hour % 12 + half,
        None if hour > 24 || (hour == 24 && (minute, second) != (0, 0)) => return None,
        None => hour,
    };
    Some(hour * HOUR + minute * MINUTE + second)
}

fn seconds(text: &str) -> Option<(Micros, &str)> {
    let (whole, rest) = leading(text, 2, 2)?;
    let Some(fraction) = rest.strip_prefix('.') else {
        return Some((whole * SECOND, rest));
    };
    let (number, rest) = leading(fraction, 1, 6)?;
    let decimals = u32::try_from(fraction.len() - rest.len()).ok()?;
    Some((whole * SECOND + number * 10_i64.pow(6 - decimals), rest))
}

/// Reads an hour ending `1` to `24`, also written `01`, `1:00`, `01:00` or `HE 1`.
pub(crate) fn hour_ending(text: &str, column: &str) -> Result<i64, Rejection> {
    let read = || {
        let text = text
            .strip_prefix("HE")
            .or_else(|| text.strip_prefix("he"))
            .unwrap_or(text)
            .trim();
        let hour = match text.split_once(':') {
            Some((hour, "00" | "00:00")) => hour,
            Some(_) => return None,
            None => text,
        };
        digits(hour, 1, 2).filter(|hour| (1..=24).contains(hour))
    };
    read().ok_or_else(|| unreadable(text, column, "an hour ending from 1 to 24"))
}

fn digits(text: &str, fewest: usize, most: usize) -> Option<i64> {
    leading(text, fewest, most)
        .filter(|(_, rest)| rest.is_empty())
        .map(|(number, _)| number)
}

// The number at the beginning, of at most this many digits, and the text after it.
#[inline]
fn leading(text: &str, fewest: usize, most: usize) -> Option<(i64, &str)> {
    let (mut number, mut count) = (0, 0);
    for byte in text.bytes().take(most) {
        if !byte.is_ascii_digit() {
            break;
        }
        number = number * 10 + i64::from(byte & 0x0F);
        count += 1;
    }
    Some((number, text.get(count..)?)).filter(|_| count >= fewest)
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
