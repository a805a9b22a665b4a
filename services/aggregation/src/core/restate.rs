//! Which windows are computed from the table, when, and how far that has become durable. Pure.
//!
//! Role: one [`Restater`] per partition of the late topic. Late ticks are collected by window, a batch of windows is
//! computed in statements of bounded size, and the position moves past the batch when its bars are acknowledged.
//! Invariants: of one window only the newest version asked for is computed, since larger versions win everywhere; a batch
//! is closed when it is cut, so the table reaches its offsets however many late ticks follow; the position is never past a
//! late tick whose bar is not acknowledged. Nothing in a record is believed: [`flaw`] says what no service of this pipeline
//! writes, and the record that asked for a window is kept until the table has shown its row.
//! Failure: a statement that was not answered is asked again after a while, in smaller pieces where it was too much.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use domain::product::LONGEST_AHEAD;
use domain::{AskedWindow, BarVersion, Interval, LateTick, Micros, Window};
use stores::Oldest;
use stream::{FOREIGN_ORIGIN, KeptMessage, Ticket};

/// Codes of dead letters.
pub const NO_INTERVAL: &str = "no_interval";
/// No table holds its event time.
pub const TIME_OUT_OF_RANGE: &str = "time_out_of_range";
/// The row that it names is not a row of its windows.
pub const ROW_MISSING: &str = "row_missing";
/// What to do about records that no service has written.
pub const FOREIGN_REMEDY: &str =
    "no service of this pipeline wrote it: find who else writes to this topic, and let ACLs forbid it";

/// How long the table may take to hold the rows before it is asked again.
const BEHIND_WAIT: Micros = 200_000;
const FIRST_RETRY: Micros = 500_000;
const LONGEST_RETRY: Micros = 10_000_000;
/// So long the table may be behind a statement before its offsets are compared with the log.
const LONG_BEHIND: Micros = 5_000_000;
/// An offset so far beyond the end that was known last is compared with the log at once.
const LEAP: i64 = 1_000;
/// Records that wait take no more than this, whatever their ids are.
const MOST_BYTES: usize = 32 << 20;
/// Event times that the table can hold: the years 1900 to 2299.
const TABLE_TIMES: std::ops::Range<Micros> = -2_208_988_800_000_000..10_413_792_000_000_000;

/// Sizes and waits of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestateRules {
    /// Bit `i`: bars of `Interval::ALL[i]` are made.
    pub intervals: u8,
    /// Windows of one statement; as many more wait in memory.
    pub windows: usize,
    /// How long late ticks wait to be batched.
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

/// What is asked of a window, and the record that named the newest offset.
#[derive(Debug)]
struct Wanted {
    version: BarVersion,
    record: Arc<KeptMessage>,
}

#[derive(Debug)]
struct Batch {
    windows: Vec<AskedWindow>,
    /// Of each window.
    records: Vec<Arc<KeptMessage>>,
    /// Offsets of records whose row the table does not have.
    refused: BTreeSet<i64>,
    /// So many of them are done.
    done: usize,
    /// Since when the table has been behind, or its offsets were compared with the log.
    behind_since: Option<Micros>,
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
    waiting: BTreeMap<Key, Wanted>,
    waiting_bytes: usize,
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
            waiting_bytes: 0,
            waiting_since: 0,
            batch: None,
            is_running: false,
            retry_at: 0,
            retry_wait: FIRST_RETRY,
            piece: rules.windows,
            unacknowledged: VecDeque::new(),
        }
    }

    /// Takes a late tick without a [`flaw`], and the record that it was read from.
    pub fn take(&mut self, record: KeptMessage, late: &LateTick<'_>, now: Micros) {
        self.pass(record.offset);
        if self.waiting.is_empty() {
            self.waiting_since = now;
        }
        self.waiting_bytes += record.size();
        let record = Arc::new(record);
        for interval in intervals(late.missed_intervals & self.rules.intervals) {
            let version = BarVersion {
                last_offset: late.enriched_offset,
                closed: late.closed_intervals >> interval.index() & 1 == 1,
            };
            let key = (
                late.tenant_id.into(),
                late.instrument_id.into(),
                interval.window_of(late.event_time),
            );
            let record = Arc::clone(&record);
            let wanted = self.waiting.entry(key).or_insert_with(|| Wanted {
                version,
                record: Arc::clone(&record),
            });
            // One that names an offset of another window must not hide a closing.
            wanted.version.closed |= version.closed;
            if version.last_offset > wanted.version.last_offset {
                wanted.version.last_offset = version.last_offset;
                wanted.record = record;
            }
        }
    }

    /// The message at this offset asks for nothing.
    pub fn pass(&mut self, offset: i64) {
        self.next_offset = Some(offset + 1);
    }

    /// Whether it should take no more before a batch is cut.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.rules.windows || self.waiting_bytes >= MOST_BYTES
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
            self.waiting_bytes = 0;
            let waiting = std::mem::take(&mut self.waiting).into_iter();
            let (windows, records) = waiting
                .map(|((tenant_id, instrument_id, window), Wanted { version, record })| {
                    let asked = AskedWindow {
                        tenant_id,
                        instrument_id,
                        window,
                        version,
                    };
                    (asked, record)
                })
                .unzip();
            self.batch = Some(Batch {
                windows,
                records,
                refused: BTreeSet::new(),
                done: 0,
                behind_since: None,
                position,
            });
        } else {
            return;
        }
        self.cut_through = Some(position);
    }

    /// The row that the record behind this window of the statement under way names is none of the window: the record, where
    /// that was not said of it before.
    pub fn refuse(&mut self, number: usize) -> Option<Arc<KeptMessage>> {
        let batch = self.batch.as_mut()?;
        let record = batch.records.get(batch.done + number)?;
        batch.refused.insert(record.offset).then(|| Arc::clone(record))
    }

    /// Whether the table has been behind for so long that the batch may ask for offsets which do not exist.
    pub fn needs_end(&self, now: Micros) -> bool {
        let since = self.batch.as_ref().and_then(|batch| batch.behind_since);
        since.is_some_and(|since| now - since >= LONG_BEHIND)
    }

    /// The enriched partition ends here. Windows that ask for more get the bar of the rows that are there. Answers the records
    /// that asked for it.
    pub fn ends_at(&mut self, end: i64, now: Micros) -> Vec<Arc<KeptMessage>> {
        let Some(batch) = &mut self.batch else {
            return Vec::new();
        };
        batch.behind_since = Some(now);
        let beyond = batch.windows.iter_mut().zip(&batch.records);
        let beyond = beyond.filter(|(asked, _)| asked.version.last_offset >= end);
        beyond
            .filter_map(|(asked, record)| {
                asked.version.last_offset = end - 1;
                batch.refused.insert(record.offset).then(|| Arc::clone(record))
            })
            .collect()
    }

    /// What became of the statement under way.
    pub fn answered(&mut self, answer: Answer, now: Micros) {
        self.is_running = false;
        match answer {
            Answer::Behind => {
                self.retry_at = now + BEHIND_WAIT;
                if let Some(batch) = &mut self.batch {
                    batch.behind_since.get_or_insert(now);
                }
            }
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

fn intervals(bits: u8) -> impl Iterator<Item = Interval> {
    Interval::ALL
        .into_iter()
        .filter(move |interval| bits >> interval.index() & 1 == 1)
}

/// Why no service of this pipeline wrote this late tick: code and reason. `next_enriched` is an end that the partition of its
/// offset had; the broker is asked only by a leap beyond it, since it answers behind the fetch that is under way. What lies
/// closer to the end and is not there is found out by [`Restater::needs_end`].
///
/// # Errors
/// As the broker says.
pub fn flaw<E>(
    late: &LateTick<'_>,
    rules: &RestateRules,
    next_enriched: &mut i64,
    ask_end: impl FnOnce() -> Result<i64, E>,
) -> Result<Option<(&'static str, String)>, E> {
    if late.missed_intervals & rules.intervals == 0 {
        let reason = "it asks for no bar that is made here";
        return Ok(Some((NO_INTERVAL, reason.to_owned())));
    }
    if !TABLE_TIMES.contains(&late.event_time) {
        let reason = format!(
            "no table holds its event time, {} µs; {FOREIGN_REMEDY}",
            late.event_time
        );
        return Ok(Some((TIME_OUT_OF_RANGE, reason)));
    }
    let offset = late.enriched_offset;
    let mut is_foreign = offset < 0;
    if offset >= next_enriched.saturating_add(LEAP) {
        *next_enriched = ask_end()?;
        is_foreign = offset >= *next_enriched;
    }
    Ok(is_foreign.then(|| {
        let reason = format!(
            "it names the enriched offset {offset}, and that partition ends at {next_enriched}; {FOREIGN_REMEDY}"
        );
        (FOREIGN_ORIGIN, reason)
    }))
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
