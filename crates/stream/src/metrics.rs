//! Names of the metrics that workers emit. Handles are made once per worker and added to once per batch.
//! Their help texts and buckets are declared with all others in the `service` crate.

/// Counter `{service,topic,status}`.
pub const MESSAGES_PROCESSED: &str = "messages_processed_total";
/// Histogram `{service,topic}`: seconds per poll batch.
pub const PROCESSING_DURATION: &str = "processing_duration_seconds";
/// Counter `{service,error_type,component}`.
pub const ERRORS: &str = "errors_total";
/// Gauge `{group,topic,partition}`.
pub const CONSUMER_LAG: &str = "kafka_consumer_lag";
/// Counter `{stage,error_code}`.
pub const DLQ_MESSAGES: &str = "dlq_messages_total";
/// Histogram `{stage}`: seconds from raw append to the stage.
pub const END_TO_END_LATENCY: &str = "end_to_end_latency_seconds";
/// Counter `{service,topic}`: repetitions that a sequencer refused.
pub const REPETITIONS_REFUSED: &str = "repetitions_refused_total";
/// Counter `{service,table}`: rows written to ClickHouse.
pub const ROWS_WRITTEN: &str = "clickhouse_rows_written_total";
/// Counter `{service,table}`: inserts refused by the fence.
pub const WRITES_FENCED: &str = "clickhouse_writes_fenced_total";
