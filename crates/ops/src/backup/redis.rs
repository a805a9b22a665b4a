//! Fills Redis from PostgreSQL.
//!
//! Everything in Redis is a copy: prices of `served_latest_prices`, reference data of the taxonomy tables, marks of the projection.
//! A dump would be older than PostgreSQL, and its prices expire within an hour; this is equal to PostgreSQL by construction, and
//! compared afterwards. Counters of rate limits (`ratelimit:`) are left alone: they end by themselves.

use anyhow::{Context as _, bail};
use stores::redis::Key;
use stores::{LatestPrice, LatestPriceStore, Redis};

/// Keys that are removed or compared at once.
const AT_ONCE: usize = 5_000;
/// The keys of a generation.
const PATTERNS: [&str; 2] = ["served:*", "reference:*"];

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Filled {
    /// Keys removed.
    pub removed: u64,
    /// Prices written, and found equal to those of PostgreSQL.
    pub prices: u64,
}

/// Removes the keys of this generation, writes every price of PostgreSQL, and compares both.
pub(super) async fn fill(redis: &Redis, store: &LatestPriceStore, partitions: i32) -> anyhow::Result<Filled> {
    let mut filled = Filled::default();
    for pattern in PATTERNS {
        let keys = redis.scan(pattern).await?;
        for keys in keys.chunks(AT_ONCE) {
            filled.removed += redis.delete(keys).await?;
        }
    }
    for partition in 0..partitions {
        let mut prices: Vec<LatestPrice> = Vec::new();
        store.read_prices(partition, |price| prices.push(price)).await?;
        for prices in prices.chunks(AT_ONCE) {
            redis.put_prices(prices).await?;
            compare(redis, prices).await?;
            filled.prices += prices.len() as u64;
        }
    }
    let found: u64 = redis.count_latest_prices().await?.values().sum();
    if found != filled.prices {
        bail!(
            "Redis has {found} prices, PostgreSQL has {}: does Redis evict keys (`dp redis` shows maxmemory)? Projection writes \
             them again when it starts",
            filled.prices
        );
    }
    Ok(filled)
}

async fn compare(redis: &Redis, prices: &[LatestPrice]) -> anyhow::Result<()> {
    let keys: Vec<String> = prices
        .iter()
        .map(|price| Key::latest_price(&price.tenant_id, &price.instrument_id).to_string())
        .collect();
    let values = redis.get_many(&keys).await.context("read the prices again")?;
    for ((key, value), price) in keys.iter().zip(&values).zip(prices) {
        if value.as_deref() != Some(price.to_json().as_str()) {
            bail!("{key} differs from PostgreSQL after it was written: does something else write to this Redis?");
        }
    }
    Ok(())
}
