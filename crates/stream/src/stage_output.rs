//! The outputs of one message on their way to the producer.
//!
//! Invariants: they are sent in order and without gaps (INV-7). Of a large document only a few are buffered. An output that
//! is larger than a topic accepts is never sent (INV-9).

use crate::StreamError;
use crate::kafka::settings::MAX_SENT_BYTES;
use crate::record_size;

/// Limit of the encoded outputs of one message in the buffer: one message may be a document of a million ticks.
const HELD_BYTES: usize = 1 << 18;

type Send<'s> = dyn FnMut(i32, &[u8], &[u8]) -> Result<(), StreamError> + 's;

/// The outputs of one message, encoded into one reused buffer. With a `send` function the buffer is sent whenever it is full;
/// without one (in tests) it keeps all outputs.
#[derive(Default)]
pub struct StageOutput<'s> {
    held: Held,
    send: Option<&'s mut Send<'s>>,
    /// Bytes of the headers of each record.
    headers: usize,
    failed: Option<StreamError>,
    /// Size of an output that no topic accepts. Nothing is sent after it: the message is a dead letter.
    too_large: Option<usize>,
}

/// The buffer, kept from message to message.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    partition: i32,
    key: (usize, usize),
    payload: (usize, usize),
}

impl<'s> StageOutput<'s> {
    /// Outputs for `send`, which adds headers of so many bytes, in a reused buffer.
    pub(crate) fn new(held: Held, headers: usize, send: &'s mut Send<'s>) -> StageOutput<'s> {
        StageOutput {
            held,
            send: Some(send),
            headers,
            failed: None,
            too_large: None,
        }
    }

    /// Adds a record; `write` appends its value to the buffer.
    pub fn push<E>(
        &mut self,
        partition: i32,
        key: &[&[u8]],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = &mut self.held.bytes;
        let start = bytes.len();
        key.iter().for_each(|part| bytes.extend_from_slice(part));
        let middle = bytes.len();
        write(bytes)?;
        let end = bytes.len();
        let part = |from, to| bytes.get(from..to);
        let size = record_size::record(part(start, middle), part(middle, end), self.headers);
        if size > MAX_SENT_BYTES {
            self.too_large.get_or_insert(size);
        }
        self.held.records.push(Record {
            partition,
            key: (start, middle),
            payload: (middle, end),
        });
        if end >= HELD_BYTES {
            self.flush();
        }
        Ok(())
    }

    /// Number of buffered records.
    pub fn len(&self) -> usize {
        self.held.records.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.held.records.is_empty()
    }

    /// The buffered records: partition, key, value.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &[u8], &[u8])> {
        self.held.iter()
    }

    /// Removes all records, keeps the memory.
    pub fn clear(&mut self) {
        self.held.clear();
    }

    /// Sends the buffered records. After an error no more are sent: the order has no gaps (INV-7).
    fn flush(&mut self) {
        let Some(send) = &mut self.send else { return };
        if self.failed.is_none() && self.too_large.is_none() {
            self.failed = self
                .held
                .iter()
                .try_for_each(|(partition, key, value)| send(partition, key, value))
                .err();
        }
        self.held.clear();
    }

    /// Sends the rest; returns the buffer, and the size of an output that is too large.
    pub(crate) fn finish(mut self) -> Result<(Held, Option<usize>), StreamError> {
        self.flush();
        match self.failed {
            None => Ok((self.held, self.too_large)),
            Some(error) => Err(error),
        }
    }
}

impl Held {
    fn iter(&self) -> impl Iterator<Item = (i32, &[u8], &[u8])> {
        self.records
            .iter()
            .map(|record| (record.partition, self.part(record.key), self.part(record.payload)))
    }

    fn part(&self, (start, end): (usize, usize)) -> &[u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(out: &mut StageOutput<'_>, number: u32) {
        let Ok(()) = out.push(1, &[b"key"], |bytes| {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.resize(bytes.len() + 100, 0);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    #[test]
    fn the_outputs_of_a_large_document_are_sent_in_order_and_few_are_buffered() {
        let mut sent = Vec::new();
        let mut send = |partition: i32, key: &[u8], value: &[u8]| {
            assert_eq!((partition, key), (1, &b"key"[..]));
            sent.extend(value.first_chunk::<4>().map(|number| u32::from_le_bytes(*number)));
            Ok(())
        };
        let mut out = StageOutput::new(Held::default(), 0, &mut send);
        for number in 0..100_000 {
            push(&mut out, number);
            assert!(out.held.bytes.len() < HELD_BYTES);
        }
        let held = out.finish().map(|(held, _)| held.bytes.capacity());
        assert!(held.is_ok_and(|capacity| capacity <= 4 * HELD_BYTES));
        assert!(sent.iter().copied().eq(0..100_000));
    }

    #[test]
    fn nothing_is_sent_after_an_output_that_failed() {
        let mut sent = 0;
        let mut send = |_: i32, _: &[u8], _: &[u8]| {
            sent += 1;
            match sent {
                5 => Err(StreamError::transient("shutdown", "stopped")),
                _ => Ok(()),
            }
        };
        let mut out = StageOutput::new(Held::default(), 0, &mut send);
        (0..10_000).for_each(|number| push(&mut out, number));
        let error = out.finish().err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("stopped")));
        assert_eq!(sent, 5);
    }
}
