//! Backups of the stores: rows and positions of ClickHouse and PostgreSQL, and the way back.
//!
//! Role: [`mod@create`] copies the stores while the pipeline runs, [`manifest`] describes a copy, [`examine`] compares it with its
//! checksums and with the log that is here, [`mod@restore`] puts it in place of a store. A backup is a folder of compressed text
//! files and `manifest.json`, which is written last: a folder without it is no backup.
//!
//! Why it is right: the log is the truth and is not copied. Each row names its source offset, and a store names the offset up
//! to which it has the log's effects. A copy of a table consists of one position for each partition and of all rows before it
//! ([`stores::clickhouse::copies::before`]): rows are written in the order of their offsets and never changed, so this set is
//! fixed as soon as the position has been read, whatever is written meanwhile. A copy of PostgreSQL is one snapshot, which
//! holds prices and their position. After a restore, every consumer finds its position where it always does, in its store, and reads the rest
//! from the log. Offsets of consumer groups are not touched: no store depends on them. Stores need not be of the same moment, and one
//! can be restored alone. Redis is a copy of PostgreSQL, so it is filled from there instead of from a file that would be old.
//! Invariants: INV-3 (a position is restored with its sequencer), INV-6 and INV-8 (a table is taken from its writers by a claim
//! before its rows are replaced). A store whose log has lost what follows its position is not restored unless the loss is accepted.
//! Failure: an interrupted copy has no manifest; an interrupted restore leaves each store as it was or restored, and is repeated.

pub mod create;
pub mod examine;
pub mod files;
pub mod manifest;
mod redis;
pub mod restore;
mod store;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use service::Names;

use manifest::Manifest;

pub use manifest::MANIFEST;
pub use store::Store;

/// The table next to whose rows the positions of latest prices stand.
const LATEST_PRICES: &str = "served_latest_prices";

/// The services that must not run while these stores are restored, in the order of the data flow.
pub fn services_of(stores: &[Store]) -> Vec<&'static str> {
    let all = ["normalization", "enrichment", "aggregation", "projection"];
    all.into_iter()
        .filter(|service| stores.iter().any(|store| store.services().contains(service)))
        .collect()
}

/// The consumer groups of a service.
pub fn groups_of(names: &Names, service: &str) -> Vec<String> {
    names
        .groups()
        .into_iter()
        .map(|(group, _)| group)
        .filter(|group| group.starts_with(&format!("{service}-")))
        .collect()
}

/// A backup in a folder of backups.
///
/// # Errors
/// The name is not that of a folder.
pub fn place(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        bail!("{name:?} is not a name for a backup: use letters, digits, '-', '_' and '.'");
    }
    Ok(folder.join(name))
}

/// A folder in a folder of backups.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Name.
    pub name: String,
    /// `whole`, `incomplete` (no manifest: interrupted, or still written) or `unreadable`.
    pub state: &'static str,
    /// When the copy began.
    pub created_at: Option<jiff::Timestamp>,
    /// Seconds since then.
    pub age_seconds: Option<i64>,
    /// Its generation.
    pub generation: Option<String>,
    /// Its stores.
    pub stores: Vec<Store>,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Every backup of a folder, the oldest first. A folder that does not exist has none.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> anyhow::Result<Vec<Listed>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        if entry.path().is_dir() {
            all.push(listed(&entry.path(), entry.file_name().to_string_lossy().into_owned()));
        }
    }
    all.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
    Ok(all)
}

fn listed(path: &Path, name: String) -> Listed {
    let none = |state: &'static str| Listed {
        name: name.clone(),
        state,
        created_at: None,
        age_seconds: None,
        generation: None,
        stores: Vec::new(),
        rows: 0,
        bytes: 0,
    };
    match Manifest::read(path) {
        Ok(manifest) => Listed {
            created_at: Some(manifest.created_at),
            age_seconds: Some(jiff::Timestamp::now().as_second() - manifest.created_at.as_second()),
            generation: Some(manifest.generation.clone()),
            stores: manifest.stores.clone(),
            rows: manifest.rows(),
            bytes: manifest.bytes(),
            ..none("whole")
        },
        Err(_) if !path.join(MANIFEST).exists() => none("incomplete"),
        Err(_) => none("unreadable"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::settings::{Env, load};

    use super::*;

    #[test]
    fn a_name_stays_within_its_folder() {
        let folder = Path::new("/backups");
        assert_eq!(
            place(folder, "20261127T120000Z").unwrap(),
            folder.join("20261127T120000Z")
        );
        for name in ["", "..", ".hidden", "a/b", "/etc", "a b", "a\n"] {
            assert!(place(folder, name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn one_store_needs_only_the_services_that_use_it_stopped() {
        assert_eq!(services_of(&[Store::Redis]), ["enrichment", "projection"]);
        assert_eq!(
            services_of(&[Store::ClickHouse]),
            ["normalization", "enrichment", "aggregation"]
        );
        assert_eq!(services_of(&Store::ALL).len(), 4);
        let names = Names::new(&load(&Env::new(), 8080, |_| ()).unwrap().settings);
        assert_eq!(
            groups_of(&names, "aggregation"),
            [
                "aggregation-local",
                "aggregation-local-clickhouse",
                "aggregation-local-restate",
                "aggregation-local-derived",
                "aggregation-local-curves"
            ]
        );
        let of_all: usize = services_of(&Store::ALL)
            .iter()
            .map(|service| groups_of(&names, service).len())
            .sum();
        assert_eq!(of_all, names.groups().len());
    }

    #[test]
    fn a_folder_without_a_manifest_is_no_backup() {
        let folder = std::env::temp_dir().join(format!("dp-backups-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("begun/clickhouse")).unwrap();
        std::fs::create_dir_all(folder.join("damaged")).unwrap();
        std::fs::write(folder.join("damaged").join(MANIFEST), "{").unwrap();
        let found = list(&folder).unwrap();
        let states: Vec<(&str, &str)> = found.iter().map(|one| (one.name.as_str(), one.state)).collect();
        assert_eq!(states, [("begun", "incomplete"), ("damaged", "unreadable")]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(list(&folder).unwrap().is_empty());
    }
}
