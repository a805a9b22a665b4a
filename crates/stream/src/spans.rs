//! The spans of stages on their way to the exporter.
//!
//! Invariants: a worker never waits for the exporter; what the queue has no room for is dropped and counted.

use domain::Micros;
use tokio::sync::mpsc;

use crate::trace::Traceparent;
use crate::{Outcome, metrics};

/// A stage's work on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Span {
    /// The span itself.
    pub own: Traceparent,
    /// Id of the span that sent the message.
    pub parent: u64,
    /// `tracestate`, empty without one.
    pub state: Vec<u8>,
    pub stage: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub started: Micros,
    pub ended: Micros,
    pub outcome: Outcome,
}

/// Passes the spans of a stage to the exporter. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    stage: String,
    queue: mpsc::Sender<Span>,
}

impl Recorder {
    /// A recorder for the spans of this stage.
    pub fn new(stage: &str, queue: mpsc::Sender<Span>) -> Recorder {
        Recorder {
            stage: stage.to_owned(),
            queue,
        }
    }

    /// Name of the stage.
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// Never waits: while the queue is full, spans are dropped and counted.
    pub fn record(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            metrics::spans_dropped(metrics::QUEUE_FULL, 1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_does_not_block() {
        let (queue, mut spans) = mpsc::channel(1);
        let recorder = Recorder::new("normalize", queue);
        let own = Traceparent::new(1, 2, true);
        let span = |offset| Span {
            own,
            parent: 1,
            state: Vec::new(),
            stage: recorder.stage().to_owned(),
            topic: "raw".to_owned(),
            partition: 0,
            offset,
            started: 0,
            ended: 1,
            outcome: Outcome::Success,
        };
        recorder.record(span(1));
        recorder.record(span(2));
        assert_eq!(spans.try_recv().unwrap().offset, 1);
        assert!(spans.try_recv().is_err());
    }
}
