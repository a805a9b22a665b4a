//! Checks that a log is still the one that was read before, whenever partitions are assigned, for every handler.
//!
//! Role: compares the topics' ids and one record of each log with the marks ([`LogMark`]) of this process and of the committed
//! offsets. It decides no position; it only stops a reader whose offsets now mean other records. An offset without a mark was
//! committed by another program, which is logged: every commit of the pipeline has one.
//! Failure: fatal with the command that accepts the change. A log that cannot be read now is transient.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use domain::{Classified, Micros, is_known_topic_id};

use super::{CALL_TIMEOUT, WorkerConfig};
use crate::Brokers;
use crate::kafka::access::accepts_connections;
use crate::kafka::consumer::GroupConsumer;
use crate::kafka::questions::Questions;
use crate::kafka::reader::LogReader;
use crate::{Message, Partition, StreamError, positions};
use delivery::log_mark::LogMark;

/// The worker stays in its group by polling, so a call in between must be short.
const QUICK_CALL: Duration = Duration::from_millis(500);

/// Ids of the topics that this process has read, by name. Deleting a topic deletes the group's offsets for it, and the marks
/// with them.
pub(super) type KnownTopics = Rc<RefCell<BTreeMap<String, String>>>;

struct Seen {
    partition: Partition,
    /// Newest record read by this or an earlier owner.
    record: Option<(i64, Micros)>,
}

/// The marks of one session.
pub(super) struct Identity {
    bootstrap: Brokers,
    reader: positions::Reader,
    topics: KnownTopics,
    seen: Vec<Seen>,
    /// Index of the last one: messages of a partition come in runs.
    last: usize,
}

impl Identity {
    pub(super) fn new(config: &WorkerConfig, topics: &KnownTopics) -> Identity {
        Identity {
            bootstrap: config.bootstrap.clone(),
            reader: config.reader(),
            topics: Rc::clone(topics),
            seen: Vec::new(),
            last: 0,
        }
    }

    pub(super) fn saw(&mut self, message: &Message<'_>) {
        let is_its =
            |seen: &Seen| seen.partition.number == message.partition && *seen.partition.topic == *message.topic;
        if !self.seen.get(self.last).is_some_and(is_its) {
            match self.seen.iter().position(is_its) {
                Some(index) => self.last = index,
                None => return,
            }
        }
        if let Some(seen) = self.seen.get_mut(self.last)
            && seen.record.is_none_or(|(offset, _)| offset < message.offset)
        {
            seen.record = Some((message.offset, message.timestamp));
        }
    }

    pub(super) fn forget(&mut self, partitions: &[Partition]) {
        self.seen.retain(|seen| !partitions.contains(&seen.partition));
    }

    pub(super) fn mark(&self, partition: &Partition) -> LogMark {
        let seen = self.seen.iter().find(|seen| seen.partition == *partition);
        LogMark {
            topic_id: self.known_id(&partition.topic).unwrap_or_default(),
            record: seen.and_then(|seen| seen.record),
        }
    }

    /// Rejects topics and logs that are not those read before, and takes over the marks of earlier owners.
    pub(super) fn recognise(
        &mut self,
        questions: &dyn Questions,
        consumer: &GroupConsumer,
        partitions: &[Partition],
    ) -> Result<(), StreamError> {
        for topic in self.check_ids(questions, partitions, CALL_TIMEOUT)? {
            tracing::warn!(
                topic,
                "the broker has no topic ids: a topic that is deleted and recreated can be detected by its records only"
            );
        }
        self.forget(partitions);
        let (mut marked, mut foreign) = (Vec::new(), Vec::new());
        for committed in consumer.committed(partitions, CALL_TIMEOUT)? {
            let record = match &committed.mark {
                Some(mark) => {
                    let topic = &committed.partition.topic;
                    if let Some(id) = self.known_id(topic) {
                        self.same_id(topic, &mark.topic_id, &id)?;
                    }
                    mark.record
                }
                None => {
                    let offset = committed.next_offset;
                    foreign.extend(offset.map(|offset| format!("{} at {offset}", committed.partition)));
                    None
                }
            };
            if let Some((offset, timestamp)) = record {
                marked.push((committed.partition.clone(), offset, timestamp));
            }
            self.seen.push(Seen {
                partition: committed.partition,
                record,
            });
        }
        if !foreign.is_empty() {
            tracing::warn!(
                event = "offsets_set_elsewhere",
                offsets = foreign.join(", "),
                "another program has set the committed offsets of this group: what is read again is not doubled, and `dp verify` \
                 finds what was skipped"
            );
        }
        self.check_records(questions, &marked)
    }

    /// The consumer's position is outside of the log.
    pub(super) fn position_lost(
        &mut self,
        questions: &dyn Questions,
        assigned: &[Partition],
        reported: StreamError,
    ) -> StreamError {
        let look = || {
            self.check_ids(questions, assigned, CALL_TIMEOUT)?;
            for seen in &self.seen {
                let Some((offset, _)) = seen.record else { continue };
                let range = questions.log_range(&seen.partition, CALL_TIMEOUT)?;
                positions::check_range(&self.reader, &seen.partition, offset + 1, range)?;
            }
            // The handlers look up their positions when they begin again.
            Ok(())
        };
        look().err().unwrap_or(reported)
    }

    /// A topic that is deleted and recreated while it is read: the client keeps asking for its old position without an error.
    pub(super) fn check_again(&self, questions: &dyn Questions, assigned: &[Partition]) -> Result<(), StreamError> {
        if !accepts_connections(self.bootstrap.addresses()) {
            return Ok(());
        }
        match self.check_ids(questions, assigned, QUICK_CALL) {
            Err(error) if error.code() == positions::TOPIC_ID_CHANGED => Err(error),
            // Kafka or the topic is unavailable: reading reports that, too.
            Err(error) => {
                tracing::debug!(error = %error, "topic ids not compared; will try again");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Returns the topics that have no id.
    fn check_ids(
        &self,
        questions: &dyn Questions,
        partitions: &[Partition],
        timeout: Duration,
    ) -> Result<Vec<String>, StreamError> {
        let mut names: Vec<String> = partitions.iter().map(|partition| partition.topic.to_string()).collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut without_id = Vec::new();
        for topic in questions.describe(&names, timeout)? {
            if !is_known_topic_id(&topic.id) {
                without_id.push(topic.name);
                continue;
            }
            if let Some(known) = self.known_id(&topic.name) {
                self.same_id(&topic.name, &known, &topic.id)?;
            }
            self.topics.borrow_mut().insert(topic.name, topic.id);
        }
        Ok(without_id)
    }

    pub(super) fn known_id(&self, topic: &str) -> Option<String> {
        self.topics.borrow().get(topic).cloned()
    }

    fn same_id(&self, topic: &str, known: &str, found: &str) -> Result<(), StreamError> {
        if is_known_topic_id(known) && known != found {
            return Err(positions::topic_changed(&self.reader, topic, known, found));
        }
        Ok(())
    }

    fn check_records(&self, questions: &dyn Questions, marked: &[(Partition, i64, Micros)]) -> Result<(), StreamError> {
        let mut readable = Vec::new();
        for (partition, offset, timestamp) in marked {
            let (oldest, next) = questions.log_range(partition, CALL_TIMEOUT)?;
            if *offset >= next {
                return Err(positions::cut(&self.reader, partition, next, offset + 1));
            }
            if *offset >= oldest {
                readable.push((partition, *offset, *timestamp));
            }
        }
        if readable.is_empty() {
            return Ok(());
        }
        let reader = LogReader::new(&self.bootstrap)?;
        for (partition, offset, timestamp) in readable {
            let mut found = None;
            reader.read(partition, offset, offset + 1, |message| {
                found = Some(message.timestamp);
                false
            })?;
            if found != Some(timestamp) {
                // Records that replaced lost ones were appended after all records that had been read.
                let from = reader
                    .offset_at(partition, timestamp + 1_000)?
                    .unwrap_or(offset)
                    .min(offset);
                return Err(positions::refilled(&self.reader, partition, from, offset + 1));
            }
        }
        Ok(())
    }
}
