//! Avro binary primitives, read from a borrowed slice without allocation.
//!
//! Strings of a record are neighbours, and their lengths are ASCII too. So one check of UTF-8 covers a string and all that
//! follow it up to the next byte that is not ASCII. Who only copies texts reads them as [`Utf8`], which needs no second check by
//! the standard library.
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
    /// Bytes that are known to be ASCII, for [`Reader::string`].
    ascii: &'a str,
    /// Length of `rest` where they begin.
    ascii_begins: usize,
    /// Length of `rest` up to which bytes are known to be ASCII, for [`Reader::utf8`]; more than any length if nothing is known.
    ascii_until: usize,
}

/// The bytes of a text that are valid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utf8<'a>(&'a [u8]);

impl AsRef<[u8]> for Utf8<'_> {
    #[inline(always)]
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

/// A form in which texts are read: as `str`, or as their bytes.
pub trait Text<'a>: Copy {
    /// `string`. Every form refuses the same bytes, with the same error.
    ///
    /// # Errors
    /// Those of [`Reader::string`].
    fn read(from: &mut Reader<'a>, field: &'static str) -> Result<Self, CodecError>;
}

impl<'a> Text<'a> for &'a str {
    #[inline(always)]
    fn read(from: &mut Reader<'a>, field: &'static str) -> Result<&'a str, CodecError> {
        from.string(field)
    }
}

impl<'a> Text<'a> for Utf8<'a> {
    #[inline(always)]
    fn read(from: &mut Reader<'a>, field: &'static str) -> Result<Utf8<'a>, CodecError> {
        from.utf8(field)
    }
}

impl<'a> Reader<'a> {
    /// A cursor at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            whole: bytes.len(),
            rest: bytes,
            ascii: "",
            ascii_begins: bytes.len(),
            ascii_until: usize::MAX,
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
        let (bytes, from) = self.span(field)?;
        let offset = self.ascii_begins.wrapping_sub(from.len());
        match self.ascii.get(offset..).and_then(|ascii| ascii.get(..bytes.len())) {
            Some(text) => Ok(text),
            None => {
                let (text, ascii) = check(bytes, from, field, at)?;
                (self.ascii, self.ascii_begins) = (ascii, from.len());
                Ok(text)
            }
        }
    }

    /// `string`, as bytes.
    #[inline(always)]
    pub fn utf8(&mut self, field: &'static str) -> Result<Utf8<'a>, CodecError> {
        let at = self.consumed();
        let (bytes, from) = self.span(field)?;
        if self.rest.len() < self.ascii_until {
            self.ascii_until = checked_until(bytes, from, field, at)?;
        }
        Ok(Utf8(bytes))
    }

    /// The bytes of a string, and all bytes from the first of them on.
    #[inline(always)]
    fn span(&mut self, field: &'static str) -> Result<(&'a [u8], &'a [u8]), CodecError> {
        let at = self.consumed();
        let (length, from) = match self.rest.split_first() {
            // Less than 64.
            Some((byte, from)) if byte & 0x81 == 0 => (usize::from(byte >> 1), from),
            _ => long_length(self.rest, field, at)?,
        };
        let Some((bytes, rest)) = from.split_at_checked(length) else {
            return Err(truncated(field, at));
        };
        self.rest = rest;
        Ok((bytes, from))
    }

    /// `["null", "string"]`.
    #[inline(always)]
    pub fn optional_string(&mut self, field: &'static str) -> Result<Option<&'a str>, CodecError> {
        self.optional(field, Reader::string)
    }

    /// `["null", X]`.
    #[inline(always)]
    pub fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        let (is_null, rest) = match self.rest.split_first() {
            Some((0, rest)) => (true, rest),
            Some((2, rest)) => (false, rest),
            _ => long_branch(self.rest, field, self.consumed())?,
        };
        self.rest = rest;
        if is_null {
            return Ok(None);
        }
        read(self, field).map(Some)
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

/// The high bit of each byte. Bytes of ASCII and the last byte of a varint do not have it.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A varint of any length at the start of `bytes`, which begin at byte `at` of the datum, and the bytes after it.
#[inline(never)]
fn long_varint<'a>(bytes: &'a [u8], field: &'static str, at: usize) -> Result<(u64, &'a [u8]), CodecError> {
    // Times have eight bytes.
    if let Some(word) = bytes.first_chunk::<8>()
        && let Some((value, length)) = varint_in(u64::from_le_bytes(*word))
        && let Some(rest) = bytes.get(length..)
    {
        return Ok((value, rest));
    }
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

/// The varint at the start of these eight bytes, and its length; `None` if it does not end among them.
#[inline(always)]
fn varint_in(word: u64) -> Option<(u64, usize)> {
    let ends = !word & HIGH;
    let last = ends.checked_sub(1)?;
    // All bits up to the first end, without the high ones: seven of each byte, then pushed together in pairs, fours and eights.
    let sevens = word & (ends ^ last) & !HIGH;
    let pairs = (sevens & 0x007f_007f_007f_007f) | ((sevens & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    let value = (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4);
    Some((value, ends.trailing_zeros() as usize / 8 + 1))
}

/// The length of a string at the start of `bytes`, and the bytes after it.
#[inline(never)]
fn long_length<'a>(bytes: &'a [u8], field: &'static str, at: usize) -> Result<(usize, &'a [u8]), CodecError> {
    let (zigzag, rest) = long_varint(bytes, field, at)?;
    match usize::try_from(zigzag >> 1) {
        Ok(length) if zigzag & 1 == 0 => Ok((length, rest)),
        _ => Err(truncated(field, at)),
    }
}

/// Whether the branch of a union at the start of `bytes` is the first one, `null`, and the bytes after it.
#[cold]
#[inline(never)]
fn long_branch<'a>(bytes: &'a [u8], field: &'static str, at: usize) -> Result<(bool, &'a [u8]), CodecError> {
    match long_varint(bytes, field, at)? {
        (0, rest) => Ok((true, rest)),
        (2, rest) => Ok((false, rest)),
        _ => Err(invalid(field, at, "union branch is neither 0 nor 1")),
    }
}

/// The text of the bytes, which `from` begins with, and the ASCII at the beginning of `from`.
#[inline(never)]
fn check<'a>(
    bytes: &'a [u8],
    from: &'a [u8],
    field: &'static str,
    at: usize,
) -> Result<(&'a str, &'a str), CodecError> {
    let ascii = from.get(..ascii_length(from)).unwrap_or_default();
    let ascii = simdutf8::basic::from_utf8(ascii).unwrap_or_default();
    let text = match ascii.get(..bytes.len()) {
        Some(text) => text,
        None => std::str::from_utf8(bytes).map_err(|_| CodecError::InvalidUtf8 { field, at })?,
    };
    Ok((text, ascii))
}

/// Checks the text of the bytes, which `from` begins with, and returns how many bytes of `from` follow the ASCII at its beginning.
#[inline(never)]
fn checked_until(bytes: &[u8], from: &[u8], field: &'static str, at: usize) -> Result<usize, CodecError> {
    let ascii = ascii_length(from);
    if ascii < bytes.len() && std::str::from_utf8(bytes).is_err() {
        return Err(CodecError::InvalidUtf8 { field, at });
    }
    Ok(from.len() - ascii)
}

#[inline(always)]
fn is_ascii(block: &[u8; 32]) -> bool {
    let (words, _) = block.as_chunks();
    let all = words.iter().fold(0, |all, word| all | u64::from_le_bytes(*word));
    all & HIGH == 0
}

/// How many bytes at the beginning are ASCII.
#[inline]
fn ascii_length(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<32>()
        && is_ascii(block)
    {
        rest = after;
    }
    while let Some((word, after)) = rest.split_first_chunk() {
        let high = u64::from_le_bytes(*word) & HIGH;
        if high != 0 {
            return bytes.len() - rest.len() + high.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    let others = rest.iter().position(|byte| !byte.is_ascii());
    bytes.len() - rest.len() + others.unwrap_or(rest.len())
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
            let (mut reader, mut copier) = (Reader::new(&datum), Reader::new(&datum));
            for field in &fields {
                let at = reader.consumed();
                match field {
                    Field::Number(number) => {
                        prop_assert_eq!(reader.long("number"), Ok(*number));
                        prop_assert_eq!(copier.long("number"), Ok(*number));
                    }
                    Field::Text(bytes) => match std::str::from_utf8(bytes) {
                        Ok(text) => {
                            prop_assert_eq!(reader.string("text"), Ok(text));
                            prop_assert_eq!(copier.utf8("text"), Ok(Utf8(bytes)));
                        }
                        Err(_) => {
                            let expected = CodecError::InvalidUtf8 { field: "text", at };
                            prop_assert_eq!(reader.string("text"), Err(expected.clone()));
                            prop_assert_eq!(copier.utf8("text"), Err(expected));
                            return Ok(());
                        }
                    },
                }
            }
            prop_assert_eq!((reader.consumed(), copier.consumed()), (datum.len(), datum.len()));
        }

        #[test]
        fn a_number_is_read_whatever_its_length_and_what_follows(value in any::<u64>(), bits in 0..64_u32, after in proptest::collection::vec(any::<u8>(), 0..12)) {
            let number = (value >> bits) as i64;
            let mut bytes = Vec::new();
            writer::long(number, &mut bytes);
            let length = bytes.len();
            bytes.extend_from_slice(&after);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!((reader.long("number"), reader.consumed()), (Ok(number), length));
            // A longer form of the same number, which other writers may use.
            bytes.truncate(length);
            bytes[length - 1] |= 0x80;
            bytes.push(0);
            bytes.extend_from_slice(&after);
            let mut reader = Reader::new(&bytes);
            match reader.long("number") {
                Ok(read) => prop_assert_eq!((read, reader.consumed()), (number, length + 1)),
                Err(_) => prop_assert!(length >= 9),
            }
        }

        #[test]
        fn the_length_of_ascii_is_that_up_to_the_first_other_byte(bytes in proptest::collection::vec(0..=0x80_u8, 0..120), text in "[a-z]{0,100}") {
            let others = |bytes: &[u8]| bytes.iter().position(|byte| *byte >= 0x80).unwrap_or(bytes.len());
            let bytes = [text.as_bytes(), &bytes].concat();
            prop_assert_eq!(ascii_length(&bytes), others(&bytes));
        }
    }
}
