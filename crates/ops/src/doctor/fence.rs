//! Partitions of tables that a repair has claimed from their running writers: these write nothing for some seconds, and go on by themselves.
//!
//! Role: [`taken`] asks ClickHouse, [`finding`] judges. A writer stores a floor under each claim of a partition that has rows, and a repair
//! (`dp reconcile --repair`) stores none: if the newest claim of such a partition has no floor, a repair has made it.
//! Failure: a takeover of a writer that is under way looks the same, so claims of the last seconds do not count. Older ones do not either:
//! a writer that has nothing to write does not claim its partition again.

use std::ops::RangeInclusive;

use anyhow::Context as _;
use serde::Deserialize;
use service::writer::{TABLES, TableSpec};
use stores::clickhouse::literal;

use super::check::Asked;
use super::subject::Subject;
use super::{Area, Finding, Severity};
use crate::positions::homes::fenced_table;

/// The age in seconds of a claim that counts.
const COUNTS: RangeInclusive<i32> = 3..=60;
/// The writer notices the claim with its next insert, waits ten seconds for a new owner, then drains and reads back.
const RESUMES_WITHIN: i32 = 30;

/// A partition whose newest claim has no floor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Taken {
    topic: String,
    partition: i32,
    /// Age of the claim.
    seconds: i32,
}

/// A finding for each table that a repair has claimed. `missing` are tables that do not exist, which is a finding of its own.
///
/// # Errors
/// ClickHouse does not answer.
pub(super) async fn taken(asked: &Asked<'_>, missing: &[String]) -> anyhow::Result<Vec<Finding>> {
    let (names, clickhouse) = (&asked.connection.names, &asked.stores.clickhouse);
    let is_there = |name: &str| !missing.iter().any(|lacking| lacking == name);
    let filled = TABLES.iter().filter(|spec| is_there(&names.table(spec.name)));
    let filled: Vec<&TableSpec> = filled.copied().collect();
    if filled.is_empty() || !is_there("writer_fence") || !is_there("writer_floor") {
        return Ok(Vec::new());
    }
    let topics: Vec<String> = filled.iter().map(|spec| literal((spec.topic)(names))).collect();
    let claims: Vec<Taken> = clickhouse
        .query_rows(&claims_sql(&topics.join(", ")))
        .await
        .context("read the claims of the writers")?;
    let mut findings = Vec::new();
    for spec in filled {
        let topic = (spec.topic)(names);
        let table = fenced_table(clickhouse, names, spec.name).context("a table without a layout")?;
        let mut of_table = Vec::new();
        for claim in claims.iter().filter(|claim| claim.topic == *topic) {
            // A writer stores no floor for a partition of which nothing was ever written.
            if table.read_back(topic, claim.partition).await?.is_some() {
                of_table.push(claim.clone());
            }
        }
        findings.extend(finding(table.table(), names.writer_group(spec.service), &of_table));
    }
    Ok(findings)
}

/// The newest claim of each partition, if it has taken the partition from another one, and counts, and has no floor.
fn claims_sql(topics: &str) -> String {
    let (youngest, oldest) = (COUNTS.start(), COUNTS.end());
    format!(
        "SELECT topic, partition, toInt32(dateDiff('second', claimed, now64(6, 'UTC'))) AS seconds FROM \
         (SELECT topic, partition, argMax(writer, (epoch, writer)) AS newest, argMax(claimed_at, (epoch, writer)) AS claimed \
         FROM writer_fence WHERE topic IN ({topics}) GROUP BY topic, partition HAVING count() > 1) \
         WHERE seconds BETWEEN {youngest} AND {oldest} \
         AND newest NOT IN (SELECT writer FROM writer_floor WHERE topic IN ({topics})) ORDER BY topic, partition"
    )
}

fn finding(table: &str, group: String, taken: &[Taken]) -> Option<Finding> {
    let newest = taken.iter().min_by_key(|one| one.seconds)?;
    let (seconds, topic) = (newest.seconds, &newest.topic);
    let partitions: Vec<String> = taken.iter().map(|one| one.partition.to_string()).collect();
    let what = format!(
        "a repair took the fence of the writer of {table} {seconds} s ago; the service resumes by itself within {RESUMES_WITHIN} s of its \
         next insert"
    );
    let evidence = format!(
        "partition(s) {} of {topic}: the newest claim in writer_fence has no row in writer_floor",
        partitions.join(", ")
    );
    let cause = "`dp reconcile --repair` writes lost rows under a claim of its own, so that nobody else inserts in between. The rows of the \
                 writer wait meanwhile, and none is lost. If this goes on for more than a minute after the repair, read the log of the service";
    Some(
        Finding::new(Severity::Note, Area::Tables, what, table)
            .shown_by([evidence])
            .because(cause, "dp doctor")
            .about(Subject::Fenced(group)),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_claim_and_every_partition_are_told() {
        let taken = [(2, 14), (0, 9)].map(|(partition, seconds)| Taken {
            topic: "bars.v1".to_owned(),
            partition,
            seconds,
        });
        let group = "aggregation-local-clickhouse";
        let found = finding("bars_g2", group.to_owned(), &taken).unwrap();
        assert_eq!((found.severity, found.area), (Severity::Note, Area::Tables));
        assert!(found.what.contains("writer of bars_g2 9 s ago"), "{}", found.what);
        assert!(
            found.evidence[0].starts_with("partition(s) 2, 0 of bars.v1"),
            "{found:?}"
        );
        assert_eq!(found.subject, Subject::Fenced(group.to_owned()));
        assert_eq!(finding("bars", group.to_owned(), &[]), None);
    }
}
