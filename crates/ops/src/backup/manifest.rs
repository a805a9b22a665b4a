//! What a backup contains: `manifest.json`.
//!
//! Failure: a file of a newer version of the format is refused; it is written under another name first, so it is whole or missing.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use domain::{LastOrigin, Position, RawPosition};
use serde::{Deserialize, Serialize};

use super::files::create;
use super::store::Store;

pub use super::files::FileEntry;

/// The file that makes a folder a backup.
pub const MANIFEST: &str = "manifest.json";
/// The version of the format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// A backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Name of the folder.
    pub name: String,
    /// When the copy began.
    pub created_at: jiff::Timestamp,
    /// When it was complete.
    pub finished_at: jiff::Timestamp,
    /// `DATA_PROC_ENV` of the pipeline.
    pub environment: String,
    /// Its generation, empty for the first.
    pub generation: String,
    /// The stores that it has.
    pub stores: Vec<Store>,
    /// The newest migrations of each store.
    pub schema: Schema,
    /// The topics that positions and origins refer to.
    pub topics: Vec<Topic>,
    /// Where each consumer continues.
    pub positions: Vec<Place>,
    /// The tables, with their files.
    pub tables: Vec<Table>,
    /// Latest prices in Redis when the copy was made; they are not in a file.
    pub redis_prices: Option<u64>,
}

/// Versions of the tables' definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Schema {
    pub clickhouse: u32,
    pub postgres: u32,
}

/// A topic with its id, which a topic that is deleted and created again does not keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Id.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
}

/// The position of a consumer in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where it is stored.
    pub store: Store,
    /// Table that the consumer fills, without the suffix of the generation.
    pub table: String,
    /// The service that fills it.
    pub service: String,
    /// Topic that it reads.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Next offset.
    pub next_offset: i64,
    /// The last origin of each raw partition before that offset.
    pub sequencer: Vec<Lane>,
}

/// The last origin accepted from one raw partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Lane {
    pub feed: String,
    pub raw_partition: i32,
    pub raw_offset: i64,
    pub raw_index: i32,
}

/// A table of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The store.
    pub store: Store,
    /// Name without the suffix of the generation.
    pub name: String,
    /// Columns of its files, in their order.
    pub columns: Vec<String>,
    /// Rows of all files.
    pub rows: u64,
    /// Files, in the order in which they are loaded.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// It is missing, damaged, or of a newer format.
    pub fn read(backup: &Path) -> anyhow::Result<Manifest> {
        let path = backup.join(MANIFEST);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !backup.exists() => {
                bail!(
                    "there is no backup {}; `dp backup list` shows those that exist",
                    backup.display()
                )
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "{} is not a complete backup: it has no {MANIFEST}, which is written last; `dp backup list` shows the complete ones",
                backup.display()
            ),
            read => read.with_context(|| format!("read {}", path.display()))?,
        };
        let manifest: Manifest =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged or of a newer dp", path.display()))?;
        if manifest.format != FORMAT {
            bail!(
                "{} has format {}, this program reads {FORMAT}: use the dp that wrote it ({})",
                path.display(),
                manifest.format,
                manifest.program
            );
        }
        Ok(manifest)
    }

    /// Writes it, and so makes the folder a backup.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, backup: &Path) -> anyhow::Result<()> {
        let (path, unfinished) = (backup.join(MANIFEST), backup.join("manifest.unfinished"));
        let write = || -> std::io::Result<()> {
            let text = serde_json::to_vec_pretty(self)?;
            let mut file = create(&unfinished)?;
            file.write_all(&text)?;
            file.sync_all()?;
            // The names of all files are on the disk before this one.
            for folder in [Store::ClickHouse, Store::Postgres].map(|store| backup.join(store.name())) {
                if folder.is_dir() {
                    fs::File::open(folder)?.sync_all()?;
                }
            }
            fs::rename(&unfinished, &path)?;
            fs::File::open(backup)?.sync_all()
        };
        write().with_context(|| format!("write {}", path.display()))
    }

    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.tables.iter().flat_map(|table| &table.files)
    }

    /// The table of a store with this name.
    pub fn table(&self, store: Store, name: &str) -> Option<&Table> {
        self.tables
            .iter()
            .find(|table| table.store == store && table.name == name)
    }
}

impl Place {
    /// As the stores keep it.
    pub fn position(&self) -> Position {
        let last = |lane: &Lane| LastOrigin {
            feed: lane.feed.clone(),
            raw_partition: lane.raw_partition,
            position: RawPosition {
                offset: lane.raw_offset,
                index: lane.raw_index,
            },
        };
        Position {
            next_offset: self.next_offset,
            sequencer: self.sequencer.iter().map(last).collect(),
        }
    }
}

/// A sequencer's state, as the manifest writes it.
pub fn lanes(position: &Position) -> Vec<Lane> {
    let lane = |last: &LastOrigin| Lane {
        feed: last.feed.clone(),
        raw_partition: last.raw_partition,
        raw_offset: last.position.offset,
        raw_index: last.position.index,
    };
    position.sequencer.iter().map(lane).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    pub fn sample() -> Manifest {
        Manifest {
            format: FORMAT,
            program: "0.1.0".to_owned(),
            name: "one".to_owned(),
            created_at: "2026-11-27T12:00:00Z".parse().unwrap(),
            finished_at: "2026-11-27T12:00:05Z".parse().unwrap(),
            environment: "local".to_owned(),
            generation: String::new(),
            stores: Store::ALL.to_vec(),
            schema: Schema {
                clickhouse: 10,
                postgres: 6,
            },
            topics: vec![Topic {
                name: "normalized.market.ticks.v1".to_owned(),
                id: "id-1".to_owned(),
                partitions: 1,
            }],
            positions: vec![Place {
                store: Store::ClickHouse,
                table: "market_ticks".to_owned(),
                service: "normalization".to_owned(),
                topic: "normalized.market.ticks.v1".to_owned(),
                partition: 0,
                next_offset: 15,
                sequencer: vec![Lane {
                    feed: "raw".to_owned(),
                    raw_partition: 2,
                    raw_offset: 9,
                    raw_index: 1,
                }],
            }],
            tables: Vec::new(),
            redis_prices: Some(3),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_another_format_is_refused() {
        let folder = std::env::temp_dir().join(format!("dp-manifest-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let missing = Manifest::read(&folder).unwrap_err().to_string();
        assert!(missing.contains("not a complete backup"), "{missing}");
        let mut manifest = sample();
        manifest.write(&folder).unwrap();
        assert_eq!(Manifest::read(&folder).unwrap(), manifest);
        manifest.format = FORMAT + 1;
        manifest.write(&folder).unwrap();
        let newer = Manifest::read(&folder).unwrap_err().to_string();
        assert!(newer.contains("format 2") && newer.contains("0.1.0"), "{newer}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_position_keeps_the_state_of_its_sequencer() {
        let place = &sample().positions[0];
        let position = place.position();
        assert_eq!(position.next_offset, 15);
        assert_eq!(lanes(&position), place.sequencer);
    }
}
