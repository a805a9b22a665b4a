//! Checks that every tick must pass, whatever its format. They depend only on the bytes and the append time (INV-1).

use std::fmt::Display;

use domain::instrument::{check_identifier, market_of};
use domain::{Decimal, Micros};

use crate::contract::SETTLEMENT;
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

/// An id that begins with a known market must be sent as that market: otherwise one producer's error would change the prices, bars and curves
/// of another market's instrument.
pub(crate) fn own_market(id: &str, venue: &Venue, venues: &[Venue], place: impl Display) -> Result<(), Rejection> {
    let named = market_of(id).unwrap_or_default();
    let is_known = |name: &str| venues.iter().any(|known| known.name == name);
    // Nearly every id names the market of its tick, or none. A market that is not known has its own rejection.
    if named == venue.name || !is_known(named) || !is_known(&venue.name) {
        return Ok(());
    }
    let message = format!(
        "{place} is \"{}\", an instrument of {named}, but the market is {} (accepted: an id of the stated market, or one that begins with no \
         market's name); correct market or id and send it again",
        excerpt(id),
        venue.name
    );
    Err(Rejection::new(RejectCode::SchemaViolation, message))
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
    // The time of a settlement is its trade date, and no other product takes it.
    let advice = match product {
        SETTLEMENT => {
            "correct the trade date and send it again: a settlement exists only after its trade date has begun"
        }
        "da" => "correct the clock or the time zone of the producer and send it again",
        _ => {
            "correct the clock or the time zone of the producer and send it again, with product da if the price is day-ahead"
        }
    };
    let message = format!(
        "{place} is {}, {} s after the append of the message at {} (accepted: at most {} s ahead for product {}); {advice}",
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::venue::iso_venues;

    #[test]
    fn an_id_of_another_known_market_is_rejected() {
        let venues = iso_venues();
        let check = |id: &str, market: &str| {
            let venue = venues.iter().find(|venue| venue.name == market);
            own_market(id, venue.unwrap_or(Venue::unknown()), &venues, "the instrument id")
        };
        for (id, market) in [
            ("PJM.WESTERN%20HUB.RT5", "PJM"),
            ("NG_HH_M1", "GAS"),
            ("PJM", "ERCOT"),
            ("PJMW.2027-01", "ERCOT"),
            ("HUB.PJM.RT5", "ERCOT"),
            // Its market is what must be corrected.
            ("PJM.WESTERN%20HUB.RT5", "ICE"),
        ] {
            assert_eq!(check(id, market), Ok(()), "{id} {market}");
        }
        for (id, market) in [
            ("PJM.WESTERN%20HUB.RT5", "ERCOT"),
            ("SPP.SPPNORTH_HUB.2027-03.FLAT.SETTLEMENT", "MISO"),
            ("GAS.HENRY_HUB.M1.FLAT.SETTLEMENT", "PJM"),
        ] {
            let rejection = check(id, market).unwrap_err();
            assert_eq!(rejection.code, RejectCode::SchemaViolation);
            assert!(
                rejection.message.contains(id) && rejection.message.contains(market),
                "{}",
                rejection.message
            );
        }
    }
}
