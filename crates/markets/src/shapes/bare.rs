//! A tick without an envelope. Users send it to `POST /validate`; it is never published.
//!
//! Either the payload of shape A, or `market` and `instrument_id` next to the fields of `raw_data`.

use super::raw::{Head, RawData};
use super::{ENVELOPE, PAYLOAD, RAW_DATA, Reading};
use crate::encoding::json_text;
use crate::event::{Event, venue_of};
use crate::json::{Key, Object, Read, Reader, Slot, slot_of, word};
use crate::problems::Problems;
use crate::rejection::Rejection;
use crate::text::Text;
use crate::venue::Venue;

const EVENT_ID: u128 = word("event_id");

#[derive(Default)]
struct Bare<'a> {
    market: Slot<'a>,
    instrument_id: Slot<'a>,
    raw_data_is_there: Option<bool>,
    raw_data: RawData<'a>,
    flat: RawData<'a>,
    /// Whether it has fields of shape A or B.
    is_published: bool,
}

impl<'a> Object<'a> for Bare<'a> {
    fn field(&mut self, reader: &mut Reader<'a>, key: Key<'_>) -> Read<()> {
        match key.word {
            RAW_DATA => reader.optional_object(&mut self.raw_data_is_there, &mut self.raw_data),
            ENVELOPE | PAYLOAD | EVENT_ID => {
                self.is_published = true;
                reader.skip()
            }
            _ => match slot_of!(self, key, market, instrument_id) {
                Some(slot) => reader.put(Some(slot)),
                None => self.flat.field(reader, key),
            },
        }
    }
}

/// Reads the message as a bare tick; `None` if it is not one.
pub(crate) fn read<'s, P: Problems>(
    reading: &Reading<'_, 's>,
    problems: &mut P,
) -> Option<Result<Event<'s>, Rejection>> {
    let mut bare = Bare::default();
    let text = json_text(reading.message.payload).ok()?;
    let read = Reader::whole_object(text, &mut bare);
    if bare.is_published || bare.market.get().is_none() && bare.instrument_id.get().is_none() {
        return None;
    }
    Some(
        read.map_err(|error| error.rejection(""))
            .and_then(|()| event(&bare, reading, problems)),
    )
}

fn event<'s, P: Problems>(
    bare: &Bare<'s>,
    reading: &Reading<'_, 's>,
    problems: &mut P,
) -> Result<Event<'s>, Rejection> {
    let market = Text::required(bare.market.get(), "/market");
    let venue = market.and_then(|market| venue_of(&reading.config.venues, market.as_str(), "/market"));
    let venue = problems.keep(venue, Venue::unknown())?;
    let instrument_id = Text::instrument(bare.instrument_id.get(), "/instrument_id");
    let head = Head {
        event_id: Text::from("bare"),
        correlation_id: None,
        tenant_id: Text::from(reading.message.tenant.unwrap_or(&reading.config.default_tenant)),
        instrument_id: problems.keep(instrument_id, Text::UNREAD)?,
        symbol: None,
        venue,
        source_system: Text::from("bare"),
        producer: None,
        sequence: None,
        time: None,
    };
    if bare.raw_data_is_there == Some(true) {
        bare.raw_data.event(head, "/raw_data/", reading, problems)
    } else {
        bare.flat.event(head, "/", reading, problems)
    }
}
