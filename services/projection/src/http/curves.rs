//! `GET /curves/snapshots`: the newest snapshots of a tenant's curves, or the newest that were known at a time.
//!
//! Invariant: the answer for a time has the first curves by name and horizon, whichever of them have changed since then, and says where the
//! next page begins. So pages of one time have every snapshot once.

use actix_web::{HttpResponse, web};
use domain::Micros;
use serde::Deserialize;
use serde_json::Value;
use service::http::openapi::Shape;
use service::http::shapes::{CURVE_INPUT, CURVE_POINT};
use service::http::{InstrumentId, Problem, Tenant, ask, limit_of, time_of};
use stores::{ServedRow, ServedStore, StoreError};

use super::Api;

/// The horizons that curves are made to.
const HORIZONS: [&str; 5] = ["1m", "3m", "6m", "1y", "all"];

/// Body of the answer.
pub(super) const SNAPSHOTS: Shape = Shape::Object(&[
    ("count", Shape::Integer),
    ("truncated", Shape::Flag),
    ("next", Shape::Nullable(&Shape::Text)),
    ("snapshots", Shape::List(&SNAPSHOT)),
]);
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
    after: Option<String>,
    limit: Option<String>,
}

/// A query that was checked.
struct Asked {
    curve: Option<String>,
    horizon: Option<String>,
    as_of: Option<Micros>,
    /// Curve and horizon of the last row of the page before; both empty before the first row.
    after: Option<(String, String)>,
    limit: u16,
}

impl Asked {
    fn of(query: Query) -> Result<Asked, Problem> {
        let limit = limit_of(query.limit.as_deref())?;
        if let Some(horizon) = query.horizon.as_deref().filter(|horizon| !HORIZONS.contains(horizon)) {
            return Err(Problem::unprocessable(format!(
                "horizon is {horizon}; it must be one of {}",
                HORIZONS.join(", ")
            )));
        }
        Ok(Asked {
            curve: query.curve_id.map(InstrumentId::into_inner),
            horizon: query.horizon,
            as_of: query.as_of.as_deref().map(|text| time_of("as_of", text)).transpose()?,
            after: query.after.as_deref().map(place).transpose()?,
            limit,
        })
    }

    /// Newest first is no order for pages: a curve moves to the front whenever a snapshot of it is made.
    fn is_by_name(&self) -> bool {
        self.as_of.is_some() || self.after.is_some()
    }

    /// The newest snapshots that it is about, one more than the limit if there are more.
    async fn rows(&self, store: &ServedStore, tenant: &str) -> Result<Vec<ServedRow>, StoreError> {
        let (named, most) = (
            (self.curve.as_deref(), self.horizon.as_deref()),
            i64::from(self.limit) + 1,
        );
        if !self.is_by_name() {
            return store.newest_of(tenant, named, most).await;
        }
        let after = self.after.as_ref().map(|(curve, horizon)| (&**curve, &**horizon));
        store.by_name(tenant, named, after, most).await
    }
}

/// Curve and horizon of `after`. A horizon has no slash, a curve may have some.
fn place(after: &str) -> Result<(String, String), Problem> {
    if after.is_empty() {
        return Ok((String::new(), String::new()));
    }
    let parts = after.rsplit_once('/').filter(|(_, horizon)| HORIZONS.contains(horizon));
    let named = parts.and_then(|(curve, horizon)| {
        let curve = InstrumentId::try_from(curve.to_owned()).ok()?;
        Some((curve.into_inner(), horizon.to_owned()))
    });
    named.ok_or_else(|| {
        Problem::unprocessable(
            "after must be the \"next\" of an answer, such as NG_HENRY_HUB/1y, or empty for the first page",
        )
    })
}

/// The snapshots of one answer.
struct Page {
    rows: Vec<ServedRow>,
    /// Whether there are more.
    is_truncated: bool,
    /// The `after` of the next page.
    next: Option<String>,
}

impl Page {
    fn of(asked: &Asked, mut rows: Vec<ServedRow>) -> Page {
        let limit = usize::from(asked.limit);
        let is_truncated = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| is_truncated && asked.is_by_name());
        let next = last.map(|ServedRow { key, .. }| format!("{}/{}", key.name, key.horizon));
        Page {
            rows,
            is_truncated,
            next,
        }
    }
}

pub(super) async fn snapshots(
    tenant: Tenant,
    api: web::Data<Api>,
    query: web::Query<Query>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let time = query.as_of.clone();
    let asked = Asked::of(query)?;
    let (store, of_tenant) = (api.rewriter.snapshots.clone(), tenant.id().to_owned());
    let (asked, rows) = ask(&api.runtime, &api.postgres_breaker, async move {
        let rows = asked.rows(&store, &of_tenant).await?;
        Ok((asked, rows))
    })
    .await?;
    let Page {
        rows,
        is_truncated,
        next,
    } = Page::of(&asked, rows);
    let snapshots: Vec<String> = match asked.as_of {
        None => rows.into_iter().map(|ServedRow { body, .. }| body).collect(),
        Some(as_of) => api.history.at(as_of, rows, &api.runtime).await?,
    };
    // An empty page of several says nothing about the curve.
    let is_all = !is_truncated && asked.after.is_none();
    if let (Some(curve), true, true) = (&asked.curve, snapshots.is_empty(), is_all) {
        return Err(missing(curve, asked.horizon, time.as_deref(), &tenant));
    }
    let body = body(&snapshots, is_truncated, next);
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// Written as text: the stored digits stay as they are.
fn body(snapshots: &[String], is_truncated: bool, next: Option<String>) -> String {
    format!(
        "{{\"count\":{},\"truncated\":{is_truncated},\"next\":{},\"snapshots\":[{}]}}",
        snapshots.len(),
        Value::from(next),
        snapshots.join(",")
    )
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
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;
    use stores::ServedKey;

    use super::*;

    fn query() -> Query {
        Query {
            curve_id: None,
            horizon: Some("1y".to_owned()),
            as_of: None,
            after: None,
            limit: Some("2".to_owned()),
        }
    }

    #[test]
    fn a_limit_or_horizon_that_the_route_does_not_have_is_refused() {
        assert!(Asked::of(query()).is_ok());
        let none = Query {
            limit: Some("0".to_owned()),
            ..query()
        };
        assert!(Asked::of(none).is_err());
        let other = Query {
            horizon: Some("2y".to_owned()),
            ..query()
        };
        assert!(Asked::of(other).is_err());
    }

    #[test]
    fn a_page_begins_after_a_curve_and_a_horizon() {
        let after = |text: &str| {
            let query = Query {
                after: Some(text.to_owned()),
                ..query()
            };
            Asked::of(query).map(|asked| (asked.is_by_name(), asked.after.unwrap()))
        };
        for (text, curve, horizon) in [
            ("", "", ""),
            ("NG/all", "NG", "all"),
            ("PJM/WEST:5%/1m", "PJM/WEST:5%", "1m"),
        ] {
            let (is_by_name, place) = after(text).unwrap();
            assert_eq!(
                (is_by_name, place),
                (true, (curve.to_owned(), horizon.to_owned())),
                "{text}"
            );
        }
        for text in ["NG", "NG/", "/1y", "NG/2y", "N|G/1y", "N\0G/1y"] {
            assert!(after(text).is_err(), "{text}");
        }
    }

    fn rows(names: &[&str]) -> Vec<ServedRow> {
        let row = |name: &&str| ServedRow {
            key: ServedKey {
                tenant_id: "t".to_owned(),
                name: (*name).to_owned(),
                horizon: "1y".to_owned(),
            },
            time: 1,
            version: 1,
            src_partition: 0,
            body: format!("\"{name}\""),
        };
        names.iter().map(row).collect()
    }

    #[test]
    fn an_answer_says_whether_there_are_more_and_where_they_begin() {
        let at_a_time = || Query {
            as_of: Some("2026-10-01T00:00:00Z".to_owned()),
            ..query()
        };
        let of_a_page = || Query {
            after: Some(String::new()),
            ..query()
        };
        for (query, names, truncated, next) in [
            (at_a_time(), &["A", "B\"", "C"][..], true, json!("B\"/1y")),
            (at_a_time(), &["A", "B"], false, json!(null)),
            (at_a_time(), &[], false, json!(null)),
            (of_a_page(), &["A", "B", "C"], true, json!("B/1y")),
            // The newest ones: there are more, but they have no place to go on from.
            (query(), &["A", "B", "C"], true, json!(null)),
            (query(), &["A"], false, json!(null)),
        ] {
            let page = Page::of(&Asked::of(query).unwrap(), rows(names));
            let bodies: Vec<String> = page.rows.iter().map(|row| json!(row.key.name).to_string()).collect();
            let shown: Value = serde_json::from_str(&body(&bodies, page.is_truncated, page.next)).unwrap();
            let held = &names[..names.len().min(2)];
            let expected = json!({"count": held.len(), "truncated": truncated, "next": next, "snapshots": held});
            assert_eq!(shown, expected, "{names:?}");
        }
    }
}
