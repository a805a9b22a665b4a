//! What a writer asks of its table, as work for the async runtime, and the results.

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::table_writer::{Claiming, InsertError, SinkError, Takeover};
use domain::Micros;
use futures_util::future::BoxFuture;

use super::TableSink;
use crate::kafka::describe::remembered_ids;
use crate::{Partition, StreamError, WorkerConfig};

/// A partition as it was assigned.
pub(super) struct Owned {
    pub(super) partition: Partition,
    /// Unique for the assignment.
    pub(super) owner: u64,
}

/// The part of a partition in an insert.
pub(super) struct Member {
    pub(super) lane: Owned,
    pub(super) rows: usize,
    /// Append time of its newest raw message, for latency.
    pub(super) newest_appended_at: Micros,
}

/// The result of some work.
pub(super) enum Done {
    TakenOver(Owned, Result<Takeover, SinkError>),
    /// Index of the route, what was in the insert, how long it took, and how it ended.
    Inserted(usize, Vec<Member>, Duration, Result<(), InsertError>),
    FloorSaved(Result<(), SinkError>),
}

/// Compares the ids of the topics, then takes the partition over.
pub(super) fn take_over<B: 'static>(
    sink: Arc<dyn TableSink<B>>,
    lane: Owned,
    claiming: Claiming,
    config: &WorkerConfig,
    feeds: Vec<String>,
) -> impl Future<Output = Done> + Send + use<B> {
    let (bootstrap, generation) = (config.bootstrap.clone(), config.generation.clone());
    async move {
        let topic = lane.partition.topic.to_string();
        let source = topic.clone();
        let ids = move || remembered_ids(&bootstrap, &source, &feeds, &generation);
        let checked = match in_background(ids).await {
            Ok(ids) => sink.check_topics(ids).await,
            Err(error) => Err(error),
        };
        let result = match checked {
            Ok(()) => sink.take_over(topic, lane.partition.number, lane.owner, claiming).await,
            Err(error) => Err(error),
        };
        Done::TakenOver(lane, result)
    }
}

/// Waits for this insert.
pub(super) async fn insert(
    route: usize,
    members: Vec<Member>,
    inserting: BoxFuture<'static, Result<(), InsertError>>,
) -> Done {
    let begun = Instant::now();
    let result = inserting.await;
    Done::Inserted(route, members, begun.elapsed(), result)
}

/// A number that no other assignment has, in any process.
pub(super) fn unique() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), Instant::now())
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, SinkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(SinkError::Transient(error.to_string())),
        Err(error) => Err(SinkError::Transient(error.to_string())),
    }
}
