//! The three shapes of a message that holds one tick (interfaces section 1).
//!
//! A and B are read in one pass over the JSON; which of the two it is follows from the fields that are there.

mod avro;
mod envelope;
mod flat;
mod raw;

use crate::event::Event;
use crate::json::{Read, Reader, Token};
use crate::message::RawMessage;
use crate::rejection::{RejectCode, Rejection};
use crate::text::Text;
use crate::venue::Venue;

pub(crate) use avro::read as read_avro;

/// The fields of both shapes, as far as anything depends on them.
#[derive(Default)]
struct Fields<'a> {
    has_envelope: bool,
    envelope: envelope::Envelope<'a>,
    event_id: Option<Token<'a>>,
    trace_id: Option<Token<'a>>,
    schema_version: Option<Token<'a>>,
    tenant_id: Option<Token<'a>>,
    producer: Option<Token<'a>>,
    occurred_at: Option<Token<'a>>,
    has_payload: bool,
    payload: Payload<'a>,
}

/// The payload of both shapes: `instrument_id` and `raw_data` belong to A, what follows `market` to B.
#[derive(Default)]
struct Payload<'a> {
    instrument_id: Option<Token<'a>>,
    has_raw_data: bool,
    raw_data: raw::RawData<'a>,
    market: Option<Token<'a>>,
    source_system: Option<Token<'a>>,
    symbol: Option<Token<'a>>,
    sequence: Option<Token<'a>>,
    raw_payload: Option<Token<'a>>,
    encoding: Option<Token<'a>>,
    has_metadata: bool,
    stated_instrument_id: Option<Token<'a>>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, text: &'a str) -> Read<()> {
        Reader::whole_object(text, |reader, key| match key {
            "envelope" => {
                reader.optional_object(&mut self.has_envelope, |reader, key| self.envelope.field(reader, key))
            }
            "payload" => reader.optional_object(&mut self.has_payload, |reader, key| self.payload.field(reader, key)),
            "event_id" => reader.put(&mut self.event_id),
            "trace_id" => reader.put(&mut self.trace_id),
            "schema_version" => reader.put(&mut self.schema_version),
            "tenant_id" => reader.put(&mut self.tenant_id),
            "producer" => reader.put(&mut self.producer),
            "occurred_at" => reader.put(&mut self.occurred_at),
            _ => reader.skip(),
        })
    }

    /// What the message is known by: the correlation id, else the event id.
    fn known_id(&self) -> Option<String> {
        [
            self.envelope.correlation_id,
            self.envelope.event_id,
            self.trace_id,
            self.event_id,
        ]
        .into_iter()
        .flatten()
        .filter_map(Token::text)
        .find(|id| !id.trim().is_empty())
        .map(Into::into)
    }
}

impl<'a> Payload<'a> {
    fn field(&mut self, reader: &mut Reader<'a>, key: &str) -> Read<()> {
        match key {
            "instrument_id" => reader.put(&mut self.instrument_id),
            "raw_data" => {
                reader.optional_object(&mut self.has_raw_data, |reader, key| self.raw_data.field(reader, key))
            }
            "market" => reader.put(&mut self.market),
            "source_system" => reader.put(&mut self.source_system),
            "symbol" => reader.put(&mut self.symbol),
            "sequence" => reader.put(&mut self.sequence),
            "raw_payload" => reader.put(&mut self.raw_payload),
            "encoding" => reader.put(&mut self.encoding),
            "metadata" => reader.optional_object(&mut self.has_metadata, |reader, key| match key {
                "instrument_id" => reader.put(&mut self.stated_instrument_id),
                _ => reader.skip(),
            }),
            _ => reader.skip(),
        }
    }
}

/// Reads shape A or B. `raw_text` is where the inner JSON of B is kept once its escapes are undone.
pub(crate) fn read_json<'s>(
    message: &RawMessage<'s>,
    venues: &'s [Venue],
    raw_text: &'s mut String,
) -> Result<Event<'s>, Rejection> {
    let text = json_text(message.payload)?;
    let mut fields = Fields::default();
    fields
        .read(text)
        .map_err(|error| error.rejection(""))
        .and_then(|()| {
            let event = read_fields(&fields, venues, raw_text)?;
            event.check(message)?;
            Ok(event)
        })
        .map_err(|rejection| Rejection {
            correlation_id: fields.known_id(),
            ..rejection
        })
}

fn read_fields<'s>(fields: &Fields<'s>, venues: &'s [Venue], raw_text: &'s mut String) -> Result<Event<'s>, Rejection> {
    if fields.has_envelope {
        envelope::read(fields, venues)
    } else if fields.event_id.is_some() || fields.payload.raw_payload.is_some() {
        flat::read(fields, venues, raw_text)
    } else {
        Err(Rejection::new(
            RejectCode::SchemaViolation,
            "neither shape A (/envelope is missing) nor shape B (/event_id and /payload/raw_payload are missing), and no header dp.format",
        ))
    }
}

/// The text of a JSON message. An error page of a source is not one.
pub(crate) fn json_text(payload: &[u8]) -> Result<&str, Rejection> {
    let text = std::str::from_utf8(payload).map_err(|error| {
        Rejection::new(
            RejectCode::BrokenJson,
            format!("not UTF-8 at byte {}", error.valid_up_to()),
        )
    })?;
    if text.trim_ascii_start().starts_with('<') {
        let message =
            "begins with '<': an HTML or XML page, perhaps an error page of the source, where JSON is expected";
        return Err(Rejection::new(RejectCode::BrokenJson, message));
    }
    Ok(text)
}

fn check_version(version: Option<Token<'_>>, place: &str) -> Result<(), Rejection> {
    let version = Text::required(version, place)?;
    if version.as_str() == "1" || version.as_str().starts_with("1.") {
        return Ok(());
    }
    let shown: String = version.as_str().chars().take(20).collect();
    Err(Rejection::new(
        RejectCode::SchemaViolation,
        format!("{place} is '{shown}'; only versions 1.x are known"),
    ))
}
