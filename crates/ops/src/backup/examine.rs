//! Whether a backup is as it was written, and whether the log that is here continues after it.

use std::path::Path;

use serde::Serialize;
use service::Names;
use stream::positions::{self, Fit};

use super::Store;
use super::files;
use super::manifest::{Manifest, Place, Schema};
use crate::connection::Connection;
use crate::progress::Progress;
use crate::threads::blocking;
use crate::topics::{self, Listed};

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A file is not as it was written. The backup cannot be used.
    Damaged,
    /// The backup belongs to something else: another generation, a newer version. It cannot be restored here.
    Foreign,
    /// The log no longer has what follows the position: a restore loses it.
    Lost,
    /// The log was replaced: the rows can be restored for readers, but the services cannot continue after them.
    Replaced,
}

impl Kind {
    /// Whether a restore is possible if the loss is accepted.
    pub fn can_be_accepted(self) -> bool {
        matches!(self, Kind::Lost | Kind::Replaced)
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// The file, topic or partition.
    pub what: String,
    /// The problem, in words.
    pub why: String,
}

impl Finding {
    fn new(kind: Kind, what: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding {
            kind,
            what: what.into(),
            why: why.into(),
        }
    }
}

/// Compares every file of these stores with its checksum.
///
/// # Errors
/// The work was interrupted.
pub async fn sums(backup: &Path, manifest: &Manifest, stores: &[Store]) -> anyhow::Result<Vec<Finding>> {
    let (backup, manifest, stores) = (backup.to_owned(), manifest.clone(), stores.to_vec());
    blocking(move || {
        let tables = manifest.tables.iter().filter(|table| stores.contains(&table.store));
        let files: Vec<_> = tables.flat_map(|table| &table.files).collect();
        let total = files.iter().map(|file| file.bytes).sum();
        let mut progress = Progress::new("checking", total, "bytes");
        let (mut findings, mut done) = (Vec::new(), 0);
        for file in files {
            let checked = files::check(&backup, file, |read| progress.set(done + read, &file.path));
            findings.extend(
                checked
                    .err()
                    .map(|why| Finding::new(Kind::Damaged, &file.path, format!("{why:#}"))),
            );
            done += file.bytes;
        }
        progress.finish();
        Ok(findings)
    })
    .await
}

/// Compares the positions of these stores with the log that is here.
///
/// # Errors
/// Kafka does not answer.
pub async fn here(connection: &Connection, manifest: &Manifest, stores: &[Store]) -> anyhow::Result<Vec<Finding>> {
    let listed = topics::list(connection).await?;
    let schema = Schema {
        clickhouse: stores::clickhouse::newest_version(),
        postgres: stores::postgres::copies::newest_version(),
    };
    Ok(compare(manifest, stores, &connection.names, schema, &listed))
}

fn compare(manifest: &Manifest, stores: &[Store], names: &Names, schema: Schema, listed: &[Listed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if manifest.generation != names.generation() {
        let shown = |name: &str| {
            if name.is_empty() {
                "the first".to_owned()
            } else {
                name.to_owned()
            }
        };
        findings.push(Finding::new(
            Kind::Foreign,
            "generation",
            format!(
                "the backup is of generation {}, this is {}: set DATA_PROC_GENERATION={}",
                shown(&manifest.generation),
                shown(names.generation()),
                manifest.generation
            ),
        ));
        return findings;
    }
    if manifest.schema.clickhouse > schema.clickhouse || manifest.schema.postgres > schema.postgres {
        findings.push(Finding::new(
            Kind::Foreign,
            "version",
            format!(
                "the backup was written by a newer dp ({}): use that one",
                manifest.program
            ),
        ));
    }
    let places = || manifest.positions.iter().filter(|place| stores.contains(&place.store));
    let uses = |topic: &str| places().any(|place| place.topic == topic) || names.raw.iter().any(|raw| raw == topic);
    let mut replaced = Vec::new();
    for topic in manifest.topics.iter().filter(|topic| uses(&topic.name)) {
        let now = listed.iter().find(|listed| listed.name == topic.name);
        let why = match now.and_then(|listed| listed.id.as_ref()) {
            None => "the topic does not exist".to_owned(),
            Some(id) if *id == topic.id => continue,
            Some(id) => format!("the topic was deleted and created again (id {}, now {id})", topic.id),
        };
        replaced.push(topic.name.as_str());
        findings.push(Finding::new(Kind::Replaced, &topic.name, why));
    }
    for place in places().filter(|place| !replaced.contains(&place.topic.as_str())) {
        let range = listed.iter().find(|listed| listed.name == place.topic);
        let range = range.and_then(|listed| listed.ranges.iter().find(|range| range.partition == place.partition));
        findings.extend(range.and_then(|range| out_of_range(place, (range.start, range.end))));
    }
    findings
}

fn out_of_range(place: &Place, range: (i64, i64)) -> Option<Finding> {
    let what = format!("{}[{}]", place.topic, place.partition);
    match positions::fit(place.next_offset, range) {
        Fit::Whole => None,
        Fit::Removed { from, to } => Some(Finding::new(
            Kind::Lost,
            what,
            format!(
                "{} continues at offset {from}, the log begins at {to}: {} message(s) between are gone",
                place.table,
                to - from
            ),
        )),
        Fit::Cut { from, to } => Some(Finding::new(
            Kind::Replaced,
            what,
            format!(
                "{} continues at offset {to}, the log ends at {from}: Kafka lost records",
                place.table
            ),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::settings::{Env, load};

    use super::*;
    use crate::backup::manifest::tests::sample;
    use crate::topics::Range;

    fn names(generation: &str) -> Names {
        let env = Env::from([("DATA_PROC_GENERATION".to_owned(), generation.to_owned())]);
        Names::new(&load(&env, 8080, |_| ()).unwrap().settings)
    }

    fn listed(id: Option<&str>, start: i64, end: i64) -> Vec<Listed> {
        vec![Listed {
            name: "normalized.market.ticks.v1".to_owned(),
            id: id.map(str::to_owned),
            partitions: 1,
            messages: end - start,
            ranges: vec![Range {
                partition: 0,
                start,
                end,
            }],
        }]
    }

    fn kinds(stores: &[Store], generation: &str, schema: (u32, u32), listed: &[Listed]) -> Vec<Kind> {
        let schema = Schema {
            clickhouse: schema.0,
            postgres: schema.1,
        };
        let findings = compare(&sample(), stores, &names(generation), schema, listed);
        findings.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_log_that_continues_after_the_position_is_fine_and_any_other_is_named() {
        let (all, schema) = (&Store::ALL[..], (10, 6));
        for (log, expected) in [
            (listed(Some("id-1"), 0, 15), &[][..]),
            (listed(Some("id-1"), 15, 15), &[]),
            (listed(Some("id-1"), 16, 20), &[Kind::Lost]),
            (listed(Some("id-1"), 0, 14), &[Kind::Replaced]),
            (listed(Some("id-2"), 0, 15), &[Kind::Replaced]),
            (listed(None, 0, 0), &[Kind::Replaced]),
        ] {
            assert_eq!(kinds(all, "", schema, &log), expected, "{log:?}");
        }
        // A store without a position in that log does not care.
        assert_eq!(kinds(&[Store::Postgres], "", schema, &listed(Some("id-2"), 0, 1)), []);
    }

    #[test]
    fn a_backup_of_another_generation_or_a_newer_version_is_foreign() {
        let log = listed(Some("id-1"), 0, 15);
        assert_eq!(kinds(&Store::ALL, "g2", (10, 6), &log), [Kind::Foreign]);
        assert_eq!(kinds(&Store::ALL, "", (9, 6), &log), [Kind::Foreign]);
        assert_eq!(kinds(&Store::ALL, "", (11, 7), &log), []);
        assert!(!Kind::Foreign.can_be_accepted() && !Kind::Damaged.can_be_accepted() && Kind::Lost.can_be_accepted());
    }
}
