//! The tables that keep versions of their rows, and how the key of a row is read: from a comparison, a record and the table.
//!
//! Invariants: a key is the same, wherever it is read. What writes a row is never here: that is the writer's own encoder
//! ([`service::writer::TableSpec`]).

use codec::{CodecError, Wire};
use domain::Micros;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use stores::clickhouse::literal;

use super::choice::Why;
use crate::verify::{Wrong, WrongRow};

/// What the versions of a row have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) tenant: String,
    /// Instrument, series or curve.
    pub(super) name: String,
    /// Interval or horizon; empty for a series.
    pub(super) span: String,
    pub(super) time: Micros,
}

impl Key {
    fn new(tenant: &str, name: &str, span: &str, time: Micros) -> Key {
        Key {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            span: span.to_owned(),
            time,
        }
    }

    /// That of a row of the comparison; `None` if it has another form.
    pub(super) fn of(row: &WrongRow) -> Option<Key> {
        match row.key.as_slice() {
            [tenant, name, span, time] => Some(Key::new(tenant, name, span, micros(time)?)),
            [tenant, name, time] => Some(Key::new(tenant, name, "", micros(time)?)),
            _ => None,
        }
    }

    fn sql(&self) -> String {
        let [tenant, name, span] = [&self.tenant, &self.name, &self.span].map(|part| literal(part));
        format!("({tenant}, {name}, {span}, {})", self.time)
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

/// Key and version of a record.
type OfRecord = fn(&Wire, &[u8]) -> Result<(Key, u64), CodecError>;

/// A table that keeps versions of its rows.
pub(super) struct Versioned {
    /// The table without the suffix of a generation.
    pub(super) table: &'static str,
    /// The columns of a key besides the tenant, as SQL: name, span and time.
    key: [&'static str; 3],
    /// Whether every version stays, or only the newest one.
    pub(super) keeps_all: bool,
    pub(super) of_record: OfRecord,
    /// What makes a new version, if the log has none that is right.
    cure: &'static str,
}

/// Every such table. Versions are made from offsets, which are never negative.
static ALL: [Versioned; 3] = [
    Versioned {
        table: "bars",
        key: ["instrument_id", "interval", "window_start"],
        keeps_all: false,
        of_record: |wire, payload| {
            let bar = wire.decode_bar(payload)?;
            let (interval, start) = (bar.window.interval.name(), bar.window.start);
            let key = Key::new(bar.tenant_id, bar.instrument_id, interval, start);
            Ok((key, bar.version.as_u64()))
        },
        cure: "aggregation computes the bar again with the next late tick of its window",
    },
    Versioned {
        table: "derived_prices",
        key: ["series", "''", "timestamp"],
        keeps_all: true,
        of_record: |wire, payload| {
            let price = wire.decode_derived(payload)?;
            let key = Key::new(price.tenant_id, price.series, "", price.event_time);
            Ok((key, price.version.unsigned_abs()))
        },
        cure: "`dp explain derived` shows which leg is at fault; a price of this leg that is published again computes the values again that it \
            changes",
    },
    Versioned {
        table: "curve_snapshots",
        key: ["curve_id", "horizon", "as_of"],
        keeps_all: true,
        of_record: |wire, payload| {
            let snapshot = wire.decode_curve(payload)?;
            let key = Key::new(snapshot.tenant_id, snapshot.curve_id, snapshot.horizon, snapshot.as_of);
            Ok((key, snapshot.version.unsigned_abs()))
        },
        cure: "`dp explain curve` shows which quote is at fault; a settlement of it that is published again makes a new snapshot",
    },
];

impl Versioned {
    /// The table of this name without the suffix of a generation; `None` if it keeps no versions.
    pub(super) fn named(name: &str) -> Option<&'static Versioned> {
        ALL.iter().find(|versioned| versioned.table == name)
    }

    /// The query for the versions that the table has of these rows. `table` has the suffix of its generation.
    pub(super) fn stored(&self, table: &str, keys: &[&Key]) -> String {
        let [name, span, time] = self.key;
        let keys: Vec<String> = keys.iter().map(|key| key.sql()).collect();
        format!(
            "SELECT toString(tenant_id) AS key_tenant, toString({name}) AS key_name, toString({span}) AS key_span, \
             toUnixTimestamp64Micro({time}) AS key_time, groupUniqArray(version) AS versions FROM {table} \
             WHERE (tenant_id, {name}, {span}, toUnixTimestamp64Micro({time})) IN ({}) \
             GROUP BY key_tenant, key_name, key_span, key_time SETTINGS output_format_json_quote_64bit_integers = 0",
            keys.join(", ")
        )
    }

    /// Why nothing is written for a row that is wrong in this way, and what to do.
    pub(super) fn left(&self, wrong: Wrong, why: Why) -> String {
        let Versioned { table, cure, .. } = self;
        match why {
            _ if wrong == Wrong::Surplus => "no tick explains it: delete it with `dp sql --write`".to_owned(),
            Why::NotInTopic => {
                format!("the topic of {table} no longer holds a record of it, or never did: {cure}")
            }
            Why::OtherValues => format!(
                "the table has this version with other values: delete it (`dp sql --write`), and the next repair writes it as the log has it; \
                 if the log's record is wrong, too: {cure}"
            ),
            Why::NewerInTable => {
                "the table has a newer version than the topic: delete it (`dp sql --write`) and repair again".to_owned()
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::writer::TABLES;

    use super::*;
    use crate::verify::canonical::SourceText;

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
        let key = |name, span| Some(Key::new("t", name, span, time.as_microsecond()));
        let bar = row(&["t", "i/j", "5m", "2026-10-01 10:05:00.000001"]);
        assert_eq!(Key::of(&bar), key("i/j", "5m"));
        let curve = row(&["t", "C", "all", "2026-10-01T10:05:00.000001Z"]);
        assert_eq!(Key::of(&curve), key("C", "all"));
        let derived = row(&["t", "s", "2026-10-01T10:05:00.000001Z"]);
        assert_eq!(Key::of(&derived), key("s", ""));
        assert_eq!(Key::of(&row(&["t", "s", "yesterday"])), None);
        assert_eq!(Key::of(&row(&["t"])), None);
    }

    #[test]
    fn every_table_is_repaired_by_its_records_or_by_its_versions() {
        for table in TABLES {
            let (by_records, by_versions) = (SourceText::of(table).is_some(), Versioned::named(table.name).is_some());
            assert_ne!(by_records, by_versions, "{}", table.name);
        }
    }

    #[test]
    fn what_is_left_says_what_to_do() {
        for versioned in &ALL {
            let gone = versioned.left(Wrong::Missing, Why::NotInTopic);
            assert!(
                gone.contains("no longer holds") && gone.contains(versioned.cure),
                "{gone}"
            );
            for (wrong, why) in [
                (Wrong::Different, Why::OtherValues),
                (Wrong::Different, Why::NewerInTable),
                (Wrong::Surplus, Why::NotInTopic),
            ] {
                let left = versioned.left(wrong, why);
                assert!(left.contains("delete it"), "{left}");
            }
        }
    }

    #[test]
    fn versions_are_asked_for_by_the_columns_of_the_table() {
        let keys = [Key::new("it's", "s", "", 5), Key::new("t", "s", "", 6)];
        let sql = Versioned::named("derived_prices")
            .unwrap()
            .stored("derived_prices_g2", &keys.iter().collect::<Vec<_>>());
        let condition = r"FROM derived_prices_g2 WHERE (tenant_id, series, '', toUnixTimestamp64Micro(timestamp)) IN (('it\'s', 's', '', 5), ('t', 's', '', 6))";
        assert!(sql.contains(condition), "{sql}");
    }
}
