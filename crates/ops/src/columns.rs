//! How wide each column of a table is on a terminal, and where a word that is too long for its column is broken. Pure.
//!
//! Invariant: no word is broken while all longest words fit next to each other. If they do not, the words of sentences, paths and very long
//! words give way first, so that codes and times stay whole; then the longest words of all texts; numbers last.
//! Failure: a terminal with less room than one character for each column gets a table that is wider than it.

use comfy_table::Table;

/// Beside each text its column has a blank on both sides and a line; the table has one more line.
const AROUND: usize = 3;
/// A column of numbers with a longer one is a column of texts.
const LONGEST_NUMBER: usize = 16;
/// Words of texts become no shorter than this, as long as numbers can give way.
const SHORTEST: usize = 8;
/// A longer word is no code: it gives way as a path does.
const LONGEST_CODE: usize = 24;
/// A cell with more words, of letters, is a sentence.
const NO_SENTENCE: usize = 2;
/// After these a name can be broken.
const SEAMS: [char; 7] = ['/', '.', '_', ':', '-', ',', '='];

/// What a column needs, in characters.
#[derive(Debug, Clone, Copy)]
struct Needs {
    /// Its longest line.
    line: usize,
    /// What should stay whole: its longest word, of a number all of it.
    whole: usize,
    /// What of this stays whole longest: codes and times, of a number all of it, of other words their beginning.
    firm: usize,
    is_number: bool,
}

/// The widths of the columns of these rows within a terminal. The first row has the headers; columns after the first `left` ones are
/// numbers.
pub(crate) fn widths(cells: &[Vec<String>], left: usize, terminal: u16) -> Vec<usize> {
    let lines = longest(cells.iter().cloned());
    let words = longest(
        cells
            .iter()
            .map(|row| row.iter().map(|cell| cell.replace(' ', "\n")).collect()),
    );
    let firm = longest(cells.iter().map(|row| row.iter().map(|cell| firm(cell)).collect()));
    let numbers = longest(cells.iter().skip(1).cloned());
    let texts = lines.iter().zip(words).zip(firm);
    let needs = texts.enumerate().map(|(index, ((line, word), firm))| {
        let number = numbers.get(index).copied().filter(|number| *number <= LONGEST_NUMBER);
        match number.filter(|_| index >= left) {
            Some(number) => Needs {
                line: *line,
                whole: word.max(number),
                firm: word.max(number),
                is_number: true,
            },
            None => Needs {
                line: *line,
                whole: word,
                firm,
                is_number: false,
            },
        }
    });
    let around = AROUND * lines.len() + 1;
    divided(
        &needs.collect::<Vec<Needs>>(),
        usize::from(terminal).saturating_sub(around),
    )
}

/// The words of a cell, one on each line; of those that give way first only the beginning.
fn firm(cell: &str) -> String {
    let is_sentence = cell.split_whitespace().count() > NO_SENTENCE && cell.chars().any(char::is_alphabetic);
    let of_word = |word: &str| -> String {
        match is_sentence || word.contains('/') || word.chars().count() > LONGEST_CODE {
            true => word.chars().take(SHORTEST).collect(),
            false => word.to_owned(),
        }
    };
    cell.split([' ', '\n']).map(of_word).collect::<Vec<String>>().join("\n")
}

/// The longest line of each column, measured as the table does.
fn longest(rows: impl Iterator<Item = Vec<String>>) -> Vec<usize> {
    let mut table = Table::new();
    for row in rows {
        table.add_row(row);
    }
    table.column_max_content_widths().into_iter().map(usize::from).collect()
}

/// Gives each column what should stay whole, then all the same number of characters as long as they need them.
fn divided(needs: &[Needs], room: usize) -> Vec<usize> {
    let least = least(needs, room);
    let of_level = |level: usize| -> Vec<usize> {
        let columns = needs.iter().zip(&least);
        columns
            .map(|(needs, least)| needs.line.min(level).max(*least))
            .collect()
    };
    let mut widths = highest(1, room, of_level).unwrap_or_else(|| least.clone());
    let mut rest = room.saturating_sub(widths.iter().sum());
    for (width, needs) in widths.iter_mut().zip(needs) {
        if rest > 0 && *width < needs.line {
            *width += 1;
            rest -= 1;
        }
    }
    widths
}

/// What each column has at least.
fn least(needs: &[Needs], room: usize) -> Vec<usize> {
    let of_loose = |level: usize| -> Vec<usize> {
        let least = needs.iter().map(|needs| needs.whole.min(level).max(needs.firm));
        least.collect()
    };
    let of_texts = |level: usize| -> Vec<usize> {
        let least = needs.iter().map(|needs| match needs.is_number {
            true => needs.whole,
            false => needs.whole.min(level),
        });
        least.collect()
    };
    let of_all = |level: usize| -> Vec<usize> { needs.iter().map(|needs| needs.whole.min(level)).collect() };
    highest(SHORTEST, room, of_loose)
        .or_else(|| highest(SHORTEST, room, of_texts))
        .or_else(|| highest(1, room, of_all))
        .unwrap_or_else(|| vec![1; needs.len()])
}

/// The widths of the highest level, from `lowest` on, that fit into the room.
fn highest(lowest: usize, room: usize, of_level: impl Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    (lowest..=room)
        .rev()
        .map(of_level)
        .find(|widths| widths.iter().sum::<usize>() <= room)
}

/// The text with line breaks in each word that is longer than its column, between the parts of a name if there are any.
pub(crate) fn parted(text: &str, width: usize) -> String {
    let of_line = |line: &str| {
        let words = line.split(' ').map(|word| parted_word(word, width));
        words.collect::<Vec<String>>().join(" ")
    };
    text.split('\n').map(of_line).collect::<Vec<String>>().join("\n")
}

fn parted_word(word: &str, width: usize) -> String {
    let length = |text: &str| text.chars().count();
    if length(word) <= width {
        return word.to_owned();
    }
    let (mut parted, mut of_line) = (String::new(), 0);
    for part in word.split_inclusive(SEAMS) {
        if of_line > 0 && of_line + length(part) > width {
            parted.push('\n');
            of_line = 0;
        }
        parted.push_str(part);
        of_line += length(part);
    }
    parted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        let owned = |row: &&[&str]| row.iter().map(|cell| (*cell).to_owned()).collect();
        rows.iter().map(owned).collect()
    }

    #[test]
    fn a_table_that_fits_has_its_own_widths() {
        let cells = rows(&[&["name", "count"], &["a name", "1,234"]]);
        // 6 + 5 characters, and 7 around them.
        assert_eq!(widths(&cells, 1, 80), [6, 5]);
        assert_eq!(widths(&cells, 1, 18), [6, 5]);
        assert_eq!(widths(&cells, 1, 17), [5, 5]);
    }

    #[test]
    fn texts_with_blanks_give_way_before_any_word_is_broken() {
        let cells = rows(&[
            &["at", "reason", "offset"],
            &["2026-11-30 13:00:05", "the price is not a number at all", "17"],
        ]);
        for terminal in 32..80 {
            let widths = widths(&cells, 2, terminal);
            assert!(
                widths[0] >= 10 && widths[1] >= 6 && widths[2] == 6,
                "{terminal}: {widths:?}"
            );
            assert!(
                widths.iter().sum::<usize>() + 10 <= usize::from(terminal),
                "{terminal}: {widths:?}"
            );
        }
    }

    #[test]
    fn the_longest_words_give_way_first_and_numbers_last() {
        let id = "ingestion.market.raw.v1/2/1042";
        let cells = rows(&[&["at", "id", "letters"], &["2026-11-30 13:00:05", id, "1,234,567,890"]]);
        // 50 - 10 characters around, 13 of the number, 10 of the time.
        assert_eq!(widths(&cells, 2, 50), [10, 17, 13]);
        // With 8 characters of each text the number stays whole, with less it does not.
        assert_eq!(widths(&cells, 2, 39), [8, 8, 13]);
        assert_eq!(widths(&cells, 2, 34), [8, 8, 8]);
        assert_eq!(widths(&cells, 2, 5), [1, 1, 1]);
        // Text in a column of numbers gives way as text does.
        assert_eq!(widths(&rows(&[&["a", "b"], &["12345678", id]]), 1, 25), [8, 10]);
    }

    #[test]
    fn codes_and_times_stay_whole_longer_than_sentences_and_paths() {
        let (path, reason) = (
            "ingestion.market.raw.v1/2/104212",
            "/payload/price is beyond the largest configured price",
        );
        let row = [
            "2026-11-30 13:00:05",
            "normalize",
            "invalid_price_too_large",
            "MISO",
            path,
            reason,
            "104217",
        ];
        let headers = ["failed at", "stage", "code", "market", "origin", "reason", "offset"];
        let cells = rows(&[&headers, &row]);
        // 100 - 22 characters around: 10, 9, 23, 6 and 6 are needed whole, and the other two share the rest.
        assert_eq!(widths(&cells, 6, 100), [10, 9, 23, 6, 12, 12, 6]);
        // The narrowest terminal in which these two have 8 characters each.
        assert_eq!(widths(&cells, 6, 92), [10, 9, 23, 6, 8, 8, 6]);
        // In a narrower one the longest words of all texts give way alike.
        assert_eq!(widths(&cells, 6, 91)[2], 12);
    }

    #[test]
    fn a_word_that_is_too_long_for_a_code_gives_way_as_a_path_does() {
        let of = |word: &str| firm(word).chars().count();
        assert_eq!(
            (of(&"a".repeat(LONGEST_CODE)), of(&"a".repeat(LONGEST_CODE + 1))),
            (LONGEST_CODE, SHORTEST)
        );
        assert_eq!(firm("the configured price"), "the\nconfigur\nprice");
        assert_eq!(firm("raw.v1/2/104212 (replayed)"), "raw.v1/2\n(replayed)");
        assert_eq!(
            firm("2026-11-30 13:00:05 – 2026-12-01"),
            "2026-11-30\n13:00:05\n–\n2026-12-01"
        );
    }

    #[test]
    fn a_word_that_is_too_long_is_broken_between_its_parts() {
        assert_eq!(
            parted("ingestion.market.raw.v1/2/1042 (some rows)", 17),
            "ingestion.market.\nraw.v1/2/1042 (some rows)"
        );
        assert_eq!(parted("price_out_of_bounds", 10), "price_out_\nof_bounds");
        assert_eq!(parted("short a/b\nprice_out", 6), "short a/b\nprice_\nout");
        // Nothing to break it at.
        assert_eq!(parted("0123456789", 4), "0123456789");
        assert_eq!(parted("äöü/ß", 4), "äöü/\nß");
    }
}
