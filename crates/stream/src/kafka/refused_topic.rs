//! The broker's own words about a topic that it refuses to create.
//!
//! Role: the client crate drops them and keeps the code alone, but only they name the limit that a policy of the cluster
//! sets. So the broker is asked once more, to validate without creating.
//! Failure: no words, and the error says what the code says.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;

use super::admin::TopicSpec;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the broker says of this topic; `None` if it does not answer or has no objection. Blocks.
pub(super) fn words<C: ClientContext>(client: &Client<C>, spec: &TopicSpec) -> Option<String> {
    let topic = NewTopic::of(spec)?;
    let timeout = i32::try_from(ANSWER_WITHIN.as_millis()).ok()?;
    let mut why: [c_char; 512] = [0; 512];
    // SAFETY: the client outlives the call, which waits for the answer; options and queue are destroyed after their last
    // use, the event after its words are copied. Null is no error for the functions that destroy.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(
            client.native_ptr(),
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS,
        );
        if options.is_null() {
            return None;
        }
        sys::rd_kafka_AdminOptions_set_validate_only(options, 1, why.as_mut_ptr(), why.len());
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, why.as_mut_ptr(), why.len());
        let queue = sys::rd_kafka_queue_new(client.native_ptr());
        let mut topics = [topic.0];
        sys::rd_kafka_CreateTopics(client.native_ptr(), topics.as_mut_ptr(), topics.len(), options, queue);
        // The client library answers in any case, with an error of its own when the time is over.
        let event = sys::rd_kafka_queue_poll(queue, 2 * timeout);
        let words = if event.is_null() { None } else { in_event(event) };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        words
    }
}

/// # Safety
/// The event is alive and not null.
unsafe fn in_event(event: *mut sys::rd_kafka_event_t) -> Option<String> {
    let mut count = 0;
    // SAFETY: as the caller promises; the result and its topics belong to the event.
    unsafe {
        let result = sys::rd_kafka_event_CreateTopics_result(event);
        if result.is_null() {
            return None;
        }
        let topics = sys::rd_kafka_CreateTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return None;
        }
        let words = sys::rd_kafka_topic_result_error_string(*topics);
        (!words.is_null()).then(|| CStr::from_ptr(words).to_string_lossy().into_owned())
    }
}

/// A topic as the client library takes it.
struct NewTopic(*mut sys::rd_kafka_NewTopic_t);

impl NewTopic {
    /// `None` if a name or a value has a zero byte, or the library refuses it.
    fn of(spec: &TopicSpec) -> Option<NewTopic> {
        let name = CString::new(spec.name.as_str()).ok()?;
        // SAFETY: the library copies the name; without room for words it writes none.
        let topic =
            unsafe { sys::rd_kafka_NewTopic_new(name.as_ptr(), spec.partitions, spec.replication, ptr::null_mut(), 0) };
        if topic.is_null() {
            return None;
        }
        let topic = NewTopic(topic);
        for (key, value) in &spec.config {
            let (key, value) = (CString::new(key.as_str()).ok()?, CString::new(value.as_str()).ok()?);
            // SAFETY: the topic is alive; the library copies both strings.
            unsafe { sys::rd_kafka_NewTopic_set_config(topic.0, key.as_ptr(), value.as_ptr()) };
        }
        Some(topic)
    }
}

impl Drop for NewTopic {
    fn drop(&mut self) {
        // SAFETY: made by `of`, destroyed once.
        unsafe { sys::rd_kafka_NewTopic_destroy(self.0) };
    }
}
