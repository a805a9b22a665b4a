//! A member of a consumer group that never acts inside a callback.
//!
//! Role: the rebalance callback only records what the group requests. The worker's loop handles it between two polls
//! (assign: find positions, then start; revoke: drain, commit while still the owner, then give up).
//! A partition is consumed only after [`GroupConsumer::start`] with an explicit position; there is no default position.
//! Failure: errors are returned with their class; informational ones (all brokers down) are logged, and the client recovers by
//! itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientConfig, ClientContext, Message as _, Offset, Timestamp, TopicPartitionList};

use super::brokers::Brokers;
use super::classify;
use super::connect::{self, Renewal};
use super::consumption::{self, Consumption};
pub use super::lists::{Commit, Committed};
use super::lists::{commit_list, list, partitions_of};
use super::membership::StaticMember;
use super::questions::Questions;
use super::standing::Seen;
pub use super::standing::Standing;
use super::watch::{Watch, Watched};
use crate::{Message, Partition, StreamError};
use delivery::StartAt;

/// Code: the log has no record at the consumer's position.
pub(crate) const POSITION_LOST: &str = "position_lost";

/// A leader that needs longer has other troubles.
const ROUSE_WITHIN: Duration = Duration::from_millis(500);

/// What the group requests of this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupEvent {
    /// These partitions are assigned now.
    Assigned(Vec<Partition>),
    /// These must be given up.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// The group has already taken them away: another member may have them.
        is_lost: bool,
    },
}

/// Shared between the client's callbacks (run inside `poll`) and the worker's loop.
struct Context {
    watch: Watch,
    events: Mutex<VecDeque<GroupEvent>>,
    seen: Mutex<BTreeMap<(String, i32), Seen>>,
    closing: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.watch.on_log(level, fac, message);
    }

    fn stats(&self, statistics: Statistics) {
        self.watch.on_statistics(&statistics);
        let (mut seen, now) = (self.seen.lock(), Instant::now());
        for (topic, stats) in statistics.topics {
            for (number, partition) in stats.partitions {
                if let Some(place) = Seen::of(&partition, now) {
                    seen.insert((topic.clone(), number), place);
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.on_error(&error, reason);
    }
}

impl Watched for Context {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = partitions_of(list);
        let assigned = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            // The events are no longer read, and closing waits until the group has its answer.
            let answer = if assigned { Ok(()) } else { consumer.unassign() };
            if let Err(error) = answer {
                tracing::debug!(error = %error, "giving up partitions while closing");
            }
            return;
        }
        self.events.lock().push_back(if assigned {
            GroupEvent::Assigned(partitions)
        } else {
            let is_lost = consumer.assignment_lost();
            GroupEvent::Revoked { partitions, is_lost }
        });
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // Commits serve lag tools and the stateless stages, which read again from the last successful one (INV-2).
            tracing::debug!(error = %error, "commit refused");
        }
    }
}

/// A member of a consumer group.
pub struct GroupConsumer {
    consumer: BaseConsumer<Context>,
    renewal: Renewal,
    static_member: Option<StaticMember>,
    /// For errors: topics and group.
    what: String,
    started: std::cell::RefCell<BTreeMap<Partition, StartAt>>,
    /// A batch could not be read since the last look. The client does not report its partition.
    unreadable: std::cell::Cell<bool>,
}

impl GroupConsumer {
    /// Joins the group with these settings and topics.
    pub fn subscribe(
        bootstrap: &Brokers,
        client: &ClientConfig,
        topics: &[String],
    ) -> Result<GroupConsumer, StreamError> {
        let context = Context {
            watch: bootstrap.watch(),
            events: Mutex::default(),
            seen: Mutex::default(),
            closing: AtomicBool::default(),
        };
        let (consumer, renewal) = connect::consumer(bootstrap, client, context)?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|e| classify("subscribe", &e))?;
        Ok(GroupConsumer {
            consumer,
            renewal,
            static_member: StaticMember::of(client),
            what: format!(
                "consume {} as group {}",
                topics.join(", "),
                client.get("group.id").unwrap_or_default()
            ),
            started: std::cell::RefCell::default(),
            unreadable: std::cell::Cell::new(false),
        })
    }

    /// Takes over a renewed password or token; to be called once a round.
    pub fn renew(&self) {
        self.renewal.renew(self.consumer.client());
    }

    /// The next message, or `None` when the time is over or only an event was served.
    pub fn poll(&self, timeout: Duration) -> Result<Option<BorrowedMessage<'_>>, StreamError> {
        let polled = match self.consumer.poll(timeout) {
            Some(Ok(message)) => return Ok(Some(message)),
            polled => polled,
        };
        if let Some(error) = self.fenced() {
            return Err(error);
        }
        match polled {
            None | Some(Ok(_)) => Ok(None),
            Some(Err(KafkaError::MessageConsumption(code))) => self.consumption_error(code).map(|()| None),
            Some(Err(error)) => Err(StreamError::transient(
                "kafka_client_failed",
                format!("consume: {error}"),
            )),
        }
    }

    /// The error that ends this member: another process has joined with its instance id. Every other error is then its
    /// consequence.
    pub fn fenced(&self) -> Option<StreamError> {
        let client = self.consumer.client();
        self.static_member.as_ref().and_then(|member| member.fenced(client))
    }

    fn consumption_error(&self, code: RDKafkaErrorCode) -> Result<(), StreamError> {
        match consumption::of(code) {
            Consumption::Passing => tracing::debug!(error = %code, "consumer reports a temporary problem"),
            Consumption::Unreadable => {
                tracing::debug!(error = %code, "a batch cannot be read");
                self.unreadable.set(true);
            }
            Consumption::Unknown => {
                let message = format!("{}: {code}; create missing topics with `dp topics create`", self.what);
                return Err(StreamError::transient("unknown_topic", message));
            }
            Consumption::OutOfRange => {
                return Err(StreamError::transient(POSITION_LOST, format!("consume: {code}")));
            }
            Consumption::Refused => return Err(classify(&self.what, &KafkaError::MessageConsumption(code))),
        }
        Ok(())
    }

    /// Whether a batch could not be read since the last call.
    pub fn take_unreadable(&self) -> bool {
        self.unreadable.take()
    }

    /// The requests of the group since the last call, in order.
    pub fn take_events(&self) -> Vec<GroupEvent> {
        let mut events = self.consumer.context().events.lock();
        events.drain(..).collect()
    }

    /// Confirms the assignment to the group; consumption starts with [`GroupConsumer::start`].
    pub fn acknowledge_assignment(&self) -> Result<(), StreamError> {
        self.consumer
            .incremental_assign(&TopicPartitionList::new())
            .map_err(|e| classify("accept assignment", &e))?;
        self.rouse();
        Ok(())
    }

    /// The client pauses all partitions while it reports a rebalance. The threads of its connections do not notice the end of that
    /// for up to half a second, unless they have something else to do: a request to the leader of each partition.
    fn rouse(&self) {
        let started = self.started.borrow();
        let asked = list(started.keys().map(|partition| (partition, Offset::End)));
        let answer = asked.map(|asked| self.consumer.offsets_for_times(asked, ROUSE_WITHIN));
        if let Ok(Err(error)) = answer {
            tracing::debug!(error = %error, "no leader answers after a rebalance");
        }
    }

    /// Begins to consume. Partitions of one call are fetched together: a fetch that waits for records of one partition would
    /// delay the first records of another that starts later.
    pub fn start(&self, starts: Vec<(Partition, StartAt)>) -> Result<(), StreamError> {
        let places = starts.iter().map(|(partition, at)| match at {
            StartAt::Beginning => (partition, Offset::Beginning),
            StartAt::Offset(offset) => (partition, Offset::Offset(*offset)),
        });
        self.consumer
            .incremental_assign(&list(places)?)
            .map_err(|e| classify("start partitions", &e))?;
        self.started.borrow_mut().extend(starts);
        Ok(())
    }

    /// Stops consuming without telling the group (to start again elsewhere in the log).
    pub fn stop(&self, partition: &Partition) -> Result<(), StreamError> {
        if self.started.borrow_mut().remove(partition).is_some() {
            self.consumer
                .incremental_unassign(&list([(partition, Offset::Invalid)])?)
                .map_err(|e| classify("stop partition", &e))?;
        }
        Ok(())
    }

    /// Tells the group that it may give the revoked partitions to another member after its next rebalance. They are consumed
    /// until [`GroupConsumer::give_up`], which must come before that.
    pub fn release(&self) -> Result<(), StreamError> {
        self.consumer
            .incremental_unassign(&TopicPartitionList::new())
            .map_err(|e| classify("release partitions", &e))
    }

    /// Stops consuming these partitions, and gives them back to the group.
    pub fn give_up(&self, partitions: &[Partition]) -> Result<(), StreamError> {
        let consumed: Vec<&Partition> = {
            let mut started = self.started.borrow_mut();
            partitions
                .iter()
                .filter(|partition| started.remove(*partition).is_some())
                .collect()
        };
        let list = list(consumed.into_iter().map(|partition| (partition, Offset::Invalid)))?;
        self.consumer
            .incremental_unassign(&list)
            .map_err(|e| classify("give up partitions", &e))
    }

    /// Holds fetching back.
    pub fn pause(&self, partition: &Partition) -> Result<(), StreamError> {
        let list = list([(partition, Offset::Invalid)])?;
        self.consumer.pause(&list).map_err(|e| classify("pause partition", &e))
    }

    /// Lets fetching continue.
    pub fn resume(&self, partition: &Partition) -> Result<(), StreamError> {
        let list = list([(partition, Offset::Invalid)])?;
        self.consumer
            .resume(&list)
            .map_err(|e| classify("resume partition", &e))
    }

    /// Commits next offsets. If an asynchronous commit fails, the next one replaces it.
    pub fn commit(&self, commits: &[Commit], wait: bool) -> Result<(), StreamError> {
        if commits.is_empty() {
            return Ok(());
        }
        let mode = if wait { CommitMode::Sync } else { CommitMode::Async };
        self.consumer
            .commit(&commit_list(commits)?, mode)
            .map_err(|e| classify("commit offsets", &e))
    }

    /// Offsets that the group has committed for these partitions.
    pub fn committed(&self, partitions: &[Partition], timeout: Duration) -> Result<Vec<Committed>, StreamError> {
        let asked = list(partitions.iter().map(|partition| (partition, Offset::Invalid)))?;
        let answer = self
            .consumer
            .committed_offsets(asked, timeout)
            .map_err(|e| classify("read committed offsets", &e))?;
        Ok(partitions
            .iter()
            .map(|partition| Committed::of(partition, &answer))
            .collect())
    }

    /// For questions: each waits for the running fetch.
    pub(crate) fn questions(&self) -> &dyn Questions {
        self.consumer.client()
    }

    /// Whether a broker answers within this time.
    pub fn answers(&self, within: Duration) -> bool {
        self.consumer.fetch_metadata(None, within).is_ok()
    }

    /// Answers the group without looking at the partitions, which nobody reads any more.
    fn answer_events(&self) {
        for event in self.take_events() {
            let answered = match event {
                GroupEvent::Assigned(_) => self.acknowledge_assignment(),
                GroupEvent::Revoked { partitions, .. } => self.give_up(&partitions),
            };
            if let Err(error) = answered {
                tracing::debug!(error = %error, "giving up partitions while closing");
            }
        }
    }

    /// Ends without leaving the group, which notices it after the session time-out. For a process that is about to end while
    /// Kafka is unavailable: leaving regularly waits for an answer without limit.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// The standing of each started partition, as of the last statistics.
    pub fn standings(&self) -> Vec<Standing> {
        let context = self.consumer.context();
        let seen = context.seen.lock();
        let started = self.started.borrow();
        let standing = |(partition, at): (&Partition, &StartAt)| {
            let seen = seen.get(&(partition.topic.to_string(), partition.number))?;
            Some(seen.standing(partition, *at))
        };
        started.iter().filter_map(standing).collect()
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        if let Some(member) = &self.static_member {
            member.leave(&self.consumer, || self.answer_events());
        }
        self.consumer.context().closing.store(true, Ordering::Release);
        // An unanswered rebalance would block the close that follows.
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(error = %error, "giving up partitions while closing");
        }
    }
}

/// Borrows the client's message as a [`Message`].
pub(crate) fn borrow<'a>(message: &'a BorrowedMessage<'_>) -> Message<'a> {
    Message {
        topic: message.topic(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(0) * 1000,
        has_append_time: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
        key: message.key(),
        payload: message.payload(),
        headers: message.headers(),
    }
}
