//! `GET /curves/snapshots`: the newest snapshots of a tenant's curves, or the newest that were known at a time.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use service::http::openapi::Shape;
use service::http::shapes::{CURVE_INPUT, CURVE_POINT};
use service::http::{InstrumentId, Problem, Tenant, ask, time_of};
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
    // Rows that a release of before has written do not have it.
    ("log_clock", Shape::Optional(&Shape::Time)),
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
    as_of: Option<String>,
    #[serde(default = "usual_limit")]
    limit: i64,
}

pub(super) async fn snapshots(
    tenant: Tenant,
    api: web::Data<Api>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Problem> {
    let query = checked(query.into_inner())?;
    let as_of = query.as_of.as_deref().map(|text| time_of("as_of", text)).transpose()?;
    let curve = query.curve_id.map(InstrumentId::into_inner);
    let (store, of_tenant) = (api.rewriter.snapshots.clone(), tenant.id().to_owned());
    let (of_curve, to_horizon) = (curve.clone(), query.horizon.clone());
    let found = ask(&api.runtime, &api.postgres_breaker, async move {
        let named = (of_curve.as_deref(), to_horizon.as_deref());
        store.newest_of(&of_tenant, named, query.limit).await
    })
    .await?;
    let snapshots: Vec<String> = match as_of {
        None => found.into_iter().map(|ServedRow { body, .. }| body).collect(),
        Some(as_of) => api.history.at(as_of, found, &api.runtime).await?,
    };
    if let (Some(curve), true) = (&curve, snapshots.is_empty()) {
        return Err(missing(curve, query.horizon, query.as_of.as_deref(), &tenant));
    }
    // Written as text: the stored digits stay as they are.
    let body = format!(
        "{{\"count\":{},\"snapshots\":[{}]}}",
        snapshots.len(),
        snapshots.join(",")
    );
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

fn checked(query: Query) -> Result<Query, Problem> {
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
    Ok(query)
}

fn missing(curve: &str, horizon: Option<String>, as_of: Option<&str>, tenant: &Tenant) -> Problem {
    let to = horizon.map_or_else(String::new, |horizon| format!(" to horizon {horizon}"));
    let when = as_of.map_or_else(String::new, |as_of| format!(" was known at {as_of}"));
    Problem::not_found(format!(
        "no snapshot of curve {curve}{to}{when} for tenant {}; a snapshot exists after the first ticks that match the curve's row in curve_metadata",
        tenant.id()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_or_horizon_that_the_route_does_not_have_is_refused() {
        let query = || Query {
            curve_id: None,
            horizon: Some("1y".to_owned()),
            as_of: None,
            limit: 1,
        };
        assert!(checked(query()).is_ok());
        assert!(checked(Query { limit: 0, ..query() }).is_err());
        let other = Query {
            horizon: Some("2y".to_owned()),
            ..query()
        };
        assert!(checked(other).is_err());
    }
}
