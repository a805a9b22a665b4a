//! Rows of tables that keep versions: their key in a comparison, and what is said of those that are left.
//!
//! Role: what these tables are is in [`service::writer::TableSpec`], also the key of a record and of the table.
//! Invariants: a key is the same, wherever it is read.

use domain::Micros;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use service::writer::VersionKey;

use super::choice::Why;
use crate::verify::{Wrong, WrongRow};

/// The key of a row of the comparison; `None` if it has another form.
pub(super) fn key_of(row: &WrongRow) -> Option<VersionKey> {
    match row.key.as_slice() {
        [tenant, name, span, time] => Some(VersionKey::new(tenant, name, span, micros(time)?)),
        [tenant, name, time] => Some(VersionKey::new(tenant, name, "", micros(time)?)),
        _ => None,
    }
}

/// A time with its offset, or one of the table, which is in UTC.
fn micros(text: &str) -> Option<Micros> {
    let of_table = || -> Option<Timestamp> {
        let time: DateTime = text.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let time = text.parse::<Timestamp>().ok().or_else(of_table)?;
    Some(time.as_microsecond())
}

/// Why nothing is written for a row of this table that is wrong in this way, and what to do.
pub(super) fn left(table: &str, cure: &str, (wrong, why): (Wrong, Why)) -> String {
    match why {
        _ if wrong == Wrong::Surplus => "no tick explains it: delete it with `dp sql --write`".to_owned(),
        Why::NotInTopic => format!("the topic of {table} no longer holds a record of it, or never did: {cure}"),
        Why::OtherValues => format!(
            "the table has this version with other values: delete it (`dp sql --write`), and the next repair writes it as the log has it; \
             if the log's record is wrong, too: {cure}"
        ),
        Why::NewerInTable => {
            "the table has a newer version than the topic: delete it (`dp sql --write`) and repair again".to_owned()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::writer::TABLES;

    use super::*;
    use crate::verify::comparisons;

    fn row(key: &[&str]) -> WrongRow {
        WrongRow {
            wrong: Wrong::Missing,
            key: key.iter().map(|part| (*part).to_owned()).collect(),
            origin: String::new(),
            text: "row".to_owned(),
        }
    }

    #[test]
    fn the_key_of_a_row_is_read_from_the_comparison() {
        let time: Timestamp = "2026-10-01T10:05:00.000001Z".parse().unwrap();
        let key = |name, span| Some(VersionKey::new("t", name, span, time.as_microsecond()));
        let bar = row(&["t", "i/j", "5m", "2026-10-01 10:05:00.000001"]);
        assert_eq!(key_of(&bar), key("i/j", "5m"));
        let curve = row(&["t", "C", "all", "2026-10-01T10:05:00.000001Z"]);
        assert_eq!(key_of(&curve), key("C", "all"));
        let derived = row(&["t", "s", "2026-10-01T10:05:00.000001Z"]);
        assert_eq!(key_of(&derived), key("s", ""));
        assert_eq!(key_of(&row(&["t", "s", "yesterday"])), None);
        assert_eq!(key_of(&row(&["t"])), None);
    }

    #[test]
    fn every_table_is_repaired_by_its_records_or_by_its_versions() {
        for table in TABLES {
            let (by_records, by_versions) = (comparisons::source_text(table).is_some(), table.versions.is_some());
            assert_ne!(by_records, by_versions, "{}", table.name);
        }
    }

    #[test]
    fn what_is_left_says_what_to_do() {
        for table in TABLES {
            let Some(versions) = &table.versions else { continue };
            let left = |wrong, why| left(table.name, versions.cure, (wrong, why));
            let gone = left(Wrong::Missing, Why::NotInTopic);
            assert!(
                gone.contains(table.name) && gone.contains("no longer holds") && gone.contains(versions.cure),
                "{gone}"
            );
            for (wrong, why) in [
                (Wrong::Different, Why::OtherValues),
                (Wrong::Different, Why::NewerInTable),
                (Wrong::Surplus, Why::NotInTopic),
            ] {
                let left = left(wrong, why);
                assert!(left.contains("delete it"), "{left}");
            }
        }
    }
}
