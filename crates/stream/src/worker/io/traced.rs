//! The trace of the message that a worker handles: read from its headers, passed to its outputs, recorded as a span.
//!
//! Role: the only place of the worker that knows of traces. A message without headers costs one comparison.
//! Invariants: an output names the span of this stage only if that span is recorded. Otherwise it names the one before, so that no
//! span is missing between two others.
//! Failure: an invalid header is counted, and the message has no trace.

use domain::Micros;

use crate::record_size::{Headers, OwnHeaders};
use crate::spans::{Recorder, Span};
use crate::status::wall_clock;
use crate::trace::{self, Found, TRACEPARENT, TRACESTATE, Traceparent};
use crate::{Message, Outcome, metrics};

/// The trace of the present message.
pub(in crate::worker) struct Traced<'s> {
    recorder: Option<&'s Recorder>,
    current: Option<Current<'s>>,
}

struct Current<'s> {
    /// The span that sent the message.
    parent: Traceparent,
    state: Option<Vec<u8>>,
    recorded: Option<Recorded<'s>>,
}

struct Recorded<'s> {
    recorder: &'s Recorder,
    own: Traceparent,
    started: Micros,
}

impl<'s> Traced<'s> {
    pub(super) fn new(recorder: Option<&'s Recorder>) -> Traced<'s> {
        Traced {
            recorder,
            current: None,
        }
    }

    /// The message is handled next.
    pub(in crate::worker) fn begin(&mut self, message: &Message<'_>) {
        if message.headers.is_some() {
            self.read(message);
        }
    }

    fn read(&mut self, message: &Message<'_>) {
        let (parent, state) = match trace::find(message) {
            Found::Nothing => return,
            Found::Invalid => return metrics::trace_header_invalid(),
            Found::Trace(parent, state) => (parent, state),
        };
        let recorder = self.recorder.filter(|_| parent.is_sampled());
        let recorded = recorder.map(|recorder| Recorded {
            recorder,
            own: parent.child(recorder.stage(), message.topic, message.partition, message.offset),
            started: wall_clock(),
        });
        self.current = Some(Current {
            parent,
            state,
            recorded,
        });
    }

    /// The headers of its outputs.
    pub(super) fn headers(&self) -> OwnHeaders {
        let Some(current) = &self.current else {
            return Vec::new();
        };
        let value = current.sender().to_string().into_bytes();
        let mut headers = vec![(TRACEPARENT.to_owned(), Some(value))];
        if let Some(state) = &current.state {
            headers.push((TRACESTATE.to_owned(), Some(state.clone())));
        }
        headers
    }

    /// Replaces the sender in the headers of its dead letter, if they have the header of the message. Their size does not change.
    pub(super) fn name_sender(&self, headers: &mut Headers) {
        let Some(current) = &self.current else { return };
        let is_its = |value: &[u8]| Traceparent::parse(value) == Some(current.parent);
        for (name, value) in headers {
            if name == TRACEPARENT && value.as_deref().is_some_and(is_its) {
                *value = Some(current.sender().to_string().into_bytes());
            }
        }
    }

    /// The message has been handled. What an earlier owner finished, or a new one will, is no work of this stage.
    pub(in crate::worker) fn end(&mut self, message: &Message<'_>, outcome: Outcome) {
        let Some(current) = self.current.take() else { return };
        if matches!(outcome, Outcome::Observed | Outcome::NotOurs) {
            return;
        }
        if let (Some(recorder), Some(span)) = (self.recorder, current.into_span(message, outcome)) {
            recorder.record(span);
        }
    }

    /// The work on the message goes on after it was handled: its span, which [`Traced::end`] then leaves out.
    pub(super) fn hold(&mut self, message: &Message<'_>) -> Option<Span> {
        self.current.take()?.into_span(message, Outcome::Success)
    }

    /// Records spans that were held.
    pub(super) fn record(&self, spans: impl Iterator<Item = Span>) {
        for span in spans {
            if let Some(recorder) = self.recorder {
                recorder.record(span);
            }
        }
    }
}

impl Current<'_> {
    /// The span, if it is recorded.
    fn into_span(self, message: &Message<'_>, outcome: Outcome) -> Option<Span> {
        let recorded = self.recorded?;
        Some(Span {
            own: recorded.own,
            parent: self.parent.span(),
            state: self.state.unwrap_or_default(),
            stage: recorded.recorder.stage().to_owned(),
            topic: message.topic.to_owned(),
            partition: message.partition,
            offset: message.offset,
            started: recorded.started,
            ended: wall_clock(),
            outcome,
            table: None,
        })
    }

    /// The span that outputs name.
    fn sender(&self) -> Traceparent {
        self.recorded.as_ref().map_or(self.parent, |recorded| recorded.own)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};
    use tokio::sync::mpsc;

    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn headers(value: &str) -> OwnedHeaders {
        OwnedHeaders::new()
            .insert(Header {
                key: TRACEPARENT,
                value: Some(value),
            })
            .insert(Header {
                key: TRACESTATE,
                value: Some("rojo=1"),
            })
    }

    fn message(headers: Option<&OwnedHeaders>) -> Message<'_> {
        Message {
            topic: "raw",
            partition: 3,
            offset: 42,
            timestamp: 0,
            has_append_time: true,
            key: None,
            payload: None,
            headers: headers.map(OwnedHeaders::as_borrowed),
        }
    }

    fn passed(value: &str) -> OwnHeaders {
        [(TRACEPARENT, value), (TRACESTATE, "rojo=1")]
            .map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())))
            .to_vec()
    }

    #[test]
    fn a_recorded_span_is_the_sender_of_the_outputs_and_of_the_letter() {
        let (queue, mut spans) = mpsc::channel(8);
        let recorder = Recorder::new("normalize", queue);
        let mut traced = Traced::new(Some(&recorder));
        let owned = headers(SAMPLED);
        let parent = Traceparent::parse(SAMPLED.as_bytes()).unwrap();
        let own = parent.child("normalize", "raw", 3, 42);
        traced.begin(&message(Some(&owned)));
        assert_eq!(traced.headers(), passed(&own.to_string()));
        let mut letter = passed(SAMPLED);
        letter.push(("other".to_owned(), Some(SAMPLED.as_bytes().to_vec())));
        traced.name_sender(&mut letter);
        assert_eq!(letter[..2], passed(&own.to_string())[..]);
        assert_eq!(letter[2].1.as_deref(), Some(SAMPLED.as_bytes()));
        traced.end(&message(Some(&owned)), Outcome::DeadLettered);

        let span = spans.try_recv().unwrap();
        assert_eq!(
            (span.own, span.parent, &span.state[..]),
            (own, parent.span(), &b"rojo=1"[..])
        );
        assert_eq!((span.stage.as_str(), span.topic.as_str()), ("normalize", "raw"));
        assert_eq!(
            (span.partition, span.offset, span.outcome),
            (3, 42, Outcome::DeadLettered)
        );
        assert!(span.ended >= span.started);
        assert_eq!(traced.headers(), Vec::new(), "the next message has no trace");
    }

    #[test]
    fn a_held_span_is_recorded_later_and_not_when_the_message_was_handled() {
        let (queue, mut spans) = mpsc::channel(8);
        let recorder = Recorder::new("clickhouse", queue);
        let mut traced = Traced::new(Some(&recorder));
        let owned = headers(SAMPLED);
        traced.begin(&message(Some(&owned)));
        let held = traced.hold(&message(Some(&owned)));
        traced.end(&message(Some(&owned)), Outcome::Success);
        assert!(spans.try_recv().is_err());
        traced.record(held.into_iter());
        let span = spans.try_recv().unwrap();
        assert_eq!((span.offset, span.outcome), (42, Outcome::Success));
        // Without a recorder, or without a trace, there is nothing to hold.
        let mut unrecorded = Traced::new(None);
        unrecorded.begin(&message(Some(&owned)));
        assert_eq!(unrecorded.hold(&message(Some(&owned))), None);
        assert_eq!(traced.hold(&message(None)), None);
    }

    #[test]
    fn a_trace_that_is_not_recorded_is_passed_on_unchanged() {
        let (queue, mut spans) = mpsc::channel(8);
        let recorder = Recorder::new("normalize", queue);
        for (recorder, value) in [(None, SAMPLED), (Some(&recorder), NOT_SAMPLED)] {
            let mut traced = Traced::new(recorder);
            let owned = headers(value);
            traced.begin(&message(Some(&owned)));
            assert_eq!(traced.headers(), passed(value));
            traced.end(&message(Some(&owned)), Outcome::Success);
        }
        assert!(spans.try_recv().is_err());
    }

    #[test]
    fn messages_without_a_trace_and_messages_of_other_owners_make_no_span() {
        let (queue, mut spans) = mpsc::channel(8);
        let recorder = Recorder::new("normalize", queue);
        let mut traced = Traced::new(Some(&recorder));
        let (invalid, valid) = (headers("nonsense"), headers(SAMPLED));
        for (headers, outcome) in [
            (None, Outcome::Success),
            (Some(&invalid), Outcome::Success),
            (Some(&valid), Outcome::Observed),
            (Some(&valid), Outcome::NotOurs),
        ] {
            traced.begin(&message(headers));
            traced.end(&message(headers), outcome);
            assert!(traced.headers().is_empty() && spans.try_recv().is_err());
        }
    }
}
