//! How many bytes a record takes in the log, at most.
//!
//! Role: what is too large is known before it is sent (INV-7, INV-9): a broker's refusal would come back for ever.

/// Of a header, besides its name and value: two lengths of up to five bytes each.
const HEADER: usize = 10;
/// Of a record and of the batch around it, besides key, value and headers.
const RECORD: usize = 256;

/// Headers of a record that is sent; a value may be null.
pub type Headers = [(String, Option<Vec<u8>>)];

/// Bytes of a header.
pub fn header(name: &str, value: Option<&[u8]>) -> usize {
    HEADER + name.len() + value.map_or(0, <[u8]>::len)
}

/// Bytes of all headers.
pub fn headers(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| header(name, value.as_deref())).sum()
}

/// Bytes of a record whose headers take this much.
pub fn record(key: Option<&[u8]>, payload: Option<&[u8]>, headers: usize) -> usize {
    RECORD + key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len) + headers
}
