//! Watches for partitions that deliver no messages although their log continues, and examines each one.
//!
//! Role: a partition that has not moved for [`STALLED_AFTER`] is examined. When the client could not read a batch, every
//! partition that is behind is examined at once. A separate thread does it (`kafka::examine`), so the loop never waits. The
//! result goes to the handler, to health, to a metric and to the log, until the partition continues.
//! Failure: an examination that fails is repeated; it changes nothing.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::{Handler, Io, WorkerConfig};
use crate::kafka::consumer::{GroupConsumer, Standing};
use crate::kafka::examine::examine;
use crate::stall::{Cause, Stall};
use crate::{Partition, StreamError, WorkerStatus, metrics};

/// How often standings are compared. The client reports them every four seconds.
const COMPARE_EVERY: Duration = Duration::from_millis(500);
/// A partition that did not move for this long is examined. Counted between two reports of the client: a report that is old says
/// nothing about the time since, and each examination costs two connections to the broker.
const STALLED_AFTER: Duration = Duration::from_secs(3);
/// Interval of later examinations, while it still does not move.
const EXAMINE_AGAIN: Duration = Duration::from_secs(10);
/// A partition that stays blocked is logged again after this long.
const LOG_AGAIN: Duration = Duration::from_secs(60);

type Examined = (Partition, i64, Result<Option<Stall>, StreamError>);

/// One partition that is not at the end of its log.
struct Unmoved {
    position: i64,
    /// The first and the last report that showed it there.
    since: Instant,
    until: Instant,
    examined: Option<Instant>,
    is_being_examined: bool,
    blocked: Option<Stall>,
    logged: Option<Instant>,
    /// Paused, or the client would fetch and unpack the unreadable batch ten times a second.
    is_paused: bool,
}

impl Unmoved {
    fn new(standing: &Standing) -> Unmoved {
        Unmoved {
            position: standing.position,
            since: standing.as_of,
            until: standing.as_of,
            examined: None,
            is_being_examined: false,
            blocked: None,
            logged: None,
            is_paused: false,
        }
    }

    fn is_due(&self, is_suspicious: bool) -> bool {
        let is_stalled = self.until.saturating_duration_since(self.since) >= STALLED_AFTER;
        match self.examined {
            _ if self.is_being_examined => false,
            None => is_suspicious || is_stalled,
            Some(examined) => examined.elapsed() >= EXAMINE_AGAIN,
        }
    }
}

/// The watch of one session.
pub(super) struct StallWatch {
    unmoved: BTreeMap<Partition, Unmoved>,
    /// Ranges from a position to the next one that contain no readable record.
    passed: BTreeMap<Partition, (i64, i64)>,
    sender: Sender<Examined>,
    results: Receiver<Examined>,
    compared: Instant,
}

impl StallWatch {
    pub(super) fn new() -> StallWatch {
        let (sender, results) = channel();
        StallWatch {
            unmoved: BTreeMap::new(),
            passed: BTreeMap::new(),
            sender,
            results,
            compared: Instant::now(),
        }
    }

    /// One turn; cheap.
    pub(super) fn turn(
        &mut self,
        consumer: &GroupConsumer,
        handler: &mut dyn Handler,
        io: &mut Io<'_>,
        status: &WorkerStatus,
    ) -> Result<(), StreamError> {
        while let Ok(result) = self.results.try_recv() {
            self.on_result(result, handler, io, status)?;
        }
        if self.compared.elapsed() < COMPARE_EVERY {
            return Ok(());
        }
        self.compared = Instant::now();
        if io.is_paused() {
            // Nothing moves, as ordered. What is blocked stays so.
            self.unmoved.retain(|_, still| still.blocked.is_some());
            return Ok(());
        }
        let is_suspicious = consumer.take_unreadable();
        // A partition that was given up and assigned again may be read again from an earlier offset.
        let started = consumer.standings();
        self.passed
            .retain(|partition, _| started.iter().any(|standing| standing.partition == *partition));
        let standings = self.standings(consumer, handler);
        self.compare(&standings, io.config(), status);
        // While the handler has no room no message is polled, so no partition can move.
        if handler.has_room() {
            self.examine_unmoved(io.config(), is_suspicious);
        }
        Ok(())
    }

    /// The standing of each partition. Offsets that no reader can see count as read.
    pub(super) fn standings(&self, consumer: &GroupConsumer, handler: &dyn Handler) -> Vec<Standing> {
        let mut standings = consumer.standings();
        for standing in &mut standings {
            if let Some(position) = handler.position(&standing.partition) {
                standing.position = position;
            }
            if let Some((from, to)) = self.passed.get(&standing.partition)
                && standing.position == *from
                && handler.restoring(&standing.partition).is_none()
            {
                standing.position = *to;
            }
        }
        standings
    }

    fn compare(&mut self, standings: &[Standing], config: &WorkerConfig, status: &WorkerStatus) {
        let behind = |partition: &Partition| {
            let standing = standings.iter().find(|standing| standing.partition == *partition)?;
            (standing.position < standing.end).then_some(standing.position)
        };
        self.unmoved.retain(|partition, still| {
            let is_unmoved = behind(partition) == Some(still.position);
            if !is_unmoved && still.blocked.is_some() {
                tracing::info!(event = "partition_unblocked", partition = %partition, "the partition continues");
                set_blocked(config, status, partition, None);
            }
            is_unmoved
        });
        for standing in standings.iter().filter(|standing| standing.position < standing.end) {
            self.unmoved
                .entry(standing.partition.clone())
                .and_modify(|still| still.until = standing.as_of)
                .or_insert_with(|| Unmoved::new(standing));
        }
    }

    fn examine_unmoved(&mut self, config: &WorkerConfig, is_suspicious: bool) {
        for (partition, still) in &mut self.unmoved {
            if !still.is_due(is_suspicious) {
                continue;
            }
            (still.is_being_examined, still.examined) = (true, Some(Instant::now()));
            let (sender, bootstrap) = (self.sender.clone(), config.bootstrap.clone());
            let (partition, position) = (partition.clone(), still.position);
            std::thread::spawn(move || {
                let found = examine(&bootstrap, &partition, position);
                // The session may have ended meanwhile.
                let _ = sender.send((partition, position, found));
            });
        }
    }

    fn on_result(
        &mut self,
        (partition, position, found): Examined,
        handler: &mut dyn Handler,
        io: &mut Io<'_>,
        status: &WorkerStatus,
    ) -> Result<(), StreamError> {
        let Some(still) = self
            .unmoved
            .get_mut(&partition)
            .filter(|still| still.position == position)
        else {
            return Ok(());
        };
        still.is_being_examined = false;
        let stall = match found {
            Ok(Some(stall)) => stall,
            Ok(None) => {
                if std::mem::take(&mut still.is_paused) {
                    io.resume(&partition)?;
                }
                if still.blocked.take().is_some() {
                    set_blocked(io.config(), status, &partition, None);
                }
                return Ok(());
            }
            Err(error) => {
                tracing::debug!(partition = %partition, error = %error, "a partition that does not move could not be examined; will try again");
                return Ok(());
            }
        };
        if handler.stalled(io, &stall)? {
            self.unmoved.remove(&partition);
            return Ok(());
        }
        if stall.cause == Cause::NothingReadable {
            let from = self.passed.get(&partition).filter(|(_, to)| *to == position);
            let from = from.map_or(position, |(from, _)| *from);
            self.passed.insert(partition, (from, stall.end));
            return Ok(());
        }
        if matches!(stall.cause, Cause::Unreadable { .. }) && !still.is_paused {
            io.pause(&partition)?;
            still.is_paused = true;
        }
        if still.blocked.as_ref() != Some(&stall) || still.logged.is_none_or(|logged| logged.elapsed() >= LOG_AGAIN) {
            let explained = stall.explain(|to| io.config().reader().skip_command(&partition, to));
            tracing::error!(event = "partition_blocked", kind = stall.kind(), partition = %partition, position, error = explained, "partition is blocked");
            set_blocked(io.config(), status, &partition, Some(explained));
            (still.blocked, still.logged) = (Some(stall), Some(Instant::now()));
        }
        Ok(())
    }
}

/// The session ends: the next one examines its partitions itself.
pub(super) fn forget(config: &WorkerConfig, status: &WorkerStatus) {
    for partition in status.blocked().into_keys() {
        set_blocked(config, status, &partition, None);
    }
}

fn set_blocked(config: &WorkerConfig, status: &WorkerStatus, partition: &Partition, explained: Option<String>) {
    metrics::partition_blocked(&config.group, partition, explained.is_some());
    status.set_blocked(partition.clone(), explained);
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORTS_EVERY: Duration = Duration::from_secs(4);

    fn standing(position: i64, as_of: Instant) -> Standing {
        Standing {
            partition: Partition {
                topic: "ticks".into(),
                number: 0,
            },
            position,
            end: 100,
            as_of,
        }
    }

    // Under load, most partitions are behind in each report, and the next one shows that they have moved.
    #[test]
    fn one_report_examines_nothing_however_old_it_is_and_the_next_one_does_if_nothing_has_moved() {
        let config = WorkerConfig {
            service: String::new(),
            generation: String::new(),
            bootstrap: crate::Brokers::plaintext("nowhere:1"),
            group: "tested".to_owned(),
            topics: Vec::new(),
            pace: crate::Pace::PROMPT,
            compression: crate::Compression::None,
            client_id: String::new(),
            instance_id: None,
            recorder: None,
            dlq_topic: String::new(),
            drain_timeout: Duration::ZERO,
        };
        let (status, mut watch) = (WorkerStatus::new("stage-0"), StallWatch::new());
        let mut due = |position, as_of| {
            watch.compare(&[standing(position, as_of)], &config, &status);
            watch.unmoved.values().any(|still| still.is_due(false))
        };
        // Any moment of the past would do, and a machine may have been started only now.
        let first = Instant::now();
        let (second, third) = (first + REPORTS_EVERY, first + 2 * REPORTS_EVERY);
        assert!(!due(7, first));
        assert!(!due(7, first), "the same report again");
        assert!(!due(8, second), "it has moved");
        assert!(due(8, third), "it has not");
        assert!(!due(100, third), "it is at the end");
    }
}
