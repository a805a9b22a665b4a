//! The dead letters of a worker: each once in the topic, and counted when the broker has it (INV-5).
//!
//! Role: a stage reads messages again after a crash or a reset of its group, and would send their dead letters again.
//! Before the first letter of a partition that was started, [`Letters`] reads in the topic which letters of this stage are
//! there already, from the append time of the refused message on; those are not sent again.
//! Invariants: a letter is left out only when the topic holds one of the same stage and origin. Look-ups cost nothing
//! where nothing is refused.
//! Failure: a topic that cannot be read is an error of Kafka, and the worker starts again. A frozen owner that wakes up
//! can still send a letter after the look-up, so readers of the topic go by origin.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use domain::Micros;

use super::WorkerConfig;
use crate::Brokers;
use crate::acks::Ticket;
use crate::dead_letter::header;
use crate::kafka::access::takes_connections;
use crate::kafka::reader::LogReader;
use crate::kafka::settings::MAX_SENT_BYTES;
use crate::kafka::topic_settings::largest_record;
use crate::{Message, Partition, StreamError, metrics};

/// Dead letters go to one partition, which keeps them in the order of their failure.
pub const DLQ_PARTITION: i32 = 0;
/// The clocks of the broker and of who sent the letter may differ by this much.
const CLOCK_SKEW: Micros = 60_000_000;

/// Stage, topic and partition of refused messages.
type Source = (String, String, i32);

/// What one worker knows of its letters.
pub(super) struct Letters {
    bootstrap: Brokers,
    service: String,
    dlq: Partition,
    delivered: Delivered,
    /// Sources looked up since their partition was started.
    known: BTreeSet<Source>,
    /// Sent, and not acknowledged yet.
    open: VecDeque<Open>,
}

struct Open {
    ticket: Ticket,
    source: Source,
    offset: i64,
    code: String,
}

impl Letters {
    pub(super) fn new(config: &WorkerConfig) -> Letters {
        Letters {
            bootstrap: config.bootstrap.clone(),
            service: config.service.clone(),
            dlq: Partition {
                topic: Arc::from(config.dlq_topic.as_str()),
                number: DLQ_PARTITION,
            },
            delivered: Delivered::default(),
            known: BTreeSet::new(),
            open: VecDeque::new(),
        }
    }

    /// The partition is read from some position on. Until now another owner may have sent letters of it, and what this
    /// worker has sent may still be on its way: where that fails, the whole worker starts again.
    pub(super) fn started(&mut self, partition: &Partition) {
        let is_its = |(_, topic, number): &Source| *topic == *partition.topic && *number == partition.number;
        self.known.retain(|source| !is_its(source));
        for open in self.open.iter().filter(|open| is_its(&open.source)) {
            self.delivered.remember(open.source.clone(), open.offset);
        }
    }

    /// Whether the topic holds the letter of this message already.
    pub(super) fn is_delivered(&mut self, message: &Message<'_>, stage: &str) -> Result<bool, StreamError> {
        let source = source(message, stage);
        if self.known.insert(source.clone()) {
            self.look_up(message.timestamp - CLOCK_SKEW)?;
        }
        Ok(self.delivered.take(&source, message.offset))
    }

    pub(super) fn sent(&mut self, ticket: Ticket, message: &Message<'_>, stage: &str, code: &str) {
        self.open.push_back(Open {
            ticket,
            source: source(message, stage),
            offset: message.offset,
            code: code.to_owned(),
        });
    }

    /// Counts the letters that the broker has.
    pub(super) fn acknowledged(&mut self, through: Ticket) {
        while let Some(open) = self.open.pop_front_if(|open| open.ticket <= through) {
            metrics::dead_letter(&open.source.0, &open.code);
        }
    }

    /// Reads what was appended to the topic since `time`, as far as it was not read before.
    fn look_up(&mut self, time: Micros) -> Result<(), StreamError> {
        // An open transaction of somebody else must not hide letters.
        let reader = LogReader::uncommitted(&self.bootstrap)?;
        let (first, end) = reader.log_range(&self.dlq)?;
        let from = reader.offset_at(&self.dlq, time)?.unwrap_or(end).max(first);
        for (from, to) in self.delivered.missing(from, end) {
            let mut remember = |message: &Message<'_>| {
                if let Some((source, offset)) = origin(message, &self.service) {
                    self.delivered.remember(source, offset);
                }
                true
            };
            reader.read_passing(&self.dlq, from, to, &mut remember, |_, _| true)?;
        }
        Ok(())
    }
}

fn source(message: &Message<'_>, stage: &str) -> Source {
    (stage.to_owned(), message.topic.to_owned(), message.partition)
}

/// Stage, place and offset of the message that a letter of this service is about.
fn origin(letter: &Message<'_>, service: &str) -> Option<(Source, i64)> {
    let text = |name: &str| std::str::from_utf8(letter.header(name)?).ok();
    if text(header::SERVICE)? != service {
        return None;
    }
    let source = (
        text(header::STAGE)?.to_owned(),
        text(header::TOPIC)?.to_owned(),
        text(header::PARTITION)?.parse().ok()?,
    );
    Some((source, text(header::OFFSET)?.parse().ok()?))
}

/// Which letters the topic holds, as far as it was read.
#[derive(Default)]
struct Delivered {
    offsets: BTreeMap<Source, BTreeSet<i64>>,
    /// Offsets of the topic that were read: from … to.
    read: Option<(i64, i64)>,
}

impl Delivered {
    /// The ranges of `[from, end)` that were not read yet; they count as read from now on.
    fn missing(&mut self, from: i64, end: i64) -> Vec<(i64, i64)> {
        let (read_from, read_to) = self.read.unwrap_or((from, from));
        self.read = Some((read_from.min(from), read_to.max(end)));
        [(from, read_from), (read_to, end)]
            .into_iter()
            .filter(|(from, to)| from < to)
            .collect()
    }

    fn remember(&mut self, source: Source, offset: i64) {
        self.offsets.entry(source).or_default().insert(offset);
    }

    /// Whether the letter is there. It is asked for once, and not always in the order of the offsets: a stage may find out
    /// later about one message than about another.
    fn take(&mut self, source: &Source, offset: i64) -> bool {
        self.offsets
            .get_mut(source)
            .is_some_and(|offsets| offsets.remove(&offset))
    }
}

/// Bytes that the dead letter topic takes, where the broker says so; else what `dp topics create` gives it. A smaller topic
/// that is not recognised here is noticed by the first letter that it refuses.
pub(super) fn largest(config: &WorkerConfig) -> usize {
    if !takes_connections(config.bootstrap.addresses()) {
        return MAX_SENT_BYTES;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map(|runtime| runtime.block_on(largest_record(&config.bootstrap, &config.dlq_topic)));
    match asked {
        Ok(Ok(Some(bytes))) if bytes < MAX_SENT_BYTES => {
            tracing::info!(
                topic = config.dlq_topic,
                bytes,
                "dead letters are cut to what their topic takes"
            );
            bytes
        }
        Ok(Ok(_)) => MAX_SENT_BYTES,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, topic = config.dlq_topic, "size of the dead letter topic is unknown");
            MAX_SENT_BYTES
        }
        Err(error) => {
            tracing::debug!(error = %error, "size of the dead letter topic is unknown");
            MAX_SENT_BYTES
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(partition: i32) -> Source {
        ("normalize".to_owned(), "raw".to_owned(), partition)
    }

    #[test]
    fn a_letter_is_known_by_its_source_and_offset() {
        let mut delivered = Delivered::default();
        for offset in [3, 5, 9] {
            delivered.remember(source(0), offset);
        }
        delivered.remember(source(1), 4);
        let found: Vec<bool> = (2..10).map(|offset| delivered.take(&source(0), offset)).collect();
        assert_eq!(found, [false, true, false, true, false, false, false, true]);
        delivered.remember(source(0), 2);
        assert!(delivered.take(&source(0), 2), "asked for after later ones");
        assert!(delivered.take(&source(1), 4));
        assert!(!delivered.take(&source(2), 4));
    }

    proptest! {
        /// Whatever is asked for in whatever order, everything from the earliest question to the end has been read, once.
        #[test]
        fn every_letter_since_the_earliest_question_is_read_once(
            questions in proptest::collection::vec((0i64..60, 0i64..10), 1..12),
        ) {
            let (mut delivered, mut end) = (Delivered::default(), 50);
            let mut reads: Vec<i64> = Vec::new();
            let mut earliest = i64::MAX;
            for (from, appended) in questions {
                end += appended;
                let from = from.min(end);
                earliest = earliest.min(from);
                for (from, to) in delivered.missing(from, end) {
                    reads.extend(from..to);
                }
            }
            reads.sort_unstable();
            // What lies between two questions at the end of the log is read, too.
            let expected: Vec<i64> = (earliest..end).collect();
            prop_assert_eq!(reads, expected);
        }
    }
}
