//! Why a rebuild ended early.

use stores::StoreError;
use stream::{Partition, StreamError};

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
    /// A position lies behind the end of the log, so the log will never reach it.
    BeyondLog {
        /// Topic and number.
        partition: String,
        /// The next offset to read.
        position: i64,
        /// The end of the log.
        end: i64,
    },
    /// The served position was set back during the rebuild, so the copy may lack events that the service has to store again.
    WentBack {
        /// Topic and number.
        partition: String,
        /// The next offset to read.
        position: i64,
    },
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
            RebuildError::BeyondLog {
                partition,
                position,
                end,
            } => write!(
                f,
                "{partition}: the position {position} lies beyond the end {end} of the log. Kafka has lost the end of this log, or somebody has \
                 changed the position; records that come now would take offsets that are already counted. Build a new generation from the raw \
                 log: DATA_PROC_GENERATION=g2 dp topics create && DATA_PROC_GENERATION=g2 dp restart (docs/positions.md)"
            ),
            RebuildError::WentBack { partition, position } => write!(
                f,
                "{partition}: somebody has set the position back to {position} during the rebuild, for example by restoring a backup: \
                 run the command again"
            ),
            RebuildError::Ended(reason) => write!(f, "the thread that reads the log has ended: {reason}"),
        }
    }
}

impl std::error::Error for RebuildError {}

/// Refuses a position that the log cannot reach; `end` must have been asked for after the position.
pub(super) fn check_end(partition: &Partition, position: i64, end: i64) -> Result<(), RebuildError> {
    if position <= end {
        return Ok(());
    }
    Err(RebuildError::BeyondLog {
        partition: partition.to_string(),
        position,
        end,
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_beyond_the_end_of_the_log_is_an_error_that_names_both_and_the_cure() {
        let partition = Partition {
            topic: "enriched".into(),
            number: 3,
        };
        assert!(check_end(&partition, 7, 7).is_ok());
        assert!(check_end(&partition, 0, 7).is_ok());
        let text = check_end(&partition, 8, 7).err().map(|error| error.to_string());
        let text = text.unwrap_or_default();
        for expected in ["position 8", "end 7", "DATA_PROC_GENERATION", "docs/positions.md"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
