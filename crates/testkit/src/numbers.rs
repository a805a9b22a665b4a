//! Exact numbers: writes all digits into one large integer.

/// Digits after the decimal point of every number.
const DECIMALS: usize = 8;

/// A number without exponent: its sign, the digits before the point and the digits after it, without leading and trailing
/// zeros. `None` if the text is not a number.
pub fn written_out(text: &str) -> Option<(bool, String, String)> {
    let lower = text.trim().to_lowercase();
    let (negative, unsigned) = match lower.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, lower.strip_prefix('+').unwrap_or(&lower)),
    };
    let (mantissa, exponent) = match unsigned.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    // Enough zeros on both sides to move the point. A shift by more than a thousand digits makes no difference here.
    let moved = usize::try_from(exponent.unsigned_abs().min(1000)).ok()?;
    let zeros = "0".repeat(moved);
    let padded = format!("{zeros}{digits}{zeros}");
    let point = moved + whole.len();
    let point = if exponent < 0 { point - moved } else { point + moved };
    let (whole, fraction) = padded.split_at(point);
    Some((
        negative,
        whole.trim_start_matches('0').to_owned(),
        fraction.trim_end_matches('0').to_owned(),
    ))
}

/// The text as an integer at scale 8. `None` if it is not a number below 10^10 with eight decimals. Noise of binary floating
/// point after the eighth decimal is rounded away.
pub fn at_scale_8(text: &str) -> Option<i128> {
    let (negative, whole, fraction) = written_out(text)?;
    if whole.len() > 10 {
        return None;
    }
    let kept = format!("{whole}{:0<DECIMALS$}", fraction.get(..DECIMALS).unwrap_or(&fraction));
    let mut unscaled = kept.parse::<i128>().ok()?;
    if let Some(rest) = fraction.get(DECIMALS..).filter(|rest| !rest.is_empty()) {
        if format!("{whole}{fraction}").trim_start_matches('0').len() < 15 {
            return None;
        }
        unscaled += i128::from(match rest.cmp("5") {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => unscaled % 2 == 1,
            std::cmp::Ordering::Greater => true,
        });
        let value: f64 = format!("{whole}.{fraction}").parse().ok()?;
        // If rounding changes the value by more than noise would, the text has real digits after the eighth decimal.
        let is_noise = ((unscaled as f64 / 1e8 - value) / value).abs() < 1e-9;
        if !is_noise || unscaled >= 1_000_000_000_000_000_000 {
            return None;
        }
    }
    Some(if negative { -unscaled } else { unscaled })
}

/// The decimal text of a database as an integer at this scale.
pub fn at_scale(text: &str, scale: usize) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > scale || !fraction.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{fraction:0<scale$}").parse().ok()
}

/// The volume-weighted average at scale 8 of a turnover at scale 16 and a volume at scale 8, rounded half to even. `None`
/// without volume.
pub fn average(turnover: i128, volume: i128) -> Option<i128> {
    if volume == 0 {
        return None;
    }
    let floor = turnover.div_euclid(volume);
    // Computes the distances to both neighbours by multiplication instead of from the remainder.
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
            ("1e99999", None),
            ("27.040000000000003", Some(2_704_000_000)),
            ("-0.30000000000000004", Some(-30_000_000)),
            ("31.1234567890000000", None),
            ("0.12345678912345678", None),
            ("3155000000000000000000000000000000000000e-38", Some(3_155_000_000)),
        ] {
            assert_eq!(at_scale_8(text), value, "{text}");
        }
        assert_eq!(at_scale("-0.5", 8), Some(-50_000_000));
        assert_eq!(at_scale("12", 16), Some(120_000_000_000_000_000));
        assert_eq!(at_scale("0.123456789", 8), None);
    }

    #[test]
    fn an_average_is_rounded_half_to_even() {
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
