//! Shape B: a flat message whose payload contains the source's JSON as a string.

use super::raw::{Head, RawData};
use super::{Fields, Reading, check_version};
use crate::check;
use crate::event::{Event, venue_of};
use crate::json::{Kind, Reader, Token, unescape};
use crate::problems::Problems;
use crate::rejection::{Place, RejectCode, Rejection, excerpt};
use crate::text::Text;
use crate::time;
use crate::venue::Venue;

const RAW_PAYLOAD: &str = "/payload/raw_payload";
/// Pointers into the inner JSON continue the pointer of its string.
const INSIDE: &str = "/payload/raw_payload/";

pub(super) fn read<'s, P: Problems>(
    fields: &Fields<'s>,
    reading: &Reading<'_, 's>,
    raw_text: &'s mut String,
    problems: &mut P,
) -> Result<Event<'s>, Rejection> {
    let payload = &fields.payload;
    let event_id = Text::identifier(fields.event_id.get(), "/event_id");
    let event_id = problems.keep(event_id, Text::UNREAD)?;
    let tenant_id = Text::identifier(fields.tenant_id.get(), "/tenant_id");
    let tenant_id = problems.keep(tenant_id, Text::UNREAD)?;
    problems.keep(check_version(fields.schema_version.get(), "/schema_version"), ())?;
    let occurred_at = Place("/", "occurred_at");
    let time = fields.occurred_at.get().map(|token| time::parse(token, occurred_at));
    let time = problems.keep(time.transpose(), None)?.map(|time| (time, occurred_at));
    if fields.payload_is_there != Some(true) {
        return Err(Rejection::missing("/payload"));
    }
    let source = Text::required(payload.source_system.get(), "/payload/source_system");
    let source_system = problems.keep(source, Text::UNREAD)?;
    problems.keep(check_encoding(payload.encoding.get()), ())?;
    let market = Text::required(payload.market.get(), "/payload/market");
    let venue = market.and_then(|market| venue_of(&reading.config.venues, market.as_str(), "/payload/market"));
    let venue = problems.keep(venue, Venue::unknown())?;
    let correlation_id = problems.keep(Text::optional(fields.trace_id.get(), "/trace_id"), None)?;
    let producer = problems.keep(Text::optional(fields.producer.get(), "/producer"), None)?;
    let symbol = problems.keep(Text::optional(payload.symbol.get(), "/payload/symbol"), None)?;
    let sequence = problems.keep(payload.sequence.get().map(sequence).transpose(), None)?;
    let raw = read_raw(payload.raw_payload.get(), raw_text)?;
    let instrument_id = instrument_id(payload.metadata.instrument_id.get(), &raw, symbol.as_ref());
    let head = Head {
        event_id,
        correlation_id,
        tenant_id,
        instrument_id: problems.keep(instrument_id, Text::UNREAD)?,
        symbol,
        venue,
        source_system,
        producer,
        sequence,
        time,
    };
    raw.event(head, INSIDE, reading, problems)
}

fn check_encoding(encoding: Option<Token<'_>>) -> Result<(), Rejection> {
    match Text::optional(encoding, "/payload/encoding")? {
        Some(encoding) if !encoding.as_str().eq_ignore_ascii_case("json") => Err(Rejection::new(
            RejectCode::SchemaViolation,
            format!(
                "/payload/encoding is '{}'; only json is supported",
                excerpt(encoding.as_str())
            ),
        )),
        _ => Ok(()),
    }
}

fn instrument_id<'s>(
    stated: Option<Token<'s>>,
    raw: &RawData<'s>,
    symbol: Option<&Text<'s>>,
) -> Result<Text<'s>, Rejection> {
    if let Some(id) = Text::label(stated, "/payload/metadata/instrument_id")? {
        return Ok(id);
    }
    if let Some(id) = Text::label(raw.instrument_id.get(), Place(INSIDE, "instrument_id"))? {
        return Ok(id);
    }
    let symbol = symbol.ok_or_else(|| {
        let message = "none of /payload/metadata/instrument_id, /payload/raw_payload/instrument_id, /payload/symbol \
                       contains an instrument id";
        Rejection::new(RejectCode::MissingInstrument, message)
    })?;
    check::identifier(symbol.as_str(), "/payload/symbol")?;
    Ok(symbol.clone())
}

fn sequence(token: Token<'_>) -> Result<i64, Rejection> {
    token.raw.trim_ascii().parse().map_err(|_| {
        Rejection::new(
            RejectCode::SchemaViolation,
            format!("/payload/sequence is {}: a 64-bit integer is expected", token.shown()),
        )
    })
}

fn read_raw<'s>(token: Option<Token<'s>>, raw_text: &'s mut String) -> Result<RawData<'s>, Rejection> {
    let token = token.ok_or_else(|| Rejection::missing(RAW_PAYLOAD))?;
    let no_text = || {
        Rejection::new(
            RejectCode::SchemaViolation,
            format!(
                "{RAW_PAYLOAD} is {}: a string that contains a JSON object is expected",
                token.shown()
            ),
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
    Reader::whole_object(text, &mut raw).map_err(|error| error.rejection(RAW_PAYLOAD))?;
    Ok(raw)
}
