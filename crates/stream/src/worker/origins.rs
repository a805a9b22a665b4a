//! Checks that the message that an origin names can exist: its raw partition exists, and the partition's log reaches that far.
//!
//! Role: sequencers trust origins (INV-3), so one forged tick with a far offset would silently turn every later tick of its raw
//! partition into a repetition. A tick whose origin leaps ahead is checked before any sequencer sees it.
//! Invariants: an admitted offset lies less than [`LEAP`] beyond an end that the broker has reported, so a forged tick hides at
//! most that many offsets (`dp verify` names them). Ends only grow, so a reported end stays valid; the broker is queried once
//! for every [`LEAP`] offsets of a raw partition.
//! Failure: a broker that does not answer is an error of Kafka, and the worker starts again.

use domain::Origin;

use crate::StreamError;

/// Code of the dead letter.
pub const FOREIGN_ORIGIN: &str = "foreign_origin";
const LEAP: i64 = 1_000;
/// What to do about records that no service has written; ends the reason of their dead letters.
pub const FOREIGN_REMEDY: &str =
    "no service of this pipeline wrote it: find the other writer to this topic, and forbid it by ACLs";

/// Ends of raw partitions, as the broker reported them.
#[derive(Default)]
pub struct Origins {
    /// By feed, then by partition: there are few feeds, and partitions are numbered from 0.
    ends: Vec<(Box<str>, Vec<i64>)>,
}

impl Origins {
    /// Why the origin cannot exist. `end_of` returns the end of a raw partition, `None` if the partition does not exist.
    ///
    /// # Errors
    /// Those of `end_of`.
    pub fn flaw(
        &mut self,
        origin: &Origin<'_>,
        end_of: impl FnOnce(&str, i32) -> Result<Option<i64>, StreamError>,
    ) -> Result<Option<String>, StreamError> {
        let (feed, number) = (origin.feed, origin.partition);
        let Ok(index) = usize::try_from(number) else {
            return Ok(Some(format!(
                "its origin names partition {number} of {feed}; {FOREIGN_REMEDY}"
            )));
        };
        let known = self.ends.iter().find(|(name, _)| **name == *feed);
        let end = known.and_then(|(_, ends)| ends.get(index)).copied().unwrap_or(0);
        if origin.offset < end.saturating_add(LEAP) && end > 0 {
            return Ok(None);
        }
        let Some(end) = end_of(feed, number)? else {
            return Ok(Some(format!(
                "its origin {origin} names a partition that does not exist"
            )));
        };
        if origin.offset >= end {
            return Ok(Some(format!(
                "its origin {origin} lies beyond the end of that partition, {end}; {FOREIGN_REMEDY}"
            )));
        }
        self.remember(feed, index, end);
        Ok(None)
    }

    fn remember(&mut self, feed: &str, index: usize, end: i64) {
        let place = match self.ends.iter().position(|(name, _)| **name == *feed) {
            Some(place) => place,
            None => {
                self.ends.push((feed.into(), Vec::new()));
                self.ends.len() - 1
            }
        };
        let Some((_, ends)) = self.ends.get_mut(place) else {
            return;
        };
        if ends.len() <= index {
            ends.resize(index + 1, 0);
        }
        if let Some(known) = ends.get_mut(index) {
            *known = end;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    fn origin(feed: &str, partition: i32, offset: i64) -> Origin<'_> {
        Origin {
            feed,
            partition,
            offset,
            index: 0,
        }
    }

    #[test]
    fn a_far_origin_and_one_of_an_unknown_partition_are_foreign() {
        let mut origins = Origins::default();
        let end_of = |feed: &str, partition: i32| Ok((feed == "raw" && partition < 2).then_some(50));
        for (origin, is_foreign) in [
            (origin("raw", 0, 49), false),
            (origin("raw", 1, 1 << 60), true),
            (origin("raw", 1, i64::MAX), true),
            (origin("raw", 2, 0), true),
            (origin("raw", -1, 0), true),
            (origin("other", 0, 0), true),
            (origin("raw", 1, 49), false),
            (origin("raw", 1, 50 + LEAP), true),
        ] {
            assert_eq!(origins.flaw(&origin, end_of).unwrap().is_some(), is_foreign, "{origin}");
        }
    }

    proptest! {
        /// Ticks that exist are never refused, and the end of a log is queried once for every `LEAP` of its offsets.
        #[test]
        fn real_origins_pass_with_few_queries(steps in proptest::collection::vec(1i64..200, 1..400)) {
            let (mut origins, mut end) = (Origins::default(), 0);
            let asked = Cell::new(0);
            for step in steps {
                end += step;
                let answer = origins.flaw(&origin("raw", 0, end - 1), |_, _| {
                    asked.set(asked.get() + 1);
                    Ok(Some(end))
                });
                prop_assert!(matches!(answer, Ok(None)), "{answer:?}");
            }
            prop_assert!(asked.get() <= 1 + end / LEAP, "{} of {}", asked.get(), end);
        }
    }
}
