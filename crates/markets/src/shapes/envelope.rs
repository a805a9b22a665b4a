//! Shape A: an envelope and a payload with `raw_data`.

use super::{Fields, check_version};
use crate::event::{Event, product_of, venue_of};
use crate::json::{Read, Reader, Token};
use crate::rejection::{RejectCode, Rejection};
use crate::text::Text;
use crate::venue::Venue;

const RAW_DATA: &str = "/payload/raw_data";

#[derive(Default)]
pub(super) struct Envelope<'a> {
    event_type: Option<Token<'a>>,
    pub event_id: Option<Token<'a>>,
    timestamp: Option<Token<'a>>,
    tenant_id: Option<Token<'a>>,
    source: Option<Token<'a>>,
    version: Option<Token<'a>>,
    pub correlation_id: Option<Token<'a>>,
}

impl<'a> Envelope<'a> {
    pub(super) fn field(&mut self, reader: &mut Reader<'a>, key: &str) -> Read<()> {
        let slot = match key {
            "event_type" => &mut self.event_type,
            "event_id" => &mut self.event_id,
            "timestamp" => &mut self.timestamp,
            "tenant_id" => &mut self.tenant_id,
            "source" => &mut self.source,
            "version" => &mut self.version,
            "correlation_id" => &mut self.correlation_id,
            _ => return reader.skip(),
        };
        reader.put(slot)
    }
}

pub(super) fn read<'s>(fields: &Fields<'s>, venues: &'s [Venue]) -> Result<Event<'s>, Rejection> {
    let (envelope, payload) = (&fields.envelope, &fields.payload);
    let event_id = Text::required(envelope.event_id, "/envelope/event_id")?;
    Text::required(envelope.event_type, "/envelope/event_type")?;
    Text::required(envelope.timestamp, "/envelope/timestamp")?;
    check_version(envelope.version, "/envelope/version")?;
    if !fields.has_payload {
        return Err(Rejection::missing("/payload"));
    }
    let venue = venue_of(
        venues,
        Text::required(payload.market, "/payload/market")?.as_str(),
        "/payload/market",
    )?;
    if !payload.has_raw_data {
        return Err(Rejection::missing(RAW_DATA));
    }
    if payload.instrument_id.is_none() {
        return Err(Rejection::new(
            RejectCode::MissingInstrument,
            "/payload/instrument_id is missing",
        ));
    }
    let raw = &payload.raw_data;
    let numbers = raw.numbers(RAW_DATA)?;
    Ok(Event {
        event_id,
        correlation_id: Text::optional(envelope.correlation_id, "/envelope/correlation_id")?,
        tenant_id: Text::required(envelope.tenant_id, "/envelope/tenant_id")?,
        instrument_id: Text::required(payload.instrument_id, "/payload/instrument_id")?,
        symbol: None,
        venue,
        product: product_of(raw.product),
        event_time: raw.event_time(None, RAW_DATA)?,
        price: numbers.price,
        volume: numbers.volume,
        bid: numbers.bid,
        ask: numbers.ask,
        currency: Text::label(raw.currency, "/payload/raw_data/currency")?,
        unit: Text::label(raw.unit, "/payload/raw_data/unit")?,
        node: Text::optional(raw.node, "/payload/raw_data/node")?,
        zone: Text::optional(raw.zone, "/payload/raw_data/zone")?,
        hub: Text::optional(raw.hub, "/payload/raw_data/hub")?,
        market_status: Text::optional(raw.market_status, "/payload/raw_data/market_status")?,
        source_system: Text::required(envelope.source, "/envelope/source")?,
        producer: None,
        sequence: None,
    })
}
