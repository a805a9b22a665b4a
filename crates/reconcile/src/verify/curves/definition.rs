//! What a definition of a curve says: `linear`, `linear;1,2`, or `linear;1,2;PJM.W.*.SETTLEMENT`, each also with a seasonal shape after the
//! method: `linear;ratios=1.3,1.2,1,0.9,0.9,1,1.1,1.1,0.9,0.9,1,1.1;1,2`. Pure.
//!
//! Role: part of the second opinion on curves: method, months from the prompt and patterns of instruments, without crate `curves`. A shape
//! must be one, and its values are not kept: which quotes count, and that they reprice, does not depend on them.
//! Failure: `None`: the text is no definition.

/// Which contracts count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    /// Months from the prompt; none for all.
    pub months: Vec<i32>,
    /// Patterns of ids in which a star stands for any text; none for all that come.
    patterns: Vec<String>,
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
        if let Some((part, after)) = rest.map(first_part)
            && let Some((kind, values)) = part.split_once('=')
        {
            is_shape(kind, values).then_some(())?;
            rest = after;
        }
        let (months, patterns) = match rest.map(first_part) {
            None => (Vec::new(), Vec::new()),
            Some((months, None)) => (numbers(months)?, Vec::new()),
            Some(("", Some(patterns))) => (Vec::new(), listed(patterns)?),
            Some((months, Some(patterns))) => (numbers(months)?, listed(patterns)?),
        };
        Some(Definition { months, patterns })
    }

    /// The method, if it alone says what the quotes give: with a seasonal shape it does not.
    pub(super) fn method_of(text: &str) -> Option<&str> {
        Definition::of(text)?;
        let (method, rest) = first_part(text);
        let has_shape = rest.is_some_and(|rest| first_part(rest).0.contains('='));
        (!has_shape).then_some(method)
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

/// Whether these are twelve values of a seasonal shape.
fn is_shape(kind: &str, values: &str) -> bool {
    let range = match kind {
        "ratios" => 0.1..=10.0,
        "spreads" => -100_000.0..=100_000.0,
        _ => return false,
    };
    let is_in = |value: &str| value.parse::<f64>().is_ok_and(|value| range.contains(&value));
    values.split(',').count() == 12 && values.split(',').all(is_in)
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
        assert_eq!(Definition::method_of("smooth;1,2;A*"), Some("smooth"));
        assert_eq!(Definition::method_of("smooth;;A=*"), Some("smooth"));
        assert_eq!(Definition::method_of("flat;spreads=1,1,1,1,1,1,1,1,1,1,1,1;1,2"), None);
        assert_eq!(
            Definition::method_of("smooth;1,2;A*;spread:1,2"),
            None,
            "a part that is not known"
        );
        for text in ["", "spline", "linear;", "linear;1;A;B", r"linear;;A\B", r"linear;;A\"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_shape_changes_neither_months_nor_patterns_and_must_be_one() {
        let (eleven, spreads) = ("1,1,1,1,1,1,1,1,1,1,1", "spreads=8,5,-1.5,0,0,0,9.5,9,0,0,-100000,3.25");
        for rest in ["", ";1,12", r";;A*,B\,C", ";2;", ";1=;A"] {
            let without = Definition::of(&format!("linear{rest}"));
            assert_eq!(without.is_some(), !rest.contains('='), "{rest}");
            let ratios = format!("linear;ratios={eleven},0.1{rest}");
            for text in [format!("linear;{spreads}{rest}"), ratios] {
                assert_eq!(Definition::of(&text), without, "{text}");
            }
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
            // After the months it is a pattern, which no id fits.
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
