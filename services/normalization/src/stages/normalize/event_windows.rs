//! The event windows of the raw partitions that a worker reads; there are few.
//!
//! A flood can push events out of a window before their time. The stage continues, but repetitions of these events pass as
//! new; this is counted (`normalization_events_forgotten_total`, `/stats`) and logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use delivery::event_window::{EventWindow, Seen, WindowLimits};
use domain::EventKey;
use markets::RawMessage;
use metrics::Counter;
use stream::Partition;

use crate::metrics::events_forgotten;

pub(super) struct EventWindows {
    limits: WindowLimits,
    open: Vec<(String, i32, EventWindow)>,
    forgotten: Counter,
    /// Total of all workers, for `/stats`.
    forgotten_in_all: Arc<AtomicU64>,
}

impl EventWindows {
    pub(super) fn new(limits: WindowLimits, forgotten_in_all: Arc<AtomicU64>) -> EventWindows {
        EventWindows {
            limits,
            open: Vec::new(),
            forgotten: events_forgotten(),
            forgotten_in_all,
        }
    }

    pub(super) fn limits(&self) -> WindowLimits {
        self.limits
    }

    /// Whether earlier messages of the partition contain the event.
    pub(super) fn observe(&mut self, raw: &RawMessage<'_>, key: EventKey) -> Seen {
        self.window(raw)
            .map_or(Seen::New, |window| window.observe(raw.offset, raw.appended_at, key))
    }

    /// Adds a message that an earlier owner finished. That owner has counted the events it forgot early.
    pub(super) fn remember(&mut self, raw: &RawMessage<'_>, key: EventKey) {
        if let Some(window) = self.window(raw) {
            window.observe(raw.offset, raw.appended_at, key);
            window.take_forgotten_early();
        }
    }

    fn window(&mut self, raw: &RawMessage<'_>) -> Option<&mut EventWindow> {
        let known = self
            .open
            .iter()
            .position(|(topic, number, _)| *number == raw.partition && topic == raw.feed);
        let position = known.unwrap_or_else(|| {
            self.open
                .push((raw.feed.to_owned(), raw.partition, EventWindow::new(self.limits)));
            self.open.len() - 1
        });
        self.open.get_mut(position).map(|(_, _, window)| window)
    }

    /// Counts and logs the events that were forgotten before their time since the last batch.
    pub(super) fn turn(&mut self) {
        for (topic, partition, window) in &mut self.open {
            let forgotten = window.take_forgotten_early();
            if forgotten == 0 {
                continue;
            }
            self.forgotten.increment(forgotten);
            self.forgotten_in_all.fetch_add(forgotten, Ordering::Relaxed);
            tracing::warn!(
                event = "event_window_shortened",
                topic = topic.as_str(),
                partition = *partition,
                covered_seconds = window.covered() / 1_000_000,
                window_seconds = self.limits.micros / 1_000_000,
                max_ids = self.limits.max_ids,
                "more messages arrived than the event window can hold; an event repeated after covered_seconds passes as new; \
                 spread the producers over more partitions, or find the one that floods"
            );
        }
    }

    pub(super) fn forget(&mut self, partition: &Partition) {
        self.open
            .retain(|(topic, number, _)| *topic != *partition.topic || *number != partition.number);
    }
}
