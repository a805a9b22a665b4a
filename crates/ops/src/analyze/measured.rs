//! What an analysis is made of: the stages, the calls of stores and the machines. Pure.

use serde::Serialize;
use stores::calls::Summary;

use super::machine::MachineUse;

/// Processor time of a service, in percent of a core, from which it counts as a limit.
pub(super) const BUSY_PERCENT: f64 = 80.0;

/// A consumer group and one of its topics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Id of the group.
    pub group: String,
    /// Topic that it reads.
    pub topic: String,
    /// Messages that wait for it.
    pub queue: i64,
    /// How long they take at its present rate; absent if it does nothing.
    pub queue_seconds: Option<f64>,
    /// Messages a second that arrive.
    pub in_per_second: Option<f64>,
    /// Messages a second that it has finished.
    pub out_per_second: Option<f64>,
    /// 99th percentile of the time from the append of the raw message to the end of this stage.
    pub p99_seconds: Option<f64>,
    /// Whether more waits than arrives in a second.
    pub is_behind: bool,
}

/// The newest calls of an operation by one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// Name of the service.
    pub service: String,
    /// As its `/stats` shows them.
    #[serde(flatten)]
    pub newest: Summary,
}

/// What was measured besides the figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Calls of all services.
    pub calls: Vec<Call>,
    /// Their machines.
    pub machines: Vec<MachineUse>,
}
