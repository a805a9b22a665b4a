//! Whether the topics that a service needs exist, with one small request: a health check repeats it every few seconds.
//!
//! The client requests metadata of the topics that it holds handles for, so the probe holds one for each needed topic.
//! `DescribeTopics`, which also returns ids, takes more than three requests. A request for a topic that does not exist costs one
//! more in every second after it, since the client then looks for that topic.
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
            .and_then(|()| self.unusable(names, timeout));
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

    /// What is wrong with the first of these topics that cannot be used.
    fn unusable(&self, names: &[String], timeout: Duration) -> Result<Option<StreamError>, StreamError> {
        let answer = self.known_metadata("look for the topics", timeout)?;
        let wrong = answer.topics().iter().find_map(|topic| {
            // SAFETY: both strings are live: the name as long as the answer, the reason for ever.
            let (name, reason) = unsafe {
                let reason = sys::rd_kafka_err2str(topic.err);
                (CStr::from_ptr(topic.topic), CStr::from_ptr(reason))
            };
            let name = name.to_string_lossy();
            let is_needed = topic.err.is_error() && names.iter().any(|needed| *needed == name);
            is_needed.then(|| describe::unusable(&name, topic.err, &reason.to_string_lossy()))
        });
        Ok(wrong)
    }

    /// Requests the metadata of the topics that the client knows.
    pub(super) fn known_metadata(&self, what: &str, timeout: Duration) -> Result<Answer, StreamError> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let (client, mut answer) = (self.client.client().native_ptr(), ptr::null());
        // SAFETY: the client outlives the call; the answer belongs to the returned value.
        let code = unsafe { sys::rd_kafka_metadata(client, 0, ptr::null_mut(), &mut answer, milliseconds) };
        match code {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Answer(answer)),
            // No connection, or no answer on one.
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT
            | sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT => Err(StreamError::transient(
                TIMEOUT,
                format!("{what}: no answer from the broker in time"),
            )),
            _ => Err(classify(what, &KafkaError::MetadataFetch(code.into()))),
        }
    }
}

/// A broker's answer.
pub(super) struct Answer(*const sys::rd_kafka_metadata);

impl Answer {
    fn topics(&self) -> &[sys::rd_kafka_metadata_topic] {
        // SAFETY: this value owns the answer, which the library has filled; its counts are those of its arrays.
        unsafe {
            let answer = &*self.0;
            std::slice::from_raw_parts(answer.topics, usize::try_from(answer.topic_cnt).unwrap_or(0))
        }
    }

    /// The ids of the brokers.
    pub(super) fn brokers(&self) -> Vec<i32> {
        // SAFETY: as in `topics`.
        let brokers = unsafe {
            let answer = &*self.0;
            std::slice::from_raw_parts(answer.brokers, usize::try_from(answer.broker_cnt).unwrap_or(0))
        };
        brokers.iter().map(|broker| broker.id).collect()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: this value owns the answer, and no reference to it remains.
        unsafe { sys::rd_kafka_metadata_destroy(self.0) }
    }
}
