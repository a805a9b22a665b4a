//! Sends the outputs of one partition (bars, late ticks, closings, state) to the partitions of the same number (INV-4), and legs to the
//! partition of their series. Late ticks and legs carry the trace of their tick; a bar, which is made of many, and a closing carry none.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use curves::Tenors;
use curves::derived::Definition;
use domain::instrument::KEY_SEPARATOR;
use domain::routing::partition_of;
use domain::{Bar, EnrichedTick, LateTick, LegPlace, LegPrice, LegPurpose, Micros, Tick};
use markets::contract::SETTLEMENT;
use stream::record_size::Headers;
use stream::{Io, Output, StreamError};

use crate::core::clock_marks::ClockMarks;
use crate::core::legs::LegIndex;
use crate::core::records::{Records, definition_key};
use crate::core::window_state::{Closing, Shown};
use crate::metrics::Tally;

/// The topics that a worker writes.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct OutputTopics {
    pub bars: String,
    pub late: String,
    pub legs: String,
    pub state: String,
    /// Partition count of each of them.
    pub partitions: i32,
}

/// Buffers that all sends of a worker share.
#[derive(Debug, Default)]
pub struct Scratch {
    key: Vec<u8>,
    payload: Vec<u8>,
}

/// State that the outboxes of a worker share.
pub struct Shared {
    /// Encodes values.
    pub wire: codec::Wire,
    /// Topics of the outputs.
    pub topics: OutputTopics,
    /// Which instruments are legs.
    pub legs: Arc<LegIndex>,
    /// The interval of the snapshots of curves, in microseconds.
    pub curve_interval: Micros,
    /// What the tenors of instruments mean.
    pub tenors: Tenors,
    /// Counts since the last turn.
    pub tally: Tally,
    /// How long each checkpoint completed since the last turn took.
    pub checkpoints_took: Vec<Duration>,
    /// Newest append time of the raw messages of the ticks counted since the last turn.
    pub newest_appended_at: Option<Micros>,
    /// Reused buffers.
    pub scratch: Scratch,
}

impl Shared {
    /// The state before the first output.
    pub fn new(wire: codec::Wire, topics: OutputTopics) -> Shared {
        Shared {
            wire,
            topics,
            legs: Arc::default(),
            curve_interval: 0,
            tenors: Tenors::default(),
            tally: Tally::default(),
            checkpoints_took: Vec::new(),
            newest_appended_at: None,
            scratch: Scratch::default(),
        }
    }
}

/// The outputs of one partition. A failed send in [`Outbox::show`], which is a callback, is returned by [`Outbox::finish`].
pub struct Outbox<'a, 'io> {
    io: &'a mut Io<'io>,
    shared: &'a mut Shared,
    partition: i32,
    failure: Option<StreamError>,
}

impl<'a, 'io> Outbox<'a, 'io> {
    /// An outbox of this partition.
    pub fn new(io: &'a mut Io<'io>, shared: &'a mut Shared, partition: i32) -> Outbox<'a, 'io> {
        Outbox {
            io,
            shared,
            partition,
            failure: None,
        }
    }

    /// Sends a bar or a closing; `clock` is the log clock.
    pub fn show(&mut self, shown: Shown<'_>, clock: Option<Micros>) {
        if self.failure.is_none() {
            let sent = match shown {
                Shown::Bar(bar) => self.bar(bar),
                Shown::Closing(closing) => self.closing(closing, clock),
            };
            self.failure = sent.err();
        }
    }

    fn bar(&mut self, bar: &Bar<'_>) -> Result<(), StreamError> {
        self.shared.scratch.begin(bar.tenant_id, bar.instrument_id);
        self.shared.wire.encode_bar(bar, &mut self.shared.scratch.payload);
        let (tally, interval) = (&mut self.shared.tally, bar.window.interval.index());
        if let (Some(all), Some(closed)) = (tally.bars.get_mut(interval), tally.bars_closed.get_mut(interval)) {
            *all += 1;
            *closed += u64::from(bar.version.closed);
        }
        self.send_scratch(Topic::Bars, &[])
    }

    /// Sends a late tick, whose bars are computed from the table.
    pub fn late(&mut self, late: &LateTick<'_>) -> Result<(), StreamError> {
        self.shared.tally.late += 1;
        let headers = self.io.trace_headers();
        self.send_late(late, &headers)
    }

    /// `late_ticks` does not store a closing: its tick was sent there before, so the writer treats it as a repetition.
    fn closing(&mut self, closing: &Closing<'_>, clock: Option<Micros>) -> Result<(), StreamError> {
        self.shared.tally.closings_by_table += 1;
        let interval = 1 << closing.interval.index();
        let late = LateTick {
            origin: closing.origin,
            tenant_id: closing.tenant_id,
            instrument_id: closing.instrument_id,
            event_time: closing.event_time,
            price: closing.price,
            volume: None,
            missed_intervals: interval,
            closed_intervals: interval,
            is_close: true,
            watermark: clock.unwrap_or(closing.event_time),
            enriched_offset: closing.last_offset,
        };
        // Another tick caused it.
        self.send_late(&late, &[])
    }

    fn send_late(&mut self, late: &LateTick<'_>, headers: &Headers) -> Result<(), StreamError> {
        self.shared.scratch.begin(late.tenant_id, late.instrument_id);
        self.shared.wire.encode_late(late, &mut self.shared.scratch.payload);
        self.send_scratch(Topic::Late, headers)
    }

    /// Sends the tick of this offset to where its legs meet: keyed by tenant and series, or curve, so not by its partition. A mark of the
    /// clock that is due comes before them.
    pub fn legs(
        &mut self,
        enriched: &EnrichedTick<'_>,
        offset: i64,
        clock: Micros,
        marks: &mut ClockMarks,
    ) -> Result<(), StreamError> {
        let tick = &enriched.tick;
        let place = LegPlace {
            purpose: LegPurpose::Clock,
            series: "",
            role: "",
            definition: None,
            unit: enriched.unit(),
            log_clock: clock,
            enriched_partition: self.partition,
            enriched_offset: offset,
            index: 0,
        };
        if marks.take(clock) {
            for partition in 0..self.shared.topics.partitions {
                self.leg(tick, place, Topic::LegsOf(partition))?;
            }
            self.shared.tally.clock_marks += 1;
        }
        let mut index = 0;
        if !self.shared.legs.is_empty() {
            let legs = Arc::clone(&self.shared.legs);
            for leg in legs.of_instrument(tick.instrument_id) {
                let of_series = LegPlace {
                    purpose: LegPurpose::Series,
                    series: &leg.series,
                    role: &leg.role,
                    index,
                    ..place
                };
                self.leg(tick, of_series, Topic::Legs)?;
                self.shared.tally.legs += 1;
                index += 1;
            }
        }
        if let Some(curve_id) = enriched.enrichment.curve_id
            && self.quote(enriched, curve_id, LegPlace { index, ..place })?
        {
            self.shared.tally.quotes += 1;
            marks.quoted(clock, self.shared.curve_interval);
        }
        Ok(())
    }

    /// Sends the tick to its curve, if it is a quote. Other prices may name a curve too: its quotes are settlements, and prices of instruments
    /// with a tenor.
    fn quote(&mut self, enriched: &EnrichedTick<'_>, curve_id: &str, place: LegPlace<'_>) -> Result<bool, StreamError> {
        let tick = &enriched.tick;
        let (role, instrument_id) = match tick.product {
            SETTLEMENT => (tick.market, Cow::Borrowed(tick.instrument_id)),
            _ => match self.shared.tenors.contract(enriched) {
                Some((market, id)) => (market, Cow::Owned(id)),
                None => return Ok(false),
            },
        };
        let of_curve = LegPlace {
            purpose: LegPurpose::Curve,
            series: curve_id,
            role,
            definition: enriched.enrichment.curve_definition,
            ..place
        };
        let quoted = Tick {
            instrument_id: &instrument_id,
            ..*tick
        };
        self.leg(&quoted, of_curve, Topic::Legs)?;
        Ok(true)
    }

    fn leg(&mut self, tick: &Tick<'_>, place: LegPlace<'_>, topic: Topic) -> Result<(), StreamError> {
        let headers = self.io.trace_headers();
        let scratch = &mut self.shared.scratch;
        scratch.begin(tick.tenant_id, place.series);
        let leg = LegPrice::of(tick, place);
        self.shared.wire.encode_leg(&leg, &mut scratch.payload);
        self.send_scratch(topic, &headers)
    }

    /// Sends records to the state topic.
    pub fn state(&mut self, records: &Records) -> Result<(), StreamError> {
        records
            .iter()
            .try_for_each(|(key, value)| self.send_state(key, Some(value)))
    }

    /// Saves the definitions of these derived series.
    pub fn definitions(&mut self, series: &[Arc<Definition>]) -> Result<(), StreamError> {
        series.iter().try_for_each(|definition| {
            let key = definition_key(&definition.series);
            self.send_state(key.as_bytes(), Some(definition.described().as_bytes()))
        })
    }

    /// Sends tombstones to the state topic.
    pub fn tombstones(&mut self, keys: &[Vec<u8>]) -> Result<(), StreamError> {
        keys.iter().try_for_each(|key| self.send_state(key, None))
    }

    /// Returns the first failure of [`Outbox::show`].
    pub fn finish(self) -> Result<(), StreamError> {
        self.failure.map_or(Ok(()), Err)
    }

    fn send_state(&mut self, key: &[u8], payload: Option<&[u8]>) -> Result<(), StreamError> {
        let output = Output {
            topic: &self.shared.topics.state,
            partition: self.partition,
            key: Some(key),
            payload,
            headers: &[],
        };
        self.shared.tally.state_records += 1;
        self.io.send(&output).map(drop)
    }

    fn send_scratch(&mut self, topic: Topic, headers: &Headers) -> Result<(), StreamError> {
        let Shared { topics, scratch, .. } = &*self.shared;
        let output = Output {
            topic: match topic {
                Topic::Bars => &topics.bars,
                Topic::Late => &topics.late,
                Topic::Legs | Topic::LegsOf(_) => &topics.legs,
            },
            partition: match topic {
                Topic::Bars | Topic::Late => self.partition,
                Topic::LegsOf(partition) => partition,
                Topic::Legs => partition_of(&scratch.key, topics.partitions),
            },
            key: Some(&scratch.key),
            payload: Some(&scratch.payload),
            headers,
        };
        self.io.send(&output).map(drop)
    }
}

#[derive(Clone, Copy)]
enum Topic {
    Bars,
    Late,
    /// By the key.
    Legs,
    /// This partition of it.
    LegsOf(i32),
}

impl Scratch {
    fn begin(&mut self, tenant_id: &str, of_tenant: &str) {
        self.key.clear();
        self.key.extend_from_slice(tenant_id.as_bytes());
        self.key.push(KEY_SEPARATOR as u8);
        self.key.extend_from_slice(of_tenant.as_bytes());
        self.payload.clear();
    }
}
