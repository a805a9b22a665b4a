//! The rows of a view beside what their hours give. Pure.
//!
//! Invariants: each bar that hours give and each row of the view is counted, unless its hours have changed since they were read first, or the
//! calendar does not give its extent: such a bar is counted apart, never as equal.
//! Failure: `closed` depends on the server's clock, which a query reads more than once: either value is right at that very moment.

use std::collections::BTreeMap;

use domain::Micros;
use ops::present::iso;
use stores::clickhouse::Merged;

use super::calendar::{Calendars, Extent, Name};
use super::rules::{Column, Hour, wanted};
use crate::verify::report::Wrong;

/// How far apart a query may read the clock.
const MOMENT: Micros = 5_000_000;

/// A row of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub instrument: String,
    /// Empty for a bar of four hours, which may have hours of several.
    pub market: String,
    /// Its beginning; of a day, midnight in UTC.
    pub time: Micros,
    /// Its block, if it has one.
    pub block: String,
    /// The server's clock.
    pub asked: Micros,
    /// The columns of [`Column::of`].
    pub content: Vec<String>,
}

/// A bar among those of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub instrument: String,
    /// Empty for a bar of four hours.
    pub market: String,
    pub time: Micros,
    pub block: String,
}

impl Key {
    pub(super) fn of(row: &Stored) -> Key {
        Key {
            instrument: row.instrument.clone(),
            market: row.market.clone(),
            time: row.time,
            block: row.block.clone(),
        }
    }

    fn shown(&self, kind: Merged) -> String {
        let time = iso(self.time);
        match kind {
            Merged::FourHours => format!("{}/{time}", self.instrument),
            // Of a day only the date.
            Merged::MarketDays => format!("{}/{}", self.instrument, time.split('T').next().unwrap_or_default()),
            Merged::Blocks => {
                let day = time.split('T').next().unwrap_or_default();
                format!("{}/{day}/{}", self.instrument, self.block)
            }
        }
    }
}

/// What hours are merged into.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group<'h> {
    pub name: Name,
    pub hours: Vec<&'h Hour>,
}

/// A bar that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrongBar {
    pub key: Key,
    pub wrong: Wrong,
    /// The difference in one sentence, from the name of the instrument on.
    pub text: String,
}

/// The result for a part of a view.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub expected: u64,
    pub found: u64,
    pub wrong: Vec<WrongBar>,
    /// Bars whose hours have changed meanwhile.
    pub moved: u64,
    /// Rows of markets that the registry does not have.
    pub unknown: u64,
    /// Bars that both sides have, but whose beginning and end the calendar cannot give.
    pub no_extent: u64,
}

impl Compared {
    fn add(&mut self, kind: Merged, key: Key, wrong: Wrong, words: &str) {
        let text = format!("{} {words}", key.shown(kind));
        self.wrong.push(WrongBar { key, wrong, text });
    }

    /// Leaves out the bars whose hours were others before than `since`.
    pub(super) fn leave_moved(&mut self, before: &BTreeMap<Key, Group<'_>>, since: &BTreeMap<Key, Group<'_>>) {
        let (moved, wrong): (Vec<WrongBar>, Vec<WrongBar>) = std::mem::take(&mut self.wrong)
            .into_iter()
            .partition(|bar| before.get(&bar.key) != since.get(&bar.key));
        self.wrong = wrong;
        for bar in moved {
            self.moved += 1;
            self.expected -= u64::from(bar.wrong != Wrong::Surplus);
            self.found -= u64::from(bar.wrong != Wrong::Missing);
        }
    }
}

/// The hours by the bar of this kind that they are merged into. Hours of other markets are in no market day and no block.
pub(super) fn grouped<'h>(calendars: &Calendars, kind: Merged, hours: &'h [Hour]) -> BTreeMap<Key, Group<'h>> {
    let mut groups: BTreeMap<Key, Group<'h>> = BTreeMap::new();
    for hour in hours {
        let Some(name) = calendars.name(kind, &hour.market, hour.start) else {
            continue;
        };
        let market = if kind == Merged::FourHours { "" } else { &*hour.market };
        let key = Key {
            instrument: hour.instrument.clone(),
            market: market.to_owned(),
            time: name.time,
            block: name.block.to_owned(),
        };
        let group = groups.entry(key).or_insert_with(|| Group {
            name,
            hours: Vec::new(),
        });
        group.hours.push(hour);
    }
    // The order in which the server returns hours says nothing.
    for group in groups.values_mut() {
        group.hours.sort_by_key(|hour| hour.start);
    }
    groups
}

/// Compares both sides.
pub(super) fn compare(
    calendars: &Calendars,
    kind: Merged,
    groups: &BTreeMap<Key, Group<'_>>,
    stored: Vec<Stored>,
) -> Compared {
    let mut compared = Compared::default();
    let mut rows: BTreeMap<Key, Stored> = BTreeMap::new();
    for row in stored {
        if kind != Merged::FourHours && !calendars.know(&row.market) {
            compared.unknown += 1;
            continue;
        }
        let key = Key::of(&row);
        compared.found += 1;
        if rows.insert(key.clone(), row).is_some() {
            compared.add(kind, key, Wrong::Surplus, "has more than one row");
        }
    }
    for (key, group) in groups {
        compared.expected += 1;
        match rows.remove(key) {
            None => {
                let words = format!("is missing, although it has {} bar(s) of an hour", group.hours.len());
                compared.add(kind, key.clone(), Wrong::Missing, &words);
            }
            Some(row) => match calendars.extent(kind, &key.market, group.name) {
                Some(extent) => {
                    if let Some(words) = difference(kind, group, extent, &row) {
                        compared.add(kind, key.clone(), Wrong::Different, &words);
                    }
                }
                // Its columns follow from its extent, so nothing says what they must be.
                None => {
                    compared.no_extent += 1;
                    compared.expected -= 1;
                    compared.found -= 1;
                }
            },
        }
    }
    for (key, _) in rows {
        compared.add(
            kind,
            key,
            Wrong::Surplus,
            "exists, but no bar of an hour is merged into it",
        );
    }
    compared
}

/// What differs; `None` if nothing does.
fn difference(kind: Merged, group: &Group<'_>, extent: Extent, row: &Stored) -> Option<String> {
    let Some(columns) = beside(kind, group, extent, row) else {
        return Some("has hours whose sums have more digits than a bar can hold".to_owned());
    };
    let changed: Vec<String> = columns
        .into_iter()
        .filter(|beside| beside.expected != beside.found)
        .map(|beside| format!("{} is {} instead of {}", beside.name, beside.found, beside.expected))
        .collect();
    (!changed.is_empty()).then(|| format!("differs: {}", changed.join(", ")))
}

/// A value that the hours give, and that of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beside {
    pub name: &'static str,
    pub expected: String,
    pub found: String,
}

/// All columns of a row; `None` if a sum has more digits than a bar can hold.
pub(super) fn beside(kind: Merged, group: &Group<'_>, extent: Extent, row: &Stored) -> Option<Vec<Beside>> {
    // Of hours of several markets, the view may show any.
    let shown = row.content.first().filter(|_| kind == Merged::FourHours);
    let market = shown.filter(|shown| group.hours.iter().any(|hour| hour.market == **shown));
    let market = market.or(group.hours.first().map(|hour| &hour.market))?;
    let at = |asked: Micros| wanted(kind, &group.hours, (extent, group.name.block), market, asked);
    let mut expected = at(row.asked)?;
    if expected != row.content {
        let around = [row.asked - MOMENT, row.asked + MOMENT];
        let right = around
            .into_iter()
            .filter_map(at)
            .find(|expected| *expected == row.content);
        expected = right.unwrap_or(expected);
    }
    let columns = Column::of(kind).into_iter().zip(expected.iter().zip(&row.content));
    let shown = columns.map(|(column, (expected, found))| Beside {
        name: column.name(),
        expected: column.shown(expected),
        found: column.shown(found),
    });
    Some(shown.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::rules::tests::hour;
    use super::*;

    /// 2026-10-01T00:00Z and the three hours after it: four hours of UTC, the evening of 30 September in PJM.
    fn hours() -> Vec<Hour> {
        (0..4).map(hour).collect()
    }

    /// The rows that the views have of these hours.
    fn stored(calendars: &Calendars, kind: Merged, hours: &[Hour]) -> Vec<Stored> {
        let groups = grouped(calendars, kind, hours);
        let row = |(key, group): (&Key, &Group<'_>)| {
            let extent = calendars.extent(kind, &key.market, group.name).unwrap();
            let asked = extent.end;
            Stored {
                instrument: key.instrument.clone(),
                market: key.market.clone(),
                time: key.time,
                block: key.block.clone(),
                asked,
                content: wanted(kind, &group.hours, (extent, group.name.block), "PJM", asked).unwrap(),
            }
        };
        groups.iter().map(row).collect()
    }

    fn compared(kind: Merged, change: impl Fn(&mut Vec<Stored>)) -> Compared {
        let (calendars, hours) = (Calendars::of_registry().unwrap(), hours());
        let mut rows = stored(&calendars, kind, &hours);
        change(&mut rows);
        compare(&calendars, kind, &grouped(&calendars, kind, &hours), rows)
    }

    #[test]
    fn rows_that_their_hours_give_agree() {
        // Until 23:00 Eastern the hours are by day, so the four hours are in two blocks.
        for (kind, count) in [(Merged::FourHours, 1), (Merged::MarketDays, 1), (Merged::Blocks, 2)] {
            let found = compared(kind, |_| {});
            assert_eq!(
                (found.expected, found.found, found.wrong),
                (count, count, Vec::new()),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn each_changed_column_is_named_with_both_values() {
        for kind in Merged::ALL {
            for (at, column) in Column::of(kind).into_iter().enumerate() {
                let found = compared(kind, |rows| rows[0].content[at].push('7'));
                let texts: Vec<&str> = found.wrong.iter().map(|bar| &*bar.text).collect();
                assert_eq!(texts.len(), 1, "{column:?}: {texts:?}");
                let begins = match kind {
                    Merged::FourHours => "I/2026-10-01T00:00:00Z differs: ",
                    Merged::MarketDays => "I/2026-09-30 differs: ",
                    Merged::Blocks => "I/2026-09-30/5x16 differs: ",
                };
                let said = format!("{} is ", column.name());
                assert!(
                    texts[0].starts_with(begins) && texts[0].contains(&said),
                    "{column:?}: {texts:?}"
                );
                assert_eq!(texts[0].matches(" instead of ").count(), 1, "{texts:?}");
            }
        }
    }

    #[test]
    fn a_row_that_is_missing_too_many_or_of_another_block_is_named() {
        let texts = |found: Compared| -> Vec<String> { found.wrong.into_iter().map(|bar| bar.text).collect() };
        let missing = compared(Merged::FourHours, Vec::clear);
        assert_eq!((missing.expected, missing.found), (1, 0));
        assert_eq!(
            texts(missing),
            ["I/2026-10-01T00:00:00Z is missing, although it has 4 bar(s) of an hour"]
        );
        let doubled = compared(Merged::MarketDays, |rows| rows.extend(rows.clone()));
        assert_eq!(texts(doubled), ["I/2026-09-30 has more than one row"]);
        let other = texts(compared(Merged::Blocks, |rows| rows[0].block = "2x16H".to_owned()));
        assert_eq!(
            other,
            [
                "I/2026-09-30/5x16 is missing, although it has 3 bar(s) of an hour",
                "I/2026-09-30/2x16H exists, but no bar of an hour is merged into it"
            ]
        );
        let unknown = compared(Merged::Blocks, |rows| {
            rows.iter_mut().for_each(|row| row.market = "AESO".to_owned())
        });
        assert_eq!((unknown.unknown, unknown.found, unknown.wrong.len()), (2, 0, 2));
    }

    #[test]
    fn a_bar_without_an_extent_is_not_counted_as_equal() {
        let calendars = Calendars::of_registry().unwrap();
        // The last day whose end in New York is beyond the largest time of the calendar.
        let start: jiff::Timestamp = "9999-12-30T12:00:00Z".parse().unwrap();
        let last = Hour {
            start: start.as_microsecond(),
            ..hour(0)
        };
        let hours = [last, hour(0)];
        let groups = grouped(&calendars, Merged::MarketDays, &hours);
        assert_eq!(groups.len(), 2);
        let mut rows = stored(&calendars, Merged::MarketDays, &hours[1..]);
        let (key, group) = groups.last_key_value().unwrap();
        assert_eq!(calendars.extent(Merged::MarketDays, &key.market, group.name), None);
        let without_extent = Stored {
            time: key.time,
            ..rows[0].clone()
        };
        rows.push(without_extent);
        let found = compare(&calendars, Merged::MarketDays, &groups, rows);
        assert_eq!((found.expected, found.found, found.no_extent), (1, 1, 1));
        assert_eq!(found.wrong, Vec::new());
        // Whether the view has it needs no extent.
        let missing = compare(&calendars, Merged::MarketDays, &groups, Vec::new());
        assert_eq!((missing.expected, missing.wrong.len(), missing.no_extent), (2, 2, 0));
    }

    #[test]
    fn a_bar_may_close_while_it_is_asked_for() {
        let is_wrong = |apart: Micros| {
            let found = compared(Merged::MarketDays, |rows| {
                // An hour after its end, the day is closed with the hours that it has.
                let hour = super::super::calendar::HOUR;
                let (calendars, hours) = (Calendars::of_registry().unwrap(), hours());
                let groups = grouped(&calendars, Merged::MarketDays, &hours);
                let (key, group) = groups.iter().next().unwrap();
                let extent = calendars.extent(Merged::MarketDays, &key.market, group.name).unwrap();
                let content = wanted(Merged::MarketDays, &group.hours, (extent, ""), "PJM", extent.end + hour);
                (rows[0].content, rows[0].asked) = (content.unwrap(), extent.end + hour - apart);
            });
            found.wrong.len()
        };
        assert_eq!((is_wrong(0), is_wrong(MOMENT), is_wrong(MOMENT + 1)), (0, 0, 1));
    }

    #[test]
    fn a_bar_whose_hours_have_changed_is_not_judged() {
        let (calendars, before) = (Calendars::of_registry().unwrap(), hours());
        let mut since = before.clone();
        since[3].high += 1;
        let (groups, now) = (
            grouped(&calendars, Merged::Blocks, &before),
            grouped(&calendars, Merged::Blocks, &since),
        );
        let mut found = compare(&calendars, Merged::Blocks, &groups, Vec::new());
        found.leave_moved(&groups, &now);
        let texts: Vec<&str> = found.wrong.iter().map(|bar| &*bar.text).collect();
        assert_eq!(
            texts,
            ["I/2026-09-30/5x16 is missing, although it has 3 bar(s) of an hour"]
        );
        assert_eq!((found.expected, found.found, found.moved), (1, 0, 1));
    }
}
