//! `GET /derived/{series}`: the values of a derived series, the newest ones or those that were known at a time, from ClickHouse.
//!
//! Failure: a series that is not configured, and has no row of the tenant either, is not found.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::Breaker;
use service::http::{InstrumentId, Problem, Tenant, ask, limit_of};
use stores::ClickHouse;
use stores::clickhouse::{DerivedQuestion, StoredDerived, StoredLeg, derived_prices, has_derived_prices};

use super::bar::time;
use super::{Shown, latest, range};

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
    /// The names of the series that are configured.
    pub configured: Arc<[String]>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    from: Option<String>,
    to: Option<String>,
    as_of: Option<String>,
    limit: Option<String>,
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
        limit: limit_of(query.limit.as_deref())?.into(),
    };
    let DerivedTable {
        clickhouse,
        breaker,
        runtime,
        table,
        configured,
    } = shown.derived.clone();
    let is_configured = configured.contains(&question.series);
    let asked = question.clone();
    let (found, is_known) = ask(&runtime, &breaker, async move {
        let found = derived_prices(&clickhouse, &table, &asked).await?;
        // One that is no longer configured may have values, but none of the times that are asked for.
        let name = (asked.tenant_id.as_str(), asked.series.as_str());
        let is_known = is_configured || !found.is_empty() || has_derived_prices(&clickhouse, &table, name).await?;
        Ok((found, is_known))
    })
    .await?;
    if !is_known {
        return Err(unknown(&question, &configured));
    }
    Ok(HttpResponse::Ok().json(Body {
        tenant_id: question.tenant_id,
        series: question.series,
        values: found.into_iter().map(value).collect(),
    }))
}

fn unknown(question: &DerivedQuestion, configured: &[String]) -> Problem {
    let defined = match configured.is_empty() {
        true => "defines none".to_owned(),
        false => format!("defines {}", configured.join(", ")),
    };
    Problem::not_found(format!(
        "tenant {} has no derived series {}: AGGREGATION_DERIVED_SERIES {defined}; add the series there (docs/derived.md), or correct the name",
        question.tenant_id, question.series
    ))
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

#[cfg(test)]
mod tests {
    use domain::Micros;

    use super::*;

    #[test]
    fn an_unknown_series_is_named_with_those_that_are_configured() {
        let question = DerivedQuestion {
            tenant_id: "t".to_owned(),
            series: "sparc".to_owned(),
            from: Micros::MIN,
            to: Micros::MAX,
            as_of: Micros::MAX,
            limit: 1,
        };
        for (configured, expected) in [(vec![], "defines none"), (vec!["spark".to_owned()], "defines spark;")] {
            let told = unknown(&question, &configured).to_string();
            assert!(
                told.contains("series sparc") && told.contains(expected) && told.contains("docs/derived.md"),
                "{told}"
            );
        }
    }
}
