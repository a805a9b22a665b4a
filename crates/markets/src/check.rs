//! What every tick must satisfy, whatever it was read from. A function of bytes and append time only (INV-1).

use domain::instrument::check_identifier;
use domain::{Decimal, Micros};

use crate::rejection::{RejectCode, Rejection};
use crate::time::utc;

const EARLIEST: Micros = utc(1990, 1, 1, 0);
/// Day-ahead prices are stamped up to 36 hours ahead; a week leaves room for holidays.
const FURTHEST_AHEAD: Micros = 7 * 86_400 * 1_000_000;
/// Unscaled, so 10^14 in money: room for 10^8 such ticks in the sum of a bar.
const LARGEST_TURNOVER: u128 = 1_000_000_000_000_000_000_000_000_000_000;

pub(crate) fn identifier(text: &str, place: &str) -> Result<(), Rejection> {
    // Nearly all are short and printable, which is quickly seen.
    if (1..=256).contains(&text.len())
        && text
            .bytes()
            .fold(true, |plain, byte| plain & matches!(byte, b'!'..=b'{' | b'}' | b'~'))
    {
        return Ok(());
    }
    check_identifier(text).map_err(|error| Rejection::new(RejectCode::InvalidIdentifier, format!("{place} {error}")))
}

pub(crate) fn event_time(event_time: Micros, appended_at: Micros, place: &str) -> Result<(), Rejection> {
    if event_time < EARLIEST {
        Err(Rejection::new(
            RejectCode::TimeOutOfRange,
            format!("{place} is before 1990 ({event_time} µs since 1970)"),
        ))
    } else if event_time > appended_at.saturating_add(FURTHEST_AHEAD) {
        let message =
            format!("{place} is more than 7 days after the message was appended ({event_time} µs since 1970)");
        Err(Rejection::new(RejectCode::TimeOutOfRange, message))
    } else {
        Ok(())
    }
}

pub(crate) fn volume(price: Decimal, volume: Option<Decimal>, place: &str) -> Result<(), Rejection> {
    let Some(volume) = volume else {
        return Ok(());
    };
    if volume < Decimal::ZERO {
        Err(Rejection::new(
            RejectCode::NegativeVolume,
            format!("{place} is {volume}"),
        ))
    } else if price.turnover(volume).0.unsigned_abs() > LARGEST_TURNOVER {
        Err(Rejection::new(
            RejectCode::TurnoverOutOfRange,
            format!("price {price} times volume {volume} is beyond 10^14"),
        ))
    } else {
        Ok(())
    }
}
