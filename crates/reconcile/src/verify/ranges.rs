//! The parts of the logs that are compared. Fixed once, so messages that arrive later do not change the result.

use ops::connection::Connection;
use ops::threads::reading;
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};

use super::cut::{Arrived, Cut};
use super::lane::Lane;

pub use super::range::Range;

/// The current ranges of all partitions of these topics.
///
/// # Errors
/// A topic does not exist, or Kafka does not answer.
pub fn ranges(bootstrap: &Brokers, topics: &[String]) -> Result<Vec<Range>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let mut ranges = Vec::new();
    for topic in topics {
        for partition in reader.partitions(topic)? {
            let (first, end) = reader.log_range(&partition)?;
            ranges.push(Range {
                lane: Lane {
                    topic: partition.topic,
                    partition: partition.number,
                },
                first,
                end,
                is_cut: first > 0,
                gaps: Vec::new(),
            });
        }
    }
    Ok(ranges)
}

/// The ticks that have arrived since the cut. What a store names is judged by them only if they are asked for after it was read.
///
/// # Errors
/// As [`ranges`].
pub(super) async fn arrived(connection: &Connection, cut: &Cut) -> anyhow::Result<Arrived> {
    let (bootstrap, topics) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let now = reading(move || ranges(&bootstrap, &topics)).await?;
    Ok(cut.arrived(now.iter().map(|range| (range.partition(), range.end)).collect()))
}
