//! Decides which windows are computed from the table and when, and which position is durable. Pure.
//!
//! Role: one [`Restater`] per partition of the late topic. Late ticks are collected by window, a batch of windows is
//! computed in statements of bounded size, and the position moves past the batch when its bars are acknowledged.
//! Invariants: for each window only the newest requested version is computed, since larger versions win everywhere. A batch
//! does not grow after it is cut, so the table reaches its offsets however many late ticks follow. The position is never past
//! a late tick whose bar is not acknowledged. Records are not trusted: [`flaw`] recognizes what no service of this pipeline
//! writes, and the record that requested a window is kept until its row was found in the table.
//! Failure: a failed statement is retried after a wait, with fewer windows if it exceeded its limits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use delivery::Ticket;
use domain::product::LONGEST_AHEAD;
use domain::{AskedWindow, BarVersion, Interval, LateTick, Micros, Window};
use stores::Oldest;
use stream::{FOREIGN_ORIGIN, FOREIGN_REMEDY, KeptMessage};

/// Dead-letter code: it requests no bar that is computed here.
pub const NO_INTERVAL: &str = "no_interval";
/// Dead-letter code: the table cannot store its event time.
pub const TIME_OUT_OF_RANGE: &str = "time_out_of_range";
/// Dead-letter code: the table has no row of its windows at its enriched offset.
pub const ROW_MISSING: &str = "row_missing";

/// Wait before the next statement if the table does not contain the rows yet.
const BEHIND_WAIT: Micros = 200_000;
const FIRST_RETRY: Micros = 500_000;
const LONGEST_RETRY: Micros = 10_000_000;
/// If the table is behind a statement for this long, the statement's offsets are compared with the log.
const LONG_BEHIND: Micros = 5_000_000;
/// An offset this far beyond the last known end is compared with the log at once.
const LEAP: i64 = 1_000;
/// Most memory of waiting records, whatever their ids are.
const MOST_BYTES: usize = 32 << 20;
/// Event times that the table can store: the years 1900 to 2299.
const TABLE_TIMES: std::ops::Range<Micros> = -2_208_988_800_000_000..10_413_792_000_000_000;

/// Sizes and waits of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestateRules {
    /// Bit `i`: bars of `Interval::ALL[i]` are computed.
    pub intervals: u8,
    /// Most windows per statement; the same number waits in memory.
    pub windows: usize,
    /// How long late ticks wait to be batched.
    pub linger: Micros,
}

/// The outcome of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The table does not contain all rows yet.
    Behind,
    /// Its bars were sent, the last one with this ticket.
    Sent(Ticket),
    /// It failed; nothing was sent.
    Failed,
    /// It exceeded its limits; fewer windows may succeed.
    TooMuch,
}

/// Tenant, instrument and window.
type Key = (Box<str>, Box<str>, Window);

/// The requested version of a window, and the record with the newest offset.
#[derive(Debug)]
struct Wanted {
    version: BarVersion,
    record: Arc<KeptMessage>,
}

#[derive(Debug)]
struct Batch {
    windows: Vec<AskedWindow>,
    /// The record of each window.
    records: Vec<Arc<KeptMessage>>,
    /// Offsets of records whose row the table does not have.
    refused: BTreeSet<i64>,
    /// Number of windows that are done.
    done: usize,
    /// When the table fell behind, or the offsets were last compared with the log.
    behind_since: Option<Micros>,
    /// The late topic's offset after the batch.
    position: i64,
}

/// The windows requested by one partition of the late topic.
#[derive(Debug)]
pub struct Restater {
    rules: RestateRules,
    /// Offset after the last late tick.
    next_offset: Option<i64>,
    /// Position of the last cut.
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
    /// A restater without windows.
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

    /// Adds a late tick without a [`flaw`], and its record.
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
            // A record with an offset of another window must not hide a closing.
            wanted.version.closed |= version.closed;
            if version.last_offset > wanted.version.last_offset {
                wanted.version.last_offset = version.last_offset;
                wanted.record = record;
            }
        }
    }

    /// Skips the message at this offset.
    pub fn pass(&mut self, offset: i64) {
        self.next_offset = Some(offset + 1);
    }

    /// Whether a batch must be cut before more late ticks are added.
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

    /// The windows of the next statement, if one is due. There is none before [`Restater::answered`] is called.
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
            // Only dead letters, which were sent with this ticket or before.
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

    /// The table has no row for the late tick of this window of the running statement. Returns its record, the first time.
    pub fn refuse(&mut self, number: usize) -> Option<Arc<KeptMessage>> {
        let batch = self.batch.as_mut()?;
        let record = batch.records.get(batch.done + number)?;
        batch.refused.insert(record.offset).then(|| Arc::clone(record))
    }

    /// Whether the table has been behind for so long that the batch may request offsets that do not exist.
    pub fn needs_end(&self, now: Micros) -> bool {
        let since = self.batch.as_ref().and_then(|batch| batch.behind_since);
        since.is_some_and(|since| now - since >= LONG_BEHIND)
    }

    /// Limits the batch to this end of the enriched partition: windows with larger offsets get the bar of the existing rows.
    /// Returns the records of these windows.
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

    /// Ends the running statement.
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
                // Grows back gradually.
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

    /// The position that these acknowledgements make durable, if it has moved.
    pub fn durable(&mut self, acked_through: Ticket) -> Option<i64> {
        let mut position = None;
        while let Some((_, next)) = self.unacknowledged.pop_front_if(|(ticket, _)| *ticket <= acked_through) {
            position = Some(next);
        }
        position
    }

    /// Whether sent bars wait for acknowledgement.
    pub fn is_unacknowledged(&self) -> bool {
        !self.unacknowledged.is_empty()
    }
}

fn intervals(bits: u8) -> impl Iterator<Item = Interval> {
    Interval::ALL
        .into_iter()
        .filter(move |interval| bits >> interval.index() & 1 == 1)
}

/// Why this late tick cannot be from a service of this pipeline: code and reason. `next_enriched` is the last known end of the
/// enriched partition. The broker is queried only for an offset far beyond it, since its answer waits for the running fetch.
/// An offset closer to the end that does not exist is found by [`Restater::needs_end`].
///
/// # Errors
/// The broker's error.
pub fn flaw<E>(
    late: &LateTick<'_>,
    rules: &RestateRules,
    next_enriched: &mut i64,
    ask_end: impl FnOnce() -> Result<i64, E>,
) -> Result<Option<(&'static str, String)>, E> {
    if late.missed_intervals & rules.intervals == 0 {
        let reason = "it requests no bar that is computed here";
        return Ok(Some((NO_INTERVAL, reason.to_owned())));
    }
    if !TABLE_TIMES.contains(&late.event_time) {
        let reason = format!(
            "its event time, {} µs, is outside of the table's range; {FOREIGN_REMEDY}",
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
            "its enriched offset {offset} does not exist: the enriched partition ends at {next_enriched}; {FOREIGN_REMEDY}"
        );
        (FOREIGN_ORIGIN, reason)
    }))
}

/// Whether rows of this window may have expired, so that its bar cannot be computed from the remaining ones. Rows expire by
/// ingestion time, oldest first, and an event is at most nine days ahead of its row's ingestion.
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
