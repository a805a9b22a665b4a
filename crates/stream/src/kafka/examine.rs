//! Examines a position of the log from which no message comes, with separate clients, and finds out why.
//!
//! Role: the client's errors name no partition, and an open transaction is not an error. So this position is read again alone:
//! what can be read there, where the log ends, where reading continues.
//! Failure: as of [`LogReader`]; the caller tries again.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::brokers::Brokers;
use super::classify;
use super::consumption::{self, Consumption};
use super::reader::LogReader;
use crate::stall::{Cause, Stall};
use crate::{Partition, StreamError};

/// A broker answers at once; unpacking its answer may take seconds.
const LOOK: Duration = Duration::from_secs(5);
/// This many offsets after an unreadable one are tried one by one. Later offsets are tried in growing steps: a batch that cannot
/// be unpacked is usually one large record, but it may be thousands.
const ONE_BY_ONE: i64 = 64;

/// The first event when a partition is read from an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Message,
    End,
    Unreadable(RDKafkaErrorCode),
    Nothing,
}

/// Why no message came from this position; `None` if a message can be read there.
///
/// # Errors
/// Kafka does not answer.
pub fn examine(bootstrap: &Brokers, partition: &Partition, position: i64) -> Result<Option<Stall>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let uncommitted = LogReader::uncommitted(bootstrap)?;
    let (oldest, stable) = reader.log_range(partition)?;
    let (_, end) = uncommitted.log_range(partition)?;
    let position = position.max(oldest);
    if position >= end {
        return Ok(None);
    }
    let cause = match reader.look(partition, position)? {
        Seen::Message => return Ok(None),
        Seen::End if stable >= end => Cause::NothingReadable,
        Seen::End => Cause::OpenTransaction {
            offset: stable,
            since: uncommitted.appended_at(partition, stable)?,
        },
        Seen::Unreadable(code) => Cause::Unreadable {
            reason: code.to_string(),
            next: reader.next_readable(partition, position, stable)?,
        },
        Seen::Nothing => Cause::Silent,
    };
    // Records that were appended after the look are not covered by it.
    let end = if cause == Cause::NothingReadable { stable } else { end };
    Ok(Some(Stall {
        partition: partition.clone(),
        position,
        end,
        cause,
    }))
}

impl LogReader {
    /// The next readable offset after `unreadable`, at most `end`. Within the first 64 offsets no readable one is skipped; after
    /// them, a readable batch between two unreadable ones may be skipped.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn next_readable(&self, partition: &Partition, unreadable: i64, end: i64) -> Result<i64, StreamError> {
        let (mut bad, mut step) = (unreadable, 1);
        let mut good = loop {
            let next = bad.saturating_add(step).min(end);
            if next >= end || !self.is_unreadable(partition, next)? {
                break next.min(end);
            }
            bad = next;
            if bad - unreadable > ONE_BY_ONE {
                step *= 2;
            }
        };
        // Between the last unreadable and the first readable offset that were tried.
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if self.is_unreadable(partition, middle)? {
                bad = middle;
            } else {
                good = middle;
            }
        }
        Ok(good)
    }

    fn is_unreadable(&self, partition: &Partition, offset: i64) -> Result<bool, StreamError> {
        Ok(matches!(self.look(partition, offset)?, Seen::Unreadable(_)))
    }

    fn look(&self, partition: &Partition, offset: i64) -> Result<Seen, StreamError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))
            .map_err(|e| classify("make partition list", &e))?;
        self.consumer.assign(&list).map_err(|e| classify("assign reader", &e))?;
        let seen = self.first_event();
        // Messages that are still fetched belong to this look only.
        let _ = self.consumer.unassign();
        seen
    }

    fn first_event(&self) -> Result<Seen, StreamError> {
        let deadline = Instant::now() + LOOK;
        while Instant::now() < deadline {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(_)) => return Ok(Seen::Message),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Seen::End),
                Some(Err(KafkaError::MessageConsumption(code))) => match consumption::of(code) {
                    Consumption::Unreadable => return Ok(Seen::Unreadable(code)),
                    Consumption::Passing => {}
                    _ => return Err(classify("look at the log", &KafkaError::MessageConsumption(code))),
                },
                Some(Err(error)) => return Err(classify("look at the log", &error)),
                None => {}
            }
        }
        Ok(Seen::Nothing)
    }

    /// When the record at this offset was appended.
    fn appended_at(&self, partition: &Partition, offset: i64) -> Result<Option<i64>, StreamError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))
            .map_err(|e| classify("make partition list", &e))?;
        self.consumer.assign(&list).map_err(|e| classify("assign reader", &e))?;
        let message = self.consumer.poll(LOOK);
        let time = match &message {
            Some(Ok(message)) => message.timestamp().to_millis().map(|millis| millis * 1000),
            _ => None,
        };
        drop(message);
        let _ = self.consumer.unassign();
        Ok(time)
    }
}
