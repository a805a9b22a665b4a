//! Records of the aggregation's state topic besides windows (a window's state has the fields of a bar).

use domain::{Micros, RawPosition};

use crate::CodecError;
use crate::reader::Reader;
use crate::writer as put;

/// Newest event time of an instrument as of a position, and the one saved before (`instrument_watermark.avsc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstrumentWatermark {
    /// Next enriched offset that it belongs to.
    pub position: i64,
    /// Newest event time seen.
    pub max_event_time: Micros,
    /// The one saved before: (position, newest event time).
    pub previous: Option<(i64, Micros)>,
}

impl InstrumentWatermark {
    /// Appends the datum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put::long(self.position, out);
        put::long(self.max_event_time, out);
        put::optional(self.previous, out, |(position, time), out| {
            put::long(position, out);
            put::long(time, out);
        });
    }

    /// Reads a datum; also says how long it is.
    pub fn decode(datum: &[u8]) -> Result<(InstrumentWatermark, usize), CodecError> {
        let mut from = Reader::new(datum);
        let watermark = InstrumentWatermark {
            position: from.long("position")?,
            max_event_time: from.long("max_event_time")?,
            previous: from.optional("previous", |from, field| Ok((from.long(field)?, from.long(field)?)))?,
        };
        Ok((watermark, from.consumed()))
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

/// Position of an enriched partition with the sequencer state as of exactly it (`sequencer_state.avsc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequencerState {
    /// Next enriched offset.
    pub position: i64,
    /// Id of the enriched topic.
    pub topic_id: String,
    /// One lane per (feed, raw partition).
    pub lanes: Vec<SequencerLane>,
}

impl SequencerState {
    /// Appends the datum.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put::long(self.position, out);
        put::string(&self.topic_id, out);
        put::array(self.lanes.iter(), out, |lane, out| {
            put::string(&lane.feed, out);
            put::long(i64::from(lane.raw_partition), out);
            put::long(lane.position.offset, out);
            put::long(i64::from(lane.position.index), out);
        });
    }

    /// Reads a datum; also says how long it is.
    pub fn decode(datum: &[u8]) -> Result<(SequencerState, usize), CodecError> {
        let mut from = Reader::new(datum);
        let (position, topic_id) = (from.long("position")?, from.string("topic_id")?.to_owned());
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
                lanes,
            },
            from.consumed(),
        ))
    }
}
