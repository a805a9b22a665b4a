//! Snapshots of curves as they were known at a time.
//!
//! Role: Postgres has the newest snapshot of each curve, which is the answer if it was known by then. ClickHouse has the others; the rule is
//! that of `GET /curves/{curve_id}` of aggregation.
//! Invariant: which curves are asked for does not depend on the time that is asked for, and their order stays as it is given.
//! Failure: while ClickHouse does not answer, only queries for a time before that fail.

use std::collections::HashMap;
use std::sync::Arc;

use domain::Micros;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use service::Breaker;
use service::http::shapes::{CurveInput, curve_inputs};
use service::http::{Problem, ask, instant};
use stores::clickhouse::{CurveQuestion, StoredCurve, curve_snapshots};
use stores::{ClickHouse, ServedKey, ServedRow};
use tokio::runtime::Handle;

/// Where earlier snapshots are asked for.
pub struct CurveHistory {
    /// The client.
    pub clickhouse: ClickHouse,
    /// Its circuit breaker.
    pub breaker: Arc<Breaker>,
    /// The table with every version.
    pub table: String,
}

/// A snapshot that is shown: what it is about, and its body.
type Known = (ServedKey, String);

impl CurveHistory {
    /// What was known at this time of the curves of these newest snapshots, in their order; nothing of a curve that was not known yet.
    pub(super) async fn at(
        &self,
        as_of: Micros,
        newest: Vec<ServedRow>,
        runtime: &Handle,
    ) -> Result<Vec<String>, Problem> {
        let places = places(&newest);
        let (mut known, questions) = split(as_of, newest);
        if !questions.is_empty() {
            let (clickhouse, table) = (self.clickhouse.clone(), self.table.clone());
            let asked = async move { curve_snapshots(&clickhouse, &table, questions).await };
            for (question, stored) in ask(runtime, &self.breaker, asked).await? {
                known.push(earlier(question, stored)?);
            }
        }
        Ok(ordered(known, &places))
    }
}

/// The place of each snapshot.
fn places(newest: &[ServedRow]) -> HashMap<ServedKey, usize> {
    let place = |(place, row): (usize, &ServedRow)| (row.key.clone(), place);
    newest.iter().enumerate().map(place).collect()
}

/// The bodies in the order of their places.
fn ordered(mut known: Vec<Known>, places: &HashMap<ServedKey, usize>) -> Vec<String> {
    known.sort_by_key(|(key, _)| places.get(key));
    known.into_iter().map(|(_, body)| body).collect()
}

/// The snapshots that were known at this time, and the questions for the others.
fn split(as_of: Micros, newest: Vec<ServedRow>) -> (Vec<Known>, Vec<CurveQuestion>) {
    let (known, later): (Vec<ServedRow>, Vec<ServedRow>) = newest.into_iter().partition(|row| was_known(row, as_of));
    let question = |ServedRow { key, .. }| CurveQuestion {
        tenant_id: key.tenant_id,
        curve_id: key.name,
        horizon: key.horizon,
        as_of,
    };
    (
        known.into_iter().map(|row| (row.key, row.body)).collect(),
        later.into_iter().map(question).collect(),
    )
}

/// What of a body says whether it was known.
#[derive(Deserialize)]
struct Clock {
    log_clock: Option<String>,
    points: Vec<IgnoredAny>,
}

/// Whether a newest snapshot is what was known at this time. One without points only takes back another.
fn was_known(row: &ServedRow, as_of: Micros) -> bool {
    let Ok(Clock { log_clock, points }) = serde_json::from_str(&row.body) else {
        return false;
    };
    // One that a release of before has written is known since its time.
    let clock = log_clock.map_or(Some(row.time), |text| instant(&text));
    !points.is_empty() && row.time <= as_of && clock.is_some_and(|clock| clock <= as_of)
}

/// As `codec::json::curve` writes it, with the digits of the table.
#[derive(Serialize)]
struct Body<'a> {
    as_of: Value,
    cause: &'a str,
    curve_id: &'a str,
    day: &'a str,
    definition: &'a str,
    horizon: &'a str,
    inputs: Vec<CurveInput>,
    log_clock: Value,
    market: &'a str,
    method: &'a str,
    origin: TickOrigin<'a>,
    points: &'a RawValue,
    revision: i32,
    tenant_id: &'a str,
    tick_id: &'a str,
    version: u64,
}

#[derive(Serialize)]
struct TickOrigin<'a> {
    feed: &'a str,
    index: i32,
    offset: i64,
    partition: i32,
}

/// A row of the table as it is shown.
fn earlier(question: CurveQuestion, stored: StoredCurve) -> Result<Known, Problem> {
    let body = body(&question, &stored).ok_or_else(|| {
        Problem::unavailable(format!(
            "a row of curve {} in curve_snapshots is not what this build writes",
            question.curve_id
        ))
    })?;
    let key = ServedKey {
        tenant_id: question.tenant_id,
        name: question.curve_id,
        horizon: question.horizon,
    };
    Ok((key, body))
}

fn body(question: &CurveQuestion, stored: &StoredCurve) -> Option<String> {
    let body = Body {
        as_of: codec::json::time(stored.as_of),
        cause: &stored.cause,
        curve_id: &question.curve_id,
        day: &stored.day,
        definition: &stored.definition,
        horizon: &question.horizon,
        inputs: curve_inputs(&stored.inputs)?,
        log_clock: codec::json::time(stored.known_at),
        market: &stored.market,
        method: &stored.method,
        origin: tick_origin(&stored.origin)?,
        points: serde_json::from_str(&stored.points).ok()?,
        revision: stored.revision,
        tenant_id: &question.tenant_id,
        tick_id: &stored.origin,
        version: stored.version,
    };
    serde_json::to_string(&body).ok()
}

/// The parts of `feed/partition/offset/index`.
fn tick_origin(tick_id: &str) -> Option<TickOrigin<'_>> {
    let mut parts = tick_id.rsplitn(4, '/');
    Some(TickOrigin {
        index: parts.next()?.parse().ok()?,
        offset: parts.next()?.parse().ok()?,
        partition: parts.next()?.parse().ok()?,
        feed: parts.next()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::{CurvePoint, CurveSnapshot, DerivedCause, Origin};
    use serde_json::json;

    use super::*;

    const MINUTE: Micros = 60_000_000;

    fn row(body: &str) -> ServedRow {
        ServedRow {
            key: ServedKey {
                tenant_id: "t".to_owned(),
                name: "C".to_owned(),
                horizon: "1y".to_owned(),
            },
            time: MINUTE,
            version: 1,
            src_partition: 0,
            body: body.to_owned(),
        }
    }

    #[test]
    fn clickhouse_is_asked_unless_the_newest_snapshot_was_known_then() {
        let revised = r#"{"log_clock":"1970-01-01T00:02:00.000000Z","points":[{}]}"#;
        let of_before = r#"{"points":[{}]}"#;
        let taken_back = r#"{"log_clock":"1970-01-01T00:01:00.000000Z","points":[]}"#;
        let broken = r#"{"log_clock":"noon","points":[{}]}"#;
        for (body, at, is_known) in [
            (revised, 2 * MINUTE, true),
            (revised, 2 * MINUTE - 1, false),
            (of_before, MINUTE, true),
            (of_before, MINUTE - 1, false),
            (taken_back, Micros::MAX, false),
            (broken, Micros::MAX, false),
            ("", Micros::MAX, false),
        ] {
            let (known, asked) = split(at, vec![row(body)]);
            assert_eq!(
                (known.len(), asked.len()),
                (usize::from(is_known), usize::from(!is_known)),
                "{at} {body}"
            );
            for CurveQuestion {
                tenant_id,
                curve_id,
                horizon,
                as_of,
            } in asked
            {
                assert_eq!((&*tenant_id, &*curve_id, &*horizon, as_of), ("t", "C", "1y", at));
            }
        }
    }

    #[test]
    fn what_both_stores_know_is_in_the_order_of_the_page() {
        let of = |name: &str, time| ServedRow {
            key: ServedKey {
                name: name.to_owned(),
                ..row("").key
            },
            time,
            body: format!(r#"{{"is":"{name}","points":[{{}}]}}"#),
            ..row("")
        };
        // B has a newer snapshot by now, and nothing was known of C.
        let page = vec![
            of("A", MINUTE),
            of("B", 9 * MINUTE),
            of("C", 9 * MINUTE),
            of("D", 2 * MINUTE),
        ];
        let places = places(&page);
        let (mut known, asked) = split(2 * MINUTE, page);
        let names: Vec<&str> = asked.iter().map(|question| &*question.curve_id).collect();
        assert_eq!(names, ["B", "C"]);
        known.push((of("B", MINUTE).key, "earlier B".to_owned()));
        let a_and_d = ["A", "D"].map(|name| of(name, 0).body);
        assert_eq!(ordered(known, &places), [&*a_and_d[0], "earlier B", &*a_and_d[1]]);
    }

    fn snapshot() -> CurveSnapshot<'static> {
        CurveSnapshot {
            origin: Origin {
                feed: "raw/feed",
                partition: 1,
                offset: 20,
                index: 3,
            },
            tenant_id: "t",
            curve_id: "C",
            market: "PJM",
            horizon: "1y",
            as_of: MINUTE,
            day: 20_000,
            method: "smooth",
            definition: "smooth 6",
            log_clock: 2 * MINUTE,
            version: 7,
            revision: 1,
            cause: DerivedCause::Late,
            points: vec![CurvePoint {
                contract: "2026-11",
                block: "flat",
                delivery_start: "2026-11-01T00:00:00-04:00",
                delivery_end: "2026-12-01T00:00:00-05:00",
                price: 0.1 + 0.2,
                volume: None,
                confidence: 1.0,
                method: "quoted",
                extrapolated: false,
                sources: vec!["raw/feed/1/20/3"],
            }],
            inputs: vec![domain::CurveInput {
                contract: "2026-11",
                block: "flat",
                price: 0.1 + 0.7,
                curve_price: Some(0.3),
                residual: None,
                state: "repriced",
                implied_by: vec!["Q4-26"],
                source: "raw/feed/1/20/3",
                known_at: MINUTE + 1,
            }],
        }
    }

    /// As the table has it.
    fn stored(snapshot: &CurveSnapshot<'_>) -> StoredCurve {
        let mut input = codec::json::curve_input(&snapshot.inputs[0]);
        input["known_at"] = json!(snapshot.inputs[0].known_at);
        StoredCurve {
            market: "PJM".to_owned(),
            as_of: snapshot.as_of,
            known_at: snapshot.log_clock,
            day: "2024-10-04".to_owned(),
            method: "smooth".to_owned(),
            definition: "smooth 6".to_owned(),
            points: json!([codec::json::curve_point(&snapshot.points[0])]).to_string(),
            inputs: json!([input]).to_string(),
            version: 7,
            revision: 1,
            cause: "late".to_owned(),
            origin: snapshot.origin.to_string(),
        }
    }

    #[test]
    fn a_row_of_clickhouse_is_shown_as_postgres_has_it() {
        let (snapshot, question) = (snapshot(), || CurveQuestion {
            tenant_id: "t".to_owned(),
            curve_id: "C".to_owned(),
            horizon: "1y".to_owned(),
            as_of: 3 * MINUTE,
        });
        let (key, body) = earlier(question(), stored(&snapshot)).unwrap();
        assert_eq!(key, row("").key);
        assert_eq!(body, codec::json::curve(&snapshot).to_string());
        for broken in [
            StoredCurve {
                inputs: "[{}]".to_owned(),
                ..stored(&snapshot)
            },
            StoredCurve {
                points: "[".to_owned(),
                ..stored(&snapshot)
            },
            StoredCurve {
                origin: "raw/1/2".to_owned(),
                ..stored(&snapshot)
            },
        ] {
            assert!(earlier(question(), broken).is_err());
        }
    }
}
