//! `GET /curves/snapshots`: the newest snapshots of a tenant's curves, from Postgres.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use service::http::openapi::Shape;
use service::http::shapes::{CURVE_INPUT, CURVE_POINT};
use service::http::{InstrumentId, Problem, Tenant, ask};
use stores::ServedRow;

use super::{Api, MOST, usual_limit};

/// The horizons that curves are made to.
const HORIZONS: [&str; 5] = ["1m", "3m", "6m", "1y", "all"];

/// Body of the answer.
pub(super) const SNAPSHOTS: Shape = Shape::Object(&[("count", Shape::Integer), ("snapshots", Shape::List(&SNAPSHOT))]);
/// As `codec::json::curve` writes it.
const SNAPSHOT: Shape = Shape::Object(&[
    ("tenant_id", Shape::Text),
    ("curve_id", Shape::Text),
    ("market", Shape::Text),
    ("horizon", Shape::Text),
    ("as_of", Shape::Time),
    ("day", Shape::Text),
    ("method", Shape::Text),
    ("definition", Shape::Text),
    ("version", Shape::Integer),
    ("revision", Shape::Integer),
    ("cause", Shape::Text),
    ("points", Shape::List(&CURVE_POINT)),
    ("inputs", Shape::List(&CURVE_INPUT)),
]);

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    /// A curve is named by the same rules as an instrument.
    curve_id: Option<InstrumentId>,
    horizon: Option<String>,
    #[serde(default = "usual_limit")]
    limit: i64,
}

pub(super) async fn snapshots(
    tenant: Tenant,
    api: web::Data<Api>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    if !(1..=MOST).contains(&query.limit) {
        return Err(Problem::unprocessable(format!(
            "limit is {}; it must be from 1 to {MOST}",
            query.limit
        )));
    }
    if let Some(horizon) = query.horizon.as_deref().filter(|horizon| !HORIZONS.contains(horizon)) {
        return Err(Problem::unprocessable(format!(
            "horizon is {horizon}; it must be one of {}",
            HORIZONS.join(", ")
        )));
    }
    let curve = query.curve_id.map(InstrumentId::into_inner);
    let (store, of_tenant) = (api.rewriter.snapshots.clone(), tenant.id().to_owned());
    let (of_curve, to_horizon) = (curve.clone(), query.horizon.clone());
    let found = ask(&api.runtime, &api.postgres_breaker, async move {
        let named = (of_curve.as_deref(), to_horizon.as_deref());
        store.newest_of(&of_tenant, named, query.limit).await
    })
    .await?;
    if let (Some(curve), true) = (&curve, found.is_empty()) {
        let to = query
            .horizon
            .map_or_else(String::new, |horizon| format!(" to horizon {horizon}"));
        return Err(Problem::not_found(format!(
            "no snapshot of curve {curve}{to} for tenant {}; a curve has one once ticks of its instruments name it (curve_metadata)",
            tenant.id()
        )));
    }
    let snapshots: Vec<String> = found.into_iter().map(|ServedRow { body, .. }| body).collect();
    // Written as text: the stored digits stay as they are.
    let body = format!(
        "{{\"count\":{},\"snapshots\":[{}]}}",
        snapshots.len(),
        snapshots.join(",")
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}
