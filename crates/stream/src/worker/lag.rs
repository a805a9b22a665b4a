//! How far a worker's partitions are behind the end of their logs, for `/stats`, from the client's last statistics.

use std::time::{Duration, Instant};

use crate::WorkerStatus;
use crate::kafka::consumer::Standing;

const INTERVAL: Duration = Duration::from_secs(2);

/// When the lag was last updated.
#[derive(Default)]
pub(super) struct Lag(Option<Instant>);

impl Lag {
    pub(super) fn refresh(&mut self, standings: impl FnOnce() -> Vec<Standing>, status: &WorkerStatus) {
        if self.0.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        self.0 = Some(Instant::now());
        for Standing {
            partition,
            position,
            end,
            ..
        } in standings()
        {
            status.set_lag(partition, (end - position).max(0));
        }
    }
}
