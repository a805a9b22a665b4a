//! What is known of a table that keeps versions of its rows.
//!
//! Role: `dp verify`, `dp reconcile --repair` and `dp explain row` find such rows by it; [`super::tables`] has it for each of these tables.
//! Invariants: a key is the same, whether it is read from a record or from the table. What writes a row is never here: that is the
//! table's encoder.
//! Failure: a record that cannot be read has no key, and its reader gets the error of the codec.

use codec::{CodecError, Wire};
use domain::Micros;
use stores::clickhouse::literal;

/// What the versions of a row have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionKey {
    /// Tenant.
    pub tenant: String,
    /// Instrument, series or curve.
    pub name: String,
    /// Interval or horizon; empty for a series.
    pub span: String,
    /// Start of the window, or the time of the value.
    pub time: Micros,
}

impl VersionKey {
    /// The key of these parts.
    pub fn new(tenant: &str, name: &str, span: &str, time: Micros) -> VersionKey {
        VersionKey {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            span: span.to_owned(),
            time,
        }
    }

    fn sql(&self) -> String {
        let [tenant, name, span] = [&self.tenant, &self.name, &self.span].map(|part| literal(part));
        format!("({tenant}, {name}, {span}, {})", self.time)
    }
}

/// Key and version of a record.
pub type OfRecord = fn(&Wire, &[u8]) -> Result<(VersionKey, u64), CodecError>;

/// How a table keeps versions of its rows. Versions are made from offsets, which are never negative.
pub struct Versioned {
    /// The column with the name of what a row is about.
    pub name: &'static str,
    /// The column of the interval or horizon, if rows have one.
    pub span: Option<&'static str>,
    /// The column of the time.
    pub time: &'static str,
    /// Whether every version stays, or only the newest one.
    pub keeps_all: bool,
    /// Reads a record of the table's topic.
    pub of_record: OfRecord,
    /// What makes a new version, if the log has none that is right.
    pub cure: &'static str,
    /// How the rows are found that use a tick; `None` if `dp explain row` shows them with the tick anyway.
    pub uses: Option<Uses>,
}

/// The time of a tick from which on rows may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Its event time.
    Event,
    /// The time at which its message was appended.
    Append,
}

/// How the rows are found that use a tick.
pub struct Uses {
    /// SQL ` AND …` of the rows among which they are looked for; may be empty.
    pub among: &'static str,
    /// From when on rows use the tick.
    pub since: Since,
    /// For how long they may.
    pub longest: Micros,
    /// SQL: whether a row uses the tick with this id.
    pub is_used: fn(&str) -> String,
    /// What these rows are, and which command traces one of them.
    pub note: &'static str,
}

impl Versioned {
    /// The columns of a key, as SQL.
    pub fn key(&self) -> String {
        let span = self.span.map(|span| format!("{span}, ")).unwrap_or_default();
        format!("tenant_id, {}, {span}{}", self.name, self.time)
    }

    /// The name of a version in a message, as SQL.
    pub fn row_name(&self) -> String {
        let span = self.span.map(|span| format!("{span}, '/', ")).unwrap_or_default();
        format!(
            "concat(tenant_id, '/', {}, '/', {span}toString({}), ' version ', toString(version))",
            self.name, self.time
        )
    }

    /// The query for the versions that the table has of these rows. `table` has the suffix of its generation.
    pub fn stored(&self, table: &str, keys: &[&VersionKey]) -> String {
        let (name, span, time) = (self.name, self.span.unwrap_or("''"), self.time);
        let keys: Vec<String> = keys.iter().map(|key| key.sql()).collect();
        format!(
            "SELECT toString(tenant_id) AS key_tenant, toString({name}) AS key_name, toString({span}) AS key_span, \
             toUnixTimestamp64Micro({time}) AS key_time, groupUniqArray(version) AS versions FROM {table} \
             WHERE (tenant_id, {name}, {span}, toUnixTimestamp64Micro({time})) IN ({}) \
             GROUP BY key_tenant, key_name, key_span, key_time SETTINGS output_format_json_quote_64bit_integers = 0",
            keys.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tables::{BARS, DERIVED_PRICES};
    use super::*;

    #[test]
    fn versions_are_asked_for_by_the_columns_of_the_table() {
        let keys = [VersionKey::new("it's", "s", "", 5), VersionKey::new("t", "s", "", 6)];
        let keys: Vec<&VersionKey> = keys.iter().collect();
        let sql = DERIVED_PRICES
            .versions
            .as_ref()
            .map(|versions| versions.stored("derived_prices_g2", &keys));
        let sql = sql.unwrap_or_default();
        let condition = r"FROM derived_prices_g2 WHERE (tenant_id, series, '', toUnixTimestamp64Micro(timestamp)) IN (('it\'s', 's', '', 5), ('t', 's', '', 6))";
        assert!(sql.contains(condition), "{sql}");
    }

    #[test]
    fn a_row_is_named_by_its_key_and_version_with_a_span_if_it_has_one() {
        assert_eq!(
            BARS.row_name(),
            "concat(tenant_id, '/', instrument_id, '/', interval, '/', toString(window_start), ' version ', toString(version))"
        );
        assert_eq!(
            DERIVED_PRICES.row_name(),
            "concat(tenant_id, '/', series, '/', toString(timestamp), ' version ', toString(version))"
        );
        let key = |versions: Option<&Versioned>| versions.map(Versioned::key);
        assert_eq!(
            key(BARS.versions.as_ref()).as_deref(),
            Some("tenant_id, instrument_id, interval, window_start")
        );
        assert_eq!(
            key(DERIVED_PRICES.versions.as_ref()).as_deref(),
            Some("tenant_id, series, timestamp")
        );
    }
}
