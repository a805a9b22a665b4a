//! The values of one column, in the bytes of its type.

use super::dictionary::Dictionary;
use super::text;

/// One column of a block.
#[derive(Debug, Clone)]
pub(super) enum Column {
    /// Values of a fixed size: numbers, times, enumerations.
    Fixed(Vec<u8>),
    /// The same with a byte for each row that says whether it is null.
    OptionalFixed { nulls: Vec<u8>, values: Vec<u8> },
    /// `String`.
    Text(Vec<u8>),
    /// `Nullable(String)`.
    OptionalText { nulls: Vec<u8>, values: Vec<u8> },
    /// `LowCardinality(String)`, and of `Nullable(String)`.
    Names(Dictionary),
    /// `Array(String)`: for each row the number of values up to its end.
    Texts { ends: Vec<u8>, count: u64, values: Vec<u8> },
}

impl Column {
    /// An empty column of this type of ClickHouse. A type that is not listed has a fixed size.
    pub(super) fn of(kind: &str) -> Column {
        match kind {
            "String" => Column::Text(Vec::new()),
            "Nullable(String)" => Column::OptionalText {
                nulls: Vec::new(),
                values: Vec::new(),
            },
            "LowCardinality(String)" => Column::Names(Dictionary::new(false)),
            "LowCardinality(Nullable(String))" => Column::Names(Dictionary::new(true)),
            "Array(String)" => Column::Texts {
                ends: Vec::new(),
                count: 0,
                values: Vec::new(),
            },
            _ if kind.starts_with("Nullable(") => Column::OptionalFixed {
                nulls: Vec::new(),
                values: Vec::new(),
            },
            _ => Column::Fixed(Vec::new()),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Column::Fixed(values) | Column::Text(values) => values.clear(),
            Column::OptionalFixed { nulls, values } | Column::OptionalText { nulls, values } => {
                nulls.clear();
                values.clear();
            }
            Column::Names(names) => names.clear(),
            Column::Texts { ends, count, values } => {
                ends.clear();
                *count = 0;
                values.clear();
            }
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Column::Fixed(values) | Column::Text(values) => out.extend_from_slice(values),
            Column::OptionalFixed { nulls, values } | Column::OptionalText { nulls, values } => {
                out.extend_from_slice(nulls);
                out.extend_from_slice(values);
            }
            Column::Names(names) => names.write(out),
            Column::Texts { ends, values, .. } => {
                out.extend_from_slice(ends);
                out.extend_from_slice(values);
            }
        }
    }

    #[inline]
    pub(super) fn text(&mut self, value: &str) {
        match self {
            Column::Text(values) => text(value.as_bytes(), values),
            Column::Names(names) => names.push(Some(value.as_bytes())),
            _ => {}
        }
    }

    #[inline]
    pub(super) fn optional_text(&mut self, value: Option<&str>) {
        match self {
            Column::OptionalText { nulls, values } => {
                nulls.push(u8::from(value.is_none()));
                text(value.unwrap_or_default().as_bytes(), values);
            }
            Column::Names(names) => names.push(value.map(str::as_bytes)),
            _ => {}
        }
    }

    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self, value: [u8; N]) {
        if let Column::Fixed(values) = self {
            values.extend_from_slice(&value);
        }
    }

    #[inline]
    pub(super) fn optional_fixed<const N: usize>(&mut self, value: Option<[u8; N]>) {
        if let Column::OptionalFixed { nulls, values } = self {
            nulls.push(u8::from(value.is_none()));
            values.extend_from_slice(&value.unwrap_or([0; N]));
        }
    }

    /// Returns the bytes of the values.
    #[inline]
    pub(super) fn texts<'v>(&mut self, added: impl Iterator<Item = &'v str>) -> usize {
        let Column::Texts { ends, count, values } = self else {
            return 0;
        };
        let before = values.len();
        for value in added {
            text(value.as_bytes(), values);
            *count += 1;
        }
        ends.extend_from_slice(&count.to_le_bytes());
        values.len() - before
    }
}
