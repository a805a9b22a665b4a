//! What the topic of legs says of the quotes of curves: since when they are read, and with which clock and definition.
//!
//! Invariants: every settlement of a curve at or after the first offset of its enriched partition was a leg. Earlier ones were not: the stage
//! did not exist yet, or retention has removed the legs and no stored snapshot uses them. The clock of the stage is the largest log clock of
//! the records of its partition so far.

use std::collections::BTreeMap;

use codec::{Record, Wire};
use domain::{LegPurpose, Micros};
use stream::{Brokers, StreamError};

use super::super::ranges::Range;

/// A quote as the stage has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leg {
    /// The clock of the stage then.
    pub read: Micros,
    /// Empty if its tick carried none.
    pub definition: String,
}

/// The quotes in the topic, and the first offset of each curve in each enriched partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Begun {
    /// By enriched partition and offset.
    legs: BTreeMap<(i32, i64), Leg>,
    /// By tenant and curve, then enriched partition.
    since: BTreeMap<(String, String), BTreeMap<i32, i64>>,
}

impl Begun {
    fn add(&mut self, tenant: &str, curve: &str, partition: i32, offset: i64) {
        let since = self.since.entry((tenant.to_owned(), curve.to_owned())).or_default();
        first(since, partition, offset);
    }

    /// The first offset of the curve in each enriched partition.
    pub(super) fn of(&self, tenant: &str, curve: &str) -> BTreeMap<i32, i64> {
        let known = self.since.get(&(tenant.to_owned(), curve.to_owned()));
        known.cloned().unwrap_or_default()
    }

    /// The leg of this tick.
    pub(super) fn leg(&self, partition: i32, offset: i64) -> Option<&Leg> {
        self.legs.get(&(partition, offset))
    }
}

/// Keeps the first offset of each enriched partition.
pub(super) fn first(since: &mut BTreeMap<i32, i64>, partition: i32, offset: i64) {
    let first = since.entry(partition).or_insert(offset);
    *first = offset.min(*first);
}

/// Reads the topic of legs. A record that is no leg is a dead letter of the stage. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub(super) fn read(bootstrap: &Brokers, wire: &Wire, ranges: &[Range]) -> Result<Begun, StreamError> {
    let mut begun = Begun::default();
    for range in ranges {
        let mut clock = Micros::MIN;
        range.read(bootstrap, range.first, |message| {
            let payload = wire.current(Record::LegPrice, message.payload.unwrap_or_default());
            let Ok(leg) = wire.decode_leg(&payload) else { return };
            clock = clock.max(leg.log_clock);
            if leg.purpose != LegPurpose::Curve {
                return;
            }
            let (partition, offset) = (leg.enriched_partition, leg.enriched_offset);
            begun.add(leg.tenant_id, leg.series, partition, offset);
            // A leg that was sent again is a repetition for the stage.
            begun.legs.entry((partition, offset)).or_insert_with(|| Leg {
                read: clock,
                definition: leg.definition.unwrap_or_default().to_owned(),
            });
        })?;
    }
    Ok(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offset_of_each_partition_counts() {
        let mut begun = Begun::default();
        for (curve, partition, offset) in [("C", 0, 9), ("C", 1, 7), ("C", 0, 4), ("D", 0, 1)] {
            begun.add("t", curve, partition, offset);
        }
        assert_eq!(begun.of("t", "C"), BTreeMap::from([(0, 4), (1, 7)]));
        assert!(begun.of("u", "C").is_empty());
    }
}
