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
use super::outbox::{OutputTopics, Shared};
use super::restore_state::{self, Read, RestoreJob, Restored};
use crate::config::Config;
use crate::core::partition_state::WindowCounts;
use crate::metrics::{Meters, Tally};
use crate::view::{Desk, Views};

/// How often idle windows are closed, and windows are counted.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A running restore.
struct Restoring {
    /// Partitions that still wait for it; revoked ones are removed.
    waiting: Vec<Partition>,
    results: Receiver<Result<Restored, StreamError>>,
    read: Arc<Read>,
}

/// Aggregates the partitions of one worker.
pub struct Aggregator {
    config: Config,
    shared: Shared,
    meters: Meters,
    desk: Desk,
    restoring: Vec<Restoring>,
    lanes: Vec<Lane>,
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

    fn take_restored(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        for restoring in &mut self.restoring {
            loop {
                match restoring.results.try_recv() {
                    Ok(restored) => {
                        let restored = restored?;
                        let before = restoring.waiting.len();
                        restoring.waiting.retain(|partition| *partition != restored.partition);
                        if restoring.waiting.len() < before {
                            io.start(&restored.partition, restored.start);
                            self.lanes.push(Lane::new(restored.partition, restored.state));
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) if restoring.waiting.is_empty() => break,
                    Err(TryRecvError::Disconnected) => {
                        return Err(StreamError::transient(
                            "restore_failed",
                            "the thread that restores state ended early",
                        ));
                    }
                }
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

    /// Spreads the turns of the partitions that show bars, from now on. A rebalance changes how many there are, and has held them up.
    fn take_turns(&mut self) {
        let interval = self.config.checkpoint_interval;
        let showing: Vec<&mut Lane> = self.lanes.iter_mut().filter(|lane| lane.has_shown()).collect();
        let count = showing.len() as u32;
        for (turn, lane) in (0..).zip(showing) {
            lane.show_after(interval * turn / count, interval);
        }
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
                let mut progress = lane.checkpoint(io, &mut self.shared, Duration::MAX)?;
                if progress == Progress::Idle && !*last_begun {
                    *last_begun = true;
                    progress = lane.checkpoint(io, &mut self.shared, Duration::ZERO)?;
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
        self.take_turns();
        if partitions.is_empty() {
            return Ok(());
        }
        let read = Arc::<Read>::default();
        let job = RestoreJob {
            read: Arc::clone(&read),
            bootstrap: io.config().bootstrap.clone(),
            reader: io.config().reader(),
            state_topic: self.shared.topics.state.clone(),
            wire: self.shared.wire.clone(),
            rules: self.config.rules,
            partitions: partitions.to_vec(),
            now: io.now(),
        };
        self.restoring.push(Restoring {
            waiting: partitions.to_vec(),
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
        for lane in &mut self.lanes {
            lane.checkpoint(io, &mut self.shared, self.config.checkpoint_interval)?;
        }
        self.add_up();
        Ok(())
    }

    fn restoring(&self, partition: &Partition) -> Option<String> {
        let restoring = self.restoring.iter().find(|one| one.waiting.contains(partition))?;
        Some(restoring.read.to_string())
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
        }
        let result = self.last_checkpoints(io, partitions);
        // The next owner reads again from the saved position.
        self.lanes.retain(|lane| !partitions.contains(&lane.partition));
        self.take_turns();
        self.add_up();
        result
    }
}
