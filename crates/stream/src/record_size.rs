//! Upper bound of the bytes that a record takes in the log.
//!
//! Role: a record that is too large is found before it is sent (INV-7, INV-9). The broker would reject it on every retry.

/// Overhead of a header besides its name and value: two lengths of up to five bytes each.
const HEADER: usize = 10;
/// Overhead of a record and of the batch around it, besides key, value and headers.
const RECORD: usize = 256;

/// Headers of a record to send; a value may be null.
pub type Headers = [(String, Option<Vec<u8>>)];
/// The same, owned.
pub type OwnHeaders = Vec<(String, Option<Vec<u8>>)>;

/// Bytes of a header.
pub fn header(name: &str, value: Option<&[u8]>) -> usize {
    HEADER + name.len() + value.map_or(0, <[u8]>::len)
}

/// Bytes of all headers.
pub fn headers(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| header(name, value.as_deref())).sum()
}

/// Bytes of a record, given the bytes of its headers.
pub fn record(key: Option<&[u8]>, payload: Option<&[u8]>, headers: usize) -> usize {
    RECORD + key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len) + headers
}
