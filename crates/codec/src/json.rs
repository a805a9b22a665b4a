//! Records as readable JSON: decimals with their exact digits, times as RFC 3339, the origin also as `tick_id`.

use domain::{
    Bar, BarCause, CurveInput, CurvePoint, CurveSnapshot, Decimal, DerivedPrice, EnrichedTick, Interval, LateTick,
    LegPrice, Micros, Origin, Tick, Turnover,
};
use serde_json::{Map, Value, json};

use crate::schemas::Record;
use crate::wire::Wire;
use crate::{CodecError, RawTick};

/// The type of the record in these bytes, and its content.
pub fn describe(wire: &Wire, bytes: &[u8]) -> Result<(Record, Value), CodecError> {
    let (record, _) = wire.open(bytes)?;
    let bytes = &*wire.current(record, bytes);
    let value = match record {
        Record::Tick => tick(&wire.decode_tick(bytes)?),
        Record::EnrichedTick => enriched(&wire.decode_enriched(bytes)?),
        Record::Bar => bar(&wire.decode_bar(bytes)?),
        Record::LateTick => late(&wire.decode_late(bytes)?),
        Record::LegPrice => leg(&wire.decode_leg(bytes)?),
        Record::DerivedPrice => derived(&wire.decode_derived(bytes)?),
        Record::CurveSnapshot => curve(&wire.decode_curve(bytes)?),
        Record::RawMarketTick => raw(&wire.decode_raw(bytes)?),
        Record::WindowState => {
            let state = wire.decode_window(bytes)?;
            json!({ "product": state.product, "mixed": state.mixed, "from_table": state.from_table, "bar": bar(&state.bar) })
        }
        Record::SequencerState => {
            let state = wire.decode_sequencer(bytes)?;
            let lanes: Vec<Value> = state
                .lanes
                .iter()
                .map(|lane| {
                    json!({ "feed": lane.feed, "raw_partition": lane.raw_partition, "offset": lane.position.offset, "index": lane.position.index })
                })
                .collect();
            json!({ "position": state.position, "topic_id": state.topic_id, "log_clock": state.log_clock.map(time), "marks_due": state.marks_due.map(time), "lanes": lanes })
        }
    };
    Ok((record, value))
}

/// A normalized tick.
pub fn tick(tick: &Tick<'_>) -> Value {
    Value::Object(tick_fields(tick))
}

/// An enriched tick.
pub fn enriched(enriched: &EnrichedTick<'_>) -> Value {
    let mut fields = tick_fields(&enriched.tick);
    let more = &enriched.enrichment;
    put(&mut fields, "commodity", json!(more.commodity));
    put(&mut fields, "region", json!(more.region));
    put(&mut fields, "product_tier", json!(more.product_tier));
    put(&mut fields, "reference_unit", json!(more.unit));
    put(&mut fields, "contract_size", optional(more.contract_size));
    put(&mut fields, "tick_size", optional(more.tick_size));
    put(&mut fields, "curve_id", json!(more.curve_id));
    put(&mut fields, "curve_definition", json!(more.curve_definition));
    put(
        &mut fields,
        "classification_confidence",
        json!(f64::from(more.confidence_percent) / 100.0),
    );
    put(&mut fields, "classification_method", json!(more.method.name()));
    put(&mut fields, "low_confidence_classification", json!(more.low_confidence));
    put(&mut fields, "enriched_at", time(more.enriched_at));
    Value::Object(fields)
}

/// A bar.
pub fn bar(bar: &Bar<'_>) -> Value {
    json!({
        "tenant_id": bar.tenant_id,
        "instrument_id": bar.instrument_id,
        "market": bar.market,
        "interval": bar.window.interval.name(),
        "window_start": time(bar.window.start),
        "window_end": time(bar.window.end()),
        "open": decimal(bar.open),
        "high": decimal(bar.high),
        "low": decimal(bar.low),
        "close": decimal(bar.close),
        "volume": scaled(bar.volume, 8),
        "turnover": turnover(bar.turnover),
        "vwap": optional(bar.vwap),
        "twap": optional(bar.time_weighted.twap()),
        "price_seconds": (bar.time_weighted.seconds != 0).then(|| scaled(bar.time_weighted.price_seconds, 8)),
        "priced_seconds": bar.time_weighted.seconds,
        "trade_count": bar.trade_count,
        "open_time": time(bar.open_time),
        "open_sequence": bar.open_sequence,
        "first_origin": bar.first_origin.to_string(),
        "close_time": time(bar.close_time),
        "close_sequence": bar.close_sequence,
        "last_origin": bar.last_origin.to_string(),
        "revision": bar.revision,
        "cause": bar.cause.map(BarCause::name),
        "flags": bar.flags(),
        "version": bar.version.as_u64(),
        "closed": bar.version.closed,
        "last_appended_at": time(bar.last_appended_at),
    })
}

/// A late tick.
pub fn late(late: &LateTick<'_>) -> Value {
    let names = |bits: u8| -> Vec<&str> {
        Interval::ALL
            .iter()
            .filter(|interval| bits & (1 << interval.index()) != 0)
            .map(|interval| interval.name())
            .collect()
    };
    json!({
        "tick_id": late.origin.to_string(),
        "origin": origin(&late.origin),
        "tenant_id": late.tenant_id,
        "instrument_id": late.instrument_id,
        "event_time": time(late.event_time),
        "price": decimal(late.price),
        "volume": optional(late.volume),
        "missed_intervals": names(late.missed_intervals),
        "watermark": time(late.watermark),
        "enriched_offset": late.enriched_offset,
        "closed_intervals": names(late.closed_intervals),
        "is_close": late.is_close,
    })
}

/// A leg.
pub fn leg(leg: &LegPrice<'_>) -> Value {
    json!({
        "tick_id": leg.origin.to_string(),
        "origin": origin(&leg.origin),
        "tenant_id": leg.tenant_id,
        "purpose": leg.purpose.name(),
        "series": leg.series,
        "role": leg.role,
        "definition": leg.definition,
        "instrument_id": leg.instrument_id,
        "kind": leg.kind.name(),
        "event_time": time(leg.event_time),
        "interval_end": leg.interval_end.map_or(Value::Null, time),
        "price": decimal(leg.price),
        "volume": optional(leg.volume),
        "bid": optional(leg.bid),
        "ask": optional(leg.ask),
        "congestion": optional(leg.congestion),
        "loss": optional(leg.loss),
        "currency": leg.currency,
        "unit": leg.unit,
        "version": leg.version,
        "sequence": leg.sequence,
        "appended_at": leg.appended_at.map_or(Value::Null, time),
        "log_clock": time(leg.log_clock),
        "enriched_partition": leg.enriched_partition,
        "enriched_offset": leg.enriched_offset,
        "index": leg.index,
    })
}

/// A derived price.
pub fn derived(price: &DerivedPrice<'_>) -> Value {
    let legs: Vec<Value> = price
        .legs
        .iter()
        .map(|leg| {
            json!({
                "role": leg.role,
                "instrument_id": leg.instrument_id,
                "price": decimal(leg.price),
                "event_time": time(leg.event_time),
                "age": leg.age,
                "origin": origin(&leg.origin),
            })
        })
        .collect();
    json!({
        "tenant_id": price.tenant_id,
        "series": price.series,
        "kind": price.kind,
        "event_time": time(price.event_time),
        "value": optional(price.value),
        "unit": price.unit,
        "legs": legs,
        "log_clock": time(price.log_clock),
        "version": price.version,
        "revision": price.revision,
        "cause": price.cause.name(),
        "cause_origin": origin(&price.cause_origin),
    })
}

/// A snapshot of a curve.
pub fn curve(snapshot: &CurveSnapshot<'_>) -> Value {
    json!({
        "tick_id": snapshot.origin.to_string(),
        "origin": origin(&snapshot.origin),
        "tenant_id": snapshot.tenant_id,
        "curve_id": snapshot.curve_id,
        "market": snapshot.market,
        "horizon": snapshot.horizon,
        "as_of": time(snapshot.as_of),
        "day": day(snapshot.day),
        "method": snapshot.method,
        "definition": snapshot.definition,
        "log_clock": time(snapshot.log_clock),
        "version": snapshot.version,
        "revision": snapshot.revision,
        "cause": snapshot.cause.name(),
        "points": snapshot.points.iter().map(curve_point).collect::<Vec<_>>(),
        "inputs": snapshot.inputs.iter().map(curve_input).collect::<Vec<_>>(),
    })
}

/// A point of a snapshot.
pub fn curve_point(point: &CurvePoint<'_>) -> Value {
    json!({
        "contract": point.contract,
        "block": point.block,
        "delivery_start": point.delivery_start,
        "delivery_end": point.delivery_end,
        "price": point.price,
        "volume": point.volume,
        "confidence": point.confidence,
        "method": point.method,
        "extrapolated": point.extrapolated,
        "sources": point.sources,
    })
}

/// A quote of a snapshot.
pub fn curve_input(input: &CurveInput<'_>) -> Value {
    json!({
        "contract": input.contract,
        "block": input.block,
        "price": input.price,
        "curve_price": input.curve_price,
        "residual": input.residual,
        "state": input.state,
        "implied_by": input.implied_by,
        "source": input.source,
        "known_at": time(input.known_at),
    })
}

/// The date of a number of days; one outside of the calendar stays a number.
fn day(days: i32) -> Value {
    let days_since = |days: i32| {
        let span = jiff::Span::new().try_days(days).ok()?;
        jiff::civil::date(1970, 1, 1).checked_add(span).ok()
    };
    days_since(days).map_or_else(|| json!(days), |date| json!(date.to_string()))
}

/// A raw tick (message shape C).
pub fn raw(raw: &RawTick<'_>) -> Value {
    json!({
        "event_id": raw.event_id, "correlation_id": raw.correlation_id, "causation_id": raw.causation_id,
        "tenant_id": raw.tenant_id, "source": raw.source, "market": raw.market, "instrument_id": raw.instrument_id,
        "symbol": raw.symbol, "timestamp": time(raw.timestamp), "price": decimal(raw.price),
        "volume": optional(raw.volume), "bid": optional(raw.bid), "ask": optional(raw.ask), "node": raw.node,
        "zone": raw.zone, "hub": raw.hub, "market_status": raw.market_status, "sequence": raw.sequence,
    })
}

fn tick_fields(tick: &Tick<'_>) -> Map<String, Value> {
    let flags: Vec<&str> = tick.quality_flags.iter().map(domain::QualityFlag::name).collect();
    let fields = [
        ("tick_id", json!(tick.origin.to_string())),
        ("origin", origin(&tick.origin)),
        ("appended_at", time(tick.appended_at)),
        ("source_event_id", json!(tick.source_event_id)),
        ("correlation_id", json!(tick.correlation_id)),
        ("causation_id", json!(tick.causation_id)),
        ("tenant_id", json!(tick.tenant_id)),
        ("instrument_id", json!(tick.instrument_id)),
        ("symbol", json!(tick.symbol)),
        ("market", json!(tick.market)),
        ("kind", json!(tick.kind.name())),
        ("event_time", time(tick.event_time)),
        ("interval_end", tick.interval_end.map_or(Value::Null, time)),
        ("price", decimal(tick.price)),
        ("volume", optional(tick.volume)),
        ("bid", optional(tick.bid)),
        ("ask", optional(tick.ask)),
        ("energy", optional(tick.energy)),
        ("congestion", optional(tick.congestion)),
        ("loss", optional(tick.loss)),
        ("ghg", optional(tick.ghg)),
        ("currency", json!(tick.currency)),
        ("unit", json!(tick.unit)),
        ("node", json!(tick.node)),
        ("zone", json!(tick.zone)),
        ("hub", json!(tick.hub)),
        ("market_status", json!(tick.market_status)),
        ("product", json!(tick.product)),
        ("version", json!(tick.version)),
        ("source_system", json!(tick.source_system)),
        ("sequence", json!(tick.sequence)),
        ("quality_flags", json!(flags)),
        ("normalized_at", time(tick.normalized_at)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Value) {
    fields.insert(name.to_owned(), value);
}

fn origin(origin: &Origin<'_>) -> Value {
    json!({ "feed": origin.feed, "partition": origin.partition, "offset": origin.offset, "index": origin.index })
}

/// RFC 3339 with microseconds; a time outside of the calendar stays a number.
pub fn time(micros: Micros) -> Value {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(at) => json!(format!("{at:.6}")),
        Err(_) => json!(micros),
    }
}

/// The decimal with exactly its digits: a number, or text if a JSON number of `f64` would print other digits.
pub fn decimal(value: Decimal) -> Value {
    number(value.to_string())
}

fn optional(value: Option<Decimal>) -> Value {
    value.map_or(Value::Null, decimal)
}

fn turnover(value: Turnover) -> Value {
    scaled(value.0, 16)
}

fn scaled(unscaled: i128, scale: usize) -> Value {
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    let sign = if unscaled < 0 { "-" } else { "" };
    number(if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    })
}

/// A JSON number if it prints exactly these digits, else the digits as text.
fn number(text: String) -> Value {
    let number = match text.parse::<i64>() {
        Ok(whole) => Value::from(whole),
        Err(_) => text.parse::<f64>().map_or(Value::Null, Value::from),
    };
    let printed = number.to_string();
    if printed == text { number } else { Value::String(text) }
}
