//! Finds the end of strings, numbers and field names, eight bytes at a time.
//!
//! Failure: none. An input that is too short or unusual for a fast path is `None`, or is counted byte by byte.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks quotes, backslashes and control characters. The lowest mark is exact; borrows can only mark bytes above it. Bytes
/// that are not ASCII have their high bit set and are never marked.
#[inline(always)]
fn marks(word: u64) -> u64 {
    // The quote, 0x22, changes its place with the space, so that it follows the control characters.
    let quotes_and_controls = (word ^ const { ONES * 0x02 }).wrapping_sub(const { ONES * 0x21 });
    let backslashes = (word ^ const { ONES * 0x5C }).wrapping_sub(ONES);
    (quotes_and_controls | backslashes) & !word & HIGH
}

/// Marks everything but digits. The lowest mark is exact; carries can only mark bytes above it.
#[inline(always)]
fn marks_of_others(word: u64) -> u64 {
    let digits = word ^ const { ONES * 0x30 };
    (digits | digits.wrapping_add(const { ONES * 0x76 })) & HIGH
}

/// Length of the prefix without marks. `is_marked` says the same of one byte.
#[inline(always)]
fn unmarked(bytes: &[u8], marks: impl Fn(u64) -> u64, is_marked: impl Fn(&u8) -> bool) -> usize {
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return bytes.len() - rest.len() + (marks.trailing_zeros() / 8) as usize;
        }
        rest = after;
    }
    bytes.len() - rest.len() + rest.iter().position(is_marked).unwrap_or(rest.len())
}

/// Length of the prefix without quotes, backslashes and control characters.
#[inline(always)]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    unmarked(bytes, marks, |byte| matches!(byte, b'"' | b'\\' | 0..0x20))
}

/// Number of leading digits.
#[inline(always)]
pub(super) fn digits(bytes: &[u8]) -> usize {
    unmarked(bytes, marks_of_others, |byte| !byte.is_ascii_digit())
}

/// A field name of at most 16 bytes as a number, so that names are compared in one step.
///
/// Longer names, and names with a NUL, are 0 like the empty name: no field is called so.
pub(crate) const fn word(name: &str) -> u128 {
    let bytes = name.as_bytes();
    let (mut word, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at] == 0 || at == 16 {
            return 0;
        }
        word |= (bytes[at] as u128) << (8 * at);
        at += 1;
    }
    word
}

/// The length and the [`word`] of a plain name that a quote ends within 16 bytes. `None` for any other, and near the end.
#[inline(always)]
pub(super) fn short_name(bytes: &[u8]) -> Option<(usize, u128)> {
    let (block, _) = bytes.split_first_chunk::<16>()?;
    let block = u128::from_le_bytes(*block);
    let (low, high) = (block as u64, (block >> 64) as u64);
    // The bytes below the lowest mark, which is the highest bit of its byte.
    let below = |marks: u64| ((marks & marks.wrapping_neg()).wrapping_sub(1)) >> 7;
    let in_low = marks(low);
    if in_low != 0 {
        return Some(((in_low.trailing_zeros() / 8) as usize, u128::from(low & below(in_low))));
    }
    let in_high = marks(high);
    let length = 8 + (in_high.trailing_zeros() / 8) as usize;
    (in_high != 0).then(|| (length, u128::from(low) | u128::from(high & below(in_high)) << 64))
}

/// The length of a number without an exponent. `None` for any other, and for broken ones.
#[inline(always)]
pub(super) fn plain_number(bytes: &[u8]) -> Option<usize> {
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = digits(unsigned);
    let after = match unsigned.split_at_checked(whole)? {
        ([] | [b'0', _, ..], _) => return None,
        (_, [b'.', fraction @ ..]) => match digits(fraction) {
            0 => return None,
            count => fraction.get(count..)?,
        },
        (_, after) => after,
    };
    (!matches!(after, [b'e' | b'E', ..])).then(|| bytes.len() - after.len())
}
