//! Metrics, log lines and errors for the end of a takeover or an insert.

use std::time::Duration;

use domain::Micros;

use super::pace::SLOW;
use super::work::Member;
use crate::metrics::{self, TableMeters};
use crate::positions::{self, Reader};
use crate::{Partition, StreamError};
use delivery::table_writer::{InsertError, SinkError, Takeover};

pub(super) fn taken_over(partition: &Partition, result: &Result<Takeover, SinkError>) {
    match result {
        Ok(_) => {}
        Err(SinkError::Fenced) => {
            tracing::warn!(partition = %partition, event = "write_fenced", "another writer has claimed the partition since; it is not claimed back");
        }
        Err(SinkError::Refused(error)) => {
            metrics::error("takeover_refused", "clickhouse");
            tracing::error!(partition = %partition, error, event = "write_refused", "takeover refused; no data is lost. Fix the cause in `error`; the service retries");
        }
        Err(error) => {
            metrics::error("takeover_failed", "clickhouse");
            tracing::warn!(partition = %partition, error = %error, "clickhouse takeover failed; the service retries");
        }
    }
}

pub(super) fn inserted(
    meters: &TableMeters,
    members: &[Member],
    took: Duration,
    result: &Result<(), InsertError>,
    now: Micros,
) {
    let rows: usize = members.iter().map(|member| member.rows).sum();
    let partitions = partitions_of(members);
    match result {
        Ok(()) => {
            meters.rows_written.increment(rows as u64);
            meters.insert.record(took.as_secs_f64());
            meters.written(now);
            if took >= SLOW {
                tracing::warn!(
                    partitions,
                    rows,
                    seconds = took.as_secs_f64(),
                    event = "insert_slow",
                    "clickhouse took long to confirm an insert; rows are late, nothing is lost"
                );
            }
            for member in members {
                let latency = now - member.newest_appended_at;
                meters.latency.record(latency.max(0) as f64 / 1e6);
            }
        }
        Err(InsertError::Fenced) => {
            meters.fenced.increment(1);
            tracing::warn!(
                partitions,
                rows,
                event = "write_fenced",
                "insert refused: another writer owns one of its partitions"
            );
        }
        Err(InsertError::Refused(error)) => {
            metrics::error("insert_refused", "clickhouse");
            tracing::error!(
                partitions,
                rows,
                error,
                event = "write_refused",
                "insert refused; no data is lost. Fix the cause in `error`; the service retries"
            );
        }
        Err(InsertError::Unknown(error)) => {
            metrics::error("insert_unanswered", "clickhouse");
            tracing::warn!(
                partitions,
                rows,
                error,
                "insert outcome unknown; claiming again and reading back"
            );
        }
    }
}

/// The error that ends the process, with its remedy.
pub(super) fn fatal(code: &'static str, message: String, reader: &Reader) -> StreamError {
    if code != positions::TOPIC_ID_CHANGED {
        return StreamError::fatal(code, message);
    }
    let remedy = positions::in_a_new_generation(reader);
    StreamError::fatal(code, format!("{message}. {remedy}"))
}

/// `topic[0], topic[2]`
fn partitions_of(members: &[Member]) -> String {
    let names: Vec<String> = members.iter().map(|member| member.lane.partition.to_string()).collect();
    names.join(", ")
}
