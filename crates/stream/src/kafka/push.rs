//! Sends a producer's lingering records at once.
//!
//! A linger is a compromise: full load needs it for large batches, a quiet market pays for it with latency. librdkafka ignores
//! the linger while a flush runs. The client crate's `flush` passes no waiting time, so it ends before the sending thread looks.
//! So this file calls librdkafka directly.
#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

/// Long enough for the sending thread to wake. If it does not, the linger still bounds the wait.
const PATIENCE_MS: i32 = 1;

/// Sends the queued records now. Blocks for at most a millisecond; acknowledgements are served as usual.
pub fn push<C: ProducerContext>(producer: &BaseProducer<C>) {
    // SAFETY: the handle lives as long as the borrowed producer, and the call is allowed from any thread. Its result only says
    // that acknowledgements are outstanding.
    let _ = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), PATIENCE_MS) };
}
