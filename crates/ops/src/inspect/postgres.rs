//! What PostgreSQL does: sessions, blocked sessions, indexes and sizes; and the end of sessions that do harm.
//!
//! Invariant: a role that is not a superuser sees only the statements of its own sessions, so the statement of another role may be
//! empty here.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use stores::Postgres;

/// Sessions of this server, and how many it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Activity {
    /// Sessions of clients, of all databases.
    pub connections: u64,
    pub max_connections: u64,
    /// The sessions of this database, the longest transaction first.
    pub sessions: Vec<SessionRow>,
}

/// Percentage of `max_connections` from which new connections are soon refused.
const CROWDED_PERCENT: u64 = 80;

impl Activity {
    /// Whether new connections may soon be refused.
    pub fn is_crowded(&self) -> bool {
        self.connections * 100 > self.max_connections * CROWDED_PERCENT
    }
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct SessionRow {
    pub pid: i64,
    pub user: String,
    pub application: String,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: String,
    /// What it waits for; empty if it does not wait.
    pub waits_for: String,
    /// Since its transaction began; `None` outside of a transaction.
    pub transaction_ms: Option<i64>,
    /// Since its state changed.
    pub state_ms: i64,
    pub query: String,
}

const SESSIONS: &str = "SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(state, ''), \
    coalesce(wait_event_type || ': ' || wait_event, ''), \
    (extract(epoch FROM clock_timestamp() - xact_start) * 1000)::bigint, \
    coalesce((extract(epoch FROM clock_timestamp() - state_change) * 1000)::bigint, 0), \
    left(regexp_replace(coalesce(query, ''), '\\s+', ' ', 'g'), 2000) \
    FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// The sessions, and how many connections are used.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn activity(postgres: &Postgres) -> anyhow::Result<Activity> {
    let counts = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
                  current_setting('max_connections')";
    let counts = ask(postgres, counts, "count the connections").await?;
    let counts = counts
        .first()
        .context("count the connections: PostgreSQL returned no row")?;
    Ok(Activity {
        connections: counts.number(0)?,
        max_connections: counts.number(1)?,
        sessions: sessions(postgres, "").await?,
    })
}

/// The connections of one program to this database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Pool {
    pub application: String,
    pub user: String,
    pub connections: u64,
    pub active: u64,
    /// Idle with an open transaction, which holds its locks.
    pub in_transaction: u64,
    pub idle: u64,
}

/// Sessions by program and user, the largest first.
pub fn pools(sessions: &[SessionRow]) -> Vec<Pool> {
    let mut pools: BTreeMap<(&str, &str), Pool> = BTreeMap::new();
    for session in sessions {
        let pool = pools
            .entry((&session.application, &session.user))
            .or_insert_with(|| Pool {
                application: session.application.clone(),
                user: session.user.clone(),
                connections: 0,
                active: 0,
                in_transaction: 0,
                idle: 0,
            });
        pool.connections += 1;
        match session.state.as_str() {
            "idle" => pool.idle += 1,
            state if state.starts_with("idle in transaction") => pool.in_transaction += 1,
            _ => pool.active += 1,
        }
    }
    let mut pools: Vec<Pool> = pools.into_values().collect();
    pools.sort_by_key(|pool| std::cmp::Reverse(pool.connections));
    pools
}

/// Sessions whose transaction has been open for at least `over`, the longest first. Idle ones count: they hold their locks.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn long_running(postgres: &Postgres, over: Duration) -> anyhow::Result<Vec<SessionRow>> {
    let condition = format!(
        "AND xact_start < clock_timestamp() - interval '{} milliseconds'",
        over.as_millis()
    );
    sessions(postgres, &condition).await
}

async fn sessions(postgres: &Postgres, condition: &str) -> anyhow::Result<Vec<SessionRow>> {
    let sql = format!("{SESSIONS} {condition} ORDER BY xact_start NULLS LAST, pid");
    let rows = ask(postgres, &sql, "read the sessions").await?;
    rows.iter()
        .map(|row| {
            Ok(SessionRow {
                pid: row.number(0)?,
                user: row.text(1),
                application: row.text(2),
                state: row.text(3),
                waits_for: row.text(4),
                transaction_ms: row.optional(5)?,
                state_ms: row.number(6)?,
                query: row.text(7),
            })
        })
        .collect()
}

/// A session that waits for a lock of another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Blocked {
    pub pid: i64,
    pub waiting_ms: i64,
    pub query: String,
    pub blocked_by: i64,
    /// `active`, or `idle in transaction` if a client holds the lock without working.
    pub blocker_state: String,
    pub blocker_user: String,
    pub blocker_application: String,
    /// Since the transaction of the blocker began.
    pub blocker_ms: i64,
    pub blocker_query: String,
}

/// Every pair of a session that waits and one that it waits for.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn blocked(postgres: &Postgres) -> anyhow::Result<Vec<Blocked>> {
    let sql = "SELECT waits.pid, coalesce((extract(epoch FROM clock_timestamp() - waits.state_change) * 1000)::bigint, 0), \
               left(regexp_replace(coalesce(waits.query, ''), '\\s+', ' ', 'g'), 2000), holds.pid, coalesce(holds.state, ''), \
               coalesce(holds.usename, ''), coalesce(holds.application_name, ''), \
               coalesce((extract(epoch FROM clock_timestamp() - holds.xact_start) * 1000)::bigint, 0), \
               left(regexp_replace(coalesce(holds.query, ''), '\\s+', ' ', 'g'), 2000) \
               FROM pg_stat_activity waits CROSS JOIN LATERAL unnest(pg_blocking_pids(waits.pid)) AS held(pid) \
               JOIN pg_stat_activity holds ON holds.pid = held.pid ORDER BY 2 DESC, 1, 4";
    let rows = ask(postgres, sql, "read the locks").await?;
    rows.iter()
        .map(|row| {
            Ok(Blocked {
                pid: row.number(0)?,
                waiting_ms: row.number(1)?,
                query: row.text(2),
                blocked_by: row.number(3)?,
                blocker_state: row.text(4),
                blocker_user: row.text(5),
                blocker_application: row.text(6),
                blocker_ms: row.number(7)?,
                blocker_query: row.text(8),
            })
        })
        .collect()
}

/// Which sessions to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// These processes of the server.
    pub pids: Vec<i64>,
    /// Those of this program.
    pub application: Option<String>,
    /// Those whose transaction has been open, without work, for at least this long.
    pub idle_in_transaction: Option<Duration>,
    /// Also sessions of the pipeline.
    pub own: bool,
}

/// Name under which the services and `dp` connect.
pub const OWN_APPLICATION: &str = "data-processing";

impl Chosen {
    /// Splits the sessions that meet every condition into those to end, and those that are spared because they are the pipeline's.
    pub fn of(&self, sessions: &[SessionRow]) -> (Vec<SessionRow>, Vec<SessionRow>) {
        let meets = |session: &&SessionRow| {
            let idle = |time: Duration| {
                session.state.starts_with("idle in transaction")
                    && u128::try_from(session.state_ms).unwrap_or(0) >= time.as_millis()
            };
            (self.pids.is_empty() || self.pids.contains(&session.pid))
                && self
                    .application
                    .as_ref()
                    .is_none_or(|name| *name == session.application)
                && self.idle_in_transaction.is_none_or(idle)
        };
        let is_spared = |session: &SessionRow| !self.own && session.application == OWN_APPLICATION;
        sessions
            .iter()
            .filter(meets)
            .cloned()
            .partition(|session| !is_spared(session))
    }
}

/// Ends these sessions; returns those that the server did not end, because they had ended by themselves.
///
/// # Errors
/// PostgreSQL does not answer, or the role may not end a session of another role.
pub async fn terminate(postgres: &Postgres, sessions: &[SessionRow]) -> anyhow::Result<Vec<i64>> {
    if sessions.is_empty() {
        return Ok(Vec::new());
    }
    let pids: Vec<String> = sessions.iter().map(|session| session.pid.to_string()).collect();
    let sql = format!(
        "SELECT pid, pg_terminate_backend(pid)::int FROM unnest(ARRAY[{}]::int[]) AS chosen(pid)",
        pids.join(", ")
    );
    let rows = ask(
        postgres,
        &sql,
        "end the sessions (other roles' need a member of pg_signal_backend)",
    )
    .await?;
    let gone = rows.iter().filter(|row| row.text(1) != "1");
    gone.map(|row| row.number(0)).collect()
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Index {
    pub table: String,
    pub index: String,
    /// Uses since the statistics were reset.
    pub scans: u64,
    pub bytes: u64,
    /// Whether it enforces uniqueness, so that it is needed without any scan.
    pub is_unique: bool,
}

impl Index {
    /// Fewer scans than this do not justify an index that every write has to maintain.
    pub const FEW_SCANS: u64 = 100;

    /// Whether it only costs.
    pub fn is_unused(&self) -> bool {
        !self.is_unique && self.scans < Index::FEW_SCANS
    }
}

/// Every index of our tables, the least used first.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn indexes(postgres: &Postgres) -> anyhow::Result<Vec<Index>> {
    let sql = "SELECT used.relname, used.indexrelname, used.idx_scan, pg_relation_size(used.indexrelid), about.indisunique::int \
               FROM pg_stat_user_indexes used JOIN pg_index about USING (indexrelid) ORDER BY 3, 1, 2";
    let rows = ask(postgres, sql, "read the indexes").await?;
    rows.iter()
        .map(|row| {
            Ok(Index {
                table: row.text(0),
                index: row.text(1),
                scans: row.number(2)?,
                bytes: row.number(3)?,
                is_unique: row.text(4) == "1",
            })
        })
        .collect()
}

/// The size of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TableSize {
    pub table: String,
    /// Estimated by the server.
    pub live_rows: u64,
    /// Replaced or deleted rows that VACUUM has not removed yet.
    pub dead_rows: u64,
    pub table_bytes: u64,
    pub index_bytes: u64,
    pub total_bytes: u64,
}

/// Every table of the database, the largest first.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn sizes(postgres: &Postgres) -> anyhow::Result<Vec<TableSize>> {
    let sql = "SELECT relname, n_live_tup, n_dead_tup, pg_table_size(relid), pg_indexes_size(relid), \
               pg_total_relation_size(relid) FROM pg_stat_user_tables ORDER BY 6 DESC, 1";
    let rows = ask(postgres, sql, "read the sizes of the tables").await?;
    rows.iter()
        .map(|row| {
            Ok(TableSize {
                table: row.text(0),
                live_rows: row.number(1)?,
                dead_rows: row.number(2)?,
                table_bytes: row.number(3)?,
                index_bytes: row.number(4)?,
                total_bytes: row.number(5)?,
            })
        })
        .collect()
}

pub(super) struct Row(Vec<Option<String>>);

impl Row {
    pub(super) fn text(&self, column: usize) -> String {
        self.0.get(column).cloned().flatten().unwrap_or_default()
    }

    pub(super) fn number<T: std::str::FromStr>(&self, column: usize) -> anyhow::Result<T> {
        self.optional(column)?
            .with_context(|| format!("PostgreSQL returned no number in column {}", column + 1))
    }

    fn optional<T: std::str::FromStr>(&self, column: usize) -> anyhow::Result<Option<T>> {
        let Some(text) = self.0.get(column).and_then(Option::as_ref) else {
            return Ok(None);
        };
        let number = text.parse().ok();
        let refused = || {
            format!(
                "PostgreSQL returned {text} in column {}, which is not a valid number",
                column + 1
            )
        };
        number.map(Some).with_context(refused)
    }
}

pub(super) async fn ask(postgres: &Postgres, sql: &str, what: &str) -> anyhow::Result<Vec<Row>> {
    let rows = postgres
        .query_text(sql)
        .await
        .with_context(|| format!("{what}: is PostgreSQL running (`dp status`)?"))?;
    Ok(rows.into_iter().map(Row).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_is_no_number_is_named() {
        let row = Row(vec![Some("x".to_owned()), None, Some("7".to_owned())]);
        assert_eq!(row.number::<u64>(2).unwrap(), 7);
        assert_eq!(row.optional::<u64>(1).unwrap(), None);
        let missing = row.number::<u64>(1).unwrap_err().to_string();
        assert!(missing.contains("column 2"), "{missing}");
        let wrong = row.number::<u64>(0).unwrap_err().to_string();
        assert!(wrong.contains("returned x in column 1"), "{wrong}");
    }

    #[test]
    fn connections_are_counted_by_program_and_state() {
        let session = |application: &str, state: &str| SessionRow {
            pid: 1,
            user: "u".to_owned(),
            application: application.to_owned(),
            state: state.to_owned(),
            waits_for: String::new(),
            transaction_ms: None,
            state_ms: 0,
            query: String::new(),
        };
        let sessions = [
            session("psql", "active"),
            session("data-processing", "idle"),
            session("data-processing", "idle in transaction (aborted)"),
            session("data-processing", "active"),
        ];
        let shown: Vec<(String, u64, u64, u64, u64)> = pools(&sessions)
            .into_iter()
            .map(|pool| {
                (
                    pool.application,
                    pool.connections,
                    pool.active,
                    pool.in_transaction,
                    pool.idle,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("data-processing".to_owned(), 3, 1, 1, 1),
                ("psql".to_owned(), 1, 1, 0, 0)
            ]
        );
    }

    #[test]
    fn sessions_are_chosen_by_every_condition_and_the_pipelines_are_spared() {
        let session = |pid, application: &str, state: &str, state_ms| SessionRow {
            pid,
            user: "u".to_owned(),
            application: application.to_owned(),
            state: state.to_owned(),
            waits_for: String::new(),
            transaction_ms: None,
            state_ms,
            query: String::new(),
        };
        let sessions = [
            session(1, "report", "active", 90_000),
            session(2, "report", "idle in transaction", 90_000),
            session(3, "report", "idle in transaction", 1_000),
            session(4, OWN_APPLICATION, "idle in transaction", 90_000),
        ];
        let pids = |chosen: Chosen| {
            let (end, spared) = chosen.of(&sessions);
            let pids = |sessions: Vec<SessionRow>| sessions.iter().map(|session| session.pid).collect::<Vec<_>>();
            (pids(end), pids(spared))
        };
        let of_report = Chosen {
            application: Some("report".to_owned()),
            ..Chosen::default()
        };
        assert_eq!(pids(of_report.clone()), (vec![1, 2, 3], vec![]));
        let idle = Chosen {
            idle_in_transaction: Some(Duration::from_secs(60)),
            ..Chosen::default()
        };
        assert_eq!(pids(idle.clone()), (vec![2], vec![4]));
        assert_eq!(pids(Chosen { own: true, ..idle }), (vec![2, 4], vec![]));
        let one = Chosen {
            pids: vec![3, 4, 9],
            ..of_report
        };
        assert_eq!(pids(one), (vec![3], vec![]));
    }

    #[test]
    fn an_index_that_enforces_uniqueness_is_needed_without_any_scan() {
        let index = |scans, is_unique| Index {
            table: "t".to_owned(),
            index: "i".to_owned(),
            scans,
            bytes: 8192,
            is_unique,
        };
        assert!(index(99, false).is_unused());
        assert!(!index(100, false).is_unused());
        assert!(!index(0, true).is_unused());
    }
}
