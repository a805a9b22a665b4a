//! The spans of stages on their way to the exporter.
//!
//! Invariants: a worker never waits for the exporter; what the queue has no room for is dropped and counted. A held span is recorded only
//! when its message is finished: if that fails, the message is read again and has the same span.

use std::collections::VecDeque;

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
    /// The ClickHouse table that its row is in; `None` if the stage writes none.
    pub table: Option<String>,
}

/// Most spans of a partition that wait for the end of their work.
const HELD: usize = 1_024;

/// The spans of a partition whose messages were taken, but whose work has not ended, in log order.
#[derive(Debug, Default)]
pub struct HeldSpans(VecDeque<Span>);

impl HeldSpans {
    /// Keeps the span of the newest message. While too many wait, it is dropped and counted.
    pub fn hold(&mut self, span: Option<Span>) {
        match span {
            Some(span) if self.0.len() < HELD => self.0.push_back(span),
            Some(_) => metrics::spans_dropped(metrics::QUEUE_FULL, 1),
            None => {}
        }
    }

    /// The message at this offset ended otherwise than expected.
    pub fn became(&mut self, offset: i64, outcome: Outcome) {
        let is_its = |span: &&mut Span| span.offset == offset;
        if let Some(span) = self.0.iter_mut().find(is_its) {
            span.outcome = outcome;
        }
    }

    /// The work on the messages before this offset ended now: their spans.
    pub fn finished(&mut self, next_offset: i64, now: Micros) -> impl Iterator<Item = Span> {
        let count = self.0.partition_point(|span| span.offset < next_offset);
        self.0.drain(..count).map(move |span| Span { ended: now, ..span })
    }

    /// The messages are read again.
    pub fn forget(&mut self) {
        self.0.clear();
    }
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

    fn span(offset: i64) -> Span {
        Span {
            own: Traceparent::new(1, 2, true),
            parent: 1,
            state: Vec::new(),
            stage: "normalize".to_owned(),
            topic: "raw".to_owned(),
            partition: 0,
            offset,
            started: 0,
            ended: 1,
            outcome: Outcome::Success,
            table: None,
        }
    }

    #[test]
    fn a_held_span_ends_when_its_message_is_finished() {
        let mut held = HeldSpans::default();
        for offset in [3, 5, 8] {
            held.hold(Some(span(offset)));
        }
        held.hold(None);
        held.became(5, Outcome::DeadLettered);
        held.became(6, Outcome::DeadLettered);
        assert_eq!(held.finished(3, 70).count(), 0);
        let ended: Vec<_> = held
            .finished(8, 70)
            .map(|span| (span.offset, span.ended, span.outcome))
            .collect();
        assert_eq!(ended, [(3, 70, Outcome::Success), (5, 70, Outcome::DeadLettered)]);
        held.forget();
        assert_eq!(held.finished(i64::MAX, 80).count(), 0, "they are read again");
    }

    #[test]
    fn the_number_of_held_spans_is_bounded() {
        let mut held = HeldSpans::default();
        (0..).take(HELD + 10).for_each(|offset| held.hold(Some(span(offset))));
        assert_eq!(held.finished(i64::MAX, 1).count(), HELD);
    }

    #[test]
    fn a_full_queue_does_not_block() {
        let (queue, mut spans) = mpsc::channel(1);
        let recorder = Recorder::new("normalize", queue);
        recorder.record(span(1));
        recorder.record(span(2));
        assert_eq!(spans.try_recv().unwrap().offset, 1);
        assert!(spans.try_recv().is_err());
    }
}
