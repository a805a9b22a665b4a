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
use super::{EXACT_TRIES, Rebuild, RebuildError, Report, Scope, Step, Strategy, blocking};
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
    /// Whose rows are replaced; its instrument is a curve or a series. All others stay, apart from what records do that the service has
    /// not stored yet.
    pub scope: Scope,
    /// Every replacement is rolled back: the report says what it would change.
    pub is_dry_run: bool,
}

/// What was read of a partition.
struct Reading {
    reader: LogReader,
    rows: BTreeMap<ServedKey, ServedRow>,
    next_offset: i64,
    /// Of the log.
    end: i64,
    is_whole: bool,
    scope: Scope,
    /// Rows out of the scope are served as of the records before this offset.
    complete_from: i64,
    step: Step,
    unreadable: u64,
    show: super::copy::Show,
}

impl ServedRebuild {
    /// Reads the whole topic, and replaces the rows of one partition after the other, or tries to; `show` is called now and then.
    ///
    /// # Errors
    /// A server does not answer, or the topics are not those of the rows.
    pub async fn run(&self, show: impl FnMut(&Step) + Send + 'static) -> Result<Report, RebuildError> {
        let began = Instant::now();
        if !self.is_dry_run {
            self.of.redis.ping().await?;
        }
        self.of.check_topics(!self.is_dry_run).await?;
        let (reader, partitions) = self.of.log().await?;
        let mut report = Report {
            strategy: Strategy::Full.text(&self.scope),
            dry_run: self.is_dry_run,
            ..Report::default()
        };
        let mut reading = Reading::new(reader, self.scope.clone(), Box::new(show));
        let (mut differing, mut owned) = (Vec::new(), Vec::new());
        for partition in &partitions {
            let served = self
                .store()
                .load_position(&partition.topic, partition.number)
                .await?
                .map(|served| served.position.next_offset);
            reading.begin(partition, served.unwrap_or(0))?;
            reading = self.replace(reading, partition, (&mut report, &mut differing)).await?;
            if served.is_some() {
                owned.push(partition.to_string());
            }
        }
        (report.events, report.unreadable) = (reading.step.events, reading.unreadable);
        if !self.is_dry_run {
            report.is_reloaded = self.show_new(&owned, &differing).await?;
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    fn store(&self) -> ServedStore {
        ServedStore::new(self.of.postgres.clone(), self.projection, &self.of.generation)
    }

    /// Where to stop reading, as [`Rebuild::until`] says.
    async fn until(&self, partition: &Partition, tries: u32) -> Result<Option<i64>, RebuildError> {
        if !self.is_dry_run || tries >= EXACT_TRIES {
            return Ok(None);
        }
        let stored = self.store().load_position(&partition.topic, partition.number).await?;
        Ok(Some(stored.map_or(0, |stored| stored.position.next_offset)))
    }

    async fn replace(
        &self,
        mut reading: Reading,
        partition: &Partition,
        (report, differing): (&mut Report, &mut Vec<ServedKey>),
    ) -> Result<Reading, RebuildError> {
        let (mut served_position, mut tries) = (0, 0);
        loop {
            let (wire, projection, of) = (self.of.wire.clone(), self.projection, partition.clone());
            let until = self.until(partition, tries).await?;
            tries += 1;
            reading = blocking(move || {
                reading.go_on(&wire, projection, &of, until)?;
                Ok(reading)
            })
            .await?;
            check_end(partition, served_position, reading.end)?;
            let rows: Vec<ServedRow> = reading.rows.values().cloned().collect();
            let log = FromLog {
                topic: &partition.topic,
                partition: partition.number,
                next_offset: reading.next_offset,
                rows: &rows,
                is_whole: reading.is_whole,
                scope: &self.scope,
                complete_from: reading.complete_from,
                is_dry_run: self.is_dry_run,
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
                Replaced::WentBack { served } => {
                    return Err(RebuildError::WentBack {
                        partition: partition.to_string(),
                        position: served,
                    });
                }
            }
        }
    }

    /// Lets the owners write the copies again; false if one does not answer. A refill that was under way may have written an older row as the
    /// newer one that it was: so the copies that differ are dropped between two refills.
    async fn show_new(&self, owners: &[String], differing: &[ServedKey]) -> Result<bool, RebuildError> {
        let is_refilled = self.refill(owners).await?;
        let keys: Vec<String> = differing
            .iter()
            .map(|key| Key::served(self.projection, key).to_string())
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
            .map(|owner| Key::served_mark(self.projection, owner).to_string())
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
    fn new(reader: LogReader, scope: Scope, show: super::copy::Show) -> Reading {
        Reading {
            reader,
            rows: BTreeMap::new(),
            next_offset: 0,
            end: 0,
            is_whole: false,
            scope,
            complete_from: 0,
            step: Step {
                partition: 0,
                events: 0,
                total: 0,
            },
            unreadable: 0,
            show,
        }
    }

    /// Forgets the partition before; `served` is the next offset of the served position.
    fn begin(&mut self, partition: &Partition, served: i64) -> Result<(), RebuildError> {
        let (oldest, _) = self.reader.log_range(partition)?;
        self.rows.clear();
        self.next_offset = oldest;
        self.is_whole = oldest == 0;
        self.complete_from = if self.scope.is_all() { 0 } else { served };
        self.step.partition = partition.number;
        Ok(())
    }

    /// Reads up to an offset, or to the current end of the log. Blocks: call it on a thread of its own.
    fn go_on(
        &mut self,
        wire: &codec::Wire,
        projection: Projection,
        partition: &Partition,
        until: Option<i64>,
    ) -> Result<(), RebuildError> {
        let (oldest, end) = self.reader.log_range(partition)?;
        let from = self.next_offset.max(oldest);
        let to = until.unwrap_or(end).clamp(from, end.max(from));
        self.step.total += u64::try_from(to - from).unwrap_or(0);
        let mut failure = None;
        let Reading {
            reader,
            rows,
            scope,
            complete_from,
            step,
            unreadable,
            show,
            ..
        } = self;
        reader.read(partition, from, to, |message| {
            let payload = message.payload.unwrap_or_default();
            let taken = read(wire, projection, payload, |record| {
                let is_wanted = message.offset >= *complete_from || scope.has(&record.key.tenant_id, &record.key.name);
                if is_wanted && rows.get(record.key).is_none_or(|known| known.rank() < record.rank) {
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
        (self.next_offset, self.end) = (to, end);
        Ok(())
    }
}
