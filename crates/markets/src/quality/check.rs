//! The checks that set a flag or, if so configured, reject a tick.
//!
//! Invariant (INV-1): only checks that follow from the message alone can reject. What depends on earlier messages sets flags.

use std::str::FromStr;

use domain::QualityFlag;

macro_rules! checks {
    ($($variant:ident, $name:literal, $flag:ident, $rejects:literal, $description:literal;)+) => {
        /// One check. The discriminant is its bit in [`Checks`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Check { $($variant,)+ }

        impl Check {
            /// Every check, in the order of its discriminant.
            pub const ALL: &[Check] = &[$(Check::$variant,)+];

            /// Stable name, as in `GET /quality-rules` and the configuration.
            pub fn name(self) -> &'static str {
                match self { $(Check::$variant => $name,)+ }
            }

            /// The flag that it sets.
            pub fn flag(self) -> QualityFlag {
                match self { $(Check::$variant => QualityFlag::$flag,)+ }
            }

            /// Whether it follows from the message alone, so that it may be configured to reject.
            pub fn may_reject(self) -> bool {
                match self { $(Check::$variant => $rejects,)+ }
            }

            /// What it finds.
            pub fn description(self) -> &'static str {
                match self { $(Check::$variant => $description,)+ }
            }
        }
    };
}

checks! {
    PricePositive, "price_positive", PriceNegative, true,
        "price below zero (valid in power markets)";
    PriceMinimum, "price_minimum", OutOfRange, true,
        "price below the configured minimum, or the floor of its market at that date";
    PriceMaximum, "price_maximum", OutOfRange, true,
        "price above the configured maximum or the cap of its market at that date, whichever is lower";
    PriceChange, "price_change", PriceSpike, false,
        "relative change above this fraction from the median of the instrument's last five prices in its raw partition; of an even number of prices, from both in the middle";
    VolumeMaximum, "volume_maximum", VolumeSpike, true,
        "volume above the maximum";
    VolumeChange, "volume_change", VolumeSpike, false,
        "relative change above this fraction from the median of the instrument's last five volumes, as for prices";
    VolumePresent, "volume_present", MissingVolume, true,
        "a trade without a volume";
    LateArrival, "late_arrival_threshold", LateArrival, true,
        "more seconds than this from the event to its append in the log; not applied to day-ahead prices and settlements";
    MetadataPresent, "metadata_present", MissingMetadata, true,
        "node or zone missing (CAISO: node or hub; rows of documents: node)";
    ComponentSum, "component_sum", ComponentMismatch, true,
        "energy, congestion, loss and greenhouse gas do not add up to the price, or the derived energy price differs within an interval (MISO, NYISO)";
    IntervalGrid, "interval_grid", OffGrid, true,
        "the start of an interval is not a multiple of its length, in documents whose stamps are on a grid";
    KnownNode, "known_node", UnknownNode, true,
        "a document's row is of a hub or zone that the list of its market does not have (GET /markets)";
    NewInstruments, "new_instruments", UnknownNode, false,
        "the tenant has more new instruments than this within an hour of append time; set on the first tick of each additional one";
    ProductOfId, "product_of_id", UnknownNode, true,
        "the id of a single tick of an interval product ends with another product (MARKET.node.DA with product rt5), so it enters the series of that one; a tick that names no product is a trade, and not compared";
    RowRepeated, "row_repeated", Duplicate, false,
        "the row repeats the price that counts in its interval among the earlier rows of its raw partition: nothing that is shown of a price differs; the last 32,768 intervals of a partition are known";
    EventIdUnique, "event_id_unique", EventIdReused, false,
        "an earlier message of the partition within NORMALIZATION_DEDUP_WINDOW_S has the same tenant, source and event id but different facts";
    QuoteOrder, "quote_order", CrossedMarket, true,
        "the bid is above the ask";
    QuoteReadable, "quote_readable", MissingQuote, true,
        "a bid or ask that is not a number in range was dropped";
    NumberNoise, "number_noise", Rounded, true,
        "binary floating-point noise after the eighth decimal was rounded";
}

impl FromStr for Check {
    type Err = String;

    fn from_str(name: &str) -> Result<Check, String> {
        let known = Check::ALL.iter().copied();
        known.clone().find(|check| check.name() == name).ok_or_else(|| {
            let names: Vec<&str> = known.map(Check::name).collect();
            format!(
                "unknown quality rule '{}'; known: {}",
                name.escape_debug(),
                names.join(", ")
            )
        })
    }
}

/// A set of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checks(u32);

impl Checks {
    /// No check.
    pub const NONE: Checks = Checks(0);
    /// Every check.
    pub const ALL: Checks = Checks((1 << Check::ALL.len()) - 1);

    /// Adds a check if `applies`.
    pub(crate) fn note(&mut self, applies: bool, check: Check) {
        self.0 |= u32::from(applies) << check as u8;
    }

    /// Whether it has the check.
    pub fn contains(self, check: Check) -> bool {
        self.0 & (1 << check as u8) != 0
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The checks that are in both.
    #[must_use]
    pub fn and(self, other: Checks) -> Checks {
        Checks(self.0 & other.0)
    }

    /// The checks that are not in `other`.
    #[must_use]
    pub fn without(self, other: Checks) -> Checks {
        Checks(self.0 & !other.0)
    }

    /// The checks in the order of their discriminants.
    pub fn iter(self) -> impl Iterator<Item = Check> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let check = Check::ALL.get(bits.trailing_zeros() as usize).copied();
            bits &= bits.wrapping_sub(1);
            check
        })
    }
}

impl FromIterator<Check> for Checks {
    fn from_iter<I: IntoIterator<Item = Check>>(checks: I) -> Checks {
        let mut set = Checks::NONE;
        checks.into_iter().for_each(|check| set.note(true, check));
        set
    }
}
