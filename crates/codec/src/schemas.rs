//! The schemas of `schemas/avro/`, compiled into the program, and their fingerprints.

use std::sync::LazyLock;

use crate::older::Fingerprints;

/// A record type of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Record {
    Tick,
    EnrichedTick,
    Bar,
    LateTick,
    LegPrice,
    DerivedPrice,
    CurveSnapshot,
    WindowState,
    SequencerState,
    RawMarketTick,
}

impl Record {
    /// Every record.
    pub const ALL: [Record; 10] = [
        Record::Tick,
        Record::EnrichedTick,
        Record::Bar,
        Record::LateTick,
        Record::LegPrice,
        Record::DerivedPrice,
        Record::CurveSnapshot,
        Record::WindowState,
        Record::SequencerState,
        Record::RawMarketTick,
    ];

    /// Name of the schema file without its extension; also the registry subject.
    pub fn name(self) -> &'static str {
        match self {
            Record::Tick => "tick",
            Record::EnrichedTick => "enriched_tick",
            Record::Bar => "bar",
            Record::LateTick => "late_tick",
            Record::LegPrice => "leg_price",
            Record::DerivedPrice => "derived_price",
            Record::CurveSnapshot => "curve_snapshot",
            Record::WindowState => "window_state",
            Record::SequencerState => "sequencer_state",
            Record::RawMarketTick => "raw_market_tick",
        }
    }

    /// Text of the schema file.
    pub fn schema_text(self) -> &'static str {
        match self {
            Record::Tick => include_str!("../../../schemas/avro/tick.avsc"),
            Record::EnrichedTick => include_str!("../../../schemas/avro/enriched_tick.avsc"),
            Record::Bar => include_str!("../../../schemas/avro/bar.avsc"),
            Record::LateTick => include_str!("../../../schemas/avro/late_tick.avsc"),
            Record::LegPrice => include_str!("../../../schemas/avro/leg_price.avsc"),
            Record::DerivedPrice => include_str!("../../../schemas/avro/derived_price.avsc"),
            Record::CurveSnapshot => include_str!("../../../schemas/avro/curve_snapshot.avsc"),
            Record::WindowState => include_str!("../../../schemas/avro/window_state.avsc"),
            Record::SequencerState => include_str!("../../../schemas/avro/sequencer_state.avsc"),
            Record::RawMarketTick => include_str!("../../../schemas/avro/raw_market_tick.avsc"),
        }
    }

    /// CRC-64-AVRO of the parsing canonical form, as single-object encoding carries it (little endian).
    pub fn fingerprint(self) -> u64 {
        FINGERPRINTS
            .iter()
            .find(|(record, _)| *record == self)
            .map_or(0, |(_, fingerprints)| fingerprints.specified)
    }

    /// The record with that fingerprint, either the specification's or the one that older builds wrote.
    pub fn from_fingerprint(fingerprint: u64) -> Option<Record> {
        FINGERPRINTS
            .iter()
            .find(|(_, known)| known.contain(fingerprint))
            .map(|(record, _)| *record)
    }
}

// The tests below catch a schema file that does not parse: it is part of the program, not of its input.
static FINGERPRINTS: LazyLock<Vec<(Record, Fingerprints)>> = LazyLock::new(|| {
    Record::ALL
        .into_iter()
        .filter_map(|record| Some((record, Fingerprints::of(record.schema_text())?)))
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_parses_and_has_a_unique_fingerprint() {
        let mut fingerprints: Vec<u64> = Record::ALL.iter().map(|record| record.fingerprint()).collect();
        assert!(!fingerprints.contains(&0));
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), Record::ALL.len());
    }

    #[test]
    fn a_record_is_found_by_the_specified_fingerprint_and_by_that_of_older_builds() {
        for fingerprint in [0xb262_cf99_ebc8_8933, 0x1b4e_92a9_4b57_f28c] {
            assert_eq!(Record::from_fingerprint(fingerprint), Some(Record::RawMarketTick));
        }
        assert_eq!(Record::RawMarketTick.fingerprint(), 0xb262_cf99_ebc8_8933);
    }
}
