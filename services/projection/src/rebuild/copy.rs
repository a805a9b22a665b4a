//! Reads one partition of the enriched topic into the copy, with a checkpoint every [`BATCH`] events.

use delivery::Sequencer;
use domain::{Classified as _, ErrorClass, Position};
use stores::postgres::{Held, LoadedPosition, PriceBatch, Scope};
use stores::{Applied, LatestPriceStore};
use stream::kafka::reader::LogReader;
use stream::{Message, Origins, Partition, StreamError};
use tokio::runtime::Handle;

use super::error::check_end;
use super::{Plan, RebuildError, Step, Strategy};
use crate::core::book::{Book, Target};

/// Events between two checkpoints.
const BATCH: u64 = 1_000;

/// What a partition's copy contains.
pub(super) struct Copied {
    /// The log had its first record when the copy began.
    pub is_from_first: bool,
    /// It has every event from this offset on. What it leaves out before it is in the served rows.
    pub complete_from: i64,
    /// The end of the log.
    pub end: i64,
}

/// Shows the progress.
pub(super) type Show = Box<dyn FnMut(&Step) + Send>;

/// The reader of all partitions, one after the other.
pub(super) struct Copier {
    reader: LogReader,
    served: LatestPriceStore,
    copy: LatestPriceStore,
    wire: codec::Wire,
    plan: Plan,
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
    /// Next offset of the served position when the copy was loaded, or 0 if the copy gets every event.
    complete_from: i64,
    since_checkpoint: u64,
}

impl Copier {
    pub(super) fn new(
        reader: LogReader,
        (served, copy): (LatestPriceStore, LatestPriceStore),
        wire: codec::Wire,
        plan: Plan,
        show: Show,
    ) -> Copier {
        Copier {
            reader,
            served,
            copy,
            wire,
            plan,
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

    /// Reads up to an offset, or to the current end of the log, and stores all of it. Blocks: call it on a thread of its own.
    pub(super) fn read(&mut self, partition: &Partition, until: Option<i64>) -> Result<Copied, RebuildError> {
        let mut current = match self.current.take().filter(|current| current.partition == *partition) {
            Some(current) => current,
            None => self.load(partition)?,
        };
        let (oldest, end) = self.reader.log_range(partition)?;
        check_end(partition, current.next_offset, end)?;
        let from = current.next_offset.max(oldest);
        let to = until.unwrap_or(end).clamp(from, end.max(from));
        self.step.partition = partition.number;
        self.step.total += u64::try_from(to - from).unwrap_or(0);
        let mut failure = None;
        let Copier {
            reader,
            copy,
            wire,
            plan,
            origins,
            show,
            step,
            unreadable,
            ..
        } = self;
        reader.read(partition, from, to, |message| {
            match current.take_in(message, (wire, &plan.scope), origins, reader) {
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
        let copied = Copied {
            is_from_first: current.is_from_first,
            complete_from: current.complete_from,
            end,
        };
        self.current = Some(current);
        Ok(copied)
    }

    /// Continues at the copy's position, or begins where the strategy does.
    ///
    /// A copy that leaves events out has them from the served rows. So it begins before the served position at the latest, and one that
    /// is ahead of it, since a backup was restored for example, is read again.
    fn load(&self, partition: &Partition) -> Result<Current, RebuildError> {
        let runtime = Handle::current();
        let position_in = |store: &LatestPriceStore| -> Result<Option<LoadedPosition>, RebuildError> {
            Ok(runtime.block_on(store.load_position(&partition.topic, partition.number))?)
        };
        let served = position_in(&self.served)?.map_or(0, |served| served.position.next_offset);
        let (oldest, end) = self.reader.log_range(partition)?;
        let loaded = position_in(&self.copy)?;
        // Also of a copy that is read again: its position stays if there is nothing to read.
        let copied = loaded.as_ref().map_or(0, |copy| copy.position.next_offset);
        check_end(partition, copied, end)?;
        let mut book = Book::new(partition.number);
        runtime.block_on(self.copy.read_prices(partition.number, |price| book.restore(&price)))?;
        let held = loaded.as_ref().map(LoadedPosition::held);
        let continued = loaded.filter(|copy| self.plan.reads_all() || copy.position.next_offset <= served);
        let (next_offset, sequencer) = match (continued, self.plan.strategy) {
            (Some(copy), _) => (copy.position.next_offset, copy.position.sequencer.iter().collect()),
            (None, Strategy::Full) => (oldest, Sequencer::default()),
            (None, Strategy::Since(time)) => {
                let start = self.reader.offset_at(partition, time)?;
                (start.unwrap_or(end).min(served), Sequencer::default())
            }
        };
        Ok(Current {
            partition: partition.clone(),
            book,
            sequencer,
            next_offset,
            held,
            is_from_first: oldest == 0,
            complete_from: if self.plan.reads_all() { 0 } else { served },
            since_checkpoint: 0,
        })
    }
}

impl Current {
    /// Takes in an event as the service does; false if the record is none. A price out of the scope is served as of the events before
    /// [`Current::complete_from`], whatever they say.
    fn take_in(
        &mut self,
        message: &Message<'_>,
        (wire, scope): (&codec::Wire, &Scope),
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
        let is_wanted =
            message.offset >= self.complete_from || scope.has(enriched.tick.tenant_id, enriched.tick.instrument_id);
        if self.sequencer.accept(origin.feed, origin.partition, origin.position()) && is_wanted {
            self.book.take_in(&enriched);
        }
        Ok(true)
    }

    /// Stores what was read with its position, in one transaction.
    fn checkpoint(&mut self, copy: &LatestPriceStore) -> Result<(), RebuildError> {
        let is_new = std::mem::take(&mut self.since_checkpoint) > 0 || self.held.is_none();
        if !is_new {
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
