//! The three shapes of a message that contains one tick.
//!
//! A and B are read in one pass over the JSON. The fields that are present decide between the two.

mod avro;
mod bare;
mod envelope;
mod flat;
mod raw;

use domain::Micros;

use crate::encoding::json_text;
use crate::event::Event;
use crate::json::{Key, Object, Read, Reader, Slot, Token, fields_are_slots, slot_of, word};
use crate::message::RawMessage;
use crate::normalizer::NormalizerConfig;
use crate::problems::Problems;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::text::Text;

pub(crate) use avro::read as read_avro;
pub(crate) use bare::read as read_bare;

const ENVELOPE: u128 = word("envelope");
const PAYLOAD: u128 = word("payload");
const RAW_DATA: u128 = word("raw_data");
const METADATA: u128 = word("metadata");

/// The message and the configuration that applies to it.
pub(crate) struct Reading<'m, 's> {
    pub message: &'m RawMessage<'s>,
    pub config: &'s NormalizerConfig,
}

impl Reading<'_, '_> {
    fn max_future(&self) -> Micros {
        self.config.quality.max_future
    }
}

/// The used fields of both shapes.
#[derive(Default)]
struct Fields<'a> {
    envelope_is_there: Option<bool>,
    envelope: envelope::Envelope<'a>,
    event_id: Slot<'a>,
    trace_id: Slot<'a>,
    schema_version: Slot<'a>,
    tenant_id: Slot<'a>,
    producer: Slot<'a>,
    occurred_at: Slot<'a>,
    payload_is_there: Option<bool>,
    payload: Payload<'a>,
}

/// The payload of both shapes: `instrument_id` and `raw_data` belong to A, what follows `market` to B.
#[derive(Default)]
struct Payload<'a> {
    instrument_id: Slot<'a>,
    raw_data_is_there: Option<bool>,
    raw_data: raw::RawData<'a>,
    market: Slot<'a>,
    source_system: Slot<'a>,
    symbol: Slot<'a>,
    sequence: Slot<'a>,
    raw_payload: Slot<'a>,
    encoding: Slot<'a>,
    metadata_is_there: Option<bool>,
    metadata: Metadata<'a>,
}

/// The metadata of B.
#[derive(Default)]
struct Metadata<'a> {
    instrument_id: Slot<'a>,
}

impl<'a> Object<'a> for Fields<'a> {
    #[inline(always)]
    fn field(&mut self, reader: &mut Reader<'a>, key: Key<'_>) -> Read<()> {
        match key.word {
            ENVELOPE => reader.optional_object(&mut self.envelope_is_there, &mut self.envelope),
            PAYLOAD => reader.optional_object(&mut self.payload_is_there, &mut self.payload),
            _ => reader.put(slot_of!(
                self,
                key,
                event_id,
                trace_id,
                schema_version,
                tenant_id,
                producer,
                occurred_at
            )),
        }
    }
}

impl Fields<'_> {
    /// The correlation id, else the event id.
    fn known_id(&self) -> Option<String> {
        [
            self.envelope.correlation_id,
            self.envelope.event_id,
            self.trace_id,
            self.event_id,
        ]
        .into_iter()
        .filter_map(|slot| slot.get().and_then(Token::text))
        .find(|id| !id.trim().is_empty())
        .map(Into::into)
    }
}

impl<'a> Object<'a> for Payload<'a> {
    #[inline(always)]
    fn field(&mut self, reader: &mut Reader<'a>, key: Key<'_>) -> Read<()> {
        match key.word {
            RAW_DATA => reader.optional_object(&mut self.raw_data_is_there, &mut self.raw_data),
            METADATA => reader.optional_object(&mut self.metadata_is_there, &mut self.metadata),
            _ => reader.put(slot_of!(
                self,
                key,
                instrument_id,
                market,
                source_system,
                symbol,
                sequence,
                raw_payload,
                encoding
            )),
        }
    }
}

fields_are_slots!(Metadata, instrument_id);

/// Reads shape A or B. `raw_text` is the buffer for the unescaped inner JSON of B.
pub(crate) fn read_json<'s, P: Problems>(
    reading: &Reading<'_, 's>,
    raw_text: &'s mut String,
    problems: &mut P,
) -> Result<Event<'s>, Rejection> {
    let text = json_text(reading.message.payload)?;
    let mut fields = Fields::default();
    Reader::whole_object(text, &mut fields)
        .map_err(|error| error.rejection(""))
        .and_then(|()| read_fields(&fields, reading, raw_text, problems))
        .map_err(|rejection| Rejection {
            correlation_id: fields.known_id(),
            ..rejection
        })
}

fn read_fields<'s, P: Problems>(
    fields: &Fields<'s>,
    reading: &Reading<'_, 's>,
    raw_text: &'s mut String,
    problems: &mut P,
) -> Result<Event<'s>, Rejection> {
    if fields.envelope_is_there == Some(true) {
        envelope::read(fields, reading, problems)
    } else if fields.event_id.get().is_some() || fields.payload.raw_payload.get().is_some() {
        flat::read(fields, reading, raw_text, problems)
    } else {
        Err(Rejection::new(
            RejectCode::SchemaViolation,
            "neither shape A (/envelope is missing) nor shape B (/event_id and /payload/raw_payload are missing), and no header dp.format",
        ))
    }
}

fn check_version(version: Option<Token<'_>>, place: &str) -> Result<(), Rejection> {
    let version = Text::required(version, place)?;
    if version.as_str() == "1" || version.as_str().starts_with("1.") {
        return Ok(());
    }
    Err(Rejection::new(
        RejectCode::SchemaViolation,
        format!(
            "{place} is '{}'; only versions 1.x are supported",
            excerpt(version.as_str())
        ),
    ))
}
