//! Clients of the stores: ClickHouse with its fence, Postgres with its positions, Redis as a copy for readers.
//!
//! Role: the only crate that uses the client libraries. Each operation is one that the pipeline needs, with its guarantee;
//! generic access is for the operator tools.
//! Invariants: INV-6 and INV-8 rest on [`clickhouse::FencedTable`]. Rows and position of a projection share a transaction
//! ([`postgres::LatestPriceStore`]). An older price never replaces a newer one, in any store.
//! Failure: every call has a time-out and returns a [`StoreError`] with the remedy ([`domain::Classified`]). Nothing is
//! retried here, since only the caller knows whether an operation with an unknown outcome may be repeated. Every call is
//! timed ([`metrics::timed`]).

pub mod calls;
pub mod clickhouse;
pub mod error;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod metrics;
mod migration;
pub mod postgres;
pub mod price;
pub mod redis;
pub mod served;
mod stored_origin;

pub use clickhouse::{
    AcceptedGap, BarKey, ClickHouse, ClickHouseConfig, FencedTable, History, HistoryLimits, InsertError, Oldest,
    ProductClose, RestatedRow, StoredBar, newest_bars,
};
pub use error::{Store, StoreError};
pub use postgres::{Applied, LatestPriceStore, Postgres, ReferenceStore, ServedStore};
pub use price::{LatestPrice, OwnedOrigin, PriceField};
pub use redis::{CopyState, Redis};
pub use served::{Projection, ServedKey, ServedRow};
