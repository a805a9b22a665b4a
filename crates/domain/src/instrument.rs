//! Instrument ids: `MARKET.<node>.<PRODUCT>`, with a reversible encoding of the node's text.

use std::fmt::Write;

/// Separator of `tenant_id|instrument_id` in message keys; cannot occur in either part.
pub const KEY_SEPARATOR: char = '|';

/// Writes `MARKET.<node>.<PRODUCT>` into `out` (cleared first). Bytes of the node outside `A–Z a–z 0–9 . _ -`
/// are percent-encoded, so the node's text can be decoded.
pub fn write_instrument_id(market: &str, node: &str, product: &str, out: &mut String) {
    out.clear();
    out.push_str(market);
    out.push('.');
    for byte in node.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out.push('.');
    out.push_str(product);
}

/// What an id names as its market: its first part. `None` without a second part, as in an id of a producer's own making.
pub fn market_of(id: &str) -> Option<&str> {
    id.split_once('.').map(|(market, _)| market)
}

/// A pattern of instrument ids: `*` stands for any text, also for none, every other character for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern(String);

impl IdPattern {
    /// Any text is a pattern.
    pub fn new(text: &str) -> IdPattern {
        IdPattern(text.to_owned())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an id has this form.
    pub fn matches(&self, id: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == id;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let mut left = id.strip_prefix(first);
        // The leftmost place of each part leaves the most for the others.
        for part in middle.split('*') {
            left = left.and_then(|text| text.get(text.find(part)? + part.len()..));
        }
        left.is_some_and(|text| text.ends_with(last))
    }

    /// Whether an id exists that has both forms.
    pub fn overlaps(&self, other: &IdPattern) -> bool {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        let cell = |row: &[bool], at: usize| row.get(at).copied().unwrap_or_default();
        // For each place of `other`, whether the rests of both patterns from there on can be one text; row by row of `one`, from its end.
        let mut below: Vec<bool> = Vec::new();
        for at in (0..=one.len()).rev() {
            let mut row = vec![false; other.len() + 1];
            for place in (0..=other.len()).rev() {
                let meets = match (one.get(at), other.get(place)) {
                    (None, None) => true,
                    // A star is any text: it ends here, or takes what the other pattern has here.
                    (Some(b'*'), _) | (_, Some(b'*')) => cell(&below, place) || cell(&row, place + 1),
                    (Some(byte), Some(beside)) => byte == beside && cell(&below, place + 1),
                    _ => false,
                };
                if let Some(cell) = row.get_mut(place) {
                    *cell = meets;
                }
            }
            below = row;
        }
        cell(&below, 0)
    }

    /// The same pattern for the operator `LIKE` of SQL, in which a backslash escapes.
    pub fn like(&self) -> String {
        let escaped = self.0.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
        escaped.replace('*', "%")
    }
}

/// Why an identifier that a producer sent is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Empty, or only white space.
    #[error("is empty")]
    Empty,
    /// More than 256 bytes.
    #[error("is longer than 256 bytes")]
    TooLong,
    /// Contains `|` or a control character, which keys and logs cannot carry.
    #[error("contains '|' or a control character")]
    ForbiddenCharacter,
}

/// Checks a tenant or instrument id of a producer.
pub fn check_identifier(text: &str) -> Result<(), IdentifierError> {
    if text.trim().is_empty() {
        Err(IdentifierError::Empty)
    } else if text.len() > 256 {
        Err(IdentifierError::TooLong)
    } else if text.chars().any(|c| c == KEY_SEPARATOR || c.is_control()) {
        Err(IdentifierError::ForbiddenCharacter)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_a_node_is_kept_and_other_bytes_are_percent_encoded() {
        let mut id = String::from("old");
        write_instrument_id("MISO", "INDIANA.HUB", "RT5", &mut id);
        assert_eq!(id, "MISO.INDIANA.HUB.RT5");
        write_instrument_id("PJM", "WESTERN HUB", "RTH", &mut id);
        assert_eq!(id, "PJM.WESTERN%20HUB.RTH");
        write_instrument_id("X", "a|b%", "P", &mut id);
        assert_eq!(id, "X.a%7Cb%25.P");
    }

    #[test]
    fn a_star_stands_for_any_text() {
        let matches = |pattern: &str, id: &str| IdPattern::new(pattern).matches(id);
        for (pattern, id) in [
            ("A", "A"),
            ("*", ""),
            ("A*", "A"),
            ("A*B", "AB"),
            ("A*B", "AxBxB"),
            ("*.X.*", "P.X.X.Q"),
            ("A*b*b", "Abb"),
            (
                "PJM.WESTERN%20HUB.*.PEAK.*",
                "PJM.WESTERN%20HUB.2027-01.PEAK.SETTLEMENT",
            ),
        ] {
            assert!(matches(pattern, id), "{pattern} {id}");
        }
        for (pattern, id) in [
            ("", "A"),
            ("A", "AB"),
            ("A*", "CA"),
            ("A*A", "A"),
            ("A*b*b", "Ab"),
            ("A*C", "ACD"),
            ("PJM.*.PEAK.*", "PJM.H.2027-01.OFF_PEAK.SETTLEMENT"),
        ] {
            assert!(!matches(pattern, id), "{pattern} {id}");
        }
        assert_eq!(IdPattern::new(r"A%20_\*.X").like(), r"A\%20\_\\%.X");
    }

    #[test]
    fn patterns_overlap_if_an_id_fits_both() {
        for (one, other, expected) in [
            ("A", "A", true),
            ("A", "B", false),
            ("", "", true),
            ("*", "", true),
            ("A", "", false),
            ("A*", "*B", true),
            ("A*B", "AB", true),
            ("A*B", "A", false),
            ("A*B*C", "A*C*C", true),
            ("A*.PEAK", "A*.FLAT", false),
            ("H.*.SETTLEMENT", "H.*.PEAK.SETTLEMENT", true),
            ("H.*.OFF_PEAK.SETTLEMENT", "H.*.PEAK.SETTLEMENT", false),
            ("GAS.*.SETTLEMENT", "PJM.*.SETTLEMENT", false),
        ] {
            let (one, other) = (IdPattern::new(one), IdPattern::new(other));
            assert_eq!(one.overlaps(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.overlaps(&one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn identifiers_that_keys_cannot_carry_are_refused() {
        assert_eq!(check_identifier("NG_HH_M1"), Ok(()));
        // Traded symbols are short.
        assert_eq!(check_identifier("AB"), Ok(()));
        assert_eq!(check_identifier("C"), Ok(()));
        assert_eq!(check_identifier(" "), Err(IdentifierError::Empty));
        assert_eq!(check_identifier("a|b"), Err(IdentifierError::ForbiddenCharacter));
        assert_eq!(check_identifier("a\nb"), Err(IdentifierError::ForbiddenCharacter));
        assert_eq!(check_identifier(&"x".repeat(257)), Err(IdentifierError::TooLong));
    }
}
