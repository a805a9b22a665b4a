//! Reads tenors: `M1`, `2027-01`, `F27`, `Q1-27`, `SUM-27`, `WIN-27`, `CAL-27`, `BALMO`.
//!
//! Failure: any other text is refused with the forms that are known.

use std::str::FromStr;

use jiff::civil::Date;

use super::{ContractError, Month, Season, Tenor};

/// `SUM-2027`. No longer text names a tenor.
const LONGEST_TENOR: usize = 8;

/// The months F G H J K M N Q U V X Z.
const MONTH_CODES: &str = "FGHJKMNQUVXZ";

impl FromStr for Tenor {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Tenor, ContractError> {
        let written = text.trim();
        let mut upper = [0; LONGEST_TENOR];
        let upper = upper.get_mut(..written.len()).and_then(|upper| {
            upper.copy_from_slice(written.as_bytes());
            upper.make_ascii_uppercase();
            std::str::from_utf8(upper).ok()
        });
        upper
            .and_then(tenor)
            .ok_or_else(|| ContractError::UnknownTenor(written.to_owned()))
    }
}

fn tenor(name: &str) -> Option<Tenor> {
    match name {
        "BALMO" | "BOM" => return Some(Tenor::BalanceOfMonth),
        "PROMPT" => return Some(Tenor::Relative(1)),
        _ => {}
    }
    if let Some((first, second)) = name.split_once('-') {
        return match first {
            "SUM" => Some(Tenor::Season(Season::Summer, year(second)?)),
            "WIN" => Some(Tenor::Season(Season::Winter, year(second)?)),
            "CAL" => Some(Tenor::Calendar(year(second)?)),
            "Q1" | "Q2" | "Q3" | "Q4" => Some(Tenor::Quarter(year(second)?, first.get(1..)?.parse().ok()?)),
            _ if first.len() == 4 && second.len() == 2 => {
                let month: i8 = number(second)?.try_into().ok()?;
                (1..=12)
                    .contains(&month)
                    .then(|| year(first))
                    .flatten()
                    .map(|year| Tenor::Month(Month::new(year, month)))
            }
            _ => None,
        };
    }
    let (code, rest) = name.split_at_checked(1)?;
    if let Some(month) = MONTH_CODES.find(code).filter(|_| rest.len() == 2) {
        // `M27` could be a month of the exchange or the 27th month: months beyond M24 are not quoted by number.
        let is_relative = code == "M" && number(rest)? <= 24;
        if !is_relative {
            return Some(Tenor::Month(Month::new(year(rest)?, i8::try_from(month).ok()? + 1)));
        }
    }
    let ahead = number(rest).filter(|_| code == "M" && rest.len() <= 2)?;
    (ahead > 0)
        .then(|| u16::try_from(ahead).ok().map(Tenor::Relative))
        .flatten()
}

/// The month that `M24` means as a code of the exchange (June 2024), if it could be one: `M` with two digits that are a number of months too.
fn june_of(written: &str) -> Option<Month> {
    let digits = written.trim().strip_prefix(['M', 'm']).filter(|rest| rest.len() == 2)?;
    let ahead = number(digits).filter(|ahead| (1..=24).contains(ahead))?;
    Some(Month::new(2000 + i16::try_from(ahead).ok()?, 6))
}

/// Refuses `M09` of November 2008 and `M24` of 2015: on such a day it may be a June that is not over, or a number of months.
///
/// # Errors
/// [`ContractError::TwoMeanings`].
pub(crate) fn check_meaning(written: &str, as_of: Date) -> Result<(), ContractError> {
    let Some(june) = june_of(written) else { return Ok(()) };
    match june.since(Month::of(as_of)) {
        0.. => Err(ContractError::TwoMeanings {
            written: written.trim().to_ascii_uppercase(),
            june: june.to_string(),
        }),
        _ => Ok(()),
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// A year of this century, of two or four digits.
fn year(text: &str) -> Option<i16> {
    let year = i16::try_from(number(text)?).ok()?;
    match text.len() {
        2 => Some(2000 + year),
        4 => (2000..2100).contains(&year).then_some(year),
        _ => None,
    }
}
