//! Postgres with compare-and-set and Redis without promises, and how a piece of work meets both.

use std::collections::BTreeMap;

use domain::Position;
use stores::LatestPrice;
use stores::postgres::Held;

use super::world::{Without, World};
use crate::core::work::{Answers, Commit, Committed, CopySeen, Work};

#[derive(Default)]
pub struct Postgres {
    pub position: Option<Position>,
    pub epoch: i64,
    pub prices: BTreeMap<String, LatestPrice>,
}

#[derive(Default)]
pub struct Redis {
    pub run: u64,
    /// The owner, and the epoch of the rows that it has loaded.
    pub mark: Option<(u64, i64)>,
    pub evicted: u64,
    pub prices: BTreeMap<String, LatestPrice>,
}

impl Postgres {
    pub fn held(&self) -> Option<Held> {
        let next_offset = self.position.as_ref()?.next_offset;
        Some(Held {
            next_offset,
            epoch: self.epoch,
        })
    }
}

impl World {
    /// Carries out the work of the owner with this id, which has loaded the rows of this epoch.
    pub fn execute(&mut self, owner: (u64, i64), work: &Work) -> Answers {
        let mut answers = Answers {
            redis_ok: !self.fails(10),
            ..Answers::default()
        };
        if work.check_copy && self.without != Without::CopyCheck {
            answers.copy = Some(self.copy_seen_by(owner));
            if self.redis.mark.is_some_and(|mark| mark.1 > owner.1) {
                answers.is_replaced = true;
                return answers;
            }
            self.lose_redis(2);
        }
        let begins_refill = work.refill.is_some_and(|part| part.begins);
        if begins_refill && self.without != Without::Replaced && self.postgres.epoch > owner.1 {
            // The answers say so even if Redis was not asked.
            answers.is_replaced = true;
            return answers;
        }
        if answers.redis_ok {
            if begins_refill {
                self.redis.mark = Some(owner);
            }
            self.lose_redis(2);
            self.write_redis(&work.redis);
        }
        if let Some(commit) = &work.commit {
            answers.committed = Some(self.commit(commit));
        }
        if work.read_position && !self.fails(20) {
            answers.stored = Some(self.postgres.held());
        }
        answers
    }

    fn copy_seen_by(&self, owner: (u64, i64)) -> CopySeen {
        CopySeen {
            run: self.redis.run.to_string(),
            is_marked: self.redis.mark == Some(owner),
            evicted: match self.without {
                Without::EvictionCheck => 0,
                _ => self.redis.evicted,
            },
        }
    }

    fn write_redis(&mut self, prices: &[LatestPrice]) {
        for price in prices {
            let stored = self.redis.prices.get(&price.instrument_id);
            if self.without == Without::RedisCompare || stored.is_none_or(|stored| stored.rank() <= price.rank()) {
                self.redis.prices.insert(price.instrument_id.clone(), price.clone());
            }
        }
    }

    fn commit(&mut self, commit: &Commit) -> Committed {
        let held = self.postgres.held();
        let stored = held.map(|held| held.next_offset);
        let reaches = !self.fails(10);
        let answered = !self.fails(15);
        let wins = match self.without {
            Without::CompareAndSet => true,
            Without::Epoch => stored == commit.expected.map(|expected| expected.next_offset),
            _ => held == commit.expected,
        };
        if reaches && wins {
            if let Some(position) = &commit.position {
                self.went_back |= stored.is_some_and(|stored| stored > position.next_offset);
                self.postgres.position = Some(position.clone());
            }
            for price in commit.prices.iter() {
                let older = self
                    .postgres
                    .prices
                    .get(&price.instrument_id)
                    .is_none_or(|stored| stored.rank() < price.rank());
                if older {
                    self.postgres.prices.insert(price.instrument_id.clone(), price.clone());
                }
            }
        }
        match (reaches && answered, wins) {
            (true, true) => Committed::Yes,
            (true, false) => Committed::Conflict,
            (false, _) if self.without == Without::ReadingThePosition => Committed::Yes,
            (false, _) => Committed::Unknown,
        }
    }

    /// A restart (new run id) or a FLUSHALL (same run id).
    pub fn lose_redis(&mut self, percent: u64) {
        if self.fails(percent) {
            let restarts = self.random.u64(..2);
            self.redis = Redis {
                run: self.redis.run + restarts,
                // A FLUSHALL does not reset the eviction count.
                evicted: if restarts == 1 { 0 } else { self.redis.evicted },
                ..Redis::default()
            };
        }
    }

    /// Redis evicts a served price.
    pub fn evict(&mut self) {
        if let Some(id) = self.redis.prices.keys().next().cloned() {
            self.redis.prices.remove(&id);
            self.redis.evicted += 1;
        }
    }
}
