//! Where a stage starts reading to rebuild its memory: messages before the committed offset are read again, without outputs.
//!
//! Failure: a batch that cannot be read there is skipped. An operator has already skipped it, or no later
//! offset would be committed.

use domain::Micros;

use crate::hop::{Memory, ReadBack};
use crate::kafka::reader::LogReader;
use crate::{Message, Partition, StreamError};

/// What is read back, and the offset and time of the last message before the committed offset.
pub(crate) struct MemoryStart {
    pub(crate) range: ReadBack,
    pub(crate) last: Option<(i64, Micros)>,
}

/// The first offsets that a memory needs, and that learning needs, given how far both reach back from `committed`. `time_of` is the time
/// of a message on the memory's clock, and never later than its append.
pub(crate) fn memory_start(
    reader: &LogReader,
    partition: &Partition,
    committed: i64,
    (memory, learns): (Memory, Option<Memory>),
    time_of: &dyn Fn(&Message<'_>) -> Micros,
) -> Result<MemoryStart, StreamError> {
    let (oldest, _) = reader.log_range(partition)?;
    let by_count = |reach: Memory| (committed - reach.offsets).max(oldest);
    let furthest = learns.map_or(by_count(memory), |learns| by_count(memory).min(by_count(learns)));
    let last = last_before(reader, partition, (furthest, committed), time_of)?;
    let first_of = |reach: Memory| match last {
        None => committed,
        Some((_, last_time)) => {
            let by_time = first_by_time(reader, partition, last_time - reach.micros, committed);
            by_time.max(by_count(reach)).min(committed)
        }
    };
    let first = first_of(memory);
    Ok(MemoryStart {
        range: ReadBack {
            memory: first,
            learns: learns.map_or(first, first_of),
            committed,
        },
        last,
    })
}

/// The first offset from this time on; `committed` if there is none. If the broker cannot unpack a batch, it cannot search by time either:
/// 0, so that the count alone decides.
fn first_by_time(reader: &LogReader, partition: &Partition, time: Micros, committed: i64) -> i64 {
    match reader.offset_at(partition, time) {
        Ok(offset) => offset.unwrap_or(committed),
        Err(error) => {
            tracing::debug!(partition = %partition, error = %error, "the log cannot be searched by time");
            0
        }
    }
}

/// Without a committed offset, the first offset at which a memory that begins with the log is whole; `None` if the log has lost nothing, so
/// that it is whole at once. The end of the log if it is shorter than the memory.
pub(crate) fn after_memory(
    reader: &LogReader,
    partition: &Partition,
    memory: Memory,
) -> Result<Option<i64>, StreamError> {
    let (oldest, end) = reader.log_range(partition)?;
    let mut first = None;
    if oldest > 0 {
        let each = |message: &Message<'_>| {
            first = Some(message.timestamp);
            false
        };
        reader.read_passing(partition, oldest, end, each, |_, _| true)?;
    }
    let Some(first) = first else {
        return Ok(None);
    };
    let whole = reader.offset_at(partition, first.saturating_add(memory.micros))?;
    let offset = whole.unwrap_or(end);
    tracing::warn!(
        event = "group_position_lost",
        partition = %partition,
        oldest,
        offset,
        "the group has no committed offset and retention has cut the log: messages before this offset only rebuild the memory of the stage"
    );
    Ok(Some(offset))
}

/// The append time of the record at this offset; `None` if there is none.
pub(crate) fn time_at(reader: &LogReader, partition: &Partition, offset: i64) -> Result<Option<Micros>, StreamError> {
    let mut found = None;
    reader.read(partition, offset, offset + 1, |message| {
        found = Some(message.timestamp);
        false
    })?;
    Ok(found)
}

/// Offset and time of the last message before `committed`. A transaction marker or an unreadable batch may come before or after it.
fn last_before(
    reader: &LogReader,
    partition: &Partition,
    (oldest, committed): (i64, i64),
    time_of: &dyn Fn(&Message<'_>) -> Micros,
) -> Result<Option<(i64, Micros)>, StreamError> {
    let mut reach = 1;
    loop {
        let from = (committed - reach).max(oldest);
        let mut last = None;
        let each = |message: &Message<'_>| {
            last = Some((message.offset, time_of(message)));
            true
        };
        reader.read_passing(partition, from, committed, each, |_, _| true)?;
        if last.is_some() || from <= oldest {
            return Ok(last);
        }
        reach *= 4;
    }
}
