//! What a worker tells about itself: messages, seconds, lag.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::WorkerConfig;
use crate::kafka::consumer::GroupConsumer;
use crate::metrics as names;
use crate::{Partition, WorkerStatus};

const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// Metric handles, made once.
pub(super) struct Meters {
    processed: Counter,
    duration: Histogram,
    lag: BTreeMap<Partition, Gauge>,
    last_lag: Instant,
}

impl Meters {
    pub(super) fn new(config: &WorkerConfig) -> Meters {
        let topic = config.topics.join(",");
        Meters {
            processed: counter!(names::MESSAGES_PROCESSED, "service" => config.service.clone(), "topic" => topic.clone(), "status" => "success"),
            duration: histogram!(names::PROCESSING_DURATION, "service" => config.service.clone(), "topic" => topic),
            lag: BTreeMap::new(),
            last_lag: Instant::now(),
        }
    }

    pub(super) fn batch(&self, count: u64, began: Instant) {
        if count > 0 {
            self.processed.increment(count);
            self.duration.record(began.elapsed().as_secs_f64());
        }
    }

    pub(super) fn lag(
        &mut self,
        consumer: &GroupConsumer,
        assigned: &[Partition],
        status: &WorkerStatus,
        config: &WorkerConfig,
    ) {
        if self.last_lag.elapsed() < LAG_INTERVAL {
            return;
        }
        self.last_lag = Instant::now();
        for (partition, lag) in consumer
            .lag()
            .into_iter()
            .filter(|(partition, _)| assigned.contains(partition))
        {
            let gauge = self.lag.entry(partition.clone()).or_insert_with(|| {
                gauge!(names::CONSUMER_LAG, "group" => config.group.clone(), "topic" => partition.topic.to_string(), "partition" => partition.number.to_string())
            });
            gauge.set(lag as f64);
            status.set_lag(partition, lag);
        }
    }
}
