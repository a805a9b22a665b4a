//! Every spelling of a number or a time is read as its value, and the oracle agrees.

use proptest::prelude::*;
use serde_json::json;
use testkit::kafka::Record;
use testkit::parse::Parser;

use crate::common::{APPENDED_AT, message, normalizer};

const SCHEMA_C: &str = include_str!("../../../../schemas/avro/raw_market_tick.avsc");

fn number_text(unscaled: i64, form: usize, zeros: usize) -> String {
    let (sign, digits) = (
        if unscaled < 0 { "-" } else { "" },
        format!("{:09}", unscaled.unsigned_abs()),
    );
    let (whole, fraction) = digits.split_at(digits.len() - 8);
    let zeros_text = "0".repeat(zeros);
    match form {
        0 => format!("{sign}{whole}.{fraction}{zeros_text}"),
        1 => format!("{unscaled}{zeros_text}e-{}", 8 + zeros),
        _ => format!("{sign}0.{zeros_text}{digits}E+{}", zeros + digits.len() - 8),
    }
}

const TIME_FORMS: usize = 12;

/// Returns the text, and whether it is valid without quotes.
fn time_text(micros: i64, form: usize) -> (String, bool) {
    let time = jiff::Timestamp::from_microsecond(micros).unwrap();
    let at = |hours: i8, format: &str| {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(hours));
        (time.to_zoned(zone).strftime(format).to_string(), false)
    };
    let digits = micros.to_string();
    match form {
        0 => at(0, "%Y-%m-%dT%H:%M:%S.%6fZ"),
        1 => at(0, "%Y%m%dT%H%M%S,%6fZ"),
        2 => at(-5, "%Y-%m-%d %H:%M:%S.%6f-05:00"),
        3 => at(3, "%Y%m%dt%H%M%S.%6f999+0300"),
        4 => at(0, "%Y-%m-%dT%H:%M:%S.%6f"),
        5 => (format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000), true),
        6 => (format!("{}.{:03}", micros / 1000, micros % 1000), true),
        7 => (digits, true),
        8 => (format!("{micros}987"), true),
        9 => (format!("{micros}e-6"), true),
        10 => (format!("{}.{}e9", &digits[..1], &digits[1..]), true),
        _ => (format!("{micros}000E-3"), true),
    }
}

fn envelope(price: &str, time: &str) -> String {
    json!({"envelope": {"event_type": "t", "event_id": "e", "timestamp": 1_790_942_400, "tenant_id": "t", "source": "s", "version": "1.0"},
        "payload": {"market": "pjm", "instrument_id": "I", "raw_data": {"timestamp": "TIME", "price": "PRICE"}}})
    .to_string()
    .replace("\"TIME\"", time)
    .replace("\"PRICE\"", price)
}

/// Price and time, or the code of the rejection.
type Read = Result<(i128, i64), &'static str>;

fn ours(payload: &str) -> Read {
    thread_local! {
        // Creating a normalizer costs more than all the reading in this test.
        static NORMALIZER: std::cell::RefCell<markets::Normalizer> = std::cell::RefCell::new(normalizer());
    }
    let mut read = None;
    NORMALIZER
        .with_borrow_mut(|normalizer| {
            normalizer.normalize(&message(payload.as_bytes()), 5, &mut |tick| {
                read = Some((i128::from(tick.price.unscaled()), tick.event_time))
            })
        })
        .map_err(|rejection| rejection.code.name())?;
    Ok(read.unwrap())
}

fn oracle(payload: &str) -> Read {
    let record = Record {
        topic: "raw".to_owned(),
        partition: 0,
        offset: 0,
        timestamp: APPENDED_AT / 1000,
        key: None,
        payload: payload.as_bytes().to_vec(),
        headers: Vec::new(),
    };
    let sound = Parser::new(SCHEMA_C, "default").unwrap().parse(&record)?;
    Ok((sound.ticks[0].price, sound.ticks[0].time))
}

fn quoted(text: &str, quoted: bool) -> String {
    if quoted { format!("\"{text}\"") } else { text.to_owned() }
}

proptest! {
    #[test]
    fn every_spelling_is_read_as_its_value(
        unscaled in prop_oneof![1i64..999_999_999_999_999_999, -999_999_999_999_999_999i64..-1, 1i64..1_000_000_000],
        (number_form, zeros, number_quoted) in (0usize..3, 0usize..60, any::<bool>()),
        age in -600_000_000i64..700_000_000_000_000,
        (time_form, time_quoted) in (0..TIME_FORMS, any::<bool>()),
    ) {
        let time = APPENDED_AT - age;
        let (text, is_number) = time_text(time, time_form);
        let number = number_text(unscaled, number_form, zeros);
        let payload = envelope(&quoted(&number, number_quoted), &quoted(&text, time_quoted || !is_number));
        let expected = Ok((i128::from(unscaled), time));
        prop_assert_eq!(ours(&payload), expected, "{}", payload);
        prop_assert_eq!(oracle(&payload), expected, "{}", payload);
    }

    #[test]
    fn floating_point_noise_on_cents_is_rounded_away(cents in 1i64..99_999_999, steps in -2i64..=2) {
        let near = f64::from_bits(((cents as f64 / 100.0).to_bits() as i64 + steps) as u64);
        let payload = envelope(&format!("{near:?}"), "1790942400");
        let expected = Ok((i128::from(cents) * 1_000_000, APPENDED_AT));
        prop_assert_eq!(ours(&payload), expected, "{}", payload);
        prop_assert_eq!(oracle(&payload), expected, "{}", payload);
    }

    #[test]
    fn the_oracle_agrees_on_strings_that_are_almost_numbers_or_times(
        price in "[-+]?[0-9]{0,12}\\.?[0-9]{0,20}([eE][-+]?[0-9]{1,3})?",
        time in "(2026-?(0[0-9]|1[0-3])-?[0-3][0-9][T ]?(2[0-5]|[01][0-9])(:?[0-6][0-9](:?(60|[0-5][0-9]))?)?([.,][0-9]{0,8})?(Z|[-+]0[0-9](:?[0-5][0-9])?)?|[0-9]{7,19}(\\.[0-9]{0,9})?(e-?[0-9]{1,2})?)",
    ) {
        for payload in [envelope(&quoted(&price, true), "1790942400"), envelope("1", &quoted(&time, true))] {
            prop_assert_eq!(ours(&payload), oracle(&payload), "{}", payload);
        }
    }
}
