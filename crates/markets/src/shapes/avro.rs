//! Shape C: `RawMarketTick`, the same fields typed, in any version of its schema.

use std::borrow::Cow;

use codec::{RawTick, Record, Wire};

use crate::event::{Event, venue_of};
use crate::message::RawMessage;
use crate::rejection::{RejectCode, Rejection};
use crate::text::Text;
use crate::venue::Venue;

/// Reads a framed `RawMarketTick`; `rewritten` takes the current form of an older version.
pub(crate) fn read<'s>(
    message: &RawMessage<'s>,
    venues: &'s [Venue],
    wire: &Wire,
    rewritten: &'s mut Vec<u8>,
) -> Result<Event<'s>, Rejection> {
    let payload = match wire.current(Record::RawMarketTick, message.payload) {
        Cow::Borrowed(payload) => payload,
        Cow::Owned(payload) => {
            *rewritten = payload;
            rewritten.as_slice()
        }
    };
    let raw = wire
        .decode_raw(payload)
        .map_err(|error| Rejection::new(RejectCode::InvalidAvro, error.to_string()))?;
    let checked = event(&raw, venues).and_then(|event| event.check(message).map(|()| event));
    checked.map_err(|rejection| Rejection {
        correlation_id: Some(raw.correlation_id.unwrap_or(raw.event_id).to_owned()),
        ..rejection
    })
}

fn event<'s>(raw: &RawTick<'s>, venues: &'s [Venue]) -> Result<Event<'s>, Rejection> {
    let some = |text: Option<&'s str>| text.map(Text::from).and_then(Text::trimmed);
    if raw.instrument_id.is_empty() {
        return Err(Rejection::new(RejectCode::MissingInstrument, "instrument_id is empty"));
    }
    Ok(Event {
        event_id: raw.event_id.into(),
        correlation_id: some(raw.correlation_id),
        tenant_id: raw.tenant_id.into(),
        instrument_id: raw.instrument_id.into(),
        symbol: some(raw.symbol),
        venue: venue_of(venues, raw.market, "market")?,
        product: "trade",
        event_time: raw.timestamp,
        price: raw.price,
        volume: raw.volume,
        bid: raw.bid,
        ask: raw.ask,
        currency: None,
        unit: None,
        node: some(raw.node),
        zone: some(raw.zone),
        hub: some(raw.hub),
        market_status: some(raw.market_status),
        source_system: raw.source.into(),
        producer: None,
        sequence: raw.sequence,
    })
}
