//! The handler of aggregation: restores assigned partitions, aggregates their ticks, saves changed state.
//!
//! Role: drives the pure core ([`crate::core`]) with messages, acknowledgements and the clock.
//! Invariants: INV-3 and INV-4; the order of a checkpoint is that of [`crate::core::checkpoint`]. Kafka's committed offsets
//! are never read: the position is stored with the state.
//! Failure: an error of a send or a restore goes to the worker, which drops this handler and restores again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use domain::{Interval, Micros};
use stream::{Handler, Io, Message, Outcome, Partition, StreamError};

use super::lane::{Lane, Progress};
use super::outbox::{Outbox, OutputTopics, Shared};
use super::restore_state::{self, Read, RestoreJob, Restored};
use crate::config::Config;
use crate::core::checkpoint_schedule::Turns;
use crate::core::partition_state::WindowCounts;
use crate::metrics::{Meters, Tally};
use crate::view::{Desk, Views};

/// How often idle windows are closed, and windows are counted.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A running restore.
struct Restoring {
    /// Partitions that still wait for it; revoked ones are removed.
    waiting: Vec<Partition>,
    /// Partitions that wait for the others.
    restored: Vec<Restored>,
    results: Receiver<Result<Restored, StreamError>>,
    read: Arc<Read>,
}

impl Restoring {
    /// Takes what was restored since the last call; true if that was the last.
    fn take_results(&mut self) -> Result<bool, StreamError> {
        while !self.waiting.is_empty() {
            match self.results.try_recv() {
                Ok(restored) => {
                    let restored = restored?;
                    let before = self.waiting.len();
                    self.waiting.retain(|partition| *partition != restored.partition);
                    if self.waiting.len() < before {
                        self.restored.push(restored);
                    }
                }
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => {
                    return Err(StreamError::transient(
                        "restore_failed",
                        "the thread that restores state ended early",
                    ));
                }
            }
        }
        Ok(true)
    }

    /// For operators: how far a partition is; `None` if it is none of these.
    fn progress(&self, partition: &Partition) -> Option<String> {
        if self.waiting.contains(partition) {
            return Some(self.read.to_string());
        }
        let is_restored = self.restored.iter().any(|restored| restored.partition == *partition);
        is_restored.then(|| "restored; it starts together with the others".to_owned())
    }
}

/// Aggregates the partitions of one worker.
pub struct Aggregator {
    config: Config,
    shared: Shared,
    meters: Meters,
    desk: Desk,
    restoring: Vec<Restoring>,
    lanes: Vec<Lane>,
    turns: Turns,
    /// The begin of the turns.
    began: Instant,
    last_upkeep: Instant,
    /// Wall clock of the last turn: precise enough for idle times, and read once per batch.
    now: Micros,
}

impl Aggregator {
    /// A handler without partitions.
    pub fn new(
        config: Config,
        wire: codec::Wire,
        topics: OutputTopics,
        enriched_topic: &str,
        views: &Arc<Views>,
    ) -> Aggregator {
        let shared = Shared {
            legs: Arc::clone(&config.derived.legs),
            curve_interval: config.curves.interval,
            ..Shared::new(wire, topics)
        };
        Aggregator {
            turns: Turns {
                interval: config.checkpoint_interval,
            },
            began: Instant::now(),
            config,
            shared,
            meters: Meters::new(enriched_topic),
            desk: views.open_desk(),
            restoring: Vec::new(),
            lanes: Vec::new(),
            last_upkeep: Instant::now(),
            now: stream::status::wall_clock(),
        }
    }

    /// Starts the partitions that are restored. Those of one assignment start together: the first fetch of a partition waits for the
    /// one that runs, and that one waits to become large.
    fn take_restored(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        for restoring in &mut self.restoring {
            if !restoring.take_results()? {
                continue;
            }
            for restored in restoring.restored.drain(..) {
                Outbox::new(io, &mut self.shared, restored.partition.number).definitions(&restored.new_series)?;
                io.start(&restored.partition, restored.start);
                self.lanes.push(Lane::new(restored.partition, restored.state));
            }
        }
        self.restoring.retain(|restoring| !restoring.waiting.is_empty());
        Ok(())
    }

    fn answer_questions(&mut self) {
        while let Some(question) = self.desk.question() {
            question(&mut self.lanes.iter().map(|lane| (lane.partition.number, &lane.state)));
        }
    }

    fn upkeep(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        if self.last_upkeep.elapsed() < UPKEEP_INTERVAL {
            return Ok(());
        }
        self.last_upkeep = Instant::now();
        let mut sum = [WindowCounts::default(); Interval::ALL.len()];
        for lane in &mut self.lanes {
            lane.close_idle(io, &mut self.shared, self.now)?;
            for (sum, count) in sum.iter_mut().zip(lane.state.counts()) {
                sum.open += count.open;
                sum.closed += count.closed;
            }
        }
        self.desk.show_windows(sum);
        Ok(())
    }

    fn add_up(&mut self) {
        if let Some(appended_at) = self.shared.newest_appended_at.take() {
            self.meters.latency(self.now - appended_at);
        }
        for took in self.shared.checkpoints_took.drain(..) {
            self.meters.checkpoint(took);
        }
        let tally = std::mem::take(&mut self.shared.tally);
        if tally != Tally::default() {
            self.meters.add(&tally);
            self.desk.add(&tally);
        }
    }

    /// Begins the checkpoints that are due, and continues those that are running.
    fn checkpoints(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        let (time, count) = (self.began.elapsed(), self.lanes.len());
        for (place, lane) in self.lanes.iter_mut().enumerate() {
            lane.begin_in_turn(io, &mut self.shared, self.turns.number(time, place, count))?;
            lane.advance(io, &mut self.shared)?;
        }
        Ok(())
    }

    /// Finishes the running checkpoint and one more of everything read, within the drain deadline.
    fn last_checkpoints(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        let mut leaving: Vec<(&mut Lane, bool)> = self
            .lanes
            .iter_mut()
            .filter(|lane| partitions.contains(&lane.partition))
            .map(|lane| (lane, false))
            .collect();
        loop {
            let mut waiting = false;
            for (lane, last_begun) in &mut leaving {
                let mut progress = lane.advance(io, &mut self.shared)?;
                if progress == Progress::Idle && !std::mem::replace(last_begun, true) {
                    lane.begin_checkpoint(io, &mut self.shared)?;
                    progress = lane.advance(io, &mut self.shared)?;
                }
                waiting |= progress == Progress::Waiting;
            }
            if !waiting || Instant::now() >= io.drain_deadline() {
                return Ok(());
            }
            io.poll_acks(Duration::from_millis(5))?;
        }
    }
}

impl Handler for Aggregator {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        // All are partitions of the enriched topic.
        let Some(first) = partitions.first() else {
            return Ok(());
        };
        let read = Arc::<Read>::default();
        let job = RestoreJob {
            read: Arc::clone(&read),
            bootstrap: io.config().bootstrap.clone(),
            reader: io.config().reader(),
            topic_id: io.topic_id(&first.topic),
            state_topic: self.shared.topics.state.clone(),
            wire: self.shared.wire.clone(),
            rules: self.config.rules,
            series: self.config.derived.series.clone(),
            partitions: partitions.to_vec(),
            now: io.now(),
        };
        self.restoring.push(Restoring {
            waiting: partitions.to_vec(),
            restored: Vec::new(),
            results: restore_state::begin(job)?,
            read,
        });
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let lane = self
            .lanes
            .iter_mut()
            .find(|lane| lane.partition.number == message.partition && *lane.partition.topic == *message.topic);
        let Some(lane) = lane else {
            return Ok(Outcome::NotOurs);
        };
        lane.message(io, &mut self.shared, message, self.now)
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.now = io.now();
        self.take_restored(io)?;
        self.answer_questions();
        self.upkeep(io)?;
        self.checkpoints(io)?;
        self.add_up();
        Ok(())
    }

    fn restoring(&self, partition: &Partition) -> Option<String> {
        self.restoring.iter().find_map(|one| one.progress(partition))
    }

    fn sends(&self) -> bool {
        true
    }

    fn works_until_handover(&self) -> bool {
        true
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for restoring in &mut self.restoring {
            restoring.waiting.retain(|partition| !partitions.contains(partition));
            restoring
                .restored
                .retain(|restored| !partitions.contains(&restored.partition));
        }
        let result = self.last_checkpoints(io, partitions);
        // The next owner reads again from the saved position.
        self.lanes.retain(|lane| !partitions.contains(&lane.partition));
        self.add_up();
        result
    }
}
