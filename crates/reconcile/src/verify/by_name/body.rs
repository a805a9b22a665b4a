//! The JSON of a snapshot or a derived price as it is served. Pure.
//!
//! Invariant: decimals keep their digits, whether they are numbers or texts.
//! Failure: a body that cannot be read is a difference, with the reason.

use domain::Micros;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::versions::place;
use super::kind::Kind;
use super::rows::{Common, Price, Row, Snapshot, moment, with_times};

/// The JSON of a snapshot.
#[derive(Deserialize)]
struct CurveBody {
    tick_id: String,
    tenant_id: String,
    curve_id: String,
    market: String,
    horizon: String,
    as_of: String,
    day: String,
    method: String,
    definition: String,
    log_clock: String,
    version: i64,
    revision: i64,
    cause: String,
    points: Value,
    inputs: Value,
}

/// The JSON of a derived price.
#[derive(Deserialize)]
struct PriceBody {
    tenant_id: String,
    series: String,
    kind: String,
    event_time: String,
    value: Option<Box<RawValue>>,
    unit: String,
    legs: Vec<LegBody>,
    log_clock: String,
    version: i64,
    revision: i64,
    cause: String,
    cause_origin: OriginBody,
}

#[derive(Deserialize)]
struct LegBody {
    role: String,
    instrument_id: String,
    price: Box<RawValue>,
    event_time: Value,
    age: i64,
    origin: OriginBody,
}

#[derive(Deserialize)]
struct OriginBody {
    feed: String,
    partition: i32,
    offset: i64,
    index: i32,
}

impl Row {
    /// The row that this JSON shows, or why it cannot be read.
    pub(super) fn of_body(kind: Kind, body: &str) -> Result<Row, String> {
        match kind {
            Kind::CurveSnapshot => of_curve(serde_json::from_str(body).map_err(|error| error.to_string())?),
            Kind::DerivedPrice => of_price(serde_json::from_str(body).map_err(|error| error.to_string())?),
        }
    }
}

fn of_curve(body: CurveBody) -> Result<Row, String> {
    let snapshot = Snapshot {
        of: Common {
            names: [body.tenant_id, body.curve_id, body.horizon],
            rank: (micros("as_of", &body.as_of)?, body.version),
            revision: body.revision,
            cause: body.cause,
            origin: body.tick_id,
            known: Some(micros("log_clock", &body.log_clock)?),
        },
        market: body.market,
        day: body.day,
        method: body.method,
        definition: body.definition,
        points: body.points,
        inputs: with_times(body.inputs),
    };
    Ok(snapshot.row())
}

fn of_price(body: PriceBody) -> Result<Row, String> {
    let leg = |leg: LegBody| {
        json!({
            "role": leg.role,
            "instrument_id": leg.instrument_id,
            "price": digits(&leg.price),
            "event_time": moment(&leg.event_time),
            "age": leg.age,
            "origin": leg.origin.text(),
        })
    };
    let price = Price {
        of: Common {
            names: [body.tenant_id, body.series, String::new()],
            rank: (micros("event_time", &body.event_time)?, body.version),
            revision: body.revision,
            cause: body.cause,
            origin: body.cause_origin.text(),
            known: Some(micros("log_clock", &body.log_clock)?),
        },
        kind: body.kind,
        value: body.value.as_deref().map(digits),
        unit: body.unit,
        legs: body.legs.into_iter().map(leg).collect(),
    };
    Ok(price.row())
}

impl OriginBody {
    fn text(self) -> String {
        place(&(self.feed, self.partition, self.offset, self.index))
    }
}

/// A decimal is a number, or text if a number would print other digits.
fn digits(number: &RawValue) -> String {
    number.get().trim_matches('"').to_owned()
}

fn micros(name: &str, text: &str) -> Result<Micros, String> {
    let time = text.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_microsecond)
        .map_err(|error| format!("{name} is {text:?}: {error}"))
}
