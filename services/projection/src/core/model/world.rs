//! The simulated pipeline: a log, two stores, and owners that read, freeze and end.

use std::collections::BTreeMap;

use domain::Micros;
use fastrand::Rng;
use stores::LatestPrice;
use stores::postgres::LoadedPosition;

use super::fixtures::{CADENCE, INSTRUMENTS, LogTick, book, enriched, log};
use super::rebuild::Healing;
use super::servers::{Postgres, Redis};
use crate::core::lane::Lane;
use crate::core::work::{Next, Work};

/// A rule taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    Nothing,
    CompareAndSet,
    /// An unanswered commit is treated as done.
    ReadingThePosition,
    /// The loss of all data in Redis is not noticed.
    CopyCheck,
    /// Evictions in Redis are not noticed.
    EvictionCheck,
    /// Older prices overwrite newer ones in Redis.
    RedisCompare,
    /// An owner whose memory is of the rows before a rebuild may store its position.
    Epoch,
    /// A rebuild tells no owner that it has replaced the rows.
    Replaced,
}

pub struct Owner {
    /// Its mark in Redis.
    pub id: u64,
    pub lane: Lane,
    pub at: usize,
    /// Of the rows that it has loaded.
    pub epoch: i64,
}

pub struct World {
    pub without: Without,
    pub random: Rng,
    pub now: Micros,
    pub log: Vec<LogTick>,
    pub postgres: Postgres,
    pub redis: Redis,
    pub owners: Vec<Owner>,
    /// The stored position went back, which readers of `/health/projections` would see.
    pub went_back: bool,
    pub calm: bool,
    pub loads: u64,
    pub is_corrupt: bool,
    pub healing: Option<Healing>,
}

impl World {
    pub fn new(without: Without, seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(9_176) + 5);
        let log = log(&mut random, seed);
        let mut world = World {
            without,
            random,
            now: 0,
            log,
            postgres: Postgres::default(),
            redis: Redis::default(),
            owners: Vec::new(),
            went_back: false,
            calm: false,
            loads: 0,
            is_corrupt: false,
            healing: None,
        };
        world.join();
        world
    }

    fn join(&mut self) {
        let owner = self.load();
        self.owners.push(owner);
    }

    pub fn load(&mut self) -> Owner {
        self.loads += 1;
        let position = self.postgres.position.clone();
        let at = position.as_ref().map_or(0, |position| position.next_offset as usize);
        Owner {
            id: self.loads,
            lane: Lane::new(
                CADENCE,
                self.loads,
                position.map(|position| LoadedPosition {
                    position,
                    epoch: self.postgres.epoch,
                }),
                book(self.postgres.prices.values()),
            ),
            at,
            epoch: self.postgres.epoch,
        }
    }

    fn read(&mut self, index: usize) {
        let owner = &mut self.owners[index];
        let Some(tick) = self.log.get(owner.at) else {
            return;
        };
        owner.lane.take_in(owner.at as i64, &enriched(tick));
        owner.at += 1;
    }

    fn work(&mut self, index: usize, drain: bool) {
        // Redis is written many times between two commits, as in production.
        let most = if self.random.u64(..100) < 70 { 30 } else { 400 };
        self.now += 1 + self.random.u64(..most) as i64;
        let now = self.now;
        let due = self.owners[index].lane.due();
        let work = self.owners[index].lane.work(now, drain);
        // The poll loop sleeps until work is due: none may be due earlier, and none may be missing then.
        let is_due = due.is_some_and(|due| due <= now);
        let writes = work.as_ref().is_some_and(|work| {
            *work
                != Work {
                    check_copy: work.check_copy,
                    ..Work::default()
                }
        });
        assert_eq!(writes, is_due || drain && writes, "due at {due:?}, now {now}: {work:?}");
        let Some(work) = work else {
            return;
        };
        let owner = (self.owners[index].id, self.owners[index].epoch);
        let answers = self.execute(owner, &work);
        // The owner may be frozen here while the other one continues.
        if self.random.u64(..100) < 20 && self.owners.len() > 1 {
            let other = (index + 1) % self.owners.len();
            (0..self.random.u64(..6)).for_each(|_| self.read(other));
        }
        if self.owners[index].lane.finished(&answers, self.now) == Next::Reload {
            self.owners[index] = self.load();
        }
    }

    /// Whether a fault occurs, with this probability in percent; never in the calm phase at the end.
    pub fn fails(&mut self, percent: u64) -> bool {
        !self.calm && self.random.u64(..100) < percent
    }

    pub fn step(&mut self) {
        let index = self.random.usize(..self.owners.len());
        match self.random.u64(..100) {
            0..=59 => self.read(index),
            60..=91 => self.work(index, false),
            92..=94 => self.owners[index] = self.load(),
            95 if self.owners.len() < 2 => self.join(),
            96 if self.owners.len() > 1 => {
                self.owners.remove(index);
            }
            97 => self.lose_redis(100),
            98 => self.evict(),
            _ if self.is_corrupt => self.rebuild(),
            _ => self.corrupt(),
        }
        if self.random.u64(..100) < 20 {
            self.heal();
        }
    }

    /// One owner continues alone, without faults; then the stores are checked.
    pub fn verdict(mut self) -> Result<(), String> {
        self.owners.truncate(1);
        if self.is_corrupt {
            self.rebuild();
        }
        self.calm = true;
        for _ in 0..400 {
            self.heal();
            self.read(0);
            self.now += 3_000_000;
            self.work(0, true);
        }
        if self.went_back {
            return Err("the position went back".into());
        }
        let expected = self.expected();
        let found = |prices: &BTreeMap<String, LatestPrice>| -> BTreeMap<String, (Micros, i64)> {
            prices
                .iter()
                .map(|(id, price)| (id.clone(), (price.event_time, price.origin.offset)))
                .collect()
        };
        if found(&self.postgres.prices) != expected {
            return Err("postgres differs".into());
        }
        if found(&self.redis.prices) != expected {
            return Err("redis differs".into());
        }
        if let Some(at) = self.owners[0].lane.oldest_pending() {
            return Err(format!("the event of {at} is still pending"));
        }
        let position = self.postgres.position.map(|position| position.next_offset);
        if position == Some(self.log.len() as i64) {
            Ok(())
        } else {
            Err(format!("position is {position:?}"))
        }
    }

    /// Event time and offset of the newest ticks. At equal times the more certain vintage is newer; at equal ones, a tick without a
    /// sequence ranks below those with one.
    fn expected(&self) -> BTreeMap<String, (Micros, i64)> {
        let mut newest = BTreeMap::new();
        for tick in &self.log {
            let sequence = tick.sequence.map_or(i128::MIN, i128::from);
            let vintage = ["preliminary", "final"]
                .iter()
                .position(|word| tick.version == Some(word));
            let rank = (tick.event_time, vintage, sequence, tick.raw_offset);
            let entry = newest.entry(INSTRUMENTS[tick.instrument].to_owned()).or_insert(rank);
            *entry = (*entry).max(rank);
        }
        let place = |(id, (time, _, _, offset))| (id, (time, offset));
        newest.into_iter().map(place).collect()
    }
}
