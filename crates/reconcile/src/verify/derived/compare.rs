//! Compares the stored values of a part of the time with what must be there. Pure.

use std::collections::{BTreeMap, BTreeSet};

use domain::Micros;
use ops::present::iso;

use super::super::cut::Arrived;
use super::super::report::{Differences, Wrong, WrongRow};
use super::super::versions::{Compared, decimal, place, tenant_option};
use super::rolled;
use super::rows::{GoneRow, Stored};
use super::rules::{Leg, Price, Row, Times, Used, Wanted, may_have_been_sent, wanted};
use super::sql::{Lane, Part};
use super::taken_back;

/// What retention may have removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// Values before this time may have lost prices.
    pub complete_since: Micros,
    /// Values of prices that were appended before this time may have expired.
    pub values_since: Micros,
}

/// One series of one tenant.
pub(super) struct Comparison<'a> {
    pub lane: &'a Lane<'a>,
    pub times: Times,
    pub kept: Kept,
    /// The tenant that commands use if none is named.
    pub own_tenant: &'a str,
}

impl Comparison<'_> {
    /// Compares one part. `legs` has the prices of each leg up to the cut; `arrived` are the ticks since, up to a time after `stored` was read.
    pub(super) fn part(&self, part: Part, legs: &[Leg], stored: Vec<Stored>, arrived: &Arrived) -> Compared {
        let mut stored: BTreeMap<Micros, Stored> = stored.into_iter().map(|stored| (stored.time, stored)).collect();
        let mut times: BTreeSet<Micros> = legs.iter().flat_map(Leg::times).collect();
        times.retain(|time| part.contains(*time));
        times.extend(stored.keys());
        let mut compared = Compared::default();
        let values = self.values(legs);
        for time in times {
            let found = stored.remove(&time);
            if found.as_ref().is_some_and(|found| found.has_changed(arrived)) {
                compared.moved += 1;
                continue;
            }
            let wanted = match self.lane.asked.rolled {
                Some(rolled) => rolled::wanted(time, &values, rolled),
                None => self.wanted(time, legs),
            };
            if wanted == Wanted::NoValue && found.is_none() && time >= self.kept.complete_since {
                let replaced = may_have_been_sent(time, legs, self.lane.asked, self.times);
                compared
                    .doubtful
                    .extend(replaced.map(|price| self.taken_back(time, price)));
            }
            self.one(time, wanted, found, &mut compared);
        }
        compared
    }

    /// The values of which an earlier version is gone. The newest one may be right.
    pub(super) fn gone(&self, rows: &[GoneRow]) -> anyhow::Result<Differences> {
        let mut gone = Differences::default();
        for row in rows {
            let what = format!("has {} of {} versions", row.found, row.sent);
            gone.add_row(WrongRow {
                origin: row.origin_.clone(),
                ..self.wrong(Wrong::Missing, row.time.parse()?, &[], &what)
            });
        }
        if let Some(row) = rows.first() {
            gone.total = row.total.parse()?;
        }
        Ok(gone)
    }

    /// What the formula gives at this time.
    fn wanted(&self, time: Micros, legs: &[Leg]) -> Wanted {
        wanted(time, legs, self.lane.asked, self.times)
    }

    /// What the formula gives at each time of the legs, if windows are made of it. They reach back before the part.
    fn values(&self, legs: &[Leg]) -> Vec<(Micros, Wanted)> {
        if self.lane.asked.rolled.is_none() {
            return Vec::new();
        }
        let times: BTreeSet<Micros> = legs.iter().flat_map(Leg::times).collect();
        times.into_iter().map(|time| (time, self.wanted(time, legs))).collect()
    }

    fn one(&self, time: Micros, wanted: Wanted, found: Option<Stored>, compared: &mut Compared) {
        if time < self.kept.complete_since {
            compared.expired += u64::from(found.is_some());
            return;
        }
        if found.as_ref().is_some_and(|found| !self.is_of_this_definition(found)) {
            compared.earlier += 1;
            return;
        }
        match (wanted, found) {
            (Wanted::Unknown, _) => compared.unknown += 1,
            (Wanted::Nothing | Wanted::NoValue, None) => {}
            (Wanted::NoValue, Some(found)) if found.value.is_none() => {}
            (Wanted::Row(row), None) if row.appended < self.kept.values_since => compared.expired += 1,
            (Wanted::Row(row), None) => {
                compared.expected += 1;
                let text = format!("is missing: it must be {}", said(row.value, &row.legs));
                compared.wrong.push(self.wrong(Wrong::Missing, time, &row.legs, &text));
            }
            (Wanted::Nothing, Some(found)) => {
                compared.found += 1;
                compared
                    .wrong
                    .push(self.surplus(&found, "but no leg has a price at this time"));
            }
            (Wanted::NoValue, Some(found)) => {
                compared.found += 1;
                compared
                    .wrong
                    .push(self.surplus(&found, "but not every leg has a price at this time"));
            }
            (Wanted::Row(row), Some(found)) => {
                compared.expected += 1;
                compared.found += 1;
                // A price that came later may leave a statistic as it was.
                let is_plain = self.lane.asked.rolled.is_none();
                compared.early += u64::from(is_plain && found.known.is_some_and(|known| known < row.appended));
                if let Some(differences) = self.differences(&row, &found) {
                    let text = format!("differs: {differences}");
                    compared
                        .wrong
                        .push(self.wrong(Wrong::Different, time, &row.legs, &text));
                }
            }
        }
    }

    /// Whether the value has the kind and the legs that are configured now.
    fn is_of_this_definition(&self, found: &Stored) -> bool {
        let asked = self.lane.asked;
        let is_leg = |role: &str, instrument: &str| {
            let mut legs = asked.roles.iter().zip(&asked.legs);
            legs.any(|(known, leg)| *known == role && leg == instrument)
        };
        found.kind == asked.shown_kind && found.legs.iter().all(|leg| is_leg(&leg.role, &leg.instrument))
    }

    /// What is stored instead of what; `None` if nothing differs.
    fn differences(&self, row: &Row, found: &Stored) -> Option<String> {
        let differences = differences(row, found);
        (!differences.is_empty()).then(|| differences.join(", "))
    }

    fn surplus(&self, found: &Stored, why: &str) -> WrongRow {
        let legs: Vec<Used> = found.legs.iter().map(|leg| leg.used.clone()).collect();
        let text = format!("is {}, {why}", said(found.value, &legs));
        self.wrong(Wrong::Surplus, found.time, &legs, &text)
    }

    /// The row of a time without a value, if it had one before.
    fn taken_back(&self, time: Micros, price: &Price) -> WrongRow {
        let row = self.wrong(
            Wrong::Missing,
            time,
            &[],
            "is missing: it must be null, as an earlier value was taken back",
        );
        WrongRow {
            origin: place(&price.origin),
            ..row
        }
    }

    fn wrong(&self, wrong: Wrong, time: Micros, legs: &[Used], what: &str) -> WrongRow {
        let (tenant, series) = (self.lane.tenant, &self.lane.asked.series);
        let at = iso(time);
        let of = tenant_option(tenant, self.own_tenant);
        WrongRow {
            wrong,
            key: taken_back::key(tenant, series, time),
            origin: legs.last().map(|leg| place(&leg.origin)).unwrap_or_default(),
            text: format!("derived price {tenant}/{series}/{at} {what} (`dp explain derived {series} --at {at}{of}`)"),
        }
    }
}

/// A value as text.
pub(super) fn value(of: Option<i64>) -> String {
    of.map_or_else(|| "null".to_owned(), decimal)
}

fn said(of: Option<i64>, legs: &[Used]) -> String {
    let legs: Vec<String> = legs
        .iter()
        .map(|leg| format!("{} of {}", decimal(leg.figure), place(&leg.origin)))
        .collect();
    format!("{} from {}", value(of), legs.join(" and "))
}

/// Value, unit and legs that are stored instead of others.
fn differences(row: &Row, found: &Stored) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |name: &str, found: String, wanted: String| {
        if found != wanted {
            differences.push(format!("{name} is {found} instead of {wanted}"));
        }
    };
    compare("value", value(found.value), value(row.value));
    compare("unit", found.unit.clone(), row.unit.clone());
    compare(
        "number of legs",
        found.legs.len().to_string(),
        row.legs.len().to_string(),
    );
    for (found, wanted) in found.legs.iter().zip(&row.legs) {
        let (role, found) = (&found.role, &found.used);
        compare(&format!("{role} price"), decimal(found.figure), decimal(wanted.figure));
        compare(&format!("{role} time"), iso(found.time), iso(wanted.time));
        compare(&format!("{role} age"), found.age.to_string(), wanted.age.to_string());
        compare(&format!("{role} origin"), place(&found.origin), place(&wanted.origin));
    }
    differences
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::super::cut::tests::{ends, raw_cut};
    use super::super::rows::StoredLeg;
    use super::super::rules::tests::{asked, trade};
    use super::*;

    const EVER: Part = Part { from: None, to: None };

    /// What is found in a series of tenant `t`, where commands use `own_tenant` if none is named.
    fn compared<T>(own_tenant: &str, kept: Kept, find: impl FnOnce(&Comparison<'_>) -> T) -> T {
        let asked = asked("basis");
        let lane = Lane {
            tenant: "t",
            asked: &asked,
            since: Vec::new(),
        };
        find(&Comparison {
            lane: &lane,
            times: Times::of(1_000),
            kept,
            own_tenant,
        })
    }

    /// The comparison of one price for each leg at 100 with these values; the second leg costs 3.
    fn compare(stored: Vec<Stored>, kept: Kept) -> Compared {
        compare_at(&Arrived::default(), stored, kept)
    }

    fn compare_at(arrived: &Arrived, stored: Vec<Stored>, kept: Kept) -> Compared {
        let legs = [7, 3].map(|price| Leg::new(vec![trade(100, price, price)], 60));
        compared("t", kept, |comparison| comparison.part(EVER, &legs, stored, arrived))
    }

    const KEPT: Kept = Kept {
        complete_since: Micros::MIN,
        values_since: Micros::MIN,
    };

    fn stored(time: Micros, value: i64) -> Stored {
        let leg = |role: &str, instrument: &str, price: i64| StoredLeg {
            role: role.to_owned(),
            instrument: instrument.to_owned(),
            used: Used {
                figure: price * 100_000_000,
                time: 100,
                age: 0,
                origin: ("raw".to_owned(), 0, price, 0),
            },
        };
        Stored {
            time,
            kind: "basis".to_owned(),
            value: Some(value * 100_000_000),
            unit: "USD/MWh".to_owned(),
            legs: vec![leg("local", "A", 7), leg("reference", "B", 3)],
            known: Some(100),
            cause: "raw/0/7/0".to_owned(),
        }
    }

    /// Prices at 100 of which a better one, that counts no longer at 150, has replaced the one that counted; and what the table has.
    fn compare_at_150(replaced: bool, stored: Vec<Stored>) -> Compared {
        let better = Price {
            ends: Some(110),
            vintage: 2,
            ..trade(100, 9, 1)
        };
        let first = match replaced {
            true => vec![trade(100, 7, 0), better],
            false => vec![better],
        };
        let from_150 = Part {
            from: Some(150),
            to: None,
        };
        let legs = [first, vec![trade(150, 3, 2)]].map(|prices| Leg::new(prices, 60));
        compared("t", KEPT, |comparison| {
            comparison.part(from_150, &legs, stored, &Arrived::default())
        })
    }

    #[test]
    fn a_lost_row_of_a_value_that_was_taken_back_is_named_if_its_topic_has_it() {
        let found = compare_at_150(true, Vec::new());
        assert_eq!((found.wrong.len(), found.doubtful.len()), (0, 1));
        let sent = [taken_back::key("t", "s", 150)].into();
        let lost = taken_back::missing(found.doubtful, &sent);
        let at = iso(150);
        assert_eq!(
            texts(&lost),
            [format!(
                "derived price t/s/{at} is missing: it must be null, as an earlier value was taken back (`dp explain derived s --at {at}`)"
            )]
        );
        assert_eq!((lost.expected, lost.found), (1, 0));
        let never_sent = compare_at_150(true, Vec::new()).doubtful;
        assert!(taken_back::missing(never_sent, &BTreeSet::new()).wrong.is_empty());
        // The row is there, or the value never was.
        let null = Stored {
            value: None,
            legs: Vec::new(),
            ..stored(150, 0)
        };
        let right = compare_at_150(true, vec![null]);
        assert_eq!((right.wrong.len(), right.doubtful.len()), (0, 0));
        assert!(compare_at_150(false, Vec::new()).doubtful.is_empty());
    }

    fn texts(compared: &Compared) -> Vec<&str> {
        compared.wrong.iter().map(|row| row.text.as_str()).collect()
    }

    #[test]
    fn what_is_missing_wrong_or_too_much_is_named_with_both_values_and_a_command() {
        let right = compare(vec![stored(100, 4)], KEPT);
        assert_eq!((right.expected, right.found, right.wrong.len()), (1, 1, 0));
        let at = iso(100);
        let command = format!("(`dp explain derived s --at {at}`)");
        assert_eq!(
            texts(&compare(vec![stored(100, 5)], KEPT)),
            [format!(
                "derived price t/s/{at} differs: value is 5 instead of 4 {command}"
            )]
        );
        assert_eq!(
            texts(&compare(Vec::new(), KEPT)),
            [format!(
                "derived price t/s/{at} is missing: it must be 4 from 7 of raw/0/7/0 and 3 of raw/0/3/0 {command}"
            )]
        );
        let surplus = compare(vec![stored(100, 4), stored(101, 4)], KEPT);
        assert_eq!((surplus.expected, surplus.found), (1, 2));
        assert!(texts(&surplus).concat().contains("no leg has a price at this time"));
        let known_before = Stored {
            known: Some(99),
            ..stored(100, 4)
        };
        let early = compare(vec![known_before], KEPT);
        assert_eq!((early.early, early.wrong.len()), (1, 0));
        let unknown = Stored {
            known: None,
            ..stored(100, 4)
        };
        assert_eq!(compare(vec![unknown], KEPT).early, 0);
        let other_origin = {
            let mut stored = stored(100, 4);
            if let Some(leg) = stored.legs.last_mut() {
                leg.used.origin.2 = 9;
            }
            stored
        };
        let found = compare(vec![other_origin], KEPT);
        assert!(
            texts(&found)
                .concat()
                .contains("reference origin is raw/0/9/0 instead of raw/0/3/0")
        );
    }

    #[test]
    fn a_value_that_names_a_tick_that_arrived_meanwhile_is_not_compared_and_any_other_is() {
        let arrived = raw_cut(8).arrived(ends(&[("raw", 0, 20)]));
        let mut of_leg = stored(100, 99);
        of_leg.legs[0].used.origin.2 = 9;
        let caused = Stored {
            cause: "raw/0/8/0".to_owned(),
            ..stored(101, 99)
        };
        let found = compare_at(&arrived, vec![of_leg.clone(), caused], KEPT);
        assert_eq!(
            (found.moved, found.expected, found.found, found.wrong.len()),
            (2, 0, 0, 0)
        );
        let changed_before = Stored {
            cause: "raw/0/7/0".to_owned(),
            ..stored(100, 99)
        };
        let found = compare_at(&arrived, vec![changed_before], KEPT);
        assert_eq!((found.moved, found.wrong.len()), (0, 1));
        assert_eq!(compare_at(&arrived, Vec::new(), KEPT).wrong.len(), 1, "it is missing");
        let not_in_log = raw_cut(8).arrived(ends(&[("raw", 0, 9)]));
        assert_eq!(compare_at(&not_in_log, vec![of_leg], KEPT).wrong.len(), 1);
    }

    #[test]
    fn a_value_that_has_lost_an_earlier_version_is_named_with_the_command_that_shows_the_others() {
        let row = GoneRow {
            time: "100".to_owned(),
            origin_: "raw/0/7/0".to_owned(),
            found: "2".to_owned(),
            sent: "3".to_owned(),
            total: "9".to_owned(),
        };
        let gone = |rows: &[GoneRow]| compared("other", KEPT, |comparison| comparison.gone(rows)).unwrap();
        assert_eq!(gone(&[]).total, 0);
        let gone = gone(&[row]);
        let at = iso(100);
        assert_eq!((gone.total, &*gone.rows[0].origin), (9, "raw/0/7/0"));
        assert_eq!(gone.rows[0].key, taken_back::key("t", "s", 100));
        assert_eq!(
            gone.rows[0].text,
            format!("derived price t/s/{at} has 2 of 3 versions (`dp explain derived s --at {at} --tenant t`)")
        );
    }

    #[test]
    fn what_retention_may_have_removed_and_an_earlier_definition_are_not_wrong() {
        let after = Kept {
            complete_since: 101,
            ..KEPT
        };
        assert_eq!(compare(vec![stored(100, 9)], after).expired, 1);
        let values = Kept {
            values_since: 101,
            ..KEPT
        };
        let missing = compare(Vec::new(), values);
        assert_eq!((missing.expired, missing.wrong.len()), (1, 0));
        let mut other = stored(100, 9);
        other.kind = "calendar_spread".to_owned();
        let earlier = compare(vec![other], KEPT);
        assert_eq!((earlier.earlier, earlier.wrong.len()), (1, 0));
    }
}
