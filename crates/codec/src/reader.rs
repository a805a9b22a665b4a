//! Avro binary primitives, read from a borrowed slice without allocation.
//!
//! Failure: every read checks the end of input; errors name the field and the byte where it begins. Nothing panics.

use domain::Decimal;

use crate::CodecError;

/// A cursor over one datum.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            whole: bytes.len(),
            rest: bytes,
        }
    }

    /// Bytes read so far.
    pub fn consumed(&self) -> usize {
        self.whole - self.rest.len()
    }

    /// The error at the field that begins where `start` does.
    fn truncated(&self, start: &[u8], field: &'static str) -> CodecError {
        CodecError::Truncated {
            field,
            at: self.whole - start.len(),
        }
    }

    /// The error at the field that begins where `start` does.
    fn invalid(&self, start: &[u8], field: &'static str, why: &'static str) -> CodecError {
        CodecError::InvalidValue {
            field,
            at: self.whole - start.len(),
            why,
        }
    }

    /// `long`: zigzag varint of at most ten bytes.
    #[inline]
    pub fn long(&mut self, field: &'static str) -> Result<i64, CodecError> {
        let start = self.rest;
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let Some((byte, rest)) = self.rest.split_first() else {
                return Err(self.truncated(start, field));
            };
            if shift == 63 && *byte > 1 {
                return Err(self.invalid(start, field, "varint is longer than 64 bits"));
            }
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
    }

    /// `int`.
    #[inline]
    pub fn int(&mut self, field: &'static str) -> Result<i32, CodecError> {
        let start = self.rest;
        let value = self.long(field)?;
        i32::try_from(value).map_err(|_| self.invalid(start, field, "does not fit 32 bits"))
    }

    /// `boolean`.
    pub fn boolean(&mut self, field: &'static str) -> Result<bool, CodecError> {
        let start = self.rest;
        match self.take::<1>(field)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(self.invalid(start, field, "is neither 0 nor 1")),
        }
    }

    /// `string`.
    #[inline]
    pub fn string(&mut self, field: &'static str) -> Result<&'a str, CodecError> {
        let start = self.rest;
        let length = self.long(field)?;
        let bytes = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length));
        let Some((text, rest)) = bytes else {
            return Err(self.truncated(start, field));
        };
        let text = std::str::from_utf8(text).map_err(|_| CodecError::InvalidUtf8 {
            field,
            at: self.whole - start.len(),
        })?;
        self.rest = rest;
        Ok(text)
    }

    /// `["null", X]`.
    #[inline]
    pub fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        let start = self.rest;
        match self.long(field)? {
            0 => Ok(None),
            1 => read(self, field).map(Some),
            _ => Err(self.invalid(start, field, "union branch is neither 0 nor 1")),
        }
    }

    /// `fixed(8)` decimal at scale 8.
    #[inline]
    pub fn decimal(&mut self, field: &'static str) -> Result<Decimal, CodecError> {
        let start = self.rest;
        let bytes = self.take::<8>(field)?;
        Decimal::from_unscaled(i64::from_be_bytes(bytes))
            .map_err(|_| self.invalid(start, field, "magnitude is 10^10 or more"))
    }

    /// `fixed(16)` decimal, unscaled.
    pub fn wide(&mut self, field: &'static str) -> Result<i128, CodecError> {
        self.take::<16>(field).map(i128::from_be_bytes)
    }

    /// Index of an enum symbol, below `symbols`.
    #[inline]
    pub fn symbol(&mut self, field: &'static str, symbols: usize) -> Result<usize, CodecError> {
        let start = self.rest;
        let index = self.long(field)?;
        usize::try_from(index)
            .ok()
            .filter(|index| *index < symbols)
            .ok_or_else(|| self.invalid(start, field, "enum has no such symbol"))
    }

    /// The items of an array, whatever its blocks.
    pub fn array(
        &mut self,
        field: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        loop {
            let start = self.rest;
            let mut count = self.long(field)?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // A negative count is followed by the block's size in bytes.
                self.long(field)?;
                count = count
                    .checked_neg()
                    .ok_or_else(|| self.invalid(start, field, "array block count"))?;
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    #[inline]
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(self.rest, field));
        };
        self.rest = rest;
        Ok(*bytes)
    }
}
