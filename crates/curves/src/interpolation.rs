//! How a curve is made from its quotes, as a text in the log.
//!
//! Enrichment writes it into each tick of a curve, so that a snapshot follows from the log alone: `smooth`, or `linear;1,2,3` for the
//! method and the months from the prompt that count.
//! Invariant: reading what was written gives the same; every text that can be read is written in one form.
//! Failure: [`CurveError::BadInterpolation`] and [`CurveError::UnknownMethod`].

use std::fmt;
use std::str::FromStr;

use crate::CurveError;
use crate::method::Method;

/// Method, and which monthly contracts count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpolation {
    /// How months inside coarser contracts are priced.
    pub method: Method,
    /// Which monthly contracts count, as months from the prompt, which is 1; none means all.
    pub contract_months: Vec<i32>,
}

impl fmt::Display for Interpolation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.method.name())?;
        for (at, month) in self.contract_months.iter().enumerate() {
            to.write_str(if at == 0 { ";" } else { "," })?;
            month.fmt(to)?;
        }
        Ok(())
    }
}

impl FromStr for Interpolation {
    type Err = CurveError;

    fn from_str(text: &str) -> Result<Interpolation, CurveError> {
        let bad = || CurveError::BadInterpolation(text.to_owned());
        let (method, months) = match text.split_once(';') {
            Some((method, months)) => (method, Some(months)),
            None => (text, None),
        };
        let months = months.map(|months| months.split(',').map(str::parse).collect::<Result<_, _>>());
        Ok(Interpolation {
            method: method.parse()?,
            contract_months: months.unwrap_or_else(|| Ok(Vec::new())).map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_as_it_was(method in 0usize..4, contract_months in proptest::collection::vec(any::<i32>(), 0..5)) {
            let method = [Method::Flat, Method::Linear, Method::Monotone, Method::Smooth][method];
            let interpolation = Interpolation { method, contract_months };
            prop_assert_eq!(interpolation.to_string().parse::<Interpolation>(), Ok(interpolation));
        }

        #[test]
        fn no_text_is_a_panic(text in "[a-z;,0-9+-]{0,12}") {
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
        for text in [
            "",
            "spline",
            "linear;",
            "linear;1,",
            "linear;1;2",
            "linear;one",
            "linear,1",
        ] {
            assert!(text.parse::<Interpolation>().is_err(), "{text}");
        }
    }
}
