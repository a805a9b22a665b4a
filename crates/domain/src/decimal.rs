//! Exact prices and volumes: a 64-bit integer at scale 8, and their products at scale 16.
//!
//! Invariant: `|value| < 10^10` (ClickHouse stores larger `Decimal(18,8)` unchecked). Text is parsed digit by digit;
//! binary floating point never takes part. More than eight significant decimals, or too large a value, is an error.

use std::fmt;

/// Number of decimals of a [`Decimal`].
pub const SCALE: u32 = 8;
const ONE: i64 = 100_000_000;
const LIMIT: i64 = 1_000_000_000_000_000_000;

/// An exact decimal number at scale 8 with magnitude below 10^10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(i64);

/// Why a text is not a [`Decimal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// No digits, or a character that does not belong into a number.
    #[error("not a decimal number")]
    NotANumber,
    /// More than eight decimals that are not zero.
    #[error("more than 8 decimals")]
    TooPrecise,
    /// The magnitude is 10^10 or more.
    #[error("magnitude is 10^10 or more")]
    TooLarge,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal(0);

    /// Makes a decimal from its integer at scale 8 (`1.5` is `150_000_000`).
    pub fn from_unscaled(unscaled: i64) -> Result<Decimal, DecimalError> {
        if unscaled > -LIMIT && unscaled < LIMIT {
            Ok(Decimal(unscaled))
        } else {
            Err(DecimalError::TooLarge)
        }
    }

    /// Makes a decimal from a whole number.
    pub fn from_integer(value: i64) -> Result<Decimal, DecimalError> {
        value
            .checked_mul(ONE)
            .ok_or(DecimalError::TooLarge)
            .and_then(Decimal::from_unscaled)
    }

    /// The integer at scale 8.
    pub fn unscaled(self) -> i64 {
        self.0
    }

    /// The exact product, at scale 16. Cannot overflow: each factor is below 10^18.
    pub fn turnover(self, volume: Decimal) -> Turnover {
        Turnover(i128::from(self.0) * i128::from(volume.0))
    }

    /// `self - other`, exact.
    pub fn checked_sub(self, other: Decimal) -> Result<Decimal, DecimalError> {
        Decimal::from_unscaled(self.0 - other.0)
    }

    /// Reads `-12.345`, `.5`, `+7.`, `1.2e3` (JSON numbers and market files). No spaces, no separators.
    pub fn parse(text: &[u8]) -> Result<Decimal, DecimalError> {
        let (negative, digits) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, text),
        };
        let mut number = Digits::default();
        let mut rest = digits;
        while let Some((&byte, tail)) = rest.split_first() {
            match byte {
                b'0'..=b'9' => number.push(i128::from(byte - b'0'))?,
                b'.' if !number.point => number.point = true,
                b'e' | b'E' => {
                    number.exponent = parse_exponent(tail)?;
                    break;
                }
                _ => return Err(DecimalError::NotANumber),
            }
            rest = tail;
        }
        let magnitude = number.at_scale()?;
        Decimal::from_unscaled(if negative { -magnitude } else { magnitude })
    }
}

/// Digits read so far: `mantissa * 10^(exponent - decimals)`.
#[derive(Default)]
struct Digits {
    mantissa: i128,
    seen: bool,
    point: bool,
    decimals: i32,
    exponent: i32,
}

impl Digits {
    fn push(&mut self, digit: i128) -> Result<(), DecimalError> {
        self.seen = true;
        // 10^30 leaves room for any value that can still be in range, trailing zeros included.
        if self.mantissa >= 1_000_000_000_000_000_000_000_000_000_000 {
            return Err(if self.point {
                DecimalError::TooPrecise
            } else {
                DecimalError::TooLarge
            });
        }
        self.mantissa = self.mantissa * 10 + digit;
        self.decimals += i32::from(self.point);
        Ok(())
    }

    fn at_scale(&self) -> Result<i64, DecimalError> {
        if !self.seen {
            return Err(DecimalError::NotANumber);
        }
        let mut shift = SCALE as i32 + self.exponent - self.decimals;
        let mut value = self.mantissa;
        if value == 0 {
            return Ok(0);
        }
        while shift < 0 {
            if value % 10 != 0 {
                return Err(DecimalError::TooPrecise);
            }
            value /= 10;
            shift += 1;
        }
        while shift > 0 {
            if value >= i128::from(LIMIT) {
                return Err(DecimalError::TooLarge);
            }
            value *= 10;
            shift -= 1;
        }
        i64::try_from(value).map_err(|_| DecimalError::TooLarge)
    }
}

fn parse_exponent(text: &[u8]) -> Result<i32, DecimalError> {
    std::str::from_utf8(text)
        .ok()
        .filter(|t| t.len() <= 4)
        .and_then(|t| t.parse::<i32>().ok())
        .ok_or(DecimalError::NotANumber)
}

impl fmt::Display for Decimal {
    /// The shortest exact text: `-0.5`, `31.55`, `7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, mut fraction) = (magnitude / ONE as u64, magnitude % ONE as u64);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if fraction != 0 {
            let mut width = SCALE as usize;
            while fraction % 10 == 0 {
                fraction /= 10;
                width -= 1;
            }
            write!(f, ".{fraction:0width$}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Decimal {
    type Err = DecimalError;
    fn from_str(text: &str) -> Result<Decimal, DecimalError> {
        Decimal::parse(text.as_bytes())
    }
}

/// Price times volume, or a sum of such products: a 128-bit integer at scale 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Turnover(pub i128);

impl Turnover {
    /// Largest magnitude that `Decimal(38,16)` holds.
    pub const LIMIT: i128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;

    /// The sum, or `None` where it would not fit `Decimal(38,16)`.
    pub fn checked_add(self, other: Turnover) -> Option<Turnover> {
        let sum = self.0.checked_add(other.0)?;
        (sum > -Self::LIMIT && sum < Self::LIMIT).then_some(Turnover(sum))
    }

    /// Volume-weighted average price: turnover / volume, rounded half to even at scale 8.
    ///
    /// `volume` is a sum at scale 8. `None` where the volume is zero, or the quotient leaves the range of a price.
    pub fn vwap(self, volume: i128) -> Option<Decimal> {
        if volume == 0 {
            return None;
        }
        let (magnitude, divisor) = (self.0.unsigned_abs(), volume.unsigned_abs());
        let (quotient, remainder) = (magnitude / divisor, magnitude % divisor);
        let round_up = match (remainder * 2).cmp(&divisor) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => quotient % 2 == 1,
            std::cmp::Ordering::Greater => true,
        };
        let rounded = i64::try_from(quotient + u128::from(round_up)).ok()?;
        let negative = (self.0 < 0) != (volume < 0);
        Decimal::from_unscaled(if negative { -rounded } else { rounded }).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<i64, DecimalError> {
        Decimal::parse(text.as_bytes()).map(Decimal::unscaled)
    }

    #[test]
    fn market_texts_are_read_exactly() {
        for (text, unscaled) in [
            ("31.55", 3_155_000_000),
            (".6", 60_000_000),
            ("-.37", -37_000_000),
            ("7.", 700_000_000),
            ("+1", 100_000_000),
            ("-0", 0),
            ("1.5e2", 15_000_000_000),
            ("125e-2", 125_000_000),
            ("0.00000001", 1),
            ("0.10000000000", 10_000_000),
            ("9999999999.99999999", LIMIT - 1),
            ("0e300", 0),
        ] {
            assert_eq!(parse(text), Ok(unscaled), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_an_error_and_never_zero() {
        for text in [
            "", "-", ".", "abc", "1,5", " 1", "1 ", "1..2", "--1", "NaN", "1e", "1e99999", "0x1", "e5",
        ] {
            assert_eq!(parse(text), Err(DecimalError::NotANumber), "{text}");
        }
        for text in ["0.000000001", "1e-9", "1.123456789"] {
            assert_eq!(parse(text), Err(DecimalError::TooPrecise), "{text}");
        }
        for text in [
            "10000000000",
            "-1e10",
            "99999999999999999999999999999999999999999",
            "1e300",
        ] {
            assert_eq!(parse(text), Err(DecimalError::TooLarge), "{text}");
        }
    }

    #[test]
    fn vwap_rounds_half_to_even() {
        for (turnover, volume, vwap) in [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (8, 3, 3), (7, 3, 2)] {
            assert_eq!(
                Turnover(turnover).vwap(volume),
                Some(Decimal(vwap)),
                "{turnover}/{volume}"
            );
        }
        assert_eq!(Turnover(1).vwap(0), None);
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(unscaled in -(LIMIT - 1)..LIMIT) {
            let decimal = Decimal::from_unscaled(unscaled).unwrap();
            prop_assert_eq!(Decimal::parse(decimal.to_string().as_bytes()), Ok(decimal));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Decimal::parse(&bytes);
        }

        #[test]
        fn long_digit_strings_agree_with_integer_arithmetic(whole in 0u64..9_999_999_999, fraction in 0u64..100_000_000) {
            let text = format!("{whole}.{fraction:08}");
            prop_assert_eq!(parse(&text), Ok((whole * 100_000_000 + fraction) as i64));
        }
    }
}
