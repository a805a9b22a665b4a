//! The newest snapshots of curves in the table.
//!
//! Failure: nothing is retried here. The caller limits the time, since a client waits for the response.

use domain::Micros;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use super::{ClickHouse, literal, time_literal};
use crate::StoreError;

/// Snapshots that were taken back are passed over, at most so many in a row.
const MOST_TAKEN_BACK: usize = 100;
/// Questions of one caller that the server works on at the same time.
const AT_ONCE: usize = 4;

/// Which snapshot is asked for.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CurveQuestion {
    pub tenant_id: String,
    pub curve_id: String,
    /// `1m`, `3m`, `6m`, `1y` or `all`.
    pub horizon: String,
    /// A version counts if neither its time nor its log clock is later.
    pub as_of: Micros,
}

/// A snapshot's row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct StoredCurve {
    pub market: String,
    pub as_of: Micros,
    /// Since when the version is known.
    pub known_at: Micros,
    /// A date.
    pub day: String,
    pub method: String,
    pub definition: String,
    /// JSON.
    pub points: String,
    /// JSON.
    pub inputs: String,
    pub version: u64,
    pub revision: i32,
    pub cause: String,
    pub origin: String,
}

/// The newest snapshot at or before a time, in the newest version that was known by then; `None` if there is none.
///
/// # Errors
/// The error of the server.
pub async fn curve_snapshot(
    clickhouse: &ClickHouse,
    table: &str,
    question: &CurveQuestion,
) -> Result<Option<StoredCurve>, StoreError> {
    let sql = statement(clickhouse.database(), table, question);
    let rows: Vec<StoredCurve> = clickhouse.rows("read a curve", &sql).await?;
    Ok(rows.into_iter().next())
}

/// The same for several questions: those that have an answer, in their order. Each is a look-up of its own by the key of the table: one
/// statement for all curves would read the whole history of a tenant.
///
/// # Errors
/// The error of the server.
pub async fn curve_snapshots(
    clickhouse: &ClickHouse,
    table: &str,
    questions: Vec<CurveQuestion>,
) -> Result<Vec<(CurveQuestion, StoredCurve)>, StoreError> {
    let asked = questions.into_iter().map(|question| {
        let (clickhouse, table) = (clickhouse.clone(), table.to_owned());
        async move {
            let found = curve_snapshot(&clickhouse, &table, &question).await;
            found.map(|found| found.map(|stored| (question, stored)))
        }
    });
    let found: Vec<Option<_>> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

fn statement(database: &str, table: &str, question: &CurveQuestion) -> String {
    format!(
        "SELECT * FROM (SELECT toString(market) AS market, toUnixTimestamp64Micro(as_of) AS as_of, \
         toUnixTimestamp64Micro(log_clock) AS known_at, toString(day) AS day, toString(method) AS method, \
         toString(definition) AS definition, points, inputs, version, revision, toString(cause) AS cause, origin \
         FROM {database}.{table} \
         WHERE tenant_id = {tenant} AND curve_id = {curve} AND horizon = {horizon} \
         AND as_of <= {as_of} AND log_clock <= {as_of} \
         ORDER BY as_of DESC, version DESC, src_offset DESC LIMIT 1 BY as_of LIMIT {MOST_TAKEN_BACK}) \
         WHERE points != '[]' ORDER BY as_of DESC LIMIT 1 \
         SETTINGS prefer_column_name_to_alias = 1",
        tenant = literal(&question.tenant_id),
        curve = literal(&question.curve_id),
        horizon = literal(&question.horizon),
        as_of = time_literal(question.as_of),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_are_literals_that_the_server_accepts() {
        let question = CurveQuestion {
            tenant_id: "o'neil".to_owned(),
            curve_id: "C".to_owned(),
            horizon: "all".to_owned(),
            as_of: Micros::MAX,
        };
        let until = time_literal(question.as_of);
        let sql = statement("db", "curve_snapshots_g2", &question);
        assert!(sql.contains(&format!("tenant_id = {}", literal("o'neil"))), "{sql}");
        for part in [
            "db.curve_snapshots_g2",
            "(toInt64(10413791999999999), 'UTC')",
            "horizon = 'all'",
            &format!("AND as_of <= {until} AND log_clock <= {until} ORDER BY"),
        ] {
            assert!(sql.contains(part), "{sql}");
        }
    }
}
