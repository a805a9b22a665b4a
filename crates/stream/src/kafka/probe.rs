//! One client for the life of a process that queries the broker about topics and groups: health checks, and the lag of every
//! group of the pipeline, of stopped services too.
//!
//! Failure: a broker that accepts connections but does not answer is `kafka_timeout`; one that accepts none is
//! `kafka_unavailable`. Calls are not retried here.
//!
//! Who coordinates a group is found by asking: each request names its broker, and goes to the next one if that is not the
//! coordinator ([`requests`] says why).

mod requests;

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Classified;
use parking_lot::Mutex;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::access::accepts_connections;
use super::brokers::Brokers;
use super::connect::Renewal;
use super::describe::{TopicDescription, describe_over};
use super::groups::PartitionLag;
use super::presence::Presence;
use super::watch::Watch;
use super::{classify, connect, settings};
use crate::{Partition, StreamError};

/// Code of a broker that accepts connections but does not answer.
pub const TIMEOUT: &str = "kafka_timeout";
const UNAVAILABLE: &str = "kafka_unavailable";
/// Code of a broker that is not the coordinator of the group.
const NOT_COORDINATOR: &str = "not_coordinator";
/// Events of the client (connection errors) that one call clears.
const EVENTS: usize = 1_000;

type Offsets = BTreeMap<Partition, i64>;

/// The client.
pub struct Probe {
    /// Before the client, which outlives its handles.
    pub(super) presence: Mutex<Presence>,
    pub(super) client: BaseConsumer<Watch>,
    renewal: Renewal,
    pub(super) bootstrap: Brokers,
    /// The last known coordinator of each group.
    coordinators: Mutex<BTreeMap<String, i32>>,
}

impl Probe {
    /// Connects lazily: errors show on the first call.
    ///
    /// # Errors
    /// Settings that the client refuses.
    pub fn new(bootstrap: &Brokers) -> Result<Probe, StreamError> {
        let mut config = settings::reader(bootstrap, "dp-probe");
        settings::report(&mut config);
        let (client, renewal) = connect::consumer(bootstrap, &config, bootstrap.watch())?;
        Ok(Probe {
            presence: Mutex::default(),
            client,
            renewal,
            bootstrap: bootstrap.clone(),
            coordinators: Mutex::default(),
        })
    }

    /// Describes these topics.
    ///
    /// # Errors
    /// Fatal if one does not exist; [`TIMEOUT`] if the broker accepts connections but does not answer.
    pub fn describe(&self, names: &[String], timeout: Duration) -> Result<Vec<TopicDescription>, StreamError> {
        self.renew();
        if !accepts_connections(self.bootstrap.addresses()) {
            return Err(self.no_broker());
        }
        let described = describe_over(self.client.client(), names, timeout);
        match described {
            Ok(described) => {
                self.bootstrap.troubles().clear();
                Ok(described)
            }
            Err(error) => Err(self.explained(error)),
        }
    }

    /// Whether a group has members.
    ///
    /// # Errors
    /// The broker does not answer, or refuses.
    pub fn has_members(&self, group: &str, timeout: Duration) -> Result<bool, StreamError> {
        self.renew();
        let listed = self.client.fetch_group_list(Some(group), timeout);
        let listed = listed.map_err(|error| self.explained(classify("describe group", &error)))?;
        let mut found = listed.groups().iter().filter(|found| found.name() == group);
        Ok(found.any(|found| !found.members().is_empty()))
    }

    /// Serves what the client has reported, and takes over a renewed password or token.
    pub(super) fn renew(&self) {
        self.clear_events();
        self.renewal.renew(self.client.client());
    }

    /// The error with its cause, as far as the client has reported one.
    pub(super) fn explained(&self, error: StreamError) -> StreamError {
        self.clear_events();
        self.bootstrap.explain(self.timeout_or_unavailable(error))
    }

    /// How far these groups are in their topics, in order.
    ///
    /// Committed offsets are read before the ends of the logs, so a lag may look larger than it is, never smaller.
    ///
    /// # Errors
    /// As [`Probe::describe`].
    pub fn lags(
        &self,
        groups: &[(String, Vec<String>)],
        timeout: Duration,
    ) -> Result<Vec<(String, PartitionLag)>, StreamError> {
        let mut topics: Vec<String> = groups.iter().flat_map(|(_, topics)| topics.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        let partitions: Vec<Partition> = self
            .describe(&topics, timeout)?
            .into_iter()
            .flat_map(|topic| {
                let name: std::sync::Arc<str> = topic.name.as_str().into();
                (0..topic.partitions).map(move |number| Partition {
                    topic: std::sync::Arc::clone(&name),
                    number,
                })
            })
            .collect();
        let brokers = self.brokers(timeout)?;
        let committed = groups.iter().map(|(group, _)| self.committed(group, &brokers, timeout));
        let committed: Vec<Offsets> = committed.collect::<Result<_, _>>()?;
        let starts = self.log_offsets(
            &partitions,
            sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
            timeout,
        )?;
        let ends = self.log_offsets(
            &partitions,
            sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST,
            timeout,
        )?;
        let mut lags = Vec::new();
        for ((group, topics), committed) in groups.iter().zip(committed) {
            for partition in partitions
                .iter()
                .filter(|partition| topics.iter().any(|topic| **topic == *partition.topic))
            {
                if let (Some(start), Some(end)) = (starts.get(partition), ends.get(partition)) {
                    let lag = PartitionLag {
                        partition: partition.clone(),
                        committed: committed.get(partition).copied(),
                        start: *start,
                        end: *end,
                    };
                    lags.push((group.clone(), lag));
                }
            }
        }
        Ok(lags)
    }

    fn brokers(&self, timeout: Duration) -> Result<Vec<i32>, StreamError> {
        let answer = self.known_metadata("list the brokers", timeout);
        let answer = answer.map_err(|error| self.timeout_or_unavailable(error))?;
        Ok(answer.brokers())
    }

    /// Offsets that a group has committed, whether it has members or not.
    fn committed(&self, group: &str, brokers: &[i32], timeout: Duration) -> Result<Offsets, StreamError> {
        let coordinators = || self.coordinators.lock();
        let last = coordinators().get(group).copied();
        let others = brokers.iter().copied().filter(|broker| Some(*broker) != last);
        for broker in last.into_iter().chain(others) {
            match self.committed_at(broker, group, timeout) {
                Err(error) if error.code() == NOT_COORDINATOR => {}
                Err(error) => return Err(error),
                Ok(offsets) => {
                    coordinators().insert(group.to_owned(), broker);
                    return Ok(offsets);
                }
            }
        }
        coordinators().remove(group);
        let message = format!("no broker reports that it coordinates group {group}");
        Err(StreamError::transient(UNAVAILABLE, message))
    }

    /// No answer in time may mean that no broker is available: then connections are refused.
    fn timeout_or_unavailable(&self, error: StreamError) -> StreamError {
        if error.code() != TIMEOUT || accepts_connections(self.bootstrap.addresses()) {
            return error;
        }
        self.no_broker()
    }

    pub(super) fn no_broker(&self) -> StreamError {
        let message = format!("no broker of {} accepts connections", self.bootstrap);
        StreamError::transient(UNAVAILABLE, message)
    }

    /// A client that is not polled keeps its errors for ever.
    pub(super) fn clear_events(&self) {
        for _ in 0..EVENTS {
            if self.client.poll(Duration::ZERO).is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    /// Repeats the request until the answer is as expected; the deadline only bounds a failure.
    fn eventually(probe: &Probe, group: &str, is_expected: impl Fn(&Result<Offsets, StreamError>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = probe
                .brokers(SHORT)
                .and_then(|brokers| probe.committed(group, &brokers, SHORT));
            if is_expected(&answer) {
                return;
            }
            assert!(Instant::now() < deadline, "{group}: {answer:?}");
        }
    }

    /// Uses the mock cluster of librdkafka, since the local stack has one broker.
    #[test]
    fn the_coordinator_of_a_group_is_found_and_an_unavailable_one_does_not_end_the_process() {
        let cluster = MockCluster::new(2).unwrap();
        let probe = Probe::new(&Brokers::plaintext(&cluster.bootstrap_servers())).unwrap();
        let coordinator = |group: &str| probe.coordinators.lock().get(group).copied();
        let not_coordinator = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR];
        eventually(&probe, "a", Result::is_ok);
        let first = coordinator("a").unwrap();
        // It has moved.
        cluster.request_errors(RDKafkaApiKey::OffsetFetch, &not_coordinator);
        eventually(&probe, "a", Result::is_ok);
        let second = coordinator("a").unwrap();
        assert_ne!(first, second);
        cluster.broker_down(second).unwrap();
        eventually(&probe, "a", Result::is_err);
        cluster.broker_up(second).unwrap();
        eventually(&probe, "a", Result::is_ok);
        cluster.request_errors(RDKafkaApiKey::OffsetFetch, &not_coordinator.repeat(2));
        eventually(&probe, "a", Result::is_err);
        assert_eq!(coordinator("a"), None);
        cluster.broker_down(second).unwrap();
        eventually(&probe, "a", Result::is_ok);
    }
}
