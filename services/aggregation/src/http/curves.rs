//! `GET /curves/{curve_id}`: the newest snapshot of a curve, or the newest as it was known at a time, from ClickHouse.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use curves::{CurveError, Horizon};
use domain::Micros;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::Breaker;
use service::http::shapes::{CurveInput, curve_inputs};
use service::http::{InstrumentId, Problem, Tenant, ask};
use stores::ClickHouse;
use stores::clickhouse::{CurveQuestion, StoredCurve, curve_snapshot};

use super::bar::time;
use super::{Shown, latest};

/// Where the snapshots are asked for.
#[derive(Clone)]
pub struct CurveTable {
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
    horizon: Option<String>,
    as_of: Option<String>,
}

#[derive(Serialize)]
struct Body {
    tenant_id: String,
    curve_id: String,
    horizon: String,
    market: String,
    as_of: String,
    known_at: String,
    day: String,
    method: String,
    definition: String,
    version: u64,
    revision: i32,
    cause: String,
    origin: String,
    points: Box<RawValue>,
    inputs: Vec<CurveInput>,
}

pub(super) async fn snapshot(
    tenant: Tenant,
    shown: web::Data<Shown>,
    curve: web::Path<InstrumentId>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Problem> {
    let (horizon, as_of) = wanted(query.into_inner())?;
    let question = CurveQuestion {
        tenant_id: tenant.id().to_owned(),
        // A curve is named by the same rules as an instrument.
        curve_id: curve.into_inner().into_inner(),
        horizon: horizon.name().to_owned(),
        as_of,
    };
    let CurveTable {
        clickhouse,
        breaker,
        runtime,
        table,
    } = shown.curves.clone();
    let asked = question.clone();
    let found = ask(&runtime, &breaker, async move {
        curve_snapshot(&clickhouse, &table, &asked).await
    })
    .await?;
    match found {
        Some(stored) => Ok(HttpResponse::Ok().json(body(question, stored)?)),
        None => Err(missing(&question)),
    }
}

/// The horizon and the latest time of a query.
fn wanted(query: Query) -> Result<(Horizon, Micros), Problem> {
    let horizon = match query.horizon {
        None => Horizon::All,
        Some(text) => text
            .parse()
            .map_err(|error: CurveError| Problem::bad_request(format!("horizon: {error}")))?,
    };
    Ok((horizon, latest(query.as_of)?))
}

fn missing(question: &CurveQuestion) -> Problem {
    let when = match question.as_of {
        Micros::MAX => String::new(),
        as_of => format!(" that was known at {}", time(as_of)),
    };
    Problem::not_found(format!(
        "tenant {} has no snapshot of curve {}{when}; `dp curve list` lists its curves. A snapshot appears up to one interval (60 s) after its quotes (docs/curves.md)",
        question.tenant_id, question.curve_id
    ))
}

fn body(question: CurveQuestion, stored: StoredCurve) -> Result<Body, Problem> {
    let broken = |column: &str| {
        Problem::unavailable(format!(
            "column {column} of curve_snapshots is not what this build writes"
        ))
    };
    Ok(Body {
        tenant_id: question.tenant_id,
        curve_id: question.curve_id,
        horizon: question.horizon,
        market: stored.market,
        as_of: time(stored.as_of),
        known_at: time(stored.known_at),
        day: stored.day,
        method: stored.method,
        definition: stored.definition,
        version: stored.version,
        revision: stored.revision,
        cause: stored.cause,
        origin: stored.origin,
        points: RawValue::from_string(stored.points).map_err(|_| broken("points"))?,
        inputs: curve_inputs(&stored.inputs).ok_or_else(|| broken("inputs"))?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn query(horizon: Option<&str>, as_of: Option<&str>) -> Query {
        Query {
            horizon: horizon.map(str::to_owned),
            as_of: as_of.map(str::to_owned),
        }
    }

    #[test]
    fn without_parameters_the_newest_whole_curve_is_meant() {
        assert_eq!(wanted(query(None, None)).unwrap(), (Horizon::All, Micros::MAX));
        let one = wanted(query(Some("1y"), Some("2026-10-01T00:00:00Z"))).unwrap();
        assert_eq!(one, (Horizon::Year, 1_790_812_800_000_000));
        for refused in [query(Some("2y"), None), query(None, Some("noon"))] {
            assert!(wanted(refused).is_err());
        }
    }

    #[test]
    fn times_of_quotes_are_shown_as_times() {
        let question = CurveQuestion {
            tenant_id: "t".to_owned(),
            curve_id: "C".to_owned(),
            horizon: "all".to_owned(),
            as_of: Micros::MAX,
        };
        let stored = StoredCurve {
            market: "PJM".to_owned(),
            as_of: 1_790_812_800_000_000,
            known_at: 1_790_841_600_000_000,
            day: "2026-09-30".to_owned(),
            method: "flat".to_owned(),
            definition: "flat".to_owned(),
            points: r#"[{"price":40.1}]"#.to_owned(),
            inputs: r#"[{"price":40.1,"known_at":1790812800000001}]"#.to_owned(),
            version: 3,
            revision: 0,
            cause: "first".to_owned(),
            origin: "raw/0/1/0".to_owned(),
        };
        let broken = StoredCurve {
            inputs: r#"[{"price":40.1}]"#.to_owned(),
            ..stored.clone()
        };
        assert!(body(question.clone(), broken).is_err());
        let shown = serde_json::to_value(body(question, stored).unwrap()).unwrap();
        assert_eq!(shown["inputs"][0]["known_at"], "2026-10-01T00:00:00.000001Z");
        assert_eq!(shown["points"][0]["price"], 40.1);
        assert_eq!(shown["known_at"], "2026-10-01T08:00:00.000000Z");
    }
}
