//! Rebuilds curve snapshots or derived prices from their topic while the service goes on serving.
//!
//! Role: the cure for rows that were changed, lost or invented by hand in Postgres or Redis. Only the newest row of each key is kept in
//! memory, so a partition is read at once, without checkpoints; an interrupted rebuild has changed nothing of the partition it was reading.
//! Invariants: a partition is replaced in one transaction, when the reading has reached the served position ([`ServedStore::replace`]).
//! What retention has removed from the topic is kept as it is served: `curve_snapshots` and `derived_prices` of ClickHouse have it for longer,
//! and latest prices are rebuilt from their topic alone as well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stores::postgres::{FromLog, Replaced};
use stores::redis::Key;
use stores::{Projection, ServedKey, ServedRow, ServedStore};
use stream::Partition;
use stream::kafka::reader::LogReader;

use super::error::check_end;
use super::{Rebuild, RebuildError, Report, Step, Strategy, blocking};
use crate::stages::served_record::{Unread, read};

/// The owner of a partition looks at its mark in Redis every five seconds.
const REFILL_LIMIT: Duration = Duration::from_secs(30);
const REFILL_POLL: Duration = Duration::from_millis(200);
/// Events between two reports of the progress.
const SHOWN_EVERY: u64 = 1_000;

/// A rebuild of curve snapshots or derived prices.
#[derive(Clone)]
pub struct ServedRebuild {
    /// What is rebuilt.
    pub projection: Projection,
    /// Clients and names, with the topic of the projection.
    pub of: Rebuild,
}

/// What was read of a partition.
struct Reading {
    reader: LogReader,
    rows: BTreeMap<ServedKey, ServedRow>,
    next_offset: i64,
    is_whole: bool,
    step: Step,
    unreadable: u64,
    show: super::copy::Show,
}

impl ServedRebuild {
    /// Reads the whole topic, and replaces the rows of one partition after the other; `show` is called now and then.
    ///
    /// # Errors
    /// A server does not answer, or the topics are not those of the rows.
    pub async fn run(&self, show: impl FnMut(&Step) + Send + 'static) -> Result<Report, RebuildError> {
        let began = Instant::now();
        if self.projection.has_copy() {
            self.of.redis.ping().await?;
        }
        self.of.check_topics().await?;
        let (reader, partitions) = self.of.log().await?;
        let mut report = Report {
            strategy: Strategy::Full.text(),
            ..Report::default()
        };
        let mut reading = Reading {
            reader,
            rows: BTreeMap::new(),
            next_offset: 0,
            is_whole: false,
            step: Step {
                partition: 0,
                events: 0,
                total: 0,
            },
            unreadable: 0,
            show: Box::new(show),
        };
        let (mut differing, mut owned) = (Vec::new(), Vec::new());
        for partition in &partitions {
            let had_owner = self
                .store()
                .load_position(&partition.topic, partition.number)
                .await?
                .is_some();
            reading = self.replace(reading, partition, (&mut report, &mut differing)).await?;
            if had_owner {
                owned.push(partition.to_string());
            }
        }
        (report.events, report.unreadable) = (reading.step.events, reading.unreadable);
        report.is_reloaded = self.show_new(&owned, &differing).await?;
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    fn store(&self) -> ServedStore {
        ServedStore::new(self.of.postgres.clone(), self.projection, &self.of.generation)
    }

    async fn replace(
        &self,
        mut reading: Reading,
        partition: &Partition,
        (report, differing): (&mut Report, &mut Vec<ServedKey>),
    ) -> Result<Reading, RebuildError> {
        reading.begin(partition)?;
        let mut served_position = 0;
        loop {
            let (wire, projection, of) = (self.of.wire.clone(), self.projection, partition.clone());
            reading = blocking(move || {
                reading.go_on(&wire, projection, &of)?;
                Ok(reading)
            })
            .await?;
            check_end(partition, served_position, reading.next_offset)?;
            let rows: Vec<ServedRow> = reading.rows.values().cloned().collect();
            let log = FromLog {
                topic: &partition.topic,
                partition: partition.number,
                next_offset: reading.next_offset,
                rows: &rows,
                is_whole: reading.is_whole,
            };
            match self.store().replace(&log).await? {
                Replaced::Done(changes) => {
                    report.partitions += 1;
                    report.added += changes.added.len() as u64;
                    report.removed += changes.removed.len() as u64;
                    report.changed += changes.changed.len() as u64;
                    differing.extend(changes.added);
                    differing.extend(changes.removed);
                    differing.extend(changes.changed);
                    return Ok(reading);
                }
                Replaced::Behind { served } => {
                    tracing::debug!(partition = %partition, served, "records have arrived; they are read, too");
                    served_position = served;
                    tokio::time::sleep(REFILL_POLL).await;
                }
            }
        }
    }

    /// Lets the owners write the copies again; false if one does not answer. A refill that was under way may have written an older row as the
    /// newer one that it was: so the copies that differ are dropped between two refills.
    async fn show_new(&self, owners: &[String], differing: &[ServedKey]) -> Result<bool, RebuildError> {
        if !self.projection.has_copy() {
            return Ok(true);
        }
        let is_refilled = self.refill(owners).await?;
        let keys: Vec<String> = differing
            .iter()
            .map(|key| Key::curve_snapshot(&key.tenant_id, &key.name, &key.horizon).to_string())
            .collect();
        self.of.drop_copies(&keys).await?;
        match is_refilled && !keys.is_empty() {
            true => self.refill(owners).await,
            false => Ok(is_refilled),
        }
    }

    /// Removes the marks of the owners, and waits until each has written its mark again.
    async fn refill(&self, owners: &[String]) -> Result<bool, RebuildError> {
        let marks: Vec<String> = owners
            .iter()
            .map(|owner| Key::snapshot_mark(owner).to_string())
            .collect();
        self.of.redis.delete(&marks).await?;
        let deadline = Instant::now() + REFILL_LIMIT;
        loop {
            let found = self.of.redis.get_many(&marks).await?;
            if found.iter().all(Option::is_some) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(REFILL_POLL).await;
        }
    }
}

impl Reading {
    /// Forgets the partition before.
    fn begin(&mut self, partition: &Partition) -> Result<(), RebuildError> {
        let (oldest, _) = self.reader.log_range(partition)?;
        self.rows.clear();
        self.next_offset = oldest;
        self.is_whole = oldest == 0;
        self.step.partition = partition.number;
        Ok(())
    }

    /// Reads up to the current end of the log. Blocks: call it on a thread of its own.
    fn go_on(&mut self, wire: &codec::Wire, projection: Projection, partition: &Partition) -> Result<(), RebuildError> {
        let (oldest, end) = self.reader.log_range(partition)?;
        let from = self.next_offset.max(oldest);
        self.step.total += u64::try_from(end - from).unwrap_or(0);
        let mut failure = None;
        let Reading {
            reader,
            rows,
            step,
            unreadable,
            show,
            ..
        } = self;
        reader.read(partition, from, end, |message| {
            let payload = message.payload.unwrap_or_default();
            let taken = read(wire, projection, payload, |record| {
                let is_newer = rows.get(record.key).is_none_or(|known| known.rank() < record.rank);
                if is_newer {
                    rows.insert(record.key.clone(), record.row(message.partition));
                }
            });
            match taken {
                Ok(()) => {}
                Err(Unread::Poison(..)) => *unreadable += 1,
                Err(Unread::Later(error)) => failure = Some(error),
            }
            step.events += 1;
            if step.events.is_multiple_of(SHOWN_EVERY) {
                show(step);
            }
            failure.is_none()
        })?;
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        (self.show)(&self.step);
        self.next_offset = end.max(from);
        Ok(())
    }
}
