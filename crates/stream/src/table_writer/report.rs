//! Metrics and log lines for the end of a takeover or an insert.

use domain::Micros;

use crate::Partition;
use crate::metrics::{self, TableMeters};
use delivery::table_writer::{InsertError, SinkError, Takeover};

pub(super) fn taken_over(partition: &Partition, result: &Result<Takeover, SinkError>) {
    match result {
        Ok(_) => {}
        Err(SinkError::Refused(error)) => {
            metrics::error("takeover_refused", "clickhouse");
            tracing::error!(partition = %partition, error, event = "write_refused", "takeover refused, nothing is lost; correct what the error names, it is tried again");
        }
        Err(error) => {
            metrics::error("takeover_failed", "clickhouse");
            tracing::warn!(partition = %partition, error = %error, "clickhouse takeover failed; tried again");
        }
    }
}

pub(super) fn inserted(
    meters: &TableMeters,
    partition: &Partition,
    rows: usize,
    result: &Result<(), InsertError>,
    latency: Micros,
) {
    match result {
        Ok(()) => {
            meters.rows_written.increment(rows as u64);
            meters.latency.record(latency.max(0) as f64 / 1e6);
        }
        Err(InsertError::Fenced) => {
            meters.fenced.increment(1);
            tracing::warn!(partition = %partition, rows, event = "write_fenced", "insert refused: another writer owns the partition");
        }
        Err(InsertError::Refused(error)) => {
            metrics::error("insert_refused", "clickhouse");
            tracing::error!(partition = %partition, rows, error, event = "write_refused", "insert refused, no data is lost; correct the cause named in the error, the insert is retried");
        }
        Err(InsertError::Unknown(error)) => {
            metrics::error("insert_unanswered", "clickhouse");
            tracing::warn!(partition = %partition, rows, error, "insert outcome unknown; claiming again and reading back");
        }
    }
}
