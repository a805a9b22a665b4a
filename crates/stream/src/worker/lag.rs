//! How far a worker's own partitions are behind the end of their logs, for `/stats`: as its client last heard.

use std::time::{Duration, Instant};

use crate::kafka::consumer::GroupConsumer;
use crate::{Partition, WorkerStatus};

const INTERVAL: Duration = Duration::from_secs(5);

/// When the lag was last taken over.
#[derive(Default)]
pub(super) struct Lag(Option<Instant>);

impl Lag {
    pub(super) fn refresh(&mut self, consumer: &GroupConsumer, assigned: &[Partition], status: &WorkerStatus) {
        if self.0.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        self.0 = Some(Instant::now());
        let ours = consumer
            .lag()
            .into_iter()
            .filter(|(partition, _)| assigned.contains(partition));
        ours.for_each(|(partition, lag)| status.set_lag(partition, lag));
    }
}
