//! How far each projection is behind its log.
//!
//! Invariant: the lag is measured against the newest event in the log, so a projection without new events does not lag.
//! Failure: Kafka or Postgres does not answer.

use domain::Micros;
use serde::Serialize;
use service::Names;
use stores::postgres::StoredPosition;
use stores::{LatestPriceStore, Projection, ServedStore};
use stream::kafka::reader::LogReader;
use stream::{Partition, StreamError};

use crate::connection::Connection;
use crate::migrations::stores;

/// The name of the projection of latest prices.
pub const LATEST_PRICE: &str = "latest_price";
const WARNING: f64 = 300.0;
const CRITICAL: f64 = 1_800.0;

/// The verdict on a lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// At most five minutes behind.
    Healthy,
    /// More than five minutes.
    Warning,
    /// More than thirty minutes, or nothing was ever processed although there are events.
    Critical,
}

impl Status {
    /// The status at this lag in seconds; `None` if nothing was ever processed.
    pub fn of(lag: Option<f64>) -> Status {
        match lag {
            None => Status::Critical,
            Some(lag) if lag > CRITICAL => Status::Critical,
            Some(lag) if lag > WARNING => Status::Warning,
            Some(_) => Status::Healthy,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Status::Healthy => "healthy",
            Status::Warning => "warning",
            Status::Critical => "critical",
        }
    }
}

/// One partition of a projection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Checkpoint {
    pub projection: &'static str,
    pub topic: String,
    pub partition: i32,
    /// Offset of the next event; `None` if nothing was ever stored.
    pub next_offset: Option<i64>,
    /// End of the log.
    pub end: i64,
    /// Events that are not stored yet.
    pub behind: i64,
    /// Between the oldest event that is not stored and the newest one; `None` if nothing was ever stored.
    pub lag_seconds: Option<f64>,
    /// Since the position was stored.
    pub stored_seconds_ago: Option<f64>,
    /// `source_event_id` of the last stored event, if the log still has it; only of latest prices.
    pub last_event_id: Option<String>,
}

/// A projection as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Standing {
    pub projection: &'static str,
    pub status: Status,
    /// Of its slowest partition; `None` if one has events of which none was ever stored.
    pub lag_seconds: Option<f64>,
    pub behind: i64,
    /// Events of the log before the positions.
    pub events_processed: i64,
    /// Since a position was stored last.
    pub last_processed_seconds_ago: Option<f64>,
    /// Of the partition that was stored last.
    pub last_event_id: Option<String>,
}

/// The names of all projections.
pub fn all_names() -> Vec<&'static str> {
    let served = Projection::ALL.map(Projection::name);
    std::iter::once(LATEST_PRICE).chain(served).collect()
}

/// A projection with its topic and the positions that it has stored.
struct Known {
    name: &'static str,
    topic: String,
    stored: Vec<StoredPosition>,
}

/// The checkpoints of every projection, by partition.
///
/// # Errors
/// Kafka or Postgres does not answer.
pub async fn checkpoints(connection: &Connection) -> anyhow::Result<Vec<Checkpoint>> {
    let (postgres, names) = (stores(connection)?.postgres, &connection.names);
    let prices = LatestPriceStore::new(postgres.clone(), names.generation());
    let mut all = vec![Known {
        name: LATEST_PRICE,
        topic: names.enriched.clone(),
        stored: prices.positions().await?,
    }];
    for projection in Projection::ALL {
        let store = ServedStore::new(postgres.clone(), projection, names.generation());
        all.push(Known {
            name: projection.name(),
            topic: served_topic(names, projection).to_owned(),
            stored: store.positions().await?,
        });
    }
    let (bootstrap, wire) = (connection.settings.kafka_bootstrap.clone(), connection.wire().await?);
    let read = move || -> Result<Vec<Checkpoint>, StreamError> {
        let reader = LogReader::new(&bootstrap)?;
        let mut checkpoints = Vec::new();
        for known in &all {
            for partition in reader.partitions(&known.topic)? {
                checkpoints.push(of_partition(&reader, &wire, known, &partition)?);
            }
        }
        Ok(checkpoints)
    };
    Ok(tokio::task::spawn_blocking(read).await??)
}

/// The topic that a projection is made from.
pub fn served_topic(names: &Names, projection: Projection) -> &str {
    match projection {
        Projection::CurveSnapshot => &names.curves,
        Projection::DerivedPrice => &names.derived,
    }
}

/// The standing of each projection, from the checkpoints of all.
pub fn standings(checkpoints: &[Checkpoint]) -> Vec<Standing> {
    let of = |name: &'static str| {
        let own = checkpoints.iter().filter(|checkpoint| checkpoint.projection == name);
        standing(name, &own.cloned().collect::<Vec<_>>())
    };
    all_names().into_iter().map(of).collect()
}

/// The whole of these checkpoints of one projection.
fn standing(projection: &'static str, checkpoints: &[Checkpoint]) -> Standing {
    let started = |checkpoint: &&Checkpoint| checkpoint.next_offset.is_some() || checkpoint.end > 0;
    let lags = checkpoints
        .iter()
        .filter(started)
        .map(|checkpoint| checkpoint.lag_seconds);
    let lag_seconds = lags
        .collect::<Option<Vec<f64>>>()
        .map(|lags| lags.into_iter().fold(0.0, f64::max));
    let newest = checkpoints
        .iter()
        .filter(|checkpoint| checkpoint.stored_seconds_ago.is_some())
        .min_by(|a, b| f64::total_cmp(&a.age(), &b.age()));
    Standing {
        projection,
        status: Status::of(lag_seconds),
        lag_seconds,
        behind: checkpoints.iter().map(|checkpoint| checkpoint.behind).sum(),
        events_processed: checkpoints.iter().filter_map(|checkpoint| checkpoint.next_offset).sum(),
        last_processed_seconds_ago: newest.and_then(|checkpoint| checkpoint.stored_seconds_ago),
        last_event_id: newest.and_then(|checkpoint| checkpoint.last_event_id.clone()),
    }
}

impl Checkpoint {
    fn age(&self) -> f64 {
        self.stored_seconds_ago.unwrap_or(f64::INFINITY)
    }
}

fn of_partition(
    reader: &LogReader,
    wire: &codec::Wire,
    known: &Known,
    partition: &Partition,
) -> Result<Checkpoint, StreamError> {
    let is_its = |stored: &&StoredPosition| stored.topic == known.topic && stored.partition == partition.number;
    let position = known.stored.iter().find(is_its);
    let next_offset = position.map(|position| position.next_offset);
    let (oldest, end) = reader.log_range(partition)?;
    let next = next_offset.unwrap_or(oldest).max(oldest);
    let behind = (end - next).max(0);
    let mut last_event_id = None;
    // Snapshots and derived prices are of no single event.
    if next > oldest && next_offset.is_some() && known.name == LATEST_PRICE {
        first(reader, partition, next - 1, end, |message| {
            let payload = wire.current(codec::Record::EnrichedTick, message.payload.unwrap_or_default());
            last_event_id = wire
                .decode_enriched(&payload)
                .ok()
                .map(|enriched| enriched.tick.source_event_id.to_owned());
        })?;
    }
    let lag_seconds = match (next_offset, behind) {
        (_, 0) => Some(0.0),
        (None, _) => None,
        (Some(_), _) => {
            let (mut unread, mut newest): (Option<Micros>, Option<Micros>) = (None, None);
            first(reader, partition, next, end, |message| unread = Some(message.timestamp))?;
            first(reader, partition, end - 1, end, |message| {
                newest = Some(message.timestamp)
            })?;
            Some(
                unread
                    .zip(newest)
                    .map_or(0.0, |(unread, newest)| (newest - unread).max(0) as f64 / 1e6),
            )
        }
    };
    Ok(Checkpoint {
        projection: known.name,
        topic: partition.topic.to_string(),
        partition: partition.number,
        next_offset,
        end,
        behind,
        lag_seconds,
        stored_seconds_ago: position.map(|position| position.updated_seconds_ago),
        last_event_id,
    })
}

fn first(
    reader: &LogReader,
    partition: &Partition,
    from: i64,
    end: i64,
    mut found: impl FnMut(&stream::Message<'_>),
) -> Result<(), StreamError> {
    reader.read(partition, from, end, |message| {
        found(message);
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(next_offset: Option<i64>, end: i64, lag_seconds: Option<f64>) -> Checkpoint {
        Checkpoint {
            projection: LATEST_PRICE,
            topic: "t".to_owned(),
            partition: 0,
            next_offset,
            end,
            behind: end - next_offset.unwrap_or(0),
            lag_seconds,
            stored_seconds_ago: next_offset.map(|next| next as f64),
            last_event_id: next_offset.map(|next| format!("event-{next}")),
        }
    }

    #[test]
    fn the_limits_are_five_and_thirty_minutes_and_never_processed_is_critical() {
        for (lag, expected) in [
            (Some(0.0), Status::Healthy),
            (Some(300.0), Status::Healthy),
            (Some(300.001), Status::Warning),
            (Some(1_800.0), Status::Warning),
            (Some(1_800.001), Status::Critical),
            (None, Status::Critical),
        ] {
            assert_eq!(Status::of(lag), expected, "{lag:?}");
        }
    }

    #[test]
    fn the_slowest_partition_decides_and_an_empty_one_does_not_lag() {
        let known = [
            checkpoint(Some(5), 5, Some(0.0)),
            checkpoint(Some(9), 12, Some(400.0)),
            checkpoint(None, 0, Some(0.0)),
        ];
        let all = standing(LATEST_PRICE, &known);
        assert_eq!(
            (all.status, all.lag_seconds, all.behind),
            (Status::Warning, Some(400.0), 3)
        );
        assert_eq!(
            (all.events_processed, all.last_event_id.as_deref()),
            (14, Some("event-5"))
        );
        let never = standing(
            LATEST_PRICE,
            &[checkpoint(None, 7, None), checkpoint(Some(1), 1, Some(0.0))],
        );
        assert_eq!((never.status, never.lag_seconds), (Status::Critical, None));
        // Those of one projection do not change the standing of another one.
        let listed: Vec<_> = standings(&known)
            .into_iter()
            .map(|standing| (standing.projection, standing.behind, standing.status))
            .collect();
        let expected = [
            (LATEST_PRICE, 3, Status::Warning),
            ("curve_snapshot", 0, Status::Healthy),
            ("derived_price", 0, Status::Healthy),
        ];
        assert_eq!(listed, expected);
    }
}
