//! The pieces of the hot path.

mod legs;

use std::hint::black_box;
use std::sync::Arc;

use aggregation::core::instrument::Arrived;
use aggregation::core::log_clock::{Times, WindowRules};
use aggregation::core::partition_state::{PartitionState, Writer};
use aggregation::core::records::WriterId;
use codec::Wire;
use delivery::Sequencer;
use domain::{Micros, Tick};
use enrichment::core::taxonomy::RuleBook;
use enrichment::lookup::{Directory, Reference, Snapshot, View};
use enrichment::stages::enrich::enrich;
use ops::simulation::Shape;
use stores::clickhouse::{Block, Layout, rows};
use stream::hop::StageOutput;

use crate::inputs::{self, START};

const SECOND: Micros = 1_000_000;
/// Largest size of a block of rows. The buffer is reused.
const BLOCK_BYTES: usize = 1 << 20;
const THRESHOLD_PERCENT: i32 = 80;

/// A piece of the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// JSON of shape A to a framed tick: parse, validate, event-id window, route, encode.
    NormalizeEnvelope,
    /// JSON of shape B to a framed tick.
    NormalizeFlat,
    /// A framed tick to its fields.
    DecodeTick,
    /// The fields to a framed tick.
    EncodeTick,
    /// A framed tick of an instrument with reference data to a framed enriched tick.
    Enrich,
    /// A framed enriched tick into the windows of five intervals.
    Aggregate,
    /// A framed tick to a row of `market_ticks`: decode, sequencer, block.
    Row,
    /// A framed enriched tick to a row of `enriched_ticks`.
    EnrichedRow,
    /// A framed leg of a spark spread to its value: decode, find the other leg, compute.
    DerivedLeg,
    /// A framed quote of a curve of 22 quotes to its snapshots of five horizons: decode, keep, select, build.
    CurveQuote,
}

impl Path {
    /// All pieces, in the order of the pipeline.
    pub const ALL: [Path; 10] = [
        Path::NormalizeEnvelope,
        Path::NormalizeFlat,
        Path::DecodeTick,
        Path::EncodeTick,
        Path::Enrich,
        Path::Aggregate,
        Path::Row,
        Path::EnrichedRow,
        Path::DerivedLeg,
        Path::CurveQuote,
    ];

    /// Name in reports and in `instructions.txt`.
    pub fn name(self) -> &'static str {
        match self {
            Path::NormalizeEnvelope => "normalize_shape_a",
            Path::NormalizeFlat => "normalize_shape_b",
            Path::DecodeTick => "decode_tick",
            Path::EncodeTick => "encode_tick",
            Path::Enrich => "enrich_known_instrument",
            Path::Aggregate => "aggregate_five_intervals",
            Path::Row => "clickhouse_row",
            Path::EnrichedRow => "clickhouse_enriched_row",
            Path::DerivedLeg => "derived_leg",
            Path::CurveQuote => "curve_quote",
        }
    }

    /// The piece with this name.
    pub fn from_name(name: &str) -> Option<Path> {
        Path::ALL.into_iter().find(|path| path.name() == name)
    }
}

/// A piece with its state and inputs.
pub struct Work {
    step: Box<dyn FnMut(usize)>,
}

impl Work {
    /// Processes tick number `number`. Numbers must ascend.
    #[inline(never)]
    pub fn one(&mut self, number: usize) {
        (self.step)(number);
    }
}

/// Builds a piece with this number of distinct inputs, which are used in turn.
///
/// # Errors
/// The simulation does not produce the inputs.
pub fn prepare(path: Path, inputs: usize) -> anyhow::Result<Work> {
    let step: Box<dyn FnMut(usize)> = match path {
        Path::NormalizeEnvelope => Box::new(normalize(Shape::Envelope, inputs)?),
        Path::NormalizeFlat => Box::new(normalize(Shape::Flat, inputs)?),
        Path::DecodeTick => Box::new(decode(inputs)?),
        Path::EncodeTick => Box::new(encode(inputs)?),
        Path::Enrich => Box::new(enrichment(inputs)?),
        Path::Aggregate => Box::new(aggregate(inputs)?),
        Path::Row => Box::new(row(inputs)?),
        Path::EnrichedRow => Box::new(enriched_row(inputs)?),
        Path::DerivedLeg => Box::new(legs::derived()?),
        Path::CurveQuote => Box::new(legs::quote()?),
    };
    Ok(Work { step })
}

fn normalize(shape: Shape, inputs: usize) -> anyhow::Result<impl FnMut(usize)> {
    let (mut stage, mut out) = (inputs::normalizer()?, StageOutput::default());
    let messages = inputs::messages(shape, inputs)?;
    Ok(move |number: usize| {
        out.clear();
        if let Some(payload) = messages.get(number % messages.len()) {
            let raw = inputs::raw(black_box(payload), number);
            black_box(stage.record(&raw, &mut out, raw.appended_at));
            assert_eq!(out.len(), 1, "message {number} became a repetition");
        }
    })
}

fn decode(inputs: usize) -> anyhow::Result<impl FnMut(usize)> {
    let (wire, ticks) = (Wire::single_object(), inputs::normalized(inputs)?);
    Ok(move |number: usize| {
        if let Some(bytes) = ticks.get(number % ticks.len()) {
            let _ = black_box(wire.decode_tick(black_box(bytes)));
        }
    })
}

/// The cost of [`Path::EncodeTick`] includes a decode, because a tick borrows its texts. Subtract [`Path::DecodeTick`].
fn encode(inputs: usize) -> anyhow::Result<impl FnMut(usize)> {
    let (wire, ticks) = (Wire::single_object(), inputs::normalized(inputs)?);
    let mut out = Vec::with_capacity(1024);
    Ok(move |number: usize| {
        if let Some(Ok(tick)) = ticks.get(number % ticks.len()).map(|bytes| wire.decode_tick(bytes)) {
            out.clear();
            wire.encode_tick(black_box(&tick), &mut out);
            black_box(&out);
        }
    })
}

fn enrichment(inputs: usize) -> anyhow::Result<impl FnMut(usize)> {
    let (wire, ticks) = (Wire::single_object(), inputs::normalized(inputs)?);
    let mut view = known_instruments(&wire, &ticks)?;
    let mut out = StageOutput::default();
    Ok(move |number: usize| {
        out.clear();
        let bytes = ticks.get(number % ticks.len()).map(Vec::as_slice).unwrap_or_default();
        if let Ok((tick, datum)) = wire.split_tick(black_box(bytes)) {
            let enrichment = enrich(&mut view, &tick, THRESHOLD_PERCENT, START);
            let Ok(()) = out.push(0, &[b"key"], |buffer| {
                wire.encode_enrichment(datum, &enrichment, buffer);
                Ok::<(), std::convert::Infallible>(())
            });
        }
        black_box(&out);
    })
}

/// A view that has a row for every instrument of these ticks.
fn known_instruments(wire: &Wire, ticks: &[Vec<u8>]) -> anyhow::Result<View> {
    let mut known: Vec<Reference> = Vec::new();
    for bytes in ticks {
        let tick = wire.decode_tick(bytes)?;
        if !known.iter().any(|row| row.instrument_id == tick.instrument_id) {
            known.push(reference(&tick)?);
        }
    }
    let (misses, _) = tokio::sync::mpsc::channel(1);
    let directory = Arc::new(Directory::new(misses));
    directory.publish(|_| Snapshot::loaded(known.clone(), RuleBook::default(), 1));
    Ok(View::new(directory))
}

fn reference(tick: &Tick<'_>) -> anyhow::Result<Reference> {
    Ok(Reference {
        tenant_id: tick.tenant_id.to_owned(),
        instrument_id: tick.instrument_id.to_owned(),
        commodity: "electricity".to_owned(),
        region: "midwest".to_owned(),
        product_tier: "standard".to_owned(),
        unit: Some(tick.unit.to_owned()),
        contract_size: Some("1".parse()?),
        tick_size: Some("0.01".parse()?),
        curve_id: Some(tick.instrument_id.to_owned()),
        curve_definition: None,
    })
}

fn aggregate(inputs: usize) -> anyhow::Result<impl FnMut(usize)> {
    let wire = Wire::single_object();
    let enriched = enriched(&wire, inputs)?;
    let rules = WindowRules {
        intervals: 0b11111,
        at_once: Times {
            close_after: 30 * SECOND,
            forget_after: 330 * SECOND,
        },
        after_interval: Times {
            close_after: 900 * SECOND,
            forget_after: 3600 * SECOND,
        },
        idle_close: 120 * SECOND,
    };
    let writer = Writer {
        id: WriterId { ordinal: 1, random: 1 },
        topic_id: "id".to_owned(),
    };
    let (mut state, mut bars) = (PartitionState::new(rules, writer, Vec::new(), START), 0_u64);
    Ok(move |number: usize| {
        let bytes = enriched
            .get(number % enriched.len())
            .map(Vec::as_slice)
            .unwrap_or_default();
        if let Ok(mut record) = wire.decode_enriched(black_box(bytes)) {
            // Inputs are reused as later ticks.
            record.tick.origin.offset = number as i64;
            record.tick.event_time = START + number as Micros * 1_000;
            record.tick.appended_at = record.tick.event_time;
            let arrived = Arrived {
                tick: &record.tick,
                offset: number as i64,
                now: record.tick.event_time,
            };
            black_box(state.apply(&arrived, &mut |_| bars += 1));
        }
    })
}

fn enriched(wire: &Wire, inputs: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let ticks = inputs::normalized(inputs)?;
    let mut view = known_instruments(wire, &ticks)?;
    let one = |bytes: &Vec<u8>| {
        let (tick, datum) = wire.split_tick(bytes)?;
        let mut out = Vec::new();
        wire.encode_enrichment(datum, &enrich(&mut view, &tick, THRESHOLD_PERCENT, START), &mut out);
        Ok(out)
    };
    ticks.iter().map(one).collect()
}

fn row(inputs: usize) -> anyhow::Result<impl FnMut(usize)> {
    let (wire, ticks) = (Wire::single_object(), inputs::normalized(inputs)?);
    let append = move |bytes: &[u8], number: i64, sequencer: &mut Sequencer, block: &mut Block| {
        if let Ok(mut tick) = wire.view_tick(bytes) {
            tick.origin.offset = number;
            if sequencer.accept(tick.origin.feed, tick.origin.partition, tick.origin.position()) {
                rows::tick::encode(&tick, 0, number, block);
            }
        }
    };
    Ok(blocks(&rows::tick::LAYOUT, ticks, append))
}

fn enriched_row(inputs: usize) -> anyhow::Result<impl FnMut(usize)> {
    let wire = Wire::single_object();
    let ticks = enriched(&wire, inputs)?;
    let append = move |bytes: &[u8], number: i64, sequencer: &mut Sequencer, block: &mut Block| {
        if let Ok(mut record) = wire.view_enriched(bytes) {
            let origin = &mut record.tick.origin;
            origin.offset = number;
            if sequencer.accept(origin.feed, origin.partition, origin.position()) {
                rows::enriched::encode(&record, 0, number, block);
            }
        }
    };
    Ok(blocks(&rows::enriched::LAYOUT, ticks, append))
}

/// Fills one block after the other with the rows of these records; their offsets are the numbers of the ticks.
fn blocks(
    layout: &'static Layout,
    records: Vec<Vec<u8>>,
    append: impl Fn(&[u8], i64, &mut Sequencer, &mut Block),
) -> impl FnMut(usize) {
    let (mut sequencer, mut block) = (Sequencer::default(), Block::new(layout));
    // A block keeps its memory from one insert to the next.
    for (number, record) in records.iter().cycle().enumerate() {
        if block.bytes() > BLOCK_BYTES {
            break;
        }
        append(record, number as i64, &mut Sequencer::default(), &mut block);
    }
    block.clear();
    move |number: usize| {
        if block.bytes() > BLOCK_BYTES {
            block.clear();
        }
        let record = records
            .get(number % records.len())
            .map(Vec::as_slice)
            .unwrap_or_default();
        append(black_box(record), number as i64, &mut sequencer, &mut block);
        black_box(&block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_found_by_its_name() {
        for path in Path::ALL {
            assert_eq!(Path::from_name(path.name()), Some(path));
        }
    }
}
