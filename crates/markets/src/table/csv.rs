//! Lines of a CSV document.

use csv_core::{ReadRecordResult, Reader};
use memchr::{memchr, memchr2};

use super::{Column, Record, Table, WIDEST};
use crate::document::Spot;
use crate::rejection::{RejectCode, Rejection, excerpt};

/// The lines of a text, without blank ones, and their numbers from 1.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'a> {
    rest: &'a str,
    /// What separates lines. One that begins with a carriage return only is not mixed with the others.
    end: u8,
    number: u64,
}

/// One line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub number: u64,
    pub text: &'a str,
    /// Whether the text of the document ends before the end of the line.
    pub is_open: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Lines<'a> {
        let end = match memchr(b'\n', text.as_bytes()) {
            Some(_) => b'\n',
            None => b'\r',
        };
        Lines {
            rest: text,
            end,
            number: 0,
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        while !self.rest.is_empty() {
            let at = memchr(self.end, self.rest.as_bytes());
            let split = at.and_then(|at| Some((self.rest.get(..at)?, self.rest.get(at + 1..)?)));
            let (text, is_open) = match split {
                Some((text, rest)) => {
                    self.rest = rest;
                    (text, false)
                }
                // A carriage return is the beginning of the end of the line.
                None => (std::mem::take(&mut self.rest), true),
            };
            self.number += 1;
            let closed = text.strip_suffix('\r');
            let line = Line {
                number: self.number,
                text: closed.unwrap_or(text),
                is_open: is_open && closed.is_none(),
            };
            if line
                .text
                .bytes()
                .any(|byte| !matches!(byte, b' ' | b',' | b'"' | b'\t' | b'\x1A'))
            {
                return Some(line);
            }
        }
        None
    }
}

/// Splits lines into cells, in reused buffers.
pub(crate) struct Splitter {
    reader: Reader,
    text: Vec<u8>,
    ends: [usize; WIDEST],
}

impl Splitter {
    pub(crate) fn new() -> Splitter {
        Splitter {
            reader: Reader::new(),
            text: Vec::new(),
            ends: [0; WIDEST],
        }
    }

    /// Calls `visit` with the cells of a line.
    pub(crate) fn split<T>(&mut self, line: &str, visit: impl FnOnce(&[&str]) -> T) -> Result<T, Rejection> {
        let mut cells = [""; WIDEST];
        match without_quotes(line, &mut cells) {
            Some(count) => Ok(visit(cells.get(..count).unwrap_or_default())),
            None => self.split_any(line, visit),
        }
    }

    fn split_any<T>(&mut self, line: &str, visit: impl FnOnce(&[&str]) -> T) -> Result<T, Rejection> {
        let refused = |why: String| Rejection::new(RejectCode::SchemaViolation, why);
        if line.is_empty() {
            return Ok(visit(&[]));
        }
        // A cell is never longer than its text in the line.
        self.text.resize(line.len() + 1, 0);
        self.reader.reset();
        let (mut written, mut count) = (0, 0);
        for input in [line.as_bytes(), b"\n"] {
            let (text, ends) = (
                self.text.get_mut(written..).unwrap_or_default(),
                self.ends.get_mut(count..).unwrap_or_default(),
            );
            let (result, _, bytes, cells) = self.reader.read_record(input, text, ends);
            written += bytes;
            count += cells;
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::InputEmpty if input != b"\n" => {}
                ReadRecordResult::OutputEndsFull => return Err(refused(format!("it has more than {WIDEST} cells"))),
                _ => return Err(refused("a quote is not closed".to_owned())),
            }
        }
        let text = std::str::from_utf8(self.text.get(..written).unwrap_or_default());
        let text = text.map_err(|_| refused("a cell is not UTF-8".to_owned()))?;
        let mut cells = [""; WIDEST];
        let mut start = 0;
        for (cell, end) in cells.iter_mut().zip(self.ends.iter().take(count)) {
            *cell = text.get(start..*end).unwrap_or_default();
            start = *end;
        }
        Ok(visit(cells.get(..count).unwrap_or_default()))
    }
}

// The cells of a line without quotes are the texts between its commas, which takes less than half of the reader's time. `None` for any
// other line, and for what only the reader decides: a carriage return, a byte order mark, too many cells.
fn without_quotes<'l>(line: &'l str, cells: &mut [&'l str; WIDEST]) -> Option<usize> {
    let bytes = line.as_bytes();
    if line.is_empty() || line.starts_with('\u{FEFF}') || memchr2(b'"', b'\r', bytes).is_some() {
        return None;
    }
    let (mut start, mut count) = (0, 0);
    let mut end = |at: usize| {
        *cells.get_mut(count)? = line.get(start..at)?;
        (start, count) = (at + 1, count + 1);
        Some(count)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let mut commas = commas(u64::from_le_bytes(*word));
        while commas != 0 {
            end(number * 8 + commas.trailing_zeros() as usize / 8)?;
            commas &= commas - 1;
        }
    }
    for (at, byte) in rest.iter().enumerate() {
        if *byte == b',' {
            end(words.len() * 8 + at)?;
        }
    }
    end(bytes.len())
}

// The highest bit of each byte that is a comma.
fn commas(word: u64) -> u64 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let other = word ^ u64::from_le_bytes([b','; 8]);
    !((other & LOW).wrapping_add(LOW) | other | LOW)
}

/// A CSV document below its header.
#[derive(Debug)]
pub(crate) struct Csv<'a> {
    lines: Lines<'a>,
    /// Whether a line is a row.
    is_row: fn(&str) -> bool,
    width: usize,
    rows: usize,
    /// Whether the last line has no end.
    is_open: bool,
    /// If the last column may have been cut: the decimals of its numbers, from all lines but the last.
    decimals: Option<Decimals>,
}

/// Receives the rows of a document with their lines.
type VisitLine<'v, 'a> = dyn FnMut(usize, Line<'a>, Result<Record<'_>, Rejection>) + 'v;

/// Decimals of the numbers of a column; `None` without numbers.
type Decimals = Option<usize>;

impl<'a> Csv<'a> {
    /// Reads the header, the first line that is not blank.
    pub(crate) fn open(text: &'a str) -> Result<(Csv<'a>, Vec<String>), Rejection> {
        let mut lines = Lines::new(text);
        let Some(line) = lines.next() else {
            return Err(Rejection::new(
                RejectCode::SchemaViolation,
                "the document has no line with text: a CSV header is expected",
            ));
        };
        Csv::below(lines, line)
    }

    /// Reads this line as the header of `lines`, which follow it.
    pub(crate) fn below(lines: Lines<'a>, header: Line<'a>) -> Result<(Csv<'a>, Vec<String>), Rejection> {
        Csv::rows_below(lines, header, |_| true)
    }

    /// As [`Csv::below`]; lines that are no rows are skipped.
    pub(crate) fn rows_below(
        lines: Lines<'a>,
        header: Line<'a>,
        is_row: fn(&str) -> bool,
    ) -> Result<(Csv<'a>, Vec<String>), Rejection> {
        let names = Splitter::new()
            .split(header.text, |cells| {
                cells.iter().map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
            })
            .map_err(|rejection| super::located(Spot::Line(header.number), rejection))?;
        let (mut rows, mut is_open) = (0, false);
        for line in lines.clone().filter(|line| is_row(line.text)) {
            rows += 1;
            is_open = line.is_open;
        }
        let csv = Csv {
            lines,
            is_row,
            width: names.len(),
            rows,
            is_open,
            decimals: None,
        };
        Ok((csv, names))
    }

    /// Refuses a last line without its end if its last cell, one of these columns, may have been cut: it has fewer decimals
    /// than an earlier number of its column, or no earlier number tells how many it should have.
    pub(crate) fn guarded(mut self, numbers: &[Column]) -> Csv<'a> {
        let is_number = numbers
            .iter()
            .any(|column| column.at.is_some_and(|at| at + 1 == self.width));
        if self.is_open && is_number {
            let before = self.row_lines().take(self.rows.saturating_sub(1));
            self.decimals = Some(before.map(|line| decimals(line.text)).max());
        }
        self
    }

    /// Whether the last line has no end, so that the document may have been cut.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    fn row_lines(&self) -> impl Iterator<Item = Line<'a>> {
        let is_row = self.is_row;
        self.lines.clone().filter(move |line| is_row(line.text))
    }

    /// As [`Table::for_each`], with the line of each row.
    pub(crate) fn for_each_line(&self, visit: &mut VisitLine<'_, 'a>) {
        let (mut splitter, mut cells) = (Splitter::new(), [""; WIDEST]);
        for (index, line) in self.row_lines().enumerate() {
            let spot = Spot::Line(line.number);
            let mut visit_cells = |cells: &[&str]| {
                let record = self.check(&line, cells).map(|()| Record { cells, spot });
                visit(index, line, record.map_err(|rejection| super::located(spot, rejection)));
            };
            let split = match without_quotes(line.text, &mut cells) {
                Some(count) => {
                    visit_cells(cells.get(..count).unwrap_or_default());
                    Ok(())
                }
                None => splitter.split_any(line.text, visit_cells),
            };
            if let Err(rejection) = split {
                let shown = Rejection {
                    message: format!("{}: \"{}\"", rejection.message, excerpt(line.text)),
                    ..rejection
                };
                visit(index, line, Err(super::located(spot, shown)));
            }
        }
    }

    fn check(&self, line: &Line<'_>, cells: &[&str]) -> Result<(), Rejection> {
        if line.is_open {
            self.check_end(line.text, cells.len())?;
        }
        if cells.len() == self.width || has_only_blank_rest(cells, self.width) {
            return Ok(());
        }
        let message = format!("it has {} cells, but the header has {}", cells.len(), self.width);
        Err(Rejection::new(RejectCode::SchemaViolation, message))
    }

    fn check_end(&self, line: &str, width: usize) -> Result<(), Rejection> {
        let refused = |why| Err(Rejection::new(RejectCode::SchemaViolation, why));
        if width < self.width {
            return refused("the document ends inside this row");
        }
        match self.decimals {
            Some(None | Some(0)) => {
                refused("the document ends with this number, and nothing shows that it is complete")
            }
            Some(Some(most)) if decimals(line) < most => {
                refused("the document ends with this number, which has fewer decimals than its column")
            }
            _ => Ok(()),
        }
    }
}

// Decimals of the number at the end of a line.
fn decimals(line: &str) -> usize {
    let cell = line.rsplit(',').next().unwrap_or_default();
    let cell = cell.trim_matches(['"', ' ']);
    cell.split_once('.').map_or(0, |(_, decimals)| decimals.len())
}

impl Table for Csv<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn is_part(&self) -> bool {
        false
    }

    fn for_each(&self, visit: &mut dyn FnMut(usize, Result<Record<'_>, Rejection>)) -> Result<(), Rejection> {
        self.for_each_line(&mut |index, _, record| visit(index, record));
        Ok(())
    }
}

// Lines padded with commas.
fn has_only_blank_rest(cells: &[&str], width: usize) -> bool {
    cells.len() > width && cells.iter().skip(width).all(|cell| cell.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    proptest! {
        #[test]
        fn a_line_without_quotes_has_the_cells_that_the_reader_finds(line in "[ a-cé,,,;\"\r\t\u{FEFF}]{0,60}") {
            let mut splitter = Splitter::new();
            let found = splitter.split(&line, owned);
            prop_assert_eq!(found, splitter.split_any(&line, owned), "{:?}", line);
        }
    }

    #[test]
    fn the_widest_line_is_split_and_a_wider_one_is_refused() {
        let mut splitter = Splitter::new();
        for (commas, expected) in [(WIDEST - 1, Some(WIDEST)), (WIDEST, None)] {
            let line = ",".repeat(commas);
            assert_eq!(splitter.split(&line, |cells| cells.len()).ok(), expected);
            assert_eq!(splitter.split_any(&line, |cells| cells.len()).ok(), expected);
        }
    }
}
