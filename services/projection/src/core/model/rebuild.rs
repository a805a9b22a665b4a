//! A rebuild of the rows from the log, and what it has still to do in Redis.

use std::collections::BTreeMap;

use stores::LatestPrice;

use super::fixtures::{CADENCE, enriched};
use super::world::{Without, World};
use crate::core::book::Book;
use crate::core::lane::Lane;
use crate::core::work::{Answers, Committed, Work};

/// The owner in the mark of a rebuild.
const REBUILD: u64 = u64::MAX;

/// What a rebuild has still to do in Redis: after the owner has loaded the new rows, the copies that differ are dropped, and the owner
/// fills Redis once more.
pub struct Healing {
    differing: Vec<String>,
    is_dropped: bool,
}

impl World {
    /// Someone changes a price in Postgres so that no tick of the log can replace it, and an owner may load it.
    pub fn corrupt(&mut self) {
        let changed = self.random.usize(..self.postgres.prices.len().max(1));
        if let Some(price) = self.postgres.prices.values_mut().nth(changed) {
            price.event_time += 1_000;
            self.is_corrupt = true;
            if self.random.bool() {
                self.owners[0] = self.load();
            }
        }
    }

    /// Replaces the rows by those that the log makes, at the served position or after it.
    pub fn rebuild(&mut self) {
        let served = self.postgres.held().map_or(0, |held| held.next_offset);
        let to = self.random.i64(served..=self.log.len() as i64);
        let mut lane = Lane::new(CADENCE, 0, None, Book::new(0));
        let mut prices = BTreeMap::new();
        for (offset, tick) in self.log.iter().enumerate().take(to as usize) {
            lane.take_in(offset as i64, &enriched(tick));
        }
        let copied = loop {
            let Some(Work {
                commit: Some(commit), ..
            }) = lane.work(i64::MAX / 2, true)
            else {
                return;
            };
            for price in commit.prices.iter() {
                prices.insert(price.instrument_id.clone(), price.clone());
            }
            let answers = Answers {
                redis_ok: true,
                committed: Some(Committed::Yes),
                ..Answers::default()
            };
            lane.finished(&answers, i64::MAX / 2);
            if let Some(position) = commit.position {
                break position;
            }
        };
        let old = std::mem::replace(&mut self.postgres.prices, prices);
        let differs = |(id, price): (&String, &LatestPrice)| (old.get(id) != Some(price)).then(|| id.clone());
        let gone = old.keys().filter(|id| !self.postgres.prices.contains_key(*id)).cloned();
        let mut differing: Vec<String> = self.postgres.prices.iter().filter_map(differs).chain(gone).collect();
        if let Some(healing) = self.healing.take() {
            differing.extend(healing.differing);
        }
        self.postgres.position = Some(copied);
        self.postgres.epoch += 1;
        self.is_corrupt = false;
        if self.without != Without::Replaced {
            self.redis.mark = Some((REBUILD, self.postgres.epoch));
        }
        self.healing = Some(Healing {
            differing,
            is_dropped: false,
        });
    }

    /// The rest of a rebuild: waits for an owner that has loaded the new rows.
    pub fn heal(&mut self) {
        let Some(healing) = &mut self.healing else { return };
        let has_loaded = self
            .redis
            .mark
            .is_some_and(|mark| mark.0 != REBUILD && mark.1 == self.postgres.epoch);
        let replaced = Some((REBUILD, self.postgres.epoch));
        if self.without != Without::Replaced && !has_loaded {
            self.redis.mark = replaced;
        } else if healing.is_dropped {
            self.healing = None;
        } else {
            healing.is_dropped = true;
            for id in &healing.differing {
                self.redis.prices.remove(id);
            }
            if self.without != Without::Replaced {
                self.redis.mark = replaced;
            }
        }
    }
}
