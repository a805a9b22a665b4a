//! The values of one column, in the bytes of its type.
//!
//! A null and a repeated name cost nothing when they are appended: the rows that a column lacks are added when its next value
//! comes, or when it is written.

use super::dictionary::{Dictionary, Growth};
use super::{text, text_size};

/// One column of a block.
#[derive(Debug, Clone)]
pub(super) enum Column {
    /// Values of a fixed size: numbers, times, enumerations.
    Fixed(Vec<u8>),
    /// The same with a byte for each row that says whether it is null.
    OptionalFixed(Optional),
    /// `String`.
    Text(Vec<u8>),
    /// `Nullable(String)`. Null is sent with an empty text.
    OptionalText(Optional),
    /// `LowCardinality(String)`, and of `Nullable(String)`.
    Names(Dictionary),
    /// `Array(LowCardinality(String))`: for each row the number of names up to its end.
    Lists(Lists),
}

/// Values, of which the last ones are null if there are fewer than rows.
#[derive(Debug, Clone)]
pub(super) struct Optional {
    nulls: Vec<u8>,
    values: Vec<u8>,
    /// Bytes of the value that is sent with null.
    empty: usize,
}

/// Lists of names.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    ends: Vec<u8>,
    count: usize,
    names: Dictionary,
}

const NULL: u8 = 1;
const END: usize = size_of::<u64>();

impl Column {
    /// An empty column of this type of ClickHouse. A type that is not listed has a fixed size.
    pub(super) fn of(kind: &str) -> Column {
        let optional = |empty| Optional {
            nulls: Vec::new(),
            values: Vec::new(),
            empty,
        };
        match kind {
            "String" => Column::Text(Vec::new()),
            "Nullable(String)" => Column::OptionalText(optional(1)),
            "LowCardinality(String)" => Column::Names(Dictionary::new(false)),
            "LowCardinality(Nullable(String))" => Column::Names(Dictionary::new(true)),
            "Array(LowCardinality(String))" => Column::Lists(Lists {
                ends: Vec::new(),
                count: 0,
                names: Dictionary::new(false),
            }),
            _ => match kind.strip_prefix("Nullable(").and_then(|kind| kind.strip_suffix(')')) {
                Some(kind) => Column::OptionalFixed(optional(size(kind))),
                None => Column::Fixed(Vec::new()),
            },
        }
    }

    /// Bytes that a row of this type takes at least.
    pub(super) fn row_size(&self, kind: &str) -> usize {
        match self {
            Column::Fixed(_) => size(kind),
            Column::OptionalFixed(values) | Column::OptionalText(values) => 1 + values.empty,
            Column::Text(_) => 0,
            Column::Names(names) => names.width(),
            Column::Lists(_) => END,
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Column::Fixed(values) | Column::Text(values) => values.clear(),
            Column::OptionalFixed(optional) | Column::OptionalText(optional) => {
                optional.nulls.clear();
                optional.values.clear();
            }
            Column::Names(names) => names.clear(),
            Column::Lists(lists) => {
                lists.ends.clear();
                lists.count = 0;
                lists.names.clear();
            }
        }
    }

    /// Bytes that it can take without new memory.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Column::Fixed(values) | Column::Text(values) => values.capacity(),
            Column::OptionalFixed(optional) | Column::OptionalText(optional) => {
                optional.nulls.capacity() + optional.values.capacity()
            }
            Column::Names(names) => names.capacity(),
            Column::Lists(lists) => lists.ends.capacity() + lists.names.capacity(),
        }
    }

    /// The values of so many rows.
    pub(super) fn write(&self, rows: usize, out: &mut Vec<u8>) {
        match self {
            Column::Fixed(values) | Column::Text(values) => out.extend_from_slice(values),
            Column::OptionalFixed(optional) | Column::OptionalText(optional) => {
                let missing = rows.saturating_sub(optional.nulls.len());
                out.extend_from_slice(&optional.nulls);
                out.resize(out.len() + missing, NULL);
                out.extend_from_slice(&optional.values);
                out.resize(out.len() + missing * optional.empty, 0);
            }
            Column::Names(names) => {
                Dictionary::write_version(out);
                names.write(rows, out);
            }
            Column::Lists(lists) => {
                Dictionary::write_version(out);
                out.extend_from_slice(&lists.ends);
                // Without a name there is no dictionary at all.
                if lists.count > 0 {
                    lists.names.write(lists.count, out);
                }
            }
        }
    }

    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self, value: [u8; N]) {
        if let Column::Fixed(values) = self {
            values.extend_from_slice(&value);
        }
    }

    #[inline]
    pub(super) fn optional_fixed<const N: usize>(&mut self, value: [u8; N], row: usize) {
        if let Column::OptionalFixed(optional) = self {
            optional.begin(row);
            optional.values.extend_from_slice(&value);
        }
    }

    /// Returns the bytes of the value.
    #[inline]
    pub(super) fn text(&mut self, value: &str) -> usize {
        let Column::Text(values) = self else {
            return 0;
        };
        text(value.as_bytes(), values);
        text_size(value.len())
    }

    /// Returns the bytes of the value, as far as it is larger than null.
    #[inline]
    pub(super) fn optional_text(&mut self, value: &str, row: usize) -> usize {
        let Column::OptionalText(optional) = self else {
            return 0;
        };
        optional.begin(row);
        text(value.as_bytes(), &mut optional.values);
        text_size(value.len()) - optional.empty
    }

    #[inline]
    pub(super) fn name(&mut self, value: Option<&str>, row: usize) -> Option<Growth> {
        match self {
            Column::Names(names) => names.push(value.map(str::as_bytes), row),
            _ => None,
        }
    }

    /// Returns the bytes of the names.
    #[inline]
    pub(super) fn names<'v>(&mut self, added: impl Iterator<Item = &'v str>) -> usize {
        let Column::Lists(lists) = self else {
            return 0;
        };
        let mut bytes = 0;
        for name in added {
            if let Some(growth) = lists.names.push(Some(name.as_bytes()), lists.count) {
                bytes += growth.key + growth.each * lists.count;
            }
            bytes += lists.names.width();
            lists.count += 1;
        }
        lists.ends.extend_from_slice(&(lists.count as u64).to_le_bytes());
        bytes
    }
}

/// Bytes of a value of a type with a fixed size.
fn size(kind: &str) -> usize {
    let (name, arguments) = kind.split_once('(').unwrap_or((kind, ""));
    match name {
        "Bool" | "Enum8" => 1,
        "Int32" | "Date32" => 4,
        "Decimal" => match arguments.split(',').next().and_then(|digits| digits.parse().ok()) {
            Some(0..=9) => 4,
            Some(10..=18) => 8,
            _ => 16,
        },
        _ => 8,
    }
}

impl Optional {
    /// Begins the value of a row that is not null.
    #[inline]
    fn begin(&mut self, row: usize) {
        if self.nulls.len() < row {
            self.fill(row);
        }
        self.nulls.push(0);
    }

    #[inline(never)]
    fn fill(&mut self, row: usize) {
        let missing = row.saturating_sub(self.nulls.len());
        self.nulls.resize(row, NULL);
        self.values.resize(self.values.len() + missing * self.empty, 0);
    }
}
