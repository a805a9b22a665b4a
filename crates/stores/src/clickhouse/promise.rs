//! Checks that a server, a profile or a manual change does not break the writer's promise of exact rows (INV-6).
//!
//! Role: checks a table before it is written, and once a minute while it is written. Anything that could make a confirmed
//! insert untrue, or change a row, is rejected by name.
//! Invariant: additions and wider types of later migrations are accepted, so that an older build can run next to a newer one.
//! Failure: `write_refused` with the cause, its location and the remedy; a server that does not respond is its own error.

mod types;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;

use super::{ClickHouse, Layout, literal};
use crate::{Store, StoreError};

const OPERATION: &str = "check the table";
/// How often a written table is checked.
const INTERVAL: Duration = Duration::from_secs(60);

/// The last successful check of a table. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Promise {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    seen: Option<Instant>,
    /// Servers that have responded at this address, by their id.
    servers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Table {
    engine: String,
    engine_full: String,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    default_kind: String,
}

#[derive(Deserialize)]
struct Setting {
    name: String,
    value: String,
    changed: u8,
}

#[derive(Deserialize)]
struct Server {
    /// Its permanent UUID; its address if it has none.
    id: String,
    host: String,
}

impl Promise {
    /// Checks the table, unless the last successful check is less than a minute old.
    pub(super) async fn check(&self, clickhouse: &ClickHouse, layout: &Layout, table: &str) -> Result<(), StoreError> {
        let is_fresh = |seen: Instant| seen.elapsed() < INTERVAL;
        if self.kept().seen.is_some_and(is_fresh) {
            return Ok(());
        }
        settings(clickhouse).await?;
        let found = find(clickhouse, table).await?;
        engine(&found, table)?;
        columns(clickhouse, layout, table).await?;
        self.servers(clickhouse, &found, table).await?;
        self.kept().seen = Some(Instant::now());
        Ok(())
    }

    /// A plain table is on one server; behind an address of several servers, each would have some of the rows.
    async fn servers(&self, clickhouse: &ClickHouse, found: &Table, table: &str) -> Result<(), StoreError> {
        if found.engine.starts_with("Replicated") || found.engine.starts_with("Shared") {
            return Ok(());
        }
        // Concurrent queries use separate connections, which a load balancer distributes.
        let sql = "SELECT concat(hostName(), ':', toString(tcpPort())) AS host, \
                   if(serverUUID() = toUUID('00000000-0000-0000-0000-000000000000'), host, toString(serverUUID())) AS id \
                   FROM numbers(1) WHERE sleep(0.01) = 0";
        let ask = || clickhouse.rows::<Server>(OPERATION, sql);
        let (a, b, c, d) = tokio::try_join!(ask(), ask(), ask(), ask())?;
        let mut kept = self.kept();
        let answers = [a, b, c, d].into_iter().flatten();
        kept.servers.extend(answers.map(|server| (server.id, server.host)));
        if kept.servers.len() < 2 {
            return Ok(());
        }
        let hosts: Vec<&str> = kept.servers.values().map(String::as_str).collect();
        Err(refused(format!(
            "{} servers respond at DATA_PROC_CLICKHOUSE_URL ({}), and table {}.{table} has the engine {}, which is not \
             replicated: rows would be spread over them. Name one server in DATA_PROC_CLICKHOUSE_URL, or use replicated \
             tables",
            kept.servers.len(),
            hosts.join(", "),
            clickhouse.database(),
            found.engine
        )))
    }

    fn kept(&self) -> parking_lot::MutexGuard<'_, Kept> {
        self.kept.lock()
    }
}

fn refused(message: String) -> StoreError {
    StoreError::fatal(Store::ClickHouse, OPERATION, "write_refused", message)
}

/// Checks the settings of the user's profile, and the server-wide table settings. The insert's own settings override those
/// of a profile ([`super::fenced`]), unless the profile forbids it.
async fn settings(clickhouse: &ClickHouse) -> Result<(), StoreError> {
    const PROFILE: &str = "the profile of the user in DATA_PROC_CLICKHOUSE_USER";
    let profile = "SELECT name, value, toUInt8(changed) AS changed FROM system.settings \
                   WHERE name IN ('async_insert', 'wait_for_async_insert')";
    // The server rejects it (`write_refused`) if the profile does not allow the insert to change the setting.
    let chosen = "SELECT name, value, toUInt8(1) AS changed FROM system.settings WHERE name = 'async_insert' \
                  SETTINGS async_insert = 0";
    let tables =
        "SELECT name, value, toUInt8(changed) AS changed FROM system.merge_tree_settings WHERE name = 'async_insert'";
    for (source, sql) in [
        (PROFILE, profile),
        (PROFILE, chosen),
        ("the merge_tree section of the server", tables),
    ] {
        let found: Vec<Setting> = clickhouse.rows(OPERATION, sql).await?;
        for Setting { name, value, changed } in found {
            let is_on = matches!(value.as_str(), "1" | "true");
            let wanted = name != "async_insert";
            // Newer servers use asynchronous inserts by default, which an insert may still turn off.
            if is_on != wanted && (wanted || changed == 1) {
                return Err(refused(format!(
                    "{name} = {value} in {source}: an insert would be confirmed before its rows are stored. Set {name} = {} \
                     there",
                    u8::from(wanted)
                )));
            }
        }
    }
    Ok(())
}

async fn find(clickhouse: &ClickHouse, table: &str) -> Result<Table, StoreError> {
    let database = clickhouse.database();
    let sql = format!(
        "SELECT engine, engine_full FROM system.tables WHERE database = {} AND name = {}",
        literal(database),
        literal(table)
    );
    let found: Vec<Table> = clickhouse.rows(OPERATION, &sql).await?;
    found.into_iter().next().ok_or_else(|| {
        let message = format!("table {database}.{table} does not exist, or the user may not see it");
        StoreError::fatal(Store::ClickHouse, OPERATION, "schema_missing", message)
    })
}

fn engine(found: &Table, table: &str) -> Result<(), StoreError> {
    if !found.engine.ends_with("MergeTree") {
        return Err(refused(format!(
            "table {table} has the engine {}, whose inserts are not atomic: name the table with its \
             own MergeTree engine",
            found.engine
        )));
    }
    let settings = found
        .engine_full
        .rsplit_once(" SETTINGS ")
        .map_or("", |(_, settings)| settings);
    let is_async = |setting: &str| {
        let value = setting.trim().strip_prefix("async_insert")?.trim().strip_prefix('=')?;
        Some(matches!(value.trim(), "1" | "true"))
    };
    match settings.split(',').find_map(is_async) {
        Some(true) => Err(refused(format!(
            "table {table} has the setting async_insert = 1, which overrides that of the insert: an insert would be confirmed \
             before its rows are stored. Run ALTER TABLE {table} RESET SETTING async_insert"
        ))),
        _ => Ok(()),
    }
}

async fn columns(clickhouse: &ClickHouse, layout: &Layout, table: &str) -> Result<(), StoreError> {
    let found = columns_of(clickhouse, table).await?;
    let Some(first) = misfits(&found, layout, table).into_iter().next() else {
        return Ok(());
    };
    Err(refused(format!(
        "{}: run `dp sql --write \"{}\"`. It fills no value into older rows: if the column was dropped or changed by hand, follow \
         docs/runbooks/incident-corruption.md instead, which has the table written again from its topic",
        first.problem, first.statement
    )))
}

async fn columns_of(clickhouse: &ClickHouse, table: &str) -> Result<Vec<Column>, StoreError> {
    let sql = format!(
        "SELECT name, type, default_kind FROM system.columns WHERE database = {} AND table = {}",
        literal(clickhouse.database()),
        literal(table)
    );
    clickhouse.rows(OPERATION, &sql).await
}

/// A column that cannot take what the writer stores there.
struct Misfit {
    problem: String,
    /// With it, the writer goes on.
    statement: String,
}

fn misfits(found: &[Column], layout: &Layout, table: &str) -> Vec<Misfit> {
    let found: BTreeMap<&str, &Column> = found.iter().map(|column| (column.name.as_str(), column)).collect();
    let misfit = |(name, kind): (&'static str, &'static str)| {
        let (problem, change) = match found.get(name) {
            None => ("is missing".to_owned(), "ADD"),
            Some(column) if !matches!(column.default_kind.as_str(), "" | "DEFAULT") => (
                format!("is {}, so that it accepts no values", column.default_kind),
                "MODIFY",
            ),
            Some(column) if !types::holds(&column.kind, kind) => (
                format!("has the type {}, which cannot store every {kind}", column.kind),
                "MODIFY",
            ),
            Some(_) => return None,
        };
        Some(Misfit {
            problem: format!("column {name} of table {table} {problem}"),
            statement: format!("ALTER TABLE {table} {change} COLUMN {name} {kind}"),
        })
    };
    layout.fields().filter_map(misfit).collect()
}

/// What is wrong with the columns of a table that exists: one sentence for each that cannot take what its writer stores there.
///
/// # Errors
/// The error of the server.
pub async fn unfit_columns(clickhouse: &ClickHouse, layout: &Layout, suffix: &str) -> Result<Vec<String>, StoreError> {
    let table = format!("{}{suffix}", layout.table);
    let found = columns_of(clickhouse, &table).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let misfits = misfits(&found, layout, &table).into_iter();
    Ok(misfits.map(|misfit| misfit.problem).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::rows::tick::LAYOUT;

    #[test]
    fn every_column_that_cannot_take_its_values_is_named_with_the_statement_that_changes_it() {
        let column = |(name, kind): (&str, &str)| Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            default_kind: String::new(),
        };
        let mut found: Vec<Column> = LAYOUT.fields().map(column).collect();
        assert!(misfits(&found, &LAYOUT, "market_ticks").is_empty());
        found.retain(|column| column.name != "quality_flags");
        for column in &mut found {
            match column.name.as_str() {
                "market" => column.default_kind = "MATERIALIZED".to_owned(),
                "timestamp" => column.kind = "DateTime".to_owned(),
                _ => {}
            }
        }
        let misfits = misfits(&found, &LAYOUT, "market_ticks");
        let said: Vec<&str> = misfits.iter().map(|misfit| misfit.problem.as_str()).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(
            said.contains(&"column quality_flags of table market_ticks is missing"),
            "{said:?}"
        );
        let adds = "ALTER TABLE market_ticks ADD COLUMN quality_flags ";
        assert!(misfits.iter().any(|misfit| misfit.statement.starts_with(adds)));
    }
}
