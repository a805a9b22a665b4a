//! Derived prices in the table: the newest versions, or those that were known at a time.
//!
//! Failure: nothing is retried here. The caller limits the time, since a client waits for the response.

use domain::Micros;
use serde::Deserialize;

use super::{ClickHouse, literal, time_literal};
use crate::StoreError;

/// Which values are asked for.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct DerivedQuestion {
    pub tenant_id: String,
    pub series: String,
    /// The earliest time.
    pub from: Micros,
    /// The latest time, exclusive.
    pub to: Micros,
    /// A version counts if its log clock is not later.
    pub as_of: Micros,
    /// Most values; the newest are returned.
    pub limit: usize,
}

/// A leg's columns: role, instrument, price, time, age and origin; a price is its text with all digits.
pub type StoredLeg = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Micros>,
    Option<i64>,
    Option<String>,
);

/// A derived price's row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct StoredDerived {
    pub kind: String,
    pub time: Micros,
    /// Text with all digits.
    pub value: Option<String>,
    pub unit: String,
    pub first: StoredLeg,
    pub second: StoredLeg,
    /// The log clock when it was sent.
    pub known_at: Micros,
    pub version: u64,
    pub revision: i32,
    pub cause: String,
    pub cause_origin: String,
}

/// The values of a series from this table of all versions, the newest version of each time that counts; the latest time first.
///
/// # Errors
/// The error of the server.
pub async fn derived_prices(
    clickhouse: &ClickHouse,
    table: &str,
    question: &DerivedQuestion,
) -> Result<Vec<StoredDerived>, StoreError> {
    clickhouse
        .rows(
            "read derived prices",
            &statement(clickhouse.database(), table, question),
        )
        .await
}

/// A row of [`has_derived_prices`].
#[derive(Debug, Deserialize)]
struct Found {
    found: u8,
}

/// Whether a tenant has any value of a series, of any time.
///
/// # Errors
/// The error of the server.
pub async fn has_derived_prices(
    clickhouse: &ClickHouse,
    table: &str,
    (tenant_id, series): (&str, &str),
) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT toUInt8(1) AS found FROM {}.{table} WHERE tenant_id = {} AND series = {} LIMIT 1",
        clickhouse.database(),
        literal(tenant_id),
        literal(series)
    );
    let rows: Vec<Found> = clickhouse.rows("look for a derived series", &sql).await?;
    Ok(rows.iter().any(|row| row.found == 1))
}

fn statement(database: &str, table: &str, question: &DerivedQuestion) -> String {
    let leg = |place: &str| {
        format!(
            "tuple(CAST({place}_role, 'Nullable(String)'), CAST({place}_instrument, 'Nullable(String)'), toString({place}_price), \
             toUnixTimestamp64Micro({place}_time), {place}_age, {place}_origin) AS {place}"
        )
    };
    format!(
        "SELECT toString(kind) AS kind, toUnixTimestamp64Micro(timestamp) AS time, toString(value) AS value, toString(unit) AS unit, \
         {first}, {second}, toUnixTimestamp64Micro(log_clock) AS known_at, version, revision, toString(cause) AS cause, cause_origin \
         FROM {database}.{table} \
         WHERE tenant_id = {tenant} AND series = {series} AND timestamp >= {from} AND timestamp < {to} AND log_clock <= {as_of} \
         ORDER BY timestamp DESC, version DESC, src_offset DESC LIMIT 1 BY timestamp LIMIT {limit} \
         SETTINGS prefer_column_name_to_alias = 1, output_format_json_named_tuples_as_objects = 0",
        first = leg("first"),
        second = leg("second"),
        tenant = literal(&question.tenant_id),
        series = literal(&question.series),
        from = time_literal(question.from),
        to = time_literal(question.to),
        as_of = time_literal(question.as_of),
        limit = question.limit,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_are_literals_that_the_server_accepts() {
        let question = DerivedQuestion {
            tenant_id: "o'neil".to_owned(),
            series: "s".to_owned(),
            from: Micros::MIN,
            to: Micros::MAX,
            as_of: 5,
            limit: 7,
        };
        let sql = statement("db", "derived_prices_g2", &question);
        assert!(sql.contains(&format!("tenant_id = {}", literal("o'neil"))), "{sql}");
        for part in [
            "db.derived_prices_g2",
            "(toInt64(-2208988800000000), 'UTC')",
            "log_clock <= fromUnixTimestamp64Micro(toInt64(5), 'UTC')",
            "LIMIT 7",
        ] {
            assert!(sql.contains(part), "{sql}");
        }
    }
}
