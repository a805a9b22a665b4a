//! The datum of a normalized [`Tick`] (`schemas/avro/tick.avsc`).

use domain::{Kind, Origin, QualityFlag, QualityFlags, Tick, TickOf};

use crate::CodecError;
use crate::reader::{Reader, Text};
use crate::writer as put;

const KINDS: [Kind; 2] = [Kind::Trade, Kind::Interval];

/// Appends the datum.
pub fn encode(tick: &Tick<'_>, out: &mut Vec<u8>) {
    encode_origin(&tick.origin, out);
    put::long(tick.appended_at, out);
    put::string(tick.source_event_id, out);
    put::string(tick.correlation_id, out);
    put::optional(tick.causation_id, out, put::string);
    put::string(tick.tenant_id, out);
    put::string(tick.instrument_id, out);
    put::optional(tick.symbol, out, put::string);
    put::string(tick.market, out);
    put::long(tick.kind as i64, out);
    put::long(tick.event_time, out);
    put::optional(tick.interval_end, out, put::long);
    put::decimal(tick.price, out);
    for value in [
        tick.volume,
        tick.bid,
        tick.ask,
        tick.energy,
        tick.congestion,
        tick.loss,
        tick.ghg,
    ] {
        put::optional(value, out, put::decimal);
    }
    put::string(tick.currency, out);
    put::string(tick.unit, out);
    for text in [tick.node, tick.zone, tick.hub, tick.market_status] {
        put::optional(text, out, put::string);
    }
    put::string(tick.product, out);
    put::optional(tick.version, out, put::string);
    put::string(tick.source_system, out);
    put::optional(tick.sequence, out, put::long);
    encode_flags(tick.quality_flags, out);
    put::long(tick.normalized_at, out);
}

/// Reads one datum, with its texts in any form; the bytes after it stay in the reader.
#[inline(always)]
pub fn read<'a, T: Text<'a>>(from: &mut Reader<'a>) -> Result<TickOf<'a, T>, CodecError> {
    Ok(TickOf {
        origin: read_origin(from)?,
        appended_at: from.long("appended_at")?,
        source_event_id: T::read(from, "source_event_id")?,
        correlation_id: T::read(from, "correlation_id")?,
        causation_id: from.optional("causation_id", T::read)?,
        tenant_id: T::read(from, "tenant_id")?,
        instrument_id: T::read(from, "instrument_id")?,
        symbol: from.optional("symbol", T::read)?,
        market: T::read(from, "market")?,
        kind: read_kind(from)?,
        event_time: from.long("event_time")?,
        interval_end: from.optional("interval_end", Reader::long)?,
        price: from.decimal("price")?,
        volume: from.optional("volume", Reader::decimal)?,
        bid: from.optional("bid", Reader::decimal)?,
        ask: from.optional("ask", Reader::decimal)?,
        energy: from.optional("energy", Reader::decimal)?,
        congestion: from.optional("congestion", Reader::decimal)?,
        loss: from.optional("loss", Reader::decimal)?,
        ghg: from.optional("ghg", Reader::decimal)?,
        currency: T::read(from, "currency")?,
        unit: T::read(from, "unit")?,
        node: from.optional("node", T::read)?,
        zone: from.optional("zone", T::read)?,
        hub: from.optional("hub", T::read)?,
        market_status: from.optional("market_status", T::read)?,
        product: T::read(from, "product")?,
        version: from.optional("version", T::read)?,
        source_system: T::read(from, "source_system")?,
        sequence: from.optional("sequence", Reader::long)?,
        quality_flags: read_flags(from)?,
        normalized_at: from.long("normalized_at")?,
    })
}

pub(crate) fn encode_origin(origin: &Origin<'_>, out: &mut Vec<u8>) {
    put::string(origin.feed, out);
    put::long(i64::from(origin.partition), out);
    put::long(origin.offset, out);
    put::long(i64::from(origin.index), out);
}

#[inline(always)]
pub(crate) fn read_origin<'a>(from: &mut Reader<'a>) -> Result<Origin<'a>, CodecError> {
    Ok(Origin {
        feed: from.string("origin.feed")?,
        partition: from.int("origin.partition")?,
        offset: from.long("origin.offset")?,
        index: from.int("origin.index")?,
    })
}

#[inline(always)]
pub(crate) fn read_kind(from: &mut Reader<'_>) -> Result<Kind, CodecError> {
    let index = from.symbol("kind", KINDS.len())?;
    Ok(KINDS.get(index).copied().unwrap_or(Kind::Trade))
}

fn encode_flags(flags: QualityFlags, out: &mut Vec<u8>) {
    let count = flags.bits().count_ones();
    if count > 0 {
        put::long(i64::from(count), out);
        flags.iter().for_each(|flag| put::long(flag as i64, out));
    }
    out.push(0);
}

#[inline(always)]
fn read_flags(from: &mut Reader<'_>) -> Result<QualityFlags, CodecError> {
    let mut flags = QualityFlags::NONE;
    from.array("quality_flags", |item| {
        let index = item.symbol("quality_flags", QualityFlag::ALL.len())?;
        if let Some(flag) = QualityFlag::ALL.get(index) {
            flags.insert(*flag);
        }
        Ok(())
    })?;
    Ok(flags)
}
