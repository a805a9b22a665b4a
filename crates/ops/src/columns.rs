//! How wide each column of a table is on a terminal, and where a word that is too long for its column is broken. Pure.
//!
//! Invariant: no word is broken while all longest words fit next to each other. If they do not, the longest words of texts give way, so
//! that times stay whole; numbers give way last.
//! Failure: a terminal with less room than one character for each column gets a table that is wider than it.

use comfy_table::Table;

/// Beside each text its column has a blank on both sides and a line; the table has one more line.
const AROUND: usize = 3;
/// A column of numbers with a longer one is a column of texts.
const LONGEST_NUMBER: usize = 16;
/// Words of texts become no shorter than this, as long as numbers can give way.
const SHORTEST: usize = 8;
/// After these a name can be broken.
const SEAMS: [char; 7] = ['/', '.', '_', ':', '-', ',', '='];

/// What a column needs, in characters.
#[derive(Debug, Clone, Copy)]
struct Needs {
    /// Its longest line.
    line: usize,
    /// What should stay whole: its longest word, of a number all of it.
    whole: usize,
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
    let numbers = longest(cells.iter().skip(1).cloned());
    let needs = lines.iter().zip(words).enumerate().map(|(index, (line, word))| {
        let number = numbers.get(index).copied().filter(|number| *number <= LONGEST_NUMBER);
        match number.filter(|_| index >= left) {
            Some(number) => Needs {
                line: *line,
                whole: word.max(number),
                is_number: true,
            },
            None => Needs {
                line: *line,
                whole: word,
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
    let mut widths = highest(room, of_level).unwrap_or_else(|| least.clone());
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
    let of_texts = |level: usize| -> Option<Vec<usize>> {
        let least = needs.iter().map(|needs| match needs.is_number {
            true => needs.whole,
            false => needs.whole.min(level),
        });
        (level >= SHORTEST).then(|| least.collect())
    };
    let of_all = |level: usize| -> Vec<usize> { needs.iter().map(|needs| needs.whole.min(level)).collect() };
    let texts = (0..=room)
        .rev()
        .map_while(of_texts)
        .find(|widths| widths.iter().sum::<usize>() <= room);
    texts
        .or_else(|| highest(room, of_all))
        .unwrap_or_else(|| vec![1; needs.len()])
}

/// The widths of the highest level, above zero, that fit into the room.
fn highest(room: usize, of_level: impl Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    (1..=room)
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
