//! The metrics that workers emit: names, and handles that are created once and updated once per batch.
//!
//! Role: the five signals of every stage (messages by outcome, duration, batch size, event-time lag, in flight) come from
//! the worker's loop through [`StageSignals`], so a stage cannot omit one. Help, unit and buckets are declared with all
//! others in the `service` crate. Only the recorder adds label `service`.
#![allow(clippy::disallowed_macros)]

use std::time::Duration;

use domain::Micros;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::outcome::{Outcome, OutcomeCounts};
use crate::{Message, Partition};

/// Counter `{topic,status}`.
pub const MESSAGES_PROCESSED: &str = "messages_processed_total";
/// Histogram `{topic}`: seconds per poll batch.
pub const PROCESSING_DURATION: &str = "processing_duration_seconds";
/// Histogram `{topic}`: messages per poll batch.
pub const BATCH_MESSAGES: &str = "batch_messages";
/// Histogram `{topic}`: seconds between a batch's newest message and its end.
pub const EVENT_TIME_LAG: &str = "event_time_lag_seconds";
/// Gauge `{topic}`: messages handled, but not yet covered by the committed position.
pub const IN_FLIGHT: &str = "messages_in_flight";
/// Counter `{error_type,component}`.
pub const ERRORS: &str = "errors_total";
/// Gauge `{group,topic,partition}`.
pub const CONSUMER_LAG: &str = "kafka_consumer_lag";
/// Gauge `{group,topic,partition}`.
pub const CONSUMER_COMMITTED: &str = "kafka_consumer_committed_offset";
/// Gauge `{group,topic,partition}`: 1 while a partition is blocked.
pub const PARTITION_BLOCKED: &str = "kafka_partition_blocked";
/// Gauge `{group,stage}`: 1 while an operator has paused the stage.
pub const CONSUMER_PAUSED: &str = "kafka_consumer_paused";
/// Counter `{stage,error_code}`.
pub const DLQ_MESSAGES: &str = "dlq_messages_total";
/// Histogram `{stage}`: seconds from raw append to the stage.
pub const END_TO_END_LATENCY: &str = "end_to_end_latency_seconds";
/// Counter `{topic}`: repetitions that a sequencer rejected.
pub const REPETITIONS_REFUSED: &str = "repetitions_refused_total";
/// Counter `{table}`: rows written to ClickHouse.
pub const ROWS_WRITTEN: &str = "clickhouse_rows_written_total";
/// Gauge `{table}`: time of the last confirmed insert, in seconds since 1970.
pub const LAST_WRITE: &str = "clickhouse_last_write_timestamp_seconds";
/// Histogram `{table}`: seconds until ClickHouse confirmed an insert.
pub const INSERT_DURATION: &str = "clickhouse_insert_seconds";
/// Counter `{table}`: inserts rejected by the fence.
pub const WRITES_FENCED: &str = "clickhouse_writes_fenced_total";
/// Counter: `traceparent` headers that cannot be read.
pub const TRACE_HEADERS_INVALID: &str = "trace_headers_invalid_total";
/// Counter `{reason}`: spans that were not exported.
pub const SPANS_DROPPED: &str = "trace_spans_dropped_total";
/// Reason: more spans than the exporter takes.
pub const QUEUE_FULL: &str = "queue_full";

/// Counts an error; the values of both labels are closed sets.
pub fn error(error_type: &'static str, component: &'static str) {
    counter!(ERRORS, "error_type" => error_type, "component" => component).increment(1);
}

/// Sets whether a partition is blocked.
pub(crate) fn partition_blocked(group: &str, partition: &Partition, is_blocked: bool) {
    let (topic, number) = (partition.topic.to_string(), partition.number.to_string());
    gauge!(PARTITION_BLOCKED, "group" => group.to_owned(), "topic" => topic, "partition" => number)
        .set(if is_blocked { 1.0 } else { 0.0 });
}

/// Counts a dead letter, which is an error of its stage as well.
pub(crate) fn dead_letter(stage: &str, code: &str) {
    counter!(DLQ_MESSAGES, "stage" => stage.to_owned(), "error_code" => code.to_owned()).increment(1);
    counter!(ERRORS, "error_type" => code.to_owned(), "component" => stage.to_owned()).increment(1);
}

/// Counts a `traceparent` that cannot be read.
pub(crate) fn trace_header_invalid() {
    counter!(TRACE_HEADERS_INVALID).increment(1);
}

/// Counts spans that were not exported.
pub fn spans_dropped(reason: &'static str, spans: u64) {
    counter!(SPANS_DROPPED, "reason" => reason).increment(spans);
}

/// The five signals of one worker, for each of its topics.
pub(crate) struct StageSignals {
    topics: Vec<TopicSignals>,
    /// The topic of the last message: the next message usually has the same topic.
    current: usize,
}

struct TopicSignals {
    topic: String,
    batch: OutcomeCounts,
    newest: Micros,
    processed: [Counter; Outcome::COUNTED.len()],
    duration: Histogram,
    size: Histogram,
    lag: Histogram,
    in_flight: Level,
    /// Partitions with the first offset handled and the offset after the last. The list is short.
    positions: Vec<(Partition, i64, i64)>,
}

impl StageSignals {
    pub(crate) fn new(topics: &[String]) -> StageSignals {
        StageSignals {
            topics: topics.iter().map(|topic| TopicSignals::new(topic)).collect(),
            current: 0,
        }
    }

    /// A message has been handled.
    pub(crate) fn message(&mut self, message: &Message<'_>, outcome: Outcome) {
        let is_its = |signals: &TopicSignals| signals.topic == message.topic;
        if !self.topics.get(self.current).is_some_and(is_its) {
            self.current = self.topics.iter().position(is_its).unwrap_or(0);
        }
        if let (Some(signals), true) = (self.topics.get_mut(self.current), outcome != Outcome::NotOurs) {
            signals.batch.add(outcome);
            signals.newest = message.timestamp;
            // An earlier owner has finished and committed what is only observed.
            if outcome != Outcome::Observed {
                signals.reached(message);
            }
        }
    }

    /// Messages handled, but not yet covered by the committed positions, at the end of the last batch.
    pub(crate) fn in_flight(&self) -> u64 {
        let values = self.topics.iter().map(|signals| signals.in_flight.value);
        values.sum::<f64>() as u64
    }

    /// A batch has ended; returns its outcome counts. `confirmed` returns the position of a partition that is committed or about
    /// to be.
    pub(crate) fn batch(
        &mut self,
        took: Duration,
        now: Micros,
        confirmed: impl Fn(&Partition) -> Option<i64>,
    ) -> OutcomeCounts {
        let mut all = OutcomeCounts::default();
        for signals in &mut self.topics {
            let counts = std::mem::take(&mut signals.batch);
            let total = counts.total();
            if total > 0 {
                for (counter, (_, count)) in signals.processed.iter().zip(counts.iter()) {
                    counter.increment(count);
                }
                signals.duration.record(took.as_secs_f64());
                signals.size.record(total as f64);
                signals.lag.record((now - signals.newest).max(0) as f64 / 1e6);
                all.merge(&counts);
            }
            let open = |(partition, first, next): &(Partition, i64, i64)| {
                (next - confirmed(partition).unwrap_or(*first).max(*first)).max(0)
            };
            let in_flight: i64 = signals.positions.iter().map(open).sum();
            signals.in_flight.set(in_flight as f64);
        }
        all
    }

    /// These partitions were revoked.
    pub(crate) fn forget(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            for signals in self.topics.iter_mut().filter(|known| known.topic == *partition.topic) {
                signals.positions.retain(|(known, _, _)| known != partition);
            }
        }
    }
}

impl TopicSignals {
    fn new(topic: &str) -> TopicSignals {
        let labels = [("topic", topic.to_owned())];
        TopicSignals {
            topic: topic.to_owned(),
            batch: OutcomeCounts::default(),
            newest: 0,
            processed: Outcome::COUNTED
                .map(|outcome| counter!(MESSAGES_PROCESSED, "topic" => topic.to_owned(), "status" => outcome.name())),
            duration: histogram!(PROCESSING_DURATION, &labels),
            size: histogram!(BATCH_MESSAGES, &labels),
            lag: histogram!(EVENT_TIME_LAG, &labels),
            in_flight: Level::new(gauge!(IN_FLIGHT, &labels)),
            positions: Vec::new(),
        }
    }

    fn reached(&mut self, message: &Message<'_>) {
        let next = message.offset + 1;
        match self
            .positions
            .iter_mut()
            .find(|(known, _, _)| known.number == message.partition)
        {
            Some((_, _, reached)) => *reached = next,
            None => self.positions.push((message.source(), message.offset, next)),
        }
    }
}

/// The share of one worker in a gauge to which several workers add; dropping it removes the share.
struct Level {
    gauge: Gauge,
    value: f64,
}

impl Level {
    fn new(gauge: Gauge) -> Level {
        gauge.increment(0.0);
        Level { gauge, value: 0.0 }
    }

    fn set(&mut self, value: f64) {
        if value != self.value {
            self.gauge.increment(value - self.value);
            self.value = value;
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.set(0.0);
    }
}

/// The additional metrics of a ClickHouse writer, for one table.
pub(crate) struct TableMeters {
    table: String,
    pub(crate) rows_written: Counter,
    pub(crate) insert: Histogram,
    pub(crate) fenced: Counter,
    pub(crate) repetitions: Counter,
    pub(crate) latency: Histogram,
}

impl TableMeters {
    pub(crate) fn new(topic: &str, table: &str) -> TableMeters {
        TableMeters {
            table: table.to_owned(),
            rows_written: counter!(ROWS_WRITTEN, "table" => table.to_owned()),
            insert: histogram!(INSERT_DURATION, "table" => table.to_owned()),
            fenced: counter!(WRITES_FENCED, "table" => table.to_owned()),
            repetitions: counter!(REPETITIONS_REFUSED, "topic" => topic.to_owned()),
            latency: histogram!(END_TO_END_LATENCY, "stage" => format!("clickhouse_{table}")),
        }
    }

    /// An insert was confirmed at this time. The series begins here: 0 would be an age of decades.
    pub(crate) fn written(&self, now: Micros) {
        gauge!(LAST_WRITE, "table" => self.table.clone()).set(now as f64 / 1e6);
    }
}
