//! The two questions of [`Probe`] for which the client crate has no call, asked of librdkafka directly: what another group has
//! committed, and where logs begin and end.
//!
//! Librdkafka's own search for a group's coordinator is not used. If a request times out during the search, the client keeps a
//! reference to freed memory: an assertion ends the process when the coordinator comes back or the client is dropped (librdkafka
//! issues 3663 and 4605). While no broker is available the search also keeps a core busy. So each request names its broker.
//!
//! Failure: as in [`super`].
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr;
use std::time::Duration;

use domain::Classified;
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;

use super::{NOT_COORDINATOR, Offsets, Probe, TIMEOUT, UNAVAILABLE};
use crate::kafka::MISSING_RIGHT;
use crate::kafka::describe::zero_byte;
use crate::{Partition, StreamError};

impl Probe {
    /// The broker's answer about the group; [`NOT_COORDINATOR`] if another broker coordinates it.
    pub(super) fn committed_at(&self, broker: i32, group: &str, timeout: Duration) -> Result<Offsets, StreamError> {
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
    pub(super) fn log_offsets(
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
        // SAFETY: as in `committed_at`.
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
