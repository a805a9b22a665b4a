//! The running pipeline at a glance: rates, lag, latency, errors, alerts, and the CPU time and memory of its processes.
//!
//! Role: [`collect`] asks services, servers, Kafka and Alertmanager; [`sample`] is what they answered at one moment; [`figures`] compares
//! two samples. The last two are pure.
//! Invariant: a figure that is not known is absent, never zero.
//! Failure: what gives no answer is part of the sample, with its reason; the rest is shown.

pub mod collect;
pub mod figures;
pub mod sample;

pub use collect::Collector;
pub use figures::{Figures, Group, Hop, Process, compared};
pub use sample::{Alerts, Sample};
