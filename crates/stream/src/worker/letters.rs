//! The dead letters of a worker: each is in the topic once, and counted when the broker has acknowledged it (INV-5).
//!
//! Role: after a crash or a reset of its group a stage reads messages again, and would send their dead letters again.
//! Before the first letter of a started partition, [`Letters`] reads the topic from the append time of the refused message
//! on. Letters of this stage that are already there are not sent again.
//! Invariants: a letter is omitted only if the topic contains a letter of the same stage and origin. Without refused
//! messages there are no look-ups.
//! Failure: a topic that cannot be read is an error of Kafka, and the worker starts again. An owner that was frozen can
//! still send a letter after the look-up, so readers of the topic identify letters by origin.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use domain::Micros;

use super::WorkerConfig;
use crate::Brokers;
use crate::dead_letter::header;
use crate::kafka::access::accepts_connections;
use crate::kafka::reader::LogReader;
use crate::kafka::settings::MAX_SENT_BYTES;
use crate::kafka::topic_settings::largest_record;
use crate::{Message, Partition, StreamError, metrics};
use delivery::acks::Ticket;

/// Dead letters go to one partition, so that they keep the order of their failures.
pub const DLQ_PARTITION: i32 = 0;
/// The clocks of the broker and of the letter's sender may differ by this much.
const CLOCK_SKEW: Micros = 60_000_000;

/// Stage, topic and partition of refused messages.
type Source = (String, String, i32);

/// The letters of one worker.
pub(super) struct Letters {
    bootstrap: Brokers,
    service: String,
    dlq: Partition,
    delivered: Delivered,
    /// Sources looked up since their partition was started.
    known: BTreeSet<Source>,
    /// Sent, but not acknowledged yet.
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

    /// The partition was started at some position. Another owner may have sent letters of it before. Letters of this worker may
    /// still be in flight; if one of them fails, the whole worker starts again.
    pub(super) fn started(&mut self, partition: &Partition) {
        let is_its = |(_, topic, number): &Source| *topic == *partition.topic && *number == partition.number;
        self.known.retain(|source| !is_its(source));
        for open in self.open.iter().filter(|open| is_its(&open.source)) {
            self.delivered.remember(open.source.clone(), open.offset);
        }
    }

    /// Whether the topic already contains the letter of this message.
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

    /// Counts the letters that the broker has acknowledged.
    pub(super) fn acknowledged(&mut self, through: Ticket) {
        while let Some(open) = self.open.pop_front_if(|open| open.ticket <= through) {
            metrics::dead_letter(&open.source.0, &open.code);
        }
    }

    /// Reads the part of the topic since `time` that was not read before.
    fn look_up(&mut self, time: Micros) -> Result<(), StreamError> {
        // An open transaction of another producer must not hide letters.
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

/// Stage, topic, partition and offset of the message that a letter of this service is about.
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

/// Which letters the topic contains, as far as it was read.
#[derive(Default)]
struct Delivered {
    offsets: BTreeMap<Source, BTreeSet<i64>>,
    /// Offsets of the topic that were read: from … to.
    read: Option<(i64, i64)>,
}

impl Delivered {
    /// The ranges of `[from, end)` that were not read yet; they count as read after this call.
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

    /// Whether the letter is in the topic. Each letter is asked for once, but not always in the order of the offsets: a stage may
    /// refuse one message later than a message after it.
    fn take(&mut self, source: &Source, offset: i64) -> bool {
        self.offsets
            .get_mut(source)
            .is_some_and(|offsets| offsets.remove(&offset))
    }
}

/// Largest record in bytes that the dead letter topic accepts, if the broker reports it; else the size that `dp topics create`
/// sets. If the topic's limit is smaller but unknown, the first letter that the topic refuses reveals it.
pub(super) fn largest(config: &WorkerConfig) -> usize {
    if !accepts_connections(config.bootstrap.addresses()) {
        return MAX_SENT_BYTES;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map(|runtime| runtime.block_on(largest_record(&config.bootstrap, &config.dlq_topic)));
    match asked {
        Ok(Ok(Some(bytes))) if bytes < MAX_SENT_BYTES => {
            tracing::info!(
                topic = config.dlq_topic,
                bytes,
                "dead letters are cut to the size that their topic accepts"
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
    fn a_letter_is_identified_by_its_source_and_offset() {
        let mut delivered = Delivered::default();
        for offset in [3, 5, 9] {
            delivered.remember(source(0), offset);
        }
        delivered.remember(source(1), 4);
        let found: Vec<bool> = (2..10).map(|offset| delivered.take(&source(0), offset)).collect();
        assert_eq!(found, [false, true, false, true, false, false, false, true]);
        delivered.remember(source(0), 2);
        assert!(delivered.take(&source(0), 2), "asked for after later offsets");
        assert!(delivered.take(&source(1), 4));
        assert!(!delivered.take(&source(2), 4));
    }

    proptest! {
        /// For any sequence of look-ups, all letters from the earliest look-up to the end have been read once.
        #[test]
        fn every_letter_since_the_earliest_look_up_is_read_once(
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
            // Letters appended between two look-ups are read, too.
            let expected: Vec<i64> = (earliest..end).collect();
            prop_assert_eq!(reads, expected);
        }
    }
}
