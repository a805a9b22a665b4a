//! The changes of a time zone's offset, as a table.
//!
//! Role: what the zone data of `jiff` say about a time, at a tenth of the price: each row of a document needs it several times.
//! Invariant: equal to `jiff` for every time (a test compares them). Times outside the years of the table are asked there.

use domain::Micros;
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use super::{HOUR, Instants, SECOND, Wall};
use crate::time;

const FROM: Micros = time::utc(1970, 1, 1, 0);
const UNTIL: Micros = time::utc(2100, 1, 1, 0);
/// More than any offset.
const MARGIN: Micros = 24 * HOUR;

/// One change: from this UTC time on, another offset.
#[derive(Debug, Clone, Copy)]
struct Change {
    at: Micros,
    before: Micros,
    after: Micros,
}

/// All changes of a zone between 1970 and 2100.
#[derive(Debug)]
pub(super) struct Changes {
    zone: TimeZone,
    changes: Vec<Change>,
}

impl Changes {
    /// Those of a zone of the bundled data.
    pub(super) fn of(name: &str) -> Changes {
        // The names are constants that the tests load; UTC can only be seen if the bundled data were removed.
        let zone = TimeZoneDatabase::bundled().get(name).unwrap_or(TimeZone::UTC);
        let (mut changes, mut before) = (Vec::new(), offset(&zone, FROM));
        for transition in zone.following(timestamp(FROM)) {
            let at = transition.timestamp().as_microsecond();
            if at >= UNTIL {
                break;
            }
            let after = micros(transition.offset());
            changes.push(Change { at, before, after });
            before = after;
        }
        Changes { zone, changes }
    }

    // The last change before a time that `begins` says when it takes effect.
    fn last(&self, time: Micros, begins: impl Fn(&Change) -> Micros) -> Option<&Change> {
        let is_inside = (FROM + MARGIN..UNTIL - MARGIN).contains(&time);
        let count = self.changes.partition_point(|change| begins(change) <= time);
        self.changes.get(count.checked_sub(1)?).filter(|_| is_inside)
    }

    pub(super) fn wall(&self, utc: Micros) -> Wall {
        let change = self.last(utc, |change| change.at);
        utc + change.map_or_else(|| offset(&self.zone, utc), |change| change.after)
    }

    pub(super) fn instants(&self, wall: Wall) -> Instants {
        let Some(change) = self.last(wall, |change| change.at + change.before.min(change.after)) else {
            return self.asked(wall);
        };
        // Set back, the local times between both offsets occur twice; set forward, never.
        if wall >= change.at + change.before.max(change.after) {
            Instants::Once(wall - change.after)
        } else if change.after < change.before {
            Instants::Twice(wall - change.before, wall - change.after)
        } else {
            Instants::Never
        }
    }

    fn asked(&self, wall: Wall) -> Instants {
        let Ok(stamp) = Timestamp::from_microsecond(wall) else {
            return Instants::OutOfRange;
        };
        let civil = Offset::UTC.to_datetime(stamp);
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => Instants::Once(wall - micros(offset)),
            AmbiguousOffset::Gap { .. } => Instants::Never,
            AmbiguousOffset::Fold { before, after } => Instants::Twice(wall - micros(before), wall - micros(after)),
        }
    }
}

fn timestamp(utc: Micros) -> Timestamp {
    Timestamp::from_microsecond(utc).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn offset(zone: &TimeZone, utc: Micros) -> Micros {
    Timestamp::from_microsecond(utc).map_or(0, |stamp| micros(zone.to_offset(stamp)))
}

fn micros(offset: Offset) -> Micros {
    i64::from(offset.seconds()) * SECOND
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 3] = ["America/New_York", "America/Chicago", "America/Los_Angeles"];

    fn agrees(zone: &Changes, time: Micros) {
        assert_eq!(zone.wall(time), time + offset(&zone.zone, time), "{time}");
        assert_eq!(zone.instants(time), zone.asked(time), "{time}");
    }

    #[test]
    fn the_table_agrees_with_the_zone_data_around_every_change() {
        for zone in ZONES.map(Changes::of) {
            assert!(zone.changes.len() > 250, "two a year");
            for Change { at, before, after } in &zone.changes {
                for edge in [*at, at + before, at + after] {
                    for hours in -5..=5 {
                        for one in [-1, 0, 1] {
                            agrees(&zone, edge + hours * HOUR + one);
                        }
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_the_zone_data_at_any_time(time in -10_000_000_000_000_000_i64..10_000_000_000_000_000, zone in 0..3_usize) {
            if let Some(name) = ZONES.get(zone) {
                agrees(&Changes::of(name), time);
            }
        }
    }
}
