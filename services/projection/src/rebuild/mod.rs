//! Rebuilds the latest prices from the log while the service goes on serving: `dp projection rebuild`.
//!
//! ```text
//! enriched.market.ticks.v1 ─▶ copy in Postgres, a checkpoint every 1,000 events ─▶ exchange, one partition at a time ─▶ Redis
//! ```
//! Role: the cure for prices that were changed or lost by hand in Postgres or Redis.
//! Invariants: readers see each partition as it was before, or as the log makes it; the copy reaches at least the served position
//! before they are exchanged; the owner of a partition that was exchanged stores nothing before it has loaded the new rows.
//! Failure: nothing that is served has changed before the exchange. A rebuild that was interrupted continues at its last
//! checkpoint when it is started again with the same strategy and scope. A dry run that was interrupted leaves a copy, which the next
//! rebuild or dry run discards.

mod copy;
mod custom;
mod error;
mod plan;
mod served;

use std::time::{Duration, Instant};

use serde::Serialize;
use stores::postgres::{Exchange, Keep, Rebuilds, Swap};
use stores::redis::Key;
use stores::{LatestPriceStore, Postgres, Redis};
use stream::kafka::describe::remembered_ids;
use stream::kafka::reader::LogReader;
use stream::{Brokers, Partition};

pub use error::RebuildError;
pub use plan::{Mode, Plan, Strategy};
pub use served::ServedRebuild;
pub use stores::postgres::Scope;

use crate::stages::mark::{has_loaded, replaced};
use copy::{Copied, Copier};
use error::check_end;

/// The owner of a partition looks at its mark in Redis once a second, and loads up to a million prices.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);
const RELOAD_POLL: Duration = Duration::from_millis(200);
/// How often a dry run tries to stop at the served position. A service that commits all the time moves on faster.
const EXACT_TRIES: u32 = 50;

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// `full` or `since …`, and whose prices were replaced if not all.
    pub strategy: String,
    /// Whether nothing was changed: all numbers are what a rebuild would do.
    pub dry_run: bool,
    /// Whether it continued an interrupted rebuild.
    pub is_resumed: bool,
    /// Partitions exchanged by this run.
    pub partitions: usize,
    /// Events read by this run.
    pub events: u64,
    /// Records that are no events of this pipeline; the service has sent them to the dead letters.
    pub unreadable: u64,
    /// Prices that did not exist.
    pub added: u64,
    /// Prices that the log does not explain.
    pub removed: u64,
    /// Prices that were different.
    pub changed: u64,
    /// Whether the service has loaded the new prices. If not, it does so when it starts. Never after a dry run.
    pub is_reloaded: bool,
    /// Generation of the replaced rows, if they were kept.
    pub backup: Option<String>,
    /// Seconds.
    pub seconds: f64,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Partition being read.
    pub partition: i32,
    /// Events read of all partitions.
    pub events: u64,
    /// Events that the log has for this rebuild, as far as is known.
    pub total: u64,
}

/// Clients and names of a rebuild.
#[derive(Clone)]
pub struct Rebuild {
    /// The store of prices or served rows.
    pub postgres: Postgres,
    /// The copy for readers.
    pub redis: Redis,
    /// Kafka.
    pub bootstrap: Brokers,
    /// Decodes events.
    pub wire: codec::Wire,
    /// The topic that is read: the enriched one for prices.
    pub topic: String,
    /// Raw topics, whose ids are checked.
    pub feeds: Vec<String>,
    /// Generation of what is served.
    pub generation: String,
}

impl Rebuild {
    /// Runs, or continues, a rebuild, or tries one; `show` is called after each checkpoint.
    ///
    /// # Errors
    /// A server does not answer, another strategy is under way, or the topics are not those of the prices.
    pub async fn run(&self, plan: &Plan, show: impl FnMut(&Step) + Send + 'static) -> Result<Report, RebuildError> {
        let began = Instant::now();
        let mut report = match plan.mode {
            Mode::Exchange { restart, keep_backup } => self.exchange(plan, (restart, keep_backup), show).await?,
            Mode::DryRun => self.dry_run(plan, show).await?,
        };
        report.strategy = plan.text();
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn exchange(
        &self,
        plan: &Plan,
        (restart, keep_backup): (bool, bool),
        show: impl FnMut(&Step) + Send + 'static,
    ) -> Result<Report, RebuildError> {
        self.redis.ping().await?;
        self.check_topics(true).await?;
        let rebuilds = Rebuilds::new(self.postgres.clone(), &self.generation);
        let (is_resumed, swapped) = self.begin(&rebuilds, &plan.text(), restart).await?;
        let mut report = Report {
            is_resumed,
            ..Report::default()
        };
        let mut instruments = if swapped.is_empty() {
            Vec::new()
        } else {
            rebuilds.changes(&swapped).await?.instruments
        };
        let partitions = self
            .copy(&rebuilds, plan, swapped, show, &mut report, &mut instruments)
            .await?;
        report.is_reloaded = self.show_new(&partitions, &instruments).await?;
        rebuilds
            .finish(i64::try_from(report.events).unwrap_or(i64::MAX), keep_backup)
            .await?;
        report.backup = keep_backup.then(|| format!("{}~backup", self.generation));
        Ok(report)
    }

    /// Does the same in a copy of its own, and rolls the exchanges back. Neither Redis nor the owners take part.
    async fn dry_run(&self, plan: &Plan, show: impl FnMut(&Step) + Send + 'static) -> Result<Report, RebuildError> {
        self.check_topics(false).await?;
        let rebuilds = Rebuilds::dry_run(self.postgres.clone(), &self.generation);
        rebuilds.discard_all().await?;
        let mut report = Report {
            dry_run: true,
            ..Report::default()
        };
        let copied = self
            .copy(&rebuilds, plan, Vec::new(), show, &mut report, &mut Vec::new())
            .await;
        let discarded = rebuilds.discard_all().await;
        copied?;
        discarded?;
        Ok(report)
    }

    /// Rejects topics that are not those of the prices; remembers the ids of new ones if it may.
    async fn check_topics(&self, may_store: bool) -> Result<(), RebuildError> {
        let (bootstrap, topic) = (self.bootstrap.clone(), self.topic.clone());
        let (feeds, generation) = (self.feeds.clone(), self.generation.clone());
        let ids = blocking(move || Ok(remembered_ids(&bootstrap, &topic, &feeds, &generation)?)).await?;
        let topics = LatestPriceStore::new(self.postgres.clone(), &self.generation);
        match may_store {
            true => topics.check_topics(&ids).await?,
            false => topics.compare_topics(&ids).await?,
        }
        Ok(())
    }

    /// A reader of the log, and the partitions of the topic.
    async fn log(&self) -> Result<(LogReader, Vec<Partition>), RebuildError> {
        let (bootstrap, topic) = (self.bootstrap.clone(), self.topic.clone());
        blocking(move || {
            let reader = LogReader::new(&bootstrap)?;
            let partitions = reader.partitions(&topic)?;
            Ok((reader, partitions))
        })
        .await
    }

    /// Removes these keys from Redis.
    async fn drop_copies(&self, keys: &[String]) -> Result<(), RebuildError> {
        for part in keys.chunks(1_000) {
            self.redis.delete(part).await?;
        }
        Ok(())
    }

    /// Whether an interrupted rebuild continues, and the partitions that it has exchanged.
    async fn begin(
        &self,
        rebuilds: &Rebuilds,
        strategy: &str,
        restart: bool,
    ) -> Result<(bool, Vec<i32>), RebuildError> {
        let under_way = rebuilds.find().await?.filter(|found| found.finished_at.is_none());
        match under_way {
            Some(found) if !restart && found.strategy == strategy => Ok((true, found.swapped)),
            Some(found) if !restart => Err(RebuildError::OtherStrategy {
                strategy: found.strategy,
                started_at: found.started_at,
            }),
            _ => {
                rebuilds.begin(strategy).await?;
                Ok((false, Vec::new()))
            }
        }
    }

    /// Copies and exchanges every partition that is not yet exchanged; returns all of them.
    async fn copy(
        &self,
        rebuilds: &Rebuilds,
        plan: &Plan,
        swapped: Vec<i32>,
        show: impl FnMut(&Step) + Send + 'static,
        report: &mut Report,
        instruments: &mut Vec<(String, String)>,
    ) -> Result<Vec<Partition>, RebuildError> {
        let (reader, partitions) = self.log().await?;
        let served = LatestPriceStore::new(self.postgres.clone(), &self.generation);
        let stores = (served, rebuilds.copy());
        let mut copier = Copier::new(reader, stores, self.wire.clone(), plan.clone(), Box::new(show));
        for partition in partitions
            .iter()
            .filter(|partition| !swapped.contains(&partition.number))
        {
            let mut served_position = 0;
            for tries in 0.. {
                let (reading, until) = (partition.clone(), self.until(plan.mode, partition, tries).await?);
                let copied: Copied;
                (copier, copied) = blocking(move || {
                    let copied = copier.read(&reading, until)?;
                    Ok((copier, copied))
                })
                .await?;
                check_end(partition, served_position, copied.end)?;
                match rebuilds.swap(&exchange_of(partition, plan, &copied)).await? {
                    Swap::Done(changes) => {
                        report.added += changes.added;
                        report.removed += changes.removed;
                        report.changed += changes.changed;
                        instruments.extend(changes.instruments);
                        break;
                    }
                    Swap::Behind { served } => {
                        tracing::debug!(partition = %partition, served, "events have arrived; they are read, too");
                        served_position = served;
                    }
                    Swap::WentBack { served } => {
                        return Err(RebuildError::WentBack {
                            partition: partition.to_string(),
                            position: served,
                        });
                    }
                    Swap::NoCopy => return Err(RebuildError::Discarded),
                }
            }
            report.partitions += 1;
        }
        (report.events, report.unreadable) = copier.counts();
        Ok(partitions)
    }

    /// Where to stop reading, if not at the end of the log. A dry run stops at the served position: events that the service has not stored
    /// yet are nothing that a rebuild corrects.
    async fn until(&self, mode: Mode, partition: &Partition, tries: u32) -> Result<Option<i64>, RebuildError> {
        if mode != Mode::DryRun || tries >= EXACT_TRIES {
            return Ok(None);
        }
        let served = LatestPriceStore::new(self.postgres.clone(), &self.generation);
        let stored = served.load_position(&partition.topic, partition.number).await?;
        Ok(Some(stored.map_or(0, |stored| stored.position.next_offset)))
    }

    /// Lets the owners load the new prices, and the copies of what has changed be written again; false if no owner answers.
    ///
    /// An owner may write what it has in memory until it has loaded the new prices. So they load them first; then the copies that
    /// differ are dropped, and the owners fill Redis once more, since an older price there never replaces a newer one.
    async fn show_new(&self, partitions: &[Partition], instruments: &[(String, String)]) -> Result<bool, RebuildError> {
        let is_reloaded = self.reload(partitions).await?;
        let mut keys: Vec<String> = instruments
            .iter()
            .map(|(tenant, instrument)| Key::latest_price(tenant, instrument).to_string())
            .collect();
        keys.append(&mut custom::made_of(&self.redis, instruments).await?);
        self.drop_copies(&keys).await?;
        if is_reloaded && !keys.is_empty() {
            return self.reload(partitions).await;
        }
        Ok(is_reloaded)
    }

    /// Asks the owners to fill Redis, after they have loaded the prices if they have older ones; whether all of them did.
    async fn reload(&self, partitions: &[Partition]) -> Result<bool, RebuildError> {
        let prices = LatestPriceStore::new(self.postgres.clone(), &self.generation);
        let mut waiting = Vec::new();
        for partition in partitions {
            let stored = prices.load_position(&partition.topic, partition.number).await?;
            waiting.push((partition.to_string(), stored.map_or(0, |stored| stored.epoch)));
        }
        for (owner, epoch) in &waiting {
            self.redis.mark_copy(owner, &replaced(*epoch)).await?;
        }
        let deadline = Instant::now() + RELOAD_LIMIT;
        while Instant::now() < deadline {
            let mut left = Vec::new();
            for (owner, epoch) in waiting {
                let mark = self.redis.copy_state(&owner).await?.mark;
                if mark.as_deref().is_some_and(|mark| has_loaded(mark, epoch)) {
                    continue;
                }
                if mark.as_deref() != Some(replaced(epoch).as_str()) {
                    // Redis was emptied, or the owner began to fill it with what it had.
                    self.redis.mark_copy(&owner, &replaced(epoch)).await?;
                }
                left.push((owner, epoch));
            }
            if left.is_empty() {
                return Ok(true);
            }
            waiting = left;
            tokio::time::sleep(RELOAD_POLL).await;
        }
        Ok(false)
    }
}

fn exchange_of<'a>(partition: &'a Partition, plan: &'a Plan, copied: &Copied) -> Exchange<'a> {
    Exchange {
        topic: &partition.topic,
        partition: partition.number,
        keep: match plan.strategy {
            Strategy::Full if copied.is_from_first => Keep::Nothing,
            Strategy::Full => Keep::Missing,
            Strategy::Since(_) => Keep::MissingAndNewer,
        },
        scope: &plan.scope,
        complete_from: copied.complete_from,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RebuildError> + Send + 'static,
) -> Result<T, RebuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RebuildError::Ended(error.to_string())),
    }
}
