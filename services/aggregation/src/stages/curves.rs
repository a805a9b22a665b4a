//! The stage of curves: reads quotes from the topic of legs and writes the snapshots that follow.
//!
//! Role: a [`Stage`] of [`stream::hop`], which keeps the order of outputs and commits; the decisions are those of [`curves::snapshots`].
//! Invariants: the clock of a partition is the largest log clock of its records, those without a quote included; when it moves, all curves
//! of the partition whose interval has ended are computed, in the order of time and key. A snapshot goes to the partition number of its
//! quotes, and its version is the offset of the record that made it be sent: equal versions have equal content, and since when it is known
//! (`log_clock`) follows from that clock, which is rebuilt with the quotes. Quotes of several enriched
//! partitions meet in one partition, so their sequencer is keyed by the enriched partition and ordered by (enriched offset, index). After an
//! assignment, earlier records are read again without outputs ([`curves::snapshots::read_back`]).
//! Failure: a record that cannot be read is a dead letter, also of stage `derived` if that runs; a quote that cannot be used is counted.

use std::collections::BTreeSet;

use codec::Wire;
use curves::Layouts;
use curves::snapshots::{Limits, Reason, Snapshots, read_back};
use delivery::Sequencer;
use domain::{CurveSnapshot, LegPrice, LegPurpose, Micros};
use rustc_hash::FxHashMap;
use stream::hop::{Memory, Stage, StageOutput, Verdict};
use stream::{Message, Partition, StreamError};

use super::legs::{self, OfLegs};
use crate::metrics::CurveMeters;

/// Name in metrics and dead letters.
pub const STAGE: &str = "curves";

/// A curve of one tenant.
struct Lane {
    snapshots: Snapshots,
    sequencer: Sequencer,
}

/// The curves of one partition.
struct Shard {
    /// The largest log clock of its records.
    clock: Micros,
    /// By tenant and curve.
    lanes: FxHashMap<Box<[u8]>, Lane>,
    /// The first time of each curve that must be computed.
    due: BTreeSet<(Micros, Box<[u8]>)>,
}

/// Computes the snapshots of one worker.
pub struct Curves {
    wire: Wire,
    limits: Limits,
    shards: FxHashMap<i32, Shard>,
    /// Of all curves: on a new trade date those with the same contracts need one between them.
    layouts: Layouts,
    key: Vec<u8>,
    meters: CurveMeters,
}

impl Curves {
    /// A stage without quotes.
    pub fn new(limits: Limits, wire: Wire, meters: CurveMeters) -> Curves {
        Curves {
            wire,
            limits,
            shards: FxHashMap::default(),
            layouts: Layouts::default(),
            key: Vec::new(),
            meters,
        }
    }

    /// The largest residual of the newest snapshots, as a part of the price.
    fn residual(&self) -> f64 {
        let shards = self.shards.values();
        let ratios = shards.flat_map(|shard| {
            shard
                .lanes
                .values()
                .map(|lane| lane.snapshots.contradiction(shard.clock))
        });
        ratios.fold(0.0, f64::max)
    }
}

impl OfLegs for Curves {
    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn take(&mut self, message: &Message<'_>, leg: &LegPrice<'_>, mut out: Option<&mut StageOutput<'_>>) -> Verdict {
        let shard = self.shards.entry(message.partition).or_insert_with(|| Shard {
            clock: Micros::MIN,
            lanes: FxHashMap::default(),
            due: BTreeSet::new(),
        });
        shard.clock = shard.clock.max(leg.log_clock);
        let verdict = match leg.purpose {
            LegPurpose::Curve => {
                legs::write_key(leg, &mut self.key);
                let (verdict, reason) = shard.quote(&self.key, leg, self.limits);
                if reason == Some(Reason::TooLate) && out.is_some() {
                    too_late(leg);
                }
                verdict
            }
            LegPurpose::Series | LegPurpose::Clock => Verdict::Done,
        };
        while let Some((_, key)) = shard.due.first().filter(|(due, _)| *due <= shard.clock).cloned() {
            shard.due.pop_first();
            let Some(lane) = shard.lanes.get_mut(&key) else {
                continue;
            };
            let wire = &self.wire;
            let mut send = |snapshot: &CurveSnapshot<'_>| {
                if let Some(out) = &mut out {
                    let Ok(()) = out.push(message.partition, &[&*key], |bytes| {
                        wire.encode_curve(snapshot, bytes);
                        Ok::<(), std::convert::Infallible>(())
                    });
                }
            };
            lane.snapshots
                .advance_with(&mut self.layouts, shard.clock, message.offset, &mut send);
            let counts = lane.snapshots.take_counts();
            if out.is_some() {
                self.meters.add(&counts);
            }
            if let Some(next) = lane.snapshots.next_due() {
                shard.due.insert((next, key));
            }
        }
        verdict
    }
}

impl Shard {
    /// Takes a quote of the curve with this key.
    fn quote(&mut self, key: &[u8], leg: &LegPrice<'_>, limits: Limits) -> (Verdict, Option<Reason>) {
        if !self.lanes.contains_key(key) {
            let lane = Lane {
                snapshots: Snapshots::new(leg.tenant_id, leg.series, limits),
                sequencer: Sequencer::default(),
            };
            self.lanes.insert(key.into(), lane);
        }
        let Some(lane) = self.lanes.get_mut(key) else {
            return (Verdict::Done, None);
        };
        if !lane.sequencer.accept("", leg.enriched_partition, legs::position(leg)) {
            return (Verdict::Duplicate, None);
        }
        let before = lane.snapshots.next_due();
        let reason = lane.snapshots.take(leg, self.clock);
        let now = lane.snapshots.next_due();
        if before != now {
            if let Some(before) = before {
                self.due.remove(&(before, Box::from(key)));
            }
            if let Some(now) = now {
                self.due.insert((now, Box::from(key)));
            }
        }
        (Verdict::Done, reason)
    }
}

fn too_late(leg: &LegPrice<'_>) {
    tracing::warn!(
        event = "curve_quote_too_late",
        tenant_id = leg.tenant_id,
        curve_id = leg.series,
        instrument_id = leg.instrument_id,
        tick_id = %leg.origin,
        event_time = leg.event_time,
        log_clock = leg.log_clock,
        "a quote came after the hold time: snapshots of its time stay as they are; raise AGGREGATION_CURVES_HOLD_S if quotes usually come that late"
    );
}

impl Stage for Curves {
    fn name(&self) -> &'static str {
        STAGE
    }

    fn process(&mut self, message: &Message<'_>, out: &mut StageOutput<'_>) -> Result<Verdict, StreamError> {
        legs::process(self, message, out)
    }

    fn observe(&mut self, message: &Message<'_>) -> Result<(), StreamError> {
        legs::observe(self, message)
    }

    fn memory(&self) -> Option<Memory> {
        Some(legs::memory(read_back(&self.limits)))
    }

    /// A snapshot that lacks earlier quotes would have the version of the right one.
    fn begins_after_memory(&self) -> bool {
        true
    }

    fn time_of(&self, message: &Message<'_>) -> Micros {
        legs::time_of(&self.wire, message)
    }

    fn turn(&mut self) -> Result<(), StreamError> {
        let lanes = self.shards.values().flat_map(|shard| shard.lanes.values());
        self.meters.kept(lanes.map(|lane| lane.snapshots.len()).sum());
        self.meters.residual(self.residual());
        Ok(())
    }

    fn forget(&mut self, partition: &Partition) {
        self.shards.remove(&partition.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::{DerivedCause, LegPlace};
    use service::{Env, Reader};
    use stream::KeptMessage;

    use super::*;
    use crate::stages::legs::MISSING_PAYLOAD;

    const PARTITION: i32 = 3;
    const SECOND: Micros = 1_000_000;
    /// 2026-12-18 in New York; a whole minute.
    const START: Micros = 1_797_600_000 * SECOND;
    const MONTH: &str = "PJM.W.2027-01.FLAT.SETTLEMENT";

    /// Purpose, tenant, seconds of the clock, price, enriched offset.
    type Given = (LegPurpose, &'static str, i64, i64, i64);
    /// Key, horizon, seconds of the time, price of the first point, version, revision, cause.
    type Shown = (String, String, i64, Option<f64>, i64, i32, DerivedCause);

    fn stage() -> Curves {
        let env = Env::new();
        let limits = crate::config::read(&mut Reader::new(&env)).curves;
        Curves::new(limits, Wire::single_object(), CurveMeters::default())
    }

    fn message((purpose, tenant_id, seconds, price, enriched_offset): Given, offset: i64) -> KeptMessage {
        let mut tick = domain::fixtures::tick();
        (tick.tenant_id, tick.instrument_id) = (tenant_id, MONTH);
        tick.event_time = START;
        tick.price = domain::Decimal::from_integer(price).unwrap();
        tick.origin.offset = enriched_offset;
        let place = LegPlace {
            purpose,
            series: if purpose == LegPurpose::Clock { "" } else { "C" },
            role: "PJM",
            definition: Some("flat"),
            unit: "MWh",
            log_clock: START + seconds * SECOND,
            enriched_partition: 0,
            enriched_offset,
            index: 0,
        };
        let mut payload = Vec::new();
        Wire::single_object().encode_leg(&LegPrice::of(&tick, place), &mut payload);
        KeptMessage {
            source: Partition {
                topic: "legs".into(),
                number: PARTITION,
            },
            offset,
            timestamp: START + 3_600 * SECOND,
            has_append_time: false,
            key: None,
            payload: Some(payload.into()),
        }
    }

    fn process(stage: &mut Curves, given: Given, offset: i64) -> (Verdict, Vec<Shown>) {
        let mut out = StageOutput::default();
        let verdict = stage.process(&message(given, offset).message(), &mut out).unwrap();
        let wire = Wire::single_object();
        let shown = out.iter().map(|(partition, key, value)| {
            assert_eq!(partition, PARTITION);
            let snapshot = wire.decode_curve(value).unwrap();
            (
                String::from_utf8(key.to_vec()).unwrap(),
                snapshot.horizon.to_owned(),
                (snapshot.as_of - START) / SECOND,
                snapshot.points.first().map(|point| point.price),
                snapshot.version,
                snapshot.revision,
                snapshot.cause,
            )
        });
        let shown = shown.collect();
        (verdict, shown)
    }

    fn all(key: &str, seconds: i64, price: f64, version: i64, (revision, cause): (i32, DerivedCause)) -> Vec<Shown> {
        let of = |horizon: curves::Horizon| {
            let (key, horizon) = (key.to_owned(), horizon.name().to_owned());
            (key, horizon, seconds, Some(price), version, revision, cause)
        };
        curves::Horizon::ALL.into_iter().map(of).collect()
    }

    const FIRST: (i32, DerivedCause) = (0, DerivedCause::First);
    const CORRECTED: (i32, DerivedCause) = (1, DerivedCause::Correction);

    #[test]
    fn any_record_moves_the_clock_and_ends_the_interval_of_every_curve() {
        for purpose in LegPurpose::ALL {
            let mut stage = stage();
            for (tenant, offset) in [("t", 0), ("u", 1)] {
                let quote = (LegPurpose::Curve, tenant, offset, 40 + offset, offset);
                assert_eq!(process(&mut stage, quote, offset), (Verdict::Done, Vec::new()));
            }
            // A record of another tenant.
            let sent = process(&mut stage, (purpose, "v", 60, 1, 2), 2).1;
            let expected = [all("t|C", 60, 40.0, 2, FIRST), all("u|C", 60, 41.0, 2, FIRST)].concat();
            assert_eq!(sent, expected, "{purpose:?}");
            assert_eq!(process(&mut stage, (LegPurpose::Clock, "v", 90, 1, 3), 3).1, []);
            assert_eq!(stage.layouts.len(), 1, "both curves have the same contracts");
        }
    }

    #[test]
    fn a_repetition_is_recognized_and_a_late_quote_revises() {
        let mut stage = stage();
        let quote = (LegPurpose::Curve, "t", 0, 40, 5);
        process(&mut stage, quote, 0);
        assert_eq!(process(&mut stage, quote, 1), (Verdict::Duplicate, Vec::new()));
        process(&mut stage, (LegPurpose::Clock, "t", 60, 1, 6), 2);
        let late = process(&mut stage, (LegPurpose::Curve, "t", 30, 44, 7), 3);
        assert_eq!(late, (Verdict::Done, all("t|C", 60, 44.0, 3, CORRECTED)));
    }

    #[test]
    fn what_was_read_again_without_outputs_counts_for_what_follows() {
        let mut stage = stage();
        let earlier = [(LegPurpose::Curve, "t", 0, 40, 5), (LegPurpose::Clock, "t", 60, 1, 6)];
        for (offset, given) in (0..).zip(earlier) {
            stage.observe(&message(given, offset).message()).unwrap();
        }
        let late = process(&mut stage, (LegPurpose::Curve, "t", 30, 44, 7), 2);
        assert_eq!(late.1, all("t|C", 60, 44.0, 2, CORRECTED));
        assert_eq!(process(&mut stage, (LegPurpose::Clock, "t", 300, 1, 8), 3).1, []);
        stage.forget(&message(earlier[0], 0).source);
        assert_eq!(process(&mut stage, earlier[0], 3), (Verdict::Done, Vec::new()));
        assert_eq!(stage.time_of(&message(earlier[1], 0).message()), START + 60 * SECOND);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_a_dead_letter() {
        let mut stage = stage();
        for (payload, code) in [(None, MISSING_PAYLOAD), (Some(&b"\xC3\x01"[..]), "truncated")] {
            let broken = KeptMessage {
                payload: payload.map(Box::from),
                ..message((LegPurpose::Curve, "t", 0, 40, 5), 1)
            };
            let verdict = stage.process(&broken.message(), &mut StageOutput::default()).unwrap();
            let Verdict::DeadLetter(rejected) = verdict else {
                unreachable!("{verdict:?}");
            };
            assert_eq!(rejected.code, code);
        }
    }
}
