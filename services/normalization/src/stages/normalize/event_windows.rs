//! The event windows of the raw partitions that a worker reads; there are few.
//!
//! A flood can push events out of a window before their time. The stage continues, but repetitions of these events pass as
//! new; this is counted (`normalization_events_forgotten_total`, `/stats`) and logged.
//!
//! What the files spare a restarted process are the events of the whole window. Messages as far back as [`LEARNED`] are read nevertheless,
//! because the quality rules learn from their prices, which are in no file. Some of them may be older than the window, so they also enter one
//! of their own, which only tells whether a price came twice; it is dropped with the first new message.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use delivery::event_window::{EventWindow, Seen, WindowLimits};
use domain::{EventKey, Micros};
use markets::RawMessage;
use metrics::Counter;
use stream::Partition;
use stream::hop::{Memory, ReadBack};

use super::window_file::{Entry, WindowFile, fingerprint};
use crate::metrics::events_forgotten;

/// Messages before the committed offset that are read back for the quality rules. They learn from five prices of an instrument: five times
/// 15 minutes and a delay, or less if so many messages came since. It is less than a second of work.
pub(super) const LEARNED: Memory = Memory {
    micros: 90 * 60 * 1_000_000,
    offsets: 20_000,
};

pub(super) struct EventWindows {
    limits: WindowLimits,
    open: Vec<Open>,
    forgotten: Counter,
    /// Total of all workers, for `/stats`.
    forgotten_in_all: Arc<AtomicU64>,
    /// Folder of the files, and what they must have been written by.
    kept: Option<(PathBuf, u64)>,
}

struct Open {
    topic: String,
    partition: i32,
    window: EventWindow,
    file: Option<WindowFile>,
    recalled: Recalled,
}

/// What a file has told about messages that are read back.
#[derive(Default)]
struct Recalled {
    /// The window has the messages before this offset.
    until: i64,
    /// Offsets of those that repeat an event, in order.
    repeated: Vec<i64>,
    /// All that are read back before `until`: the window may begin after them.
    learning: Option<EventWindow>,
}

impl Open {
    fn observe(&mut self, entry: Entry) -> Seen {
        if let Some(file) = &mut self.file {
            file.append(entry);
        }
        self.window.observe(entry.offset, entry.appended_at, entry.key)
    }

    /// Runs without the file if it cannot be written. The window is then read back after a restart.
    fn save(&mut self, write: impl FnOnce(&mut WindowFile) -> std::io::Result<()>) {
        let Some(Err(error)) = self.file.as_mut().map(write) else {
            return;
        };
        tracing::warn!(topic = self.topic, partition = self.partition, %error, "the event window is not kept: check the folder NORMALIZATION_WINDOW_DIR; after a restart it is read from Kafka");
        if let Some(file) = self.file.take() {
            file.remove();
        }
    }
}

impl EventWindows {
    pub(super) fn new(limits: WindowLimits, forgotten_in_all: Arc<AtomicU64>) -> EventWindows {
        EventWindows {
            limits,
            open: Vec::new(),
            forgotten: events_forgotten(),
            forgotten_in_all,
            kept: None,
        }
    }

    /// Keeps windows in this folder from now on. Files that other settings led to are not used.
    pub(super) fn keep_in(&mut self, folder: Option<PathBuf>, deciding: &impl std::fmt::Debug) {
        self.kept = folder.map(|folder| (folder, fingerprint(deciding)));
    }

    pub(super) fn limits(&self) -> WindowLimits {
        self.limits
    }

    /// Whether earlier messages of the partition contain the event.
    pub(super) fn observe(&mut self, raw: &RawMessage<'_>, key: EventKey) -> Seen {
        self.of(raw.feed, raw.partition).map_or(Seen::New, |open| {
            open.recalled.learning = None;
            open.observe(entry(raw, key))
        })
    }

    /// Adds a message that an earlier owner finished. That owner has counted the events it forgot early. A message that the file had is
    /// there already, and it is only told whether it repeats another.
    pub(super) fn remember(&mut self, raw: &RawMessage<'_>, key: EventKey) -> Seen {
        let limits = self.limits;
        self.of(raw.feed, raw.partition).map_or(Seen::New, |open| {
            if raw.offset < open.recalled.until {
                let Recalled { repeated, learning, .. } = &mut open.recalled;
                let learning = learning.get_or_insert_with(|| EventWindow::new(limits));
                let seen = learning.observe(raw.offset, raw.appended_at, key);
                let is_repeated = repeated.binary_search(&raw.offset).is_ok();
                return if is_repeated { Seen::Repeated } else { seen };
            }
            let seen = open.observe(entry(raw, key));
            open.window.take_forgotten_early();
            seen
        })
    }

    /// Whether the file of its partition's window covers this message.
    pub(super) fn has_from_file(&mut self, raw: &RawMessage<'_>) -> bool {
        self.of(raw.feed, raw.partition)
            .is_some_and(|open| raw.offset < open.recalled.until)
    }

    /// Restores what the files hold of this range; returns the offset from which the log is read back.
    pub(super) fn recall(
        &mut self,
        partition: &Partition,
        range: ReadBack,
        time_at: &dyn Fn(i64) -> Option<Micros>,
    ) -> i64 {
        let (from, committed) = (range.memory, range.committed);
        let whole = from.min(range.learns);
        let Some((folder, fingerprint)) = self.kept.clone() else {
            return whole;
        };
        let limits = self.limits;
        let Some(open) = self.of(&partition.topic, partition.number) else {
            return whole;
        };
        let name = format!("{}-{}", partition.topic, partition.number);
        let mut repeated = Vec::new();
        let recalled = WindowFile::open(&folder, &name, fingerprint, limits.max_ids).and_then(|mut file| {
            let window = &mut open.window;
            let read_from = file.recall((from, committed), time_at, &mut |entry| {
                let seen = window.observe(entry.offset, entry.appended_at, entry.key);
                if seen == Seen::Repeated && entry.offset >= range.learns {
                    repeated.push(entry.offset);
                }
            })?;
            open.file = Some(file);
            open.recalled = Recalled {
                until: read_from,
                repeated,
                learning: None,
            };
            Ok(read_from.min(range.learns))
        });
        open.window.take_forgotten_early();
        recalled.unwrap_or_else(|error| {
            tracing::warn!(%partition, folder = %folder.display(), %error, "the event window is read from Kafka: its file cannot be used");
            whole
        })
    }

    fn of(&mut self, topic: &str, partition: i32) -> Option<&mut Open> {
        let known = self
            .open
            .iter()
            .position(|open| open.partition == partition && open.topic == topic);
        let position = known.unwrap_or_else(|| {
            self.open.push(Open {
                topic: topic.to_owned(),
                partition,
                window: EventWindow::new(self.limits),
                file: None,
                recalled: Recalled::default(),
            });
            self.open.len() - 1
        });
        self.open.get_mut(position)
    }

    /// Counts and logs the events that were forgotten before their time since the last batch.
    pub(super) fn turn(&mut self) {
        for open in &mut self.open {
            open.save(WindowFile::turn);
            let Open {
                topic,
                partition,
                window,
                ..
            } = open;
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
        self.open.retain_mut(|open| {
            let is_it = open.topic == *partition.topic && open.partition == partition.number;
            if is_it {
                open.save(WindowFile::flush);
            }
            !is_it
        });
    }
}

fn entry(raw: &RawMessage<'_>, key: EventKey) -> Entry {
    Entry {
        offset: raw.offset,
        appended_at: raw.appended_at,
        key,
    }
}
