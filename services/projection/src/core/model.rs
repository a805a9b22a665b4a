//! A simulation around the real [`Lane`]: two owners, a Postgres with compare-and-set whose answers get lost, a Redis that
//! loses its data. At the end both stores must contain the newest price of every instrument. If a rule is taken out, some
//! seed must fail.

use std::collections::BTreeMap;

use domain::{Classification, Decimal, EnrichedTick, Enrichment, Kind, Micros, Origin, Position, Tick};
use fastrand::Rng;
use stores::LatestPrice;
use stores::postgres::{Held, LoadedPosition};

use super::book::{Book, Target};
use super::lane::Lane;
use super::rules::{MAX_AGE, Rule};
use super::work::{Answers, Cadence, Committed, CopySeen, Next, Work};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
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

/// The owner in the mark of a rebuild.
const REBUILD: u64 = u64::MAX;

const INSTRUMENTS: [&str; 4] = ["A", "B", "C", "D"];
const CADENCE: Cadence = Cadence {
    redis: 10,
    postgres: 500,
    // A round of all instruments takes two parts.
    part: 2,
};

#[derive(Clone, Copy)]
struct LogTick {
    instrument: usize,
    event_time: Micros,
    /// Of an interval price.
    version: Option<&'static str>,
    sequence: Option<i64>,
    raw_offset: i64,
}

#[derive(Default)]
struct Postgres {
    position: Option<Position>,
    epoch: i64,
    prices: BTreeMap<String, LatestPrice>,
}

#[derive(Default)]
struct Redis {
    run: u64,
    /// The owner, and the epoch of the rows that it has loaded.
    mark: Option<(u64, i64)>,
    evicted: u64,
    prices: BTreeMap<String, LatestPrice>,
}

struct Owner {
    /// Its mark in Redis.
    id: u64,
    lane: Lane,
    at: usize,
    /// Of the rows that it has loaded.
    epoch: i64,
}

/// What a rebuild has still to do in Redis: after the owner has loaded the new rows, the copies that differ are dropped, and the owner
/// fills Redis once more.
struct Healing {
    differing: Vec<String>,
    is_dropped: bool,
}

struct World {
    without: Without,
    random: Rng,
    now: Micros,
    log: Vec<LogTick>,
    postgres: Postgres,
    redis: Redis,
    owners: Vec<Owner>,
    /// The stored position went back, which readers of `/health/projections` would see.
    went_back: bool,
    calm: bool,
    loads: u64,
    is_corrupt: bool,
    healing: Option<Healing>,
}

impl World {
    fn new(without: Without, seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(9_176) + 5);
        let mut reached = 0i64;
        let mut log = Vec::new();
        while log.len() < 60 {
            // Repetitions of at-least-once stages: sequences of earlier ticks again.
            if random.u64(..100) < 15 {
                reached -= (random.u64(..5) as i64).min(reached);
            }
            let raw = Rng::with_seed(reached as u64 * 31 + seed).u64(..1000);
            log.push(LogTick {
                instrument: (raw % 4) as usize,
                event_time: (raw / 4 % 20) as i64,
                // Repetitions of a tick have its version too.
                version: [None, None, Some("preliminary"), Some("final")][(raw / 7 % 4) as usize],
                sequence: [None, Some(i64::MIN), Some(-1), Some(1)][(raw / 80 % 4) as usize],
                raw_offset: reached,
            });
            reached += 1;
        }
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

    fn load(&mut self) -> Owner {
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
    fn fails(&mut self, percent: u64) -> bool {
        !self.calm && self.random.u64(..100) < percent
    }

    fn execute(&mut self, owner: (u64, i64), work: &Work) -> Answers {
        let mut answers = Answers {
            redis_ok: !self.fails(10),
            ..Answers::default()
        };
        if work.check_copy && self.without != Without::CopyCheck {
            answers.copy = Some(CopySeen {
                run: self.redis.run.to_string(),
                is_marked: self.redis.mark == Some(owner),
                evicted: match self.without {
                    Without::EvictionCheck => 0,
                    _ => self.redis.evicted,
                },
            });
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
            if work.refill.is_some_and(|part| part.begins) {
                self.redis.mark = Some(owner);
            }
            self.lose_redis(2);
            for price in work.redis.iter() {
                let stored = self.redis.prices.get(&price.instrument_id);
                if self.without == Without::RedisCompare || stored.is_none_or(|stored| stored.rank() <= price.rank()) {
                    self.redis.prices.insert(price.instrument_id.clone(), price.clone());
                }
            }
        }
        if let Some(commit) = &work.commit {
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
            answers.committed = Some(match (reaches && answered, wins) {
                (true, true) => Committed::Yes,
                (true, false) => Committed::Conflict,
                (false, _) if self.without == Without::ReadingThePosition => Committed::Yes,
                (false, _) => Committed::Unknown,
            });
        }
        if work.read_position && !self.fails(20) {
            answers.stored = Some(self.postgres.held());
        }
        answers
    }

    /// A restart (new run id) or a FLUSHALL (same run id).
    fn lose_redis(&mut self, percent: u64) {
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

    /// Someone changes a price in Postgres so that no tick of the log can replace it, and an owner may load it.
    fn corrupt(&mut self) {
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
    fn rebuild(&mut self) {
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
    fn heal(&mut self) {
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

    /// Redis evicts a served price.
    fn evict(&mut self) {
        if let Some(id) = self.redis.prices.keys().next().cloned() {
            self.redis.prices.remove(&id);
            self.redis.evicted += 1;
        }
    }

    fn step(&mut self) {
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
    fn verdict(mut self) -> Result<(), String> {
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

impl Postgres {
    fn held(&self) -> Option<Held> {
        let next_offset = self.position.as_ref()?.next_offset;
        Some(Held {
            next_offset,
            epoch: self.epoch,
        })
    }
}

fn book<'p>(prices: impl IntoIterator<Item = &'p LatestPrice>) -> Book {
    let mut book = Book::new(0);
    prices.into_iter().for_each(|price| book.restore(price));
    book
}

fn enriched(tick: &LogTick) -> EnrichedTick<'static> {
    EnrichedTick {
        tick: Tick {
            origin: Origin {
                feed: "f",
                partition: 0,
                offset: tick.raw_offset,
                index: 0,
            },
            instrument_id: INSTRUMENTS[tick.instrument],
            event_time: tick.event_time,
            price: Decimal::from_integer(tick.raw_offset).unwrap(),
            kind: Kind::Interval,
            version: tick.version,
            sequence: tick.sequence,
            ..domain::fixtures::tick()
        },
        enrichment: enrichment(),
    }
}

/// An enrichment without reference data of the instrument.
pub(super) fn enrichment() -> Enrichment<'static> {
    Enrichment {
        commodity: "electricity",
        region: "midwest",
        product_tier: "standard",
        unit: None,
        contract_size: None,
        tick_size: None,
        curve_id: None,
        curve_definition: None,
        confidence_percent: 95,
        method: Classification::Database,
        low_confidence: false,
        enriched_at: 0,
    }
}

fn run(without: Without, seed: u64) -> Result<(), String> {
    let mut world = World::new(without, seed);
    // Runs of many lengths, so that some end right after a fault.
    (0..30 + seed % 300).for_each(|_| world.step());
    world.verdict()
}

#[test]
fn both_stores_end_with_the_newest_prices_under_any_faults() {
    for seed in 0..6000 {
        assert_eq!(run(Without::Nothing, seed), Ok(()), "seed {seed}");
    }
}

#[test]
fn each_rule_is_needed() {
    for without in [
        Without::CompareAndSet,
        Without::ReadingThePosition,
        Without::CopyCheck,
        Without::EvictionCheck,
        Without::RedisCompare,
        Without::Epoch,
        Without::Replaced,
    ] {
        assert!(
            (0..20_000).any(|seed| run(without, seed).is_err()),
            "the model does not notice that {without:?} is missing"
        );
    }
}

#[test]
fn writes_to_redis_without_a_pause_do_not_put_off_the_commit_to_postgres() {
    let mut lane = Lane::new(CADENCE, 0, None, Book::new(0));
    let mut commits = Vec::new();
    for now in 0..3_000 {
        let tick = LogTick {
            instrument: 0,
            event_time: now,
            version: None,
            sequence: None,
            raw_offset: now,
        };
        lane.take_in(now, &enriched(&tick));
        let Some(work) = lane.work(now, false) else { continue };
        let committed = work.commit.is_some().then_some(Committed::Yes);
        if committed.is_some() {
            commits.push(now);
        }
        let answers = Answers {
            redis_ok: true,
            committed,
            ..Answers::default()
        };
        lane.finished(&answers, now);
    }
    let longest = commits.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(
        commits.len() >= 5 && longest <= Some(2 * CADENCE.postgres),
        "{commits:?}"
    );
}

#[test]
fn a_price_has_the_unit_of_the_reference_data_if_it_has_one() {
    let mut book = Book::new(0);
    let mut gas = enriched(&LogTick {
        instrument: 0,
        event_time: 1,
        version: None,
        sequence: None,
        raw_offset: 1,
    });
    let mut units = Vec::new();
    // Known at first, then lost, then known again.
    for unit in [Some("MMBtu"), None, Some("MMBtu")] {
        gas.enrichment.unit = unit;
        gas.tick.event_time += 1;
        assert!(book.take_in(&gas));
        units.extend(book.take_waiting(Target::Redis, 10).into_iter().map(|price| price.unit));
    }
    assert_eq!(units, ["MMBtu", "MWh", "MMBtu"]);
}

#[test]
fn a_price_that_becomes_too_old_gives_a_notice_without_a_price() {
    let mut lane = Lane::new(CADENCE, 0, None, Book::new(0));
    let start = domain::fixtures::tick().appended_at;
    let told = |lane: &mut Lane, now| {
        let mut told = Vec::new();
        while let Some(work) = lane.work(now, false) {
            told.extend(work.notices.iter().map(|notice| (notice.rule, work.redis.len())));
            let answers = Answers {
                redis_ok: true,
                committed: work.commit.is_some().then_some(Committed::Yes),
                ..Answers::default()
            };
            lane.finished(&answers, now);
        }
        told
    };
    assert!(told(&mut lane, start).is_empty());
    let tick = LogTick {
        instrument: 0,
        event_time: 1,
        version: None,
        sequence: None,
        raw_offset: 1,
    };
    assert!(lane.take_in(0, &enriched(&tick)));
    assert!(told(&mut lane, start + MAX_AGE).is_empty());
    assert_eq!(told(&mut lane, start + MAX_AGE + 1), [(Rule::Age, 0)]);
    assert!(told(&mut lane, start + 2 * MAX_AGE).is_empty());
}
