//! A simulation around the real [`ServedLane`]: several owners of one partition, a Postgres whose answers get lost, a Redis that fails and
//! loses its data, writes that arrive late. At the end both stores must contain the newest row of every key, and the stored position must
//! never have gone back. If a rule is taken out, some seed must fail.

use std::collections::BTreeMap;

use domain::{Micros, Position};
use fastrand::Rng;
use stores::postgres::{Held, LoadedPosition};
use stores::served::Rank;
use stores::{ServedKey, ServedRow};

use super::newest::Newest;
use super::served_lane::{ServedAnswers, ServedLane, ServedWork};
use super::work::{Committed, CopySeen, Next};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    CompareAndSet,
    /// An unanswered commit is treated as done.
    ReadingThePosition,
    /// The loss of all data in Redis is not noticed.
    CopyCheck,
    /// A failed write to Redis is treated as done.
    RefillAfterFailure,
}

const INTERVAL: Micros = 1_000_000;
const KEYS: usize = 4;
/// Longer than the pause between two checks of the copy.
const LONG: Micros = 100_000_000;

#[derive(Default)]
struct Postgres {
    next_offset: Option<i64>,
    rows: BTreeMap<ServedKey, ServedRow>,
    went_back: bool,
}

#[derive(Default)]
struct Redis {
    run: u64,
    mark: Option<u64>,
    rows: BTreeMap<ServedKey, ServedRow>,
}

struct Owner {
    id: u64,
    lane: ServedLane,
    at: usize,
}

/// Work that is being carried out; its owner may be gone.
struct Flight {
    owner: u64,
    work: ServedWork,
    answers: ServedAnswers,
    is_committed: bool,
}

struct World {
    without: Without,
    random: Rng,
    now: Micros,
    log: Vec<ServedRow>,
    postgres: Postgres,
    redis: Redis,
    owners: Vec<Owner>,
    flights: Vec<Flight>,
    ids: u64,
    is_calm: bool,
}

fn row(random: &mut Rng, version: i64) -> ServedRow {
    let key = ServedKey {
        tenant_id: "t".into(),
        name: random.usize(..KEYS).to_string(),
        horizon: "1m".into(),
    };
    let time = random.i64(0..8);
    ServedRow {
        key,
        time,
        version,
        src_partition: 0,
        body: format!("{time}/{version}"),
    }
}

/// Both stores compare with what they have; `stores/tests` try that on the servers.
fn put(rows: &mut BTreeMap<ServedKey, ServedRow>, row: &ServedRow) {
    let is_newer = rows.get(&row.key).is_none_or(|stored| stored.rank() <= row.rank());
    if is_newer {
        rows.insert(row.key.clone(), row.clone());
    }
}

impl World {
    fn new(without: Without, seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(7_919) + 3);
        let mut log: Vec<ServedRow> = Vec::new();
        for version in 0..60 {
            // A stage before sends its last records again after a crash.
            let is_repeated = !log.is_empty() && random.u8(..100) < 15;
            log.push(match is_repeated {
                true => random.choice(&log).unwrap().clone(),
                false => row(&mut random, version),
            });
        }
        World {
            without,
            random,
            now: 0,
            log,
            postgres: Postgres::default(),
            redis: Redis::default(),
            owners: Vec::new(),
            flights: Vec::new(),
            ids: 0,
            is_calm: false,
        }
    }

    fn loaded(&self, id: u64) -> Owner {
        let mut newest = Newest::default();
        for row in self.postgres.rows.values() {
            newest.restore(row.key.clone(), row.rank());
        }
        let position = self.postgres.next_offset.map(|next_offset| LoadedPosition {
            position: Position {
                next_offset,
                sequencer: Vec::new(),
            },
            epoch: 0,
        });
        let at = position.as_ref().map_or(0, |loaded| loaded.position.next_offset) as usize;
        Owner {
            id,
            lane: ServedLane::new(INTERVAL, id, position, newest),
            at,
        }
    }

    fn take_over(&mut self) {
        self.ids += 1;
        let owner = self.loaded(self.ids);
        self.owners.push(owner);
    }

    fn read(&mut self, place: usize) {
        let owner = &mut self.owners[place];
        let Some(row) = self.log.get(owner.at) else { return };
        let at = (owner.at as i64, self.now);
        owner.lane.take_in(at, &row.key, row.rank(), || row.clone());
        owner.at += 1;
    }

    fn begin(&mut self, place: usize) {
        let owner = &mut self.owners[place];
        if let Some(work) = owner.lane.work(self.now, false) {
            self.flights.push(Flight {
                owner: owner.id,
                work,
                answers: ServedAnswers {
                    redis_ok: true,
                    ..ServedAnswers::default()
                },
                is_committed: false,
            });
        }
    }

    fn fails(&mut self) -> bool {
        !self.is_calm && self.random.u8(..100) < 20
    }

    /// The next step of some work: the commit, then Redis, then the owner gets the answers.
    fn go_on(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        // Mostly the newest: earlier work, of an owner that was frozen, goes on late.
        let any = self.random.usize(..self.flights.len());
        let place = match self.random.u8(..100) < 80 {
            true => self.flights.len() - 1,
            false => any,
        };
        let mut flight = self.flights.remove(place);
        if let (Some(commit), false) = (flight.work.commit.clone(), flight.is_committed) {
            flight.is_committed = true;
            let (is_lost, arrives) = (self.fails(), self.random.bool());
            let mut outcome = Committed::Yes;
            if !is_lost || arrives {
                outcome = self.commit(commit.expected, commit.next_offset, &commit.rows);
            }
            if is_lost && self.without != Without::ReadingThePosition {
                outcome = Committed::Unknown;
            }
            flight.answers.committed = Some(outcome);
            if outcome == Committed::Yes {
                self.flights.push(flight);
                return;
            }
        } else {
            self.in_redis(&mut flight);
        }
        self.answer(&flight);
    }

    fn commit(&mut self, expected: Option<Held>, next_offset: i64, rows: &[ServedRow]) -> Committed {
        let stored = self.postgres.next_offset;
        if self.without != Without::CompareAndSet && stored != expected.map(|held| held.next_offset) {
            return Committed::Conflict;
        }
        self.postgres.went_back |= stored.is_some_and(|stored| stored > next_offset);
        self.postgres.next_offset = Some(next_offset);
        for row in rows {
            put(&mut self.postgres.rows, row);
        }
        Committed::Yes
    }

    fn in_redis(&mut self, flight: &mut Flight) {
        if self.fails() {
            flight.answers.redis_ok = self.without == Without::RefillAfterFailure;
            return;
        }
        for row in flight.work.commit.iter().flat_map(|commit| commit.rows.iter()) {
            put(&mut self.redis.rows, row);
        }
        if flight.work.check_copy {
            let is_noticed = self.without != Without::CopyCheck;
            flight.answers.copy = Some(CopySeen {
                run: if is_noticed {
                    self.redis.run.to_string()
                } else {
                    String::new()
                },
                is_marked: !is_noticed || self.redis.mark == Some(flight.owner),
                evicted: 0,
            });
        }
        if flight.work.refill {
            self.redis.mark = Some(flight.owner);
            for row in self.postgres.rows.values() {
                put(&mut self.redis.rows, row);
            }
        }
    }

    fn answer(&mut self, flight: &Flight) {
        let Some(place) = self.owners.iter().position(|owner| owner.id == flight.owner) else {
            return;
        };
        let next = self.owners[place].lane.finished(&flight.answers, self.now);
        if next == Next::Reload {
            let again = self.loaded(flight.owner);
            self.owners[place] = again;
        }
    }

    fn step(&mut self) {
        self.now += self.random.i64(0..INTERVAL / 2);
        if self.owners.is_empty() {
            self.take_over();
        }
        let place = self.random.usize(..self.owners.len());
        match self.random.u8(..100) {
            0..40 => self.read(place),
            40..60 => self.begin(place),
            60..90 => self.go_on(),
            90..92 => self.take_over(),
            92..95 => drop(self.owners.swap_remove(place)),
            95..97 => {
                self.redis = Redis {
                    run: self.redis.run + 1,
                    ..Redis::default()
                }
            }
            _ => self.now += LONG,
        }
    }

    /// The last owner alone, with servers that answer.
    fn end(&mut self) {
        self.is_calm = true;
        while !self.flights.is_empty() {
            self.go_on();
        }
        let newest = self.owners.pop();
        self.owners.clear();
        match newest {
            Some(owner) => self.owners.push(owner),
            None => self.take_over(),
        }
        for _ in 0..200 {
            self.read(0);
            self.begin(0);
            while !self.flights.is_empty() {
                self.go_on();
            }
            self.now += LONG / 10;
        }
    }

    /// Whether everything is as it must be.
    fn holds(&self) -> bool {
        let mut expected: BTreeMap<ServedKey, ServedRow> = BTreeMap::new();
        for row in &self.log {
            put(&mut expected, row);
        }
        let end = Some(self.log.len() as i64);
        let is_idle = self.owners.iter().all(|owner| !owner.lane.is_busy());
        is_idle
            && !self.postgres.went_back
            && self.postgres.next_offset == end
            && self.postgres.rows == expected
            && self.redis.rows == expected
    }
}

fn failures(without: Without, seeds: u64) -> Vec<u64> {
    let fails = |seed: &u64| {
        let mut world = World::new(without, *seed);
        for _ in 0..400 {
            world.step();
        }
        world.end();
        !world.holds()
    };
    (0..seeds).filter(fails).collect()
}

#[test]
fn both_stores_end_with_the_newest_rows() {
    assert_eq!(failures(Without::Nothing, 3_000), Vec::<u64>::new());
}

#[test]
fn each_rule_is_needed() {
    for without in [
        Without::CompareAndSet,
        Without::ReadingThePosition,
        Without::CopyCheck,
        Without::RefillAfterFailure,
    ] {
        assert!(!failures(without, 1_000).is_empty(), "{without:?} is not needed");
    }
}

/// What is not newer is not written, so a log that is read again costs Postgres a position and nothing else.
#[test]
fn a_log_that_is_read_again_writes_no_row() {
    let mut newest = Newest::default();
    let ranks: [Rank; 3] = [(5, 1), (4, 9), (5, 1)];
    let named = |rank: Rank| ServedRow {
        time: rank.0,
        version: rank.1,
        ..row(&mut Rng::with_seed(1), 0)
    };
    newest.restore(named((5, 1)).key, (5, 1));
    let mut lane = ServedLane::new(INTERVAL, 1, None, newest);
    for (offset, rank) in (0..).zip(ranks) {
        assert!(!lane.take_in((offset, 0), &named(rank).key, rank, || named(rank)));
    }
    assert!(lane.oldest_pending().is_none());
    let commit = lane.work(INTERVAL, false).and_then(|work| work.commit).unwrap();
    assert_eq!((commit.next_offset, commit.rows.len()), (3, 0));
}
