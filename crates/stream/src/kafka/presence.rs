//! Whether the topics that a service needs exist, with one small request: a health check repeats it every two seconds.
//!
//! The client requests metadata of the topics that it holds handles for, so the probe holds one for each needed topic.
//! `DescribeTopics`, which also returns ids, takes more than three requests.
//!
//! The client crate has no such call, so this file calls librdkafka directly.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;
use rdkafka::error::{IsError, KafkaError};

use super::access::accepts_connections;
use super::probe::{Probe, TIMEOUT};
use super::{classify, describe};
use crate::StreamError;

/// Handles of the topics that a probe has been asked for, and whether the last answer was positive.
#[derive(Default)]
pub(super) struct Presence {
    handles: BTreeMap<String, Handle>,
    was_answered: bool,
}

/// A topic that the client requests metadata of. It must be dropped before its client.
struct Handle(*mut sys::rd_kafka_topic_t);

// SAFETY: librdkafka allows the use of a topic handle from any thread.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: this value owns one reference to the handle.
        unsafe { sys::rd_kafka_topic_destroy(self.0) }
    }
}

impl Probe {
    /// Checks that a broker answers, and that these topics exist.
    ///
    /// # Errors
    /// As [`Probe::describe`].
    pub fn check_topics(&self, names: &[String], timeout: Duration) -> Result<(), StreamError> {
        self.renew();
        let mut presence = self.presence.lock();
        // A request to a broker that is gone waits until its time is over, so it is not sent again to one that refuses.
        if !presence.was_answered && !accepts_connections(self.bootstrap.addresses()) {
            return Err(self.no_broker());
        }
        let checked = self
            .hold(&mut presence, names)
            .and_then(|()| self.metadata(names, timeout));
        presence.was_answered = checked.is_ok();
        match checked {
            Ok(missing) => {
                self.bootstrap.troubles().clear();
                missing.map_or(Ok(()), Err)
            }
            Err(error) => Err(self.explained(error)),
        }
    }

    /// Holds a handle for each of these topics.
    fn hold(&self, presence: &mut Presence, names: &[String]) -> Result<(), StreamError> {
        for name in names {
            if presence.handles.contains_key(name) {
                continue;
            }
            let c_name = CString::new(name.as_str()).map_err(|_| describe::zero_byte())?;
            let client = self.client.client().native_ptr();
            // SAFETY: the client outlives the call, which copies the name; without settings it uses its own defaults.
            let handle = unsafe { sys::rd_kafka_topic_new(client, c_name.as_ptr(), ptr::null_mut()) };
            if handle.is_null() {
                // SAFETY: reads the error of the last call on this thread.
                let code = unsafe { sys::rd_kafka_last_error() };
                return Err(classify(
                    &format!("look for topic {name}"),
                    &KafkaError::MetadataFetch(code.into()),
                ));
            }
            presence.handles.insert(name.clone(), Handle(handle));
        }
        Ok(())
    }

    /// Requests the metadata of the topics with a handle. Returns what is wrong with the first topic that cannot be used.
    fn metadata(&self, names: &[String], timeout: Duration) -> Result<Option<StreamError>, StreamError> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client outlives the call. The answer is read, and copied, before it is destroyed.
        unsafe {
            let mut answer = ptr::null();
            let client = self.client.client().native_ptr();
            let code = sys::rd_kafka_metadata(client, 0, ptr::null_mut(), &mut answer, milliseconds);
            match code {
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                // No connection, or no answer on one.
                sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT
                | sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT => {
                    return Err(StreamError::transient(
                        TIMEOUT,
                        "look for the topics: no answer from the broker in time",
                    ));
                }
                _ => return Err(classify("look for the topics", &KafkaError::MetadataFetch(code.into()))),
            }
            let topics =
                std::slice::from_raw_parts((*answer).topics, usize::try_from((*answer).topic_cnt).unwrap_or(0));
            let wrong = topics.iter().find_map(|topic| {
                let name = CStr::from_ptr(topic.topic).to_string_lossy();
                let is_needed = topic.err.is_error() && names.iter().any(|needed| *needed == name);
                is_needed.then(|| {
                    let reason = CStr::from_ptr(sys::rd_kafka_err2str(topic.err)).to_string_lossy();
                    describe::unusable(&name, topic.err, &reason)
                })
            });
            sys::rd_kafka_metadata_destroy(answer);
            Ok(wrong)
        }
    }
}
