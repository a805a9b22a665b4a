//! Lines of a CSV document.

use std::cell::OnceCell;

use csv_core::{ReadRecordResult, Reader};
use domain::Micros;
use memchr::{memchr, memchr2};

use super::commas::Commas;
use super::header::{Header, of_another_report};
use super::lines::{Line, Lines};
use super::{Cells, Column, Record, Table, WIDEST};
use crate::cadence::{self, Stamps};
use crate::document::Spot;
use crate::rejection::{RejectCode, Rejection, excerpt};

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
        // The reader joins both texts: `"3"8.31` would be 38.31.
        if has_text_behind_quotes(line) {
            return Err(refused("text follows the closing quote of a cell".to_owned()));
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
            let (result, read, bytes, cells) = self.reader.read_record(input, text, ends);
            written += bytes;
            count += cells;
            match result {
                ReadRecordResult::Record if has_text(input.get(read..).unwrap_or_default()) => {
                    return Err(refused(
                        "it has a carriage return inside, so it may be two rows".to_owned(),
                    ));
                }
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

// For the reader a record ends at a carriage return. The line goes on unless only others follow, as in `\r\r\n`.
fn has_text(rest: &[u8]) -> bool {
    rest.iter().any(|byte| *byte != b'\r')
}

// Whether a cell that begins with a quote goes on behind the closing one. Spaces there are no text.
fn has_text_behind_quotes(line: &str) -> bool {
    let mut rest = line.as_bytes();
    loop {
        if let Some(mut inside) = rest.strip_prefix(b"\"") {
            loop {
                let Some(at) = memchr(b'"', inside) else { return false };
                inside = inside.get(at + 1..).unwrap_or_default();
                match inside.strip_prefix(b"\"") {
                    // Two quotes stand for one.
                    Some(after) => inside = after,
                    None => break,
                }
            }
            let behind = inside
                .split(|byte| matches!(byte, b',' | b'\r'))
                .next()
                .unwrap_or_default();
            if !behind.trim_ascii().is_empty() {
                return true;
            }
            rest = inside;
        }
        match memchr(b',', rest) {
            Some(at) => rest = rest.get(at + 1..).unwrap_or_default(),
            None => return false,
        }
    }
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
    header: Header,
    width: usize,
    /// Number of rows. Not every format asks for it.
    rows: OnceCell<usize>,
    /// Whether the last line has no end.
    is_open: bool,
    /// What shows that the last cell of an open line is whole.
    last_cell: LastCell,
}

/// Receives the rows of a document with their lines.
type VisitLine<'v, 'a> = dyn FnMut(usize, Line<'a>, Result<Record<'_>, Rejection>) + 'v;

/// What shows that the last cell of a line without its end is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastCell {
    /// Nothing does.
    Unknown,
    /// The comma before it: the header, like each line, ends with a comma.
    Comma,
    /// Nothing has to, unless it is empty: no tick depends on a part of it.
    AnyPart,
    /// Its decimals: the most of its column in the other lines, `None` without such lines or if its column has no scale.
    Decimals(Option<usize>),
}

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
            header: Header::of(&names),
            width: names.len(),
            rows: OnceCell::new(),
            last_cell: match names.last() {
                Some(name) if name.is_empty() => LastCell::Comma,
                _ => LastCell::Unknown,
            },
        };
        Ok((csv, names))
    }

    /// Accepts a last line without its end if its last cell is one of `numbers`, and has as many decimals as the others of its
    /// column; or one of `harmless`, whose cut changes no tick. Without this, such a line is refused: its last cell may be the
    /// beginning of another name, version or number.
    pub(crate) fn guarded(mut self, numbers: &[Column], harmless: &[Column]) -> Csv<'a> {
        if !self.is_open {
            return self;
        }
        if self.has_last(numbers) {
            let before = self.row_lines().take(self.rows().saturating_sub(1));
            self.last_cell = LastCell::Decimals(before.map(|line| decimals(line.text)).max());
        } else if self.has_last(harmless) {
            self.last_cell = LastCell::AnyPart;
        }
        self
    }

    /// As [`Csv::guarded`], for a format whose numbers may have any number of decimals: nothing shows that the last one of them is whole.
    pub(crate) fn guarded_by_line_end(mut self, numbers: &[Column]) -> Csv<'a> {
        if self.is_open && self.has_last(numbers) {
            self.last_cell = LastCell::Decimals(None);
        }
        self
    }

    fn has_last(&self, columns: &[Column]) -> bool {
        let mut places = columns.iter().filter_map(|column| column.at);
        places.any(|at| at + 1 == self.width)
    }

    /// Whether the last line has no end, so that the document may have been cut.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    fn row_lines(&self) -> impl Iterator<Item = Line<'a>> {
        let is_row = self.is_row;
        self.lines.clone().filter(move |line| is_row(line.text))
    }

    /// The stamps of some rows, in one column.
    pub(crate) fn stamps(&self, column: Column, read: impl Fn(&str) -> Option<Micros>) -> Stamps {
        let Some(at) = column.at else { return Stamps::new() };
        let (mut splitter, end) = (Splitter::new(), self.lines.end);
        cadence::stamps(self.lines.rest, |text, is_inside| {
            let begin = if is_inside {
                memchr(end, text.as_bytes())? + 1
            } else {
                0
            };
            let (rest, number) = (text.get(begin..)?, 0);
            let mut lines = Lines { rest, end, number };
            let line = lines.next()?;
            let split = splitter.split(line.text, |cells| cells.get(at).and_then(|cell| read(cell.trim())));
            let stamp = split.ok().flatten().filter(|_| !line.is_open);
            Some((stamp, text.len() - lines.rest.len()))
        })
    }

    /// Calls `visit` with the rows behind this line, as far as it says. Rows that cannot be read are left out.
    pub(crate) fn for_each_behind(&self, line: &Line<'_>, visit: &mut dyn FnMut(&Record<'_>) -> bool) {
        let text = self.lines.rest;
        // The line is a part of this text.
        let end = (line.text.as_ptr().addr() + line.text.len()).saturating_sub(text.as_ptr().addr());
        let lines = Lines {
            rest: text.get(end..).unwrap_or_default(),
            end: self.lines.end,
            number: line.number,
        };
        let mut splitter = Splitter::new();
        for line in lines.filter(|line| (self.is_row)(line.text)) {
            let goes_on = splitter.split(line.text, |cells| {
                let cells = Cells::Texts(cells);
                let spot = Spot::Line(line.number);
                self.check(&line, &cells).is_err() || visit(&Record { cells, spot })
            });
            if goes_on == Ok(false) {
                break;
            }
        }
    }

    /// As [`Table::for_each`], with the line of each row. From a second header on, rows are of another report, and refused.
    pub(crate) fn for_each_line(&self, visit: &mut VisitLine<'_, 'a>) {
        let (mut splitter, mut commas) = (Splitter::new(), Commas::new());
        // One search of the whole text costs less than one of each line.
        let some_have_quotes = has_quotes(self.lines.rest);
        let mut second = None;
        for (index, line) in self.row_lines().enumerate() {
            let spot = Spot::Line(line.number);
            if second.is_none() && self.header.is_in(line.text) {
                second = Some(line.number);
            }
            if let Some(first) = second {
                visit(
                    index,
                    line,
                    Err(super::located(spot, of_another_report(line.number, first))),
                );
                continue;
            }
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
            self.check_end(line.text, cells)?;
        }
        // Some lines are padded with commas.
        let is_blank = |at| cells.get(at).is_none_or(|cell| cell.trim().is_empty());
        if count == self.width || count > self.width && (self.width..count).all(is_blank) {
            return Ok(());
        }
        let message = format!("it has {count} cells, but the header has {}", self.width);
        Err(Rejection::new(RejectCode::SchemaViolation, message))
    }

    fn check_end(&self, line: &str, cells: &Cells<'_>) -> Result<(), Rejection> {
        let refused = |why| Err(Rejection::new(RejectCode::SchemaViolation, why));
        let count = cells.count();
        if count < self.width {
            return refused("the document ends inside this row");
        }
        let last = self.width.checked_sub(1).and_then(|at| cells.get(at));
        match self.last_cell {
            // A comma ends the last cell of the header too.
            _ if count > self.width => Ok(()),
            LastCell::Comma => Ok(()),
            LastCell::AnyPart if last.is_some_and(|cell| !cell.trim().is_empty()) => Ok(()),
            LastCell::Unknown | LastCell::AnyPart => refused(
                "the document ends with this cell, and nothing shows that it is complete: if it is, end the document with a line end",
            ),
            LastCell::Decimals(None | Some(0)) => refused(
                "the document ends with this number, and nothing shows that it is complete: if it is, end the document with a line end",
            ),
            LastCell::Decimals(Some(most)) if decimals(line) < most => {
                refused("the document ends with this number, which has fewer decimals than its column")
            }
            LastCell::Decimals(_) => Ok(()),
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

    fn is_bare(&self) -> bool {
        self.row_lines().next().is_none()
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
            // What an open line may have lost is not the subject here.
            let csv = Csv { last_cell: LastCell::Comma, ..csv };
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
    fn a_carriage_return_inside_a_line_refuses_the_line_and_others_at_its_end_do_not() {
        let mut splitter = Splitter::new();
        for line in ["a,12\r7.04", "a,b\rc,d", "a\r\rb", "\"a\"\rb"] {
            let rejection = splitter.split(line, owned).unwrap_err();
            assert!(rejection.message.contains("carriage return"), "{line:?}: {rejection}");
        }
        for line in ["a,b\r", "a,b\r\r", "\ra,b", "a,b"] {
            assert_eq!(splitter.split(line, owned).unwrap(), ["a", "b"], "{line:?}");
        }
        assert_eq!(splitter.split("a,\"b\rc\"", owned).unwrap(), ["a", "b\rc"]);
    }

    #[test]
    fn text_behind_a_closing_quote_is_no_part_of_the_cell() {
        let mut splitter = Splitter::new();
        for line in [
            "\"3\"8.31",
            "a,\"3\".31",
            "\"\"26.0,b",
            "a,\"x,\"\"y\"\"\"z",
            "\"a\" b,c",
        ] {
            let rejection = splitter.split(line, owned).unwrap_err();
            assert!(rejection.message.contains("closing quote"), "{line}: {rejection}");
        }
        assert_eq!(
            splitter.split("\"3\" ,\"a\"\"b,\",\"\",\"x\"\r", owned).unwrap(),
            ["3 ", "a\"b,", "", "x"]
        );
        // A quote inside a cell is a part of it, and no number.
        assert_eq!(splitter.split("3\".31,\"\"\"\"", owned).unwrap(), ["3\".31", "\""]);
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
