//! A handler's access to the log: start and stop partitions, send in order, see acknowledgements, commit.

mod traced;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain::instrument::KEY_SEPARATOR;
use domain::{Micros, Origin, RowRanges};

use super::identity::Identity;
use super::letters::{DLQ_PARTITION, Letters};
use super::origins::Origins;
use super::pauses::Pauses;
use super::{ANSWER_WITHIN, CALL_TIMEOUT, Handler, WorkerConfig};
use crate::dead_letter::{self, DeadLetter};
use crate::kafka::consumer::{Commit, GroupConsumer};
use crate::kafka::producer::{OrderedProducer, Output};
use crate::kafka::questions::Questions;
use crate::record_size::OwnHeaders;
use crate::spans::{HeldSpans, Span};
use crate::status::wall_clock;
use crate::{Message, Partition, Shutdown, StreamError, WorkerStatus};
use delivery::StartAt;
use delivery::acks::Ticket;

use traced::Traced;

/// The handler's access to the log.
pub struct Io<'s> {
    pub(super) consumer: &'s GroupConsumer,
    producer: &'s OrderedProducer,
    pub(super) config: &'s WorkerConfig,
    shutdown: &'s Shutdown,
    /// Offsets to commit next, and those committed last (so that an idle worker does not commit again and again).
    commits: BTreeMap<Partition, i64>,
    pub(super) committed: BTreeMap<Partition, i64>,
    pub(super) drain_deadline: Instant,
    /// Largest record in bytes that the dead letter topic is known to accept.
    largest_letter: usize,
    letters: Letters,
    origins: Origins,
    identity: &'s mut Identity,
    /// The trace of the message that is being handled.
    pub(super) traced: Traced<'s>,
    /// Partitions that are read.
    pub(super) started: BTreeSet<Partition>,
    /// Those among them that the client does not fetch.
    pub(super) pauses: Pauses,
    /// Those among them that the client does not know yet.
    starting: Vec<(Partition, StartAt)>,
    /// Whether a partition was not restored at the last look.
    is_restoring: bool,
    /// Whether it works on partitions that it must give up soon.
    is_leaving: bool,
}

impl<'s> Io<'s> {
    pub(super) fn new(
        config: &'s WorkerConfig,
        consumer: &'s GroupConsumer,
        producer: &'s OrderedProducer,
        shutdown: &'s Shutdown,
        largest_letter: usize,
        identity: &'s mut Identity,
    ) -> Io<'s> {
        Io {
            consumer,
            producer,
            config,
            shutdown,
            identity,
            commits: BTreeMap::new(),
            committed: BTreeMap::new(),
            drain_deadline: Instant::now() + config.drain_timeout,
            largest_letter,
            letters: Letters::new(config),
            origins: Origins::default(),
            traced: Traced::new(config.recorder.as_ref()),
            started: BTreeSet::new(),
            pauses: Pauses::default(),
            starting: Vec::new(),
            is_restoring: true,
            is_leaving: false,
        }
    }

    /// Begins to consume a partition, before the next message is polled.
    pub fn start(&mut self, partition: &Partition, at: StartAt) {
        self.letters.started(partition);
        self.started.insert(partition.clone());
        self.is_restoring = true;
        self.starting.push((partition.clone(), at));
    }

    /// Starts what [`Io::start`] has collected, in one call to the client.
    pub(super) fn apply_starts(&mut self) -> Result<(), StreamError> {
        match self.starting.is_empty() {
            true => Ok(()),
            false => self.consumer.start(std::mem::take(&mut self.starting)),
        }
    }

    /// Whether a partition was not restored at the last look.
    pub(super) fn is_restoring(&self) -> bool {
        self.is_restoring
    }

    /// Whether it works on partitions that it must give up soon.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    pub(super) fn set_leaving(&mut self, is_leaving: bool) {
        self.is_leaving = is_leaving;
    }

    /// Stops consuming a partition that is still assigned, to start it again from another position.
    pub fn stop(&mut self, partition: &Partition) -> Result<(), StreamError> {
        self.commits.remove(partition);
        self.committed.remove(partition);
        self.started.remove(partition);
        self.starting.retain(|(starting, _)| starting != partition);
        self.is_restoring = true;
        self.forget_pause(partition)?;
        self.consumer.stop(partition)
    }

    /// Sends an output, in order (INV-7).
    pub fn send(&mut self, output: &Output<'_>) -> Result<Ticket, StreamError> {
        let deadline = self.drain_deadline;
        let shutdown = self.shutdown;
        self.producer
            .send(output, || !shutdown.is_requested() || Instant::now() < deadline)
    }

    /// The headers that outputs of the present message carry: its trace, if it has one.
    pub fn trace_headers(&self) -> OwnHeaders {
        self.traced.headers()
    }

    /// The span of the present message, if it is recorded: its work goes on after the handler has taken it. [`Io::finished`] records it.
    pub fn hold_span(&mut self, message: &Message<'_>) -> Option<Span> {
        self.traced.hold(message)
    }

    /// The work on the messages before this offset has ended.
    pub fn finished(&self, held: &mut HeldSpans, next_offset: i64) {
        self.traced.record(held.finished(next_offset, wall_clock()));
    }

    /// Sends the message to the dead letter topic with its original bytes, as far as they fit, unless its letter is already
    /// there. Counted by stage and code when the broker has acknowledged it.
    pub fn dead_letter(&mut self, message: &Message<'_>, letter: &DeadLetter<'_>) -> Result<Ticket, StreamError> {
        if self.letters.is_delivered(message, letter.stage)? {
            return Ok(self.last_ticket());
        }
        let mut sealed = dead_letter::seal(message, letter, wall_clock(), self.largest_letter);
        self.traced.name_sender(&mut sealed.headers);
        let about = named_by_key(message);
        tracing::error!(
            event = "dlq",
            topic = message.topic,
            partition = message.partition,
            offset = message.offset,
            code = letter.code,
            reason = letter.message,
            correlation_id = letter.correlation_id,
            processing_time_ms = (wall_clock() - message.timestamp) / 1_000,
            tenant_id = about.0,
            instrument_id = about.1,
            "message sent to the dlq"
        );
        let dlq = self.config.dlq_topic.clone();
        let ticket = self.send(&Output {
            topic: &dlq,
            partition: DLQ_PARTITION,
            key: sealed.key,
            payload: sealed.payload,
            headers: &sealed.headers,
        })?;
        self.letters.sent(ticket, message, letter.stage, letter.code);
        Ok(ticket)
    }

    /// Sends a message that cannot be used as a whole to the dead letter topic, as [`Io::dead_letter`] does.
    pub fn refuse(
        &mut self,
        message: &Message<'_>,
        stage: &str,
        code: &str,
        reason: &str,
        correlation_id: &str,
    ) -> Result<Ticket, StreamError> {
        let service = &self.config.service;
        let letter = DeadLetter {
            service,
            stage,
            code,
            message: reason,
            rejected_rows: RowRanges::NONE,
            reasons: &[],
            attempts: 1,
            correlation_id,
            tenant: "",
        };
        self.dead_letter(message, &letter)
    }

    /// Why the message that this origin names cannot exist; `None` if it can. Call this before a sequencer sees the origin.
    pub fn origin_flaw(&mut self, origin: &Origin<'_>) -> Result<Option<String>, StreamError> {
        let questions = questions(self.producer, self.consumer);
        self.origins.flaw(origin, |feed, number| {
            let partition = Partition {
                topic: feed.into(),
                number,
            };
            questions.end_if_there(&partition, CALL_TIMEOUT)
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
        let served = self.producer.serve(timeout);
        self.letters.acknowledged(self.producer.acked_through());
        served
    }

    /// Commits soon. For lag tools and the stateless stages only.
    pub fn commit(&mut self, partition: &Partition, next_offset: i64) {
        if self.committed.get(partition) != Some(&next_offset) {
            self.commits.insert(partition.clone(), next_offset);
        }
    }

    /// Offsets committed for the group; `None` if there is none.
    pub fn committed(&self, partitions: &[Partition]) -> Result<Vec<(Partition, Option<i64>)>, StreamError> {
        let committed = self.consumer.committed(partitions, CALL_TIMEOUT)?;
        Ok(committed
            .into_iter()
            .map(|found| (found.partition, found.next_offset))
            .collect())
    }

    /// Oldest offset and the one after the newest.
    pub fn log_range(&self, partition: &Partition) -> Result<(i64, i64), StreamError> {
        questions(self.producer, self.consumer).log_range(partition, CALL_TIMEOUT)
    }

    /// Id of a topic that is read, as of its last assignment; empty if the broker has none.
    pub fn topic_id(&self, topic: &str) -> String {
        self.identity.known_id(topic).unwrap_or_default()
    }

    /// The wall clock.
    pub fn now(&self) -> Micros {
        wall_clock()
    }

    /// When a drain must be finished.
    pub fn drain_deadline(&self) -> Instant {
        self.drain_deadline
    }

    /// Settings of this worker.
    pub fn config(&self) -> &WorkerConfig {
        self.config
    }

    /// The confirmed position: committed, or about to be.
    pub(super) fn confirmed(&self, partition: &Partition) -> Option<i64> {
        self.commits
            .get(partition)
            .or_else(|| self.committed.get(partition))
            .copied()
    }

    /// Commits the last committed offsets once more, with the next flush.
    pub(super) fn commit_again(&mut self) {
        for (partition, next_offset) in std::mem::take(&mut self.committed) {
            self.commits.entry(partition).or_insert(next_offset);
        }
    }

    pub(super) fn flush_commits(&mut self, wait: bool) -> Result<(), StreamError> {
        let mut commits = std::mem::take(&mut self.commits);
        // A commit that waits has no time limit.
        if wait && !commits.is_empty() && !self.consumer.answers(ANSWER_WITHIN) {
            return Err(StreamError::transient(
                "kafka_unavailable",
                "kafka does not answer: the last offsets were not committed",
            ));
        }
        let marked: Vec<Commit> = commits
            .iter()
            .map(|(partition, next_offset)| Commit {
                partition: partition.clone(),
                next_offset: *next_offset,
                metadata: self.identity.mark(partition).to_metadata(),
            })
            .collect();
        self.consumer.commit(&marked, wait)?;
        self.committed.append(&mut commits);
        Ok(())
    }

    /// Rejects a topic or a log that is not the one read before.
    pub(super) fn recognise(&mut self, partitions: &[Partition]) -> Result<(), StreamError> {
        let questions = questions(self.producer, self.consumer);
        self.identity.recognise(questions, self.consumer, partitions)
    }

    /// Remembers the newest message read.
    pub(super) fn saw(&mut self, message: &Message<'_>) {
        self.identity.saw(message);
    }

    /// Checks that the topics are still those that are being read.
    pub(super) fn recognise_again(&mut self, assigned: &[Partition]) -> Result<(), StreamError> {
        self.identity
            .check_again(questions(self.producer, self.consumer), assigned)
    }

    /// Shows what is still being restored. Costs nothing once everything is restored.
    pub(super) fn show_restoring(&mut self, assigned: &[Partition], handler: &dyn Handler, status: &WorkerStatus) {
        if !self.is_restoring {
            return;
        }
        let left = |partition: &Partition| match handler.restoring(partition) {
            None if self.started.contains(partition) => None,
            progress => Some((
                partition.clone(),
                progress.unwrap_or_else(|| "its position is being read".to_owned()),
            )),
        };
        let restoring: BTreeMap<Partition, String> = assigned.iter().filter_map(left).collect();
        self.is_restoring = !restoring.is_empty();
        status.set_restoring(restoring);
    }

    /// Partitions were assigned that are not started yet.
    pub(super) fn restores(&mut self) {
        self.is_restoring = true;
    }

    pub(super) fn forget(&mut self, partitions: &[Partition]) -> Result<(), StreamError> {
        self.started.retain(|partition| !partitions.contains(partition));
        self.starting.retain(|(partition, _)| !partitions.contains(partition));
        self.is_restoring = true;
        self.identity.forget(partitions);
        partitions.iter().try_for_each(|partition| self.forget_pause(partition))
    }

    /// The broker has rejected a position: returns an error that names it, and what is lost.
    pub(super) fn position_lost(&mut self, assigned: &[Partition], reported: StreamError) -> StreamError {
        self.identity
            .position_lost(questions(self.producer, self.consumer), assigned, reported)
    }
}

/// Where to ask. The consumer's connection answers after the fetch that runs.
fn questions<'c>(producer: &'c OrderedProducer, consumer: &'c GroupConsumer) -> &'c dyn Questions {
    producer.questions().unwrap_or_else(|| consumer.questions())
}

/// Tenant and instrument, if key and headers name them. After the raw topics a key is `tenant|instrument`; a producer of raw
/// messages is advised to use the instrument.
fn named_by_key<'m>(message: &Message<'m>) -> (Option<&'m str>, Option<&'m str>) {
    let text = |bytes: &'m [u8]| std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty());
    let tenant = message.header("dp.tenant_id").and_then(text);
    match message
        .key
        .and_then(text)
        .map(|key| (key, key.split_once(KEY_SEPARATOR)))
    {
        Some((_, Some((tenant, instrument)))) => (Some(tenant), Some(instrument)),
        Some((key, None)) => (tenant, Some(key)),
        None => (tenant, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_the_instrument_and_downstream_of_raw_topics_also_the_tenant() {
        for (key, expected) in [
            (Some(&b"acme|NG_HH"[..]), (Some("acme"), Some("NG_HH"))),
            (Some(b"NG_HH"), (None, Some("NG_HH"))),
            (Some(b""), (None, None)),
            (Some(b"\xff"), (None, None)),
            (None, (None, None)),
        ] {
            let message = Message {
                topic: "t",
                partition: 0,
                offset: 0,
                timestamp: 0,
                has_append_time: true,
                key,
                payload: None,
                headers: None,
            };
            assert_eq!(named_by_key(&message), expected, "{key:?}");
        }
    }
}
