//! Reads records of the topic of legs, for the stages that follow from them.
//!
//! Role: what [`mod@super::derived`] and [`mod@super::curves`] have in common: how a record is decoded, what its order and its clock are, and
//! how much of the topic is read again.
//! Failure: a record that cannot be read is a dead letter, of each stage that runs.

use codec::{CodecError, Record, Wire};
use domain::instrument::KEY_SEPARATOR;
use domain::{Classified, ErrorClass, LegPrice, Micros, RawPosition};
use stream::hop::{Memory, Rejected, StageOutput, Verdict};
use stream::{Message, StreamError};

pub(super) const MISSING_PAYLOAD: &str = "missing_payload";
/// Codes of the dead letters of a stage of legs: its own, then the codec's.
pub const CODES: [&str; 6] = [
    MISSING_PAYLOAD,
    Rejected::OVERSIZE,
    "truncated",
    "invalid_utf8",
    "invalid_value",
    "unknown_schema",
];
/// Most records that are read again.
const MOST_READ_BACK: i64 = 50_000_000;

/// A stage of legs.
pub(super) trait OfLegs {
    fn wire(&self) -> &Wire;

    /// Takes a leg; what follows goes to `out`, if there is one.
    fn take(&mut self, message: &Message<'_>, leg: &LegPrice<'_>, out: Option<&mut StageOutput<'_>>) -> Verdict;
}

/// Takes the leg of a record, with its outputs.
pub(super) fn process(
    stage: &mut impl OfLegs,
    message: &Message<'_>,
    out: &mut StageOutput<'_>,
) -> Result<Verdict, StreamError> {
    let Some(payload) = message.payload else {
        return Ok(rejected(MISSING_PAYLOAD, "the leg has no value".to_owned()));
    };
    // The leg borrows from the codec: a clone of the handle is free.
    let wire = stage.wire().clone();
    let payload = wire.current(Record::LegPrice, payload);
    match wire.decode_leg(&payload) {
        Ok(leg) => Ok(stage.take(message, &leg, Some(out))),
        Err(error) if error.class() == ErrorClass::Poison => Ok(rejected(error.code(), error.to_string())),
        Err(error) => Err(unread(&error)),
    }
}

/// Takes the leg of a record that an earlier owner has finished.
pub(super) fn observe(stage: &mut impl OfLegs, message: &Message<'_>) -> Result<(), StreamError> {
    let wire = stage.wire().clone();
    let payload = wire.current(Record::LegPrice, message.payload.unwrap_or_default());
    match wire.decode_leg(&payload) {
        Ok(leg) => {
            stage.take(message, &leg, None);
            Ok(())
        }
        // The earlier owner has dead-lettered it.
        Err(error) if error.class() == ErrorClass::Poison => Ok(()),
        Err(error) => Err(unread(&error)),
    }
}

/// The log clock of the record: the stage before may be far behind its input, and write old legs now.
pub(super) fn time_of(wire: &Wire, message: &Message<'_>) -> Micros {
    let payload = wire.current(Record::LegPrice, message.payload.unwrap_or_default());
    let clock = wire.decode_leg(&payload).map(|leg| leg.log_clock);
    clock.map_or(message.timestamp, |clock| clock.min(message.timestamp))
}

/// How much of the topic is read again, of this time of the log clock.
pub(super) fn memory(micros: Micros) -> Memory {
    Memory {
        micros,
        offsets: MOST_READ_BACK,
    }
}

/// The place of a leg among those of its enriched partition.
pub(super) fn position(leg: &LegPrice<'_>) -> RawPosition {
    RawPosition {
        offset: leg.enriched_offset,
        index: leg.index,
    }
}

/// Writes the key of its series or curve: tenant and name.
pub(super) fn write_key(leg: &LegPrice<'_>, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(leg.tenant_id.as_bytes());
    key.push(KEY_SEPARATOR as u8);
    key.extend_from_slice(leg.series.as_bytes());
}

fn rejected(code: &'static str, message: String) -> Verdict {
    Verdict::DeadLetter(Rejected {
        code,
        message,
        rows: domain::RowRanges::default(),
        reasons: Vec::new(),
        correlation_id: String::new(),
        tenant: String::new(),
        attempts: 1,
    })
}

fn unread(error: &CodecError) -> StreamError {
    StreamError::transient(error.code(), format!("read a leg: {error}"))
}
