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

    #[test]
    fn digits_are_counted_like_byte_by_byte(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0x2F..0x3B_u8, Just(b'7')], 0..40)) {
        let expected = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        prop_assert_eq!(scan::digits(&bytes), expected);
    }

    #[test]
    fn a_short_name_ends_at_the_first_special_byte_and_has_the_word_of_its_text(name in "[^\"\\\\\\x00-\\x1f]{0,18}", end in prop_oneof![Just('"'), Just('\\'), Just('\u{1}')]) {
        let text = format!("{name}{end}:0, and more than sixteen bytes");
        let expected = (name.len() < 16).then(|| (name.len(), word(&name)));
        prop_assert_eq!(scan::short_name(text.as_bytes()), expected);
    }

    #[test]
    fn a_plain_number_is_what_the_full_reader_accepts(text in "-?(0|00|[1-9][0-9]{0,20})?([.][0-9]{0,9})?([eE+.-]|)[0-9]?[,}]") {
        if let Some(length) = scan::plain_number(text.as_bytes()) {
            let (token, _) = Reader::new(&text).other_value().unwrap();
            prop_assert_eq!(token.raw, &text[..length]);
        }
    }

    #[test]
    fn the_spelling_of_an_object_does_not_change_what_is_read(fields in proptest::collection::vec(("[a-z_é]{0,20}", "[a-zé\\\\n ]{0,20}", any::<bool>(), any::<bool>(), 0..3_usize), 0..6)) {
        let (mut text, mut expected) = (String::from("{"), Vec::new());
        for (at, (key, value, escaped_key, escaped_value, spaces)) in fields.iter().enumerate() {
            let write = |plain: &str, escaped: bool| match escaped {
                true => plain.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>(),
                false => serde_json::to_string(plain).unwrap().trim_matches('"').to_owned(),
            };
            let space = " \n\t".get(..*spaces).unwrap();
            let comma = if at > 0 { "," } else { "" };
            let (name, content) = (write(key, *escaped_key), write(value, *escaped_value));
            text += &format!("{space}{comma}{space}\"{name}\"{space}:{space}\"{content}\"{space}");
            expected.push((String::from_utf8_lossy(key.as_bytes()).into_owned(), value.clone()));
        }
        text.push('}');
        let mut found = Vec::new();
        let mut into = |reader: &mut Reader<'_>, key: Key<'_>| {
            let name = String::from_utf8_lossy(key.bytes).into_owned();
            assert_eq!(key.word, word(&name));
            found.push((name, reader.value()?.text().unwrap_or_default().into_owned()));
            Ok(())
        };
        Reader::whole_object(&text, &mut into).unwrap();
        prop_assert_eq!(found, expected, "{}", text);
    }
}

#[test]
fn an_error_contains_the_json_pointer_of_its_location() {
    let read = |text: &'static str| {
        let mut slot = Slot::default();
        Reader::whole_object(text, &mut |reader: &mut Reader<'static>, _: Key<'_>| {
            reader.object(&mut |reader: &mut Reader<'static>, _: Key<'_>| reader.put(Some(&mut slot)))
        })
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
        let read = Reader::whole_object(&text, &mut |reader: &mut Reader<'_>, _: Key<'_>| {
            reader.optional_object(&mut present, &mut |reader: &mut Reader<'_>, _: Key<'_>| reader.skip())
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

#[test]
fn a_name_with_a_nul_or_more_than_sixteen_bytes_is_no_field() {
    struct Fields<'a> {
        instrument_id: Slot<'a>,
    }
    fields_are_slots!(Fields, instrument_id);
    for (name, is_field) in [
        ("instrument_id", true),
        ("instrument\\u005fid", true),
        ("instrument_id\\u0000", false),
        ("instrument_id\\u0000\\u0000\\u0000\\u0000", false),
        ("instrument_id_of_it", false),
        ("", false),
    ] {
        let text = format!("{{\"{name}\":1,\"padding\":\"to more than sixteen bytes\"}}");
        let mut fields = Fields {
            instrument_id: Slot::default(),
        };
        Reader::whole_object(&text, &mut fields).unwrap();
        assert_eq!(fields.instrument_id.is_taken(), is_field, "{text}");
    }
}
