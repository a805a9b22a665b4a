//! What a definition of a curve says: `linear`, `linear;1,2`, or `linear;1,2;PJM.W.*.SETTLEMENT`. Pure.
//!
//! Role: part of the second opinion on curves: method, months from the prompt and patterns of instruments, without crate `curves`.
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
        let parts: Vec<&str> = text.splitn(3, ';').collect();
        let (method, rest) = parts.split_first()?;
        ["flat", "linear", "monotone", "smooth"]
            .contains(method)
            .then_some(())?;
        let (months, patterns) = match rest {
            [] => (Vec::new(), Vec::new()),
            [months] => (numbers(months)?, Vec::new()),
            ["", patterns] => (Vec::new(), listed(patterns)?),
            [months, patterns] => (numbers(months)?, listed(patterns)?),
            _ => return None,
        };
        Some(Definition { months, patterns })
    }

    /// The method, if it alone says what the quotes give: a text with a part that is not known may have a seasonal shape.
    pub(super) fn method_of(text: &str) -> Option<&str> {
        Definition::of(text)?;
        text.split(';').next()
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
