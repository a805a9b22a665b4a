//! Rows of a JSON page of an API: arrays under named fields, or objects.

use std::borrow::Cow;

use super::{Cells, Record, Table, WIDEST, located, plain};
use crate::document::Spot;
use crate::json::{Key, Kind, Read, Reader, Token};
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

    /// Rows that are objects; also returns the names of the columns, which are the keys of the first one.
    pub(crate) fn of_objects(
        array: &'static str,
        data: &'a str,
        rows: usize,
        is_part: bool,
    ) -> Result<(Page<'a>, Vec<String>), Rejection> {
        let mut names: Option<Vec<String>> = None;
        Reader::new(data)
            .elements(|reader| {
                if names.is_some() || !reader.is_at_object() {
                    return reader.skip();
                }
                let mut keys = Vec::new();
                reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                    keys.push(key.name());
                    reader.skip()
                })?;
                names = Some(keys);
                Ok(())
            })
            .map_err(|error| error.rejection(array))?;
        let names = names.unwrap_or_default();
        let page = Page {
            array,
            data,
            keys: Some(names.iter().map(|name| Name::of(name)).collect()),
            width: names.len(),
            rows,
            is_part,
        };
        Ok((page, names))
    }

    fn row<'r>(
        &self,
        reader: &mut Reader<'a>,
        cells: &'r mut [Cow<'a, str>; WIDEST],
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
        let mut cells = [const { Cow::Borrowed("") }; WIDEST];
        let mut index = 0;
        Reader::new(self.data)
            .elements(|reader| {
                let spot = Spot::Item(self.array, index);
                let read = self.row(reader, &mut cells)?;
                match read {
                    Ok(count) => {
                        let mut texts = [""; WIDEST];
                        for (text, cell) in texts.iter_mut().zip(&cells).take(count) {
                            *text = cell;
                        }
                        let cells = Cells::Texts(texts.get(..count).unwrap_or_default());
                        visit(index, Ok(Record { cells, spot }));
                    }
                    Err(rejection) => visit(index, Err(located(spot, rejection))),
                }
                index += 1;
                Ok(())
            })
            .map(|_| ())
            .map_err(|error| error.rejection(self.array))
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
