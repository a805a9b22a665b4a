//! Checks that every tick must pass, whatever its format. They depend only on the bytes and the append time (INV-1).

use std::fmt::Display;

use domain::instrument::check_identifier;
use domain::{Decimal, Micros};

use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::time::utc;
use crate::venue::Venue;

const EARLIEST: Micros = utc(1990, 1, 1, 0);
/// Unscaled, so 10^14 in money. The sum of a bar can hold 10^8 such ticks.
const LARGEST_TURNOVER: u128 = 1_000_000_000_000_000_000_000_000_000_000;

pub(crate) fn identifier(text: &str, place: impl Display) -> Result<(), Rejection> {
    // Fast path: nearly all identifiers are short and printable.
    if (1..=256).contains(&text.len())
        && text
            .bytes()
            .fold(true, |plain, byte| plain & matches!(byte, b'!'..=b'{' | b'}' | b'~'))
    {
        return Ok(());
    }
    check_identifier(text).map_err(|error| {
        let message = format!(
            "{place} {error}: \"{}\" (accepted: 1 to 256 bytes without '|' and control characters)",
            excerpt(text)
        );
        Rejection::new(RejectCode::InvalidIdentifier, message)
    })
}

/// `max_future` limits how far a price may be ahead of its append time if its product has no specific limit.
pub(crate) fn event_time(
    event_time: Micros,
    appended_at: Micros,
    (venue, product): (&Venue, &str),
    max_future: Micros,
    place: impl Display,
) -> Result<(), Rejection> {
    if event_time < EARLIEST {
        let message = format!("{place} is {}: times before 1990 are rejected", shown(event_time));
        return Err(Rejection::new(RejectCode::TimeOutOfRange, message));
    }
    let ahead = event_time.saturating_sub(appended_at);
    // Nearly every price is older than its append time.
    if ahead <= 0 {
        return Ok(());
    }
    let furthest = venue.furthest_ahead(product, max_future);
    if ahead <= furthest {
        return Ok(());
    }
    let message = format!(
        "{place} is {}, {} s after the append of the message at {} (accepted: at most {} s ahead for product {}); correct the \
         clock or the time zone of the producer and send it again, with product da if the price is day-ahead",
        shown(event_time),
        ahead / 1_000_000,
        shown(appended_at),
        furthest / 1_000_000,
        excerpt(product)
    );
    Err(Rejection::new(RejectCode::FutureTime, message))
}

// For messages. Times outside jiff's calendar are shown as a number.
fn shown(time: Micros) -> String {
    jiff::Timestamp::from_microsecond(time).map_or_else(|_| format!("{time} µs since 1970"), |time| time.to_string())
}

pub(crate) fn volume(price: Decimal, volume: Option<Decimal>, place: impl Display) -> Result<(), Rejection> {
    let Some(volume) = volume else {
        return Ok(());
    };
    if volume < Decimal::ZERO {
        Err(Rejection::new(
            RejectCode::NegativeVolume,
            format!("{place} is {volume}: a volume must not be negative"),
        ))
    } else if price.turnover(volume).0.unsigned_abs() > LARGEST_TURNOVER {
        Err(Rejection::new(
            RejectCode::TurnoverOutOfRange,
            format!("{place} is {volume}: volume times price {price} exceeds 10^14"),
        ))
    } else {
        Ok(())
    }
}
