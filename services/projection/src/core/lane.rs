//! One enriched partition: decides what to write next, and what the answers of Postgres and Redis mean.
//!
//! ```text
//!  Loading ──position, prices──▶ Serving ──lost compare-and-set──▶ Loading
//!                                  │  ▲
//!              commit unanswered   ▼  │ position read: ours before or after the commit
//!                             (reads position)
//! ```
//! Invariants: a position is stored with the sequencer state as of exactly this position (INV-3) and with every price up to
//! it. The outcome of an unanswered commit is never guessed (INV-8); ticks are accepted in the meantime, since memory holds at
//! most one price per instrument. Prices are written in rounds: the prices that wait at the beginning of a round are written
//! in parts of bounded size, and the last part carries the position as of the beginning. Newer prices in a part are harmless.

use std::sync::Arc;

use delivery::Sequencer;
use domain::{EnrichedTick, Micros, Origin, Position, RetryPolicy, Waits};
use stores::OwnedOrigin;
use stores::postgres::{Held, LoadedPosition};

use super::ages::Ages;
use super::book::{Book, Target};
use super::pending::{Pending, earlier};
use super::work::{Answers, Cadence, Commit, Committed, Next, RefillPart, Work};

/// How often the run id and mark of Redis are checked: is it still the server that was filled?
const COPY_CHECK: Micros = 1_000_000;
/// Shortest time between refills after evictions: a Redis too small for all prices would evict again at once.
const REFILL_AFTER_EVICTION: Micros = 60_000_000;

/// Most prices that are looked at for their age in one turn.
const AGED_PER_TURN: usize = 1_000;

/// The prices that waited for Redis when the round began.
#[derive(Debug, Clone, Copy)]
struct RedisRound {
    left: usize,
    is_refill: bool,
}

/// The prices that waited for Postgres when the round began, and the position at that time.
#[derive(Debug)]
struct PostgresRound {
    left: usize,
    position: Position,
}

/// A partition that is being served.
#[derive(Debug)]
pub struct Lane {
    cadence: Cadence,
    book: Book,
    sequencer: Sequencer,
    next_offset: i64,
    /// The last tick, and the last one when the round for Postgres began.
    last_tick: Option<OwnedOrigin>,
    round_tick: Option<OwnedOrigin>,
    stored: Option<Held>,
    under_way: Option<Work>,
    unanswered: Option<Commit>,
    redis_run: Option<String>,
    refill: bool,
    /// Keys that this run of Redis had evicted at the last check.
    evicted: u64,
    /// Keys were evicted since the last refill after evictions.
    has_evicted: bool,
    eviction_refill_due: Micros,
    redis_waits: Waits,
    postgres_waits: Waits,
    redis_due: Micros,
    postgres_due: Micros,
    copy_check_due: Micros,
    redis_pending: Pending,
    postgres_pending: Pending,
    redis_round: Option<RedisRound>,
    postgres_round: Option<PostgresRound>,
}

impl Lane {
    /// How long its instruments have had no tick.
    pub fn ages(&self, now: Micros) -> Ages {
        self.book.ages(now)
    }

    /// A lane at the stored position, with the stored prices. The seed sets the jitter of its waits.
    pub fn new(cadence: Cadence, seed: u64, loaded: Option<LoadedPosition>, mut book: Book) -> Lane {
        // Postgres has all of the prices, but Redis may not.
        book.wait_again(Target::Redis);
        Lane {
            cadence,
            book,
            sequencer: loaded.iter().flat_map(|loaded| &loaded.position.sequencer).collect(),
            next_offset: loaded.as_ref().map_or(0, |loaded| loaded.position.next_offset),
            last_tick: None,
            round_tick: None,
            stored: loaded.map(|loaded| loaded.held()),
            under_way: None,
            unanswered: None,
            redis_run: None,
            // An earlier owner may have ended while Redis was down.
            refill: true,
            evicted: 0,
            has_evicted: false,
            eviction_refill_due: 0,
            redis_waits: RetryPolicy::SOON.seeded_waits(seed),
            postgres_waits: RetryPolicy::SOON.seeded_waits(seed.rotate_left(32)),
            redis_due: 0,
            postgres_due: 0,
            copy_check_due: 0,
            redis_pending: Pending::default(),
            postgres_pending: Pending::default(),
            redis_round: None,
            postgres_round: None,
        }
    }

    /// Adds a tick; false if it is a repetition.
    pub fn take_in(&mut self, offset: i64, enriched: &EnrichedTick<'_>) -> bool {
        let origin = &enriched.tick.origin;
        if offset < self.next_offset {
            // Fetched before the partition was reloaded.
            return false;
        }
        self.next_offset = offset + 1;
        if !self.sequencer.accept(origin.feed, origin.partition, origin.position()) {
            return false;
        }
        self.remember(origin);
        self.book.take_in(enriched);
        if self.book.waiting(Target::Redis) > 0 {
            // A tick older than its instrument's price is not written.
            self.redis_pending.take_in(enriched.tick.appended_at);
        }
        self.postgres_pending.take_in(enriched.tick.appended_at);
        true
    }

    /// Skips a message that became a dead letter.
    pub fn skip(&mut self, offset: i64) {
        self.next_offset = self.next_offset.max(offset + 1);
    }

    /// The next work, if some is due (`drain`: all of it) and none is under way.
    pub fn work(&mut self, now: Micros, drain: bool) -> Option<Work> {
        if self.under_way.is_some() {
            return None;
        }
        let mut work = Work::default();
        let commits = (drain || now >= self.postgres_due) && self.commit_waits();
        if (commits || drain || now >= self.redis_due) && self.book.waiting(Target::Redis) > 0 {
            self.fill_redis(&mut work);
        }
        if !drain {
            self.book.expire(now, AGED_PER_TURN);
        }
        work.notices = Arc::new(self.book.take_notices());
        // The run id must be known before the first write, or a restart right after it would go unnoticed. A refill writes rows that a
        // rebuild may have replaced.
        let writes_blindly = work.refill.is_some() || self.redis_run.is_none() && !work.redis.is_empty();
        if now >= self.copy_check_due || writes_blindly {
            work.check_copy = true;
            self.copy_check_due = now + COPY_CHECK;
        }
        if commits {
            if self.unanswered.is_some() {
                work.read_position = true;
            } else {
                work.commit = Some(self.commit());
            }
        }
        (work != Work::default()).then(|| {
            self.under_way = Some(work.clone());
            work
        })
    }

    /// The work under way has ended.
    pub fn finished(&mut self, answers: &Answers, now: Micros) -> Next {
        let Some(work) = self.under_way.take() else {
            return Next::Continue;
        };
        self.finish_redis(&work, answers, now);
        if answers.is_replaced {
            // What waits is read again from the log, or refused by the new epoch.
            return Next::Reload;
        }
        if work.commit.is_some() || work.read_position {
            // Only after work for Postgres: work for Redis ends every few milliseconds, and would postpone the commit forever.
            self.postgres_due = now + self.cadence.postgres;
        }
        match (work.commit, answers.committed) {
            (Some(commit), Some(Committed::Yes)) => {
                self.postgres_waits.succeeded();
                let Some(position) = commit.position else {
                    // The next part of the round.
                    self.postgres_due = now;
                    return Next::Continue;
                };
                self.postgres_pending.ended(true);
                let epoch = commit.expected.map_or(0, |expected| expected.epoch);
                self.stored = Some(Held {
                    next_offset: position.next_offset,
                    epoch,
                });
                return Next::Stored(position.next_offset);
            }
            (Some(_), Some(Committed::Conflict)) => return Next::Reload,
            (Some(commit), _) => {
                self.unanswered = Some(commit);
                self.postgres_due = now + after_failure(&mut self.postgres_waits);
            }
            (None, _) => {}
        }
        if work.read_position {
            self.position_read(answers.stored, now)
        } else {
            Next::Continue
        }
    }

    /// Number of rebuilds before the rows that it has loaded.
    pub fn epoch(&self) -> i64 {
        self.stored.map_or(0, |stored| stored.epoch)
    }

    /// Whether anything waits or is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
            || self.stored_offset() != Some(self.next_offset) && (self.stored.is_some() || self.next_offset > 0)
    }

    /// When the next work is due, apart from the check of the copy and of the ages; `None` if only a tick or an answer changes that.
    pub fn due(&self) -> Option<Micros> {
        if self.under_way.is_some() {
            return None;
        }
        let redis = (self.book.waiting(Target::Redis) > 0).then_some(self.redis_due);
        earlier(redis, self.commit_waits().then_some(self.postgres_due))
    }

    /// Whether Postgres does not have the position yet, or an answer of it is missing.
    fn commit_waits(&self) -> bool {
        self.unanswered.is_some() || self.postgres_round.is_some() || self.stored_offset() != Some(self.next_offset)
    }

    fn stored_offset(&self) -> Option<i64> {
        self.stored.map(|stored| stored.next_offset)
    }

    /// Time of the oldest event that a store does not have yet.
    pub fn oldest_pending(&self) -> Option<Micros> {
        earlier(self.redis_pending.oldest(), self.postgres_pending.oldest())
    }

    /// The last tick before the position that was stored by this owner: to be asked when one has been stored.
    pub fn stored_tick(&self) -> Option<&OwnedOrigin> {
        self.round_tick.as_ref()
    }

    /// Keeps the last tick, without an allocation while the feed stays the same.
    fn remember(&mut self, origin: &Origin<'_>) {
        match &mut self.last_tick {
            Some(last) if last.feed == origin.feed => {
                (last.partition, last.offset, last.index) = (origin.partition, origin.offset, origin.index);
            }
            last => *last = Some((*origin).into()),
        }
    }

    /// Whether the last commit was not answered.
    pub fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    /// The next part of the current round for Redis, or the first of a new one.
    fn fill_redis(&mut self, work: &mut Work) {
        let begins = self.redis_round.is_none();
        let round = self.redis_round.get_or_insert_with(|| {
            self.redis_pending.begin();
            RedisRound {
                left: self.book.waiting(Target::Redis),
                is_refill: std::mem::take(&mut self.refill),
            }
        });
        let prices = self.book.take_waiting(Target::Redis, round.left.min(self.cadence.part));
        round.left -= prices.len();
        let ends = round.left == 0;
        work.redis = Arc::new(prices);
        work.refill = round.is_refill.then_some(RefillPart { begins, ends });
        work.after_eviction = round.is_refill && ends && std::mem::take(&mut self.has_evicted);
    }

    /// The next part of the current round for Postgres, or the first of a new one.
    fn commit(&mut self) -> Commit {
        let mut round = self.postgres_round.take().unwrap_or_else(|| {
            self.postgres_pending.begin();
            self.round_tick.clone_from(&self.last_tick);
            PostgresRound {
                left: self.book.waiting(Target::Postgres),
                position: Position {
                    next_offset: self.next_offset,
                    sequencer: self.sequencer.state(),
                },
            }
        });
        let prices = self
            .book
            .take_waiting(Target::Postgres, round.left.min(self.cadence.part));
        round.left -= prices.len();
        let position = if round.left == 0 {
            Some(round.position)
        } else {
            self.postgres_round = Some(round);
            None
        };
        Commit {
            expected: self.stored,
            position,
            prices: Arc::new(prices),
        }
    }

    /// Writes all prices to Redis again, in a new round.
    fn refill(&mut self) {
        self.refill = true;
        self.redis_round = None;
        self.redis_pending.ended(false);
        self.book.wait_again(Target::Redis);
    }

    fn finish_redis(&mut self, work: &Work, answers: &Answers, now: Micros) {
        self.redis_due = now + self.cadence.redis;
        if !answers.redis_ok {
            // It is unknown what Redis missed, and whether the same server comes back: refill.
            self.refill();
            self.redis_due = now + after_failure(&mut self.redis_waits);
        } else if let Some(round) = self.redis_round {
            self.redis_waits.succeeded();
            self.redis_due = now;
            if round.left == 0 {
                self.redis_round = None;
                if self.book.waiting(Target::Redis) == 0 {
                    // Prices that arrived during the round were written with it.
                    self.redis_pending.begin();
                }
                self.redis_pending.ended(true);
                self.redis_due = now + self.cadence.redis;
            }
        }
        if let (true, Some(copy)) = (work.check_copy, &answers.copy) {
            let known = self.redis_run.replace(copy.run.clone());
            let is_same = known.as_ref().is_none_or(|known| *known == copy.run);
            // The first refill restores what was evicted before the first check.
            self.has_evicted |= known.is_some() && is_same && copy.evicted > self.evicted;
            self.evicted = copy.evicted;
            let is_lost = !is_same || !(copy.is_marked || work.refill.is_some_and(|part| part.begins));
            if is_lost || (self.has_evicted && now >= self.eviction_refill_due) {
                self.refill();
                self.eviction_refill_due = now + REFILL_AFTER_EVICTION;
            }
        }
    }

    fn position_read(&mut self, stored: Option<Option<Held>>, now: Micros) -> Next {
        let (Some(stored), Some(commit)) = (stored, self.unanswered.take_if(|_| stored.is_some())) else {
            self.postgres_due = now + after_failure(&mut self.postgres_waits);
            return Next::Continue;
        };
        let epoch = commit.expected.map_or(0, |expected| expected.epoch);
        let reached = commit.position.map(|position| Held {
            next_offset: position.next_offset,
            epoch,
        });
        if reached.is_some() && stored == reached {
            // Another owner may have stored this position, without the newer prices of this commit (found by the model).
            self.book.give_back(Target::Postgres, &commit.prices);
            self.stored = stored;
            self.postgres_pending.ended(true);
            reached.map_or(Next::Continue, |reached| Next::Stored(reached.next_offset))
        } else if stored == commit.expected {
            // The round's position would skip the prices that were not stored: a new round begins.
            self.book.give_back(Target::Postgres, &commit.prices);
            self.postgres_round = None;
            self.postgres_pending.ended(false);
            self.postgres_due = now;
            Next::Continue
        } else {
            Next::Reload
        }
    }
}

/// The wait grows to between half a second and a second.
fn after_failure(waits: &mut Waits) -> Micros {
    waits.after_failure().as_micros() as Micros
}
