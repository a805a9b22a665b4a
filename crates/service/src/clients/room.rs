//! Health checks of the room that the servers have left: the disk of ClickHouse, and the connections of PostgreSQL.
//!
//! Role: while there is room, everything works and no other check fails; once there is none, writes or new connections are refused
//! at once. Not critical, and without a breaker: the server still works.
//! Failure: a server that does not answer, or does not permit the question, is the matter of its own check.

use std::time::Duration;

use serde::Deserialize;
use stores::{ClickHouse, Postgres};

use super::{Clients, Dependency, Use};
use crate::health::{Answer, Check, Wrong};
use crate::metrics;
use crate::settings::Settings;

/// Room does not vanish within seconds.
pub(crate) const EVERY: Duration = Duration::from_secs(20);
/// Below the time-out of a check.
const LIMIT: Duration = Duration::from_secs(2);
/// The limit of the critical step of alert `ClickHouseDiskLow`.
const FREE_PERCENT: u64 = 5;
/// The limit of alert `PostgresConnectionsNearlyFull`.
const USED_PERCENT: u64 = 80;

const DISK: &str = "SELECT name, toString(free_space) AS free, toString(total_space) AS total FROM system.disks \
                    WHERE total_space > 0 ORDER BY free_space / total_space LIMIT 1";
const CONNECTIONS: &str =
    "SELECT count(*), current_setting('max_connections') FROM pg_stat_activity WHERE backend_type = 'client backend'";

#[derive(Deserialize)]
struct Disk {
    name: String,
    free: String,
    total: String,
}

impl Clients {
    /// The checks for the declared dependencies.
    pub(crate) fn room_checks(&self, uses: &[Use], settings: &Settings) -> Vec<Check> {
        let is_used = |dependency| uses.iter().any(|used| used.dependency == dependency);
        let check = |name, target: &dyn std::fmt::Display, ask| Check {
            name,
            critical: false,
            target: target.to_string(),
            ask,
            breaker: None,
        };
        let clickhouse = self.clickhouse.clone().filter(|_| is_used(Dependency::ClickHouse));
        let postgres = self.postgres.clone().filter(|_| is_used(Dependency::Postgres));
        let disk = clickhouse.map(|client| check("clickhouse_disk", &settings.clickhouse.url, asking(client, disk)));
        let connections = postgres.map(|client| {
            check(
                "postgres_connections",
                &settings.postgres_dsn,
                asking(client, connections),
            )
        });
        disk.into_iter().chain(connections).collect()
    }
}

type Ask = Box<dyn Fn() -> Answer + Send + Sync>;

/// A check that passes if nothing can be said.
fn asking<C, F>(client: C, ask: fn(C) -> F) -> Ask
where
    C: Clone + Send + Sync + 'static,
    F: Future<Output = Option<String>> + Send + 'static,
{
    Box::new(move || {
        let answer = ask(client.clone());
        Box::pin(async move {
            match tokio::time::timeout(LIMIT, answer).await {
                Ok(Some(problem)) => Err(Wrong::Failed(problem)),
                Ok(None) | Err(_) => Ok(()),
            }
        })
    })
}

async fn disk(clickhouse: ClickHouse) -> Option<String> {
    let fullest = fullest_disk(clickhouse).await;
    let ratio = fullest.as_ref().map(|(_, free, total)| *free as f64 / *total as f64);
    metrics::clickhouse_disk_free(ratio.unwrap_or(f64::NAN));
    let (name, free, total) = fullest?;
    little_disk(&name, free, total)
}

/// Its name, and its free and all bytes.
async fn fullest_disk(clickhouse: ClickHouse) -> Option<(String, u64, u64)> {
    let rows: Vec<Disk> = clickhouse.query_rows(DISK).await.ok()?;
    let Disk { name, free, total } = rows.into_iter().next()?;
    Some((name, free.parse().ok()?, total.parse().ok()?))
}

fn little_disk(name: &str, free: u64, total: u64) -> Option<String> {
    let is_little = u128::from(free) * 100 < u128::from(total) * u128::from(FREE_PERCENT);
    is_little.then(|| {
        format!(
            "disk {name} of ClickHouse has {} of {} MB left; when it is full, inserts are refused and nothing is lost. `dp clickhouse \
             parts` shows what fills it, `dp retention run` removes old rows",
            free >> 20,
            total >> 20
        )
    })
}

async fn connections(postgres: Postgres) -> Option<String> {
    let rows = postgres.query_text(CONNECTIONS).await.ok()?;
    let row = rows.first()?;
    let number = |column: usize| row.get(column)?.as_ref()?.parse().ok();
    few_connections(number(0)?, number(1)?)
}

fn few_connections(used: u64, most: u64) -> Option<String> {
    (used * 100 > most * USED_PERCENT).then(|| {
        format!(
            "PostgreSQL has {used} of {most} connections in use; when all are, new ones are refused. `dp postgres pool` shows by which \
             program, `dp postgres terminate` ends its sessions"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_than_a_twentieth_free_is_named() {
        assert_eq!(little_disk("default", 5 << 30, 100 << 30), None);
        assert_eq!(little_disk("default", 0, 0), None);
        let said = little_disk("default", (5 << 30) - 1, 100 << 30).unwrap_or_default();
        assert!(
            said.starts_with("disk default of ClickHouse has 5119 of 102400 MB left"),
            "{said}"
        );
    }

    #[test]
    fn more_than_four_fifths_of_the_connections_are_nearly_all() {
        assert_eq!(few_connections(240, 300), None);
        let said = few_connections(241, 300).unwrap_or_default();
        assert!(
            said.starts_with("PostgreSQL has 241 of 300 connections in use"),
            "{said}"
        );
    }
}
