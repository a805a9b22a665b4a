//! Messages that must become dead letters, with the expected code of each.

use super::random::Random;
use super::statement::{Statement, TimeForm};

/// Padding of one byte more than the limit of a message with one tick, so the message is always over-size.
const OVERSIZE: usize = (1 << 20) + 1;
/// A day before 1970.
const ANCIENT: i64 = -86_400_000_000;

/// Thirty days.
const FAR_AHEAD: i64 = 30 * 86_400_000_000;

/// The error of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Poison {
    BrokenJson,
    WrongVersion,
    NotAnObject,
    MissingEventId,
    MissingPrice,
    PriceInWords,
    UnknownMarket,
    MissingInstrument,
    MissingTime,
    AncientTime,
    FutureTime,
    NegativeVolume,
    BrokenAvro,
    Oversize,
}

impl Poison {
    /// Every kind.
    pub const ALL: [Poison; 14] = [
        Poison::BrokenJson,
        Poison::WrongVersion,
        Poison::MissingPrice,
        Poison::UnknownMarket,
        Poison::Oversize,
        Poison::BrokenAvro,
        Poison::NotAnObject,
        Poison::MissingEventId,
        Poison::PriceInWords,
        Poison::MissingInstrument,
        Poison::MissingTime,
        Poison::AncientTime,
        Poison::FutureTime,
        Poison::NegativeVolume,
    ];

    /// The public code (`dp.error.code`) of its dead letter.
    pub fn code(self) -> &'static str {
        match self {
            Poison::BrokenJson => "broken_json",
            Poison::WrongVersion | Poison::NotAnObject | Poison::MissingEventId => "schema_violation",
            Poison::MissingPrice => "missing_price",
            Poison::PriceInWords => "invalid_price",
            Poison::UnknownMarket => "unknown_market",
            Poison::MissingInstrument => "missing_instrument",
            Poison::MissingTime => "missing_time",
            Poison::AncientTime => "time_out_of_range",
            Poison::FutureTime => "future_time",
            Poison::NegativeVolume => "negative_volume",
            Poison::BrokenAvro => "invalid_avro",
            Poison::Oversize => "oversize",
        }
    }

    /// Applies the error to the statement, if it is an error of content.
    pub(super) fn spoil(self, said: &mut Statement<'_>) {
        match self {
            Poison::WrongVersion => said.version = "2.0.0",
            Poison::MissingEventId => said.event_id = None,
            Poison::MissingPrice => said.price = None,
            Poison::PriceInWords => said.price = Some("\"n/a\""),
            Poison::UnknownMarket => said.market = "ATLANTIS",
            Poison::MissingInstrument => said.instrument_id = None,
            Poison::MissingTime => said.event_time = None,
            // As a number it would be interpreted in another unit.
            Poison::AncientTime => (said.event_time, said.time_form) = (Some(ANCIENT), TimeForm::Utc),
            // Later than even a day-ahead price may be.
            Poison::FutureTime => said.event_time = said.event_time.map(|time| time.saturating_add(FAR_AHEAD)),
            Poison::NegativeVolume => said.volume = Some("-5"),
            Poison::Oversize => said.padding = OVERSIZE,
            Poison::BrokenJson | Poison::NotAnObject | Poison::BrokenAvro => {}
        }
    }

    /// Applies the error to the bytes, if it is an error of encoding.
    pub(super) fn spoil_bytes(self, payload: &mut Vec<u8>, random: &mut Random) {
        match self {
            // Without its last byte neither a JSON object nor an Avro datum of this schema is complete.
            Poison::BrokenJson | Poison::BrokenAvro => {
                let cut = 1 + random.below(payload.len() as u64 / 2) as usize;
                payload.truncate(payload.len() - cut);
            }
            Poison::NotAnObject => {
                payload.insert(0, b'[');
                payload.push(b']');
            }
            _ => {}
        }
    }

    /// The kind of the `turn`-th poison message. Kinds alternate, so that a few messages include every kind. Over-size messages
    /// are one MiB each, so they occur only in every 200th round.
    pub(super) fn in_turn(turn: u64) -> Poison {
        let kinds = Poison::ALL.len() as u64;
        let kind = Poison::ALL
            .get((turn % kinds) as usize)
            .copied()
            .unwrap_or(Poison::BrokenJson);
        if kind == Poison::Oversize && !(turn / kinds).is_multiple_of(200) {
            Poison::BrokenJson
        } else {
            kind
        }
    }
}
