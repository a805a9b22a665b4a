//! Executes the work of a lane of served rows on the async runtime: Postgres first, then Redis. Errors are part of the answers; none
//! ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stores::postgres::{LoadedPosition, ServedBatch};
use stores::redis::Key;
use stores::{Applied, LatestPriceStore, Projection, Redis, ServedRow, ServedStore, StoreError};
use stream::kafka::describe::remembered_ids;
use stream::{Brokers, Partition};

use super::store_work::LoadError;
use crate::core::newest::Newest;
use crate::core::rules::{CHANNEL, served_notice};
use crate::core::served_lane::{ServedAnswers, ServedWork};
use crate::core::work::{Committed, CopySeen};

/// Rows that a refill reads from Postgres at once.
const PART: i64 = 200;

/// The stores of both projections. Cheap to clone.
#[derive(Clone)]
pub struct ServedStores {
    /// Curve snapshots.
    pub curves: ServedStore,
    /// Derived prices.
    pub derived: ServedStore,
    /// Remembers the ids of topics, for all projections.
    pub topics: LatestPriceStore,
    /// The copy of both for readers.
    pub redis: Redis,
    /// A refusal of Postgres before the first load ends the process, a later one is waited for.
    pub was_let_in: Arc<AtomicBool>,
}

/// The initial state of a lane.
pub(super) type WasLoaded = (Option<LoadedPosition>, Newest);

impl ServedStores {
    /// The rows of this projection.
    pub fn of(&self, projection: Projection) -> &ServedStore {
        match projection {
            Projection::CurveSnapshot => &self.curves,
            Projection::DerivedPrice => &self.derived,
        }
    }

    /// Checks the ids of the topic and of the raw feeds, then reads position and ranks of a partition.
    pub(super) async fn load(
        &self,
        (bootstrap, feeds, generation): (Brokers, Vec<String>, String),
        projection: Projection,
        partition: &Partition,
    ) -> Result<WasLoaded, LoadError> {
        let source = partition.topic.to_string();
        let read_ids = move || remembered_ids(&bootstrap, &source, &feeds, &generation);
        let ids = match tokio::task::spawn_blocking(read_ids).await {
            Ok(Ok(ids)) => ids,
            Ok(Err(error)) => return Err(LoadError::Topics(error.to_string())),
            Err(error) => return Err(LoadError::Topics(error.to_string())),
        };
        self.topics.check_topics(&ids).await?;
        let store = self.of(projection);
        // The position first: rows newer than the position are harmless, older ones are not.
        let position = store.load_position(&partition.topic, partition.number).await?;
        let mut newest = Newest::default();
        let restore = |key, rank| newest.restore(key, rank);
        store.read_ranks(partition.number, restore).await?;
        self.was_let_in.store(true, Ordering::Relaxed);
        Ok((position, newest))
    }

    /// Executes the work. Mark `own` is unique to the lane, so that the mark of another owner of the partition is not accepted.
    pub(super) async fn execute(
        &self,
        projection: Projection,
        partition: &Partition,
        own: &str,
        work: &ServedWork,
    ) -> ServedAnswers {
        let mut answers = ServedAnswers {
            redis_ok: true,
            ..ServedAnswers::default()
        };
        if let Some(commit) = &work.commit {
            let batch = ServedBatch {
                topic: &partition.topic,
                partition: partition.number,
                expected: commit.expected,
                next_offset: commit.next_offset,
                rows: &commit.rows,
            };
            let applied = self.of(projection).apply(&batch).await;
            self.committed(partition, applied, &mut answers);
            if answers.committed != Some(Committed::Yes) {
                return answers;
            }
            answers.redis_ok = succeeded(self.copy(projection, &commit.rows).await);
        }
        let owner = partition.to_string();
        if work.check_copy && answers.redis_ok {
            match self.redis.state_with(&Key::served_mark(projection, &owner)).await {
                Ok(state) => {
                    answers.copy = Some(CopySeen {
                        is_marked: state.mark.as_deref() == Some(own),
                        run: state.run_id,
                        evicted: state.evicted_keys,
                    });
                }
                Err(error) => answers.redis_ok = succeeded(Err(error)),
            }
        }
        if work.refill && answers.redis_ok {
            answers.redis_ok = succeeded(self.refill(projection, partition, &owner, own).await);
        }
        answers
    }

    fn committed(&self, partition: &Partition, applied: Result<Applied, StoreError>, answers: &mut ServedAnswers) {
        answers.committed = Some(match applied {
            Ok(Applied::Yes) => Committed::Yes,
            Ok(Applied::Conflict) => Committed::Conflict,
            Err(error) if error.is_refusal() => {
                tracing::error!(partition = %partition, error = %error, event = "write_refused", "commit refused; no data is lost. Fix the cause in `error`; the service retries");
                answers.refused = Some(error.with_code());
                Committed::Unknown
            }
            Err(error) => {
                tracing::warn!(partition = %partition, error = %error, "commit not answered; the position will be read");
                Committed::Unknown
            }
        });
    }

    /// Writes rows that Postgres has to Redis, then publishes a notice about each.
    async fn copy(&self, projection: Projection, rows: &[ServedRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.redis.put_served(projection, rows).await?;
        let texts: Vec<String> = rows
            .iter()
            .map(|row| served_notice(projection, &row.key, None))
            .collect();
        // The rows are written. A listener that misses notices must read them again, as after a lost connection.
        if let Err(error) = self.redis.publish(CHANNEL, &texts).await {
            tracing::warn!(error = %error, channel = CHANNEL, projection = projection.name(), notices = texts.len(), "notices about new curve snapshots or derived prices could not be published; the rows are written");
        }
        Ok(())
    }

    /// Writes the mark, then every row of the partition: a Redis that is emptied meanwhile loses the mark as well.
    async fn refill(
        &self,
        projection: Projection,
        partition: &Partition,
        owner: &str,
        own: &str,
    ) -> Result<(), StoreError> {
        self.redis.set_mark(&Key::served_mark(projection, owner), own).await?;
        let (store, mut after) = (self.of(projection), None);
        loop {
            let rows = store.rows_after(partition.number, after.as_ref(), PART).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            self.redis.put_served(projection, &rows).await?;
            after = Some(last.key.clone());
        }
    }
}

fn succeeded(result: Result<(), StoreError>) -> bool {
    if let Err(error) = &result {
        tracing::warn!(error = %error, "copies of curve snapshots or derived prices could not be written to redis; redis is filled again when both stores answer");
    }
    result.is_ok()
}
