//! Since when each instrument is a leg of a series: the first leg in the topic, or the first price that a stored value uses.
//!
//! Invariant: every tick of the instrument at or after this enriched offset was a leg. Earlier ticks are no legs: the series was not
//! configured, or retention has removed the legs and no stored value uses them.

use std::collections::BTreeMap;

use codec::{Record, Wire};
use domain::LegPurpose;
use stream::{Brokers, StreamError};

use super::super::ranges::Range;
use super::rules::Asked;

/// The first enriched offset of each leg: by tenant and series, in the order of the formula.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Begun(BTreeMap<(String, String), Vec<Option<i64>>>);

impl Begun {
    /// Adds a leg at this enriched offset.
    pub(super) fn add(&mut self, tenant: &str, asked: &Asked, instrument: &str, offset: i64) {
        let Some(at) = asked.legs.iter().position(|leg| leg == instrument) else {
            return;
        };
        let key = (tenant.to_owned(), asked.series.clone());
        let legs = self.0.entry(key).or_insert_with(|| vec![None; asked.legs.len()]);
        if let Some(first) = legs.get_mut(at) {
            *first = Some(first.map_or(offset, |known| known.min(offset)));
        }
    }

    /// The first offsets of the legs of this series.
    pub(super) fn of(&self, tenant: &str, asked: &Asked) -> Vec<Option<i64>> {
        let key = (tenant.to_owned(), asked.series.clone());
        self.0
            .get(&key)
            .cloned()
            .unwrap_or_else(|| vec![None; asked.legs.len()])
    }
}

/// Reads the topic of legs. A record that is no leg is a dead letter of the stage. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub(super) fn read(bootstrap: &Brokers, wire: &Wire, ranges: &[Range], all: &[Asked]) -> Result<Begun, StreamError> {
    let mut begun = Begun::default();
    for range in ranges {
        range.read(bootstrap, range.first, |message| {
            let payload = wire.current(Record::LegPrice, message.payload.unwrap_or_default());
            let Ok(leg) = wire.decode_leg(&payload) else { return };
            let is_leg_of = |asked: &&Asked| leg.purpose == LegPurpose::Series && asked.series == leg.series;
            if let Some(asked) = all.iter().find(is_leg_of) {
                begun.add(leg.tenant_id, asked, leg.instrument_id, leg.enriched_offset);
            }
        })?;
    }
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::asked;
    use super::*;

    #[test]
    fn the_first_offset_of_each_leg_counts() {
        let (mut begun, asked) = (Begun::default(), asked("basis"));
        for (instrument, offset) in [("B", 9), ("A", 7), ("B", 4), ("C", 1)] {
            begun.add("t", &asked, instrument, offset);
        }
        assert_eq!(begun.of("t", &asked), [Some(7), Some(4)]);
        assert_eq!(begun.of("u", &asked), [None, None]);
    }
}
