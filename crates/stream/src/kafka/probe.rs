//! One client for the life of a process that queries the broker about topics and groups: health checks, and the lag of every
//! group of the pipeline, of stopped services too.
//!
//! Failure: a broker that accepts connections but does not answer is `kafka_timeout`; one that accepts none is
//! `kafka_unavailable`. Calls are not retried here.
//!
//! The client crate has no call for other groups' offsets, so this file calls librdkafka directly. Librdkafka's own search for a
//! group's coordinator is not used. If a request times out during the search, the client keeps a reference to freed memory: an
//! assertion ends the process when the coordinator comes back or the client is dropped (librdkafka issues 3663 and 4605). While
//! no broker is available the search also keeps a core busy. So each request names its broker, and goes to the next one if
//! that is not the coordinator.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr;
use std::time::Duration;

use domain::Classified;
use parking_lot::Mutex;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::access::accepts_connections;
use super::brokers::Brokers;
use super::connect::Renewal;
use super::describe::{TopicDescription, describe_over, zero_byte};
use super::groups::PartitionLag;
use super::presence::Presence;
use super::watch::Watch;
use super::{MISSING_RIGHT, connect, settings};
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
        let config = settings::reader(bootstrap, "dp-probe");
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

    /// The broker's answer about the group; [`NOT_COORDINATOR`] if another broker coordinates it.
    fn committed_at(&self, broker: i32, group: &str, timeout: Duration) -> Result<Offsets, StreamError> {
        let name = CString::new(group)
            .map_err(|_| StreamError::fatal("invalid_group_name", "a group name contains a zero byte"))?;
        let to = (
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            Some(broker),
        );
        let event = self.ask(to, timeout, |client, options, queue| {
            // SAFETY: the name outlives the call, which copies it; the request is destroyed here, the client copies it.
            unsafe {
                let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null());
                sys::rd_kafka_ListConsumerGroupOffsets(client, &mut request, 1, options, queue);
                sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            }
        });
        let event = event.map_err(|error| match error.code() {
            MISSING_RIGHT => group_refused(group),
            _ => error,
        })?;
        // SAFETY: the event is one of this request; everything read from it is copied before it is destroyed.
        unsafe {
            let mut count = 0;
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.0);
            let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
            let mut offsets = Offsets::new();
            for index in 0..count {
                let answer = *groups.add(index);
                let error = sys::rd_kafka_group_result_error(answer);
                if !error.is_null() {
                    let why = text(sys::rd_kafka_error_string(error));
                    let message = format!("read what group {group} has committed: {why}");
                    return Err(match sys::rd_kafka_error_code(error) {
                        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => group_refused(group),
                        _ => StreamError::transient(UNAVAILABLE, message),
                    });
                }
                // A group that the broker does not have has committed nothing.
                let list = sys::rd_kafka_group_result_partitions(answer);
                if list.is_null() {
                    continue;
                }
                for element in 0..usize::try_from((*list).cnt).unwrap_or(0) {
                    insert(&mut offsets, (*list).elems.add(element));
                }
            }
            Ok(offsets)
        }
    }

    /// First or next offset of each of these partitions; a partition without an answer is omitted.
    fn log_offsets(
        &self,
        partitions: &[Partition],
        which: sys::rd_kafka_OffsetSpec_t,
        timeout: Duration,
    ) -> Result<Offsets, StreamError> {
        let names: Vec<CString> = partitions
            .iter()
            .map(|partition| CString::new(&*partition.topic))
            .collect::<Result<_, _>>()
            .map_err(|_| zero_byte())?;
        let to = (sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, None);
        let event = self.ask(to, timeout, |client, options, queue| {
            // SAFETY: names outlive the calls, which copy them; the list is destroyed here, the client copies it.
            unsafe {
                let list = sys::rd_kafka_topic_partition_list_new(0);
                for (name, partition) in names.iter().zip(partitions) {
                    let element = sys::rd_kafka_topic_partition_list_add(list, name.as_ptr(), partition.number);
                    (*element).offset = which as i64;
                }
                sys::rd_kafka_ListOffsets(client, list, options, queue);
                sys::rd_kafka_topic_partition_list_destroy(list);
            }
        })?;
        // SAFETY: as in `committed`.
        unsafe {
            let mut count = 0;
            let result = sys::rd_kafka_event_ListOffsets_result(event.0);
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &mut count);
            let mut offsets = Offsets::new();
            for index in 0..count {
                insert(
                    &mut offsets,
                    sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index)),
                );
            }
            Ok(offsets)
        }
    }

    /// Sends a request of this kind (to this broker), and waits for its event.
    fn ask(
        &self,
        (kind, broker): (sys::rd_kafka_admin_op_t, Option<i32>),
        timeout: Duration,
        request: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
    ) -> Result<Event, StreamError> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client outlives options and queue, which are destroyed here; the event belongs to `Event`. An option
        // that is refused keeps its default.
        unsafe {
            let client = self.client.client().native_ptr();
            let options = sys::rd_kafka_AdminOptions_new(client, kind);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, ptr::null_mut(), 0);
            if let Some(broker) = broker {
                sys::rd_kafka_AdminOptions_set_broker(options, broker, ptr::null_mut(), 0);
            }
            let queue = sys::rd_kafka_queue_new(client);
            request(client, options, queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            // The client's limit ends the request; the extra time lets its answer arrive here.
            let event = sys::rd_kafka_queue_poll(queue, milliseconds.saturating_add(milliseconds / 4));
            sys::rd_kafka_queue_destroy(queue);
            let error = match event.is_null() {
                true => sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT,
                false => sys::rd_kafka_event_error(event),
            };
            let event = Event(event);
            match error {
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT => {
                    let silent = StreamError::transient(TIMEOUT, "no answer from the broker in time");
                    Err(self.timeout_or_unavailable(silent))
                }
                _ => {
                    let code = match error {
                        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NOT_COORDINATOR => NOT_COORDINATOR,
                        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => MISSING_RIGHT,
                        _ => UNAVAILABLE,
                    };
                    Err(StreamError::transient(
                        code,
                        text(sys::rd_kafka_event_error_string(event.0)),
                    ))
                }
            }
        }
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

/// The broker refuses to show what a group has committed.
fn group_refused(group: &str) -> StreamError {
    let message = format!(
        "read what group {group} has committed: the user lacks a right: grant Describe on the group (docs/security.md)"
    );
    StreamError::fatal(MISSING_RIGHT, message)
}

/// An event of the client, null if none came.
struct Event(*mut sys::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: this value owns the event, and no reference to it remains.
            unsafe { sys::rd_kafka_event_destroy(self.0) }
        }
    }
}

/// Stores the offset of a partition, unless it has none or has an error.
///
/// SAFETY: `element` is a live partition of a result.
unsafe fn insert(offsets: &mut Offsets, element: *const sys::rd_kafka_topic_partition_t) {
    unsafe {
        if (*element).err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && (*element).offset >= 0 {
            let partition = Partition {
                topic: text((*element).topic).as_str().into(),
                number: (*element).partition,
            };
            offsets.insert(partition, (*element).offset);
        }
    }
}

/// SAFETY: `pointer` is null or a live C string.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
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
