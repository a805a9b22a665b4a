//! Exact numbers by writing digits into one big integer.

/// Digits after the point that every number is brought to.
const DECIMALS: usize = 8;

/// The integer at scale 8 that the text means; `None` where it is no such number below 10^10.
pub fn at_scale_8(text: &str) -> Option<i128> {
    let lower = text.trim().to_lowercase();
    let (sign, unsigned) = match lower.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, lower.strip_prefix('+').unwrap_or(&lower)),
    };
    let (mantissa, exponent) = match unsigned.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // How many zeros to write behind the last significant digit, so that the last of eight decimals is the unit.
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let zeros = DECIMALS as i64 + i64::from(exponent) - fraction.len() as i64 + trailing as i64;
    if zeros < 0 || significant.len() as i64 + zeros > 18 {
        return None;
    }
    let unscaled = format!("{significant}{}", "0".repeat(usize::try_from(zeros).ok()?));
    unscaled.parse::<i128>().ok().map(|value| sign * value)
}

/// The integer at this scale that a database's decimal text means.
pub fn at_scale(text: &str, scale: usize) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > scale || !fraction.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<scale$}").parse().ok()
}

/// Volume-weighted average at scale 8 of a turnover at scale 16 and a volume at scale 8: to the nearest, and where two
/// are equally near, to the even one. `None` without volume.
pub fn average(turnover: i128, volume: i128) -> Option<i128> {
    if volume == 0 {
        return None;
    }
    let floor = turnover.div_euclid(volume);
    // Distance to the neighbours, by multiplying back instead of looking at the remainder.
    let (below, above) = (turnover - floor * volume, (floor + 1) * volume - turnover);
    Some(match below.abs().cmp(&above.abs()) {
        std::cmp::Ordering::Less => floor,
        std::cmp::Ordering::Greater => floor + 1,
        std::cmp::Ordering::Equal => floor + floor.rem_euclid(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_their_digits() {
        for (text, value) in [
            ("31.55", Some(3_155_000_000)),
            (".6", Some(60_000_000)),
            ("-.37", Some(-37_000_000)),
            ("  27.04", Some(2_704_000_000)),
            ("1.5e2", Some(15_000_000_000)),
            ("125e-2", Some(125_000_000)),
            ("0.00000001", Some(1)),
            ("0.10000000000", Some(10_000_000)),
            ("9999999999.99999999", Some(999_999_999_999_999_999)),
            ("10000000000", None),
            ("0.000000001", None),
            ("0e300", Some(0)),
            ("", None),
            ("-", None),
            ("1,5", None),
            ("NaN", None),
        ] {
            assert_eq!(at_scale_8(text), value, "{text}");
        }
        assert_eq!(at_scale("-0.5", 8), Some(-50_000_000));
        assert_eq!(at_scale("12", 16), Some(120_000_000_000_000_000));
        assert_eq!(at_scale("0.123456789", 8), None);
    }

    #[test]
    fn an_average_in_the_middle_goes_to_the_even_side() {
        for (turnover, volume, expected) in [
            (5, 2, 2),
            (7, 2, 4),
            (-5, 2, -2),
            (-7, 2, -4),
            (8, 3, 3),
            (7, 3, 2),
            (-8, 3, -3),
        ] {
            assert_eq!(average(turnover, volume), Some(expected), "{turnover}/{volume}");
        }
        assert_eq!(average(1, 0), None);
    }
}
