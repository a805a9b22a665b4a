//! Raw message → ticks.
//!
//! Role: parses the message with crate `markets`, checks the event window of its raw partition, and writes one record
//! per tick, keyed `tenant|instrument`.
//! Invariants: INV-1 (existence, index and route follow from the log; the clock only sets flags), INV-4 (the key decides
//! the partition), INV-5 (every message is counted as parsed or dead-lettered; every tick as emitted, duplicate or rejected).
//! A message that was appended while its tenant was paused is *held*: a dead letter `tenant_paused`, which is replayed later. It stays exactly
//! once, for these reasons. Whether it is held follows from its append time and the orders ([`service::control::order`]), so a process
//! that reads it again decides the same, and emits no tick of a message that has a letter, nor the other way round. It enters the event
//! window, so a producer's retry of it is a repetition like any other, however late the replay comes; the replay has a key of its own
//! (`markets::Replay::held`). And a letter is replayed once. What is not covered: a process that has not read an order ten seconds after it was
//! given (orders that cannot be read, or a frozen process in its first moments after it wakes) emits what it should hold; if these messages are read again
//! before their commit, they are held as well, and a replay doubles them.
//! Failure: a message that cannot be parsed becomes a dead letter. The rows of a document that cannot be parsed become one
//! dead letter that lists them with the reasons of the first 100; the other rows are emitted. A repeated event is only counted. The stage waits for a schema
//! that the registry cannot return at present.

mod event_windows;
mod window_file;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use codec::{Wire, framing};
use delivery::event_window::{Seen, WindowLimits};
use domain::instrument::KEY_SEPARATOR;
use domain::routing::partition_of;
use domain::{Classified, ErrorClass, Micros, RowRanges, Tick};
use markets::{
    Normalizer, NormalizerConfig, Parsed, RawMessage, RejectCode, RejectedRow, RejectedRows, Rejection, Replay,
    header_text,
};
use service::control::order::tenant_argument;
use service::control::tenants::HeldTenants;
use stream::dead_letter::RowReason;
use stream::hop::{Memory, ReadBack, Rejected, Stage, StageOutput, Verdict};
use stream::status::wall_clock;
use stream::{Message, Partition, StreamError};

use crate::metrics::Meters;
use crate::replays::Replays;
use event_windows::EventWindows;

/// Name in metrics and dead letters.
pub const NAME: &str = "normalize";
/// Rejected rows whose errors the message of a dead letter spells out; a header has more of them.
const SPELLED_OUT: usize = 5;

/// Codes of this stage's dead letters.
pub fn dead_letter_codes() -> Vec<&'static str> {
    RejectCode::ALL.iter().map(|code| code.name()).collect()
}

/// The stage of one worker.
pub struct Normalize {
    normalizer: Normalizer,
    windows: EventWindows,
    wire: Wire,
    partitions: i32,
    key: Vec<u8>,
    meters: Meters,
    replays: Replays,
    held_tenants: Arc<HeldTenants>,
}

impl Normalize {
    /// `partitions` is the partition count of the normalized topic; `forgotten` counts the events that left a window before
    /// their time.
    pub fn new(
        config: NormalizerConfig,
        limits: WindowLimits,
        partitions: i32,
        forgotten: Arc<AtomicU64>,
        replays: Replays,
    ) -> Normalize {
        Normalize {
            replays,
            held_tenants: Arc::default(),
            windows: EventWindows::new(limits, forgotten),
            wire: config.wire.clone(),
            partitions,
            key: Vec::new(),
            meters: Meters::new(config.venues.iter().map(|venue| venue.name.as_str())),
            normalizer: Normalizer::new(config),
        }
    }

    /// Keeps the event windows in files of this folder, so that a restarted process does not read them back from the log.
    pub fn keeping_windows_in(mut self, folder: Option<PathBuf>) -> Normalize {
        let config = self.normalizer.config();
        // What decides that a message is an event, and which. The framing of ticks does not.
        let deciding = (
            &config.default_tenant,
            &config.venues,
            &config.quality,
            config.max_tick_bytes,
            config.max_document_bytes,
        );
        self.windows.keep_in(folder, &deciding);
        self
    }

    /// Holds the messages of these tenants.
    pub fn holding(mut self, tenants: Arc<HeldTenants>) -> Normalize {
        self.held_tenants = tenants;
        self
    }

    /// Processes one raw message.
    pub fn record(&mut self, raw: &RawMessage<'_>, out: &mut StageOutput<'_>, now: Micros) -> Verdict {
        let attempts = raw.replay.map_or(1, |replay| replay.attempt);
        let Normalize {
            normalizer,
            windows,
            wire,
            partitions,
            key,
            meters,
            held_tenants,
            ..
        } = self;
        let parsed = match normalizer.parse(raw) {
            Ok(parsed) => parsed,
            Err(rejection) => {
                meters.batch().dead_lettered += 1;
                return whole(rejection, attempts);
            }
        };
        let rows = parsed.rows() as u64;
        let seen = windows.observe(raw, parsed.event_key());
        if seen != Seen::Repeated && held_tenants.holds(parsed.tenant_id(), raw.appended_at) {
            meters.batch().dead_lettered += 1;
            return held(&parsed, attempts);
        }
        meters.batch().parsed += 1;
        if seen == Seen::Repeated {
            meters.batch().duplicates += rows;
            return Verdict::Duplicate;
        }
        // Only documents have rows that can be rejected, so only they need it afterwards.
        let correlation_id = raw.format.map(|_| parsed.correlation_id().to_owned());
        let rejected = parsed.emit(now, seen.remarks(), &mut |tick| {
            write_key(tick, key);
            let Ok(()) = out.push(partition_of(key, *partitions), &[key], |bytes| {
                wire.encode_tick(tick, bytes);
                Ok::<(), std::convert::Infallible>(())
            });
            meters.flags(tick.market, tick.quality_flags);
        });
        meters.batch().rejected += rejected.count();
        crate::metrics::rejected_rows(&rejected.codes);
        meters.batch().emitted += rows.saturating_sub(rejected.count());
        if rejected.is_empty() {
            Verdict::Done
        } else {
            some_rows(rejected, rows, correlation_id.unwrap_or_default(), attempts)
        }
    }

    /// Transient error if the message's schema is not loaded yet: such a message is not poison.
    fn await_schema(&self, raw: &RawMessage<'_>) -> Result<(), StreamError> {
        if !framing::is_framed(raw.payload) {
            return Ok(());
        }
        match self.wire.open(raw.payload) {
            Err(error) if error.class() == ErrorClass::Transient => {
                let reason = format!("read a raw tick: {error}");
                Err(StreamError::transient(error.code(), reason))
            }
            _ => Ok(()),
        }
    }

    /// Adds a raw message that an earlier owner finished to the event window, and its ticks to the history that quality rules
    /// compare with.
    pub fn remember(&mut self, raw: &RawMessage<'_>) {
        if let Ok(parsed) = self.normalizer.parse(raw)
            && self.windows.remember(raw, parsed.event_key()) != Seen::Repeated
            && !self.held_tenants.holds(parsed.tenant_id(), raw.appended_at)
        {
            parsed.learn();
        }
    }

    /// The counts since the last flush.
    pub fn counts(&mut self) -> crate::metrics::Counts {
        *self.meters.batch()
    }
}

impl Stage for Normalize {
    fn name(&self) -> &'static str {
        NAME
    }

    fn process(&mut self, message: &Message<'_>, out: &mut StageOutput<'_>) -> Result<Verdict, StreamError> {
        self.meters.message(message.timestamp);
        Ok(match raw_message(message) {
            Ok(raw) => {
                self.await_schema(&raw)?;
                let raw = self.replays.checked(raw)?;
                self.record(&raw, out, wall_clock())
            }
            Err(rejection) => {
                self.meters.batch().dead_lettered += 1;
                whole(rejection, 1)
            }
        })
    }

    fn observe(&mut self, message: &Message<'_>) -> Result<(), StreamError> {
        if let Ok(raw) = raw_message(message) {
            self.await_schema(&raw)?;
            let raw = self.replays.checked(raw)?;
            // What the file of a window has is only learned from, whatever became of it.
            if self.windows.has_from_file(&raw) || !self.replays.was_rejected(&raw)? {
                self.remember(&raw);
            }
        }
        Ok(())
    }

    fn memory(&self) -> Option<Memory> {
        let limits = self.windows.limits();
        Some(Memory {
            micros: limits.micros,
            offsets: i64::from(limits.max_ids),
        })
    }

    fn learns_from(&self) -> Option<Memory> {
        Some(event_windows::LEARNED)
    }

    fn recall(&mut self, partition: &Partition, range: ReadBack, time_at: &dyn Fn(i64) -> Option<Micros>) -> i64 {
        self.replays.reads_back();
        self.windows.recall(partition, range, time_at)
    }

    fn turn(&mut self) -> Result<(), StreamError> {
        self.meters.flush(wall_clock());
        self.windows.turn();
        Ok(())
    }

    fn forget(&mut self, partition: &Partition) {
        self.windows.forget(partition);
        self.normalizer.forget(&partition.topic, partition.number);
    }
}

fn write_key(tick: &Tick<'_>, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(tick.tenant_id.as_bytes());
    key.push(KEY_SEPARATOR as u8);
    key.extend_from_slice(tick.instrument_id.as_bytes());
}

/// A record of a raw topic as the input of crate `markets`; [`Replays`] checks its replay headers. `dp verify` uses it too.
///
/// # Errors
/// `no_append_time` if the topic uses the producer's time.
pub fn raw_message<'a>(message: &Message<'a>) -> Result<RawMessage<'a>, Rejection> {
    if !message.has_append_time {
        return Err(without_append_time());
    }
    let (mut format, mut tenant, mut claims_replay) = (None, None, false);
    for (name, value) in message.headers() {
        match name.as_ref() {
            "dp.format" => once(&name, &mut format, value)?,
            "dp.tenant_id" => once(&name, &mut tenant, value)?,
            Replay::LETTER_HEADER => claims_replay = true,
            _ => {}
        }
    }
    Ok(RawMessage {
        feed: message.topic,
        partition: message.partition,
        offset: message.offset,
        appended_at: message.timestamp,
        key: message.key,
        payload: message.payload.unwrap_or_default(),
        format,
        tenant,
        replay: claims_replay
            .then(|| Replay::from_headers(|name| message.header(name)))
            .flatten(),
    })
}

/// Takes the value of a header. Nothing tells which of two values is meant, and one of them may name another tenant.
fn once<'a>(name: &str, known: &mut Option<&'a str>, value: Option<&'a [u8]>) -> Result<(), Rejection> {
    let Some(value) = value.map(header_text) else {
        return Ok(());
    };
    match known.replace(value) {
        Some(earlier) if earlier != value => Err(Rejection {
            code: RejectCode::SchemaViolation,
            message: format!("header {name} occurs twice with different values: send it once"),
            correlation_id: None,
        }),
        _ => Ok(()),
    }
}

/// The producer's clock is not trusted: it could make any tick late or a repetition.
fn without_append_time() -> Rejection {
    Rejection {
        code: RejectCode::NoAppendTime,
        message:
            "the record has the producer's time (CreateTime) instead of the broker's append time, which decides what is \
                  late and what is repeated; run `dp topics create`, which sets \
                  message.timestamp.type=LogAppendTime on the raw topics, then publish the record again"
                .to_owned(),
        correlation_id: None,
    }
}

fn whole(rejection: Rejection, attempts: u32) -> Verdict {
    Verdict::DeadLetter(Rejected {
        code: rejection.code(),
        message: rejection.message,
        rows: RowRanges::default(),
        reasons: Vec::new(),
        correlation_id: rejection.correlation_id.unwrap_or_default(),
        tenant: String::new(),
        attempts,
    })
}

/// The letter names the same rows as the replay that it holds, so the next replay emits no other ones.
fn held(parsed: &Parsed<'_>, attempts: u32) -> Verdict {
    let (code, tenant) = (RejectCode::TenantPaused.name(), parsed.tenant_id());
    let argument = tenant_argument(tenant);
    Verdict::DeadLetter(Rejected {
        code,
        message: format!(
            "tenant {tenant} was paused when the message was appended; after `dp resume {argument}`, \
             `dp dlq replay --code {code} {argument}` sends it again"
        ),
        rows: parsed.selected_rows(),
        reasons: Vec::new(),
        correlation_id: parsed.correlation_id().to_owned(),
        tenant: tenant.to_owned(),
        attempts,
    })
}

fn some_rows(rejected: RejectedRows, rows: u64, correlation_id: String, attempts: u32) -> Verdict {
    let spelled_out: Vec<String> = rejected
        .first
        .iter()
        .take(SPELLED_OUT)
        .map(|row| format!("row {}: {}", row.index, row.rejection))
        .collect();
    let more = if rejected.count() > SPELLED_OUT as u64 {
        "; …"
    } else {
        ""
    };
    Verdict::DeadLetter(Rejected {
        code: rejected
            .codes
            .first()
            .map_or("schema_violation", |(code, _)| code.name()),
        message: format!(
            "{} of {rows} rows rejected: {}{more}",
            rejected.count(),
            spelled_out.join("; ")
        ),
        rows: rejected.rows,
        reasons: rejected.first.into_iter().map(reason_of).collect(),
        correlation_id,
        tenant: String::new(),
        attempts,
    })
}

fn reason_of(rejected: RejectedRow) -> RowReason {
    RowReason {
        row: rejected.index,
        code: rejected.rejection.code.name().to_owned(),
        reason: rejected.rejection.message,
    }
}

#[cfg(test)]
mod tests;
