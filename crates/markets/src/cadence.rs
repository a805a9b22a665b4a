//! Whether a document has the intervals of its format: prices of five minutes must not stand for hours, nor the other way round.
//!
//! Role: some reports of hours and of minutes have the same columns, so only their stamps tell them apart, and each alone may be of
//! either. Some rows from all parts of the document are looked at before it is read: each row of a small one, and a bounded number of a
//! large one, at places without a period, because stamps have one.
//! Invariant: a document is refused only for what most of these rows say; one odd row never decides.
//! Failure: `schema_violation` for the whole document.

use domain::Micros;

use crate::clock::{HOUR, MINUTE};
use crate::rejection::{RejectCode, Rejection};

/// A document of this size is looked at as a whole.
const SMALL: usize = 4 * 1024;
/// Rows that are looked at in a larger one, and those at its beginning.
const MOST: u64 = 64;
const FIRST: usize = 4;
/// Distance of prices that are finer than hours.
const FINE: Micros = 15 * MINUTE;
/// Rows off the hour that need no neighbour.
const FEW: usize = 3;

/// Stamps of some rows.
pub(crate) type Stamps = Vec<Micros>;

/// The stamps of a document. `from` reads the first row of a text and tells where it ends. The text begins with a row, or, if so said,
/// anywhere.
pub(crate) fn stamps(text: &str, mut from: impl FnMut(&str, bool) -> Option<(Option<Micros>, usize)>) -> Stamps {
    let mut found = Stamps::new();
    let (mut rest, mut count) = (text, 0);
    while let Some((stamp, next)) = from(rest, false) {
        found.extend(stamp);
        count += 1;
        rest = rest.get(next..).unwrap_or_default();
        if text.len() > SMALL && count >= FIRST {
            break;
        }
    }
    if text.len() > SMALL {
        found.extend((1..=MOST).filter_map(|number| {
            let mut at = place(number, text.len());
            while !text.is_char_boundary(at) {
                at += 1;
            }
            from(text.get(at..)?, true)?.0
        }));
    }
    found
}

// Multiples of the golden ratio, which are spread evenly and never in step with the rows.
fn place(number: u64, length: usize) -> usize {
    const RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
    let part = u128::from(number.wrapping_mul(RATIO)) * (length as u128);
    usize::try_from(part >> 64).unwrap_or(0)
}

/// Refuses a document whose stamps are not those of hours although its format is of hours, or the other way round.
pub(crate) fn check(stamps: &[Micros], interval: Micros, format: &str) -> Result<(), Rejection> {
    let refused = |found: &str| {
        let message = format!(
            "the stamps of the document are those of {found}, which format {format} has not: send it with its own format"
        );
        Err(Rejection::new(RejectCode::SchemaViolation, message))
    };
    let off_hour = stamps.iter().filter(|stamp| stamp.rem_euclid(HOUR) != 0).count();
    if interval == HOUR {
        let is_off = |stamp: &&Micros| stamp.rem_euclid(HOUR) != 0;
        let is_near = |off: &Micros| stamps.iter().any(|other| (1..=FINE).contains(&(off - other).abs()));
        // Of two rows, one may be damaged.
        let are_fine = off_hour >= FEW || stamps.iter().filter(is_off).any(is_near);
        if off_hour * 2 >= stamps.len() && are_fine {
            return refused("minutes");
        }
    } else {
        let first = stamps.first();
        let is_one = stamps.iter().all(|stamp| Some(stamp) == first);
        if off_hour == 0 && !is_one {
            return refused("hours");
        }
    }
    Ok(())
}

/// The value of the first field with this name behind the beginning of a text of JSON, as written, and where it ends.
pub(crate) fn field<'t>(text: &'t str, quoted_name: &str) -> Option<(&'t str, usize)> {
    let key = memchr::memmem::find(text.as_bytes(), quoted_name.as_bytes())?;
    let start = key + quoted_name.len();
    let value = text.get(start..)?.trim_start().strip_prefix(':')?.trim_start();
    let value = value.strip_prefix('"')?;
    let (value, after) = value.split_once('"')?;
    Some((value, text.len() - after.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Lines that are a number of minutes.
    fn sample(text: &str) -> Stamps {
        stamps(text, |rest, is_inside| {
            let begin = if is_inside { rest.find('\n')? + 1 } else { 0 };
            let (line, _) = rest.get(begin..)?.split_once('\n')?;
            let minutes: Option<i64> = line.parse().ok();
            Some((minutes.map(|minutes| minutes * MINUTE), begin + line.len() + 1))
        })
    }

    fn document(rows: usize, step: usize, at_once: usize) -> String {
        let rows = (0..rows).map(|row| format!("{}\n", row / at_once * step));
        rows.collect()
    }

    #[test]
    fn documents_of_minutes_and_of_hours_are_told_apart_in_any_size_and_order() {
        for (rows, at_once) in [(24, 1), (768, 1), (768, 12), (9_000, 1), (90_000, 300), (100_000, 1)] {
            for (step, interval, is_refused) in [
                (5, HOUR, true),
                (15, HOUR, true),
                (60, HOUR, false),
                (5, 5 * MINUTE, false),
                (60, 5 * MINUTE, true),
            ] {
                let found = sample(&document(rows, step, at_once));
                assert!(found.len() <= 2_000);
                assert_eq!(
                    check(&found, interval, "x").is_err(),
                    is_refused,
                    "{rows} rows, {at_once} at once, {step} minutes"
                );
            }
        }
    }

    #[test]
    fn one_odd_row_decides_nothing() {
        let hours = document(24, 60, 1) + "5\n";
        assert!(check(&sample(&hours), HOUR, "x").is_ok());
        for alone in ["60\n", "60\n60\n", "\n", ""] {
            assert!(check(&sample(alone), HOUR, "x").is_ok());
            assert!(check(&sample(alone), 5 * MINUTE, "x").is_ok());
        }
    }
}
