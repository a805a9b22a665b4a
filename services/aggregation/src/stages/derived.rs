//! The third stage: reads legs and writes the derived prices that follow.
//!
//! Role: a [`Stage`] of [`stream::hop`], which keeps the order of outputs and commits; the decisions are those of [`curves::derived`].
//! Invariants: a value goes to the partition number of its leg. Legs of several enriched partitions meet in one partition, so their sequencer is
//! keyed by the enriched partition and ordered by (enriched offset, index). The version of a value is the offset of its leg: equal versions
//! have equal content. After an assignment, earlier legs are read again without outputs ([`curves::derived::read_back`]).
//! Failure: a record that cannot be read is a dead letter; a leg that cannot be used is counted.

use std::sync::Arc;

use codec::{CodecError, Record, Wire};
use curves::derived::{Definition, Limits, Reason, Series, Taken, read_back};
use delivery::Sequencer;
use domain::instrument::KEY_SEPARATOR;
use domain::{Classified, ErrorClass, LegPrice, Micros, RawPosition};
use rustc_hash::FxHashMap;
use stream::hop::{Memory, Rejected, Stage, StageOutput, Verdict};
use stream::{Message, Partition, StreamError};

use crate::config::DerivedConfig;
use crate::metrics::DerivedMeters;

/// Name in metrics and dead letters.
pub const STAGE: &str = "derived";
const MISSING_PAYLOAD: &str = "missing_payload";
/// Codes of this stage's dead letters: its own, then the codec's.
pub const CODES: [&str; 6] = [
    MISSING_PAYLOAD,
    Rejected::OVERSIZE,
    "truncated",
    "invalid_utf8",
    "invalid_value",
    "unknown_schema",
];
/// Most legs that are read again.
const MOST_READ_BACK: i64 = 50_000_000;

/// A series of one tenant.
struct Lane {
    series: Series,
    sequencer: Sequencer,
}

type Lanes = FxHashMap<Box<[u8]>, Lane>;

/// Computes the derived prices of one worker.
pub struct Derive {
    wire: Wire,
    definitions: FxHashMap<Box<str>, Arc<Definition>>,
    limits: Limits,
    read_back: Micros,
    /// By partition, then by tenant and series.
    lanes: FxHashMap<i32, Lanes>,
    key: Vec<u8>,
    meters: DerivedMeters,
}

impl Derive {
    /// A stage without legs.
    pub fn new(config: &DerivedConfig, wire: Wire, meters: DerivedMeters) -> Derive {
        let longest = config.series.iter().map(|definition| definition.max_age).max();
        let named = |definition: &Arc<Definition>| (definition.series.as_str().into(), Arc::clone(definition));
        Derive {
            wire,
            definitions: config.series.iter().map(named).collect(),
            limits: config.limits,
            read_back: read_back(config.limits.hold, longest.unwrap_or_default()),
            lanes: FxHashMap::default(),
            key: Vec::new(),
            meters,
        }
    }

    /// Takes a leg; its values go to `out`, if there is one.
    fn leg(&mut self, message: &Message<'_>, leg: &LegPrice<'_>, mut out: Option<&mut StageOutput<'_>>) -> Verdict {
        let Some(definition) = self.definitions.get(leg.series) else {
            self.meters.skipped(Reason::UnknownLeg);
            return Verdict::Done;
        };
        self.key.clear();
        self.key.extend_from_slice(leg.tenant_id.as_bytes());
        self.key.push(KEY_SEPARATOR as u8);
        self.key.extend_from_slice(leg.series.as_bytes());
        let lanes = self.lanes.entry(message.partition).or_default();
        if !lanes.contains_key(self.key.as_slice()) {
            let lane = Lane {
                series: Series::new(Arc::clone(definition), self.limits),
                sequencer: Sequencer::default(),
            };
            lanes.insert(self.key.as_slice().into(), lane);
        }
        let Some(lane) = lanes.get_mut(self.key.as_slice()) else {
            return Verdict::Done;
        };
        let position = RawPosition {
            offset: leg.enriched_offset,
            index: leg.index,
        };
        if !lane.sequencer.accept("", leg.enriched_partition, position) {
            return Verdict::Duplicate;
        }
        let (wire, key) = (&self.wire, self.key.as_slice());
        let taken = lane.series.take(leg, message.offset, &mut |price| {
            if let Some(out) = &mut out {
                let Ok(()) = out.push(message.partition, &[key], |bytes| {
                    wire.encode_derived(price, bytes);
                    Ok::<(), std::convert::Infallible>(())
                });
            }
        });
        let counts = lane.series.take_counts();
        if out.is_some() {
            self.meters.add(&counts);
            if taken == Taken::Skipped(Reason::TooLate) {
                tracing::warn!(
                    event = "leg_too_late",
                    tenant_id = leg.tenant_id,
                    series = leg.series,
                    role = leg.role,
                    instrument_id = leg.instrument_id,
                    tick_id = %leg.origin,
                    event_time = leg.event_time,
                    log_clock = leg.log_clock,
                    "a leg came after the hold time: derived prices of its time keep their values; raise AGGREGATION_DERIVED_HOLD_S if prices usually come that late"
                );
            }
        }
        Verdict::Done
    }
}

impl Stage for Derive {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn process(&mut self, message: &Message<'_>, out: &mut StageOutput<'_>) -> Result<Verdict, StreamError> {
        let Some(payload) = message.payload else {
            return Ok(rejected(MISSING_PAYLOAD, "the leg has no value".to_owned()));
        };
        // The leg borrows from the codec: a clone of the handle is free.
        let wire = self.wire.clone();
        let payload = wire.current(Record::LegPrice, payload);
        match wire.decode_leg(&payload) {
            Ok(leg) => Ok(self.leg(message, &leg, Some(out))),
            Err(error) if error.class() == ErrorClass::Poison => Ok(rejected(error.code(), error.to_string())),
            Err(error) => Err(unread(&error)),
        }
    }

    fn observe(&mut self, message: &Message<'_>) -> Result<(), StreamError> {
        let wire = self.wire.clone();
        let payload = wire.current(Record::LegPrice, message.payload.unwrap_or_default());
        match wire.decode_leg(&payload) {
            Ok(leg) => {
                self.leg(message, &leg, None);
                Ok(())
            }
            // The earlier owner has dead-lettered it.
            Err(error) if error.class() == ErrorClass::Poison => Ok(()),
            Err(error) => Err(unread(&error)),
        }
    }

    fn memory(&self) -> Option<Memory> {
        Some(Memory {
            micros: self.read_back,
            offsets: MOST_READ_BACK,
        })
    }

    /// The log clock of the leg: the stage before may be far behind its input, and write old legs now.
    fn time_of(&self, message: &Message<'_>) -> Micros {
        let wire = self.wire.clone();
        let payload = wire.current(Record::LegPrice, message.payload.unwrap_or_default());
        let clock = wire.decode_leg(&payload).map(|leg| leg.log_clock);
        clock.map_or(message.timestamp, |clock| clock.min(message.timestamp))
    }

    fn turn(&mut self) -> Result<(), StreamError> {
        let lanes = self.lanes.values().flat_map(FxHashMap::values);
        self.meters.kept(lanes.map(|lane| lane.series.len()).sum());
        Ok(())
    }

    fn forget(&mut self, partition: &Partition) {
        self.lanes.remove(&partition.number);
    }
}

fn rejected(code: &'static str, message: String) -> Verdict {
    Verdict::DeadLetter(Rejected {
        code,
        message,
        rows: domain::RowRanges::default(),
        correlation_id: String::new(),
        attempts: 1,
    })
}

fn unread(error: &CodecError) -> StreamError {
    StreamError::transient(error.code(), format!("read a leg: {error}"))
}
