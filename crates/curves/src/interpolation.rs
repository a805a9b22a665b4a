//! How a curve is made from its quotes, as a text in the log.
//!
//! Enrichment writes it into each tick of a curve, so that a snapshot follows from the log alone: `smooth`, or `linear;1,2,3` for the method
//! and the months from the prompt that count, or `linear;1,2,3;PJM.W.*.SETTLEMENT` for its instruments as well, of which months may be empty.
//! A backslash stands before a comma, a semicolon or a backslash of a pattern. A seasonal shape is a part after the method, which has its
//! name: `flat;spreads=1.5,0,0,0,0,0,0,0,0,0,0,-2;1,2,3`. Months have no such sign, so it cannot be one of the other parts.
//! Invariant: reading what was written gives the same; every text that can be read is written in one form. A text without instruments, as
//! earlier releases wrote it, leaves none out; one without a shape is as they wrote it.
//! Failure: [`CurveError::BadInterpolation`], [`CurveError::UnknownMethod`], and those of [`Shape::of_lists`].

use std::fmt;
use std::str::FromStr;

use domain::instrument::IdPattern;

use crate::CurveError;
use crate::method::{Method, Shape};

/// Method, seasonal shape, and which contracts count.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpolation {
    /// How months inside coarser contracts are priced.
    pub method: Method,
    /// How the months of a year differ.
    pub shape: Shape,
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
        if let Some((name, values)) = self.shape.listed() {
            write!(to, ";{name}")?;
            for (at, value) in values.iter().enumerate() {
                to.write_str(if at == 0 { "=" } else { "," })?;
                value.fmt(to)?;
            }
        }
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
        // Method, shape and months have no backslash.
        let has_shape = text.split(';').nth(1).is_some_and(|part| part.contains('='));
        let mut parts = text.splitn(if has_shape { 4 } else { 3 }, ';');
        let method = parts.next().unwrap_or_default();
        let shape = if has_shape { parts.next() } else { None };
        let (months, instruments) = (parts.next(), parts.next());
        let months = months.filter(|months| !months.is_empty() || instruments.is_none());
        let months = months.map(|months| months.split(',').map(str::parse).collect::<Result<_, _>>());
        let instruments = instruments.map(|instruments| patterns(instruments).ok_or_else(bad));
        Ok(Interpolation {
            method: method.parse()?,
            shape: match shape {
                Some(part) => listed(part).ok_or_else(bad)??,
                None => Shape::None,
            },
            contract_months: months.unwrap_or_else(|| Ok(Vec::new())).map_err(|_| bad())?,
            instruments: instruments.unwrap_or_else(|| Ok(Vec::new()))?,
        })
    }
}

/// The shape that a part names; `None` for another name, or a value that is no number.
fn listed(part: &str) -> Option<Result<Shape, CurveError>> {
    let (name, values) = part.split_once('=')?;
    let values: Vec<f64> = values.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    match name {
        "ratios" => Some(Shape::of_lists(&values, &[])),
        "spreads" => Some(Shape::of_lists(&[], &values)),
        _ => None,
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

    fn shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::None),
            proptest::array::uniform12(-100_000.0..100_000.0).prop_map(Shape::Spread),
            proptest::array::uniform12(0.1..10.0).prop_map(Shape::Ratio),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_as_it_was(
            method in 0usize..4,
            shape in shape(),
            contract_months in proptest::collection::vec(any::<i32>(), 0..5),
            patterns in proptest::collection::vec(r"[A-Z*.%20,;\\]{0,9}", 0..4),
        ) {
            let method = [Method::Flat, Method::Linear, Method::Monotone, Method::Smooth][method];
            let instruments = patterns.iter().map(|pattern| IdPattern::new(pattern)).collect();
            let interpolation = Interpolation { method, shape, contract_months, instruments };
            prop_assert_eq!(interpolation.to_string().parse::<Interpolation>(), Ok(interpolation));
        }

        #[test]
        fn no_text_is_a_panic(text in r"(flat;((spreads|ratios)=(1,){11})?)?[a-z;,=0-9+\\-]{0,12}") {
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
    fn a_shape_is_a_part_after_the_method_and_without_one_the_text_is_as_before() {
        let mut interpolation = Interpolation {
            method: Method::Smooth,
            shape: Shape::None,
            contract_months: vec![1, 2],
            instruments: ["A.*", "B,C;"].map(IdPattern::new).to_vec(),
        };
        assert_eq!(interpolation.to_string(), r"smooth;1,2;A.*,B\,C\;");
        let spreads = [1.5, 0.0, 0.0, -0.25, 0.0, 0.0, 12.0, 0.0, 0.0, 0.0, 0.1, -2.0];
        for (shape, months, expected) in [
            (
                Shape::Spread(spreads),
                &[][..],
                "smooth;spreads=1.5,0,0,-0.25,0,0,12,0,0,0,0.1,-2",
            ),
            (
                Shape::Ratio([1.25; 12]),
                &[3],
                "smooth;ratios=1.25,1.25,1.25,1.25,1.25,1.25,1.25,1.25,1.25,1.25,1.25,1.25;3",
            ),
        ] {
            (interpolation.shape, interpolation.contract_months) = (shape, months.to_vec());
            interpolation.instruments.clear();
            assert_eq!(interpolation.to_string(), expected);
            assert_eq!(expected.parse(), Ok(interpolation.clone()));
            // Patterns stay the last part, also if all months count, and if there is only an empty one.
            interpolation.instruments = vec![IdPattern::new("")];
            let text = interpolation.to_string();
            assert_eq!(
                text,
                format!("{expected}{}", if months.is_empty() { ";;" } else { ";" })
            );
            assert_eq!(text.parse(), Ok(interpolation.clone()));
        }
        let eleven = "1,1,1,1,1,1,1,1,1,1,1";
        for (text, named) in [
            (format!("flat;ratios={eleven}"), "ratios has 11 values"),
            (format!("flat;spreads={eleven},1,1"), "spreads has 13 values"),
            (format!("flat;ratios={eleven},0;1"), "month 12"),
            (format!("flat;spreads=NaN,{eleven}"), "month 1 "),
            (format!("flat;spreads={eleven},x"), "defines no curve"),
            (format!("flat;levels={eleven},1"), "defines no curve"),
            (format!("flat;spreads={eleven},1;ratios={eleven},1"), "defines no curve"),
            ("flat;spreads=".to_owned(), "defines no curve"),
            ("flat;=".to_owned(), "defines no curve"),
        ] {
            let error = text.parse::<Interpolation>().unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
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
