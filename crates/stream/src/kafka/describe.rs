//! Ids and partition counts of topics. A topic that was deleted and recreated has another id: its offsets mean other
//! records, so positions stored for the old one must be rejected.
//!
//! The client crate has no call for topic ids, so this file calls librdkafka directly.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr;
use std::time::Duration;

use domain::is_known_topic_id;
use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;
use rdkafka::consumer::Consumer;

use super::brokers::Brokers;
use super::{connect, settings};
use crate::StreamError;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A broker's description of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Name.
    pub name: String,
    /// Id, base64, as Kafka's tools print it.
    pub id: String,
    /// Number of partitions.
    pub partitions: i32,
}

/// Describes these topics; fatal if one does not exist.
pub fn describe_topics(
    bootstrap: &Brokers,
    names: &[String],
    timeout: Duration,
) -> Result<Vec<TopicDescription>, StreamError> {
    let config = settings::reader(bootstrap, "dp-describe");
    let (client, _) = connect::consumer(bootstrap, &config, bootstrap.watch())?;
    describe_over(client.client(), names, timeout).map_err(|error| {
        connect::serve_callbacks(bootstrap, &client);
        bootstrap.explain(error)
    })
}

/// The same over the connection of an existing client.
pub(crate) fn describe_over<C: ClientContext>(
    client: &Client<C>,
    names: &[String],
    timeout: Duration,
) -> Result<Vec<TopicDescription>, StreamError> {
    let names: Vec<CString> = names
        .iter()
        .map(|name| CString::new(name.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| zero_byte())?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);

    // SAFETY: every object created here is destroyed below, on every path. The strings outlive the call. The client outlives the
    // queue and the event. Pointers read from the event are copied before it is destroyed.
    unsafe {
        let handle = client.native_ptr();
        let queue = sys::rd_kafka_queue_new(handle);
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        // The client's default limit, a minute, would keep requests open after the caller has given up.
        let options =
            sys::rd_kafka_AdminOptions_new(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, ptr::null_mut(), 0);
        sys::rd_kafka_DescribeTopics(handle, topics, options, queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        let event = sys::rd_kafka_queue_poll(queue, milliseconds);
        let result = read_event(event);
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_TopicCollection_destroy(topics);
        sys::rd_kafka_queue_destroy(queue);
        result
    }
}

/// The names under which a sink stores topics, each with its id: the topic from which it is written, and the raw feeds that
/// origins name. A raw feed belongs to all generations, and each generation stores the id with which it was built. Blocks.
///
/// # Errors
/// As [`describe_topics`].
pub fn remembered_ids(
    bootstrap: &Brokers,
    source: &str,
    feeds: &[String],
    generation: &str,
) -> Result<Vec<(String, String)>, StreamError> {
    let mut names = feeds.to_vec();
    names.push(source.to_owned());
    let mut ids = Vec::new();
    for topic in describe_topics(bootstrap, &names, ANSWER_WITHIN)? {
        if !is_known_topic_id(&topic.id) {
            tracing::warn!(
                topic = topic.name,
                "the broker has no topic ids: a topic that is deleted and recreated cannot be detected"
            );
        } else {
            ids.push((remembered_name(&topic.name, topic.name != source, generation), topic.id));
        }
    }
    Ok(ids)
}

/// The name under which a sink stores the id of a topic.
pub fn remembered_name(topic: &str, is_feed: bool, generation: &str) -> String {
    match is_feed && !generation.is_empty() {
        true => format!("{topic}@{generation}"),
        false => topic.to_owned(),
    }
}

/// SAFETY: `event` is null or a live event of a DescribeTopics call.
unsafe fn read_event(event: *mut sys::rd_kafka_event_t) -> Result<Vec<TopicDescription>, StreamError> {
    unsafe {
        let is_silent = event.is_null()
            || sys::rd_kafka_event_error(event) == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT;
        if is_silent {
            return Err(StreamError::transient(
                super::probe::TIMEOUT,
                "describe topics: no answer from the broker in time",
            ));
        }
        let error = sys::rd_kafka_event_error(event);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let text = text(sys::rd_kafka_event_error_string(event));
            return Err(StreamError::transient(
                "kafka_unavailable",
                format!("describe topics: {text}"),
            ));
        }
        let mut count = 0;
        let descriptions =
            sys::rd_kafka_DescribeTopics_result_topics(sys::rd_kafka_event_DescribeTopics_result(event), &mut count);
        (0..count)
            .map(|index| read_description(*descriptions.add(index)))
            .collect()
    }
}

/// SAFETY: `description` is a live description.
unsafe fn read_description(
    description: *const sys::rd_kafka_TopicDescription_t,
) -> Result<TopicDescription, StreamError> {
    unsafe {
        let name = text(sys::rd_kafka_TopicDescription_name(description));
        let error = sys::rd_kafka_TopicDescription_error(description);
        if !error.is_null() && sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            let reason = text(sys::rd_kafka_error_string(error));
            return Err(unusable(&name, sys::rd_kafka_error_code(error), &reason));
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(description, &mut partitions);
        let id = sys::rd_kafka_TopicDescription_topic_id(description);
        Ok(TopicDescription {
            name,
            id: text(sys::rd_kafka_Uuid_base64str(id)),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        })
    }
}

/// A topic that the broker does not describe, for this reason.
pub(super) fn unusable(name: &str, code: sys::rd_kafka_resp_err_t, reason: &str) -> StreamError {
    match code {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => StreamError::fatal(
            super::MISSING_RIGHT,
            format!("topic {name}: {reason}: grant Describe, and Read or Write, on it (docs/security.md)"),
        ),
        _ => StreamError::fatal(
            "unknown_topic",
            format!("topic {name}: {reason}; create the topics with `dp topics create`"),
        ),
    }
}

/// A name that no topic can have.
pub(super) fn zero_byte() -> StreamError {
    StreamError::fatal("invalid_topic_name", "a topic name contains a zero byte")
}

/// SAFETY: `pointer` is null or a live C string.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
