//! Judges what ClickHouse, PostgreSQL and Redis say about themselves. Pure.

use std::time::Duration;

use super::{Area, Finding, Severity};
use crate::inspect::clickhouse::{Disk, FailedInserts, LoggedQuery, RunningQuery, TableParts};
use crate::inspect::postgres::{Activity, Blocked, SessionRow};
use crate::inspect::redis::Memory;
use crate::present::{bytes, milliseconds};

/// ClickHouse slows inserts down at 1,000 parts in a partition and refuses them at 3,000.
const MANY_PARTS: u64 = 300;
const SLOWED_PARTS: u64 = 1_000;
/// Percentage of a disk that should stay free.
const FREE_PERCENT: f64 = 10.0;
/// Below this, merges and inserts soon fail.
const HARDLY_FREE_PERCENT: f64 = 3.0;
/// A query of the pipeline takes less.
pub(super) const SLOW_QUERY: Duration = Duration::from_secs(10);
const LONG_QUERY: Duration = Duration::from_secs(60);
/// An insert of the pipeline takes some tenths of a second.
const SLOW_INSERT: Duration = Duration::from_secs(3);
/// A transaction of the pipeline takes less.
pub(super) const LONG_TRANSACTION: Duration = Duration::from_secs(300);
/// How far the logs of the servers are looked at.
pub(super) const RECENT: Duration = Duration::from_secs(3_600);
/// Lines of evidence for a finding.
const SHOWN: usize = 5;
const SHOWN_CHARACTERS: usize = 160;

/// A disk of which little is free. `what` names it.
pub(super) fn disk(area: Area, what: String, disk: &Disk, next: &str) -> Option<Finding> {
    let free = disk.free_percent();
    let severity = match free {
        ..HARDLY_FREE_PERCENT => Severity::Critical,
        ..FREE_PERCENT => Severity::Warning,
        _ => return None,
    };
    let finding = Finding::new(severity, area, what, disk.path.clone());
    Some(
        finding
            .shown_by([format!(
                "{} of {} are free ({free:.1} %)",
                bytes(disk.free_bytes),
                bytes(disk.total_bytes)
            )])
            .because("data, logs or other programs fill it", next),
    )
}

pub(super) fn parts(tables: &[TableParts]) -> Vec<Finding> {
    let many = tables.iter().filter(|table| table.most_in_a_partition > MANY_PARTS);
    many.map(|table| {
        let severity = match table.most_in_a_partition {
            SLOWED_PARTS.. => Severity::Critical,
            _ => Severity::Warning,
        };
        let what = format!("table {} has too many parts", table.table);
        Finding::new(severity, Area::Clickhouse, what, table.table.clone())
            .shown_by([format!(
                "{} parts in one partition; inserts slow down at 1,000 and are refused at 3,000",
                table.most_in_a_partition
            )])
            .because("merges do not keep up with small inserts", "dp clickhouse processes")
    })
    .collect()
}

pub(super) fn failed_inserts(failed: &[FailedInserts]) -> Option<Finding> {
    let inserts: u64 = failed.iter().map(|failed| failed.inserts).sum();
    if inserts == 0 {
        return None;
    }
    let evidence = failed.iter().take(SHOWN).map(|failed| {
        format!(
            "{}, the last at {}: {}",
            failed.inserts,
            failed.newest_at,
            cut(&failed.error)
        )
    });
    let what = format!("{inserts} insert(s) failed within the last hour");
    let finding = Finding::new(Severity::Warning, Area::Clickhouse, what, "system.query_log");
    Some(finding.shown_by(evidence).because(
        "the errors name it; writers repeat a failed insert, so no row is lost while they run",
        "dp clickhouse slow --over 0s --since 1h",
    ))
}

/// The server cannot tell what it has done.
pub(super) fn no_query_log(why: String) -> Finding {
    let what = "failed inserts and slow queries could not be checked";
    let finding = Finding::new(Severity::Note, Area::Clickhouse, what, "system.query_log");
    finding.shown_by([why]).because(
        "the server logs no statements, or cannot write its log",
        "dp logs clickhouse -n 100",
    )
}

pub(super) fn slow(queries: &[LoggedQuery]) -> Option<Finding> {
    let slowest = queries.first()?;
    let what = format!(
        "{} quer(ies) took more than {} s within the last hour",
        queries.len(),
        SLOW_QUERY.as_secs()
    );
    let evidence = queries.iter().take(SHOWN).map(|query| {
        let took = milliseconds(i64::try_from(query.milliseconds).unwrap_or(i64::MAX));
        format!("{took}, user {}: {}", query.user, cut(&query.query))
    });
    let finding = Finding::new(Severity::Note, Area::Clickhouse, what, "system.query_log");
    Some(finding.shown_by(evidence).because(
        format!(
            "{} row(s) were read by the slowest: a wide range of time, or a busy server",
            slowest.rows_read
        ),
        "dp clickhouse slow --over 10s --since 1h",
    ))
}

pub(super) fn running(queries: &[RunningQuery]) -> Option<Finding> {
    let long: Vec<&RunningQuery> = queries
        .iter()
        .filter(|query| query.seconds >= LONG_QUERY.as_secs_f64())
        .collect();
    if long.is_empty() {
        return None;
    }
    let evidence = long
        .iter()
        .take(SHOWN)
        .map(|query| format!("for {:.0} s: {}", query.seconds, cut(&query.query)));
    let what = format!("{} quer(ies) have been running for more than a minute", long.len());
    let finding = Finding::new(Severity::Warning, Area::Clickhouse, what, "system.processes");
    Some(finding.shown_by(evidence).because(
        "an analyst's query without a limit, or a busy server",
        "dp clickhouse processes",
    ))
}

/// Inserts that run right now. Those that have ended are in the query log, and say nothing of now.
pub(super) fn slow_inserts(queries: &[RunningQuery]) -> Option<Finding> {
    let is_insert = |query: &&RunningQuery| query.query.trim_start().to_uppercase().starts_with("INSERT");
    let slow: Vec<&RunningQuery> = queries
        .iter()
        .filter(|query| query.seconds >= SLOW_INSERT.as_secs_f64())
        .filter(is_insert)
        .collect();
    if slow.is_empty() {
        return None;
    }
    let evidence = slow
        .iter()
        .take(SHOWN)
        .map(|query| format!("for {:.0} s: {}", query.seconds, cut(&query.query)));
    let what = format!("ClickHouse is slow: {} insert(s) take long", slow.len());
    let finding = Finding::new(Severity::Warning, Area::Clickhouse, what, "system.processes");
    Some(finding.shown_by(evidence).because(
        "merges that were stopped (SYSTEM STOP MERGES) or do not keep up, so that it delays inserts; a slow or full disk; heavy queries",
        "dp clickhouse parts",
    ))
}

pub(super) fn connections(activity: &Activity) -> Option<Finding> {
    if !activity.is_crowded() {
        return None;
    }
    let finding = Finding::new(
        Severity::Warning,
        Area::Postgres,
        "nearly all connections are used",
        "max_connections",
    );
    Some(
        finding
            .shown_by([format!(
                "{} of {} connections",
                activity.connections, activity.max_connections
            )])
            .because(
                "pools of the services (DATA_PROC_DB_POOL_SIZE times replicas) or other clients are too large",
                "dp postgres activity",
            ),
    )
}

pub(super) fn blocked(blocked: &[Blocked]) -> Option<Finding> {
    let longest = blocked.first()?;
    let evidence = blocked.iter().take(SHOWN).map(|wait| {
        format!(
            "pid {} waits for pid {} since {}: {}",
            wait.pid,
            wait.blocked_by,
            milliseconds(wait.waiting_ms),
            cut(&wait.query)
        )
    });
    let what = format!("{} session(s) wait for a lock", blocked.len());
    let cause = format!(
        "pid {} ({}) holds it: {}",
        longest.blocked_by,
        longest.blocker_state,
        cut(&longest.blocker_query)
    );
    let finding = Finding::new(Severity::Warning, Area::Postgres, what, "pg_locks");
    Some(finding.shown_by(evidence).because(cause, "dp postgres locks"))
}

pub(super) fn long_transactions(sessions: &[SessionRow]) -> Option<Finding> {
    if sessions.is_empty() {
        return None;
    }
    let evidence = sessions.iter().take(SHOWN).map(|session| {
        let open = session.transaction_ms.map_or_else(String::new, milliseconds);
        format!(
            "pid {} ({}) for {open}: {}",
            session.pid,
            session.state,
            cut(&session.query)
        )
    });
    let what = format!(
        "{} transaction(s) have been open for more than 5 minutes",
        sessions.len()
    );
    let finding = Finding::new(Severity::Warning, Area::Postgres, what, "pg_stat_activity");
    Some(finding.shown_by(evidence).because(
        "a client that forgot to commit; it holds its locks, and VACUUM cannot remove rows",
        "dp postgres long-running --over 5m",
    ))
}

pub(super) fn memory(nodes: &[Memory]) -> Vec<Finding> {
    nodes
        .iter()
        .flat_map(|node| [near_limit(node), evictions(node)])
        .flatten()
        .collect()
}

fn near_limit(node: &Memory) -> Option<Finding> {
    if !node.is_near_limit() {
        return None;
    }
    let refuses = node.policy == "noeviction";
    let severity = if refuses { Severity::Critical } else { Severity::Warning };
    let finding = Finding::new(severity, Area::Redis, "memory is near its limit", named(node));
    let what_then = if refuses {
        "at the limit it refuses writes"
    } else {
        "at the limit it removes keys"
    };
    Some(
        finding
            .shown_by([format!(
                "{} of {}, policy {}",
                bytes(node.used_bytes),
                bytes(node.max_bytes),
                node.policy
            )])
            .because(format!("more keys than planned; {what_then}"), "dp redis keys"),
    )
}

fn evictions(node: &Memory) -> Option<Finding> {
    if node.evicted_keys == 0 {
        return None;
    }
    let finding = Finding::new(
        Severity::Warning,
        Area::Redis,
        "keys were removed for lack of memory",
        named(node),
    );
    Some(
        finding
            .shown_by([format!(
                "{} key(s) since it started, policy {}",
                node.evicted_keys, node.policy
            )])
            .because("maxmemory is smaller than the prices and caches need", "dp redis keys"),
    )
}

fn named(node: &Memory) -> String {
    if node.node.is_empty() {
        "redis".to_owned()
    } else {
        node.node.clone()
    }
}

/// The beginning of a long text.
fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_judged_by_what_is_free() {
        let severity = |free_bytes| {
            let one = Disk {
                name: "d".to_owned(),
                path: "/d".to_owned(),
                free_bytes,
                total_bytes: 1_000,
            };
            disk(Area::Disk, "x".to_owned(), &one, "next").map(|finding| finding.severity)
        };
        assert_eq!(severity(100), None);
        assert_eq!(severity(99), Some(Severity::Warning));
        assert_eq!(severity(30), Some(Severity::Warning));
        assert_eq!(severity(29), Some(Severity::Critical));
    }

    #[test]
    fn parts_are_critical_when_clickhouse_slows_inserts_down() {
        let table = |most_in_a_partition| TableParts {
            table: "t".to_owned(),
            parts: most_in_a_partition,
            partitions: 1,
            most_in_a_partition,
            rows: 1,
            bytes_on_disk: 1,
            newest_part_at: String::new(),
        };
        let found = parts(&[table(300), table(301), table(1_000)]);
        let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Warning, Severity::Critical]);
    }

    #[test]
    fn a_full_redis_is_critical_if_it_refuses_writes() {
        let node = |policy: &str, used_bytes, evicted_keys| Memory {
            node: String::new(),
            used_bytes,
            peak_bytes: used_bytes,
            max_bytes: 100,
            policy: policy.to_owned(),
            evicted_keys,
            clients: 1,
        };
        let severities = |node: Memory| {
            memory(&[node])
                .iter()
                .map(|finding| finding.severity)
                .collect::<Vec<_>>()
        };
        assert_eq!(severities(node("noeviction", 79, 0)), []);
        assert_eq!(severities(node("noeviction", 80, 0)), [Severity::Critical]);
        assert_eq!(severities(node("allkeys-lru", 80, 0)), [Severity::Warning]);
        assert_eq!(severities(node("allkeys-lru", 10, 3)), [Severity::Warning]);
    }

    #[test]
    fn failed_inserts_are_summed_and_a_long_error_is_cut() {
        assert_eq!(failed_inserts(&[]), None);
        let failed = |inserts| FailedInserts {
            inserts,
            newest_at: "now".to_owned(),
            error: "é".repeat(500),
        };
        let found = failed_inserts(&[failed(2), failed(3)]);
        let (what, evidence) = found
            .map(|finding| (finding.what, finding.evidence))
            .unwrap_or_default();
        assert!(what.starts_with("5 insert(s)"), "{what}");
        assert!(evidence.iter().all(|line| line.chars().count() < 200), "{evidence:?}");
    }

    fn query(seconds: f64, statement: &str) -> RunningQuery {
        RunningQuery {
            seconds,
            user: String::new(),
            rows_read: 0,
            memory_bytes: 0,
            query_id: String::new(),
            query: statement.to_owned(),
        }
    }

    #[test]
    fn only_a_long_query_that_still_runs_is_found() {
        assert_eq!(running(&[query(59.9, "SELECT 1")]), None);
        let found = running(&[query(61.0, "SELECT 1"), query(3.0, "SELECT 1")]);
        assert_eq!(
            found.map(|finding| finding.evidence),
            Some(vec!["for 61 s: SELECT 1".to_owned()])
        );
    }

    #[test]
    fn an_insert_that_runs_for_seconds_is_found_and_a_query_is_not() {
        assert_eq!(
            slow_inserts(&[query(2.9, "INSERT INTO t SELECT 1"), query(9.0, "SELECT 1")]),
            None
        );
        let found = slow_inserts(&[query(4.0, " insert into t SELECT 1"), query(9.0, "SELECT 1")]);
        assert_eq!(
            found.map(|finding| (finding.what, finding.evidence.len())),
            Some(("ClickHouse is slow: 1 insert(s) take long".to_owned(), 1))
        );
    }
}
