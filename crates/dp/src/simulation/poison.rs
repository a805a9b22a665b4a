//! Messages that must end as dead letters, and the code that each of them must end with.

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
    NegativeVolume,
    BrokenAvro,
    Oversize,
}

impl Poison {
    /// Every kind.
    pub const ALL: [Poison; 13] = [
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
            Poison::NegativeVolume => "negative_volume",
            Poison::BrokenAvro => "invalid_avro",
            Poison::Oversize => "oversize",
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
        if kind == Poison::Oversize && (turn / kinds) % 200 != 0 {
            Poison::BrokenJson
        } else {
            kind
        }
    }
}
