//! Records of the aggregation's state topic.

use domain::{Bar, Micros, RawPosition};

use crate::reader::Reader;
use crate::writer as put;
use crate::{CodecError, bar};

/// State of one window (`window_state.avsc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRecord<'a> {
    /// Product of its last tick.
    pub product: &'a str,
    /// Whether it has ticks of more than one product.
    pub mixed: bool,
    /// Whether its bar is computed from the table, not from the bar here.
    pub from_table: bool,
    /// The state that the next tick needs.
    pub bar: Bar<'a>,
}

impl<'a> WindowRecord<'a> {
    /// Appends the datum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put::string(self.product, out);
        put::boolean(self.mixed, out);
        put::boolean(self.from_table, out);
        bar::encode(&self.bar, out);
    }

    /// Reads a datum; also returns its length.
    pub fn decode(datum: &'a [u8]) -> Result<(WindowRecord<'a>, usize), CodecError> {
        let mut from = Reader::new(datum);
        let product = from.string("product")?;
        let (mixed, from_table) = (from.boolean("mixed")?, from.boolean("from_table")?);
        let bar = bar::read(&mut from)?;
        let window = WindowRecord {
            product,
            mixed,
            from_table,
            bar,
        };
        Ok((window, from.consumed()))
    }
}

/// Last accepted origin of one (feed, raw partition).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencerLane {
    /// Raw topic.
    pub feed: String,
    /// Partition of the raw topic.
    pub raw_partition: i32,
    /// Last position accepted.
    pub position: RawPosition,
}

/// Position of an enriched partition with the sequencer state of exactly that position (`sequencer_state.avsc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencerState {
    /// Next enriched offset.
    pub position: i64,
    /// Id of the enriched topic.
    pub topic_id: String,
    /// Largest raw append time of the ticks accepted before the position.
    pub log_clock: Option<Micros>,
    /// End of an interval with quotes of curves, until the log clock has reached it.
    pub marks_due: Option<Micros>,
    /// One lane per (feed, raw partition).
    pub lanes: Vec<SequencerLane>,
}

impl SequencerState {
    /// Appends the datum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put::long(self.position, out);
        put::string(&self.topic_id, out);
        put::optional(self.log_clock, out, put::long);
        put::optional(self.marks_due, out, put::long);
        put::array(self.lanes.iter(), out, |lane, out| {
            put::string(&lane.feed, out);
            put::long(i64::from(lane.raw_partition), out);
            put::long(lane.position.offset, out);
            put::long(i64::from(lane.position.index), out);
        });
    }

    /// Reads a datum; also returns its length.
    pub fn decode(datum: &[u8]) -> Result<(SequencerState, usize), CodecError> {
        let mut from = Reader::new(datum);
        let (position, topic_id) = (from.long("position")?, from.string("topic_id")?.to_owned());
        let log_clock = from.optional("log_clock", Reader::long)?;
        let marks_due = from.optional("marks_due", Reader::long)?;
        let mut lanes = Vec::new();
        from.array("lanes", |item| {
            lanes.push(SequencerLane {
                feed: item.string("feed")?.to_owned(),
                raw_partition: item.int("raw_partition")?,
                position: RawPosition {
                    offset: item.long("offset")?,
                    index: item.int("index")?,
                },
            });
            Ok(())
        })?;
        Ok((
            SequencerState {
                position,
                topic_id,
                log_clock,
                marks_due,
                lanes,
            },
            from.consumed(),
        ))
    }
}
