//! Lines of a CSV document.

use std::cell::OnceCell;

use csv_core::{ReadRecordResult, Reader};
use memchr::{memchr, memchr2, memrchr};

use super::commas::Commas;
use super::{Cells, Column, Record, Table, WIDEST};
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

    /// Whether the last of these lines has no end, and is a row.
    fn last_is_open(&self, is_row: fn(&str) -> bool) -> bool {
        let at = memrchr(self.end, self.rest.as_bytes()).map_or(0, |at| at + 1);
        let last = self.rest.get(at..).unwrap_or_default();
        !last.ends_with('\r') && !is_blank(last) && is_row(last)
    }
}

fn is_blank(line: &str) -> bool {
    line.bytes()
        .all(|byte| matches!(byte, b' ' | b',' | b'"' | b'\t' | b'\x1A'))
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
            if !is_blank(line.text) {
                return Some(line);
            }
        }
        None
    }
}

/// Splits lines into cells, in reused buffers.
pub(crate) struct Splitter {
    commas: Commas,
    reader: Reader,
    text: Vec<u8>,
    ends: [usize; WIDEST],
}

impl Splitter {
    pub(crate) fn new() -> Splitter {
        Splitter {
            commas: Commas::new(),
            reader: Reader::new(),
            text: Vec::new(),
            ends: [0; WIDEST],
        }
    }

    /// Calls `visit` with the cells of a line.
    pub(crate) fn split<T>(&mut self, line: &str, visit: impl FnOnce(&[&str]) -> T) -> Result<T, Rejection> {
        let is_for_reader = may_begin_otherwise(line) || has_quotes(line);
        let ends = if is_for_reader {
            None
        } else {
            self.commas.cell_ends(line)
        };
        let Some(ends) = ends else {
            return self.split_any(line, visit);
        };
        let mut texts = [""; WIDEST];
        let cells = Cells::Line { text: line, ends };
        for (at, text) in texts.iter_mut().enumerate().take(ends.len()) {
            *text = cells.get(at).unwrap_or_default();
        }
        Ok(visit(texts.get(..ends.len()).unwrap_or_default()))
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

// The cells of a line without quotes are the texts between its commas, which are found in a fraction of the reader's time. Only the
// reader decides about a carriage return, a byte order mark, and a line without any text.
fn may_begin_otherwise(line: &str) -> bool {
    line.is_empty() || line.starts_with('\u{FEFF}')
}

fn has_quotes(text: &str) -> bool {
    memchr2(b'"', b'\r', text.as_bytes()).is_some()
}

/// A CSV document below its header.
#[derive(Debug)]
pub(crate) struct Csv<'a> {
    lines: Lines<'a>,
    /// Whether a line is a row.
    is_row: fn(&str) -> bool,
    width: usize,
    /// Number of rows. Not every format asks for it.
    rows: OnceCell<usize>,
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
        let csv = Csv {
            is_open: lines.last_is_open(is_row),
            lines,
            is_row,
            width: names.len(),
            rows: OnceCell::new(),
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
            let before = self.row_lines().take(self.rows().saturating_sub(1));
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
        let (mut splitter, mut commas) = (Splitter::new(), Commas::new());
        // One search of the whole text costs less than one of each line.
        let some_have_quotes = has_quotes(self.lines.rest);
        for (index, line) in self.row_lines().enumerate() {
            let spot = Spot::Line(line.number);
            let mut visit_cells = |cells: Cells<'_>| {
                let record = self.check(&line, &cells).map(|()| Record { cells, spot });
                visit(index, line, record.map_err(|rejection| super::located(spot, rejection)));
            };
            let is_for_reader = may_begin_otherwise(line.text) || some_have_quotes && has_quotes(line.text);
            let ends = if is_for_reader {
                None
            } else {
                commas.cell_ends(line.text)
            };
            let split = match ends {
                Some(ends) => {
                    visit_cells(Cells::Line { text: line.text, ends });
                    Ok(())
                }
                None => splitter.split_any(line.text, |cells| visit_cells(Cells::Texts(cells))),
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

    fn check(&self, line: &Line<'_>, cells: &Cells<'_>) -> Result<(), Rejection> {
        let count = cells.count();
        if line.is_open {
            self.check_end(line.text, count)?;
        }
        // Some lines are padded with commas.
        let is_blank = |at| cells.get(at).is_none_or(|cell| cell.trim().is_empty());
        if count == self.width || count > self.width && (self.width..count).all(is_blank) {
            return Ok(());
        }
        let message = format!("it has {count} cells, but the header has {}", self.width);
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
        *self.rows.get_or_init(|| self.row_lines().count())
    }

    fn is_part(&self) -> bool {
        false
    }

    fn for_each(&self, visit: &mut dyn FnMut(usize, Result<Record<'_>, Rejection>)) -> Result<(), Rejection> {
        self.for_each_line(&mut |index, _, record| visit(index, record));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    proptest! {
        #[test]
        fn a_line_without_quotes_has_the_cells_that_the_reader_finds(
            lines in prop::collection::vec("[ a-cé,,,;\"\r\t\u{FEFF}]{0,60}", 1..5),
        ) {
            let mut splitter = Splitter::new();
            for line in lines {
                let found = splitter.split(&line, owned);
                prop_assert_eq!(found, splitter.split_any(&line, owned), "{:?}", line);
            }
        }

        // Rows are those of the reader, whether or not another line of the text has quotes.
        #[test]
        fn the_rows_of_a_text_have_the_cells_that_the_reader_finds(
            lines in prop::collection::vec("(ab?c?,|é,|,){2}([a-c]{1,9}|\"a,b\"|\"\")", 1..6),
            end in "(\r\n|\n|)",
        ) {
            let text = format!("x,y,z\n{}{end}", lines.join("\n"));
            let (csv, _) = Csv::open(&text).unwrap();
            let mut found = Vec::new();
            csv.for_each(&mut |index, record| {
                let record = record.unwrap();
                let cells = (0..3).map(|at| record.cell(Column { name: "", at: Some(at) }).to_owned());
                found.push((index, record.spot, cells.collect::<Vec<_>>()));
            }).unwrap();
            let mut splitter = Splitter::new();
            let expected: Vec<_> = Lines::new(&text).skip(1).enumerate().map(|(index, line)| {
                (index, Spot::Line(line.number), splitter.split_any(line.text, owned).unwrap())
            }).collect();
            prop_assert_eq!(csv.rows(), expected.len());
            prop_assert_eq!(csv.is_open(), end.is_empty() && Lines::new(&text).last().is_some_and(|line| line.is_open));
            prop_assert_eq!(found, expected);
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
