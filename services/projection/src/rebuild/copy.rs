//! Reads one partition of the enriched topic into the copy, with a checkpoint every [`BATCH`] events.

use delivery::Sequencer;
use domain::{Classified as _, ErrorClass, Position};
use stores::postgres::{Held, PriceBatch};
use stores::{Applied, LatestPriceStore};
use stream::kafka::reader::LogReader;
use stream::{Message, Origins, Partition, StreamError};
use tokio::runtime::Handle;

use super::error::check_end;
use super::{RebuildError, Step, Strategy};
use crate::core::book::{Book, Target};

/// Events between two checkpoints.
const BATCH: u64 = 1_000;

/// What a partition's copy contains.
pub(super) struct Copied {
    /// The log had its first record when the copy began.
    pub is_from_first: bool,
    /// The end of the log that was reached.
    pub end: i64,
}

/// Shows the progress.
pub(super) type Show = Box<dyn FnMut(&Step) + Send>;

/// The reader of all partitions, one after the other.
pub(super) struct Copier {
    reader: LogReader,
    copy: LatestPriceStore,
    wire: codec::Wire,
    origins: Origins,
    show: Show,
    step: Step,
    unreadable: u64,
    current: Option<Current>,
}

/// The partition that is being copied.
struct Current {
    partition: Partition,
    book: Book,
    sequencer: Sequencer,
    next_offset: i64,
    /// As stored; `None` before the first checkpoint.
    held: Option<Held>,
    is_from_first: bool,
    since_checkpoint: u64,
}

impl Copier {
    pub(super) fn new(reader: LogReader, copy: LatestPriceStore, wire: codec::Wire, show: Show) -> Copier {
        Copier {
            reader,
            copy,
            wire,
            origins: Origins::default(),
            show,
            step: Step {
                partition: 0,
                events: 0,
                total: 0,
            },
            unreadable: 0,
            current: None,
        }
    }

    /// Events and unreadable records so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.step.events, self.unreadable)
    }

    /// Reads up to the current end of the log, and stores all of it. Blocks: call it on a thread of its own.
    pub(super) fn read_to_end(&mut self, partition: &Partition, strategy: Strategy) -> Result<Copied, RebuildError> {
        let mut current = match self.current.take().filter(|current| current.partition == *partition) {
            Some(current) => current,
            None => self.load(partition, strategy)?,
        };
        let (oldest, end) = self.reader.log_range(partition)?;
        check_end(partition, current.next_offset, end)?;
        let from = current.next_offset.max(oldest);
        self.step.partition = partition.number;
        self.step.total += u64::try_from(end - from).unwrap_or(0);
        let mut failure = None;
        let Copier {
            reader,
            copy,
            wire,
            origins,
            show,
            step,
            unreadable,
            ..
        } = self;
        reader.read(partition, from, end, |message| {
            match current.take_in(message, wire, origins, reader) {
                Ok(is_readable) => *unreadable += u64::from(!is_readable),
                Err(error) => failure = Some(error),
            }
            step.events += 1;
            if failure.is_none() && current.since_checkpoint >= BATCH {
                failure = current.checkpoint(copy).err();
                show(step);
            }
            failure.is_none()
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        current.checkpoint(copy)?;
        (self.show)(&self.step);
        let is_from_first = current.is_from_first;
        self.current = Some(current);
        Ok(Copied { is_from_first, end })
    }

    /// Continues at the copy's position, or begins where the strategy does.
    fn load(&self, partition: &Partition, strategy: Strategy) -> Result<Current, RebuildError> {
        let runtime = Handle::current();
        let (oldest, end) = self.reader.log_range(partition)?;
        let loaded = runtime.block_on(self.copy.load_position(&partition.topic, partition.number))?;
        let mut book = Book::new(partition.number);
        runtime.block_on(self.copy.read_prices(partition.number, |price| book.restore(&price)))?;
        let held = loaded.as_ref().map(|loaded| loaded.held());
        let (next_offset, sequencer) = match (loaded, strategy) {
            (Some(loaded), _) => (loaded.position.next_offset, loaded.position.sequencer.iter().collect()),
            (None, Strategy::Full) => (oldest, Sequencer::default()),
            (None, Strategy::Since(time)) => {
                let start = self.reader.offset_at(partition, time)?;
                (start.unwrap_or(end), Sequencer::default())
            }
        };
        Ok(Current {
            partition: partition.clone(),
            book,
            sequencer,
            next_offset,
            held,
            is_from_first: oldest == 0,
            since_checkpoint: 0,
        })
    }
}

impl Current {
    /// Takes in an event as the service does; false if the record is none.
    fn take_in(
        &mut self,
        message: &Message<'_>,
        wire: &codec::Wire,
        origins: &mut Origins,
        reader: &LogReader,
    ) -> Result<bool, RebuildError> {
        self.next_offset = message.offset + 1;
        self.since_checkpoint += 1;
        let payload = wire.current(codec::Record::EnrichedTick, message.payload.unwrap_or_default());
        let enriched = match wire.decode_enriched(&payload) {
            Ok(enriched) => enriched,
            Err(error) if error.class() == ErrorClass::Poison => return Ok(false),
            Err(error) => {
                let place = format!("{} at {}: {error}", self.partition, message.offset);
                return Err(StreamError::transient(error.code(), place).into());
            }
        };
        let origin = &enriched.tick.origin;
        let flaw = origins.flaw(origin, |feed, number| {
            let known = reader.partitions(feed)?;
            let raw = known.iter().find(|partition| partition.number == number);
            raw.map(|raw| reader.log_range(raw).map(|(_, end)| end)).transpose()
        })?;
        if flaw.is_some() {
            return Ok(false);
        }
        if self.sequencer.accept(origin.feed, origin.partition, origin.position()) {
            self.book.take_in(&enriched);
        }
        Ok(true)
    }

    /// Stores what was read with its position, in one transaction.
    fn checkpoint(&mut self, copy: &LatestPriceStore) -> Result<(), RebuildError> {
        self.since_checkpoint = 0;
        if self.held.is_some_and(|held| held.next_offset == self.next_offset) {
            return Ok(());
        }
        let prices = self.book.take_waiting(Target::Postgres, usize::MAX);
        // Nothing of the copy is written to Redis.
        drop(self.book.take_waiting(Target::Redis, usize::MAX));
        let position = Position {
            next_offset: self.next_offset,
            sequencer: self.sequencer.state(),
        };
        let batch = PriceBatch {
            topic: &self.partition.topic,
            partition: self.partition.number,
            expected: self.held,
            position: Some(&position),
            prices: &prices,
        };
        match Handle::current().block_on(copy.apply(&batch))? {
            Applied::Yes => {
                let before = self.held.unwrap_or(Held {
                    next_offset: 0,
                    epoch: 0,
                });
                self.held = Some(before.at(self.next_offset));
                Ok(())
            }
            Applied::Conflict => Err(RebuildError::Concurrent),
        }
    }
}
