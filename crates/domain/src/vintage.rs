//! How certain a published interval price is.
//!
//! A market publishes the price of one delivery interval several times: preliminary, later final, sometimes corrected. All rows are
//! kept as published. Code that needs one price of an interval takes the best vintage, and of equal ones the last origin. The order
//! of arrival does not matter.
//! Invariant: a function of the text in `Tick::version` and of the kind (INV-1). The SQL of the second stage
//! (`stores::History`) computes the same number.
//! Failure: none. A text that is not in the table is the lowest vintage.

use crate::Kind;

/// The words of `Tick::version`, from the least to the most certain.
const WORDS: [&str; 5] = ["preliminary", "unverified", "verified", "final", "corrected"];
/// More than the rank of any other text.
const SUPERSEDED: i32 = 20_000_001;
/// More digits than any market's version number; a longer number counts as none.
const MOST_DIGITS: usize = 6;

/// The rank of a vintage: larger replaces smaller. A price without a version has the default.
///
/// `word.number` or a bare number, as in `final`, `verified.2`, `3`. Order: texts without a known word, preliminary, unverified,
/// verified, final, corrected; then by number. A text with a last word `superseded` ranks below every text without it, whatever
/// its number: the market says that another row counts. Among themselves they have the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vintage(i32);

impl Vintage {
    /// The vintage of a tick with this version. Trades have none: each of them counts.
    pub fn of(version: Option<&str>, kind: Kind) -> Vintage {
        match (version, kind) {
            (Some(version), Kind::Interval) => Vintage::parse(version),
            _ => Vintage::default(),
        }
    }

    fn parse(version: &str) -> Vintage {
        let mut words = version.split('.');
        let first = words.next().unwrap_or_default();
        let is_first = |word: &&str| first.eq_ignore_ascii_case(word);
        let stage = WORDS.iter().position(is_first).map_or(0, |at| at as i32 + 1);
        let number = if stage == 0 { Some(first) } else { words.next() };
        let is_superseded = version
            .rsplit('.')
            .next()
            .is_some_and(|last| last.eq_ignore_ascii_case("superseded"));
        // Even for a text that is not superseded, as in the ranks that earlier releases have stored.
        let rank = (stage * 1_000_000 + number.map_or(0, digits)) * 2;
        Vintage(if is_superseded { rank - SUPERSEDED } else { rank })
    }

    /// The rank as a number, for stores.
    pub fn rank(self) -> i32 {
        self.0
    }

    /// The vintage of a stored rank.
    pub fn from_rank(rank: i32) -> Vintage {
        Vintage(rank)
    }
}

/// Zero unless the text is a number of a few digits.
fn digits(text: &str) -> i32 {
    let is_number = (1..=MOST_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> Vintage {
        Vintage::of(Some(version), Kind::Interval)
    }

    #[test]
    fn the_words_of_the_markets_are_in_order() {
        let order = [
            "superseded",
            "verified.1.superseded",
            "verified.999999.superseded",
            "corrected.999999.Superseded",
            "",
            "preliminary",
            "unverified",
            "verified.1",
            "Verified.2",
            "verified.10",
            "final",
            "corrected",
            "corrected.2",
        ];
        assert!(order.is_sorted_by(|one, other| of(one) < of(other)));
    }

    #[test]
    fn a_text_without_a_known_word_counts_only_as_a_number() {
        let none = Vintage::of(None, Kind::Interval);
        for text in ["foo", "foo.7", "-1", "1234567", "verified2", "é"] {
            assert_eq!(of(text), none, "{text}");
        }
        assert!(none < of("2") && of("2") < of("3") && of("999999") < of("preliminary"));
        assert_eq!(of("verified.1234567"), of("verified"));
    }

    /// Latest prices are stored with their ranks: (stage * 1,000,000 + number) * 2 since there are ranks.
    #[test]
    fn the_stored_rank_of_a_price_that_is_not_superseded_is_that_of_earlier_releases() {
        let ranks = ["", "7", "preliminary", "verified.2", "corrected.999999"].map(|version| of(version).rank());
        assert_eq!(ranks, [0, 14, 2_000_000, 6_000_004, 11_999_998]);
    }

    #[test]
    fn trades_have_no_vintage() {
        assert_eq!(Vintage::of(Some("final"), Kind::Trade), Vintage::default());
        assert_eq!(Vintage::from_rank(of("verified.2").rank()), of("verified.2"));
    }
}
