//! Tables: rows of named columns, from CSV or from a page of an API.
//!
//! Role: finds columns by their names, and gives the market's code one row after the other. A row is the same whether it was
//! a line or a JSON array or object.
//! Invariants: names are compared without case and separators; a column that the format does not know, a missing one, or one
//! that occurs twice refuses the whole table, because it may change the meaning of the others. Each line is read by itself,
//! so a stray quote damages one row only. A last line without its end may have been cut: see [`Csv::guarded`].
//! Failure: rejections that name the line or element, and the column.

use domain::{Decimal, QualityFlags};

use crate::document::{Prices, Spot};
use crate::json::{Kind, Token};
use crate::number;
use crate::rejection::{RejectCode, Rejection, excerpt};

mod commas;
mod csv;
mod header;
mod lines;
mod page;

pub(crate) use csv::{Csv, Splitter};
pub(crate) use header::of_another_report;
pub(crate) use lines::{Line, Lines};
pub(crate) use page::{Objects, Page};

/// Most columns of a row.
pub(crate) const WIDEST: usize = 40;

/// A table whose columns are known.
pub(crate) trait Table {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Whether the table says or shows that more rows belong to it.
    fn is_part(&self) -> bool;

    /// Whether nothing follows its header, which does not say that there is nothing: it may have been cut there.
    fn is_bare(&self) -> bool {
        false
    }

    /// Calls `visit` with each row and its index, in order.
    fn for_each(&self, visit: &mut dyn FnMut(usize, Result<Record<'_>, Rejection>)) -> Result<(), Rejection>;
}

/// One row.
pub(crate) struct Record<'r> {
    pub cells: Cells<'r>,
    pub spot: Spot,
}

/// The cells of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cells<'r> {
    Texts(&'r [&'r str]),
    /// The texts between the commas of a line; few formats read all of them. `ends` is where each cell ends.
    Line {
        text: &'r str,
        ends: &'r [usize],
    },
}

impl<'r> Cells<'r> {
    pub(crate) fn count(&self) -> usize {
        match self {
            Cells::Texts(texts) => texts.len(),
            Cells::Line { ends, .. } => ends.len(),
        }
    }

    /// The text of a cell as written.
    pub(crate) fn get(&self, at: usize) -> Option<&'r str> {
        match *self {
            Cells::Texts(texts) => texts.get(at).copied(),
            Cells::Line { text, ends } => text.get(start_of(ends, at)?..*ends.get(at)?),
        }
    }

    /// The text of a line from one cell to another as written, with the commas between them. `None` if they are not in this order, or
    /// the row is no such line.
    fn between(&self, first: usize, last: usize) -> Option<&'r str> {
        match *self {
            Cells::Line { text, ends } if first <= last => text.get(start_of(ends, first)?..*ends.get(last)?),
            _ => None,
        }
    }
}

// A cell begins behind the comma of the one before.
fn start_of(ends: &[usize], at: usize) -> Option<usize> {
    match at.checked_sub(1) {
        None => Some(0),
        Some(before) => ends.get(before).map(|end| end + 1),
    }
}

/// A column of a format, and its place in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// As the market writes it, for messages.
    pub name: &'static str,
    /// `None` if this table does not have it.
    pub at: Option<usize>,
}

/// A column that a format knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Its spellings, apart from case and separators. The first is used in messages.
    pub names: &'static [&'static str],
    pub is_required: bool,
}

pub(crate) const fn required(names: &'static [&'static str]) -> Known {
    Known {
        names,
        is_required: true,
    }
}

pub(crate) const fn optional(names: &'static [&'static str]) -> Known {
    Known {
        names,
        is_required: false,
    }
}

/// The letters and digits of a name, in lower case: how names are compared.
pub(crate) fn plain(name: &str) -> String {
    letters(name).collect()
}

/// Whether [`plain`] of a name is this text.
pub(crate) fn is_plain(name: &str, wanted: &str) -> bool {
    if !name.is_ascii() {
        return letters(name).eq(wanted.chars());
    }
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).eq(wanted.bytes())
}

fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
}

/// The places of the known columns in a header.
pub(crate) fn columns<const N: usize>(header: &[String], known: &[Known; N]) -> Result<[Column; N], Rejection> {
    let refused = |what: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{}\"", excerpt(name))).collect();
        Err(Rejection::new(
            RejectCode::SchemaViolation,
            format!("the header {what}: {}", names.join(", ")),
        ))
    };
    let mut columns = known.map(|column| Column {
        name: column.names.first().copied().unwrap_or_default(),
        at: None,
    });
    let (mut unknown, mut twice) = (Vec::new(), Vec::new());
    for (at, name) in header.iter().enumerate() {
        let written = plain(name);
        let found = known
            .iter()
            .zip(&mut columns)
            .find(|(known, _)| known.names.iter().any(|name| is_plain(name, &written)));
        match found {
            Some((_, column)) if column.at.is_some() => twice.push(name.as_str()),
            Some((_, column)) => column.at = Some(at),
            // A comma at the end of each line.
            None if written.is_empty() && at + 1 == header.len() => {}
            None => unknown.push(name.as_str()),
        }
    }
    let missing: Vec<&str> = known
        .iter()
        .zip(&columns)
        .filter(|(known, column)| known.is_required && column.at.is_none())
        .map(|(_, column)| column.name)
        .collect();
    match (unknown.is_empty(), twice.is_empty(), missing.is_empty()) {
        (true, true, true) => Ok(columns),
        (true, true, false) => refused("has no column", &missing),
        (true, false, _) => refused("has a column twice", &twice),
        (false, _, true) => refused("has unknown columns", &unknown),
        (false, _, false) => {
            unknown.extend(twice);
            refused(&format!("lacks {} and has other columns", missing.join(", ")), &unknown)
        }
    }
}

impl<'r> Record<'r> {
    /// The trimmed text of a cell; empty if the table does not have the column.
    pub(crate) fn cell(&self, column: Column) -> &'r str {
        let cell = column.at.and_then(|at| self.cells.get(at)).unwrap_or("");
        match cell.as_bytes() {
            // Nearly every cell begins and ends with a visible character.
            [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'] => cell,
            _ => cell.trim(),
        }
    }

    /// The cells from one column to another as written, with the commas between them. `None` if they do not follow each other like
    /// that, or the row is no line without quotes.
    pub(crate) fn between(&self, first: Column, last: Column) -> Option<&'r str> {
        self.cells.between(first.at?, last.at?)
    }

    /// The text of a cell that must not be empty.
    pub(crate) fn text(&self, column: Column) -> Result<&'r str, Rejection> {
        let text = self.cell(column);
        if text.is_empty() {
            return Err(Rejection::new(
                RejectCode::SchemaViolation,
                format!("{} is empty", column.name),
            ));
        }
        Ok(text)
    }

    /// The name of a node.
    pub(crate) fn node(&self, column: Column) -> Result<&'r str, Rejection> {
        let text = self.cell(column);
        if text.is_empty() {
            return Err(Rejection::new(
                RejectCode::MissingInstrument,
                format!("{} is empty", column.name),
            ));
        }
        Ok(text)
    }

    /// The price.
    pub(crate) fn price(&self, column: Column, remarks: &mut QualityFlags) -> Result<Decimal, Rejection> {
        let text = self.cell(column);
        if is_nothing(text) {
            let message = format!("{} is \"{text}\": there is no price", column.name);
            return Err(Rejection::new(RejectCode::MissingPrice, message));
        }
        decimal(text, RejectCode::InvalidPrice, column, remarks)
    }

    /// A component; `None` if the table does not have the column, or the cell says that there is none.
    pub(crate) fn component(&self, column: Column, remarks: &mut QualityFlags) -> Result<Option<Decimal>, Rejection> {
        let text = self.cell(column);
        if is_nothing(text) {
            return Ok(None);
        }
        decimal(text, RejectCode::InvalidNumber, column, remarks).map(Some)
    }

    /// Price, energy, congestion and loss of these columns, for a market that publishes them in canonical form.
    ///
    /// They are read in this order, so the first one that cannot be read is reported.
    pub(crate) fn prices(
        &self,
        [price, energy, congestion, loss]: [Column; 4],
        remarks: &mut QualityFlags,
    ) -> Result<Prices, Rejection> {
        Ok(Prices {
            price: self.price(price, remarks)?,
            energy: self.component(energy, remarks)?,
            congestion: self.component(congestion, remarks)?,
            loss: self.component(loss, remarks)?,
            ghg: None,
        })
    }

    /// Adds the place of the row to a rejection.
    pub(crate) fn locate(&self, rejection: Rejection) -> Rejection {
        located(self.spot, rejection)
    }
}

impl Table for Box<dyn Table + '_> {
    fn rows(&self) -> usize {
        self.as_ref().rows()
    }

    fn is_part(&self) -> bool {
        self.as_ref().is_part()
    }

    fn is_bare(&self) -> bool {
        self.as_ref().is_bare()
    }

    fn for_each(&self, visit: &mut dyn FnMut(usize, Result<Record<'_>, Rejection>)) -> Result<(), Rejection> {
        self.as_ref().for_each(visit)
    }
}

/// Whether a document begins like a JSON object or array.
pub(crate) fn is_json(payload: &[u8]) -> bool {
    let text = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    matches!(text.trim_ascii_start(), [b'{' | b'[', ..])
}

/// Adds the place of a row to a rejection.
#[cold]
pub(crate) fn located(spot: Spot, rejection: Rejection) -> Rejection {
    Rejection {
        message: format!("{spot}: {}", rejection.message),
        ..rejection
    }
}

/// Whether a market writes this for "no value".
pub(crate) fn is_nothing(text: &str) -> bool {
    text.is_empty()
        || ["none", "null", "n/a", "na", "nan", "-"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

/// A number as written.
pub(crate) fn decimal(
    text: &str,
    code: RejectCode,
    column: Column,
    remarks: &mut QualityFlags,
) -> Result<Decimal, Rejection> {
    let token = Token {
        kind: Kind::Text,
        raw: text,
    };
    number::decimal(token, code, column.name, remarks)
}
