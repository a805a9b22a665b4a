//! Drops and rewrites copies in Redis: for messages of `projection.invalidation.v1` and for `POST /cache/invalidate`.
//!
//! Role: carries out a [`Request`] and publishes its notice.
//! Invariants: a copy is written from Postgres and never goes back: a newer one stays. All prices, snapshots and derived prices are written by
//! the owners of the partitions: without its mark in Redis, a lane fills its copy again.
//! Failure: the error of a store; the request can be carried out again.

use std::time::Duration;

use stores::redis::key::{Key, every_copy_mark, every_latest_price, every_served, every_served_mark};
use stores::{LatestPrice, LatestPriceStore, Projection, Redis, ServedKey, ServedStore, StoreError};

use crate::core::custom::CustomTypes;
use crate::core::invalidation::{Action, Request, Target};
use crate::core::rules::CHANNEL;

/// Keys per call.
const CHUNK: usize = 1_000;

/// Rewrites copies. Cheap to clone.
#[derive(Clone)]
pub struct Rewriter {
    /// What is written.
    pub prices: LatestPriceStore,
    /// The same of curve snapshots.
    pub snapshots: ServedStore,
    /// The same of derived prices.
    pub derived: ServedStore,
    /// Where it is written.
    pub redis: Redis,
    /// What else is made of the prices.
    pub custom: CustomTypes,
    /// Time after which Postgres has the prices that were only in memory and Redis when a copy was dropped.
    pub settle_after: Duration,
}

impl Rewriter {
    /// Carries out a request; returns how many copies were dropped.
    ///
    /// # Errors
    /// The error of a store.
    pub async fn apply(&self, request: &Request) -> Result<u64, StoreError> {
        let price = match &request.target {
            Target::Price {
                tenant_id,
                instrument_id,
            } => self.prices.find_one(tenant_id, instrument_id).await?,
            Target::Custom {
                tenant_id,
                instrument_id,
                key,
            } if self.custom.writes(key) => self.prices.find_one(tenant_id, instrument_id).await?,
            Target::Served(..) | Target::Custom { .. } | Target::All => None,
        };
        self.write(request, price.as_ref()).await
    }

    /// The part of a request that Redis does, with the price in Postgres.
    ///
    /// # Errors
    /// The error of Redis.
    pub async fn write(&self, request: &Request, price: Option<&LatestPrice>) -> Result<u64, StoreError> {
        let is_drop = request.action == Action::Invalidate;
        let dropped = match &request.target {
            Target::Price {
                tenant_id,
                instrument_id,
            } => {
                let dropped = match is_drop {
                    true => {
                        let key = Key::latest_price(tenant_id, instrument_id).to_string();
                        let of_types = self.custom.keys(tenant_id, instrument_id);
                        let keys: Vec<String> = std::iter::once(key).chain(of_types).collect();
                        self.redis.delete(&keys).await?
                    }
                    false => 0,
                };
                self.put(price).await?;
                dropped
            }
            Target::Custom { key, .. } => {
                let dropped = self.redis.delete(std::slice::from_ref(key)).await?;
                self.put(price).await?;
                dropped
            }
            Target::Served(projection, key) => self.write_served(*projection, key, is_drop).await?,
            Target::All => {
                let mut dropped = 0;
                if is_drop {
                    let served = Projection::ALL.into_iter().map(every_served);
                    let all = std::iter::once(every_latest_price()).chain(served);
                    for pattern in all.chain(self.custom.patterns()) {
                        dropped += self.drop_all(&pattern).await?;
                    }
                }
                self.drop_all(&every_copy_mark()).await?;
                for projection in Projection::ALL {
                    self.drop_all(&every_served_mark(projection)).await?;
                }
                dropped
            }
        };
        self.redis.publish(CHANNEL, &[request.notice()]).await?;
        Ok(dropped)
    }

    /// Writes dropped prices once more after [`Rewriter::settle_after`]. A price may have been dropped that Postgres did not have
    /// yet: without this, an older one would stay until the next tick.
    ///
    /// # Errors
    /// The error of a store.
    pub async fn settle(&self, requests: &[Request]) -> Result<(), StoreError> {
        let dropped: Vec<(&str, &str)> = requests
            .iter()
            .filter(|request| request.action == Action::Invalidate)
            .filter_map(|request| match &request.target {
                Target::Price {
                    tenant_id,
                    instrument_id,
                } => Some((tenant_id.as_str(), instrument_id.as_str())),
                Target::Custom {
                    tenant_id,
                    instrument_id,
                    key,
                } if self.custom.writes(key) => Some((tenant_id.as_str(), instrument_id.as_str())),
                Target::Served(..) | Target::Custom { .. } | Target::All => None,
            })
            .collect();
        if dropped.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(self.settle_after).await;
        for (tenant_id, instrument_id) in dropped {
            let price = self.prices.find_one(tenant_id, instrument_id).await?;
            self.put(price.as_ref()).await?;
        }
        Ok(())
    }

    /// Writes the copy of a price, and what is made of it.
    async fn put(&self, price: Option<&LatestPrice>) -> Result<(), StoreError> {
        self.redis.put_prices(price).await?;
        self.redis.put_custom(self.custom.values(price)).await?;
        Ok(())
    }

    /// Postgres always has a row before Redis, so it need not be written a second time.
    async fn write_served(&self, projection: Projection, key: &ServedKey, is_drop: bool) -> Result<u64, StoreError> {
        let dropped = match is_drop {
            true => self.redis.delete(&[Key::served(projection, key).to_string()]).await?,
            false => 0,
        };
        let store = match projection {
            Projection::CurveSnapshot => &self.snapshots,
            Projection::DerivedPrice => &self.derived,
        };
        let named = (Some(key.name.as_str()), Some(key.horizon.as_str()));
        let found = store.newest_of(&key.tenant_id, named, 1).await?;
        self.redis.put_served(projection, &found).await?;
        Ok(dropped)
    }

    async fn drop_all(&self, pattern: &str) -> Result<u64, StoreError> {
        let keys = self.redis.scan(pattern).await?;
        let mut dropped = 0;
        for chunk in keys.chunks(CHUNK) {
            dropped += self.redis.delete(chunk).await?;
        }
        Ok(dropped)
    }
}
