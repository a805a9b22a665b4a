//! The seams between look-ups and the stores, so that they can be tested without servers.

use std::time::Duration;

use futures_util::future::BoxFuture;
use stores::StoreError;

use super::{Key, Reference};
use crate::taxonomy::TenantRules;

/// Why a store did not answer a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupError {
    /// For people.
    pub message: String,
    /// Whether the store is away. What it refuses for its contents shows that it is there.
    pub is_outage: bool,
}

impl From<StoreError> for LookupError {
    fn from(error: StoreError) -> LookupError {
        LookupError {
            message: error.to_string(),
            is_outage: error.is_outage(),
        }
    }
}

/// Everything that one complete load gives.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// All active rows.
    pub rows: Vec<Reference>,
    /// Rules of the tenants that have their own.
    pub rules: Vec<TenantRules>,
}

/// Where reference data lives (Postgres).
pub trait ReferenceSource: Send + Sync + 'static {
    /// All rows and rules.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LookupError>>;
    /// The rows of these keys, as far as they exist.
    fn lookup<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<Vec<Reference>, LookupError>>;
}

/// A cache that replicas share (Redis): strings by key.
pub trait ReferenceCache: Send + Sync + 'static {
    /// The strings of these keys, in their order.
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<String>>, LookupError>>;
    /// Stores strings for a while.
    fn set_many<'a>(&'a self, pairs: &'a [(String, String)], ttl: Duration) -> BoxFuture<'a, Result<(), LookupError>>;
}
