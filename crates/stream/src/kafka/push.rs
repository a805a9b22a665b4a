//! Sends at once what lingers in a producer.
//!
//! A linger is a compromise: what a full load needs for large batches, a quiet market pays as latency. librdkafka ignores
//! it while a flush runs; the client crate's own `flush` asks for no time at all, which is over before the sending thread
//! looks, so this file talks to librdkafka itself.
#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

/// Long enough for the sending thread to wake. Where it does not, the linger still bounds the wait.
const PATIENCE_MS: i32 = 1;

/// Has the queued records sent now. Blocks for a millisecond at most; acknowledgements are served as usual.
pub fn push<C: ProducerContext>(producer: &BaseProducer<C>) {
    // SAFETY: the handle lives as long as the producer that is borrowed here, and the call may come from any thread. Its
    // answer only says that acknowledgements are still outstanding.
    let _ = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), PATIENCE_MS) };
}
