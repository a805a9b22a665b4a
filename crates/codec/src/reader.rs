//! Avro binary primitives, read from a borrowed slice without allocation.
//!
//! Strings of a record are neighbours, and their lengths are ASCII too. So one check of UTF-8 covers a string and all that
//! follow it up to the next byte that is not ASCII.
//!
//! Failure: every read checks the end of input; errors name the field and the byte where it begins. Nothing panics.
//!
//! No method passes `self` to a function that is not inlined. That keeps the cursor in registers and saves a third of the time
//! of a tick.

use domain::Decimal;

use crate::CodecError;

/// A cursor over one datum.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    whole: usize,
    rest: &'a [u8],
    /// Bytes that are known to be ASCII.
    ascii: &'a str,
    /// Length of `rest` where they begin.
    ascii_begins: usize,
}

impl<'a> Reader<'a> {
    /// A cursor at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            whole: bytes.len(),
            rest: bytes,
            ascii: "",
            ascii_begins: bytes.len(),
        }
    }

    /// Bytes read so far.
    #[inline(always)]
    pub fn consumed(&self) -> usize {
        self.whole - self.rest.len()
    }

    /// `long`: zigzag varint of at most ten bytes.
    #[inline(always)]
    pub fn long(&mut self, field: &'static str) -> Result<i64, CodecError> {
        // Lengths, union branches and enum symbols nearly always have one byte.
        let (value, rest) = match self.rest.split_first() {
            Some((byte, rest)) if *byte < 0x80 => (u64::from(*byte), rest),
            _ => long_varint(self.rest, field, self.consumed())?,
        };
        self.rest = rest;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// `int`.
    #[inline(always)]
    pub fn int(&mut self, field: &'static str) -> Result<i32, CodecError> {
        let at = self.consumed();
        let value = self.long(field)?;
        i32::try_from(value).map_err(|_| invalid(field, at, "does not fit 32 bits"))
    }

    /// `boolean`.
    #[inline(always)]
    pub fn boolean(&mut self, field: &'static str) -> Result<bool, CodecError> {
        let at = self.consumed();
        match self.take::<1>(field)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(invalid(field, at, "is neither 0 nor 1")),
        }
    }

    /// `string`.
    #[inline(always)]
    pub fn string(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        let at = self.consumed();
        let length = self.long(field)?;
        let bytes = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length));
        let Some((bytes, rest)) = bytes else {
            return Err(truncated(field, at));
        };
        let offset = self.ascii_begins.wrapping_sub(self.rest.len());
        let text = match self.ascii.get(offset..).and_then(|ascii| ascii.get(..bytes.len())) {
            Some(text) => text,
            None => {
                let (text, ascii) = check(bytes, self.rest, field, at)?;
                (self.ascii, self.ascii_begins) = (ascii, self.rest.len());
                text
            }
        };
        self.rest = rest;
        Ok(text)
    }

    /// `["null", "string"]`.
    #[inline(always)]
    pub fn optional_string(&mut self, field: &'static str) -> Result<Option<&'a str>, CodecError> {
        let at = self.consumed();
        match self.long(field)? {
            0 => Ok(None),
            1 => self.string(field).map(Some),
            _ => Err(branch(field, at)),
        }
    }

    /// `["null", X]`.
    #[inline(always)]
    pub fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        let at = self.consumed();
        match self.long(field)? {
            0 => Ok(None),
            1 => read(self, field).map(Some),
            _ => Err(branch(field, at)),
        }
    }

    /// `fixed(8)` decimal at scale 8.
    #[inline(always)]
    pub fn decimal(&mut self, field: &'static str) -> Result<Decimal, CodecError> {
        let at = self.consumed();
        let bytes = self.take::<8>(field)?;
        Decimal::from_unscaled(i64::from_be_bytes(bytes)).map_err(|_| invalid(field, at, "magnitude is 10^10 or more"))
    }

    /// `double`.
    #[inline(always)]
    pub fn double(&mut self, field: &'static str) -> Result<f64, CodecError> {
        self.take::<8>(field).map(f64::from_le_bytes)
    }

    /// `fixed(16)` decimal, unscaled.
    #[inline(always)]
    pub fn wide(&mut self, field: &'static str) -> Result<i128, CodecError> {
        self.take::<16>(field).map(i128::from_be_bytes)
    }

    /// Index of an enum symbol, below `symbols`.
    #[inline(always)]
    pub fn symbol(&mut self, field: &'static str, symbols: usize) -> Result<usize, CodecError> {
        let at = self.consumed();
        let index = self.long(field)?;
        usize::try_from(index)
            .ok()
            .filter(|index| *index < symbols)
            .ok_or_else(|| invalid(field, at, "enum has no such symbol"))
    }

    /// The items of an array, in any number of blocks.
    #[inline(always)]
    pub fn array(
        &mut self,
        field: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        loop {
            let at = self.consumed();
            let mut count = self.long(field)?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // A negative count is followed by the block's size in bytes.
                self.long(field)?;
                count = count
                    .checked_neg()
                    .ok_or_else(|| invalid(field, at, "array block count"))?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    #[inline(always)]
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(truncated(field, self.consumed()));
        };
        self.rest = rest;
        Ok(*bytes)
    }
}

/// A varint of any length at the start of `bytes`, which begin at byte `at` of the datum, and the bytes after it.
#[inline(never)]
fn long_varint<'a>(bytes: &'a [u8], field: &'static str, at: usize) -> Result<(u64, &'a [u8]), CodecError> {
    let (mut value, mut shift, mut rest) = (0u64, 0u32, bytes);
    while let Some((byte, tail)) = rest.split_first() {
        if shift == 63 && *byte > 1 {
            return Err(invalid(field, at, "varint is longer than 64 bits"));
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value, tail));
        }
        (rest, shift) = (tail, shift + 7);
    }
    Err(truncated(field, at))
}

/// The text of the bytes, which `rest` begins with, and the ASCII at the beginning of `rest`.
#[inline(never)]
fn check<'a>(
    bytes: &'a [u8],
    rest: &'a [u8],
    field: &'static str,
    at: usize,
) -> Result<(&'a str, &'a str), CodecError> {
    let ascii = simdutf8::basic::from_utf8(ascii_prefix(rest)).unwrap_or_default();
    let text = match ascii.get(..bytes.len()) {
        Some(text) => text,
        None => std::str::from_utf8(bytes).map_err(|_| CodecError::InvalidUtf8 { field, at })?,
    };
    Ok((text, ascii))
}

#[inline]
fn ascii_prefix(bytes: &[u8]) -> &[u8] {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>()
        && u64::from_le_bytes(*word) & HIGH == 0
    {
        rest = after;
    }
    let others = rest.iter().position(|byte| !byte.is_ascii());
    let length = bytes.len() - rest.len() + others.unwrap_or(rest.len());
    bytes.get(..length).unwrap_or_default()
}

#[cold]
#[inline(never)]
fn branch(field: &'static str, at: usize) -> CodecError {
    invalid(field, at, "union branch is neither 0 nor 1")
}

#[cold]
#[inline(never)]
fn truncated(field: &'static str, at: usize) -> CodecError {
    CodecError::Truncated { field, at }
}

#[cold]
#[inline(never)]
fn invalid(field: &'static str, at: usize, why: &'static str) -> CodecError {
    CodecError::InvalidValue { field, at, why }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::writer;

    /// A field of a made-up record.
    #[derive(Debug, Clone)]
    enum Field {
        Text(Vec<u8>),
        Number(i64),
    }

    fn fields() -> impl Strategy<Value = Vec<Field>> {
        let field = prop_oneof![
            4 => "[a-z]{0,20}".prop_map(|text| Field::Text(text.into_bytes())),
            2 => "[a-zé😀]{0,70}".prop_map(|text| Field::Text(text.into_bytes())),
            1 => proptest::collection::vec(any::<u8>(), 0..4).prop_map(Field::Text),
            2 => any::<i64>().prop_map(Field::Number),
            1 => (0..64_i64).prop_map(Field::Number),
        ];
        proptest::collection::vec(field, 0..12)
    }

    proptest! {
        #[test]
        fn every_string_is_checked_whatever_its_neighbours_are(fields in fields()) {
            let mut datum = Vec::new();
            for field in &fields {
                match field {
                    Field::Text(bytes) => {
                        writer::long(bytes.len() as i64, &mut datum);
                        datum.extend_from_slice(bytes);
                    }
                    Field::Number(number) => writer::long(*number, &mut datum),
                }
            }
            let mut reader = Reader::new(&datum);
            for field in &fields {
                let at = reader.consumed();
                match field {
                    Field::Number(number) => prop_assert_eq!(reader.long("number"), Ok(*number)),
                    Field::Text(bytes) => match std::str::from_utf8(bytes) {
                        Ok(text) => prop_assert_eq!(reader.string("text"), Ok(text)),
                        Err(_) => {
                            prop_assert_eq!(reader.string("text"), Err(CodecError::InvalidUtf8 { field: "text", at }));
                            return Ok(());
                        }
                    },
                }
            }
            prop_assert_eq!(reader.consumed(), datum.len());
        }
    }
}
