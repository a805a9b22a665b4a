//! Reads the saved state of assigned partitions on a separate thread, so that the poll loop never waits for it.
//!
//! Invariants: INV-3 (position, sequencer and log clock come from one record). A changed id of the enriched topic, or a
//! position outside of its log, is refused with the remedy, since the offsets would then belong to other ticks.
//! Failure: a transient error goes to the worker, which restores again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, channel};

use curves::derived::Definition;
use delivery::StartAt;
use domain::Micros;
use stream::Brokers;
use stream::kafka::reader::LogReader;
use stream::positions::{self, Reader};
use stream::{Partition, StreamError};
use uuid::Uuid;

use crate::core::log_clock::WindowRules;
use crate::core::partition_state::PartitionState;
use crate::core::restore::{NewOwner, RestoreError, StateLoader, Taken};

/// The partitions to restore, and their source.
pub struct RestoreJob {
    /// Broker addresses.
    pub bootstrap: Brokers,
    /// Identifies this consumer in the remedies of errors.
    pub reader: Reader,
    /// Id of the enriched topic; empty if the broker has none.
    pub topic_id: String,
    /// Topic of the saved state.
    pub state_topic: String,
    /// Decodes values.
    pub wire: codec::Wire,
    /// The configured intervals and times.
    pub rules: WindowRules,
    /// The configured derived series.
    pub series: Vec<Arc<Definition>>,
    /// Enriched partitions.
    pub partitions: Vec<Partition>,
    /// Wall clock.
    pub now: Micros,
    /// Progress of the restore.
    pub read: Arc<Read>,
}

/// Records read so far, and in all, in the partition of the state topic that is being read.
#[derive(Debug, Default)]
pub struct Read {
    done: AtomicI64,
    all: AtomicI64,
}

impl std::fmt::Display for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [done, all] = [&self.done, &self.all].map(|count| count.load(Ordering::Relaxed));
        write!(f, "{done} of {all} records of saved state read")
    }
}

/// The state of one partition, and its position.
pub struct Restored {
    /// Enriched partition.
    pub partition: Partition,
    /// State as of the position.
    pub state: PartitionState,
    /// The position to continue from.
    pub start: StartAt,
    /// Derived series that its saved state does not know.
    pub new_series: Vec<Arc<Definition>>,
}

/// Starts the restore. The receiver gets one result per partition, or one error.
pub fn begin(job: RestoreJob) -> Result<Receiver<Result<Restored, StreamError>>, StreamError> {
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name("restore-state".to_owned())
        .spawn(move || {
            // A failed send means that the worker has ended; then the rest is not needed.
            if let Err(error) = job.run(&mut |restored| sender.send(Ok(restored)).is_ok()) {
                let _ = sender.send(Err(error));
            }
        })
        .map_err(|error| StreamError::transient("no_thread", format!("start a thread to restore state: {error}")))?;
    Ok(receiver)
}

impl RestoreJob {
    fn run(&self, take: &mut dyn FnMut(Restored) -> bool) -> Result<(), StreamError> {
        let reader = LogReader::new(&self.bootstrap)?;
        for partition in &self.partitions {
            if !take(self.restore(&reader, partition)?) {
                break;
            }
        }
        Ok(())
    }

    fn restore(&self, reader: &LogReader, partition: &Partition) -> Result<Restored, StreamError> {
        let saved = Partition {
            topic: self.state_topic.as_str().into(),
            number: partition.number,
        };
        let loader = load(&self.reader, reader, &saved, &self.read)?;
        let other = loader.other_intervals(&self.wire, &self.rules);
        if let Some(saved) = other.map_err(|error| refused(&self.reader, partition, &saved, &error))? {
            tracing::warn!(
                event = "settings_changed",
                %partition,
                saved_intervals = saved.join(","),
                "the saved state was written under another AGGREGATION_BAR_INTERVALS: bars that are open now may lack ticks; set the same value on all replicas (alert SettingsDiffer), and change it only with a new generation"
            );
        }
        let new_series = loader
            .new_series(&self.series)
            .map_err(|error| refused(&self.reader, partition, &saved, &error))?;
        let owner = NewOwner {
            random: Uuid::new_v4().as_u64_pair().0,
            topic_id: self.topic_id.clone(),
            rules: self.rules,
            now: self.now,
        };
        let (state, position) = loader
            .restore(&self.wire, owner)
            .map_err(|error| refused(&self.reader, partition, &saved, &error))?;
        let start = start_at(&self.reader, partition, position, reader.log_range(partition)?)?;
        tracing::info!(%partition, ?start, records = loader.len(), instruments = state.instrument_count(), "state restored");
        Ok(Restored {
            partition: partition.clone(),
            state,
            start,
            new_series,
        })
    }
}

/// The position to continue from. Without saved state the log must still begin at 0: bars computed from the rest of a log
/// would look right and be wrong.
fn start_at(
    reader: &Reader,
    partition: &Partition,
    position: Option<i64>,
    (oldest, next): (i64, i64),
) -> Result<StartAt, StreamError> {
    match position {
        Some(position) => {
            positions::check_range(reader, partition, position, (oldest, next))?;
            Ok(StartAt::Offset(position))
        }
        None if oldest > 0 => Err(StreamError::fatal(
            "state_missing",
            format!(
                "there is no saved state for {partition}, and the log begins at offset {oldest} instead of 0, so bars of \
                 older ticks cannot be recomputed: restore the state topic, or accept that. {}",
                positions::in_a_new_generation(reader)
            ),
        )),
        None => Ok(StartAt::Beginning),
    }
}

fn load(operator: &Reader, reader: &LogReader, saved: &Partition, read: &Read) -> Result<StateLoader, StreamError> {
    let (oldest, next) = reader.log_range(saved)?;
    let (mut loader, mut refusal, mut foreign) = (StateLoader::default(), None, Vec::new());
    read.done.store(0, Ordering::Relaxed);
    read.all.store(next - oldest, Ordering::Relaxed);
    reader.read(saved, oldest, next, |message| {
        // Compaction leaves offsets without records.
        read.done.store(message.offset + 1 - oldest, Ordering::Relaxed);
        match loader.record(message.key.unwrap_or_default(), message.payload) {
            Ok(Taken::Ours) => {}
            Ok(Taken::Foreign) => foreign.push(message.offset),
            Err(error) => refusal = Some(error),
        }
        refusal.is_none()
    })?;
    if let (Some(first), Some(last)) = (foreign.first(), foreign.last()) {
        tracing::warn!(
            event = "foreign_state",
            partition = %saved,
            records = foreign.len(),
            first_offset = first,
            last_offset = last,
            "the state topic contains records of another writer; they were skipped; only this service may write to it: check the access rights"
        );
    }
    refusal.map_or(Ok(loader), |error| Err(refused(operator, saved, saved, &error)))
}

fn refused(reader: &Reader, partition: &Partition, saved: &Partition, error: &RestoreError) -> StreamError {
    let (code, remedy) = match error {
        RestoreError::TopicChanged { .. } => (positions::TOPIC_ID_CHANGED, positions::in_a_new_generation(reader)),
        RestoreError::OlderBuild(_) => ("state_of_older_build", positions::in_a_new_generation(reader)),
        RestoreError::OtherDefinition { .. } => (
            "derived_series_changed",
            "Give the changed series a new name in AGGREGATION_DERIVED_SERIES, or set its earlier definition again"
                .to_owned(),
        ),
        RestoreError::UnknownKey(_)
        | RestoreError::Unreadable { .. }
        | RestoreError::UnknownProduct(..)
        | RestoreError::KeyMismatch(_) => (
            "state_unreadable",
            format!(
                "Start the version that wrote {saved}, or: {}",
                positions::in_a_new_generation(reader)
            ),
        ),
    };
    StreamError::fatal(code, format!("{partition}: {error}. {remedy}"))
}

#[cfg(test)]
mod tests {
    use domain::{Classified, ErrorClass};

    use super::*;

    fn partition() -> Partition {
        Partition {
            topic: "enriched.market.ticks.v1".into(),
            number: 2,
        }
    }

    #[test]
    fn without_state_the_log_must_begin_at_0() {
        assert_eq!(
            start_at(&Reader::default(), &partition(), None, (0, 9)).unwrap(),
            StartAt::Beginning
        );
        let refusal = start_at(&Reader::default(), &partition(), None, (4, 9)).unwrap_err();
        assert_eq!(refusal.code(), "state_missing");
        assert!(refusal.to_string().contains("begins at offset 4"), "{refusal}");
    }

    #[test]
    fn state_of_an_older_build_is_refused_with_the_command_of_a_new_generation() {
        let saved = Partition {
            topic: "aggregation.state.v1".into(),
            number: 2,
        };
        let error = RestoreError::OlderBuild("m|1|0a|t|X".to_owned());
        let refusal = refused(&Reader::default(), &partition(), &saved, &error);
        assert_eq!(refusal.code(), "state_of_older_build");
        assert_eq!(refusal.class(), ErrorClass::Fatal);
        for part in ["m|1|0a|t|X", "DATA_PROC_GENERATION=g2 dp topics create"] {
            assert!(refusal.to_string().contains(part), "{refusal}");
        }
    }

    #[test]
    fn a_changed_series_is_refused_with_its_name_and_the_remedy() {
        let error = RestoreError::OtherDefinition {
            series: "spark".to_owned(),
            configured: "new".to_owned(),
            saved: "old".to_owned(),
        };
        let refusal = refused(&Reader::default(), &partition(), &partition(), &error);
        assert_eq!(
            (refusal.code(), refusal.class()),
            ("derived_series_changed", ErrorClass::Fatal)
        );
        for part in [
            "'spark' is configured as new",
            "computed as old",
            "a new name in AGGREGATION_DERIVED_SERIES",
        ] {
            assert!(refusal.to_string().contains(part), "{refusal}");
        }
    }

    #[test]
    fn with_state_the_saved_position_is_used_if_it_is_in_the_log() {
        assert_eq!(
            start_at(&Reader::default(), &partition(), Some(4), (4, 9)).unwrap(),
            StartAt::Offset(4)
        );
        assert!(start_at(&Reader::default(), &partition(), Some(3), (4, 9)).is_err());
        assert!(start_at(&Reader::default(), &partition(), Some(10), (4, 9)).is_err());
    }
}
