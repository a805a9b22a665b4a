//! The statements that take PostgreSQL the most time, as its extension `pg_stat_statements` counts them.
//!
//! Invariant: constants are not part of a statement, so every call of one kind counts together. A role that is not a superuser sees the
//! text of its own statements only.
//! Failure: a server that does not count is an error that says how to switch it on.

use anyhow::{Context as _, bail};
use serde::Serialize;
use stores::Postgres;

use super::postgres::ask;

/// A statement, with all its calls since the statistics were reset.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Statement {
    pub query: String,
    pub user: String,
    pub calls: u64,
    pub total_ms: f64,
    pub mean_ms: f64,
    /// Rows that it returned or changed.
    pub rows: u64,
    /// Share of the time of all statements of this database.
    pub percent: f64,
}

/// The schema of the view, and a setting that exists only while the library is loaded: its name is all that any role may see.
const LOCATE: &str = "SELECT (SELECT quote_ident(home.nspname) FROM pg_extension counted JOIN pg_namespace home \
    ON home.oid = counted.extnamespace WHERE counted.extname = 'pg_stat_statements'), \
    current_setting('pg_stat_statements.max', true)";

/// The statements of this database with the most time in total, the most expensive first.
///
/// # Errors
/// PostgreSQL does not answer, or does not count statements.
pub async fn statements(postgres: &Postgres, limit: u64) -> anyhow::Result<Vec<Statement>> {
    let what = "read the statistics of statements";
    let located = ask(postgres, LOCATE, what).await?;
    let located = located
        .first()
        .with_context(|| format!("{what}: PostgreSQL returned no row"))?;
    let (schema, loaded) = (located.text(0), located.text(1));
    check(!schema.is_empty(), !loaded.is_empty())?;
    // These names of the columns are those of PostgreSQL 13 and later.
    let sql = format!(
        "SELECT left(regexp_replace(coalesce(query, ''), '\\s+', ' ', 'g'), 2000), coalesce(pg_get_userbyid(userid), ''), calls, \
         total_exec_time, mean_exec_time, rows, 100 * total_exec_time / greatest(sum(total_exec_time) OVER (), 0.000001) \
         FROM {schema}.pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         ORDER BY total_exec_time DESC LIMIT {limit}"
    );
    let rows = ask(postgres, &sql, what).await?;
    rows.iter()
        .map(|row| {
            Ok(Statement {
                query: row.text(0),
                user: row.text(1),
                calls: row.number(2)?,
                total_ms: row.number(3)?,
                mean_ms: row.number(4)?,
                rows: row.number(5)?,
                percent: row.number(6)?,
            })
        })
        .collect()
}

/// Fails with what to do unless the server counts and the database has the view.
fn check(has_view: bool, is_loaded: bool) -> anyhow::Result<()> {
    match (has_view, is_loaded) {
        (true, true) => Ok(()),
        (_, false) => bail!(
            "PostgreSQL does not count statements: set shared_preload_libraries=pg_stat_statements, restart it, and have a superuser run \
             CREATE EXTENSION pg_stat_statements in this database; a local stack does this at the start of postgres if the extension is \
             installed (`apt-get install postgresql-contrib`, `dp restart postgres`)"
        ),
        (false, true) => bail!(
            "PostgreSQL counts statements, but this database has no view of them: have a superuser run CREATE EXTENSION \
             pg_stat_statements in it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_count_statements_is_named_with_the_remedy() {
        assert!(check(true, true).is_ok());
        for (has_view, is_loaded, remedy) in [
            (true, false, "shared_preload_libraries"),
            (false, false, "shared_preload_libraries"),
            (false, true, "CREATE EXTENSION"),
        ] {
            let refused = check(has_view, is_loaded).map_err(|error| error.to_string());
            assert!(refused.as_ref().is_err_and(|text| text.contains(remedy)), "{refused:?}");
        }
    }
}
