//! Compares what is served by name with the newest row of each name. Pure.
//!
//! Invariant: a row is left out of the comparison only if a record since the cut is of its time and version, if what it follows from may have
//! expired, or if an operator has accepted a gap of its partition. Each is counted.

use std::collections::{BTreeMap, BTreeSet};

use domain::Micros;
use serde_json::Value;

use super::super::report::{Check, Differences, Subject, Wrong, WrongRow};
use super::super::served::KEY_LIFE;
use super::kind::{Key, Kind, Rank};
use super::rows::{Expected, Row};

/// Fields that are named of one row.
const FIELDS: usize = 4;

/// A row or copy that is served.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Time and version of its columns; a copy has none.
    pub columns: Option<Rank>,
    /// The row that its JSON shows, or why it cannot be read.
    pub body: Result<Row, String>,
}

impl Found {
    fn rank(&self) -> Option<Rank> {
        self.columns.or_else(|| self.body.as_ref().ok().map(|row| row.rank))
    }

    fn origin(&self) -> &str {
        self.body.as_ref().map_or("", |row| &row.origin)
    }
}

/// A row of Postgres.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub found: Found,
    pub partition: i32,
    /// Seconds since it was written.
    pub age: i64,
}

/// What the comparison knows besides the rows.
pub(super) struct Around {
    pub kind: Kind,
    /// Name of the table of ClickHouse.
    pub table: String,
    /// Times and versions of the records since the cut.
    pub later: BTreeMap<Key, BTreeSet<Rank>>,
    /// Rows that are known since before this time may have expired in ClickHouse.
    pub kept_since: Micros,
    /// Partitions with an accepted gap.
    pub excused: BTreeSet<i32>,
}

/// What was not compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub moved: u64,
    pub expired: u64,
    pub excused: BTreeSet<String>,
}

/// What a row or copy is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong(Wrong, String),
    Moved,
    Expired,
}

/// The comparison with one store while it is under way.
#[derive(Default)]
struct Tally {
    expected: u64,
    found: u64,
    differences: Differences,
    left: Left,
}

impl Tally {
    fn wrong(&mut self, wrong: Wrong, key: &Key, origin: &str, text: String) {
        let key = key.iter().filter(|part| !part.is_empty()).cloned().collect();
        self.differences.add_row(WrongRow {
            wrong,
            key,
            origin: origin.to_owned(),
            text,
        });
    }

    fn missing(&mut self, key: &Key, expected: &Row, text: String) {
        self.expected += 1;
        self.wrong(Wrong::Missing, key, &expected.origin, text);
    }

    fn judged(&mut self, key: &Key, (wanted, found): (Option<&Row>, &Found), verdict: Verdict) {
        match verdict {
            Verdict::Moved => self.left.moved += 1,
            Verdict::Expired => self.left.expired += 1,
            Verdict::Right | Verdict::Wrong(..) => {
                self.expected += u64::from(wanted.is_some());
                self.found += 1;
            }
        }
        if let Verdict::Wrong(wrong, text) = verdict {
            let origin = wanted.map_or(found.origin(), |row| &row.origin);
            self.wrong(wrong, key, origin, text);
        }
    }

    fn check(self, title: String, subject: Subject) -> (Check, Left) {
        let check = Check::new(title, self.expected, self.found, self.differences);
        (check.about(subject), self.left)
    }
}

impl Around {
    /// Compares the rows of Postgres.
    pub(super) fn postgres(&self, expected: &BTreeMap<Key, Expected>, stored: &BTreeMap<Key, Stored>) -> (Check, Left) {
        let mut tally = Tally::default();
        let keys: BTreeSet<&Key> = expected.keys().chain(stored.keys()).collect();
        for key in keys {
            let (wanted, found) = (expected.get(key), stored.get(key));
            let name = self.kind.named(key);
            if self.is_excused(wanted, found) {
                tally.left.excused.insert(name);
                continue;
            }
            let wanted = wanted.map(|expected| &expected.row);
            match (wanted, found) {
                (wanted, Some(stored)) => {
                    let verdict = self.judge(key, &name, wanted, &stored.found);
                    tally.judged(key, (wanted, &stored.found), verdict);
                }
                (Some(wanted), None) => {
                    let text = format!("{name} is not served: {}", self.kind.words(wanted.rank));
                    tally.missing(key, wanted, text);
                }
                (None, None) => {}
            }
        }
        let title = format!("Postgres: {}", self.kind.rows());
        tally.check(title, Subject::Newest(self.kind))
    }

    /// Compares the copies in Redis. A missing one is a difference only if it cannot have expired.
    pub(super) fn redis(
        &self,
        expected: &BTreeMap<Key, Expected>,
        stored: &BTreeMap<Key, Stored>,
        values: &BTreeMap<String, String>,
    ) -> (Check, Left) {
        let mut tally = Tally::default();
        let mut copies: BTreeMap<Key, Found> = BTreeMap::new();
        for (name, value) in values {
            let body = Row::of_body(self.kind, value);
            let found = Found { columns: None, body };
            match self.kind.of_copy(name) {
                Some(key) => drop(copies.insert(key, found)),
                None => {
                    let text = format!("key {name} is not that of {}", self.kind.names());
                    tally.found += 1;
                    tally.wrong(Wrong::Surplus, &[name.clone(), String::new(), String::new()], "", text);
                }
            }
        }
        let keys: BTreeSet<&Key> = expected.keys().chain(copies.keys()).collect();
        for key in keys {
            let (wanted, row) = (expected.get(key), stored.get(key));
            if self.is_excused(wanted, row) {
                tally.left.excused.insert(self.kind.named(key));
                continue;
            }
            let name = format!("key {}", self.kind.copy(key));
            let wanted = wanted.map(|expected| &expected.row);
            match (wanted, copies.get(key)) {
                (wanted, Some(found)) => {
                    let verdict = self.judge(key, &name, wanted, found);
                    tally.judged(key, (wanted, found), verdict);
                }
                // A row that is missing in Postgres as well is a difference in both checks.
                (Some(wanted), None) if row.is_none_or(|row| row.age < KEY_LIFE) => {
                    let text = format!("{name} is missing: {}", self.kind.words(wanted.rank));
                    tally.missing(key, wanted, text);
                }
                (_, None) => {}
            }
        }
        let title = format!("Redis: {}", self.kind.rows());
        tally.check(title, Subject::NewestCopies)
    }

    /// Whether an accepted gap may explain a difference: of this partition, projection or the table may lack the newest record.
    fn is_excused(&self, wanted: Option<&Expected>, stored: Option<&Stored>) -> bool {
        let partitions = wanted.map(|row| row.partition).into_iter();
        partitions
            .chain(stored.map(|row| row.partition))
            .any(|partition| self.excused.contains(&partition))
    }

    fn judge(&self, key: &Key, name: &str, wanted: Option<&Row>, found: &Found) -> Verdict {
        let rank = found.rank();
        let of_name = self.later.get(key);
        if of_name.is_some_and(|later| rank.is_some_and(|rank| later.contains(&rank))) {
            return Verdict::Moved;
        }
        let is_beyond = wanted.is_none_or(|wanted| rank.is_some_and(|rank| rank > wanted.rank));
        let known = found.body.as_ref().ok().and_then(|row| row.known);
        if is_beyond && known.is_some_and(|known| known < self.kept_since) {
            return Verdict::Expired;
        }
        let in_words = || rank.map_or_else(String::new, |rank| format!(" of {}", self.kind.words(rank)));
        let Some(wanted) = wanted else {
            let text = format!(
                "{name} has a row{}, but {} has none of this name",
                in_words(),
                self.table
            );
            return Verdict::Wrong(Wrong::Surplus, text);
        };
        match &found.body {
            Err(why) => {
                let text = format!("{name}{} cannot be read: {why}", in_words());
                Verdict::Wrong(Wrong::Different, text)
            }
            Ok(row) => {
                let all = self.differences(wanted, found.columns, row);
                match all.is_empty() {
                    true => Verdict::Right,
                    false => Verdict::Wrong(Wrong::Different, format!("{name} differs: {}", all.join(", "))),
                }
            }
        }
    }

    /// What is wrong with a row, in words.
    fn differences(&self, wanted: &Row, columns: Option<Rank>, row: &Row) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(columns) = columns.filter(|columns| *columns != row.rank) {
            all.push(format!("its columns are of {}", self.kind.words(columns)));
        }
        if row.rank == wanted.rank {
            changes("", &wanted.content, &row.content, &mut all);
        } else {
            let (found, wanted) = (self.kind.words(row.rank), self.kind.words(wanted.rank));
            all.push(format!("it is of {found} instead of {wanted}"));
        }
        let more = all.len().saturating_sub(FIELDS);
        if more > 0 {
            all.truncate(FIELDS);
            all.push(format!("and {more} more"));
        }
        all
    }
}

/// Adds a sentence for each field that differs, such as `points[3].price is 2 instead of 1`.
fn changes(path: &str, wanted: &Value, found: &Value, all: &mut Vec<String>) {
    match (wanted, found) {
        (wanted, found) if wanted == found => {}
        (Value::Object(fields), Value::Object(others)) => {
            let names: BTreeSet<&String> = fields.keys().chain(others.keys()).collect();
            let of =
                |object: &serde_json::Map<String, Value>, name: &str| object.get(name).cloned().unwrap_or_default();
            for name in names {
                let below = match path.is_empty() {
                    true => name.clone(),
                    false => format!("{path}.{name}"),
                };
                changes(&below, &of(fields, name), &of(others, name), all);
            }
        }
        (Value::Array(list), Value::Array(other)) if list.len() == other.len() => {
            for (number, (wanted, found)) in list.iter().zip(other).enumerate() {
                changes(&format!("{path}[{number}]"), wanted, found, all);
            }
        }
        (Value::Array(list), Value::Array(other)) => {
            all.push(format!("{path} has {} instead of {} entries", other.len(), list.len()));
        }
        (wanted, found) => all.push(format!("{path} is {} instead of {}", shown(found), shown(wanted))),
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::rows::tests::{curve_body, price_body};
    use super::*;

    const COPY: &str = "served:curve_snapshot:t:C:1m";
    const COPY_OF_PRICE: &str = "served:custom:derived_price:t:s";

    fn key(name: &str) -> Key {
        ["t", name, "1m"].map(str::to_owned)
    }

    fn row(minute: i64, version: i64, price: f64) -> Row {
        Row::of_body(Kind::CurveSnapshot, &curve_body(minute, version, price)).unwrap()
    }

    fn expected(name: &str, row: Row) -> BTreeMap<Key, Expected> {
        let row = Row { known: None, ..row };
        [(key(name), Expected { row, partition: 1 })].into()
    }

    fn stored(name: &str, row: Row, age: i64) -> BTreeMap<Key, Stored> {
        let found = Found {
            columns: Some(row.rank),
            body: Ok(row),
        };
        let stored = Stored {
            found,
            partition: 1,
            age,
        };
        [(key(name), stored)].into()
    }

    fn around() -> Around {
        Around {
            kind: Kind::CurveSnapshot,
            table: "curve_snapshots".to_owned(),
            later: BTreeMap::new(),
            kept_since: Micros::MIN,
            excused: BTreeSet::new(),
        }
    }

    fn named(check: &Check) -> Vec<&str> {
        check.differences.named.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_row_with_another_price_or_an_earlier_version_differs_and_is_named_with_both_values() {
        let around = around();
        let wanted = expected("C", row(3, 7, 30.5));
        let (check, left) = around.postgres(&wanted, &stored("C", row(3, 7, 30.5), 0));
        assert!(check.ok && left == Left::default(), "{check:?}");

        let (check, _) = around.postgres(&wanted, &stored("C", row(3, 7, 99.5), 0));
        let text = "curve C to horizon 1m of tenant t differs: inputs[0].curve_price is 99.5 instead of 30.5, \
                    points[0].price is 99.5 instead of 30.5";
        assert_eq!(named(&check), [text]);
        assert_eq!((check.expected, check.found, check.ok), (1, 1, false));
        assert_eq!(check.differences.rows[0].key, key("C"));

        for earlier in [row(3, 6, 30.5), row(2, 9, 30.5)] {
            let (check, _) = around.postgres(&wanted, &stored("C", earlier, 0));
            assert!(
                named(&check)[0].contains("instead of as_of 2026-10-01T00:03:00Z, version 7"),
                "{check:?}"
            );
        }
        let mut moved = stored("C", row(3, 7, 30.5), 0);
        moved.get_mut(&key("C")).unwrap().found.columns = Some((0, 7));
        let (check, _) = around.postgres(&wanted, &moved);
        assert!(
            named(&check)[0].contains("its columns are of as_of 1970-01-01T00:00:00Z, version 7"),
            "{check:?}"
        );
    }

    #[test]
    fn a_name_that_one_side_lacks_is_missing_or_surplus() {
        let (check, _) = around().postgres(&expected("C", row(3, 7, 1.0)), &stored("GHOST", row(3, 7, 1.0), 0));
        let wrong: Vec<Wrong> = check.differences.rows.iter().map(|row| row.wrong).collect();
        assert_eq!(wrong, [Wrong::Missing, Wrong::Surplus]);
        assert_eq!((check.expected, check.found), (1, 1));
        let unreadable = Stored {
            found: Found {
                columns: None,
                body: Row::of_body(Kind::CurveSnapshot, "{}"),
            },
            partition: 1,
            age: 0,
        };
        let (check, _) = around().postgres(&expected("C", row(3, 7, 1.0)), &[(key("C"), unreadable)].into());
        assert!(named(&check)[0].contains("cannot be read: missing field"), "{check:?}");
    }

    #[test]
    fn a_row_of_a_later_record_is_not_compared_and_one_that_no_record_explains_is() {
        let wanted = expected("C", row(3, 7, 1.0));
        let served = stored("C", row(4, 8, 1.0), 0);
        assert!(!around().postgres(&wanted, &served).0.ok);
        let newer = Around {
            later: [(key("C"), [row(4, 8, 1.0).rank].into())].into(),
            ..around()
        };
        let (check, left) = newer.postgres(&wanted, &served);
        assert!(check.ok && left.moved == 1, "{check:?} {left:?}");
        assert_eq!((check.expected, check.found), (0, 0));
        // The same for a name that is new, but not for another row of it.
        assert!(newer.postgres(&BTreeMap::new(), &served).0.ok);
        assert!(!newer.postgres(&BTreeMap::new(), &stored("C", row(4, 9, 1.0), 0)).0.ok);
    }

    #[test]
    fn what_may_have_expired_in_the_table_is_counted_and_a_newer_row_of_the_table_is_still_expected() {
        let old = row(3, 7, 1.0);
        let kept = Around {
            kept_since: old.rank.0 + 1,
            ..around()
        };
        let (check, left) = kept.postgres(&BTreeMap::new(), &stored("C", old.clone(), 0));
        assert!(check.ok && left.expired == 1, "{check:?}");
        let (check, _) = kept.postgres(&expected("C", row(5, 8, 1.0)), &stored("C", old, 0));
        assert!(!check.ok);
    }

    #[test]
    fn a_partition_with_an_accepted_gap_is_named_and_left_out() {
        let excused = Around {
            excused: [1].into(),
            ..around()
        };
        let (check, left) = excused.postgres(&expected("C", row(3, 7, 1.0)), &BTreeMap::new());
        assert!(check.ok && left.excused.len() == 1, "{left:?}");
    }

    #[test]
    fn copies_that_are_missing_changed_or_unexplained_are_named_and_expired_ones_are_not() {
        let wanted = expected("C", row(3, 7, 1.0));
        let copies = |name: &str, body: String| -> BTreeMap<String, String> { [(name.to_owned(), body)].into() };
        let compare = |age, values: &BTreeMap<String, String>| {
            let (check, _) = around().redis(&wanted, &stored("C", row(3, 7, 1.0), age), values);
            check
        };
        // The rank in front is that of the script which compares.
        let right = curve_body(3, 7, 1.0).replacen('{', r#"{"standing":"x","#, 1);
        let check = compare(0, &copies(COPY, right));
        assert!(check.ok && check.found == 1, "{check:?}");

        let check = compare(0, &BTreeMap::new());
        assert_eq!((named(&check).len(), check.expected, check.found), (1, 1, 0));
        assert!(
            named(&check)[0].starts_with(&format!("key {COPY} is missing: as_of")),
            "{check:?}"
        );
        assert!(compare(KEY_LIFE, &BTreeMap::new()).ok);

        let check = compare(KEY_LIFE, &copies(COPY, curve_body(3, 7, 2.0)));
        assert!(
            named(&check)[0].contains("points[0].price is 2.0 instead of 1.0"),
            "{check:?}"
        );

        for other in ["served:curve_snapshot:t:GHOST:1m", "served:curve_snapshot:t"] {
            let check = compare(KEY_LIFE, &copies(other, curve_body(3, 7, 1.0)));
            assert!(
                named(&check).len() == 1 && named(&check)[0].contains(other),
                "{check:?}"
            );
        }
    }

    #[test]
    fn a_derived_price_is_compared_by_its_series() {
        let of = |value: &str| Row::of_body(Kind::DerivedPrice, &price_body(Some(value))).unwrap();
        let key: Key = ["t", "s", ""].map(str::to_owned);
        let row = Row {
            known: None,
            ..of("1.5")
        };
        let wanted = [(key.clone(), Expected { row, partition: 0 })].into();
        let found = Found {
            columns: Some(of("2").rank),
            body: Ok(of("2")),
        };
        let stored = Stored {
            found,
            partition: 0,
            age: 0,
        };
        let around = Around {
            kind: Kind::DerivedPrice,
            ..around()
        };
        let (check, _) = around.postgres(&wanted, &[(key, stored)].into());
        assert_eq!(
            named(&check),
            ["series s of tenant t differs: value is 2 instead of 1.5"]
        );
        assert_eq!(check.differences.rows[0].key, ["t", "s"]);
    }

    #[test]
    fn a_copy_of_a_derived_price_is_compared_also_when_it_has_no_value() {
        let of = |value: Option<&str>| Row::of_body(Kind::DerivedPrice, &price_body(value)).unwrap();
        let key: Key = ["t", "s", ""].map(str::to_owned);
        let around = Around {
            kind: Kind::DerivedPrice,
            ..around()
        };
        let compare = |value: Option<&str>, age, copy: Option<(&str, String)>| {
            let row = Row {
                known: None,
                ..of(value)
            };
            let wanted = [(key.clone(), Expected { row, partition: 0 })].into();
            let found = Found {
                columns: Some(of(value).rank),
                body: Ok(of(value)),
            };
            let stored = Stored {
                found,
                partition: 0,
                age,
            };
            let copies: BTreeMap<String, String> =
                copy.into_iter().map(|(name, body)| (name.to_owned(), body)).collect();
            around.redis(&wanted, &[(key.clone(), stored)].into(), &copies).0
        };
        for value in [Some("1.5"), None] {
            let right = price_body(value).replacen('{', r#"{"standing":"x","#, 1);
            let check = compare(value, 0, Some((COPY_OF_PRICE, right)));
            assert!(check.ok && check.found == 1, "{check:?}");
        }
        for (value, copy, text) in [
            (Some("1.5"), Some("2"), "value is 2 instead of 1.5"),
            (Some("1.5"), None, "value is null instead of 1.5"),
            (None, Some("2"), "value is 2 instead of null"),
        ] {
            let check = compare(value, KEY_LIFE, Some((COPY_OF_PRICE, price_body(copy))));
            assert_eq!(named(&check), [format!("key {COPY_OF_PRICE} differs: {text}")]);
        }
        let check = compare(Some("1.5"), 0, None);
        assert!(
            named(&check)[0].starts_with(&format!("key {COPY_OF_PRICE} is missing: event_time")),
            "{check:?}"
        );
        assert!(compare(Some("1.5"), KEY_LIFE, None).ok);
        for (other, text) in [
            ("served:custom:derived_price:t:GHOST", "has none of this name"),
            ("served:custom:derived_price:t", "is not that of a derived series"),
            ("served:curve_snapshot:t:s:1m", "is not that of a derived series"),
        ] {
            let check = compare(Some("1.5"), KEY_LIFE, Some((other, price_body(Some("1.5")))));
            assert!(
                named(&check).len() == 1 && named(&check)[0].contains(other) && named(&check)[0].contains(text),
                "{check:?}"
            );
        }
    }
}
