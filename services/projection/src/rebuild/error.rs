//! Why a rebuild ended early.

use stores::StoreError;
use stream::StreamError;

/// The reason. What is served is unchanged, or partitions of it are exchanged as a whole.
#[derive(Debug)]
pub enum RebuildError {
    /// Kafka does not answer, or the topic is refused.
    Stream(StreamError),
    /// Postgres or Redis does not answer, or refuses.
    Store(StoreError),
    /// A rebuild of another strategy was interrupted.
    OtherStrategy {
        /// Its strategy.
        strategy: String,
        /// ISO time.
        started_at: String,
    },
    /// Another process writes the same copy.
    Concurrent,
    /// Another process has discarded the copy.
    Discarded,
    /// The thread that reads the log has ended.
    Ended(String),
}

impl std::fmt::Display for RebuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RebuildError::Stream(error) => error.fmt(f),
            RebuildError::Store(error) => error.fmt(f),
            RebuildError::OtherStrategy { strategy, started_at } => write!(
                f,
                "a rebuild ({strategy}) of {started_at} was interrupted: run it again to continue it, or add --restart to discard its copy"
            ),
            RebuildError::Concurrent => f.write_str("another rebuild of this projection is running: wait for its end"),
            RebuildError::Discarded => {
                f.write_str("another process has started a new rebuild of this projection: wait for its end")
            }
            RebuildError::Ended(reason) => write!(f, "the thread that reads the log has ended: {reason}"),
        }
    }
}

impl std::error::Error for RebuildError {}

impl From<StreamError> for RebuildError {
    fn from(error: StreamError) -> RebuildError {
        RebuildError::Stream(error)
    }
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> RebuildError {
        RebuildError::Store(error)
    }
}
