//! Reads and writes of records: carries out against Kafka what `delivery` decides.
//!
//! Role: everything between a Kafka log and a decision. [`kafka`] is the only module of the services that calls rdkafka ([`Message`]
//! holds the headers of one of its messages). [`worker`] runs a [`worker::Handler`] on one OS thread. [`hop`] and [`table_writer`] are
//! the two handlers that several services share.
//! Failure: a transient error rebuilds the consumer, the producer and the handler, and positions are read again (INV-7).
//! A fatal error ends the process with its message.

pub mod dead_letter;
pub mod error;
pub mod hop;
pub mod kafka;
pub mod metrics;
pub mod offload;
pub mod outcome;
pub mod partition;
pub mod positions;
mod read_back;
pub mod recent;
pub mod record_size;
pub mod spans;
mod stage_output;
pub mod stall;
pub mod status;
pub mod table_writer;
pub mod trace;
pub mod worker;

pub use dead_letter::DeadLetter;
pub use error::StreamError;
pub use kafka::brokers::Brokers;
pub use kafka::producer::Output;
pub use kafka::settings::{Compression, Pace};
pub use outcome::{Outcome, OutcomeCounts};
pub use partition::{KeptMessage, Message, Partition};
pub use stall::{Cause, Stall};
pub use status::{Shutdown, WorkerState, WorkerStatus};
pub use worker::{DLQ_PARTITION, FOREIGN_ORIGIN, FOREIGN_REMEDY, Handler, IDLE_POLL_WAIT, Io, Origins, WorkerConfig};
