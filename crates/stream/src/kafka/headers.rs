//! Reads the headers of a record.
//!
//! The client crate panics at a header name that is not UTF-8, and any producer can send one. So the names are read here, and
//! invalid bytes are replaced by U+FFFD.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as sys;
use rdkafka::message::BorrowedHeaders;

/// The headers in order.
pub(crate) fn iter(headers: &BorrowedHeaders) -> impl Iterator<Item = (Cow<'_, str>, Option<&[u8]>)> {
    (0..).map_while(|index| get(headers, index))
}

fn get(headers: &BorrowedHeaders, index: usize) -> Option<(Cow<'_, str>, Option<&[u8]>)> {
    // The crate's type is the client's own list of headers under another name.
    let native = ptr::from_ref(headers).cast::<sys::rd_kafka_headers_t>();
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the list is alive as long as the borrow; name (with its final zero) and value belong to it.
    unsafe {
        let error = sys::rd_kafka_header_get_all(native, index, &mut name, &mut value, &mut size);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
        Some((CStr::from_ptr(name).to_string_lossy(), value))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rdkafka::message::{Header, OwnedHeaders};

    #[test]
    fn a_name_that_is_not_utf8_is_read_with_replacement() {
        let owned = OwnedHeaders::new()
            .insert(Header {
                key: "plain",
                value: Some("1"),
            })
            .insert(Header::<&str> {
                key: "null",
                value: None,
            });
        let native = ptr::from_ref(owned.as_borrowed())
            .cast_mut()
            .cast::<sys::rd_kafka_headers_t>();
        let name = [b'b', 0xff, b'd'];
        // SAFETY: the list is alive; name and value are copied.
        unsafe {
            sys::rd_kafka_header_add(native, name.as_ptr().cast(), 3, name.as_ptr().cast(), 2);
        }
        let read: Vec<(String, Option<Vec<u8>>)> = iter(owned.as_borrowed())
            .map(|(name, value)| (name.into_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        let expected = [
            ("plain".to_owned(), Some(b"1".to_vec())),
            ("null".to_owned(), None),
            ("b\u{fffd}d".to_owned(), Some(vec![b'b', 0xff])),
        ];
        assert_eq!(read, expected);
    }
}
