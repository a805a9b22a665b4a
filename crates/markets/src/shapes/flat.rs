//! Shape B: a flat message whose payload carries the source's JSON as text.

use super::raw::RawData;
use super::{Fields, check_version};
use crate::event::{Event, product_of, venue_of};
use crate::json::{Kind, Reader, Token, unescape};
use crate::rejection::{RejectCode, Rejection};
use crate::text::Text;
use crate::venue::Venue;

const RAW_PAYLOAD: &str = "/payload/raw_payload";

pub(super) fn read<'s>(
    fields: &Fields<'s>,
    venues: &'s [Venue],
    raw_text: &'s mut String,
) -> Result<Event<'s>, Rejection> {
    let payload = &fields.payload;
    let event_id = Text::required(fields.event_id, "/event_id")?;
    let tenant_id = Text::required(fields.tenant_id, "/tenant_id")?;
    check_version(fields.schema_version, "/schema_version")?;
    if !fields.has_payload {
        return Err(Rejection::missing("/payload"));
    }
    check_encoding(payload.encoding)?;
    let venue = venue_of(
        venues,
        Text::required(payload.market, "/payload/market")?.as_str(),
        "/payload/market",
    )?;
    let raw = read_raw(payload.raw_payload, raw_text)?;
    let symbol = Text::optional(payload.symbol, "/payload/symbol")?;
    let numbers = raw.numbers(RAW_PAYLOAD)?;
    Ok(Event {
        event_id,
        correlation_id: Text::optional(fields.trace_id, "/trace_id")?,
        tenant_id,
        instrument_id: instrument_id(payload.stated_instrument_id, &raw, symbol.as_ref())?,
        symbol,
        venue,
        product: product_of(raw.product),
        event_time: raw.event_time(fields.occurred_at, RAW_PAYLOAD)?,
        price: numbers.price,
        volume: numbers.volume,
        bid: numbers.bid,
        ask: numbers.ask,
        currency: Text::label(raw.currency, "currency in /payload/raw_payload")?,
        unit: Text::label(raw.unit, "unit in /payload/raw_payload")?,
        node: Text::optional(raw.node, "node in /payload/raw_payload")?,
        zone: Text::optional(raw.zone, "zone in /payload/raw_payload")?,
        hub: Text::optional(raw.hub, "hub in /payload/raw_payload")?,
        market_status: Text::optional(raw.market_status, "market_status in /payload/raw_payload")?,
        source_system: Text::required(payload.source_system, "/payload/source_system")?,
        producer: Text::optional(fields.producer, "/producer")?,
        sequence: payload.sequence.map(sequence).transpose()?,
    })
}

fn check_encoding(encoding: Option<Token<'_>>) -> Result<(), Rejection> {
    match Text::optional(encoding, "/payload/encoding")? {
        Some(encoding) if !encoding.as_str().eq_ignore_ascii_case("json") => {
            let shown: String = encoding.as_str().chars().take(20).collect();
            Err(Rejection::new(
                RejectCode::SchemaViolation,
                format!("/payload/encoding is '{shown}'; only json is known"),
            ))
        }
        _ => Ok(()),
    }
}

fn instrument_id<'s>(
    stated: Option<Token<'s>>,
    raw: &RawData<'s>,
    symbol: Option<&Text<'s>>,
) -> Result<Text<'s>, Rejection> {
    if let Some(id) = Text::optional(stated, "/payload/metadata/instrument_id")? {
        return Ok(id);
    }
    if let Some(id) = Text::optional(raw.instrument_id, "instrument_id in /payload/raw_payload")? {
        return Ok(id);
    }
    symbol.cloned().ok_or_else(|| {
        let message =
            "none of /payload/metadata/instrument_id, instrument_id in /payload/raw_payload, /payload/symbol is there";
        Rejection::new(RejectCode::MissingInstrument, message)
    })
}

fn sequence(token: Token<'_>) -> Result<i64, Rejection> {
    token.raw.parse().map_err(|_| {
        Rejection::new(
            RejectCode::SchemaViolation,
            format!("/payload/sequence is {}: no whole number", token.shown()),
        )
    })
}

fn read_raw<'s>(token: Option<Token<'s>>, raw_text: &'s mut String) -> Result<RawData<'s>, Rejection> {
    let token = token.ok_or_else(|| Rejection::missing(RAW_PAYLOAD))?;
    let no_text = || {
        Rejection::new(
            RejectCode::SchemaViolation,
            format!("{RAW_PAYLOAD} must be JSON as text, is {}", token.shown()),
        )
    };
    let text: &'s str = match token.kind {
        Kind::Text => token.raw,
        Kind::EscapedText => {
            raw_text.clear();
            unescape(token.raw, raw_text).ok_or_else(no_text)?;
            raw_text
        }
        _ => return Err(no_text()),
    };
    let mut raw = RawData::default();
    Reader::whole_object(text, |reader, key| raw.field(reader, key)).map_err(|error| error.rejection(RAW_PAYLOAD))?;
    Ok(raw)
}
