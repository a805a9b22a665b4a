//! What a definition of a curve says: `linear`, `linear;1,2`, or `linear;1,2;PJM.W.*.SETTLEMENT`, each also with a seasonal shape after the
//! method: `linear;ratios=1.3,1.2,1,0.9,0.9,1,1.1,1.1,0.9,0.9,1,1.1;1,2`. Pure.
//!
//! Role: part of the second opinion on curves: method, seasonal shape, months from the prompt and patterns of instruments, without crate
//! `curves`. Which quotes count does not depend on the shape.
//! Failure: `None`: the text is no definition.

/// Which contracts count.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    pub method: String,
    pub season: Season,
    /// Months from the prompt; none for all.
    pub months: Vec<i32>,
    /// Patterns of ids in which a star stands for any text; none for all that come.
    patterns: Vec<String>,
}

/// How the months of a year differ: a price is a level times the factor of its month, plus the summand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Season {
    pub is_given: bool,
    factors: [f64; 12],
    summands: [f64; 12],
}

impl Season {
    const NONE: Season = Season {
        is_given: false,
        factors: [1.0; 12],
        summands: [0.0; 12],
    };

    /// Factor and summand of a month, of which January is 1.
    pub(super) fn of(&self, month: i8) -> (f64, f64) {
        let at = usize::try_from(month).unwrap_or_default().wrapping_sub(1);
        let of = |values: &[f64; 12]| values.get(at).copied().unwrap_or(f64::NAN);
        (of(&self.factors), of(&self.summands))
    }

    /// Of the twelve values of a part of a definition.
    fn read(kind: &str, values: &str) -> Option<Season> {
        let values: Option<Vec<f64>> = values.split(',').map(|value| value.parse().ok()).collect();
        let values: [f64; 12] = values?.try_into().ok()?;
        let are_in = |range: std::ops::RangeInclusive<f64>| values.iter().all(|value| range.contains(value));
        let none = Season {
            is_given: true,
            ..Season::NONE
        };
        match kind {
            "ratios" if are_in(0.1..=10.0) => Some(Season {
                factors: values,
                ..none
            }),
            "spreads" if are_in(-100_000.0..=100_000.0) => Some(Season {
                summands: values,
                ..none
            }),
            _ => None,
        }
    }
}

/// Whether a curve has an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    Yes,
    /// A pattern fits, but it names another hub.
    OtherHub,
    /// No pattern fits: it is on the curve only by its own row of reference data.
    ByItsRow,
}

impl Definition {
    pub(super) fn of(text: &str) -> Option<Definition> {
        let (method, mut rest) = first_part(text);
        ["flat", "linear", "monotone", "smooth"]
            .contains(&method)
            .then_some(())?;
        let mut season = Season::NONE;
        if let Some((part, after)) = rest.map(first_part)
            && let Some((kind, values)) = part.split_once('=')
        {
            season = Season::read(kind, values)?;
            rest = after;
        }
        let (months, patterns) = match rest.map(first_part) {
            None => (Vec::new(), Vec::new()),
            Some((months, None)) => (numbers(months)?, Vec::new()),
            Some(("", Some(patterns))) => (Vec::new(), listed(patterns)?),
            Some((months, Some(patterns))) => (numbers(months)?, listed(patterns)?),
        };
        Some(Definition {
            method: method.to_owned(),
            season,
            months,
            patterns,
        })
    }

    pub(super) fn has(&self, instrument: &str) -> Membership {
        let fitting: Vec<&String> = self
            .patterns
            .iter()
            .filter(|pattern| fits(pattern, instrument))
            .collect();
        match fitting.iter().any(|pattern| names_whole_hub(pattern, instrument)) {
            true => Membership::Yes,
            false if self.patterns.is_empty() => Membership::Yes,
            false if fitting.is_empty() => Membership::ByItsRow,
            false => Membership::OtherHub,
        }
    }
}

/// What stands before the first semicolon, and what stands after it.
fn first_part(text: &str) -> (&str, Option<&str>) {
    match text.split_once(';') {
        Some((part, after)) => (part, Some(after)),
        None => (text, None),
    }
}

fn numbers(list: &str) -> Option<Vec<i32>> {
    list.split(',').map(|month| month.parse().ok()).collect()
}

/// The texts that commas separate. A backslash stands before a comma, a semicolon or a backslash of a text.
fn listed(text: &str) -> Option<Vec<String>> {
    let mut all = vec![String::new()];
    let mut is_escaped = false;
    for letter in text.chars() {
        match letter {
            ',' | ';' | '\\' if is_escaped => all.last_mut()?.push(letter),
            _ if is_escaped => return None,
            ';' => return None,
            ',' => all.push(String::new()),
            '\\' => {}
            _ => all.last_mut()?.push(letter),
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    (!is_escaped).then_some(all)
}

/// Whether the id is the pattern with some text for each star.
fn fits(pattern: &str, id: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == id,
        Some((before, after)) => {
            let Some(rest) = id.strip_prefix(before) else {
                return false;
            };
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.filter_map(|at| rest.get(at..)).any(|left| fits(after, left))
        }
    }
}

/// `MARKET.<hub>.` before the first star of a pattern must be all of market and hub of the id, `MARKET.<hub>.<contract>.<block>.SETTLEMENT`.
fn names_whole_hub(pattern: &str, id: &str) -> bool {
    let Some((place, _)) = pattern.split_once('*') else {
        return true;
    };
    let dots = |text: &str| text.matches('.').count();
    !place.ends_with('.') || dots(place) < 2 || dots(id) <= dots(place) + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_and_patterns_are_read_and_other_texts_are_none() {
        let of = |text: &str| Definition::of(text).map(|found| (found.months, found.patterns));
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        assert_eq!(of("flat"), Some((vec![], vec![])));
        assert_eq!(of("linear;1,12"), Some((vec![1, 12], vec![])));
        assert_eq!(of(r"smooth;;A*,B\,C\;\\"), Some((vec![], texts(&["A*", r"B,C;\"]))));
        assert_eq!(of("smooth;2;"), Some((vec![2], texts(&[""]))));
        let method = |text: &str| Definition::of(text).map(|found| (found.method, found.season.is_given));
        assert_eq!(method("smooth;1,2;A*"), Some(("smooth".to_owned(), false)));
        assert_eq!(method("smooth;;A=*"), Some(("smooth".to_owned(), false)));
        assert_eq!(
            method("flat;spreads=1,1,1,1,1,1,1,1,1,1,1,1;1,2"),
            Some(("flat".to_owned(), true))
        );
        assert_eq!(method("smooth;1,2;A*;spread:1,2"), None, "a part that is not known");
        for text in ["", "spline", "linear;", "linear;1;A;B", r"linear;;A\B", r"linear;;A\"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_shape_changes_neither_months_nor_patterns_and_must_be_one() {
        let (eleven, spreads) = ("1,1,1,1,1,1,1,1,1,1,1", "spreads=8,5,-1.5,0,0,0,9.5,9,0,0,-100000,3.25");
        for rest in ["", ";1,12", r";;A*,B\,C", ";2;", ";1=;A"] {
            let of = |text: &str| {
                let found = Definition::of(text)?;
                let season = |month| found.season.of(month);
                Some((found.months, found.patterns, [season(1), season(12)]))
            };
            let without = of(&format!("linear{rest}"));
            assert_eq!(without.is_some(), !rest.contains('='), "{rest}");
            let with =
                |season: [(f64, f64); 2]| without.clone().map(|(months, patterns, _)| (months, patterns, season));
            let (summands, factors) = ([(1.0, 8.0), (1.0, 3.25)], [(1.0, 0.0), (0.1, 0.0)]);
            assert_eq!(of(&format!("linear;{spreads}{rest}")), with(summands), "{rest}");
            assert_eq!(
                of(&format!("linear;ratios={eleven},0.1{rest}")),
                with(factors),
                "{rest}"
            );
        }
        for text in [
            format!("spreads={eleven},1"),
            format!("spline;spreads={eleven},1"),
            format!("flat;levels={eleven},1"),
            format!("flat;ratios={eleven}"),
            format!("flat;ratios={eleven},1,1"),
            format!("flat;ratios={eleven},0.09"),
            format!("flat;spreads={eleven},NaN"),
            format!("flat;spreads={eleven},"),
            format!("flat;1;spreads={eleven},1"),
        ] {
            let found = Definition::of(&text);
            // After the months these are patterns, which no id fits.
            let patterns = found.map(|found| found.patterns.len());
            assert_eq!(patterns, text.contains(";1;").then_some(12), "{text}");
        }
    }

    #[test]
    fn a_curve_has_the_instruments_of_its_patterns_with_their_whole_hub() {
        let has = |definition: &str, id: &str| Definition::of(definition).map(|found| found.has(id));
        let western = "flat;;PJM.WESTERN%20HUB.*.SETTLEMENT";
        assert_eq!(
            has(western, "PJM.WESTERN%20HUB.CAL-27.FLAT.SETTLEMENT"),
            Some(Membership::Yes)
        );
        assert_eq!(
            has(western, "PJM.WESTERN%20HUB.x1.CAL-27.FLAT.SETTLEMENT"),
            Some(Membership::OtherHub)
        );
        assert_eq!(has(western, "PJM.W.CAL-27.FLAT.SETTLEMENT"), Some(Membership::ByItsRow));
        assert_eq!(has("flat", "PJM.W.CAL-27.FLAT.SETTLEMENT"), Some(Membership::Yes));
        for pattern in [
            "MISO.INDIANA.HUB.*",
            "MISO.*.FLAT.SETTLEMENT",
            "*27*",
            "MISO.IND*",
            "MISO.INDIANA.*,*",
        ] {
            let definition = format!("flat;;{pattern}");
            assert_eq!(
                has(&definition, "MISO.INDIANA.HUB.CAL-27.FLAT.SETTLEMENT"),
                Some(Membership::Yes),
                "{pattern}"
            );
        }
    }
}
