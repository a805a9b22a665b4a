//! The datum of a [`Bar`] (`schemas/avro/bar.avsc`).

use domain::{Bar, BarCause, BarVersion, Interval, TimeWeighted, Turnover, Window};

use crate::CodecError;
use crate::reader::Reader;
use crate::tick::{encode_origin, read_origin};
use crate::writer as put;

/// Appends the datum.
pub fn encode(bar: &Bar<'_>, out: &mut Vec<u8>) {
    put::string(bar.tenant_id, out);
    put::string(bar.instrument_id, out);
    put::string(bar.market, out);
    put::long(bar.window.interval.index() as i64, out);
    put::long(bar.window.start, out);
    for price in [bar.open, bar.high, bar.low, bar.close] {
        put::decimal(price, out);
    }
    put::wide(bar.volume, out);
    put::wide(bar.turnover.0, out);
    put::optional(bar.vwap, out, put::decimal);
    put::optional(bar.time_weighted.twap(), out, put::decimal);
    let is_priced = bar.time_weighted != TimeWeighted::default();
    put::optional(is_priced.then_some(bar.time_weighted.price_seconds), out, put::wide);
    put::long(bar.time_weighted.seconds, out);
    put::long(bar.trade_count, out);
    put::long(bar.open_time, out);
    put::optional(bar.open_sequence, out, put::long);
    encode_origin(&bar.first_origin, out);
    put::long(bar.close_time, out);
    put::optional(bar.close_sequence, out, put::long);
    encode_origin(&bar.last_origin, out);
    put::long(i64::from(bar.revision), out);
    put::optional(bar.cause.map(|cause| cause as i64), out, put::long);
    put::long(bar.version.last_offset, out);
    put::boolean(bar.version.closed, out);
    put::long(bar.last_appended_at, out);
}

/// Reads a datum; also returns its length.
pub fn decode(datum: &[u8]) -> Result<(Bar<'_>, usize), CodecError> {
    let mut from = Reader::new(datum);
    let bar = read(&mut from)?;
    Ok((bar, from.consumed()))
}

/// Reads the fields of a bar, alone or inside another record.
pub(crate) fn read<'a>(from: &mut Reader<'a>) -> Result<Bar<'a>, CodecError> {
    Ok(Bar {
        tenant_id: from.string("tenant_id")?,
        instrument_id: from.string("instrument_id")?,
        market: from.string("market")?,
        window: Window {
            interval: read_interval(from, "interval")?,
            start: from.long("window_start")?,
        },
        open: from.decimal("open")?,
        high: from.decimal("high")?,
        low: from.decimal("low")?,
        close: from.decimal("close")?,
        volume: from.wide("volume")?,
        turnover: Turnover(from.wide("turnover")?),
        vwap: from.optional("vwap", Reader::decimal)?,
        time_weighted: {
            // For readers of the topic; it follows from the two sums.
            from.optional("twap", Reader::decimal)?;
            TimeWeighted {
                price_seconds: from.optional("price_seconds", Reader::wide)?.unwrap_or(0),
                seconds: from.long("priced_seconds")?,
            }
        },
        trade_count: from.long("trade_count")?,
        open_time: from.long("open_time")?,
        open_sequence: from.optional("open_sequence", Reader::long)?,
        first_origin: read_origin(from)?,
        close_time: from.long("close_time")?,
        close_sequence: from.optional("close_sequence", Reader::long)?,
        last_origin: read_origin(from)?,
        revision: from.int("revision")?,
        cause: from.optional("cause", read_cause)?,
        version: BarVersion {
            last_offset: from.long("version_offset")?,
            closed: from.boolean("closed")?,
        },
        last_appended_at: from.long("last_appended_at")?,
    })
}

fn read_cause(from: &mut Reader<'_>, field: &'static str) -> Result<BarCause, CodecError> {
    let index = from.symbol(field, BarCause::ALL.len())?;
    Ok(BarCause::ALL.get(index).copied().unwrap_or(BarCause::Live))
}

pub(crate) fn read_interval(from: &mut Reader<'_>, field: &'static str) -> Result<Interval, CodecError> {
    let index = from.symbol(field, Interval::ALL.len())?;
    Ok(Interval::ALL.get(index).copied().unwrap_or(Interval::OneMinute))
}
