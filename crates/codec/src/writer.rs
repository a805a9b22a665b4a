//! Avro binary primitives, appended to a buffer. Writing cannot fail.

use domain::Decimal;

/// `long` (and `int`): zigzag varint.
#[inline]
pub fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// `string`.
#[inline]
pub fn string(text: &str, out: &mut Vec<u8>) {
    long(text.len() as i64, out);
    out.extend_from_slice(text.as_bytes());
}

/// `boolean`.
pub fn boolean(value: bool, out: &mut Vec<u8>) {
    out.push(u8::from(value));
}

/// `fixed(8)` decimal.
#[inline]
pub fn decimal(value: Decimal, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.unscaled().to_be_bytes());
}

/// `fixed(16)` decimal, unscaled.
pub fn wide(value: i128, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// `["null", X]`.
#[inline]
pub fn optional<T>(value: Option<T>, out: &mut Vec<u8>, write: impl FnOnce(T, &mut Vec<u8>)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(2);
            write(value, out);
        }
    }
}

/// An array as one block.
pub fn array<T>(items: impl ExactSizeIterator<Item = T>, out: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    let count = items.len();
    if count > 0 {
        long(count as i64, out);
        items.for_each(|item| write(item, out));
    }
    out.push(0);
}
