//! The seams between look-ups and the stores, so that they can be tested without servers.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Key, Reference};
use crate::taxonomy::TenantRules;

/// Everything that one complete load gives.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// All active rows.
    pub rows: Vec<Reference>,
    /// Rules of the tenants that have their own.
    pub rules: Vec<TenantRules>,
}

/// Where reference data lives (Postgres). Errors are texts for people.
pub trait ReferenceSource: Send + Sync + 'static {
    /// All rows and rules.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, String>>;
    /// The rows of these keys, as far as they exist.
    fn lookup<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<Vec<Reference>, String>>;
}

/// A cache that replicas share (Redis): texts by key.
pub trait ReferenceCache: Send + Sync + 'static {
    /// The texts of these keys, in their order.
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<String>>, String>>;
    /// Stores texts for a while.
    fn set_many<'a>(&'a self, pairs: &'a [(String, String)], ttl: Duration) -> BoxFuture<'a, Result<(), String>>;
}
