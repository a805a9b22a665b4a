//! Writes of values that have a rank: a newer value stays, whatever comes later.
//!
//! Invariant: the script compares on the server, in one step with the write, so any number of writers in any order leave the value of the
//! highest rank.

use std::sync::Arc;

use ::redis::{RedisError, Script};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::link::Link;
use super::{AT_ONCE, CHUNK, Key, PRICE_TTL, Redis};
use crate::StoreError;
use crate::price::LatestPrice;
use crate::served::{Projection, ServedRow};

/// Bytes of values per script call, which limits how long it blocks the server: snapshots of curves are large.
const CHUNK_BYTES: usize = 1 << 20;

/// Each value begins with `{"standing":"…"` ([`crate::price::RANK`]), and ranks compare by bytes (not by the server's locale, as `<` would).
pub(super) const KEEP_NEWER: &str = r#"
local function older(a, b)
    for i = 1, math.min(#a, #b) do
        local x, y = string.byte(a, i), string.byte(b, i)
        if x ~= y then return x < y end
    end
    return #a < #b
end
local rank, written = '^{"standing":"([^"]*)"', 0
for i, key in ipairs(KEYS) do
    local stored = redis.call('GET', key)
    local old = stored and string.match(stored, rank)
    if not old or not older(string.match(ARGV[i + 1], rank), old) then
        redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1])
        written = written + 1
    end
end
return written
"#;

impl Redis {
    /// Stores prices that are not older than the stored ones; returns how many were written.
    ///
    /// # Errors
    /// The error of the server; some prices may have been written.
    pub async fn put_prices<'a>(&self, prices: impl IntoIterator<Item = &'a LatestPrice>) -> Result<u64, StoreError> {
        let named = |price: &LatestPrice| {
            let key = Key::latest_price(&price.tenant_id, &price.instrument_id);
            (self.named(key), price.to_json())
        };
        self.put_newer("put prices", prices.into_iter().map(named).collect())
            .await
    }

    /// Stores snapshots of curves or derived prices that are not older than the stored ones; returns how many were written.
    ///
    /// # Errors
    /// The error of the server; some rows may have been written.
    pub async fn put_served<'a>(
        &self,
        projection: Projection,
        rows: impl IntoIterator<Item = &'a ServedRow>,
    ) -> Result<u64, StoreError> {
        let operation = match projection {
            Projection::CurveSnapshot => "put snapshots",
            Projection::DerivedPrice => "put derived prices",
        };
        let named = |row: &ServedRow| (self.named(Key::served(projection, &row.key)), row.to_copy());
        self.put_newer(operation, rows.into_iter().map(named).collect()).await
    }

    /// Stores values of `served:custom`, which begin with a rank ([`LatestPrice::json_of`]), unless one of a higher rank is there; returns
    /// how many were written.
    ///
    /// # Errors
    /// The error of the server; some values may have been written.
    pub async fn put_custom(&self, values: Vec<(Key<'_>, String)>) -> Result<u64, StoreError> {
        let named = values.into_iter().map(|(key, value)| (self.named(key), value));
        self.put_newer("put custom values", named.collect()).await
    }

    /// Stores these values under their keys, unless a value of a higher rank is there.
    async fn put_newer(&self, operation: &'static str, mut values: Vec<(String, String)>) -> Result<u64, StoreError> {
        let mut written = 0;
        while !values.is_empty() {
            let rest = values.split_off(fitting(&values));
            let chunk = std::mem::replace(&mut values, rest);
            let script = Arc::clone(&self.keep_newer);
            let put = async |link: Link| {
                if !link.is_cluster() {
                    return put(script, link, chunk).await;
                }
                let one = |value| put(Arc::clone(&script), link.clone(), vec![value]);
                let each: Vec<_> = chunk.into_iter().map(one).collect();
                let all: Vec<u64> = stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await?;
                Ok(all.into_iter().sum())
            };
            written += self.call(operation, put).await?;
        }
        Ok(written)
    }
}

/// How many of these values one script call takes: at least one.
fn fitting(values: &[(String, String)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, value): &&(String, String)| {
        bytes += value.len();
        bytes <= CHUNK_BYTES
    };
    values.iter().take(CHUNK).take_while(fits).count().max(1)
}

/// One call of the script.
async fn put(script: Arc<Script>, mut link: Link, prices: Vec<(String, String)>) -> Result<u64, RedisError> {
    let mut call = script.prepare_invoke();
    call.arg(PRICE_TTL.as_secs());
    for (key, price) in &prices {
        call.key(key).arg(price);
    }
    call.invoke_async(&mut link).await
}
