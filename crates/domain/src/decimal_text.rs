//! A decimal number as written: sign, significant digits, magnitude. Exact for any length and any exponent.
//!
//! Role: prices, volumes and epoch times are parsed from the same spelling (`-12.345`, `.5`, `+7.`, `1.795646e9`) without
//! binary floating point. Failure: `None` for any other text.

/// `±0.d1d2d3… × 10^magnitude`, where `d1` and the last digit are not zero.
#[derive(Debug, Clone, Copy)]
pub struct DecimalText<'a> {
    /// Whether there is a minus sign (also in `-0`).
    pub negative: bool,
    /// Number of significant digits; 0 for zero.
    pub digits: usize,
    /// The absolute value is below `10^magnitude`, and at least a tenth of it.
    pub magnitude: i64,
    /// From the first significant digit to the last, including the point between them.
    significant: &'a [u8],
}

impl<'a> DecimalText<'a> {
    /// Parses the spelling. No spaces, no separators.
    pub fn read(text: &'a [u8]) -> Option<DecimalText<'a>> {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let end = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (mantissa, exponent) = match end {
            Some(at) => (unsigned.get(..at)?, exponent(unsigned.get(at + 1..)?)?),
            None => (unsigned, 0),
        };
        let point = mantissa.iter().position(|byte| *byte == b'.');
        let seen = mantissa.len() - usize::from(point.is_some());
        if seen == 0 || mantissa.iter().filter(|byte| byte.is_ascii_digit()).count() != seen {
            return None;
        }
        let is_significant = |byte: &u8| matches!(byte, b'1'..=b'9');
        let Some(first) = mantissa.iter().position(is_significant) else {
            return Some(DecimalText {
                negative,
                digits: 0,
                magnitude: 0,
                significant: &[],
            });
        };
        let last = mantissa.iter().rposition(is_significant)?;
        let point = point.unwrap_or(mantissa.len());
        // Digits before the point count up, zeros right after it count down.
        let magnitude = if first < point {
            (point - first) as i64
        } else {
            -((first - point - 1) as i64)
        };
        let has_point = first < point && point < last;
        Some(DecimalText {
            negative,
            digits: last + 1 - first - usize::from(has_point),
            magnitude: magnitude.saturating_add(exponent),
            significant: mantissa.get(first..=last)?,
        })
    }

    /// `count` digits after the first `skip`, as an integer; missing digits count as zeros. `count` is at most 18.
    pub fn cut(&self, skip: usize, count: usize) -> i64 {
        let digits = self.significant.iter().filter(|byte| **byte != b'.').skip(skip);
        let digits = digits.map(|byte| i64::from(byte - b'0')).chain(std::iter::repeat(0));
        digits.take(count).fold(0, |sum, digit| sum * 10 + digit)
    }
}

// Accepts any exponent: larger ones are capped at a value that is still out of range.
fn exponent(text: &[u8]) -> Option<i64> {
    const BEYOND: i64 = 1 << 40;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits
        .iter()
        .fold(0i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(BEYOND));
    Some(if negative { -size } else { size })
}
