//! Values of `served:custom`, which are made of latest prices: written as those are.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::link::Link;
use super::{AT_ONCE, CHUNK, Key, Redis, put};
use crate::StoreError;

impl Redis {
    /// Stores values that begin with a rank ([`crate::LatestPrice::json_of`]), unless one of a higher rank is there; returns how many were
    /// written.
    ///
    /// # Errors
    /// The error of the server; some values may have been written.
    pub async fn put_custom(&self, values: &[(Key<'_>, String)]) -> Result<u64, StoreError> {
        let mut written = 0;
        for chunk in values.chunks(CHUNK) {
            let named: Vec<(String, String)> = chunk
                .iter()
                .map(|(key, value)| (self.named(key), value.clone()))
                .collect();
            let script = Arc::clone(&self.keep_newer);
            let put = async |link: Link| {
                if !link.is_cluster() {
                    return put(script, link, named).await;
                }
                let one = |value| put(Arc::clone(&script), link.clone(), vec![value]);
                let each: Vec<_> = named.into_iter().map(one).collect();
                let all: Vec<u64> = stream::iter(each).buffer_unordered(AT_ONCE).try_collect().await?;
                Ok(all.into_iter().sum())
            };
            written += self.call("put custom values", put).await?;
        }
        Ok(written)
    }
}
