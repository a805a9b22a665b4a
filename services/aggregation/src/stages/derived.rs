//! The third stage: reads legs and writes the derived prices that follow.
//!
//! Role: a [`Stage`] of [`stream::hop`], which keeps the order of outputs and commits; the decisions are those of [`curves::derived`].
//! Invariants: a value goes to the partition number of its leg. Legs of several enriched partitions meet in one partition, so their sequencer is
//! keyed by the enriched partition and ordered by (enriched offset, index). The version of a value is the offset of its leg: equal versions
//! have equal content. After an assignment, earlier legs are read again without outputs ([`curves::derived::read_back`]). A series without a
//! leg for so long by the clock of its partition is forgotten: a restart would not know it either, so memory follows the tenants that are active.
//! Failure: a record that cannot be read is a dead letter; a leg that cannot be used is counted.

use std::sync::Arc;

use codec::Wire;
use curves::derived::{Definition, Limits, Reason, Series, Taken, read_back};
use delivery::Sequencer;
use domain::{LegPrice, LegPurpose, Micros};
use rustc_hash::FxHashMap;
use stream::hop::{Memory, Stage, StageOutput, Verdict};
use stream::{Message, Partition, StreamError};

use super::legs::{self, OfLegs};
use crate::config::{DerivedConfig, longest_reach};
use crate::metrics::DerivedMeters;

/// Name in metrics and dead letters.
pub const STAGE: &str = "derived";

/// How often series without legs are looked for, by the clock of their partition.
const SWEPT_EVERY: Micros = 3_600_000_000;

/// A series of one tenant.
struct Lane {
    series: Series,
    sequencer: Sequencer,
    /// The clock of the partition at its last leg.
    seen: Micros,
}

/// The series of one partition.
struct Shard {
    /// The largest log clock of its records.
    clock: Micros,
    /// Its clock when series without legs were looked for last.
    swept: Micros,
    /// By tenant and series.
    lanes: FxHashMap<Box<[u8]>, Lane>,
}

impl Default for Shard {
    fn default() -> Shard {
        Shard {
            clock: Micros::MIN,
            swept: Micros::MIN,
            lanes: FxHashMap::default(),
        }
    }
}

impl Shard {
    /// Moves the clock, and forgets the series that had no leg for longer than `kept`.
    fn advance(&mut self, log_clock: Micros, kept: Micros) {
        self.clock = self.clock.max(log_clock);
        if self.clock.saturating_sub(self.swept) < SWEPT_EVERY {
            return;
        }
        self.swept = self.clock;
        let oldest = self.clock.saturating_sub(kept);
        self.lanes.retain(|_, lane| lane.seen >= oldest);
    }
}

/// Computes the derived prices of one worker.
pub struct Derive {
    wire: Wire,
    definitions: FxHashMap<Box<str>, Arc<Definition>>,
    limits: Limits,
    read_back: Micros,
    /// By partition.
    shards: FxHashMap<i32, Shard>,
    key: Vec<u8>,
    meters: DerivedMeters,
}

impl Derive {
    /// A stage without legs.
    pub fn new(config: &DerivedConfig, wire: Wire, meters: DerivedMeters) -> Derive {
        let named = |definition: &Arc<Definition>| (definition.series.as_str().into(), Arc::clone(definition));
        Derive {
            wire,
            definitions: config.series.iter().map(named).collect(),
            limits: config.limits,
            read_back: read_back(&config.limits, longest_reach(&config.series)),
            shards: FxHashMap::default(),
            key: Vec::new(),
            meters,
        }
    }
}

impl OfLegs for Derive {
    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn take(&mut self, message: &Message<'_>, leg: &LegPrice<'_>, mut out: Option<&mut StageOutput<'_>>) -> Verdict {
        let shard = self.shards.entry(message.partition).or_default();
        shard.advance(leg.log_clock, self.read_back);
        if leg.purpose != LegPurpose::Series {
            return Verdict::Done;
        }
        let Some(definition) = self.definitions.get(leg.series) else {
            self.meters.skipped(Reason::UnknownLeg);
            return Verdict::Done;
        };
        legs::write_key(leg, &mut self.key);
        let lanes = &mut shard.lanes;
        if !lanes.contains_key(self.key.as_slice()) {
            let lane = Lane {
                series: Series::new(Arc::clone(definition), self.limits),
                sequencer: Sequencer::default(),
                seen: shard.clock,
            };
            lanes.insert(self.key.as_slice().into(), lane);
        }
        let Some(lane) = lanes.get_mut(self.key.as_slice()) else {
            return Verdict::Done;
        };
        if !lane.sequencer.accept("", leg.enriched_partition, legs::position(leg)) {
            return Verdict::Duplicate;
        }
        lane.seen = shard.clock;
        lane.series.reached(shard.clock);
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
                    appended_at = leg.appended(),
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
        legs::process(self, message, out)
    }

    fn observe(&mut self, message: &Message<'_>) -> Result<(), StreamError> {
        legs::observe(self, message)
    }

    fn memory(&self) -> Option<Memory> {
        Some(legs::memory(self.read_back))
    }

    /// A value that lacks earlier legs would have the version of the right one.
    fn begins_after_memory(&self) -> bool {
        true
    }

    fn time_of(&self, message: &Message<'_>) -> Micros {
        legs::time_of(&self.wire, message)
    }

    fn turn(&mut self) -> Result<(), StreamError> {
        let lanes = self.shards.values().flat_map(|shard| shard.lanes.values());
        self.meters.kept(lanes.map(|lane| lane.series.len()).sum());
        Ok(())
    }

    fn forget(&mut self, partition: &Partition) {
        self.shards.remove(&partition.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::{Decimal, DerivedCause, LegPlace};
    use service::{Env, Reader};
    use stream::KeptMessage;

    use super::*;
    use crate::stages::legs::MISSING_PAYLOAD;

    /// One leg: series, role, instrument, tenant, event time, price, enriched offset.
    type Given = (&'static str, &'static str, &'static str, &'static str, Micros, i64, i64);
    /// What is compared of a value: key, time, value, version, revision, cause.
    type Shown = (String, Micros, Option<String>, i64, i32, DerivedCause);

    const PARTITION: i32 = 3;
    const LOCAL: (&str, &str, &str) = ("basis", "local", "L");
    const REFERENCE: (&str, &str, &str) = ("basis", "reference", "R");

    fn stage() -> Derive {
        let text = "basis:basis:local=L:reference=R,other:calendar_spread:near=L:far=R,mean:basis:local=L:reference=R:rolling=mean:count=2";
        let env = Env::from([("AGGREGATION_DERIVED_SERIES".to_owned(), text.to_owned())]);
        let config = crate::config::read(&mut Reader::new(&env)).derived;
        Derive::new(&config, Wire::single_object(), DerivedMeters::default())
    }

    fn given(leg: (&'static str, &'static str, &'static str), tenant: &'static str, rest: (Micros, i64, i64)) -> Given {
        (leg.0, leg.1, leg.2, tenant, rest.0, rest.1, rest.2)
    }

    fn message(
        (series, role, instrument_id, tenant_id, event_time, price, enriched_offset): Given,
        offset: i64,
    ) -> KeptMessage {
        let mut tick = domain::fixtures::tick();
        (tick.tenant_id, tick.instrument_id) = (tenant_id, instrument_id);
        tick.event_time = event_time;
        tick.price = Decimal::from_integer(price).unwrap();
        tick.origin.offset = enriched_offset;
        let place = LegPlace {
            purpose: LegPurpose::Series,
            series,
            role,
            definition: None,
            unit: "MWh",
            log_clock: 1_000,
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
            timestamp: 2_000,
            has_append_time: false,
            key: None,
            payload: Some(payload.into()),
        }
    }

    /// The same leg, of a raw message that was appended then, in an enriched partition that has come as far.
    fn appended(at: Micros, enriched_partition: i32, mut message: KeptMessage) -> KeptMessage {
        let wire = Wire::single_object();
        let payload = message.payload.take().unwrap();
        let mut encoded = Vec::new();
        let current = wire.current(codec::Record::LegPrice, &payload);
        let leg = LegPrice {
            appended_at: Some(at),
            log_clock: at,
            enriched_partition,
            ..wire.decode_leg(&current).unwrap()
        };
        wire.encode_leg(&leg, &mut encoded);
        message.payload = Some(encoded.into());
        message
    }

    fn process(stage: &mut Derive, given: Given, offset: i64) -> (Verdict, Vec<Shown>) {
        processed(stage, &message(given, offset))
    }

    fn processed(stage: &mut Derive, message: &KeptMessage) -> (Verdict, Vec<Shown>) {
        let mut out = StageOutput::default();
        let verdict = stage.process(&message.message(), &mut out).unwrap();
        let wire = Wire::single_object();
        let shown = out.iter().map(|(partition, key, value)| {
            assert_eq!(partition, PARTITION);
            let price = wire.decode_derived(value).unwrap();
            let (key, value) = (
                String::from_utf8(key.to_vec()).unwrap(),
                price.value.map(|value| value.to_string()),
            );
            (key, price.event_time, value, price.version, price.revision, price.cause)
        });
        let shown = shown.collect();
        (verdict, shown)
    }

    #[test]
    fn legs_meet_by_tenant_and_series_and_a_repetition_is_recognized() {
        let mut stage = stage();
        let local = given(LOCAL, "t", (10, 7, 5));
        assert_eq!(process(&mut stage, local, 0), (Verdict::Done, Vec::new()));
        // Of another tenant, and of another series.
        for (leg, tenant) in [(REFERENCE, "u"), (("other", "far", "R"), "t")] {
            assert!(
                process(&mut stage, given(leg, tenant, (10, 3, 6)), 1).1.is_empty(),
                "{leg:?}"
            );
        }
        let value = (
            "t|basis".to_owned(),
            10,
            Some("4".to_owned()),
            2,
            0,
            DerivedCause::First,
        );
        let reference = given(REFERENCE, "t", (9, 3, 6));
        assert_eq!(process(&mut stage, reference, 2), (Verdict::Done, vec![value]));
        assert_eq!(process(&mut stage, local, 3), (Verdict::Duplicate, Vec::new()));
        assert_eq!(process(&mut stage, reference, 4), (Verdict::Duplicate, Vec::new()));
    }

    #[test]
    fn a_rolling_mean_is_sent_for_each_value_and_its_window_is_read_again() {
        let mut stage = stage();
        let leg = |role, instrument, rest| given(("mean", role, instrument), "t", rest);
        let earlier = [leg("local", "L", (10, 7, 5)), leg("reference", "R", (10, 3, 6))];
        assert_eq!(process(&mut stage, earlier[0], 0).1, []);
        let row = |time, mean: Option<&str>, version| {
            let (key, mean) = ("t|mean".to_owned(), mean.map(str::to_owned));
            (key, time, mean, version, 0, DerivedCause::First)
        };
        assert_eq!(process(&mut stage, earlier[1], 1).1, [row(10, None, 1)]);
        let next = leg("local", "L", (11, 9, 7));
        assert_eq!(process(&mut stage, next, 2).1, [row(11, Some("5"), 2)]);
        stage.forget(&message(earlier[0], 0).source);
        for (offset, leg) in (0..).zip(earlier) {
            stage.observe(&message(leg, offset).message()).unwrap();
        }
        assert_eq!(process(&mut stage, next, 2).1, [row(11, Some("5"), 2)]);
    }

    #[test]
    fn what_was_read_again_without_outputs_counts_for_what_follows() {
        let mut stage = stage();
        let earlier = [given(LOCAL, "t", (10, 7, 5)), given(REFERENCE, "t", (10, 3, 6))];
        for (offset, leg) in (0..).zip(earlier) {
            stage.observe(&message(leg, offset).message()).unwrap();
        }
        let late = (
            "t|basis".to_owned(),
            10,
            Some("5".to_owned()),
            2,
            1,
            DerivedCause::Correction,
        );
        assert_eq!(process(&mut stage, given(REFERENCE, "t", (10, 2, 7)), 2).1, [late]);
        stage.forget(&message(earlier[0], 0).source);
        assert_eq!(process(&mut stage, earlier[0], 3), (Verdict::Done, Vec::new()));
        assert_eq!(stage.time_of(&message(earlier[0], 0).message()), 1_000);
    }

    #[test]
    fn a_backlog_of_days_loses_no_value_when_one_partition_is_read_to_its_end_first() {
        const DAY: Micros = 86_400_000_000;
        let mut stage = stage();
        for day in 0..6 {
            let local = message(given(LOCAL, "t", (day * DAY, day, day)), day);
            assert_eq!(processed(&mut stage, &appended(day * DAY, 0, local)).1, []);
        }
        // The backlog is far longer than the hold time of a day, and the clock of this partition of legs is at its end.
        for day in 0..6 {
            let reference = message(given(REFERENCE, "t", (day * DAY, 1, day)), 6 + day);
            let shown = processed(&mut stage, &appended(day * DAY, 1, reference)).1;
            let found: Vec<(Micros, Option<String>)> = shown.into_iter().map(|shown| (shown.1, shown.2)).collect();
            assert_eq!(found, [(day * DAY, Some((day - 1).to_string()))]);
        }
        // A price that was appended after the hold time is late, as ever.
        let late = message(given(REFERENCE, "t", (3 * DAY, 2, 6)), 12);
        assert_eq!(
            processed(&mut stage, &appended(5 * DAY, 1, late)),
            (Verdict::Done, Vec::new())
        );
    }

    #[test]
    fn a_tenant_without_legs_for_longer_than_a_restart_reads_is_forgotten() {
        let mut stage = stage();
        let kept = |stage: &Derive| stage.shards.values().map(|shard| shard.lanes.len()).sum::<usize>();
        for (offset, tenant) in [(0, "t"), (1, "u"), (2, "v")] {
            process(&mut stage, given(LOCAL, tenant, (10, 7, offset)), offset);
        }
        // Any record moves the clock; the first series gets a leg shortly before its time is over.
        let back = stage.read_back;
        for (clock, tenant, offset, expected) in [
            (1_000 + back, "t", 3, 3),
            (1_000 + back + SWEPT_EVERY, "w", 4, 2),
            (1_000 + back + 2 * SWEPT_EVERY, "w", 5, 2),
        ] {
            let message = appended(clock, 0, message(given(LOCAL, tenant, (10, 8, offset)), offset));
            stage.process(&message.message(), &mut StageOutput::default()).unwrap();
            assert_eq!(kept(&stage), expected, "at {clock}");
        }
    }

    #[test]
    fn a_record_that_is_no_leg_is_a_dead_letter_and_one_of_no_series_is_counted() {
        let mut stage = stage();
        let unknown = given(("gone", "near", "L"), "t", (10, 7, 5));
        assert_eq!(process(&mut stage, unknown, 0), (Verdict::Done, Vec::new()));
        for (payload, code) in [(None, MISSING_PAYLOAD), (Some(&b"\xC3\x01"[..]), "truncated")] {
            let broken = KeptMessage {
                payload: payload.map(Box::from),
                ..message(unknown, 1)
            };
            let verdict = stage.process(&broken.message(), &mut StageOutput::default()).unwrap();
            let Verdict::DeadLetter(rejected) = verdict else {
                unreachable!("{verdict:?}");
            };
            assert_eq!(rejected.code, code);
        }
    }
}
