//! Numbers of a message, read from their digits: JSON numbers or strings, never through binary floating point.

use std::fmt::Display;

use domain::{Decimal, DecimalError, QualityFlag, QualityFlags};

use crate::json::Token;
use crate::rejection::{RejectCode, Rejection};

/// Reads a number or a string that contains one. Binary floating-point noise is rounded and flagged.
///
/// # Errors
/// With `code`, naming `place`, if the value is not a decimal in range.
pub(crate) fn decimal(
    token: Token<'_>,
    code: RejectCode,
    place: impl Display,
    remarks: &mut QualityFlags,
) -> Result<Decimal, Rejection> {
    let (decimal, rounded) = read(token).map_err(|error| refused(token, code, place, error))?;
    if rounded {
        remarks.insert(QualityFlag::Rounded);
    }
    Ok(decimal)
}

#[cold]
fn refused(token: Token<'_>, code: RejectCode, place: impl Display, error: DecimalError) -> Rejection {
    let message = format!(
        "{place} is {}: {error} (accepted: a JSON number or string such as 31.55, at most 8 decimals, below 10^10)",
        token.shown()
    );
    Rejection::new(code, message)
}

/// A bid or an ask. An unreadable one is dropped and flagged, because the price is useful without it.
pub(crate) fn quote(token: Option<Token<'_>>, remarks: &mut QualityFlags) -> Option<Decimal> {
    let token = token?;
    let (decimal, flag) = match read(token) {
        Ok((decimal, false)) => return Some(decimal),
        Ok((decimal, true)) => (Some(decimal), QualityFlag::Rounded),
        Err(_) => (None, QualityFlag::MissingQuote),
    };
    remarks.insert(flag);
    decimal
}

// An escape inside a number is rejected like any other character that is not a digit.
#[inline]
fn read(token: Token<'_>) -> Result<(Decimal, bool), DecimalError> {
    let text = token.raw.as_bytes();
    short(text).map_or_else(
        || Decimal::parse_noisy(text.trim_ascii()),
        |decimal| Ok((decimal, false)),
    )
}

/// The factor that scales a mantissa with this many decimals to scale 8.
const SCALES: [i64; 9] = [100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

// Fast path for nearly every number: `-?digits[.digits]` with at most 17 bytes of digits and 8 decimals.
#[inline]
fn short(text: &[u8]) -> Option<Decimal> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if !(1..=17).contains(&digits.len()) || digits == b"." {
        return None;
    }
    let (mut mantissa, mut decimals, mut rest) = (0_i64, 0, digits);
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            // At most 17 digits cannot overflow.
            b'0'..=b'9' => mantissa = mantissa.wrapping_mul(10).wrapping_add(i64::from(byte & 0x0F)),
            b'.' if decimals == 0 => decimals = after.len() + 1,
            _ => return None,
        }
    }
    let scale = SCALES.get(decimals.saturating_sub(1))?;
    let unscaled = mantissa.checked_mul(*scale)?;
    Decimal::from_unscaled(if negative { -unscaled } else { unscaled }).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    use crate::json::Reader;
    use proptest::prelude::*;

    fn token(json: &str) -> Token<'_> {
        Reader::new(json).value().unwrap()
    }

    #[test]
    fn numbers_and_strings_are_read_digit_for_digit() {
        for (json, text) in [
            ("31.55", "31.55"),
            ("\"31.55\"", "31.55"),
            ("\"       27.04\"", "27.04"),
            ("\"-.37\"", "-0.37"),
            ("0", "0"),
            ("9007199254.74099301", "9007199254.74099301"),
            ("1e-8", "0.00000001"),
        ] {
            assert_eq!(
                decimal(
                    token(json),
                    RejectCode::InvalidPrice,
                    "/price",
                    &mut QualityFlags::default()
                )
                .unwrap()
                .to_string(),
                text
            );
        }
    }

    #[test]
    fn an_invalid_number_is_rejected_with_its_location_and_value() {
        for json in ["\"\"", "\"NaN\"", "true", "{}", "[1]", "\"1,5\"", "\"None\""] {
            let rejection = decimal(
                token(json),
                RejectCode::InvalidPrice,
                "/price",
                &mut QualityFlags::default(),
            )
            .unwrap_err();
            assert_eq!(rejection.code, RejectCode::InvalidPrice);
            assert!(
                rejection.message.starts_with(&format!("/price is {json}: ")),
                "{rejection}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_agrees_with_the_full_parser(text in "-?[0-9]{0,12}(\\.[0-9]{0,10})?") {
            if let Some(decimal) = short(text.as_bytes()) {
                prop_assert_eq!(Ok(decimal), Decimal::parse(text.as_bytes()), "{}", text);
            }
        }
    }
}
