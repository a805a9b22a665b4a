//! Exact prices and volumes: a 64-bit integer at scale 8, and their products at scale 16.
//!
//! Invariant: `|value| < 10^10` (ClickHouse stores larger `Decimal(18,8)` unchecked). Text is parsed digit by digit,
//! without binary floating point. More than eight significant decimals, or too large a value, is an error.

use std::fmt;

use crate::decimal_text::DecimalText;

/// Number of decimals of a [`Decimal`].
pub const SCALE: u32 = 8;
const ONE: i64 = 100_000_000;
const LIMIT: i64 = 1_000_000_000_000_000_000;

/// An exact decimal number at scale 8 with magnitude below 10^10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(i64);

/// Why a string is not a [`Decimal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// No digits, or a character that does not belong in a number.
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

    /// Creates a decimal from its integer at scale 8 (`1.5` is `150_000_000`).
    pub fn from_unscaled(unscaled: i64) -> Result<Decimal, DecimalError> {
        if unscaled > -LIMIT && unscaled < LIMIT {
            Ok(Decimal(unscaled))
        } else {
            Err(DecimalError::TooLarge)
        }
    }

    /// Creates a decimal from an integer.
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

    /// Parses `-12.345`, `.5`, `+7.`, `1.2e3` (JSON numbers and market files). No spaces, no separators.
    pub fn parse(text: &[u8]) -> Result<Decimal, DecimalError> {
        let number = DecimalText::read(text).ok_or(DecimalError::NotANumber)?;
        let digits = whole_digits(&number)?;
        if number.digits > digits {
            return Err(DecimalError::TooPrecise);
        }
        Decimal::signed(number.negative, number.cut(0, digits))
    }

    /// Parses as [`Decimal::parse`], and rounds the noise of binary floating point after the eighth decimal
    /// (`27.040000000000003`): half to even, if the number has at least 15 significant digits and changes by less than
    /// 10^-9 of itself. Also returns whether it was rounded.
    pub fn parse_noisy(text: &[u8]) -> Result<(Decimal, bool), DecimalError> {
        let exact = Decimal::parse(text);
        if exact != Err(DecimalError::TooPrecise) {
            return exact.map(|decimal| (decimal, false));
        }
        let number = DecimalText::read(text).ok_or(DecimalError::NotANumber)?;
        if number.digits < NOISY_DIGITS || number.magnitude + i64::from(SCALE) < 0 {
            return Err(DecimalError::TooPrecise);
        }
        let digits = whole_digits(&number)?;
        let (whole, rest) = (number.cut(0, digits), number.cut(digits, 18));
        let beyond_half = rest > HALF || (rest == HALF && number.digits > digits + 18);
        let round_up = beyond_half || (rest == HALF && whole % 2 == 1);
        // In 10^-26, like the value below.
        let change = u128::from(if round_up { LIMIT - rest } else { rest }.unsigned_abs());
        let value =
            u128::from(whole.unsigned_abs()) * u128::from(LIMIT.unsigned_abs()) + u128::from(rest.unsigned_abs());
        if change * 1_000_000_000 >= value {
            return Err(DecimalError::TooPrecise);
        }
        Decimal::signed(number.negative, whole + i64::from(round_up)).map(|decimal| (decimal, true))
    }

    fn signed(negative: bool, magnitude: i64) -> Result<Decimal, DecimalError> {
        Decimal::from_unscaled(if negative { -magnitude } else { magnitude })
    }
}

/// Numbers with fewer significant digits are taken as written: they are not noise.
const NOISY_DIGITS: usize = 15;
/// Half a unit, in 10^-18 of it.
const HALF: i64 = LIMIT / 2;

// The number of its digits, trailing zeros included, at or above the eighth decimal.
fn whole_digits(number: &DecimalText<'_>) -> Result<usize, DecimalError> {
    if number.digits == 0 {
        return Ok(0);
    }
    if number.magnitude > 10 {
        return Err(DecimalError::TooLarge);
    }
    Ok(usize::try_from(number.magnitude + i64::from(SCALE)).unwrap_or(0))
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
    /// Largest magnitude of `Decimal(38,16)`.
    pub const LIMIT: i128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;

    /// The sum, or `None` if it does not fit `Decimal(38,16)`.
    pub fn checked_add(self, other: Turnover) -> Option<Turnover> {
        let sum = self.0.checked_add(other.0)?;
        (sum > -Self::LIMIT && sum < Self::LIMIT).then_some(Turnover(sum))
    }

    /// Volume-weighted average price: turnover / volume, rounded half to even at scale 8.
    ///
    /// `volume` is a sum at scale 8. `None` if the volume is zero, or the quotient is outside of the range of a price.
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
            ("0e99999999999999999999", 0),
            (
                concat!("31.55", "00000000000000000000000000000000000000"),
                3_155_000_000,
            ),
            (
                concat!("0000000000000000000000000000000000000000000", "1.5"),
                150_000_000,
            ),
            ("1000000000000000000000000000000000000000000000e-44", 1_000_000_000),
            ("0.00000000000000000000000000000000000000000155e43", 1_550_000_000),
        ] {
            assert_eq!(parse(text), Ok(unscaled), "{text}");
        }
    }

    #[test]
    fn invalid_text_is_an_error_and_never_zero() {
        for text in [
            "", "-", ".", "abc", "1,5", " 1", "1 ", "1..2", "--1", "NaN", "1e", "1e+", "1e2.5", "0x1", "e5",
        ] {
            assert_eq!(parse(text), Err(DecimalError::NotANumber), "{text}");
        }
        for text in ["0.000000001", "1e-9", "1.123456789", "1e-99999999999999999999"] {
            assert_eq!(parse(text), Err(DecimalError::TooPrecise), "{text}");
        }
        for text in [
            "10000000000",
            "-1e10",
            "99999999999999999999999999999999999999999",
            "1e300",
            "1e99999",
            "1e99999999999999999999",
        ] {
            assert_eq!(parse(text), Err(DecimalError::TooLarge), "{text}");
        }
    }

    #[test]
    fn only_noise_of_binary_floating_point_is_rounded() {
        let noisy = |text: &str| Decimal::parse_noisy(text.as_bytes()).map(|(decimal, rounded)| (decimal.0, rounded));
        for (text, unscaled) in [
            ("27.040000000000003", 2_704_000_000),
            ("0.30000000000000004", 30_000_000),
            ("43.730000000000004", 4_373_000_000),
            ("-18.999999999999996", -1_900_000_000),
            ("4.3730000000000004e1", 4_373_000_000),
            // The middle is rounded to the even side; a value just beyond it is not.
            ("1234567.123456785", 123_456_712_345_678),
            ("1234567.123456775", 123_456_712_345_678),
            ("1234567.1234567850000000000000000000001", 123_456_712_345_679),
            ("9999999999.999999989999", LIMIT - 1),
        ] {
            assert_eq!(noisy(text), Ok((unscaled, true)), "{text}");
        }
        assert_eq!(noisy("31.55"), Ok((3_155_000_000, false)));
        for text in [
            "0.123456789",           // nine digits: not noise
            "31.1234567890000000",   // zeros are not digits
            "0.12345678912345678",   // rounding changes it by more than 10^-9 of itself
            "5.551115123125783e-17", // 0.1 + 0.2 - 0.3 is not zero
            "0.0000000049999999999999999",
        ] {
            assert_eq!(noisy(text), Err(DecimalError::TooPrecise), "{text}");
        }
        assert_eq!(noisy("9999999999.9999999999999"), Err(DecimalError::TooLarge));
        assert_eq!(noisy("1e"), Err(DecimalError::NotANumber));
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
        fn binary_numbers_near_a_short_decimal_are_read_as_that_decimal(cents in -99_999_999i64..99_999_999, steps in -3i64..=3) {
            let exact = cents as f64 / 100.0;
            let near = f64::from_bits((exact.to_bits() as i64 + steps) as u64);
            let read = Decimal::parse_noisy(format!("{near:?}").as_bytes()).map(|(decimal, _)| decimal.0);
            prop_assert!(cents == 0 || read == Ok(cents * 1_000_000), "{near:?}: {read:?}");
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Decimal::parse_noisy(&bytes);
        }

        #[test]
        fn long_digit_strings_agree_with_integer_arithmetic(whole in 0u64..9_999_999_999, fraction in 0u64..100_000_000) {
            let text = format!("{whole}.{fraction:08}");
            prop_assert_eq!(parse(&text), Ok((whole * 100_000_000 + fraction) as i64));
        }
    }
}
