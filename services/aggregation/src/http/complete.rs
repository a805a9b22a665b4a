//! `GET /completeness`.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::json;
use service::Breaker;
use service::http::{Problem, Tenant, ask};
use stores::ClickHouse;
use stream::status::wall_clock;

use super::Shown;
use crate::completeness::{Question, last_days, report};

/// Days of an answer if none is named.
const DAYS: i64 = 7;

/// Where the intervals are asked for.
#[derive(Clone)]
pub struct Completeness {
    /// The client.
    pub clickhouse: ClickHouse,
    /// Its circuit breaker.
    pub breaker: Arc<Breaker>,
    /// Runtime of its connections.
    pub runtime: tokio::runtime::Handle,
    /// The view `market_intervals` of this generation.
    pub view: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    market: Option<String>,
    product: Option<String>,
    day: Option<Date>,
}

pub(super) async fn completeness(
    tenant: Tenant,
    shown: web::Data<Shown>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let market = query.market.map(|market| market.to_ascii_uppercase());
    let known: Vec<String> = markets::iso_venues().into_iter().map(|venue| venue.name).collect();
    if let Some(market) = market.as_ref().filter(|market| !known.contains(market)) {
        return Err(Problem::unprocessable(format!(
            "no market {}; use one of {}",
            market.escape_debug(),
            known.join(", ")
        )));
    }
    let days = match query.day {
        Some(day) => (day, day),
        None => last_days(DAYS, wall_clock()).ok_or_else(|| Problem::unavailable("the clock is out of range"))?,
    };
    let question = Question {
        tenant: tenant.id().to_owned(),
        market,
        product: query.product.map(|product| product.to_ascii_lowercase()),
        days,
    };
    let Completeness {
        clickhouse,
        breaker,
        runtime,
        view,
    } = shown.completeness.clone();
    let reports = ask(&runtime, &breaker, async move {
        report(&clickhouse, &view, &question).await
    })
    .await?;
    Ok(HttpResponse::Ok().json(json!({ "tenant_id": tenant.id(), "days": reports })))
}
