//! Cells of a table.

use ops::present::{grouped, printable};

/// A number, grouped by thousands.
pub fn count(number: u64) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The beginning of a text on one line.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", printable(text.get(..end).unwrap_or(text))),
        None => printable(text),
    }
}

/// An ISO 8601 time to the second, with a blank at which a narrow table may break it.
pub fn to_second(time: &str) -> String {
    let (whole, _) = time.split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    whole.replacen('T', " ", 1)
}

/// A name on one line, whose middle gives way: its beginning and its end tell more.
pub fn middle(name: &str, characters: usize) -> String {
    let name: Vec<char> = printable(name).chars().collect();
    if name.len() <= characters {
        return name.into_iter().collect();
    }
    let kept = characters.saturating_sub(1);
    let head: String = name.iter().take(kept - kept / 2).collect();
    let tail: String = name.iter().skip(name.len() - kept / 2).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        assert_eq!(middle("enrichment-local", 16), "enrichment-local");
        assert_eq!(middle("enrichment-local", 9), "enri…ocal");
        assert_eq!(middle("äöüß", 3), "ä…ß");
        assert_eq!(middle("a\u{1b}b", 9), r"a\u{1b}b");
    }

    #[test]
    fn a_time_has_seconds_and_a_place_to_break() {
        assert_eq!(to_second("2026-11-30T13:00:05.123456Z"), "2026-11-30 13:00:05");
        assert_eq!(to_second("2026-11-30T13:00:05Z"), "2026-11-30 13:00:05");
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_controls_nothing() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("a\u{1b}b", 9), r"a\u{1b}b");
        assert_eq!(count(u64::MAX), count(i64::MAX as u64));
    }
}
