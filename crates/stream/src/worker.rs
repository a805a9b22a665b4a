//! One worker: one OS thread with its own consumer of the group, its own producer and its own state.
//!
//! Role: the loop that all handlers share: serve the group, hand over messages, serve acknowledgements, let the handler
//! take its turn, commit. Scaling inside a process and across machines is the same thing: more workers.
//! Invariants: handlers see the messages of a partition in log order, beginning at the position they asked for; a handler
//! never blocks the loop on a dependency (INV-2, INV-7 rest on the pieces used here).
//! Failure: a transient error drops consumer, producer and handler, waits, and builds them anew; positions are then read
//! again from where they live. A fatal error ends the worker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::{Classified, ErrorClass, Micros};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::acks::Ticket;
use crate::dead_letter::{self, DeadLetter};
use crate::kafka::consumer::{GroupConsumer, GroupEvent, borrow};
use crate::kafka::producer::OrderedProducer;
use crate::metrics as names;
use crate::status::wall_clock;
use crate::{Message, Partition, Shutdown, StartAt, StreamError, WorkerState, WorkerStatus};

/// What a stage does with its partitions. All calls come from the worker's thread.
pub trait Handler {
    /// These partitions are ours: find their positions and call [`Io::start`] for each, now or in a later turn.
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError>;
    /// The next message of a started partition.
    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<(), StreamError>;
    /// After each batch of messages, at least every few milliseconds: timers, acknowledgements, results of I/O.
    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError>;
    /// These partitions go away (also at shutdown): finish what can be finished before [`Io::drain_deadline`].
    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError>;
}

/// An output record.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition: always explicit (INV-4).
    pub partition: i32,
    /// Key.
    pub key: &'a [u8],
    /// Value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a [(String, Vec<u8>)],
}

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Service name, for metric labels and dead letters.
    pub service: String,
    /// Broker addresses.
    pub bootstrap: String,
    /// Consumer group.
    pub group: String,
    /// Topics to read.
    pub topics: Vec<String>,
    /// Name towards the broker, and in logs.
    pub client_id: String,
    /// Topic for dead letters.
    pub dlq_topic: String,
    /// How long a drain may take when partitions are revoked or the process stops.
    pub drain_timeout: Duration,
}

/// How long a poll waits for the first message: bounds the age of acknowledgements and timers when idle.
const POLL_WAIT: Duration = Duration::from_millis(2);
/// Messages handed over before the handler takes its turn.
const BATCH: usize = 1000;
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// Unchanged offsets are committed again this often: a refused commit, or a late one of a former owner, would else show a
/// lag until the next message comes.
const RECOMMIT_INTERVAL: Duration = Duration::from_secs(5);
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the worker until shutdown is requested (`Ok`) or a fatal error (`Err`).
pub fn run(
    config: &WorkerConfig,
    status: &WorkerStatus,
    shutdown: &Shutdown,
    mut make: impl FnMut() -> Result<Box<dyn Handler>, StreamError>,
) -> Result<(), StreamError> {
    let mut backoff = Backoff::default();
    while !shutdown.is_requested() {
        let started = Instant::now();
        let result = make().and_then(|mut handler| Session::new(config, status, shutdown)?.run(handler.as_mut()));
        let Err(error) = result else {
            break;
        };
        if shutdown.is_requested() {
            tracing::warn!(worker = status.name(), error = %error, "drain was cut short; the rest is read again at the next start");
            break;
        }
        counter!(names::ERRORS, "service" => config.service.clone(), "error_type" => error.code(), "component" => "worker").increment(1);
        if error.class() == ErrorClass::Fatal {
            status.set_state(WorkerState::Failed(error.to_string()));
            return Err(error);
        }
        if started.elapsed() > Duration::from_secs(60) {
            backoff = Backoff::default();
        }
        let wait = backoff.next();
        tracing::warn!(worker = status.name(), error = %error, code = error.code(), wait_ms = wait.as_millis() as u64, "worker starts again from stored positions");
        status.set_state(WorkerState::BackingOff(error.to_string()));
        status.rebuilt();
        status.set_assigned(Vec::new());
        wait_for(wait, status, shutdown);
    }
    status.set_state(WorkerState::Stopped);
    Ok(())
}

/// Exponential waits from 0.2 s to 5 s.
#[derive(Default)]
struct Backoff {
    attempt: u32,
}

impl Backoff {
    fn next(&mut self) -> Duration {
        let wait = Duration::from_millis(200) * 2u32.pow(self.attempt.min(5));
        self.attempt += 1;
        wait.min(Duration::from_secs(5))
    }
}

fn wait_for(wait: Duration, status: &WorkerStatus, shutdown: &Shutdown) {
    let end = Instant::now() + wait;
    while Instant::now() < end && !shutdown.is_requested() {
        std::thread::sleep(Duration::from_millis(20));
        status.turned(0);
    }
}

/// The handler's access to the log.
pub struct Io<'s> {
    consumer: &'s GroupConsumer,
    producer: &'s OrderedProducer,
    config: &'s WorkerConfig,
    shutdown: &'s Shutdown,
    /// To be committed next, and what was committed last (so that an idle worker does not commit again and again).
    commits: BTreeMap<Partition, i64>,
    committed: BTreeMap<Partition, i64>,
    drain_deadline: Instant,
}

impl Io<'_> {
    /// Begins to consume a partition.
    pub fn start(&mut self, partition: &Partition, at: StartAt) -> Result<(), StreamError> {
        self.consumer.start(partition, at)
    }

    /// Stops consuming a partition that the group still gives us, to start it again from another position.
    pub fn stop(&mut self, partition: &Partition) -> Result<(), StreamError> {
        self.commits.remove(partition);
        self.committed.remove(partition);
        self.consumer.stop(partition)
    }

    /// Holds fetching back while a dependency is slow.
    pub fn pause(&mut self, partition: &Partition) -> Result<(), StreamError> {
        self.consumer.pause(partition)
    }

    /// Lets fetching go on.
    pub fn resume(&mut self, partition: &Partition) -> Result<(), StreamError> {
        self.consumer.resume(partition)
    }

    /// Enters an output, in order (INV-7).
    pub fn send(&mut self, output: &Output<'_>) -> Result<Ticket, StreamError> {
        let deadline = self.drain_deadline;
        let shutdown = self.shutdown;
        self.producer
            .send(output, || !shutdown.is_requested() || Instant::now() < deadline)
    }

    /// Sends the message to the dead letter topic with its original bytes. Counted by stage and code.
    pub fn dead_letter(&mut self, message: &Message<'_>, letter: &DeadLetter<'_>) -> Result<Ticket, StreamError> {
        let headers = dead_letter::headers(message, letter, wall_clock());
        counter!(names::DLQ_MESSAGES, "stage" => letter.stage.to_owned(), "error_code" => letter.code.to_owned())
            .increment(1);
        tracing::error!(
            event = "dlq",
            topic = message.topic,
            partition = message.partition,
            offset = message.offset,
            code = letter.code,
            reason = letter.message,
            correlation_id = letter.correlation_id,
            "message sent to the dlq"
        );
        let dlq = self.config.dlq_topic.clone();
        self.send(&Output {
            topic: &dlq,
            // One partition keeps dead letters in the order of their failure.
            partition: 0,
            key: message.key.unwrap_or_default(),
            payload: message.payload,
            headers: &headers,
        })
    }

    /// Every output up to this one is acknowledged by the broker.
    pub fn acked_through(&self) -> Ticket {
        self.producer.acked_through()
    }

    /// The newest output.
    pub fn last_ticket(&self) -> Ticket {
        self.producer.last_ticket()
    }

    /// Serves acknowledgements while draining.
    pub fn poll_acks(&mut self, timeout: Duration) -> Result<(), StreamError> {
        self.producer.serve(timeout)
    }

    /// Commits soon. For lag tools and the stateless stages only (blueprint section 2).
    pub fn commit(&mut self, partition: &Partition, next_offset: i64) {
        if self.committed.get(partition) != Some(&next_offset) {
            self.commits.insert(partition.clone(), next_offset);
        }
    }

    /// Offsets committed for the group; `None` where there is none.
    pub fn committed(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Option<i64>)>, StreamError> {
        self.consumer.committed(partitions, Duration::from_secs(10))
    }

    /// Oldest offset and the one after the newest.
    pub fn log_range(&self, partition: &Partition) -> Result<(i64, i64), StreamError> {
        self.consumer.log_range(partition, Duration::from_secs(10))
    }

    /// The wall clock.
    pub fn now(&self) -> Micros {
        wall_clock()
    }

    /// When a drain has to be over.
    pub fn drain_deadline(&self) -> Instant {
        self.drain_deadline
    }

    /// Settings of this worker.
    pub fn config(&self) -> &WorkerConfig {
        self.config
    }

    fn commit_again(&mut self) {
        for (partition, next_offset) in std::mem::take(&mut self.committed) {
            self.commits.entry(partition).or_insert(next_offset);
        }
    }

    fn flush_commits(&mut self, wait: bool) -> Result<(), StreamError> {
        let mut commits = std::mem::take(&mut self.commits);
        self.consumer.commit(&commits, wait)?;
        self.committed.append(&mut commits);
        Ok(())
    }
}

/// One membership in the group, from joining to the first error or the end.
struct Session<'s> {
    config: &'s WorkerConfig,
    status: &'s WorkerStatus,
    shutdown: &'s Shutdown,
    consumer: GroupConsumer,
    producer: OrderedProducer,
    assigned: Vec<Partition>,
    meters: Meters,
}

impl<'s> Session<'s> {
    fn new(
        config: &'s WorkerConfig,
        status: &'s WorkerStatus,
        shutdown: &'s Shutdown,
    ) -> Result<Session<'s>, StreamError> {
        status.set_state(WorkerState::Joining);
        Ok(Session {
            consumer: GroupConsumer::subscribe(&config.bootstrap, &config.group, &config.client_id, &config.topics)?,
            producer: OrderedProducer::new(&config.bootstrap, &config.client_id)?,
            meters: Meters::new(config),
            assigned: Vec::new(),
            config,
            status,
            shutdown,
        })
    }

    fn run(mut self, handler: &mut dyn Handler) -> Result<(), StreamError> {
        let Session {
            config,
            status,
            shutdown,
            consumer,
            producer,
            assigned,
            meters,
        } = &mut self;
        let (consumer, producer) = (&*consumer, &*producer);
        let mut io = Io {
            consumer,
            producer,
            config,
            shutdown,
            commits: BTreeMap::new(),
            committed: BTreeMap::new(),
            drain_deadline: Instant::now() + config.drain_timeout,
        };
        let (mut last_commit, mut last_recommit) = (Instant::now(), Instant::now());
        while !shutdown.is_requested() {
            for event in consumer.take_events() {
                serve_group(event, handler, &mut io, assigned, status)?;
            }
            let began = Instant::now();
            let count = hand_over(consumer, handler, &mut io)?;
            producer.serve(Duration::ZERO)?;
            handler.turn(&mut io)?;
            if last_recommit.elapsed() >= RECOMMIT_INTERVAL {
                io.commit_again();
                last_recommit = Instant::now();
            }
            if last_commit.elapsed() >= COMMIT_INTERVAL {
                io.flush_commits(false)?;
                last_commit = Instant::now();
            }
            meters.batch(count, began);
            meters.lag(consumer, assigned, status, config);
            status.turned(count);
        }
        io.drain_deadline = Instant::now() + config.drain_timeout;
        let all = std::mem::take(assigned);
        handler.revoked(&mut io, &all)?;
        io.flush_commits(true)
    }
}

fn serve_group(
    event: GroupEvent,
    handler: &mut dyn Handler,
    io: &mut Io<'_>,
    assigned: &mut Vec<Partition>,
    status: &WorkerStatus,
) -> Result<(), StreamError> {
    match event {
        GroupEvent::Assigned(partitions) => {
            io.consumer.acknowledge_assignment()?;
            assigned.extend(partitions.iter().cloned());
            tracing::info!(worker = status.name(), partitions = %names_of(&partitions), "partitions assigned");
            handler.assigned(io, &partitions)?;
        }
        GroupEvent::Revoked(partitions) => {
            io.drain_deadline = Instant::now() + io.config.drain_timeout;
            handler.revoked(io, &partitions)?;
            // Best effort: as the former owner the commit may be refused, and nothing depends on it.
            if let Err(error) = io.flush_commits(true) {
                tracing::debug!(error = %error, "commit while giving up partitions");
            }
            io.committed.retain(|partition, _| !partitions.contains(partition));
            io.consumer.give_up(&partitions)?;
            assigned.retain(|partition| !partitions.contains(partition));
            tracing::info!(worker = status.name(), partitions = %names_of(&partitions), "partitions given up");
        }
    }
    status.set_state(WorkerState::Running);
    status.set_assigned(assigned.clone());
    Ok(())
}

fn names_of(partitions: &[Partition]) -> String {
    partitions
        .iter()
        .map(Partition::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Hands over what is there, up to a batch; waits only for the first message.
fn hand_over(consumer: &GroupConsumer, handler: &mut dyn Handler, io: &mut Io<'_>) -> Result<u64, StreamError> {
    let mut count = 0;
    let mut wait = POLL_WAIT;
    while count < BATCH as u64 {
        let Some(message) = consumer.poll(wait)? else {
            break;
        };
        handler.message(io, &borrow(&message))?;
        count += 1;
        wait = Duration::ZERO;
    }
    Ok(count)
}

/// Metric handles, made once.
struct Meters {
    processed: Counter,
    duration: Histogram,
    lag: BTreeMap<Partition, Gauge>,
    last_lag: Instant,
}

impl Meters {
    fn new(config: &WorkerConfig) -> Meters {
        let topic = config.topics.join(",");
        Meters {
            processed: counter!(names::MESSAGES_PROCESSED, "service" => config.service.clone(), "topic" => topic.clone(), "status" => "success"),
            duration: histogram!(names::PROCESSING_DURATION, "service" => config.service.clone(), "topic" => topic),
            lag: BTreeMap::new(),
            last_lag: Instant::now(),
        }
    }

    fn batch(&self, count: u64, began: Instant) {
        if count > 0 {
            self.processed.increment(count);
            self.duration.record(began.elapsed().as_secs_f64());
        }
    }

    fn lag(&mut self, consumer: &GroupConsumer, assigned: &[Partition], status: &WorkerStatus, config: &WorkerConfig) {
        if self.last_lag.elapsed() < LAG_INTERVAL {
            return;
        }
        self.last_lag = Instant::now();
        for (partition, lag) in consumer
            .lag()
            .into_iter()
            .filter(|(partition, _)| assigned.contains(partition))
        {
            let gauge = self.lag.entry(partition.clone()).or_insert_with(|| {
                gauge!(names::CONSUMER_LAG, "group" => config.group.clone(), "topic" => partition.topic.to_string(), "partition" => partition.number.to_string())
            });
            gauge.set(lag as f64);
            status.set_lag(partition, lag);
        }
    }
}
