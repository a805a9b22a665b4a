//! Basic types of a log: partition, message.

use std::borrow::Cow;
use std::sync::Arc;

use domain::Micros;

use crate::kafka::headers;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition number.
    pub number: i32,
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

/// A message, borrowed from the client's buffer.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition number.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The broker's append time if the topic has `LogAppendTime`, else the producer's time.
    pub timestamp: Micros,
    /// Whether the time is the broker's.
    pub has_append_time: bool,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    pub(crate) headers: Option<&'a rdkafka::message::BorrowedHeaders>,
}

impl<'a> Message<'a> {
    /// The value of the last header of that name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers()
            .filter(|(key, _)| *key == name)
            .last()
            .and_then(|(_, value)| value)
    }

    /// The headers in order. Invalid UTF-8 in a name is replaced.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'a, str>, Option<&'a [u8]>)> + use<'a> {
        self.headers.into_iter().flat_map(headers::iter)
    }

    /// The partition of the message (allocates: not for the hot path).
    pub fn source(&self) -> Partition {
        Partition {
            topic: Arc::from(self.topic),
            number: self.partition,
        }
    }
}

/// A message that outlives the client's buffer, without its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct KeptMessage {
    pub source: Partition,
    pub offset: i64,
    pub timestamp: Micros,
    pub has_append_time: bool,
    pub key: Option<Box<[u8]>>,
    pub payload: Option<Box<[u8]>>,
}

impl KeptMessage {
    /// A copy of a message of this partition.
    pub fn of(message: &Message<'_>, source: &Partition) -> KeptMessage {
        KeptMessage {
            source: source.clone(),
            offset: message.offset,
            timestamp: message.timestamp,
            has_append_time: message.has_append_time,
            key: message.key.map(Box::from),
            payload: message.payload.map(Box::from),
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        length(&self.key) + length(&self.payload)
    }

    /// As a borrowed message.
    pub fn message(&self) -> Message<'_> {
        Message {
            topic: &self.source.topic,
            partition: self.source.number,
            offset: self.offset,
            timestamp: self.timestamp,
            has_append_time: self.has_append_time,
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: None,
        }
    }
}
