//! Shape A: an envelope and a payload with `raw_data`.

use super::raw::Head;
use super::{Fields, Reading, check_version};
use crate::event::{Event, venue_of};
use crate::json::{Slot, fields_are_slots};
use crate::problems::Problems;
use crate::rejection::Rejection;
use crate::text::Text;
use crate::time;
use crate::venue::Venue;

const RAW_DATA: &str = "/payload/raw_data/";

#[derive(Default)]
pub(super) struct Envelope<'a> {
    event_type: Slot<'a>,
    pub event_id: Slot<'a>,
    timestamp: Slot<'a>,
    tenant_id: Slot<'a>,
    source: Slot<'a>,
    version: Slot<'a>,
    pub correlation_id: Slot<'a>,
}

fields_are_slots!(
    Envelope,
    event_type,
    event_id,
    timestamp,
    tenant_id,
    source,
    version,
    correlation_id
);

pub(super) fn read<'s, P: Problems>(
    fields: &Fields<'s>,
    reading: &Reading<'_, 's>,
    problems: &mut P,
) -> Result<Event<'s>, Rejection> {
    let (envelope, payload) = (&fields.envelope, &fields.payload);
    let event_id = Text::identifier(envelope.event_id.get(), "/envelope/event_id");
    let event_id = problems.keep(event_id, Text::UNREAD)?;
    let tenant_id = Text::identifier(envelope.tenant_id.get(), "/envelope/tenant_id");
    let tenant_id = problems.keep(tenant_id, Text::UNREAD)?;
    let event_type = Text::required(envelope.event_type.get(), "/envelope/event_type");
    problems.keep(event_type, Text::UNREAD)?;
    problems.keep(timestamp(envelope), ())?;
    let source = Text::required(envelope.source.get(), "/envelope/source");
    let source_system = problems.keep(source, Text::UNREAD)?;
    problems.keep(check_version(envelope.version.get(), "/envelope/version"), ())?;
    if fields.payload_is_there != Some(true) {
        return Err(Rejection::missing("/payload"));
    }
    let market = Text::required(payload.market.get(), "/payload/market");
    let venue = market.and_then(|market| venue_of(&reading.config.venues, market.as_str(), "/payload/market"));
    let venue = problems.keep(venue, Venue::unknown())?;
    let instrument_id = Text::instrument(payload.instrument_id.get(), "/payload/instrument_id");
    let instrument_id = problems.keep(instrument_id, Text::UNREAD)?;
    if payload.raw_data_is_there != Some(true) {
        return Err(Rejection::missing("/payload/raw_data"));
    }
    let optional = |slot: Slot<'s>, place| Text::optional(slot.get(), place);
    let correlation_id = optional(envelope.correlation_id, "/envelope/correlation_id");
    let head = Head {
        event_id,
        correlation_id: problems.keep(correlation_id, None)?,
        tenant_id,
        instrument_id,
        symbol: None,
        venue,
        source_system,
        producer: None,
        sequence: None,
        time: None,
    };
    payload.raw_data.event(head, RAW_DATA, reading, problems)
}

// The send time of the message; required, although it is not used.
fn timestamp(envelope: &Envelope<'_>) -> Result<(), Rejection> {
    const PLACE: &str = "/envelope/timestamp";
    let token = envelope.timestamp.get().ok_or_else(|| Rejection::missing(PLACE))?;
    time::parse(token, PLACE).map(|_| ())
}
