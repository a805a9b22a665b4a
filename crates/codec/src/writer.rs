//! Avro binary primitives, appended to a buffer. Writing cannot fail.

use domain::Decimal;

/// `long` (and `int`): zigzag varint.
#[inline(always)]
pub fn long(value: i64, out: &mut Vec<u8>) {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    // Lengths, union branches and enum symbols nearly always have one byte.
    match u8::try_from(zigzag) {
        Ok(byte @ ..0x80) => out.push(byte),
        _ => long_varint(zigzag, out),
    }
}

#[inline(never)]
fn long_varint(zigzag: u64, out: &mut Vec<u8>) {
    let (mut bytes, mut length, mut rest) = ([0; 10], 0, zigzag);
    for byte in &mut bytes {
        length += 1;
        *byte = rest as u8 | 0x80;
        rest >>= 7;
        if rest == 0 {
            *byte &= 0x7f;
            break;
        }
    }
    out.extend_from_slice(bytes.get(..length).unwrap_or(&bytes));
}

/// `string`.
#[inline]
pub fn string(text: &str, out: &mut Vec<u8>) {
    long(text.len() as i64, out);
    out.extend_from_slice(text.as_bytes());
}

/// `boolean`.
#[inline]
pub fn boolean(value: bool, out: &mut Vec<u8>) {
    out.push(u8::from(value));
}

/// `fixed(8)` decimal.
#[inline]
pub fn decimal(value: Decimal, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.unscaled().to_be_bytes());
}

/// `double`.
#[inline]
pub fn double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// `fixed(16)` decimal, unscaled.
pub fn wide(value: i128, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// `["null", X]`.
#[inline(always)]
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
