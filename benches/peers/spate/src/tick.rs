//! A raw message of shape A as a record of Spate that borrows from the bytes of the message.
//!
//! Numbers are read digit by digit, as in the pipeline, because binary floating point would change prices. Each failure is an
//! error of the record, which the configured policy of the chain counts.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use spate::checkpoint::AckRef;
use spate::clickhouse::{DateTime64Micros, Decimal64};
use spate::deser::{Deserializer, EmitRecord, RecFamily};
use spate::{DeserError, RawPayload, Record};

/// Decimals of prices and volumes.
const SCALE: usize = 8;

/// The family of [`Tick`]: the type that Spate needs to name it for each lifetime.
pub struct Ticks;

impl RecFamily for Ticks {
    type Rec<'buf> = Tick<'buf>;
}

/// A normalized tick. The order of its fields is that of the columns in `table.yaml`.
#[derive(Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Tick<'a> {
    pub event_id: &'a str,
    pub tenant_id: &'a str,
    pub source: &'a str,
    pub market: &'a str,
    pub instrument_id: &'a str,
    pub product: &'a str,
    pub timestamp: DateTime64Micros,
    pub price: Decimal64<8>,
    pub volume: Option<Decimal64<8>>,
    pub bid: Option<Decimal64<8>>,
    pub ask: Option<Decimal64<8>>,
    pub node: Option<&'a str>,
    pub hub: Option<&'a str>,
    pub zone: Option<&'a str>,
}

/// The key of the output: one instrument stays in one partition.
pub fn key<'r>(tick: &'r Tick<'_>) -> Option<&'r [u8]> {
    Some(tick.instrument_id.as_bytes())
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    envelope: Envelope<'a>,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    event_id: &'a str,
    tenant_id: &'a str,
    source: &'a str,
}

#[derive(Deserialize)]
struct Payload<'a> {
    market: &'a str,
    instrument_id: &'a str,
    #[serde(borrow)]
    raw_data: RawData<'a>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    product: &'a str,
    timestamp: &'a str,
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    volume: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    node: Option<&'a str>,
    hub: Option<&'a str>,
    zone: Option<&'a str>,
}

/// Reads one message as one tick.
#[derive(Debug, Clone, Copy)]
pub struct Parser;

impl Deserializer<Ticks> for Parser {
    fn deserialize<'buf>(
        &mut self,
        raw: &RawPayload<'buf>,
        ack: &AckRef,
        out: &mut dyn EmitRecord<'buf, Tick<'buf>>,
    ) -> Result<(), DeserError> {
        let payload = parse(raw.bytes).map_err(|reason| DeserError::Malformed { reason })?;
        let _flow_is_kept_by_the_chain = out.emit(Record {
            payload,
            meta: raw.meta(),
            ack: ack.clone(),
        });
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Tick<'_>, String> {
    let Message { envelope, payload } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let data = payload.raw_data;
    let optional = |value: Option<&RawValue>| value.map(|value| decimal(value.get())).transpose();
    Ok(Tick {
        event_id: envelope.event_id,
        tenant_id: envelope.tenant_id,
        source: envelope.source,
        market: payload.market,
        instrument_id: payload.instrument_id,
        product: data.product,
        timestamp: DateTime64Micros(micros(data.timestamp)?),
        price: decimal(data.price.get())?,
        volume: optional(data.volume)?,
        bid: optional(data.bid)?,
        ask: optional(data.ask)?,
        node: data.node,
        hub: data.hub,
        zone: data.zone,
    })
}

/// A JSON number without an exponent, in units of the eighth decimal.
fn decimal(text: &str) -> Result<Decimal64<8>, String> {
    let wrong = || format!("not a plain number: {text}");
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > SCALE {
        return Err(wrong());
    }
    let mut value: i64 = 0;
    let padding = std::iter::repeat_n(b'0', SCALE - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        if !digit.is_ascii_digit() {
            return Err(wrong());
        }
        let next = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i64::from(digit - b'0')));
        value = next.ok_or_else(wrong)?;
    }
    Ok(Decimal64(if text.starts_with('-') { -value } else { value }))
}

/// A time of the form `2026-10-01T00:05:00.123456Z` in microseconds since 1970. Days to dates by Howard Hinnant's algorithm.
fn micros(text: &str) -> Result<i64, String> {
    let wrong = || format!("not a time in UTC with microseconds: {text}");
    let bytes = text.as_bytes();
    let shape = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'.'),
        (26, b'Z'),
    ];
    if bytes.len() != 27 || shape.iter().any(|(at, byte)| bytes.get(*at) != Some(byte)) {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| {
        let digits = bytes
            .get(from..to)
            .filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let digits = digits.ok_or_else(wrong)?;
        Ok::<i64, String>(
            digits
                .iter()
                .fold(0, |value, digit| value * 10 + i64::from(digit - b'0')),
        )
    };
    let (month, day) = (number(5, 7)?, number(8, 10)?);
    let year = number(0, 4)? - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = days * 86_400 + number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    Ok(seconds * 1_000_000 + number(20, 26)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_tick_with_exact_numbers() {
        let message = br#"{"envelope":{"event_type":"ingestion.market.raw.v1","event_id":"peer-000000001",
            "timestamp":"2026-10-01T00:05:00.000000Z","tenant_id":"default","source":"ingestion.miso","version":"1.0"},
            "payload":{"market":"MISO","instrument_id":"I1","raw_data":{"product":"trade",
            "timestamp":"2026-10-01T00:05:00.250000Z","price":-31.55,"volume":12}}}"#;
        let tick = parse(message);
        assert_eq!(tick.as_ref().map(|tick| tick.price), Ok(Decimal64(-3_155_000_000)));
        assert_eq!(
            tick.as_ref().map(|tick| tick.volume),
            Ok(Some(Decimal64(1_200_000_000)))
        );
        // date -u -d '2026-10-01 00:05:00' +%s
        assert_eq!(
            tick.map(|tick| tick.timestamp),
            Ok(DateTime64Micros(1_790_813_100_250_000))
        );
    }

    #[test]
    fn what_is_no_plain_number_or_time_is_refused() {
        for text in ["", ".5", "1e3", "1.123456789", "\"7\"", "99999999999999999999"] {
            assert!(decimal(text).is_err(), "{text}");
        }
        for text in ["2026-10-01T00:05:00Z", "2026-10-01T00:05:00.25000xZ"] {
            assert!(micros(text).is_err(), "{text}");
        }
    }
}
