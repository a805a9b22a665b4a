//! The content of one message, and how it is written in shapes A and B.

use std::io::Write;

use domain::Micros;

/// The content of one message, independent of its shape. A `None` is omitted from the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement<'a> {
    pub event_id: Option<&'a str>,
    pub tenant_id: &'a str,
    pub market: &'a str,
    pub instrument_id: Option<&'a str>,
    pub node: &'a str,
    pub zone: Option<&'a str>,
    pub product: &'a str,
    pub event_time: Option<Micros>,
    /// The send time that the producer states.
    pub sent_at: Micros,
    pub time_form: TimeForm,
    /// A JSON value: a number, or a string in quotes.
    pub price: Option<&'a str>,
    pub volume: Option<&'a str>,
    pub bid: Option<&'a str>,
    pub ask: Option<&'a str>,
    pub version: &'a str,
    pub sequence: u64,
    /// Bytes of padding.
    pub padding: usize,
}

/// Event type of raw ticks: the name of the topic.
pub const EVENT_TYPE: &str = "ingestion.market.raw.v1";

/// Source of the messages of a market, such as `ingestion.miso`.
pub fn source(market: &str) -> String {
    format!("ingestion.{}", market.to_ascii_lowercase())
}

/// How a time is written; producers use all of these forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeForm {
    Utc,
    /// With an offset of minus five hours.
    Offset,
    Milliseconds,
    Microseconds,
}

impl TimeForm {
    pub(super) const ALL: [TimeForm; 4] = [
        TimeForm::Utc,
        TimeForm::Offset,
        TimeForm::Milliseconds,
        TimeForm::Microseconds,
    ];
}

/// Shape A, an envelope and a payload.
pub(super) fn write_envelope(said: &Statement<'_>, out: &mut Vec<u8>) {
    write_text("{\"envelope\":{", "event_type", Some(EVENT_TYPE), out);
    write_text(",", "event_id", said.event_id, out);
    out.extend_from_slice(br#","timestamp":"#);
    write_time(said.sent_at, TimeForm::Utc, out);
    out.extend_from_slice(br#","tenant_id":""#);
    out.extend_from_slice(said.tenant_id.as_bytes());
    write_text("\",", "source", Some(&source(said.market)), out);
    out.extend_from_slice(br#","version":""#);
    out.extend_from_slice(said.version.as_bytes());
    if said.padding > 0 {
        out.extend_from_slice(br#"","metadata":{"ballast":""#);
        out.resize(out.len() + said.padding, b'x');
        out.extend_from_slice(br#""}},"payload":{"market":""#);
    } else {
        out.extend_from_slice(br#""},"payload":{"market":""#);
    }
    out.extend_from_slice(said.market.as_bytes());
    out.push(b'"');
    write_text(",", "instrument_id", said.instrument_id, out);
    out.extend_from_slice(br#","raw_data":{"#);
    write_raw_data(said, out);
    out.extend_from_slice(b"}}}");
}

/// Shape B, flat, with the source's JSON as text. `inner` is scratch space.
pub(super) fn write_flat(said: &Statement<'_>, inner: &mut Vec<u8>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"schema_version":""#);
    out.extend_from_slice(said.version.as_bytes());
    out.push(b'"');
    write_text(",", "event_id", said.event_id, out);
    write_text(",", "trace_id", said.event_id, out);
    write_text(",", "tenant_id", Some(said.tenant_id), out);
    out.extend_from_slice(br#","producer":"simulator","occurred_at":"#);
    write_integer(said.sent_at, out);
    out.extend_from_slice(br#","ingested_at":"#);
    write_integer(said.sent_at, out);
    write_text(",\"payload\":{", "source_system", Some(&source(said.market)), out);
    out.extend_from_slice(br#","market":""#);
    out.extend_from_slice(said.market.as_bytes());
    out.push(b'"');
    write_text(",", "symbol", said.instrument_id, out);
    out.extend_from_slice(br#","sequence":"#);
    write_integer(said.sequence as i64, out);
    out.extend_from_slice(br#","received_at":"#);
    write_integer(said.sent_at, out);
    out.extend_from_slice(br#","raw_payload":"{"#);
    inner.clear();
    write_raw_data(said, inner);
    for byte in inner.iter() {
        if *byte == b'"' {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.extend_from_slice(br#"}","encoding":"json","metadata":{"feed":"simulation""#);
    write_text(",", "instrument_id", said.instrument_id, out);
    out.extend_from_slice(br#"},"retry_count":0}}"#);
}

/// Turns a message into a producer's retry: other transport fields, the same content. Shape C is not changed.
pub(super) fn make_retry(payload: &mut Vec<u8>) {
    const NO_RETRY: &[u8] = br#""retry_count":0}}"#;
    const END_OF_ENVELOPE: &[u8] = br#"},"payload":{"#;
    if payload.ends_with(NO_RETRY) {
        payload.truncate(payload.len() - NO_RETRY.len());
        payload.extend_from_slice(br#""retry_count":1}}"#);
    } else if let Some(at) = payload
        .windows(END_OF_ENVELOPE.len())
        .position(|window| window == END_OF_ENVELOPE)
    {
        payload.splice(at..at, *br#","correlation_id":"a retry""#);
    }
}

// The fields of the source's own object, without its braces.
fn write_raw_data(said: &Statement<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#""product":""#);
    out.extend_from_slice(said.product.as_bytes());
    out.push(b'"');
    if let Some(time) = said.event_time {
        out.extend_from_slice(br#","timestamp":"#);
        write_time(time, said.time_form, out);
    }
    for (name, value) in [
        ("price", said.price),
        ("volume", said.volume),
        ("bid", said.bid),
        ("ask", said.ask),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value.as_bytes());
        }
    }
    if !said.node.is_empty() {
        write_text(",", "node", Some(said.node), out);
        write_text(",", "hub", Some(said.node), out);
    }
    write_text(",", "zone", said.zone, out);
}

fn write_text(separator: &str, name: &str, value: Option<&str>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        for part in [separator, "\"", name, "\":\"", value, "\""] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

fn write_time(time: Micros, form: TimeForm, out: &mut Vec<u8>) {
    match form {
        TimeForm::Utc => write_iso(time, "Z", out),
        TimeForm::Offset => write_iso(time - 5 * 3_600_000_000, "-05:00", out),
        TimeForm::Milliseconds => write_integer(time.div_euclid(1000), out),
        TimeForm::Microseconds => write_integer(time, out),
    }
}

/// `"2026-10-01T00:05:00.000000Z"`, with its quotes. Days to dates by Howard Hinnant's algorithm: years begin in March.
fn write_iso(time: Micros, zone: &str, out: &mut Vec<u8>) {
    let (seconds, micros) = (time.div_euclid(1_000_000), time.rem_euclid(1_000_000));
    let (days, second_of_day) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}{zone}\""
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_writing_and_parsing_in_every_form() {
        for time in [0, 951_782_400_000_000, 1_709_210_096_789_000, 1_790_000_000_123_000] {
            for (form, zone) in [(TimeForm::Utc, "Z"), (TimeForm::Offset, "-05:00")] {
                let mut out = Vec::new();
                write_time(time, form, &mut out);
                let text = String::from_utf8(out).unwrap();
                assert!(text.ends_with(&format!("{zone}\"")), "{text}");
                let parsed: jiff::Timestamp = text.trim_matches('"').parse().unwrap();
                assert_eq!(parsed.as_microsecond(), time, "{text}");
            }
        }
    }
}
