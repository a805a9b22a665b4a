//! Rows of a JSON page of an API: arrays under named fields, or objects.

use std::borrow::Cow;

use super::{Cells, Record, Table, WIDEST, located, plain};
use crate::document::Spot;
use crate::json::{Key, Kind, Outline, Read, Reader, Token};
use crate::rejection::{RejectCode, Rejection, excerpt};

/// The rows of a page as written, and the names of its columns.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    array: &'static str,
    data: &'a str,
    /// Names of the columns; rows are objects with these keys.
    keys: Option<Vec<Name>>,
    width: usize,
    rows: usize,
    is_part: bool,
}

/// A name as the first row writes it, and [`plain`].
#[derive(Debug)]
struct Name {
    written: String,
    plain: String,
}

impl Name {
    fn of(written: &str) -> Name {
        Name {
            written: written.to_owned(),
            plain: plain(written),
        }
    }
}

/// The place of a key. Nearly every object has its keys in the order of the first one, and as that one writes them.
fn place(names: &[Name], expected: usize, key: &Key<'_>) -> Option<usize> {
    if names.get(expected).is_some_and(|name| key.is(&name.written)) {
        return Some(expected);
    }
    let written = names.iter().position(|name| key.is(&name.written));
    written.or_else(|| {
        let plain = plain(&key.name());
        names.iter().position(|name| name.plain == plain)
    })
}

/// An array of objects, read once from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Objects<'a> {
    /// The array as written.
    pub data: &'a str,
    /// Number of its elements.
    pub rows: usize,
    /// The names of the columns: the keys of the first object.
    pub names: Vec<String>,
}

impl<'a> Objects<'a> {
    /// Reads the array at which the reader is.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Read<Objects<'a>> {
        let (mut rows, mut names, mut outline) = (0, None, Outline::default());
        let data = reader.elements(|reader| {
            rows += 1;
            if outline.read(reader, |_, _| true) {
                return Ok(());
            }
            let start = *reader;
            if names.is_none() && reader.is_at_object() {
                names = Some(keys(reader)?);
            } else {
                reader.skip()?;
            }
            outline.learn(start);
            Ok(())
        })?;
        Ok(Objects {
            data,
            rows,
            names: names.unwrap_or_default(),
        })
    }
}

fn keys(reader: &mut Reader<'_>) -> Read<Vec<String>> {
    let mut keys = Vec::new();
    reader.object(&mut |reader: &mut Reader<'_>, key: Key<'_>| {
        keys.push(key.name());
        reader.skip()
    })?;
    Ok(keys)
}

/// The outline of a row, and the column of each of its values.
struct Usual<'a> {
    outline: Outline<'a>,
    columns: [usize; WIDEST],
    /// The cells of the last row that had the outline.
    cells: [&'a str; WIDEST],
}

impl<'a> Usual<'a> {
    /// Reads the cells of a row with the outline. A row with an escape is not read.
    fn read(&mut self, reader: &mut Reader<'a>) -> bool {
        let (columns, cells) = (&self.columns, &mut self.cells);
        self.outline.read(reader, |number, token| {
            let column = columns.get(number).and_then(|at| cells.get_mut(*at));
            match (column, token.kind) {
                (Some(cell), Kind::Null) => *cell = "",
                (Some(cell), kind) if kind != Kind::EscapedText => *cell = token.raw,
                _ => return false,
            }
            true
        })
    }
}

impl<'a> Page<'a> {
    /// Rows that are arrays. `array` is the JSON pointer of `data`.
    pub(crate) fn of_arrays(array: &'static str, data: &'a str, rows: usize, width: usize, is_part: bool) -> Page<'a> {
        Page {
            array,
            data,
            keys: None,
            width,
            rows,
            is_part,
        }
    }

    /// Rows that are objects. `array` is the JSON pointer of the array.
    pub(crate) fn of_objects(array: &'static str, objects: &Objects<'a>, is_part: bool) -> Page<'a> {
        Page {
            array,
            data: objects.data,
            keys: Some(objects.names.iter().map(|name| Name::of(name)).collect()),
            width: objects.names.len(),
            rows: objects.rows,
            is_part,
        }
    }

    /// The array as written.
    pub(crate) fn text(&self) -> &'a str {
        self.data
    }

    /// Calls `visit` with the first rows, at most this many.
    pub(crate) fn first(&self, most: usize, visit: &mut dyn FnMut(Record<'_>)) {
        // Its error says that there are more rows, or what the visit of all rows will say.
        _ = self.walk(most, &mut |_, record| record.into_iter().for_each(&mut *visit));
    }

    /// Visits the rows; fails if there are more than this many.
    fn walk(&self, most: usize, visit: &mut dyn FnMut(usize, Result<Record<'_>, Rejection>)) -> Result<(), Rejection> {
        let mut cells = [const { Cow::Borrowed("") }; WIDEST];
        let mut usual = Usual {
            outline: Outline::default(),
            columns: [0; WIDEST],
            cells: [""; WIDEST],
        };
        let mut index = 0;
        Reader::new(self.data)
            .elements(|reader| {
                if index == most {
                    return Err(reader.twice());
                }
                let spot = Spot::Item(self.array, index);
                if usual.read(reader) {
                    let cells = Cells::Texts(usual.cells.get(..self.width).unwrap_or_default());
                    visit(index, Ok(Record { cells, spot }));
                } else {
                    let (start, mut columns) = (*reader, [0; WIDEST]);
                    match self.row(reader, &mut cells, &mut columns)? {
                        Ok(count) => {
                            if usual.outline.learn(start) {
                                usual.columns = columns;
                            }
                            let mut texts = [""; WIDEST];
                            for (text, cell) in texts.iter_mut().zip(&cells).take(count) {
                                *text = cell;
                            }
                            let cells = Cells::Texts(texts.get(..count).unwrap_or_default());
                            visit(index, Ok(Record { cells, spot }));
                        }
                        Err(rejection) => visit(index, Err(located(spot, rejection))),
                    }
                }
                index += 1;
                Ok(())
            })
            .map(|_| ())
            .map_err(|error| error.rejection(self.array))
    }

    fn row<'r>(
        &self,
        reader: &mut Reader<'a>,
        cells: &'r mut [Cow<'a, str>; WIDEST],
        columns: &mut [usize; WIDEST],
    ) -> Read<Result<usize, Rejection>> {
        let refused = |why: String| Ok(Err(Rejection::new(RejectCode::SchemaViolation, why)));
        let (mut count, mut problem, mut seen) = (0, None, 0_u64);
        match &self.keys {
            None if reader.is_at_array() => reader.array(|token| {
                if let Some(cell) = cells.get_mut(count) {
                    *cell = shown(token);
                }
                count += 1;
            })?,
            Some(keys) if reader.is_at_object() => {
                cells
                    .iter_mut()
                    .take(self.width)
                    .for_each(|cell| *cell = Cow::Borrowed(""));
                reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                    let at = place(keys, count, &key).filter(|at| *at < WIDEST);
                    let bit = at.map_or(0, |at| 1 << at);
                    if seen & bit != 0 {
                        problem.get_or_insert(format!("it has the field \"{}\" twice", excerpt(&key.name())));
                    }
                    seen |= bit;
                    if let (Some(column), Some(at)) = (columns.get_mut(count), at) {
                        *column = at;
                    }
                    match at.and_then(|at| cells.get_mut(at)) {
                        Some(cell) => *cell = shown(reader.value()?),
                        None => {
                            problem.get_or_insert(format!("it has an unknown field \"{}\"", excerpt(&key.name())));
                            reader.skip()?;
                        }
                    }
                    count += 1;
                    Ok(())
                })?;
            }
            keys => {
                let expected = if keys.is_some() { "an object" } else { "an array" };
                let found = reader.value()?.shown();
                return refused(format!("{expected} is expected, got {found}"));
            }
        }
        match problem {
            Some(problem) => refused(problem),
            None if count != self.width => {
                refused(format!("it has {count} values, but there are {} columns", self.width))
            }
            None => Ok(Ok(count)),
        }
    }
}

impl Table for Page<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn is_part(&self) -> bool {
        self.is_part
    }

    fn for_each(&self, visit: &mut dyn FnMut(usize, Result<Record<'_>, Rejection>)) -> Result<(), Rejection> {
        self.walk(usize::MAX, visit)
    }
}

// A null is an empty cell. Half a surrogate pair is kept as written, and no check accepts it.
fn shown(token: Token<'_>) -> Cow<'_, str> {
    match token.kind {
        Kind::Null => Cow::Borrowed(""),
        Kind::EscapedText => token.text().unwrap_or(Cow::Borrowed(token.raw)),
        _ => Cow::Borrowed(token.raw),
    }
}
