//! The stores that a backup can have.

use serde::{Deserialize, Serialize};

/// A store that a backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Ticks, bars, late ticks.
    ClickHouse,
    /// Reference data, latest prices with their positions, keys of clients.
    Postgres,
    /// The copy of the latest prices.
    Redis,
}

impl Store {
    /// In the order in which they are restored: Redis is filled from PostgreSQL.
    pub const ALL: [Store; 3] = [Store::ClickHouse, Store::Postgres, Store::Redis];

    /// As the command line and the manifest write it.
    pub fn name(self) -> &'static str {
        match self {
            Store::ClickHouse => "clickhouse",
            Store::Postgres => "postgres",
            Store::Redis => "redis",
        }
    }

    /// The store of this name.
    pub fn named(name: &str) -> Option<Store> {
        Store::ALL.into_iter().find(|store| store.name() == name)
    }

    /// The services that write to the store, or decide by what they read there.
    pub fn services(self) -> &'static [&'static str] {
        match self {
            Store::ClickHouse => &["normalization", "enrichment", "aggregation"],
            Store::Postgres | Store::Redis => &["enrichment", "projection"],
        }
    }
}
