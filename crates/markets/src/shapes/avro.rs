//! Shape C: `RawMarketTick` in Avro, in any version of its schema.

use std::borrow::Cow;

use codec::{CodecError, RawTick, Record, Wire};
use domain::{QualityFlag, QualityFlags};

use super::Reading;
use crate::check;
use crate::event::{Event, TRADE, venue_of};
use crate::problems::Problems;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::text::Text;
use crate::venue::Venue;

/// Reads a framed `RawMarketTick`. An older version is rewritten to the current one in `rewritten`.
pub(crate) fn read<'s, P: Problems>(
    reading: &Reading<'_, 's>,
    wire: &Wire,
    rewritten: &'s mut Vec<u8>,
    problems: &mut P,
) -> Result<Event<'s>, Rejection> {
    let payload = match wire.current(Record::RawMarketTick, reading.message.payload) {
        Cow::Borrowed(payload) => payload,
        Cow::Owned(payload) => {
            *rewritten = payload;
            rewritten.as_slice()
        }
    };
    let raw = wire.decode_raw(payload).map_err(|error| {
        let code = match error {
            CodecError::InvalidValue { field: "price", .. } => RejectCode::InvalidPrice,
            CodecError::InvalidValue {
                field: "volume", why, ..
            } if why.contains("magnitude") => RejectCode::InvalidNumber,
            _ => RejectCode::InvalidAvro,
        };
        Rejection::new(code, error.to_string())
    })?;
    event(&raw, reading, problems).map_err(|rejection| Rejection {
        correlation_id: Some(raw.correlation_id.unwrap_or(raw.event_id).to_owned()),
        ..rejection
    })
}

fn event<'s, P: Problems>(
    raw: &RawTick<'s>,
    reading: &Reading<'_, 's>,
    problems: &mut P,
) -> Result<Event<'s>, Rejection> {
    let some = |text: Option<&'s str>| text.map(Text::from).and_then(Text::trimmed);
    let event_id = problems.keep(identifier(raw.event_id, "event_id"), Text::UNREAD)?;
    let tenant_id = problems.keep(identifier(raw.tenant_id, "tenant_id"), Text::UNREAD)?;
    let source_system = problems.keep(source(raw.source), Text::UNREAD)?;
    let venue = problems.keep(venue_of(&reading.config.venues, raw.market, "market"), Venue::unknown())?;
    let instrument_id = problems.keep(instrument(raw.instrument_id), Text::UNREAD)?;
    let appended_at = reading.message.appended_at;
    let time = check::event_time(
        raw.timestamp,
        appended_at,
        (venue, TRADE),
        reading.max_future(),
        "timestamp",
    );
    problems.keep(time, ())?;
    problems.keep(check::volume(raw.price, raw.volume, "volume"), ())?;
    let venues = &reading.config.venues;
    problems.keep(
        check::own_market(instrument_id.as_str(), venue, venues, "instrument_id"),
        (),
    )?;
    let mut remarks = QualityFlags::NONE;
    if raw.dropped_quote {
        remarks.insert(QualityFlag::MissingQuote);
    }
    Ok(Event {
        event_id,
        correlation_id: some(raw.correlation_id),
        tenant_id,
        instrument_id,
        symbol: some(raw.symbol),
        venue,
        product: TRADE.into(),
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
        source_system,
        producer: None,
        sequence: raw.sequence,
        remarks,
    })
}

fn identifier<'s>(text: &'s str, place: &str) -> Result<Text<'s>, Rejection> {
    let text = text.trim();
    check::identifier(text, place).map(|()| Text::from(text))
}

fn instrument(id: &str) -> Result<Text<'_>, Rejection> {
    if id.trim().is_empty() {
        let message = format!("instrument_id is \"{}\": an instrument id is required", excerpt(id));
        return Err(Rejection::new(RejectCode::MissingInstrument, message));
    }
    identifier(id, "instrument_id")
}

fn source(source: &str) -> Result<Text<'_>, Rejection> {
    Text::from(source).trimmed().ok_or_else(|| {
        let message = format!("source is \"{}\": a non-blank string is required", excerpt(source));
        Rejection::new(RejectCode::SchemaViolation, message)
    })
}
