//! Quality flags of a tick. A flag never removes a tick: negative and zero prices are real in power markets.

/// One flag. The discriminant is the position in the Avro enum and in the bit set: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum QualityFlag {
    Valid,
    PriceNegative,
    OutOfRange,
    PriceSpike,
    VolumeSpike,
    LateArrival,
    MissingMetadata,
    MissingVolume,
    Duplicate,
    ComponentMismatch,
    /// A hub or zone that its market does not have, an id that names another product than the tick, or a new instrument of a tenant that has
    /// had very many new instruments within the hour.
    UnknownNode,
    OffGrid,
    /// Binary-float noise beyond 8 decimals was rounded.
    Rounded,
    /// The event id was used before, with other facts.
    EventIdReused,
    /// The bid is above the ask.
    CrossedMarket,
    /// A bid or ask that could not be read was dropped.
    MissingQuote,
}

impl QualityFlag {
    /// Every flag, in the order of its discriminant.
    pub const ALL: [QualityFlag; 16] = [
        QualityFlag::Valid,
        QualityFlag::PriceNegative,
        QualityFlag::OutOfRange,
        QualityFlag::PriceSpike,
        QualityFlag::VolumeSpike,
        QualityFlag::LateArrival,
        QualityFlag::MissingMetadata,
        QualityFlag::MissingVolume,
        QualityFlag::Duplicate,
        QualityFlag::ComponentMismatch,
        QualityFlag::UnknownNode,
        QualityFlag::OffGrid,
        QualityFlag::Rounded,
        QualityFlag::EventIdReused,
        QualityFlag::CrossedMarket,
        QualityFlag::MissingQuote,
    ];

    /// The public name, as in metrics, tables and Avro.
    pub fn name(self) -> &'static str {
        match self {
            QualityFlag::Valid => "valid",
            QualityFlag::PriceNegative => "price_negative",
            QualityFlag::OutOfRange => "out_of_range",
            QualityFlag::PriceSpike => "price_spike",
            QualityFlag::VolumeSpike => "volume_spike",
            QualityFlag::LateArrival => "late_arrival",
            QualityFlag::MissingMetadata => "missing_metadata",
            QualityFlag::MissingVolume => "missing_volume",
            QualityFlag::Duplicate => "duplicate",
            QualityFlag::ComponentMismatch => "component_mismatch",
            QualityFlag::UnknownNode => "unknown_node",
            QualityFlag::OffGrid => "off_grid",
            QualityFlag::Rounded => "rounded",
            QualityFlag::EventIdReused => "event_id_reused",
            QualityFlag::CrossedMarket => "crossed_market",
            QualityFlag::MissingQuote => "missing_quote",
        }
    }
}

/// A set of flags. Empty means not checked yet; a checked tick without findings has `valid` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct QualityFlags(u32);

impl QualityFlags {
    /// No flag.
    pub const NONE: QualityFlags = QualityFlags(0);

    /// One flag.
    pub fn of(flag: QualityFlag) -> QualityFlags {
        let mut flags = QualityFlags::NONE;
        flags.insert(flag);
        flags
    }

    /// Adds a flag.
    pub fn insert(&mut self, flag: QualityFlag) {
        self.0 |= 1 << flag as u8;
    }

    /// The flags of both.
    #[must_use]
    pub fn union(self, other: QualityFlags) -> QualityFlags {
        QualityFlags(self.0 | other.0)
    }

    /// Whether the flag is set.
    pub fn contains(self, flag: QualityFlag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits, one per discriminant.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The set with these bits; `None` if a bit has no flag.
    pub fn from_bits(bits: u32) -> Option<QualityFlags> {
        (bits < 1 << QualityFlag::ALL.len()).then_some(QualityFlags(bits))
    }

    /// The flags in the order of their discriminants.
    pub fn iter(self) -> impl Iterator<Item = QualityFlag> {
        QualityFlag::ALL.into_iter().filter(move |flag| self.contains(*flag))
    }
}
