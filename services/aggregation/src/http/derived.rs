//! `GET /derived/{series}`: the values of a derived series, the newest ones or those that were known at a time, from ClickHouse.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::Breaker;
use service::http::{InstrumentId, Problem, Tenant, ask};
use stores::ClickHouse;
use stores::clickhouse::{DerivedQuestion, StoredDerived, StoredLeg, derived_prices};

use super::bar::time;
use super::{Shown, checked_limit, latest, range};

/// Where the values are asked for.
#[derive(Clone)]
pub struct DerivedTable {
    /// The client.
    pub clickhouse: ClickHouse,
    /// Its circuit breaker.
    pub breaker: Arc<Breaker>,
    /// Runtime of its connections.
    pub runtime: tokio::runtime::Handle,
    /// The table with every version.
    pub table: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    from: Option<String>,
    to: Option<String>,
    as_of: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Body {
    tenant_id: String,
    series: String,
    values: Vec<Value>,
}

#[derive(Serialize)]
struct Value {
    kind: String,
    time: String,
    value: Option<Box<RawValue>>,
    unit: String,
    legs: Vec<Leg>,
    known_at: String,
    version: u64,
    revision: i32,
    cause: String,
    cause_origin: String,
}

#[derive(Serialize)]
struct Leg {
    role: String,
    instrument_id: String,
    price: Option<Box<RawValue>>,
    time: String,
    age_ms: f64,
    origin: String,
}

pub(super) async fn prices(
    tenant: Tenant,
    shown: web::Data<Shown>,
    series: web::Path<InstrumentId>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let (from, to) = range(query.from, query.to)?;
    let question = DerivedQuestion {
        tenant_id: tenant.id().to_owned(),
        // A series is named by the same rules as an instrument.
        series: series.into_inner().into_inner(),
        from,
        to,
        as_of: latest(query.as_of)?,
        limit: checked_limit(query.limit)?,
    };
    let DerivedTable {
        clickhouse,
        breaker,
        runtime,
        table,
    } = shown.derived.clone();
    let asked = question.clone();
    let found = ask(&runtime, &breaker, async move {
        derived_prices(&clickhouse, &table, &asked).await
    })
    .await?;
    Ok(HttpResponse::Ok().json(Body {
        tenant_id: question.tenant_id,
        series: question.series,
        values: found.into_iter().map(value).collect(),
    }))
}

fn value(row: StoredDerived) -> Value {
    Value {
        kind: row.kind,
        time: time(row.time),
        value: number(row.value),
        unit: row.unit,
        legs: [row.first, row.second].into_iter().filter_map(leg).collect(),
        known_at: time(row.known_at),
        version: row.version,
        revision: row.revision,
        cause: row.cause,
        cause_origin: row.cause_origin,
    }
}

fn leg((role, instrument_id, price, at, age, origin): StoredLeg) -> Option<Leg> {
    Some(Leg {
        role: role?,
        instrument_id: instrument_id?,
        price: number(price),
        time: time(at?),
        age_ms: age? as f64 / 1_000.0,
        origin: origin?,
    })
}

/// The digits of the table as a JSON number.
pub(super) fn number(text: Option<String>) -> Option<Box<RawValue>> {
    RawValue::from_string(text?).ok()
}
