//! One tick in the form of each stage: normalized, enriched, in the windows of aggregation, and as a latest price. Pure.
//!
//! Invariant: every form comes from the function with which its stage makes it.

use aggregation::core::interner::Texts;
use aggregation::core::window_state::{Contribution, WindowState};
use codec::{Record, json};
use domain::instrument::KEY_SEPARATOR;
use domain::routing::partition_of;
use domain::{EnrichedTick, Micros, Product, Tick, Window};
use enrichment::core::taxonomy::Subject;
use enrichment::lookup::Found;
use enrichment::stages::enrich::enrich_subject;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use projection::core::book::{Book, Target};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use stores::LatestPrice;
use stores::redis::key::Key;

use super::stages::Stages;
use crate::explain::At;
use crate::products::Rule;

/// A tick in every form.
#[derive(Debug, Serialize)]
pub struct TickForms {
    /// Its index in the message.
    pub row: i32,
    /// As normalization publishes it.
    pub normalized: Value,
    /// Its record in the normalized topic.
    pub normalized_record: Published,
    /// The fields that enrichment adds.
    pub enrichment: Value,
    /// Its record in the enriched topic.
    pub enriched_record: Published,
    /// The windows that count it, shortest first.
    pub windows: Vec<TickWindow>,
    /// As projection serves it.
    pub price: ServedPrice,
}

/// A record of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Name of its Avro schema.
    pub schema: &'static str,
    /// Size of frame and datum.
    pub size: usize,
    /// Both, in hexadecimal.
    pub hex: String,
    /// Its key.
    pub key: String,
    /// The partition of this key.
    pub partition: i32,
}

/// A window of the tick.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TickWindow {
    /// `1m`, `5m`, …
    pub interval: &'static str,
    /// Its first microsecond.
    pub start: At,
    /// The first microsecond after it.
    pub end: At,
    /// Start and end by the market's clock; `None` if the registry does not know the market.
    pub market_time: Option<[String; 2]>,
    /// What the tick finds, if the log clock is its own append time.
    pub arrival: Arrival,
    /// The bar of this tick alone.
    pub bar: Value,
}

/// The state of a window when the tick arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// The tick is in the first closed bar.
    Open,
    /// The bar is closed: the tick makes a revision.
    Closed,
    /// The window is forgotten: the bar is computed from the table.
    Forgotten,
}

impl Arrival {
    fn of(window: Window, rule: &Rule, appended_at: Micros) -> Arrival {
        if appended_at >= window.end() + rule.forget_after {
            Arrival::Forgotten
        } else if appended_at >= window.end() + rule.close_after {
            Arrival::Closed
        } else {
            Arrival::Open
        }
    }
}

/// A latest price.
#[derive(Debug, Serialize)]
pub struct ServedPrice {
    /// Its key in Redis.
    pub redis_key: String,
    /// The entry of `GET /prices/latest`, with every digit.
    pub json: Option<Box<RawValue>>,
}

/// The forms of a tick.
pub(super) fn of(stages: &Stages, tick: &Tick<'_>) -> TickForms {
    let wire = &stages.normalizer.wire;
    let key = format!("{}{KEY_SEPARATOR}{}", tick.tenant_id, tick.instrument_id);
    let published = |record: Record, bytes: &[u8]| Published {
        schema: record.name(),
        size: bytes.len(),
        hex: hex::encode(bytes),
        partition: partition_of(key.as_bytes(), stages.partitions),
        key: key.clone(),
    };
    let subject = Subject::of(tick);
    let guess = stages.guesses.of(tick.tenant_id).classify(&subject);
    let enriched = EnrichedTick {
        tick: *tick,
        enrichment: enrich_subject(
            Found::Guess(&guess),
            &subject,
            stages.threshold_percent,
            tick.appended_at,
        ),
    };
    let (mut normalized_bytes, mut enriched_bytes) = (Vec::new(), Vec::new());
    wire.encode_tick(tick, &mut normalized_bytes);
    wire.encode_enriched(&enriched, &mut enriched_bytes);
    let normalized = json::tick(tick);
    TickForms {
        row: tick.origin.index,
        enrichment: added(&normalized, json::enriched(&enriched)),
        normalized,
        normalized_record: published(Record::Tick, &normalized_bytes),
        enriched_record: published(Record::EnrichedTick, &enriched_bytes),
        windows: windows(stages, tick),
        price: served(&enriched),
    }
}

/// The fields of the enriched tick that the normalized one does not have.
fn added(normalized: &Value, mut enriched: Value) -> Value {
    if let Value::Object(fields) = &mut enriched {
        fields.retain(|name, _| normalized.get(name).is_none());
    }
    enriched
}

fn windows(stages: &Stages, tick: &Tick<'_>) -> Vec<TickWindow> {
    let product = Product::of(tick.product, tick.kind);
    let rule = stages.products.rule(product);
    let zone = zone_of(stages, tick.market);
    let mut texts = Texts::default();
    let contribution = Contribution::of(tick, tick.origin.offset, &mut texts);
    let intervals = stages.products.intervals().into_iter();
    intervals
        .filter(|interval| interval.micros() >= rule.nominal)
        .filter_map(|interval| {
            let window = interval.window_of(tick.event_time);
            let state = WindowState::new(window, &contribution, product, false);
            let bar = state.bar((tick.tenant_id, tick.instrument_id), &texts)?;
            let local = |time| local_time(zone.as_ref()?, time);
            Some(TickWindow {
                interval: interval.name(),
                start: At(window.start),
                end: At(window.end()),
                market_time: local(window.start).zip(local(window.end())).map(Into::into),
                arrival: Arrival::of(window, &rule, tick.appended_at),
                bar: json::bar(&bar),
            })
        })
        .collect()
}

fn zone_of(stages: &Stages, market: &str) -> Option<TimeZone> {
    let known = stages.markets.iter().find(|known| known.name == market)?;
    TimeZoneDatabase::bundled().get(known.time_zone?).ok()
}

fn local_time(zone: &TimeZone, time: Micros) -> Option<String> {
    let time = Timestamp::from_microsecond(time).ok()?.to_zoned(zone.clone());
    Some(time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}

fn served(enriched: &EnrichedTick<'_>) -> ServedPrice {
    let mut book = Book::new(0);
    book.take_in(enriched);
    let price = book.take_waiting(Target::Redis, 1).pop();
    let public = price.as_ref().map(LatestPrice::to_public_json);
    ServedPrice {
        redis_key: Key::latest_price(enriched.tick.tenant_id, enriched.tick.instrument_id).to_string(),
        json: public.and_then(|json| RawValue::from_string(json).ok()),
    }
}
