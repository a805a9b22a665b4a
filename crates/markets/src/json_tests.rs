#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Read<Token<'_>> {
    let mut reader = Reader::new(text);
    reader.space();
    let token = reader.value()?;
    reader.end()?;
    Ok(token)
}

// Texts that are almost JSON: random concatenations of JSON fragments.
fn pieces() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"a\"",
        "\"b\":",
        "\\n",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\x",
        "-",
        "0",
        "01",
        "1.5",
        ".",
        "1e5",
        "e",
        "E+",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\t",
        "\u{1}",
        "é",
        "😀",
        "/",
        "{\"k\":1}",
        "[1,2]",
        "\"\"",
    ]);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::vec((any::<String>(), inner), 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_accepts_what_serde_json_accepts(text in pieces()) {
        let expected = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        prop_assert_eq!(read(&text).is_ok(), expected.is_ok(), "{}: {:?}", text, expected);
    }

    #[test]
    fn it_reads_every_value_that_serde_json_writes(value in values(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let token = read(&text).unwrap();
        prop_assert_eq!(token.raw, if token.is_text() { &text[1..text.len() - 1] } else { &text });
    }

    #[test]
    fn strings_are_unescaped_like_serde_json(inner in "(\\\\(u[0-9a-fA-F]{4}|ud83d\\\\ude00|[\"\\\\/bfnrt])|[^\"\\\\\\x00-\\x1f]){0,20}") {
        let text = format!("\"{inner}\"");
        let expected = serde_json::from_str::<String>(&text).ok();
        let found = read(&text).unwrap().text();
        prop_assert_eq!(found.as_deref(), expected.as_deref());
    }

    #[test]
    fn plain_length_agrees_with_a_byte_by_byte_count(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(0x22), Just(0x21), Just(0xA2)], 0..40)) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
        prop_assert_eq!(scan::plain_length(&bytes), expected);
    }
}

#[test]
fn an_error_contains_the_json_pointer_of_its_location() {
    let read = |text: &'static str| {
        let mut slot = Slot::default();
        Reader::whole_object(text, |reader, _| reader.object(|reader, _| reader.put(&mut slot)))
            .unwrap_err()
            .rejection("")
            .message
    };
    assert_eq!(
        read("{\"a\":{\"b/c\":tru}}"),
        "/a/b~1c: a value is expected at byte 12, found 'tru}}'"
    );
    assert_eq!(
        read("{\"a\":{\"b\":1,\"b\":2}}"),
        "/a/b: the field occurs twice at byte 16, found '2}}'"
    );
    for nulls in [
        "{\"a\":{\"b\":null,\"b\":2}}",
        "{\"a\":{\"b\":1,\"b\":null}}",
        "{\"a\":{\"b\":null,\"b\":null}}",
    ] {
        assert!(
            read(nulls).starts_with("/a/b: the field occurs twice at byte "),
            "{nulls}"
        );
    }
    assert_eq!(read("{\"a\":[1]}"), "/a: must be an object at byte 5, found '[1]}'");
    assert_eq!(read("[1]"), "must be an object at byte 0, found '[1]'");
    assert_eq!(
        read("{\"a\":{}} x"),
        "unexpected text after the end at byte 9, found 'x'"
    );
    assert_eq!(
        read("{\"a\":{}}\n{\"a\":{}}"),
        "a second value follows; a message must be one JSON value at byte 9, found '{\"a\":{}}'"
    );
    assert_eq!(
        read("{\"a\":{\"b\":\"\u{7}"),
        "/a/b: a control character inside a string at byte 11, found '\\u{7}'"
    );
    assert_eq!(read("{\"a\":"), "/a: a value is expected at byte 5, found the end");
}

#[test]
fn a_duplicate_object_is_rejected_even_if_one_is_null() {
    for (first, second) in [("null", "{}"), ("{}", "null"), ("null", "null"), ("{}", "{}")] {
        let text = format!("{{\"a\":{first},\"a\":{second}}}");
        let mut present = None;
        let read = Reader::whole_object(&text, |reader, _| {
            reader.optional_object(&mut present, |reader, _| reader.skip())
        });
        assert!(read.is_err(), "{text}");
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(128)).is_ok());
    assert!(read(&nested(129)).is_err());
    assert!(read(&"[".repeat(1_000_000)).is_err());
}
