//! What a worker does at intervals, whether messages come or not: it commits offsets, and compares the ids of the topics.
//!
//! Failure: an error of one of them ends the session, as any other error of the loop does.

use std::time::{Duration, Instant};

use super::Io;
use crate::{Partition, StreamError, WorkerStatus};

const COMMIT: Duration = Duration::from_secs(1);
/// Unchanged offsets are committed again this often. Otherwise a refused commit, or a late commit of a former owner, would show
/// a lag until the next message comes.
const COMMIT_AGAIN: Duration = Duration::from_secs(30);
/// How often the ids of the topics are compared, which takes each worker some requests.
const RECOGNISE: Duration = Duration::from_secs(60);

/// When each of them was last done.
pub(super) struct Intervals {
    committed: Instant,
    committed_again: Instant,
    recognised: Instant,
}

impl Intervals {
    pub(super) fn new(now: Instant) -> Intervals {
        Intervals {
            committed: now,
            committed_again: now,
            recognised: now,
        }
    }

    /// Does what is due.
    pub(super) fn turn(
        &mut self,
        io: &mut Io<'_>,
        assigned: &[Partition],
        status: &WorkerStatus,
    ) -> Result<(), StreamError> {
        if self.committed_again.elapsed() >= COMMIT_AGAIN {
            io.commit_again();
            self.committed_again = Instant::now();
        }
        if self.recognised.elapsed() >= RECOGNISE {
            io.recognise_again(assigned)?;
            self.recognised = Instant::now();
        }
        if self.committed.elapsed() >= COMMIT {
            io.flush_commits(false)?;
            self.committed = Instant::now();
            status.worked(!io.committed.is_empty());
        }
        Ok(())
    }
}
