//! Which windows are computed from the table, when, and how far that has become durable. Pure.
//!
//! Role: one [`Restater`] per partition of the late topic. Late ticks are collected by window, a batch of windows is
//! computed in statements of bounded size, and the position moves past the batch when its bars are acknowledged.
//! Invariants: of one window only the newest version asked for is computed, since larger versions win everywhere; a batch
//! is closed when it is cut, so the table reaches its offsets however many late ticks follow; the position is never past a
//! late tick whose bar is not acknowledged.
//! Failure: a statement that was not answered is asked again after a while, in smaller pieces where it was too much.

use std::collections::{BTreeMap, VecDeque};

use domain::{AskedWindow, BarVersion, Interval, LateTick, Micros, Window};
use stores::Oldest;
use stream::Ticket;

/// How long the table may take to hold the rows before it is asked again.
const BEHIND_WAIT: Micros = 200_000;
const FIRST_RETRY: Micros = 500_000;
const LONGEST_RETRY: Micros = 10_000_000;
/// How far ahead of its append time an event may be (day-ahead prices): older rows hold no later events.
const LONGEST_AHEAD: Micros = 9 * 86_400_000_000;

/// Sizes and waits of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestateRules {
    /// Windows of one statement; as many more wait in memory.
    pub windows: usize,
    /// How long late ticks wait for company.
    pub linger: Micros,
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The table does not hold all rows yet.
    Behind,
    /// Its bars have been sent, the last of them, or an output before, with this ticket.
    Sent(Ticket),
    /// Something failed; nothing was sent.
    Failed,
    /// It took more than it may: smaller pieces may pass.
    TooMuch,
}

/// Key of a window, by instrument.
type Key = (Box<str>, Box<str>, Window);

#[derive(Debug)]
struct Batch {
    windows: Vec<AskedWindow>,
    /// So many of them are done.
    done: usize,
    /// The late topic's offset after the batch.
    position: i64,
}

/// The windows asked for by one partition of the late topic.
#[derive(Debug)]
pub struct Restater {
    rules: RestateRules,
    /// Offset after the last late tick taken.
    next_offset: Option<i64>,
    /// Offset behind which nothing waits to be cut.
    cut_through: Option<i64>,
    waiting: BTreeMap<Key, BarVersion>,
    waiting_since: Micros,
    batch: Option<Batch>,
    is_running: bool,
    retry_at: Micros,
    retry_wait: Micros,
    piece: usize,
    unacknowledged: VecDeque<(Ticket, i64)>,
}

impl Restater {
    /// Nothing asked for yet.
    pub fn new(rules: RestateRules) -> Restater {
        Restater {
            rules,
            next_offset: None,
            cut_through: None,
            waiting: BTreeMap::new(),
            waiting_since: 0,
            batch: None,
            is_running: false,
            retry_at: 0,
            retry_wait: FIRST_RETRY,
            piece: rules.windows,
            unacknowledged: VecDeque::new(),
        }
    }

    /// Takes the late tick at this offset of the late topic.
    pub fn take(&mut self, offset: i64, late: &LateTick<'_>, now: Micros) {
        self.pass(offset);
        if self.waiting.is_empty() {
            self.waiting_since = now;
        }
        for interval in Interval::ALL {
            let bit = 1u8 << interval.index();
            if late.missed_intervals & bit == 0 {
                continue;
            }
            let version = BarVersion {
                last_offset: late.enriched_offset,
                closed: late.closed_intervals & bit != 0,
            };
            let key = (
                late.tenant_id.into(),
                late.instrument_id.into(),
                interval.window_of(late.event_time),
            );
            let newest = self.waiting.entry(key).or_insert(version);
            *newest = version.max(*newest);
        }
    }

    /// The message at this offset asks for nothing.
    pub fn pass(&mut self, offset: i64) {
        self.next_offset = Some(offset + 1);
    }

    /// Whether it should take no more before a batch is cut.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.rules.windows
    }

    /// Windows that wait or are being computed.
    pub fn len(&self) -> usize {
        let batch = self.batch.as_ref();
        self.waiting.len() + batch.map_or(0, |batch| batch.windows.len().saturating_sub(batch.done))
    }

    /// Whether nothing waits or is being computed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The windows of the next statement, where one is due. Nothing more comes before [`Restater::answered`].
    pub fn next_statement(&mut self, now: Micros, last_ticket: Ticket) -> Option<&[AskedWindow]> {
        if self.is_running || now < self.retry_at {
            return None;
        }
        if self.batch.is_none() {
            self.cut(now, last_ticket);
        }
        let batch = self.batch.as_ref()?;
        let rest = batch.windows.get(batch.done..)?;
        self.is_running = true;
        Some(rest.get(..self.piece).unwrap_or(rest))
    }

    fn cut(&mut self, now: Micros, last_ticket: Ticket) {
        let Some(position) = self.next_offset.filter(|next| Some(*next) != self.cut_through) else {
            return;
        };
        if self.waiting.is_empty() {
            // Only dead letters, which go before this ticket.
            self.unacknowledged.push_back((last_ticket, position));
        } else if self.is_full() || now - self.waiting_since >= self.rules.linger {
            let windows = std::mem::take(&mut self.waiting).into_iter();
            let windows = windows.map(|((tenant_id, instrument_id, window), version)| AskedWindow {
                tenant_id,
                instrument_id,
                window,
                version,
            });
            self.batch = Some(Batch {
                windows: windows.collect(),
                done: 0,
                position,
            });
        } else {
            return;
        }
        self.cut_through = Some(position);
    }

    /// What became of the statement under way.
    pub fn answered(&mut self, answer: Answer, now: Micros) {
        self.is_running = false;
        match answer {
            Answer::Behind => self.retry_at = now + BEHIND_WAIT,
            Answer::Sent(ticket) => {
                self.retry_wait = FIRST_RETRY;
                let piece = self.piece;
                // Grows again by and by.
                self.piece = (piece + piece / 4 + 1).min(self.rules.windows);
                if let Some(batch) = &mut self.batch {
                    batch.done += piece;
                    if batch.done >= batch.windows.len() {
                        self.unacknowledged.push_back((ticket, batch.position));
                        self.batch = None;
                    }
                }
            }
            Answer::Failed | Answer::TooMuch => {
                if answer == Answer::TooMuch {
                    self.piece = (self.piece / 2).max(1);
                }
                self.retry_at = now + self.retry_wait;
                self.retry_wait = (self.retry_wait * 2).min(LONGEST_RETRY);
            }
        }
    }

    /// The position that has become durable with these acknowledgements.
    pub fn durable(&mut self, acked_through: Ticket) -> Option<i64> {
        let mut position = None;
        while let Some((_, next)) = self.unacknowledged.pop_front_if(|(ticket, _)| *ticket <= acked_through) {
            position = Some(next);
        }
        position
    }

    /// Whether sent bars wait for their acknowledgement.
    pub fn is_unacknowledged(&self) -> bool {
        !self.unacknowledged.is_empty()
    }
}

/// Whether rows of this window may have expired, so that its bar cannot be made from what is left. Rows expire by the time
/// of their ingestion, oldest first, and a row older than the oldest one left holds no event of nine days later.
pub fn has_expired(asked: &AskedWindow, oldest: Option<&Oldest>) -> bool {
    match oldest {
        None => true,
        Some(oldest) => {
            oldest.offset > asked.version.last_offset
                || (oldest.offset > 0 && asked.window.start < oldest.ingested_at.saturating_add(LONGEST_AHEAD))
        }
    }
}

#[cfg(test)]
#[path = "restate_tests.rs"]
mod tests;
