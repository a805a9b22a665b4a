//! The encoding of a message: UTF-8, with or without a byte order mark. Encodings that producers send by mistake are named.
//!
//! UTF-16 and UTF-32 without a byte order mark are recognized by the zero bytes next to the first characters of JSON. This
//! check comes before the one for Avro: JSON in big-endian UTF-16 begins like the registry's wire format.

use crate::archive::{self, archive_problem};
use crate::rejection::{RejectCode, Rejection, excerpt};

const NEEDS_FORMAT: &str =
    "a document needs header dp.format with the name of its format (`dp ingest --as FORMAT` sets it)";
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The encoding of the bytes if it is recognizably neither UTF-8 nor Avro.
pub(crate) fn foreign(payload: &[u8]) -> Option<&'static str> {
    const UTF_16: &str = "UTF-16 or UTF-32";
    match payload {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0x00, 0x00, 0xFE, 0xFF, ..] => Some(UTF_16),
        [b'{' | b'[' | b'"' | b' ' | b'\n' | b'\r' | b'\t', 0x00, ..] => Some(UTF_16),
        // Not Avro: the first would be a schema id above 1.5 billion, the second a tick with an empty event id.
        [0x00, b'{' | b'[', 0x00, _, ..] => Some(UTF_16),
        [0x00, 0x00, 0x00, b'{' | b'[', 0x00, 0x00, 0x00, _, ..] => Some(UTF_16),
        [0x1F, 0x8B, ..] => Some("gzip"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => Some("zstd"),
        [b'P', b'K', 0x03, 0x04, ..] => Some("a ZIP archive"),
        _ => None,
    }
}

/// The text of a JSON message. HTML and XML, such as an error page of the source, are rejected.
pub(crate) fn json_text(payload: &[u8]) -> Result<&str, Rejection> {
    let broken = |message: String| Rejection::new(RejectCode::BrokenJson, message);
    if archive::is_zip(payload) {
        let without_format = || format!("the message is a ZIP archive: {NEEDS_FORMAT}");
        return Err(broken(archive_problem(payload).unwrap_or_else(without_format)));
    }
    if let Some(found) = foreign(payload) {
        return Err(broken(format!(
            "the message is {found}: JSON must be UTF-8 and not compressed (Kafka compresses batches itself)"
        )));
    }
    let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
    let text = simdutf8::basic::from_utf8(payload).map_err(|_| {
        // The fast check does not tell where.
        let at = std::str::from_utf8(payload).map_or_else(|error| error.valid_up_to(), str::len);
        let byte = payload.get(at).copied().unwrap_or_default();
        broken(format!("not UTF-8 at byte {at} (0x{byte:02X}): JSON must be UTF-8"))
    })?;
    let trimmed = text.trim_ascii_start();
    if trimmed.starts_with('<') {
        let message =
            "begins with '<': an HTML or XML page, perhaps an error page of the source, where JSON is expected";
        return Err(broken(message.to_owned()));
    }
    if is_table(trimmed) {
        let first = trimmed.lines().next().unwrap_or_default();
        let message = format!("begins with \"{}\", which is no JSON: {NEEDS_FORMAT}", excerpt(first));
        return Err(broken(message));
    }
    if trimmed.is_empty() {
        return Err(broken(
            "the message contains only white space: a JSON object is expected".to_owned(),
        ));
    }
    Ok(text)
}

// Whether a text that may be JSON begins like CSV.
fn is_table(text: &str) -> bool {
    let is_json = text.starts_with(['{', '[']);
    !is_json && text.lines().next().is_some_and(|line| line.contains([',', ';', '\t']))
}

/// The text of a CSV or XML document, without its byte order mark.
pub(crate) fn document_text(payload: &[u8]) -> Result<&str, Rejection> {
    let refused = |message: String| Rejection::new(RejectCode::SchemaViolation, message);
    let wide = matches!(payload, [byte, 0x00, ..] if byte.is_ascii())
        || matches!(payload, [0x00, byte, ..] if byte.is_ascii());
    if let Some(found) = foreign(payload).or(wide.then_some("UTF-16 or UTF-32")) {
        return Err(refused(format!("the document is {found}: UTF-8 is expected")));
    }
    let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
    simdutf8::basic::from_utf8(payload).map_err(|_| {
        let at = std::str::from_utf8(payload).map_or_else(|error| error.valid_up_to(), str::len);
        refused(format!("the document is not UTF-8 at byte {at}"))
    })
}

/// The text of a CSV document. HTML, XML and JSON, such as an error page of the source, are refused by these names.
pub(crate) fn csv_text(payload: &[u8]) -> Result<&str, Rejection> {
    let text = document_text(payload)?;
    let found = match text.trim_ascii_start().as_bytes() {
        [b'<', ..] => "with '<': an HTML or XML page, perhaps an error page of the source,",
        [b'{' | b'[', ..] => "like JSON",
        _ => return Ok(text),
    };
    let message = format!("the document begins {found} where CSV is expected");
    Err(Rejection::new(RejectCode::SchemaViolation, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_and_utf_32_are_recognized_with_and_without_a_byte_order_mark() {
        for text in ["{\"a\":1}", "[]", "{ }"] {
            let wide = |of: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(of).collect::<Vec<u8>>();
            let very_wide = |of: fn(u32) -> [u8; 4]| text.chars().flat_map(|c| of(c.into())).collect::<Vec<u8>>();
            for payload in [
                wide(u16::to_le_bytes),
                wide(u16::to_be_bytes),
                very_wide(u32::to_le_bytes),
                very_wide(u32::to_be_bytes),
                [b"\xFF\xFE", wide(u16::to_le_bytes).as_slice()].concat(),
                [b"\xFE\xFF", wide(u16::to_be_bytes).as_slice()].concat(),
            ] {
                assert_eq!(foreign(&payload), Some("UTF-16 or UTF-32"), "{payload:?}");
            }
        }
    }

    #[test]
    fn avro_frames_and_plain_json_are_not_foreign() {
        for payload in [
            &b"{\"a\":1}"[..],
            b"\xEF\xBB\xBF{}",
            b"\xC3\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02",
            b"\x00\x00\x00\x00\x7B\x00\x22",
            b"\x00\x00\x00\x00\x01\x00",
            b"\x00\x00\x7B\x00\x22\x00",
            b"",
        ] {
            assert_eq!(foreign(payload), None, "{payload:?}");
        }
    }
}
