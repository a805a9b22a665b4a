//! The queries of the check of curves: quotes, log clocks and stored snapshots. Pure.
//!
//! Invariant: numbers are asked for as text, so that every digit arrives.

use domain::Micros;
use service::Names;
use service::writer::tables::{CURVE_SNAPSHOTS, ENRICHED_TICKS};
use stores::clickhouse::literal;

use crate::sql::{moment, vintage_number};

/// Where the queries look.
pub(super) struct Source<'a> {
    pub names: &'a Names,
    /// SQL ` AND NOT (…)`: leaves out ticks in accepted gaps of aggregation, and those since the cut.
    pub passed: &'a str,
}

/// A curve of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    pub tenant: String,
    pub curve: String,
}

impl Lane {
    fn is(&self) -> String {
        format!(
            "tenant_id = {} AND curve_id = {}",
            literal(&self.tenant),
            literal(&self.curve)
        )
    }
}

/// The tenors that reference data may give an instrument as its product tier: relative ones, and any with a block.
const TENOR: &str = "match(upper(trimBoth(product_tier)), \
    '^((M(0?[1-9]|1[0-9]|2[0-4])|PROMPT|BALMO|BOM)( +(FLAT|PEAK|OFF_PEAK))?\
    |([FGHJKNQUVXZ][0-9]{2}|M(2[5-9]|[3-9][0-9])|20[0-9]{2}-(0[1-9]|1[0-2])|(Q[1-4]|SUM|WIN|CAL)-(20)?[0-9]{2}) +(FLAT|PEAK|OFF_PEAK))$')";
/// The ticks that are quotes of curves: settlements, and prices of instruments with such a tenor.
fn are_quotes() -> String {
    format!("isNotNull(curve_id) AND (product = 'settlement' OR {TENOR})")
}

impl Source<'_> {
    fn enriched(&self) -> String {
        self.names.table(ENRICHED_TICKS.name)
    }

    fn snapshots(&self) -> String {
        self.names.table(CURVE_SNAPSHOTS.name)
    }

    /// The curves that have quotes or snapshots.
    pub(super) fn lanes(&self) -> String {
        format!(
            "SELECT DISTINCT toString(tenant_id) AS tenant, toString(curve_id) AS curve FROM {} WHERE {quotes} UNION DISTINCT \
             SELECT DISTINCT toString(tenant_id) AS tenant, toString(curve_id) AS curve FROM {}",
            self.enriched(),
            self.snapshots(),
            quotes = are_quotes(),
        )
    }

    /// The enriched partitions that have quotes, and the newest log clock of each.
    pub(super) fn partitions(&self) -> String {
        let (table, quotes) = (self.enriched(), are_quotes());
        format!(
            "SELECT toString(src_partition) AS partition, toString(toUnixTimestamp64Micro(max(appended_at))) AS newest FROM {table} \
             WHERE src_partition IN (SELECT DISTINCT src_partition FROM {table} WHERE {quotes}){} GROUP BY src_partition",
            self.passed
        )
    }

    /// The largest append time after each quote of a partition, up to the next one: (offset of the quote before, or -1; time; offset of the
    /// last quote). The log clock at a quote is the largest of these up to it.
    pub(super) fn clocks(&self, partition: i32) -> String {
        let (table, passed, quotes) = (self.enriched(), self.passed, are_quotes());
        format!(
            "WITH (SELECT arraySort(arrayPushFront(groupUniqArray(src_offset), toInt64(-1))) FROM {table} \
             WHERE src_partition = {partition} AND {quotes}{passed}) AS offsets \
             SELECT toString(roundDown(src_offset - 1, offsets)) AS before_, toString(toUnixTimestamp64Micro(max(appended_at))) AS clock_, \
             toString(offsets[-1]) AS last_ FROM {table} WHERE src_partition = {partition} AND src_offset <= offsets[-1]{passed} \
             GROUP BY roundDown(src_offset - 1, offsets) AS before ORDER BY before"
        )
    }

    /// The quotes of a curve.
    pub(super) fn quotes(&self, lane: &Lane) -> String {
        format!(
            "SELECT toString(instrument_id) AS instrument, if(product = 'settlement', '', upper(trimBoth(product_tier))) AS tenor_, \
             if(product != 'settlement' AND commodity = 'natural_gas', 'GAS', toString(market)) AS market_, toString(toUnixTimestamp64Micro(timestamp)) AS time, \
             toString({vintage}) AS vintage, if(isNull(sequence), NULL, toString(sequence)) AS sequence_, toString(feed) AS feed_, \
             toString(raw_partition) AS partition, toString(raw_offset) AS offset_, toString(raw_index) AS index_, toString(price) AS price_, toString(volume) AS volume_, \
             toString(currency) AS currency_, toString(ifNull(instrument_unit, unit)) AS unit_, toString(src_partition) AS src_partition_, toString(src_offset) AS src_offset_ FROM {} WHERE {} AND {quotes}{}",
            self.enriched(),
            lane.is(),
            self.passed,
            vintage = vintage_number(),
            quotes = are_quotes(),
        )
    }

    /// For each enriched partition, the first offset of which a stored snapshot uses the quote.
    pub(super) fn used_since(&self, lane: &Lane) -> String {
        format!(
            "SELECT toString(src_partition) AS partition, toString(min(src_offset)) AS first FROM {} WHERE {} AND {quotes} AND tick_id IN (\
             SELECT tupleElement(arrayJoin(JSONExtract(inputs, 'Array(Tuple(source String))')), 'source') FROM {} \
             WHERE {} AND horizon = 'all') \
             GROUP BY src_partition",
            self.enriched(),
            lane.is(),
            self.snapshots(),
            lane.is(),
            quotes = are_quotes(),
        )
    }

    /// The times of the stored snapshots of a curve.
    pub(super) fn times(&self, lane: &Lane) -> String {
        format!(
            "SELECT DISTINCT toString(toUnixTimestamp64Micro(as_of)) AS time FROM {} WHERE {}",
            self.snapshots(),
            lane.is()
        )
    }

    /// The newest version of each snapshot from the first to the last of these times.
    pub(super) fn stored(&self, lane: &Lane, (first, last): (Micros, Micros)) -> String {
        format!(
            "SELECT toString(toUnixTimestamp64Micro(as_of)) AS time, toString(horizon) AS horizon_, toString(market) AS market_, \
             toString(day) AS day_, toString(method) AS method_, toString(definition) AS definition_, points, inputs, origin \
             FROM {} WHERE {} AND as_of >= {} AND as_of <= {} ORDER BY version DESC, src_offset DESC LIMIT 1 BY horizon, as_of",
            self.snapshots(),
            lane.is(),
            moment(first),
            moment(last)
        )
    }

    /// Snapshots of which an earlier version is gone: each version has one revision more than the one before, from 0. Those since this time
    /// have lost none by age. Only snapshots with revisions are grouped.
    pub(super) fn gone(&self, lane: &Lane, since: Micros, named: usize) -> String {
        let of_age = match since {
            Micros::MIN => String::new(),
            since => format!(" AND as_of >= {}", moment(since)),
        };
        let table = self.snapshots();
        let of_lane = format!("{}{of_age}", lane.is());
        format!(
            "SELECT toString(horizon) AS horizon_, toString(toUnixTimestamp64Micro(as_of)) AS time, argMax(origin, version) AS origin_, \
             toString(uniqExact(revision)) AS found, toString(max(revision) + 1) AS sent, toString(count() OVER ()) AS total \
             FROM {table} WHERE {of_lane} AND (horizon, as_of) IN (SELECT horizon, as_of FROM {table} WHERE {of_lane} AND revision > 0) \
             GROUP BY horizon, as_of HAVING uniqExact(revision) <= max(revision) ORDER BY as_of, horizon LIMIT {named}"
        )
    }

    /// Versions with more than one content; a version must have one, whoever wrote it.
    pub(super) fn conflicting(&self, named: usize) -> String {
        format!(
            "SELECT concat(tenant_id, '/', curve_id, '/', horizon, '/', toString(as_of), ': ', toString(uniqExact(content)), \
             ' different contents of version ', toString(version)) AS row, toString(count() OVER ()) AS total FROM (\
             SELECT tenant_id, curve_id, horizon, as_of, version, cityHash64(points, inputs, definition, revision, cause, origin) AS content \
             FROM {}) GROUP BY tenant_id, curve_id, horizon, as_of, version HAVING uniqExact(content) > 1 LIMIT {named}",
            self.snapshots()
        )
    }
}

/// Divides times into parts of at most this many: the first and the last of each.
pub(super) fn parts(times: &[Micros], most: usize) -> Vec<(Micros, Micros)> {
    let ends = |part: &[Micros]| Some((*part.first()?, *part.last()?));
    times.chunks(most.max(1)).filter_map(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_divided_without_a_gap() {
        assert_eq!(parts(&[1, 2, 5, 9, 12], 2), [(1, 2), (5, 9), (12, 12)]);
        assert!(parts(&[], 2).is_empty());
    }
}
