//! Rows of whole tables out of ClickHouse and back into it, for backups.
//!
//! Role: a table leaves as text (`TabSeparatedWithNames`), so a copy can be read without this program, by every version of the
//! server, and without rights on the server's disks. It comes back into a table next to the one in use ([`ClickHouse::stage`]),
//! which takes its place in one step.
//! Invariants: no column is a binary floating point number, so the text holds every value exactly. The table in use is not
//! changed before [`ClickHouse::swap_in`].
//! Failure: every wait is limited; an interrupted load leaves a staged table, which the next one drops.

use std::time::Duration;

use serde::Deserialize;

use super::{ClickHouse, literal, within};
use crate::{Store, StoreError};

/// The server prepares a whole result before it sends the first byte.
const ANSWER_LIMIT: Duration = Duration::from_secs(3_600);
/// Limits one piece of a load, and its end.
const SEND_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(600);
/// What a staged table is called.
const STAGED: &str = "__restoring";

/// Settings of a load: exact numbers, columns by their names, and nothing that drops or delays rows.
const LOAD_SETTINGS: [(&str, &str); 7] = [
    ("async_insert", "0"),
    ("insert_deduplicate", "0"),
    ("optimize_on_insert", "0"),
    ("input_format_with_names_use_header", "1"),
    ("input_format_skip_unknown_fields", "0"),
    ("input_format_defaults_for_omitted_fields", "1"),
    ("max_partitions_per_insert_block", "0"),
];

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Counted {
    rows: u64,
}

impl ClickHouse {
    /// The columns of a table that rows bring along, in their order; none if the table does not exist.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn stored_columns(&self, table: &str) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT name FROM system.columns WHERE database = {} AND table = {} AND default_kind IN ('', 'DEFAULT') \
             ORDER BY position",
            literal(self.database()),
            literal(table)
        );
        let found: Vec<Named> = self.rows("list columns", &sql).await?;
        Ok(found.into_iter().map(|column| column.name).collect())
    }

    /// The days on which the rows that meet a condition were ingested, as `2026-11-27`.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn days_of(&self, table: &str, condition: &str) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT toString(toDate(ingested_at)) AS name FROM {}.{table} WHERE {condition} ORDER BY name",
            self.database()
        );
        let found: Vec<Named> = self.rows("list days", &sql).await?;
        Ok(found.into_iter().map(|day| day.name).collect())
    }

    /// Number of rows.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn count_rows(&self, table: &str) -> Result<u64, StoreError> {
        let sql = format!("SELECT count() AS rows FROM {}.{table}", self.database());
        let counted: Vec<Counted> = self.rows("count rows", &sql).await?;
        Ok(counted.first().map_or(0, |counted| counted.rows))
    }

    /// Passes the rows that meet a condition to `take`, as text whose first line names the columns.
    ///
    /// # Errors
    /// That of the server or of `take`; the text is then incomplete.
    pub async fn copy_out<E: From<StoreError>>(
        &self,
        table: &str,
        columns: &[String],
        condition: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        const OPERATION: &str = "copy rows";
        let sql = format!(
            "SELECT {} FROM {}.{table} WHERE {condition}",
            quoted(columns),
            self.database()
        );
        let failed = |error: clickhouse::error::Error| StoreError::clickhouse(OPERATION, &error);
        let query = self.client().query_raw(&sql);
        let mut cursor = query.fetch_bytes("TabSeparatedWithNames").map_err(failed)?;
        loop {
            let next = within(OPERATION, ANSWER_LIMIT, cursor.next()).await?;
            let Some(bytes) = next else { return Ok(()) };
            take(&bytes)?;
        }
    }

    /// Creates an empty table next to this one, with the same definition, and returns its name. One that an interrupted load
    /// left is dropped. Nothing is merged in it until [`ClickHouse::swap_in`], so its rows can be counted.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn stage(&self, table: &str) -> Result<String, StoreError> {
        let (staged, on_cluster) = (format!("{table}{STAGED}"), self.on_cluster());
        let database = self.database();
        self.drop_table(&staged).await?;
        let create = format!("CREATE TABLE {database}.{staged}{on_cluster} AS {database}.{table}");
        self.exec(&create).await?;
        self.exec(&format!("SYSTEM STOP MERGES{on_cluster} {database}.{staged}"))
            .await?;
        Ok(staged)
    }

    /// Adds rows, as [`ClickHouse::copy_out`] gave them, to a table that nothing else writes. `next` returns a piece of the text,
    /// none at its end.
    ///
    /// # Errors
    /// That of the server or of `next`; some of the rows may be stored.
    pub async fn copy_in<E: From<StoreError>>(
        &self,
        table: &str,
        columns: &[String],
        mut next: impl FnMut() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<(), E> {
        let failed = |error: clickhouse::error::Error| StoreError::clickhouse("load rows", &error);
        let sql = format!(
            "INSERT INTO {}.{table} ({}) FORMAT TabSeparatedWithNames",
            self.database(),
            quoted(columns)
        );
        let client = self.client();
        let insert = client.insert_formatted_with(sql);
        let mut insert = insert.with_timeouts(Some(SEND_LIMIT), Some(END_LIMIT));
        for (name, value) in LOAD_SETTINGS {
            insert = insert.with_setting(name, value);
        }
        while let Some(piece) = next()? {
            insert.send(piece.into()).await.map_err(failed)?;
        }
        insert.end().await.map_err(failed)?;
        Ok(())
    }

    /// Puts the staged table in the place of the one in use, in one step, and drops the latter.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn swap_in(&self, table: &str) -> Result<(), StoreError> {
        let (database, on_cluster) = (self.database(), self.on_cluster());
        let staged = format!("{database}.{table}{STAGED}");
        self.exec(&format!("SYSTEM START MERGES{on_cluster} {staged}")).await?;
        self.exec(&format!("EXCHANGE TABLES {database}.{table} AND {staged}{on_cluster}"))
            .await?;
        self.drop_table(&format!("{table}{STAGED}")).await
    }

    /// Drops a table, however large it is.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn drop_table(&self, table: &str) -> Result<(), StoreError> {
        let on_cluster = self.on_cluster();
        let sql = format!(
            "DROP TABLE IF EXISTS {}.{table}{on_cluster} SYNC SETTINGS max_table_size_to_drop = 0",
            self.database()
        );
        self.exec(&sql).await
    }

    /// Removes every floor of a topic: afterwards the rows alone say where a writer continues.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn remove_floors(&self, topic: &str) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM {}.writer_floor WHERE topic = {} SETTINGS lightweight_deletes_sync = 2",
            self.database(),
            literal(topic)
        );
        self.exec(&sql).await
    }

    /// Forgets the ids of these topics, `(name, id)`, so that others can be stored.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn forget_topics(&self, ids: &[(String, String)]) -> Result<(), StoreError> {
        let names: Vec<String> = ids.iter().map(|(topic, _)| literal(topic)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "DELETE FROM {}.writer_topics WHERE topic IN ({}) SETTINGS lightweight_deletes_sync = 2",
            self.database(),
            names.join(", ")
        );
        self.exec(&sql).await
    }

    fn on_cluster(&self) -> String {
        self.cluster.on_cluster().unwrap_or_default()
    }
}

/// The columns as SQL.
fn quoted(columns: &[String]) -> String {
    let quoted: Vec<String> = columns
        .iter()
        .map(|column| format!("`{}`", column.replace('`', "")))
        .collect();
    quoted.join(", ")
}

/// The rows of a source topic before these positions, `(partition, next offset)`, as a condition.
pub fn before(positions: &[(i32, i64)]) -> String {
    let each: Vec<String> = positions
        .iter()
        .map(|(partition, next)| format!("(src_partition = {partition} AND src_offset < {next})"))
        .collect();
    match each.is_empty() {
        true => "0".to_owned(),
        false => format!("({})", each.join(" OR ")),
    }
}

/// Whether every byte of a copy is there: the server ends its last line.
///
/// # Errors
/// `unexpected_answer` if the text ends within a line.
pub fn check_end(last: Option<u8>) -> Result<(), StoreError> {
    match last {
        None | Some(b'\n') => Ok(()),
        Some(_) => Err(StoreError::unexpected(
            Store::ClickHouse,
            "copy rows",
            "the text ends within a line",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_for_no_row_of_a_partition_without_a_position() {
        assert_eq!(before(&[]), "0");
        assert_eq!(
            before(&[(0, 15), (3, 0)]),
            "((src_partition = 0 AND src_offset < 15) OR (src_partition = 3 AND src_offset < 0))"
        );
        assert_eq!(quoted(&["a".to_owned(), "b`c".to_owned()]), "`a`, `bc`");
    }

    #[test]
    fn a_copy_that_ends_within_a_line_is_refused() {
        assert!(check_end(None).is_ok() && check_end(Some(b'\n')).is_ok());
        assert!(check_end(Some(b'1')).is_err());
    }
}
