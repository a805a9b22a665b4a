//! `GET /curves/snapshots`: the newest snapshots of a tenant's curves, from Postgres.
//!
//! Postgres has no earlier ones, so a query for a time before they were known is refused, and not answered with what was known only later.

use actix_web::{HttpResponse, web};
use domain::Micros;
use serde::Deserialize;
use service::http::openapi::Shape;
use service::http::shapes::{CURVE_INPUT, CURVE_POINT};
use service::http::{InstrumentId, Problem, Tenant, ask, instant, time_of};
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
    if let (Some(curve), true) = (&curve, found.is_empty()) {
        let to = query
            .horizon
            .map_or_else(String::new, |horizon| format!(" to horizon {horizon}"));
        return Err(Problem::not_found(format!(
            "no snapshot of curve {curve}{to} for tenant {}; a snapshot exists after the first ticks that match the curve's row in curve_metadata",
            tenant.id()
        )));
    }
    as_of.map_or(Ok(()), |as_of| known_by(as_of, &found))?;
    let snapshots: Vec<String> = found.into_iter().map(|ServedRow { body, .. }| body).collect();
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

/// What of the body of a row says since when it is known.
#[derive(Deserialize)]
struct Clock {
    log_clock: Option<String>,
}

/// Since when a snapshot is known; one that a release of before has written: since its time.
fn known_at(row: &ServedRow) -> Option<Micros> {
    let clock: Clock = serde_json::from_str(&row.body).ok()?;
    match clock.log_clock {
        Some(text) => Some(instant(&text)?.max(row.time)),
        None => Some(row.time),
    }
}

/// Refuses a time before the newest snapshots were known: what was known then is in ClickHouse only.
fn known_by(as_of: Micros, found: &[ServedRow]) -> Result<(), Problem> {
    let is_later = |row: &&ServedRow| known_at(row).is_none_or(|known_at| known_at > as_of);
    let Some(later) = found.iter().find(is_later) else {
        return Ok(());
    };
    let (curve, horizon) = (&later.key.name, &later.key.horizon);
    let text = |time: Micros| {
        codec::json::time(time)
            .as_str()
            .map_or_else(|| time.to_string(), str::to_owned)
    };
    let at = text(as_of);
    Err(Problem::unprocessable(format!(
        "the newest snapshot of curve {curve} to horizon {horizon}, of {}, was not known at {at}, and this route has only the newest; ask aggregation \
         (port 8082 locally), GET /curves/{curve}?horizon={horizon}&as_of={at}, or SQL, SELECT … FROM curve_points_asof(at = '…')",
        text(later.time)
    )))
}

#[cfg(test)]
mod tests {
    use stores::ServedKey;

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

    #[test]
    fn a_time_is_answered_only_if_the_newest_snapshots_were_known_then() {
        let row = |time: Micros, body: &str| ServedRow {
            key: ServedKey {
                tenant_id: "t".to_owned(),
                name: "C".to_owned(),
                horizon: "1y".to_owned(),
            },
            time,
            version: 1,
            src_partition: 0,
            body: body.to_owned(),
        };
        let minute = 60_000_000;
        let revised = row(minute, r#"{"log_clock":"1970-01-01T00:02:00.000000Z","points":[]}"#);
        let of_before = row(minute, r#"{"points":[]}"#);
        let broken = row(minute, r#"{"log_clock":"noon"}"#);
        for (row, at, is_answered) in [
            (&revised, 2 * minute, true),
            (&revised, 2 * minute - 1, false),
            (&of_before, minute, true),
            (&of_before, minute - 1, false),
            (&broken, Micros::MAX, false),
        ] {
            let answered = known_by(at, std::slice::from_ref(row));
            assert_eq!(answered.is_ok(), is_answered, "{at} {row:?}");
        }
        assert!(known_by(0, &[]).is_ok());
        let told = known_by(minute, &[revised]).err().map(|problem| problem.to_string());
        let route = "GET /curves/C?horizon=1y&as_of=1970-01-01T00:01:00.000000Z";
        assert!(told.as_ref().is_some_and(|told| told.contains(route)), "{told:?}");
    }
}
