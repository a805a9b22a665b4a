//! Whether the consumers of a group run, and how to stop them.
//!
//! A running member overwrites a position that somebody else has moved, and Kafka rejects commits from outside of its group.

use std::time::{Duration, Instant};

use stream::kafka::groups::GroupReader;

use crate::connection::Connection;
use crate::threads::reading;

/// A service leaves its group when it stops; after a kill the broker removes it within 10 s.
pub const GONE_WITHIN: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A group that has members.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Active {
    /// Its id.
    pub group: String,
    /// How many members it has.
    pub members: usize,
}

impl std::fmt::Display for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "group {} has {} member(s)", self.group, self.members)
    }
}

/// Those of these groups that have members.
///
/// # Errors
/// Kafka does not answer.
pub async fn active(connection: &Connection, groups: &[String]) -> anyhow::Result<Vec<Active>> {
    let (bootstrap, groups) = (connection.settings.kafka_bootstrap.clone(), groups.to_vec());
    reading(move || {
        let mut found = Vec::new();
        for group in groups {
            let state = GroupReader::new(&bootstrap, &group)?.state()?;
            let members = state.map_or(0, |state| state.members.len());
            if members > 0 {
                found.push(Active { group, members });
            }
        }
        Ok(found)
    })
    .await
}

/// Waits until none of these groups has members, for at most `limit`; returns those that still have some.
///
/// # Errors
/// Kafka does not answer.
pub async fn await_none(connection: &Connection, groups: &[String], limit: Duration) -> anyhow::Result<Vec<Active>> {
    let started = Instant::now();
    let mut was_told = false;
    loop {
        let still = active(connection, groups).await?;
        let Some(first) = still.first().filter(|_| started.elapsed() < limit) else {
            return Ok(still);
        };
        if !was_told {
            eprintln!("waiting until group {} has no members", first.group);
            was_told = true;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The command that restarts a service; `is_local` says whether it runs in a local stack.
pub fn how_to_restart(service: &str, is_local: bool) -> String {
    match is_local {
        true => format!("dp restart {service}"),
        false => format!(
            "kubectl rollout restart -n data-processing-prod deployment/{service}-service (docker compose: docker compose restart \
             {service}-service)"
        ),
    }
}

/// The command that shows the end of its log.
pub fn how_to_read_the_log(service: &str, is_local: bool) -> String {
    match is_local {
        true => format!("dp logs {service} -n 100"),
        false => format!(
            "kubectl logs -n data-processing-prod deployment/{service}-service --tail 100 (docker compose: docker compose logs --tail 100 \
             {service}-service)"
        ),
    }
}

/// How to stop these services.
pub fn how_to_stop(services: &[&str]) -> String {
    let of = |format: fn(&str) -> String| {
        services
            .iter()
            .map(|service| format(service))
            .collect::<Vec<_>>()
            .join(" ")
    };
    format!(
        "`dp stop {}` (docker compose: `docker compose stop {}`; Kubernetes: `kubectl scale -n data-processing-prod {} \
         --replicas=0`)",
        services.join(" "),
        of(|service| format!("{service}-service")),
        of(|service| format!("deployment/{service}-service"))
    )
}
