//! The interface between look-ups and the stores, so that look-ups can be tested without servers.

use std::time::Duration;

use futures_util::future::BoxFuture;
use stores::StoreError;

use super::{Key, Reference};
use crate::core::taxonomy::TenantRules;

/// Why a look-up failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupError {
    /// For operators.
    pub message: String,
    /// Whether the store is unavailable. A request that it rejects for its content is no outage.
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

/// The result of a full load.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// All active rows.
    pub rows: Vec<Reference>,
    /// Rules of the tenants that have their own rules.
    pub rules: Vec<TenantRules>,
}

/// The store of reference data (Postgres).
pub trait ReferenceSource: Send + Sync + 'static {
    /// All rows and rules.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LookupError>>;
    /// The existing rows of these keys.
    fn lookup<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<Vec<Reference>, LookupError>>;
}

/// A cache that replicas share (Redis): strings by key.
pub trait ReferenceCache: Send + Sync + 'static {
    /// The strings of these keys, in their order.
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<String>>, LookupError>>;
    /// Stores strings that expire after `ttl`.
    fn set_many<'a>(&'a self, pairs: &'a [(String, String)], ttl: Duration) -> BoxFuture<'a, Result<(), LookupError>>;
}
