//! How a curve is made from its quotes, as a text in the log.
//!
//! Enrichment writes it into each tick of a curve, so that a snapshot follows from the log alone: `smooth`, or `linear;1,2,3` for the method
//! and the months from the prompt that count, or `linear;1,2,3;PJM.W.*.SETTLEMENT` for its instruments as well, of which months may be empty.
//! A backslash stands before a comma, a semicolon or a backslash of a pattern.
//! Invariant: reading what was written gives the same; every text that can be read is written in one form. A text without instruments, as
//! earlier releases wrote it, leaves none out.
//! Failure: [`CurveError::BadInterpolation`] and [`CurveError::UnknownMethod`].

use std::fmt;
use std::str::FromStr;

use domain::instrument::IdPattern;

use crate::CurveError;
use crate::method::Method;

/// Method, and which contracts count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpolation {
    /// How months inside coarser contracts are priced.
    pub method: Method,
    /// Which monthly contracts count, as months from the prompt, which is 1; none means all.
    pub contract_months: Vec<i32>,
    /// The ids of the instruments that are its quotes; none means all that come.
    pub instruments: Vec<IdPattern>,
}

/// How an instrument fits the patterns of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is an instrument of the curve.
    Member,
    /// A pattern fits the text, but what it names a hub is only the beginning of the instrument's hub.
    OtherHub,
    /// No pattern fits.
    No,
}

impl Fit {
    /// A hub may have dots (`MISO.INDIANA.HUB`), and a star stands for any text. So what stands before the first star of a pattern, if it is
    /// a market and a hub, must be the whole of both: `PJM.WESTERN%20HUB.*` does not mean `PJM.WESTERN%20HUB.X1.CAL-27.FLAT.SETTLEMENT`.
    pub fn of(instrument_id: &str, patterns: &[IdPattern]) -> Fit {
        let place = instrument_id.rsplitn(4, '.').nth(3).unwrap_or_default();
        let is_whole = |pattern: &IdPattern| match pattern.as_str().split_once('*') {
            Some((fixed, _)) => match fixed.strip_suffix('.') {
                Some(hub) if hub.contains('.') => place.len() <= hub.len(),
                _ => true,
            },
            None => true,
        };
        let mut fit = Fit::No;
        for pattern in patterns.iter().filter(|pattern| pattern.matches(instrument_id)) {
            match is_whole(pattern) {
                true => return Fit::Member,
                false => fit = Fit::OtherHub,
            }
        }
        fit
    }
}

impl Interpolation {
    /// How an instrument fits this curve.
    pub(crate) fn fit(&self, instrument_id: &str) -> Fit {
        match self.instruments.is_empty() {
            true => Fit::Member,
            false => Fit::of(instrument_id, &self.instruments),
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.method.name())?;
        for (at, month) in self.contract_months.iter().enumerate() {
            to.write_str(if at == 0 { ";" } else { "," })?;
            month.fmt(to)?;
        }
        if self.contract_months.is_empty() && !self.instruments.is_empty() {
            to.write_str(";")?;
        }
        for (at, pattern) in self.instruments.iter().enumerate() {
            to.write_str(if at == 0 { ";" } else { "," })?;
            for letter in pattern.as_str().chars() {
                if matches!(letter, ',' | ';' | '\\') {
                    to.write_str("\\")?;
                }
                fmt::Write::write_char(to, letter)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Interpolation {
    type Err = CurveError;

    fn from_str(text: &str) -> Result<Interpolation, CurveError> {
        let bad = || CurveError::BadInterpolation(text.to_owned());
        // Method and months have no backslash.
        let mut parts = text.splitn(3, ';');
        let (method, months, instruments) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let months = months.filter(|months| !months.is_empty() || instruments.is_none());
        let months = months.map(|months| months.split(',').map(str::parse).collect::<Result<_, _>>());
        let instruments = instruments.map(|instruments| patterns(instruments).ok_or_else(bad));
        Ok(Interpolation {
            method: method.parse()?,
            contract_months: months.unwrap_or_else(|| Ok(Vec::new())).map_err(|_| bad())?,
            instruments: instruments.unwrap_or_else(|| Ok(Vec::new()))?,
        })
    }
}

/// Patterns that commas separate; `None` for a semicolon, or a backslash before nothing that needs it.
fn patterns(text: &str) -> Option<Vec<IdPattern>> {
    let (mut all, mut one) = (Vec::new(), String::new());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ',' => all.push(IdPattern::new(&std::mem::take(&mut one))),
            ';' => return None,
            '\\' => one.push(letters.next().filter(|next| matches!(next, ',' | ';' | '\\'))?),
            letter => one.push(letter),
        }
    }
    all.push(IdPattern::new(&one));
    Some(all)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_as_it_was(
            method in 0usize..4,
            contract_months in proptest::collection::vec(any::<i32>(), 0..5),
            patterns in proptest::collection::vec(r"[A-Z*.%20,;\\]{0,9}", 0..4),
        ) {
            let method = [Method::Flat, Method::Linear, Method::Monotone, Method::Smooth][method];
            let instruments = patterns.iter().map(|pattern| IdPattern::new(pattern)).collect();
            let interpolation = Interpolation { method, contract_months, instruments };
            prop_assert_eq!(interpolation.to_string().parse::<Interpolation>(), Ok(interpolation));
        }

        #[test]
        fn no_text_is_a_panic(text in r"(flat;)?[a-z;,0-9+\\-]{0,12}") {
            if let Ok(read) = text.parse::<Interpolation>() {
                prop_assert_eq!(read.to_string().parse::<Interpolation>(), Ok(read));
            }
        }
    }

    #[test]
    fn texts_have_one_form_and_others_are_refused() {
        let read: Interpolation = "linear;1,2,12".parse().unwrap();
        assert_eq!((read.method, &*read.contract_months), (Method::Linear, &[1, 2, 12][..]));
        assert_eq!(read.to_string(), "linear;1,2,12");
        assert_eq!(read.fit("X"), Fit::Member);
        // The patterns of a curve may hold what separates them.
        let read: Interpolation = r"flat;;PJM.WESTERN%20HUB.*.SETTLEMENT,A\,B\;\\".parse().unwrap();
        assert!(read.contract_months.is_empty());
        for id in ["PJM.WESTERN%20HUB.CAL-27.FLAT.SETTLEMENT", r"A,B;\"] {
            assert_eq!(read.fit(id), Fit::Member, "{id}");
        }
        assert_eq!(read.fit("PJM.EASTERN%20HUB.CAL-27.FLAT.SETTLEMENT"), Fit::No);
        for text in [
            "",
            "spline",
            "linear;",
            "linear;1,",
            "linear;1;A;B",
            r"linear;1;A\B",
            r"linear;1;A\",
            "linear;one",
            "linear,1",
        ] {
            assert!(text.parse::<Interpolation>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_names_the_whole_hub_of_its_instruments() {
        let fit = |id: &str, pattern: &str| Fit::of(id, &[IdPattern::new(pattern)]);
        let western = "PJM.WESTERN%20HUB.*.SETTLEMENT";
        assert_eq!(fit("PJM.WESTERN%20HUB.CAL-27.FLAT.SETTLEMENT", western), Fit::Member);
        assert_eq!(
            fit("PJM.WESTERN%20HUB.x1.CAL-27.FLAT.SETTLEMENT", western),
            Fit::OtherHub
        );
        assert_eq!(fit("PJM.W.CAL-27.FLAT.SETTLEMENT", western), Fit::No);
        // A hub with a dot, any hub of a market, and a whole id.
        for pattern in [
            "MISO.INDIANA.HUB.*.SETTLEMENT",
            "MISO.*.FLAT.SETTLEMENT",
            "*",
            "MISO.IND*",
            "MISO.INDIANA.HUB.CAL-27.FLAT.SETTLEMENT",
        ] {
            assert_eq!(
                fit("MISO.INDIANA.HUB.CAL-27.FLAT.SETTLEMENT", pattern),
                Fit::Member,
                "{pattern}"
            );
        }
        let both = ["MISO.INDIANA.*", "MISO.INDIANA.HUB.*"].map(IdPattern::new);
        assert_eq!(Fit::of("MISO.INDIANA.HUB.CAL-27.FLAT.SETTLEMENT", &both), Fit::Member);
    }
}
