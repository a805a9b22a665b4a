//! One worker: one OS thread with its own consumer of the group, its own producer and its own state.
//!
//! Role: the loop that all handlers share: serve the group, pass messages to the handler, serve acknowledgements, call the
//! handler's turn, commit. Scaling inside a process and across machines works the same way: more workers.
//! Invariants: handlers see the messages of a partition in log order, from the position that they started at. A handler never
//! blocks the loop on a dependency. A worker with the order to pause takes no messages (`pauses`). INV-2 and INV-7 depend on the pieces used here.
//! Failure: a transient error drops consumer, producer and handler, waits, and creates them again; positions are then read
//! again from where they are stored. A fatal error ends the worker.

mod batch;
mod group;
mod identity;
mod intervals;
mod io;
mod lag;
mod letters;
mod origins;
mod pauses;
mod stalls;
mod tempo;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::{Classified, ErrorClass, RetryPolicy};

pub use crate::worker::io::Io;
pub use crate::worker::letters::DLQ_PARTITION;
pub use crate::worker::origins::{FOREIGN_ORIGIN, FOREIGN_REMEDY, Origins};

use crate::Brokers;
use crate::kafka::MISSING_RIGHT;
use crate::kafka::consumer::{GroupConsumer, POSITION_LOST};
use crate::kafka::membership;
use crate::kafka::producer::OrderedProducer;
use crate::kafka::settings::{self, Compression, Pace};
use crate::metrics::{self, StageSignals};
use crate::spans::Recorder;
use crate::stall::Stall;
use crate::status::wall_clock;
use crate::worker::identity::{Identity, KnownTopics};
use crate::worker::intervals::Intervals;
use crate::worker::lag::Lag;
use crate::worker::stalls::StallWatch;
use crate::worker::tempo::{Tempo, hand_over};
use crate::{Message, Outcome, OutcomeCounts, Partition, Shutdown, StreamError, WorkerState, WorkerStatus, positions};

/// What a stage does with its partitions. All calls come from the worker's thread.
pub trait Handler {
    /// These partitions were assigned: find their positions and call [`Io::start`] for each, now or in a later turn.
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError>;
    /// The next message of a started partition; returns its outcome.
    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError>;
    /// Whether it can take messages now. While it cannot, no message is polled, and fetched messages remain in the client
    /// (pausing a partition discards them). Only for short waits, since polling also keeps the worker in its group.
    fn has_room(&self) -> bool {
        true
    }
    /// After each batch of messages, and at least every [`Handler::patience`]: timers, acknowledgements, results of I/O.
    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError>;
    /// How long a turn may be delayed while no message comes: the accuracy of its timers, and the delay of results of I/O.
    fn patience(&self) -> Duration {
        IDLE_POLL_WAIT
    }
    /// The next offset that it expects, if that is more accurate than the client's position: the client does not report
    /// transaction markers as messages.
    fn position(&self, partition: &Partition) -> Option<i64> {
        let _ = partition;
        None
    }
    /// What is not restored yet of a partition's state, for operators; `None` if all of it is. A partition that was not started
    /// counts as being restored, regardless of this result.
    fn restoring(&self, partition: &Partition) -> Option<String> {
        let _ = partition;
        None
    }
    /// Partitions whose writes a store refuses until an operator corrects something, or takes long to confirm, with the reason.
    fn refused(&self) -> BTreeMap<Partition, String> {
        BTreeMap::new()
    }
    /// No message comes from a partition, for this cause. Returns whether the handler resolved it, so that reading continues.
    fn stalled(&mut self, io: &mut Io<'_>, stall: &Stall) -> Result<bool, StreamError> {
        let _ = (io, stall);
        Ok(false)
    }
    /// Whether it sends outputs all the time: then its producer connects at once.
    fn sends(&self) -> bool {
        false
    }
    /// Whether it works on revoked partitions until their new owner gets them. Its drain must then take some ten
    /// milliseconds. Otherwise the group waits until [`Handler::revoked`] has ended.
    fn works_until_handover(&self) -> bool {
        false
    }
    /// These partitions are revoked (also at shutdown): finish what can be finished before [`Io::drain_deadline`].
    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError>;
}

/// Settings of a worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Service name, for metric labels and dead letters.
    pub service: String,
    /// Generation, empty for the first; used in the commands that messages name.
    pub generation: String,
    /// Addresses and security of the brokers.
    pub bootstrap: Brokers,
    /// Consumer group.
    pub group: String,
    /// Topics to read.
    pub topics: Vec<String>,
    /// How long messages may wait to be batched.
    pub pace: Pace,
    /// How outputs are packed.
    pub compression: Compression,
    /// Client id, sent to the broker and shown in logs.
    pub client_id: String,
    /// Name of the member that outlives a restart; `None` if the group gives it a new one each time.
    pub instance_id: Option<String>,
    /// Topic for dead letters.
    pub dlq_topic: String,
    /// How long a drain may take when partitions are revoked or the process stops.
    pub drain_timeout: Duration,
    /// Records the spans of traced messages; `None` passes their headers on unchanged.
    pub recorder: Option<Recorder>,
}

impl WorkerConfig {
    /// The reader, as the operator's commands name it.
    pub fn reader(&self) -> positions::Reader {
        positions::Reader {
            service: self.service.clone(),
            generation: self.generation.clone(),
        }
    }
}

/// How long a poll waits for a message if a handler waits for nothing. Each end of a wait is a wake-up of this thread; a message ends it at once.
pub const IDLE_POLL_WAIT: Duration = Duration::from_millis(500);
/// Dead letters are never cut below this, even if the topic refuses that size.
const SMALLEST_LETTER: usize = 16 << 10;
/// How long Kafka may take to answer a check. Without an answer, calls that have no time limit are skipped.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a call to Kafka may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the worker until shutdown is requested (`Ok`) or a fatal error (`Err`).
pub fn run(
    config: &WorkerConfig,
    status: &WorkerStatus,
    shutdown: &Shutdown,
    mut make: impl FnMut() -> Result<Box<dyn Handler>, StreamError>,
) -> Result<(), StreamError> {
    let mut waits = RetryPolicy::STANDARD.waits();
    let mut largest_letter = letters::largest(config);
    let (known_topics, mut fencings) = (KnownTopics::default(), membership::Fencings::default());
    while !shutdown.is_requested() {
        let started = Instant::now();
        let result = make().and_then(|mut handler| {
            let session = Session::new(config, status, shutdown, &mut largest_letter, &known_topics)?;
            session.run(handler.as_mut())
        });
        let Err(error) = result else {
            break;
        };
        if shutdown.is_requested() {
            tracing::warn!(worker = status.name(), error = %error, "drain did not finish; the rest is read again at the next start");
            break;
        }
        metrics::error(error.code(), "worker");
        // A right that is missing at the start ends the process. One that is revoked later is waited for: it may come back.
        let is_revoked = error.code() == MISSING_RIGHT && status.has_worked();
        let may_join_again = error.code() == membership::INSTANCE_ID_TAKEN && !fencings.is_by_another(Instant::now());
        if error.class() == ErrorClass::Fatal && !is_revoked && !may_join_again {
            status.set_state(WorkerState::Failed(error.to_string()));
            return Err(error);
        }
        if started.elapsed() > Duration::from_secs(60) {
            waits.succeeded();
        }
        let wait = waits.after_failure();
        if is_revoked {
            tracing::error!(worker = status.name(), error = %error, code = error.code(), event = "right_revoked", "kafka has revoked a right; the worker continues when it is granted again");
        }
        tracing::warn!(worker = status.name(), error = %error, code = error.code(), wait_ms = wait.as_millis() as u64, "worker starts again from stored positions");
        status.set_state(WorkerState::BackingOff(error.to_string()));
        status.rebuilt();
        status.set_paused(None);
        status.set_assigned(Vec::new());
        wait_for(wait, status, shutdown);
    }
    status.set_state(WorkerState::Stopped);
    Ok(())
}

fn wait_for(wait: Duration, status: &WorkerStatus, shutdown: &Shutdown) {
    let end = Instant::now() + wait;
    while Instant::now() < end && !shutdown.is_requested() {
        std::thread::sleep(Duration::from_millis(20));
        status.turned(&OutcomeCounts::default(), Duration::ZERO);
    }
}

/// One membership in the group, from joining to the first error or the end.
struct Session<'s> {
    config: &'s WorkerConfig,
    status: &'s WorkerStatus,
    shutdown: &'s Shutdown,
    consumer: GroupConsumer,
    producer: OrderedProducer,
    identity: Identity,
    assigned: Vec<Partition>,
    signals: StageSignals,
    lag: Lag,
    largest_letter: &'s mut usize,
}

impl<'s> Session<'s> {
    fn new(
        config: &'s WorkerConfig,
        status: &'s WorkerStatus,
        shutdown: &'s Shutdown,
        largest_letter: &'s mut usize,
        known_topics: &KnownTopics,
    ) -> Result<Session<'s>, StreamError> {
        // What it waits after remains the answer of health until it runs.
        if !matches!(status.state(), WorkerState::BackingOff(_)) {
            status.set_state(WorkerState::Joining);
        }
        let mut client = settings::consumer(&config.bootstrap, &config.group, &config.client_id, config.pace);
        membership::join_as(&mut client, config.instance_id.as_deref());
        Ok(Session {
            consumer: GroupConsumer::subscribe(&config.bootstrap, &client, &config.topics)?,
            producer: OrderedProducer::new(&config.bootstrap, &config.client_id, config.compression),
            identity: Identity::new(config, known_topics),
            signals: StageSignals::new(&config.topics),
            lag: Lag::default(),
            assigned: Vec::new(),
            config,
            status,
            shutdown,
            largest_letter,
        })
    }

    fn run(mut self, handler: &mut dyn Handler) -> Result<(), StreamError> {
        let result = self
            .serve(handler)
            .map_err(|error| self.consumer.fenced().unwrap_or(error));
        stalls::forget(self.config, self.status);
        if let Some(size) = self.producer.refused_size() {
            // A topic created manually, or by an older build, has a smaller limit than `dp topics create` sets. The stage
            // continues with shorter dead letters; every other output is far below the limit of any topic.
            *self.largest_letter = (size / 2).clamp(SMALLEST_LETTER, *self.largest_letter);
            tracing::warn!(
                worker = self.status.name(),
                bytes = *self.largest_letter,
                topic = self.config.dlq_topic,
                "a topic refused a record for its size; dead letters are cut to this size: run `dp topics create`, which sets max.message.bytes"
            );
        }
        if self.shutdown.is_requested() && !self.consumer.answers(ANSWER_WITHIN) {
            self.consumer.abandon();
        }
        result
    }

    fn serve(&mut self, handler: &mut dyn Handler) -> Result<(), StreamError> {
        let Session {
            config,
            status,
            shutdown,
            consumer,
            producer,
            identity,
            assigned,
            signals,
            lag,
            largest_letter,
        } = self;
        let (consumer, producer) = (&*consumer, &*producer);
        if handler.sends() {
            producer.connect()?;
        }
        let mut io = Io::new(config, consumer, producer, shutdown, **largest_letter, identity);
        let mut watch = StallWatch::new();
        let mut membership = group::Membership::default();
        let mut intervals = Intervals::new(Instant::now());
        let (mut tempo, mut pushed) = (Tempo::new(config.pace, Instant::now()), producer.last_ticket());
        while !shutdown.is_requested() {
            let mut scene = group::Scene {
                handler,
                io: &mut io,
                assigned,
                signals,
                status,
            };
            membership.turn(&mut scene)?;
            io.apply_starts()?;
            io.obey(status.is_pause_ordered(), handler)?;
            consumer.renew();
            producer.renew();
            std::thread::sleep(tempo.rest(Instant::now()));
            let began = Instant::now();
            hand_over(consumer, handler, &mut io, signals, &mut tempo).map_err(|error| match error.code() {
                POSITION_LOST => io.position_lost(assigned, error),
                _ => error,
            })?;
            let handled = began.elapsed();
            io.poll_acks(Duration::ZERO)?;
            handler.turn(&mut io)?;
            if tempo.sends_at_once() && producer.last_ticket() > pushed {
                producer.push();
                pushed = producer.last_ticket();
            }
            intervals.turn(&mut io, assigned, status)?;
            let took = began.elapsed();
            let counts = signals.batch(took, wall_clock(), |partition| io.confirmed(partition));
            batch::log(status, &counts, handled, took);
            watch.turn(consumer, handler, &mut io, status)?;
            show(&mut io, assigned, handler, signals, status);
            lag.refresh(|| watch.standings(consumer, handler), status);
            status.turned(&counts, took);
        }
        drain(&mut io, handler, &std::mem::take(assigned))
    }
}

/// What the rest of the process sees of a turn.
fn show(io: &mut Io<'_>, assigned: &[Partition], handler: &dyn Handler, signals: &StageSignals, status: &WorkerStatus) {
    io.show_restoring(assigned, handler, status);
    status.set_refused(handler.refused());
    status.set_paused(io.takes_nothing().then(|| signals.in_flight()));
}

/// Finishes what was taken, within the time that is allowed, and commits it.
fn drain(io: &mut Io<'_>, handler: &mut dyn Handler, assigned: &[Partition]) -> Result<(), StreamError> {
    io.drain_deadline = Instant::now() + io.config().drain_timeout;
    handler.revoked(io, assigned)?;
    io.flush_commits(true)
}
