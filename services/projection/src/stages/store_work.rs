//! Executes a lane's work on the async runtime: Redis first, then Postgres. Errors are part of the answers; none ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use stores::postgres::{LoadedPosition, PriceBatch};
use stores::{Applied, LatestPriceStore, Redis, StoreError};
use stream::Brokers;
use stream::Partition;
use stream::kafka::describe::remembered_ids;

use super::mark;
use crate::core::book::Book;
use crate::core::custom::CustomTypes;
use crate::core::rules::CHANNEL;
use crate::core::work::{Answers, Commit, Committed, CopySeen, Work};

/// The stores of a projection. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Prices with positions.
    pub prices: LatestPriceStore,
    /// The copy of the prices for readers.
    pub redis: Redis,
    /// Further values in Redis that are made of the prices.
    pub custom: CustomTypes,
    /// A refusal of Postgres before the first load ends the process, a later one is waited for.
    pub was_let_in: Arc<AtomicBool>,
}

/// The initial state of a lane.
pub type Loaded = (Option<LoadedPosition>, Book);

impl Stores {
    /// Checks the ids of the source topic and of the raw feeds, then reads position and prices of a partition. `read` counts
    /// the prices read so far.
    pub async fn load(
        &self,
        bootstrap: Brokers,
        feeds: Vec<String>,
        generation: String,
        partition: &Partition,
        read: &AtomicU64,
    ) -> Result<Loaded, LoadError> {
        let source = partition.topic.to_string();
        let read_ids = move || remembered_ids(&bootstrap, &source, &feeds, &generation);
        let ids = match tokio::task::spawn_blocking(read_ids).await {
            Ok(Ok(ids)) => ids,
            Ok(Err(error)) => return Err(LoadError::Topics(error.to_string())),
            Err(error) => return Err(LoadError::Topics(error.to_string())),
        };
        self.prices.check_topics(&ids).await?;
        // The position first: prices newer than the position are harmless, older ones are not.
        let position = self.prices.load_position(&partition.topic, partition.number).await?;
        let mut book = Book::new(partition.number);
        let restore = |price| {
            book.restore(&price);
            read.fetch_add(1, Ordering::Relaxed);
        };
        self.prices.read_prices(partition.number, restore).await?;
        self.was_let_in.store(true, Ordering::Relaxed);
        Ok((position, book))
    }

    /// Executes the work. Mark `own` is unique to the lane, so that the mark of another owner of the partition is not accepted.
    pub async fn execute(&self, partition: &Partition, own: &str, work: Work) -> Answers {
        let owner = partition.to_string();
        let mut answers = Answers {
            redis_ok: true,
            ..Answers::default()
        };
        let mut may_be_replaced = work.refill.is_some_and(|part| part.begins);
        if work.check_copy {
            match self.redis.copy_state(&owner).await {
                Ok(state) => {
                    may_be_replaced |= state.mark.as_deref().is_some_and(|found| mark::is_after(found, own));
                    answers.copy = Some(CopySeen {
                        is_marked: state.mark.as_deref() == Some(own),
                        run: state.run_id,
                        evicted: state.evicted_keys,
                    });
                }
                Err(error) => answers.redis_ok = succeeded(Err(error)),
            }
        }
        // A refill asks too, since the mark of a rebuild is lost when Redis is emptied.
        if may_be_replaced && self.is_replaced(partition, own).await {
            answers.is_replaced = true;
            return answers;
        }
        if work.refill.is_some_and(|part| part.begins) && answers.redis_ok {
            answers.redis_ok = succeeded(self.redis.mark_copy(&owner, own).await);
        }
        if !work.redis.is_empty() && answers.redis_ok {
            answers.redis_ok = succeeded(self.redis.put_prices(work.redis.iter()).await.map(|_| ()));
        }
        if !self.custom.is_empty() && answers.redis_ok {
            let values = self.custom.values(work.redis.iter());
            answers.redis_ok = succeeded(self.redis.put_custom(values).await.map(|_| ()));
        }
        if !work.notices.is_empty() && answers.redis_ok {
            let texts: Vec<String> = work.notices.iter().map(|notice| notice.to_text(None)).collect();
            // The prices are written. A listener that misses notices must read the prices again, as after a lost connection.
            if let Err(error) = self.redis.publish(CHANNEL, &texts).await {
                tracing::warn!(error = %error, channel = CHANNEL, notices = texts.len(), "notices about changed prices could not be published; the prices are written");
            }
        }
        if let Some(commit) = &work.commit {
            answers.committed = Some(self.commit(partition, commit, &mut answers.refused).await);
        }
        if work.read_position {
            match self.prices.load_position(&partition.topic, partition.number).await {
                Ok(position) => answers.stored = Some(position.map(|loaded| loaded.held())),
                Err(error) => {
                    answers.refused = error.is_refusal().then(|| error.with_code());
                    tracing::warn!(partition = %partition, error = %error, "the position could not be read; will retry");
                }
            }
        }
        answers
    }
}

impl Stores {
    /// Commits to Postgres. What an operator must correct is set if Postgres refuses.
    async fn commit(&self, partition: &Partition, commit: &Commit, refused: &mut Option<String>) -> Committed {
        let batch = PriceBatch {
            topic: &partition.topic,
            partition: partition.number,
            expected: commit.expected,
            position: commit.position.as_ref(),
            prices: &commit.prices,
        };
        match self.prices.apply(&batch).await {
            Ok(Applied::Yes) => Committed::Yes,
            Ok(Applied::Conflict) => Committed::Conflict,
            Err(error) if error.is_refusal() => {
                tracing::error!(partition = %partition, error = %error, event = "write_refused", "commit refused; no data is lost. Fix the cause in `error`; the service retries");
                *refused = Some(error.with_code());
                Committed::Unknown
            }
            Err(error) => {
                tracing::warn!(partition = %partition, error = %error, "commit not answered; the position will be read");
                Committed::Unknown
            }
        }
    }

    /// Whether a rebuild has replaced the rows since the owner loaded them. While Postgres is down the copy is filled nevertheless.
    async fn is_replaced(&self, partition: &Partition, own: &str) -> bool {
        match self.prices.load_position(&partition.topic, partition.number).await {
            Ok(stored) => stored.is_some_and(|stored| mark::is_before(own, stored.epoch)),
            Err(error) => {
                tracing::debug!(partition = %partition, error = %error, "the copy is filled without asking postgres for a rebuild");
                false
            }
        }
    }
}

/// Why a lane could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The topic ids could not be read from Kafka.
    Topics(String),
    /// A store did not answer, or returned an error.
    Store(StoreError),
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> LoadError {
        LoadError::Store(error)
    }
}

fn succeeded(result: Result<(), StoreError>) -> bool {
    if let Err(error) = &result {
        tracing::warn!(error = %error, "a write to redis failed; redis is refilled when it answers again");
    }
    result.is_ok()
}
