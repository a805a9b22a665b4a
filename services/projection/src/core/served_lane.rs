//! One partition of curve snapshots or derived prices: what is due for its stores, and what their answers mean.
//!
//! ```text
//!  Loading ──position, ranks──▶ Serving ──commit lost or refused by compare-and-set──▶ Loading
//! ```
//! Invariants: a position is stored with every row up to it, in one transaction with a compare-and-set. Rows are written to Postgres first,
//! then to Redis, whose copy is filled again from Postgres: it never has what Postgres does not have. The outcome of an unanswered commit
//! is not guessed (INV-8): position and ranks are read again. Reading a record twice is harmless, so there is no sequencer ([`super::newest`]).

use std::sync::Arc;

use domain::{Micros, RetryPolicy, Waits};
use stores::postgres::{Held, LoadedPosition};
use stores::served::Rank;
use stores::{ServedKey, ServedRow};

use super::newest::Newest;
use super::pending::{Pending, earlier};
use super::work::{Committed, CopySeen, Next};

/// How often run id and mark of Redis are checked. Readers of the routes do not notice a lost copy: those ask Postgres.
const COPY_CHECK: Micros = 5_000_000;
/// Shortest time between refills after evictions: a Redis too small would evict again at once.
const REFILL_AFTER_EVICTION: Micros = 60_000_000;

/// Rows and position for Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCommit {
    /// The stored position that it replaces.
    pub expected: Option<Held>,
    /// The new position.
    pub next_offset: i64,
    /// The rows that are newer than those stored; also for Redis, once they are stored.
    pub rows: Arc<Vec<ServedRow>>,
}

/// What to do next; at most one per lane at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServedWork {
    /// Commit to Postgres, then write the rows to Redis.
    pub commit: Option<ServedCommit>,
    /// Read the run id of Redis and this lane's mark.
    pub check_copy: bool,
    /// Write the mark, then every row of Postgres to Redis.
    pub refill: bool,
}

/// How the work ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServedAnswers {
    /// Whether all work in Redis succeeded (true if there was none).
    pub redis_ok: bool,
    /// The state of the copy, if it was read.
    pub copy: Option<CopySeen>,
    /// The outcome of the commit, if there was one.
    pub committed: Option<Committed>,
    /// What an operator must correct, if Postgres refuses the commit.
    pub refused: Option<String>,
}

/// What a lane knows of its copy in Redis.
#[derive(Debug)]
struct Copy {
    run: Option<String>,
    evicted: u64,
    has_evicted: bool,
    refill: bool,
    refill_due: Micros,
    check_due: Micros,
    eviction_due: Micros,
    waits: Waits,
}

/// A partition that is being served.
#[derive(Debug)]
pub struct ServedLane {
    /// Between two commits.
    interval: Micros,
    newest: Newest,
    next_offset: i64,
    stored: Option<Held>,
    under_way: Option<ServedWork>,
    commit_due: Micros,
    pending: Pending,
    copy: Copy,
}

impl ServedLane {
    /// A lane at the stored position, with the ranks of the stored rows. The seed sets the jitter of its waits.
    pub fn new(interval: Micros, seed: u64, loaded: Option<LoadedPosition>, newest: Newest) -> ServedLane {
        let copy = Copy {
            run: None,
            evicted: 0,
            has_evicted: false,
            // An earlier owner may have ended between the commit and its writes to Redis.
            refill: loaded.is_some(),
            refill_due: 0,
            check_due: 0,
            eviction_due: 0,
            waits: RetryPolicy::SOON.seeded_waits(seed),
        };
        ServedLane {
            interval,
            newest,
            next_offset: loaded.as_ref().map_or(0, |loaded| loaded.position.next_offset),
            stored: loaded.map(|loaded| loaded.held()),
            under_way: None,
            commit_due: 0,
            pending: Pending::default(),
            copy,
        }
    }

    /// Takes a record; returns whether it is newer than what is known of its key. `make` is called only then.
    pub fn take_in(
        &mut self,
        (offset, appended_at): (i64, Micros),
        key: &ServedKey,
        rank: Rank,
        make: impl FnOnce() -> ServedRow,
    ) -> bool {
        if offset < self.next_offset {
            // Fetched before the partition was reloaded.
            return false;
        }
        self.next_offset = offset + 1;
        let is_newer = self.newest.take_in(key, rank, make);
        if is_newer {
            self.pending.take_in(appended_at);
        }
        is_newer
    }

    /// Skips a message that became a dead letter.
    pub fn skip(&mut self, offset: i64) {
        self.next_offset = self.next_offset.max(offset + 1);
    }

    /// Whether it can take more before a commit.
    pub fn has_room(&self) -> bool {
        !self.newest.is_full()
    }

    /// The next work, if some is due (`drain`: the commit in any case) and none is under way.
    pub fn work(&mut self, now: Micros, drain: bool) -> Option<ServedWork> {
        if self.under_way.is_some() {
            return None;
        }
        let mut work = ServedWork::default();
        if self.commit_waits() && (drain || now >= self.commit_due || self.newest.is_full()) {
            self.pending.begin();
            work.commit = Some(ServedCommit {
                expected: self.stored,
                next_offset: self.next_offset,
                rows: Arc::new(self.newest.take_waiting()),
            });
        }
        // Before the first record there is no copy that could be lost.
        if !drain && self.stored.is_some() {
            let copy = &mut self.copy;
            work.refill = copy.refill && now >= copy.refill_due;
            if now >= copy.check_due {
                work.check_copy = true;
                copy.check_due = now + COPY_CHECK;
            }
        }
        (work != ServedWork::default()).then(|| {
            self.under_way = Some(work.clone());
            work
        })
    }

    /// The work under way has ended.
    pub fn finished(&mut self, answers: &ServedAnswers, now: Micros) -> Next {
        let Some(work) = self.under_way.take() else {
            return Next::Continue;
        };
        self.copy.finished(&work, answers, now);
        let Some(commit) = work.commit else {
            return Next::Continue;
        };
        if answers.committed != Some(Committed::Yes) {
            return Next::Reload;
        }
        self.pending.ended(true);
        self.commit_due = now + self.interval;
        let epoch = commit.expected.map_or(0, |expected| expected.epoch);
        self.stored = Some(Held {
            next_offset: commit.next_offset,
            epoch,
        });
        Next::Stored(commit.next_offset)
    }

    /// Whether a commit waits or anything is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some() || self.commit_waits()
    }

    /// When the next commit or refill is due, apart from the check of the copy; `None` if only a record or an answer changes that.
    pub fn due(&self) -> Option<Micros> {
        if self.under_way.is_some() {
            return None;
        }
        let commit = self.commit_waits().then_some(self.commit_due);
        let refills = self.copy.refill && self.stored.is_some();
        earlier(commit, refills.then_some(self.copy.refill_due))
    }

    /// Time of the oldest record that Postgres does not have yet.
    pub fn oldest_pending(&self) -> Option<Micros> {
        self.pending.oldest()
    }

    /// Before the first record there is no position to store: the log may begin later than at 0.
    fn commit_waits(&self) -> bool {
        match self.stored {
            Some(stored) => stored.next_offset != self.next_offset,
            None => self.next_offset > 0,
        }
    }
}

impl Copy {
    fn finished(&mut self, work: &ServedWork, answers: &ServedAnswers, now: Micros) {
        if !answers.redis_ok {
            // It is unknown what Redis missed, and whether the same server comes back.
            self.refill = true;
            self.refill_due = now + self.waits.after_failure().as_micros() as Micros;
            return;
        }
        if work.refill {
            self.refill = false;
            self.has_evicted = false;
            self.waits.succeeded();
        }
        if let Some(seen) = &answers.copy {
            let known = self.run.replace(seen.run.clone());
            let is_same = known.as_ref().is_none_or(|known| *known == seen.run);
            self.has_evicted |= known.is_some() && is_same && seen.evicted > self.evicted;
            self.evicted = seen.evicted;
            // The mark was read before the refill of the same work wrote it.
            let is_lost = !is_same || !(seen.is_marked || work.refill);
            let has_evicted = self.has_evicted && now >= self.eviction_due;
            if is_lost || has_evicted {
                self.refill = true;
                self.refill_due = now;
                self.eviction_due = now + REFILL_AFTER_EVICTION;
            }
        }
    }
}
