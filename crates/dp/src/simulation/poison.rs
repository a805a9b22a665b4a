//! Messages that must end as dead letters, and the code that each of them must end with.

use super::random::Random;
use super::statement::{Statement, TimeForm};

/// One more byte than a message with one tick may have, so over-size whatever else is in it.
const OVERSIZE: usize = (1 << 20) + 1;
/// A day before 1970.
const ANCIENT: i64 = -86_400_000_000;

/// Thirty days.
const FAR_AHEAD: i64 = 30 * 86_400_000_000;

/// What is wrong with a message.
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

    /// Makes the statement wrong, where it is what is said that is wrong.
    pub(super) fn spoil(self, said: &mut Statement<'_>) {
        match self {
            Poison::WrongVersion => said.version = "2.0.0",
            Poison::MissingEventId => said.event_id = None,
            Poison::MissingPrice => said.price = None,
            Poison::PriceInWords => said.price = Some("\"n/a\""),
            Poison::UnknownMarket => said.market = "ATLANTIS",
            Poison::MissingInstrument => said.instrument_id = None,
            Poison::MissingTime => said.event_time = None,
            // As a number it would be read in another unit.
            Poison::AncientTime => (said.event_time, said.time_form) = (Some(ANCIENT), TimeForm::Utc),
            // Further than even a day-ahead price may be.
            Poison::FutureTime => said.event_time = said.event_time.map(|time| time.saturating_add(FAR_AHEAD)),
            Poison::NegativeVolume => said.volume = Some("-5"),
            Poison::Oversize => said.padding = OVERSIZE,
            Poison::BrokenJson | Poison::NotAnObject | Poison::BrokenAvro => {}
        }
    }

    /// Makes the bytes wrong, where it is not what is said that is wrong.
    pub(super) fn spoil_bytes(self, payload: &mut Vec<u8>, random: &mut Random) {
        match self {
            // Without its last byte no JSON object is complete, and no datum of ours either.
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

    /// The kind of the `turn`-th poison message: all in turns, so that a few messages hold every kind. Over-size ones
    /// are a mebibyte each, so they come in every 200th round only.
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
