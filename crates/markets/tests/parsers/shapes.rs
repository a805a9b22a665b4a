//! Shapes A, B and C: what is accepted, what is rejected, and the messages of rejections.

use domain::{Decimal, Kind, Tick};
use markets::{Normalizer, NormalizerConfig, RejectCode, Replay};
use serde_json::{Value, json};

use crate::common::{APPENDED_AT, flags, message, normalizer, one, refused, run};

fn envelope() -> Value {
    json!({
        "envelope": {
            "event_type": "market.tick", "event_id": "e-1", "timestamp": "2026-10-02T11:59:59Z", "tenant_id": "acme", "source": "feed-7",
            "version": "1.0", "correlation_id": "c-1", "causation_id": "k-1", "metadata": {"x": 1}
        },
        "payload": {
            "market": "miso", "instrument_id": "NG_HH_M1",
            "raw_data": {
                "timestamp": "2026-10-02T06:59:58.123456-05:00", "price": 31.55, "volume": "100", "bid": 31.5, "ask": "31.6",
                "last_trade_time": "2026-10-02T11:00:00Z", "node": "N1", "zone": "Z1", "hub": "H1", "market_status": "open"
            }
        }
    })
}

fn flat_with(raw: &Value) -> Value {
    json!({
        "event_id": "e-2", "trace_id": "t-2", "schema_version": "1.0.0", "tenant_id": "acme", "producer": "p", "occurred_at": APPENDED_AT - 1_000_000,
        "ingested_at": APPENDED_AT, "anything": [1, {"else": null}],
        "payload": {
            "source_system": "ice", "market": "Ercot", "symbol": "  HB_NORTH ", "sequence": 9, "received_at": APPENDED_AT,
            "raw_payload": raw.to_string(), "encoding": "json", "metadata": {}, "retry_count": 0
        }
    })
}

fn flat() -> Value {
    flat_with(&json!({"price": "20.5", "volume": 3, "bid_price": 20, "ask_price": 21, "node": "N", "zone": "Z"}))
}

fn avro() -> codec::RawTick<'static> {
    codec::RawTick {
        event_id: "e-3",
        correlation_id: Some("c-3"),
        causation_id: None,
        tenant_id: "acme",
        source: "feed-9",
        market: "pjm",
        instrument_id: "WESTERN_HUB",
        symbol: Some("WH"),
        timestamp: APPENDED_AT,
        price: decimal("-3.25"),
        volume: None,
        bid: None,
        ask: Some(decimal("4")),
        node: Some("N"),
        zone: Some("Z"),
        hub: None,
        market_status: None,
        sequence: Some(4),
        dropped_quote: false,
    }
}

fn framed(raw: &codec::RawTick<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::Wire::single_object().encode_raw(raw, &mut bytes);
    bytes
}

fn with(mut value: Value, pointer: &str, new: Value) -> String {
    let (parent, field) = pointer.rsplit_once('/').expect(pointer);
    value.pointer_mut(parent).expect(pointer)[field] = new;
    value.to_string()
}

fn without(mut value: Value, parent: &str, field: &str) -> String {
    value
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(field)
        .expect(field);
    value.to_string()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn an_envelope_becomes_its_tick() {
    one(&envelope().to_string(), |tick| {
        assert_eq!(tick.origin.to_string(), "ingestion.market.raw.v1/2/77/0");
        assert_eq!((tick.appended_at, tick.normalized_at), (APPENDED_AT, 5));
        assert_eq!(
            (tick.source_event_id, tick.correlation_id, tick.causation_id),
            ("e-1", "c-1", Some("e-1"))
        );
        assert_eq!(
            (tick.tenant_id, tick.instrument_id, tick.symbol),
            ("acme", "NG_HH_M1", None)
        );
        assert_eq!((tick.market, tick.kind, tick.product), ("MISO", Kind::Trade, "trade"));
        assert_eq!(tick.event_time, APPENDED_AT - 2_000_000 + 123_456);
        assert_eq!((tick.price, tick.volume), (decimal("31.55"), Some(decimal("100"))));
        assert_eq!((tick.bid, tick.ask), (Some(decimal("31.5")), Some(decimal("31.6"))));
        assert_eq!((tick.currency, tick.unit), ("USD", "MWh"));
        assert_eq!(
            (tick.node, tick.zone, tick.hub, tick.market_status),
            (Some("N1"), Some("Z1"), Some("H1"), Some("open"))
        );
        assert_eq!(
            (tick.source_system, tick.sequence, tick.version),
            ("feed-7", None, None)
        );
    });
    assert_eq!(flags(&envelope().to_string()), ["valid"]);
}

#[test]
fn a_flat_message_becomes_the_tick_in_its_raw_payload() {
    one(&flat().to_string(), |tick| {
        assert_eq!(
            (tick.source_event_id, tick.correlation_id, tick.causation_id),
            ("e-2", "t-2", Some("e-2"))
        );
        assert_eq!(
            (tick.instrument_id, tick.symbol, tick.market),
            ("HB_NORTH", Some("HB_NORTH"), "ERCOT")
        );
        assert_eq!(tick.event_time, APPENDED_AT - 1_000_000);
        assert_eq!((tick.price, tick.volume), (decimal("20.5"), Some(decimal("3"))));
        assert_eq!((tick.bid, tick.ask), (Some(decimal("20")), Some(decimal("21"))));
        assert_eq!((tick.source_system, tick.sequence), ("ice", Some(9)));
    });
    assert_eq!(flags(&flat().to_string()), ["valid"]);
}

#[test]
fn an_avro_message_becomes_its_tick() {
    let payload = framed(&avro());
    let mut count = 0;
    let emit = &mut |tick: &domain::Tick<'_>| {
        count += 1;
        assert_eq!(
            (tick.source_event_id, tick.correlation_id, tick.tenant_id),
            ("e-3", "c-3", "acme")
        );
        assert_eq!(
            (tick.instrument_id, tick.symbol, tick.market),
            ("WESTERN_HUB", Some("WH"), "PJM")
        );
        assert_eq!(
            (tick.price, tick.volume, tick.ask),
            (decimal("-3.25"), None, Some(decimal("4")))
        );
        assert_eq!(
            (tick.event_time, tick.sequence, tick.source_system),
            (APPENDED_AT, Some(4), "feed-9")
        );
        let flags: Vec<&str> = tick.quality_flags.iter().map(domain::QualityFlag::name).collect();
        assert_eq!(flags, ["price_negative", "missing_volume"]);
    };
    normalizer().normalize(&message(&payload), 5, emit).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn an_avro_message_of_an_older_schema_is_read() {
    let mut schema: Value = serde_json::from_str(codec::Record::RawMarketTick.schema_text()).unwrap();
    let dropped = schema["fields"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!(dropped["name"], "sequence");
    let older = codec::older::Older::new(&schema.to_string()).unwrap();
    // A missing sequence is the last byte of the current form.
    let current = framed(&codec::RawTick {
        sequence: None,
        ..avro()
    });
    let header = codec::framing::single_object_header(older.fingerprint());
    let payload = [&header[..], &current[header.len()..current.len() - 1]].concat();

    assert_eq!(run(&message(&payload)).unwrap_err().code, RejectCode::InvalidAvro);
    let mut knowing = Normalizer::new(NormalizerConfig {
        wire: codec::Wire::single_object().also_reading(&schema.to_string()).unwrap(),
        ..NormalizerConfig::default()
    });
    let mut prices = Vec::new();
    let emit = &mut |tick: &Tick<'_>| prices.push((tick.price, tick.sequence, tick.symbol.map(str::to_owned)));
    knowing.normalize(&message(&payload), 5, emit).unwrap();
    assert_eq!(prices, [(decimal("-3.25"), None, Some("WH".to_owned()))]);
}

#[test]
fn each_error_of_an_avro_message_has_its_own_code() {
    let code = |bytes: &[u8]| run(&message(bytes)).unwrap_err().code;
    let whole = framed(&avro());
    for cut in 2..whole.len() {
        assert_eq!(code(&whole[..cut]), RejectCode::InvalidAvro, "{cut}");
    }
    assert_eq!(code(&[0, 0, 0, 0, 9, 1]), RejectCode::InvalidAvro);
    assert_eq!(
        code(&framed(&codec::RawTick { market: "x", ..avro() })),
        RejectCode::UnknownMarket
    );
    assert_eq!(
        code(&framed(&codec::RawTick {
            instrument_id: "",
            ..avro()
        })),
        RejectCode::MissingInstrument
    );
    assert_eq!(
        code(&framed(&codec::RawTick {
            volume: Some(decimal("-1")),
            ..avro()
        })),
        RejectCode::NegativeVolume
    );
    assert_eq!(
        code(&framed(&codec::RawTick { timestamp: 0, ..avro() })),
        RejectCode::TimeOutOfRange
    );
    let rejection = run(&message(&framed(&codec::RawTick { market: "x", ..avro() }))).unwrap_err();
    assert_eq!(rejection.correlation_id.as_deref(), Some("c-3"));
}

#[test]
fn the_instrument_comes_from_metadata_then_raw_payload_then_symbol() {
    let raw = json!({"price": 1, "instrument_id": "FROM_TEXT"});
    one(&flat_with(&raw).to_string(), |tick| {
        assert_eq!(tick.instrument_id, "FROM_TEXT")
    });
    let both = with(
        flat_with(&raw),
        "/payload/metadata",
        json!({"instrument_id": "FROM_METADATA", "other": 1}),
    );
    one(&both, |tick| assert_eq!(tick.instrument_id, "FROM_METADATA"));
    refused(
        &with(flat(), "/payload/symbol", json!("  ")),
        RejectCode::MissingInstrument,
        "/payload/symbol",
    );
}

#[test]
fn the_price_is_the_first_field_present_and_zero_is_a_price() {
    for (raw, price) in [
        (json!({"value": 3, "last_price": 2, "price": 1}), "1"),
        (json!({"value": 3, "last_price": 2}), "2"),
        (json!({"value": 3}), "3"),
        (json!({"price": 0, "value": 3}), "0"),
        (json!({"price": null, "value": "-0.5"}), "-0.5"),
    ] {
        one(&flat_with(&raw).to_string(), |tick| {
            assert_eq!(tick.price, decimal(price))
        });
    }
}

#[test]
fn known_products_become_intervals_and_any_other_name_is_kept() {
    let da = json!({"price": 20, "product": "DA", "node": "N", "zone": "Z", "timestamp": "2026-09-01T00:00:00Z"});
    one(&flat_with(&da).to_string(), |tick| {
        assert_eq!((tick.product, tick.kind), ("da", Kind::Interval))
    });
    assert_eq!(flags(&flat_with(&da).to_string()), ["valid"]);
    for (market, named, product, kind) in [
        ("MISO", "day_ahead", "da", Kind::Interval),
        ("MISO", "Day-Ahead", "da", Kind::Interval),
        ("MISO", "real_time", "rt5", Kind::Interval),
        ("ERCOT", "REAL TIME", "rt15", Kind::Interval),
        ("PJM", "ex_ante", "exante", Kind::Interval),
        ("PJM", "RT_5", "rt5", Kind::Interval),
        ("PJM", " Trade ", "trade", Kind::Trade),
        ("PJM", " ", "trade", Kind::Trade),
        ("PJM", " peak ", "peak", Kind::Trade),
        ("PJM", "BALMO", "BALMO", Kind::Trade),
    ] {
        let payload = flat_with(&json!({"price": 20, "product": named}))
            .to_string()
            .replace("Ercot", market);
        one(&payload, |tick| {
            assert_eq!((tick.product, tick.kind), (product, kind), "{named}")
        });
    }
}

#[test]
fn each_missing_required_field_is_named() {
    for field in ["event_type", "event_id", "timestamp", "tenant_id", "source", "version"] {
        refused(
            &without(envelope(), "/envelope", field),
            RejectCode::SchemaViolation,
            &format!("/envelope/{field}"),
        );
    }
    refused(
        &without(envelope(), "", "payload"),
        RejectCode::SchemaViolation,
        "/payload is missing",
    );
    refused(
        &without(envelope(), "/payload", "market"),
        RejectCode::SchemaViolation,
        "/payload/market",
    );
    refused(
        &without(envelope(), "/payload", "raw_data"),
        RejectCode::SchemaViolation,
        "/payload/raw_data",
    );
    refused(
        &without(envelope(), "/payload", "instrument_id"),
        RejectCode::MissingInstrument,
        "/payload/instrument_id",
    );
    refused(
        &without(envelope(), "/payload/raw_data", "price"),
        RejectCode::MissingPrice,
        "/payload/raw_data",
    );
    refused(
        &without(envelope(), "/payload/raw_data", "timestamp"),
        RejectCode::MissingTime,
        "/payload/raw_data",
    );
    for field in ["tenant_id", "schema_version", "payload"] {
        refused(
            &without(flat(), "", field),
            RejectCode::SchemaViolation,
            &format!("/{field}"),
        );
    }
    for field in ["market", "source_system", "raw_payload"] {
        refused(
            &without(flat(), "/payload", field),
            RejectCode::SchemaViolation,
            &format!("/payload/{field}"),
        );
    }
    let no_time = without(flat(), "", "occurred_at");
    refused(&no_time, RejectCode::MissingTime, "/payload/raw_payload");
}

#[test]
fn each_error_has_its_own_code() {
    let raw = |field: &str, value: Value| with(envelope(), &format!("/payload/raw_data/{field}"), value);
    for (payload, code, names) in [
        (raw("price", json!("abc")), RejectCode::InvalidPrice, "\"abc\""),
        (raw("price", json!(true)), RejectCode::InvalidPrice, "true"),
        (raw("price", json!(1e300)), RejectCode::InvalidPrice, "1e+300"),
        (
            raw("price", json!("0.123456789")),
            RejectCode::InvalidPrice,
            "8 decimals",
        ),
        (
            raw("price", json!("")),
            RejectCode::InvalidPrice,
            "/payload/raw_data/price is \"\": not a decimal number",
        ),
        (
            raw("volume", json!("many")),
            RejectCode::InvalidNumber,
            "/payload/raw_data/volume is \"many\"",
        ),
        (
            raw("volume", json!("")),
            RejectCode::InvalidNumber,
            "/payload/raw_data/volume is \"\"",
        ),
        (
            raw("product", json!(5)),
            RejectCode::SchemaViolation,
            "/payload/raw_data/product is 5: a string",
        ),
        (
            raw("zone", json!({"z": 1})),
            RejectCode::SchemaViolation,
            "/payload/raw_data/zone is {\"z\":1}: a string",
        ),
        (raw("volume", json!(-1)), RejectCode::NegativeVolume, "-1"),
        (
            raw("timestamp", json!("yesterday")),
            RejectCode::InvalidTime,
            "yesterday",
        ),
        (
            raw("timestamp", json!("1989-12-31T23:59:59Z")),
            RejectCode::TimeOutOfRange,
            "1990",
        ),
        (
            raw("timestamp", json!(0)),
            RejectCode::TimeOutOfRange,
            "/payload/raw_data/timestamp is 1970-01-01T00:00:00Z",
        ),
        (
            raw("timestamp", json!("2026-10-02T12:10:00.000001Z")),
            RejectCode::FutureTime,
            "/payload/raw_data/timestamp is 2026-10-02T12:10:00.000001Z, 600 s after the append of the message at 2026-10-02T12:00:00Z (accepted: at most 600 s ahead for product trade)",
        ),
        (
            raw("timestamp", json!("2026-10-02")),
            RejectCode::InvalidTime,
            "a date without",
        ),
        (
            with(envelope(), "/envelope/timestamp", json!("not a time")),
            RejectCode::InvalidTime,
            "/envelope/timestamp is \"not a time\": neither ISO 8601 nor a number",
        ),
        (
            with(flat(), "/occurred_at", json!("soon")),
            RejectCode::InvalidTime,
            "/occurred_at is \"soon\"",
        ),
        (
            with(envelope(), "/envelope/source", json!("")),
            RejectCode::SchemaViolation,
            "/envelope/source is \"\"",
        ),
        (
            with(envelope(), "/envelope/event_type", json!(" ")),
            RejectCode::SchemaViolation,
            "/envelope/event_type is \" \"",
        ),
        (
            with(envelope(), "/payload/instrument_id", json!("")),
            RejectCode::MissingInstrument,
            "/payload/instrument_id is \"\"",
        ),
        (
            with(flat(), "/payload/sequence", json!("x")),
            RejectCode::SchemaViolation,
            "/payload/sequence is \"x\"",
        ),
        (
            with(envelope(), "/payload/market", json!("nymex")),
            RejectCode::UnknownMarket,
            "'nymex'",
        ),
        (
            with(envelope(), "/payload/instrument_id", json!("a|b")),
            RejectCode::InvalidIdentifier,
            "/payload/instrument_id contains '|' or a control character: \"a|b\"",
        ),
        (
            with(envelope(), "/envelope/tenant_id", json!(" ")),
            RejectCode::InvalidIdentifier,
            "tenant_id",
        ),
        (
            with(envelope(), "/envelope/event_id", json!("x".repeat(257))),
            RejectCode::InvalidIdentifier,
            "event_id",
        ),
        (
            with(envelope(), "/envelope/version", json!("2.0")),
            RejectCode::SchemaViolation,
            "'2.0'",
        ),
        (
            with(envelope(), "/envelope", json!(["market.tick", "e"])),
            RejectCode::SchemaViolation,
            "must be an object",
        ),
        (
            with(flat(), "/payload/encoding", json!("avro")),
            RejectCode::SchemaViolation,
            "/payload/encoding",
        ),
        (
            with(flat(), "/payload/raw_payload", json!("{\"price\":")),
            RejectCode::BrokenJson,
            "/payload/raw_payload",
        ),
        (
            with(flat(), "/payload/raw_payload", json!("[1]")),
            RejectCode::SchemaViolation,
            "/payload/raw_payload",
        ),
        (
            with(flat(), "/payload/raw_payload", json!({"price": 1})),
            RejectCode::SchemaViolation,
            "/payload/raw_payload",
        ),
        ("{}".to_owned(), RejectCode::SchemaViolation, "/envelope is missing"),
        (
            envelope().to_string().repeat(2),
            RejectCode::BrokenJson,
            "a second value follows",
        ),
        (" \n".to_owned(), RejectCode::BrokenJson, "only white space"),
        (
            "{\"payload\":{\"market\":\"miso\"}}".to_owned(),
            RejectCode::SchemaViolation,
            "/envelope is missing",
        ),
        ("[]".to_owned(), RejectCode::SchemaViolation, "must be an object"),
        ("{\"a\":1,}".to_owned(), RejectCode::BrokenJson, "at byte"),
        ("not json".to_owned(), RejectCode::BrokenJson, "at byte"),
        ("  <html>".to_owned(), RejectCode::BrokenJson, "HTML"),
        (String::new(), RejectCode::BrokenJson, "empty"),
    ] {
        refused(&payload, code, names);
    }
    let huge = with(envelope(), "/payload/raw_data/price", json!(1_000_000_001));
    refused(
        &huge.replace("\"100\"", "\"1000000000\""),
        RejectCode::TurnoverOutOfRange,
        "10^14",
    );
}

#[test]
fn a_duplicate_field_is_rejected() {
    let twice = envelope()
        .to_string()
        .replace("\"price\":31.55", "\"price\":31.55,\"price\":1");
    refused(
        &twice,
        RejectCode::SchemaViolation,
        "/payload/raw_data/price: the field occurs twice",
    );
    for (first, second) in [("null", "50"), ("50", "null"), ("null", "null")] {
        let payload = envelope()
            .to_string()
            .replace("\"price\":31.55", &format!("\"price\":{first},\"price\":{second}"));
        refused(
            &payload,
            RejectCode::SchemaViolation,
            "/payload/raw_data/price: the field occurs twice",
        );
    }
}

#[test]
fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
    let text = envelope().to_string();
    one(&format!("\u{FEFF}{text}"), |tick| {
        assert_eq!(tick.price, decimal("31.55"))
    });
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let packed = [&[0x1F, 0x8B, 8, 0][..], text.as_bytes()].concat();
    for (payload, name) in [(wide, "UTF-16"), (packed, "gzip")] {
        let rejection = run(&message(&payload)).unwrap_err();
        assert_eq!(rejection.code, RejectCode::BrokenJson);
        assert!(rejection.message.contains(name), "{rejection}");
    }
}

#[test]
fn white_space_around_ids_markets_and_tenants_is_trimmed_in_every_shape() {
    let blank = |id: &str| format!(" \t{id}\u{a0} ");
    let mut a = envelope();
    for (pointer, id) in [
        ("/envelope/event_id", "e-1"),
        ("/envelope/tenant_id", "acme"),
        ("/envelope/source", "feed-7"),
        ("/payload/market", "miso"),
        ("/payload/instrument_id", "NG_HH_M1"),
    ] {
        *a.pointer_mut(pointer).unwrap() = json!(blank(id));
    }
    let mut b = flat();
    for (pointer, id) in [
        ("/event_id", "e-2"),
        ("/tenant_id", "acme"),
        ("/payload/market", "Ercot"),
    ] {
        *b.pointer_mut(pointer).unwrap() = json!(blank(id));
    }
    let (event_id, tenant, market, instrument) = (blank("e-3"), blank("acme"), blank("pjm"), blank("WESTERN_HUB"));
    let c = framed(&codec::RawTick {
        event_id: &event_id,
        tenant_id: &tenant,
        market: &market,
        instrument_id: &instrument,
        ..avro()
    });
    for (blank, plain) in [
        (a.to_string().into_bytes(), envelope().to_string().into_bytes()),
        (b.to_string().into_bytes(), flat().to_string().into_bytes()),
        (c, framed(&avro())),
    ] {
        assert_eq!(run(&message(&blank)).unwrap(), run(&message(&plain)).unwrap());
    }
}

#[test]
fn an_unreadable_quote_is_dropped_and_the_tick_is_accepted() {
    let raw = |field: &str, value: Value| with(envelope(), &format!("/payload/raw_data/{field}"), value);
    for value in [
        json!(""),
        json!("N/A"),
        json!(1e300),
        json!([]),
        json!("0.123456789"),
        json!(true),
    ] {
        let payload = raw("bid", value);
        one(&payload, |tick| {
            assert_eq!((tick.bid, tick.ask), (None, Some(decimal("31.6"))))
        });
        assert_eq!(flags(&payload), ["missing_quote"]);
    }
    assert_eq!(flags(&raw("bid", json!(null))), ["valid"]);
    assert_eq!(flags(&raw("bid", json!(-5))), ["valid"]);
    assert_eq!(flags(&raw("bid", json!("31.60000001"))), ["crossed_market"]);
    assert_eq!(flags(&raw("bid", json!("31.6"))), ["valid"]);
    assert_eq!(flags(&raw("price", json!(27.040000000000003))), ["rounded"]);
    one(&raw("price", json!("0.30000000000000004")), |tick| {
        assert_eq!(tick.price, decimal("0.3"))
    });
}

#[test]
fn an_avro_ask_out_of_range_is_dropped_and_an_avro_price_out_of_range_is_rejected() {
    let put = |value: Decimal| {
        let mut bytes = framed(&codec::RawTick {
            price: decimal("-3.25"),
            ask: Some(value),
            ..avro()
        });
        let at = bytes
            .windows(8)
            .position(|bytes| bytes == value.unscaled().to_be_bytes())
            .unwrap();
        bytes[at..at + 8].copy_from_slice(&i64::MAX.to_be_bytes());
        bytes
    };
    let payload = put(decimal("4"));
    let seen = std::cell::RefCell::new(Vec::new());
    normalizer()
        .normalize(&message(&payload), 5, &mut |tick| {
            seen.borrow_mut()
                .push((tick.ask, tick.quality_flags.contains(domain::QualityFlag::MissingQuote)))
        })
        .unwrap();
    assert_eq!(seen.into_inner(), [(None, true)]);
    let rejection = run(&message(&put(decimal("-3.25")))).unwrap_err();
    assert_eq!(rejection.code, RejectCode::InvalidPrice, "{rejection}");
    assert!(rejection.message.contains("price"), "{rejection}");
}

#[test]
fn a_day_ahead_price_may_be_nine_days_ahead() {
    let at =
        |product: &str, time: &str| flat_with(&json!({"price": 20, "product": product, "timestamp": time})).to_string();
    one(&at("da", "2026-10-11T12:00:00Z"), |tick| assert_eq!(tick.product, "da"));
    refused(
        &at("day_ahead", "2026-10-11T12:00:00.000001Z"),
        RejectCode::FutureTime,
        "777600 s ahead for product da",
    );
    for product in ["rt5", "exante", "trade", "peak"] {
        one(&at(product, "2026-10-02T12:10:00Z"), |tick| {
            assert_eq!(tick.product, product)
        });
        refused(
            &at(product, "2026-10-02T12:10:01Z"),
            RejectCode::FutureTime,
            "601 s after the append of the message at 2026-10-02T12:00:00Z (accepted: at most 600 s",
        );
    }
}

#[test]
fn only_prices_of_caisos_fifteen_minute_market_may_be_an_hour_ahead() {
    let at = |market: &str, product: &str, time: &str| {
        let flat = flat_with(&json!({"price": 20, "product": product, "timestamp": time}));
        with(flat, "/payload/market", json!(market)).to_string()
    };
    one(&at("caiso", "RT_15", "2026-10-02T13:00:00Z"), |tick| {
        assert_eq!(tick.product, "rt15")
    });
    for (market, product, time, limit) in [
        (
            "CAISO",
            "rt15",
            "2026-10-02T13:00:01Z",
            "at most 3600 s ahead for product rt15",
        ),
        (
            "CAISO",
            "rt5",
            "2026-10-02T12:10:01Z",
            "at most 600 s ahead for product rt5",
        ),
        (
            "ERCOT",
            "rt15",
            "2026-10-02T12:10:01Z",
            "at most 600 s ahead for product rt15",
        ),
    ] {
        refused(&at(market, product, time), RejectCode::FutureTime, limit);
    }
}

#[test]
fn a_rejection_message_is_short_and_escaped_for_any_value() {
    for value in [
        "x".repeat(100_000),
        "\u{1b}[31m\u{202e}\u{7}".repeat(1000),
        "\u{0}".repeat(200),
    ] {
        for payload in [
            with(envelope(), "/payload/raw_data/price", json!(value)),
            with(envelope(), "/payload/raw_data/timestamp", json!(value)),
            with(envelope(), "/payload/market", json!(value)),
            with(envelope(), "/payload/instrument_id", json!(value)),
            with(envelope(), "/envelope/version", json!(value)),
            with(envelope(), "/payload/raw_data/currency", json!(value)),
            with(flat(), "/payload/encoding", json!(value)),
            with(flat(), "/payload/raw_payload", json!(value)),
            json!({value.as_str(): {"envelope": 1}})
                .to_string()
                .replace("1}", "tru}"),
        ] {
            let rejection = run(&message(payload.as_bytes())).unwrap_err();
            assert!(rejection.message.len() < 1_000, "{} bytes", rejection.message.len());
            let harmful = rejection.message.chars().find(|c| c.is_control() || *c == '\u{202e}');
            assert_eq!(harmful, None, "{rejection}");
        }
    }
}

#[test]
fn a_unit_that_stores_cannot_hold_is_rejected() {
    let odd = envelope()
        .to_string()
        .replace("\"price\":31.55", "\"price\":31.55,\"unit\":\"MWh\\u0000\"");
    refused(&odd, RejectCode::InvalidIdentifier, "/payload/raw_data/unit");
}

#[test]
fn a_rejection_keeps_the_correlation_id() {
    let rejection = refused(
        &without(envelope(), "/payload", "market"),
        RejectCode::SchemaViolation,
        "market",
    );
    assert_eq!(rejection.correlation_id.as_deref(), Some("c-1"));
    let rejection = refused(
        &without(flat(), "", "tenant_id"),
        RejectCode::SchemaViolation,
        "tenant_id",
    );
    assert_eq!(rejection.correlation_id.as_deref(), Some("t-2"));
}

#[test]
fn an_oversized_message_is_rejected_before_it_is_read() {
    let payload = vec![b' '; (1 << 20) + 1];
    let rejection = run(&message(&payload)).unwrap_err();
    assert_eq!(rejection.code, RejectCode::Oversize);
    assert!(rejection.message.contains("1048577"), "{rejection}");
}

#[test]
fn flags_do_not_reject_the_tick() {
    let raw = |field: &str, value: Value| with(envelope(), &format!("/payload/raw_data/{field}"), value);
    assert_eq!(flags(&raw("price", json!(-5))), ["price_negative"]);
    assert_eq!(
        flags(&raw("price", json!("-500.01"))),
        ["price_negative", "out_of_range"]
    );
    assert_eq!(flags(&raw("price", json!("10000.01"))), ["out_of_range"]);
    assert_eq!(flags(&raw("volume", json!("1000000.5"))), ["volume_spike"]);
    assert_eq!(flags(&raw("volume", json!(null))), ["missing_volume"]);
    assert_eq!(flags(&raw("zone", json!(null))), ["missing_metadata"]);
    assert_eq!(flags(&raw("node", json!(" "))), ["missing_metadata"]);
    assert_eq!(
        flags(&raw("timestamp", json!("2026-10-02T11:54:59.999999Z"))),
        ["late_arrival"]
    );
    assert_eq!(flags(&raw("timestamp", json!("2026-10-02T11:55:00Z"))), ["valid"]);
    let caiso = with(envelope(), "/payload/market", json!("CAISO"));
    assert_eq!(flags(&caiso.replace("\"zone\":\"Z1\"", "\"zone\":null")), ["valid"]);
    assert_eq!(
        flags(&caiso.replace("\"hub\":\"H1\"", "\"hub\":null")),
        ["missing_metadata"]
    );
}

#[test]
fn a_jump_from_the_median_of_the_instruments_last_ticks_is_flagged() {
    let mut normalizer = normalizer();
    let mut flags_of = |price: &str, volume: &str, tenant: &str| {
        let payload = with(envelope(), "/payload/raw_data/price", json!(price));
        let payload = payload
            .replace("\"volume\":\"100\"", &format!("\"volume\":\"{volume}\""))
            .replace("acme", tenant);
        let mut flags = Vec::new();
        normalizer
            .normalize(&message(payload.as_bytes()), 5, &mut |tick| {
                flags = tick.quality_flags.iter().map(domain::QualityFlag::name).collect()
            })
            .unwrap();
        flags
    };
    assert_eq!(flags_of("100", "100", "acme"), ["valid"]);
    assert_eq!(flags_of("110", "150", "acme"), ["valid"]);
    // Of two, being near one of them is enough.
    assert_eq!(flags_of("98.9", "74", "acme"), ["valid"]);
    assert_eq!(flags_of("89.9", "49", "acme"), ["price_spike", "volume_spike"]);
    assert_eq!(flags_of("100", "100", "acme"), ["valid"]);
    assert_eq!(flags_of("1", "1", "other"), ["valid"]);
}

#[test]
fn a_replay_of_a_whole_message_is_the_same_event_as_its_retry() {
    let payload = envelope().to_string();
    let original = message(payload.as_bytes());
    let headers = |name: &str| match name {
        Replay::LETTER_HEADER => Some("5".as_bytes()),
        Replay::ORIGIN_HEADER => Some("raw/0/5".as_bytes()),
        Replay::ROWS_HEADER => Some("".as_bytes()),
        Replay::ATTEMPT_HEADER => Some("2".as_bytes()),
        _ => None,
    };
    let mut replayed = original;
    replayed.replay = Replay::from_headers(headers);
    assert!(replayed.replay.is_some());
    let ((ticks, first), (again, second)) = (run(&original).unwrap(), run(&replayed).unwrap());
    assert_eq!(ticks, again);
    assert_eq!(first.event_key, second.event_key);
    for missing in [
        Replay::LETTER_HEADER,
        Replay::ORIGIN_HEADER,
        Replay::ROWS_HEADER,
        Replay::ATTEMPT_HEADER,
    ] {
        let headers = |name: &str| headers(name).filter(|_| name != missing);
        assert_eq!(Replay::from_headers(headers), None, "{missing}");
    }
}
