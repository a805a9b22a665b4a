//! The queries of the check of derived prices: prices of legs, stored values, and how to divide them. Pure.
//!
//! Invariant: numbers are asked for as text, so that every digit arrives.

use domain::Micros;
use serde::Deserialize;
use service::Names;
use service::writer::tables::{DERIVED_PRICES, ENRICHED_TICKS, MARKET_TICKS};
use stores::clickhouse::literal;

use super::rules::{AHEAD, Asked, LONGEST_INTERVAL};
use crate::products::Products;
use crate::sql::{moment, vintage_number};

/// Where the queries look.
pub(super) struct Source<'a> {
    pub names: &'a Names,
    pub products: &'a Products,
    /// SQL ` AND NOT (…)`: leaves out ticks in accepted gaps of aggregation, and those since the cut.
    pub passed: &'a str,
}

/// A part of the time, `[from, to)`. The first part has no beginning, the last one no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub from: Option<Micros>,
    pub to: Option<Micros>,
}

impl Part {
    fn condition(self, back: Micros) -> String {
        let from = self
            .from
            .map(|from| format!(" AND timestamp >= {}", moment(from - back)));
        let to = self.to.map(|to| format!(" AND timestamp < {}", moment(to)));
        format!("{}{}", from.unwrap_or_default(), to.unwrap_or_default())
    }

    pub(super) fn contains(self, time: Micros) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to)
    }
}

fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| literal(value)).collect();
    values.join(", ")
}

/// A series of a tenant, and the first enriched offset at which each leg belongs to it. A leg without one has no price.
#[derive(Debug, Clone)]
pub(super) struct Lane<'a> {
    pub tenant: &'a str,
    pub asked: &'a Asked,
    pub since: Vec<Option<i64>>,
}

impl Lane<'_> {
    /// The rows of `enriched_ticks` that are its legs.
    fn is(&self) -> String {
        let legs = self.asked.legs.iter().zip(&self.since);
        let legs: Vec<String> = legs
            .filter_map(|(leg, since)| {
                Some(format!(
                    "(instrument_id = {} AND src_offset >= {})",
                    literal(leg),
                    (*since)?
                ))
            })
            .collect();
        match legs.is_empty() {
            true => "0".to_owned(),
            false => format!("tenant_id = {} AND ({})", literal(self.tenant), legs.join(" OR ")),
        }
    }

    fn is_of_table(&self) -> String {
        format!(
            "tenant_id = {} AND series = {}",
            literal(self.tenant),
            literal(&self.asked.series)
        )
    }
}

/// Hours since 1970 in which a leg has prices, and their number.
#[derive(Deserialize)]
pub(super) struct Hour {
    hour: String,
    rows: String,
}

impl Source<'_> {
    fn enriched(&self) -> String {
        self.names.table(ENRICHED_TICKS.name)
    }

    /// The tenants that have ticks of these instruments, or values of these series.
    pub(super) fn tenants(&self, all: &[Asked]) -> String {
        let legs: Vec<String> = all.iter().flat_map(|asked| asked.legs.clone()).collect();
        let series: Vec<String> = all.iter().map(|asked| asked.series.clone()).collect();
        format!(
            "SELECT DISTINCT toString(tenant_id) AS tenant FROM {} WHERE instrument_id IN ({}) UNION DISTINCT \
             SELECT DISTINCT toString(tenant_id) AS tenant FROM {} WHERE series IN ({})",
            self.enriched(),
            list(&legs),
            self.names.table(DERIVED_PRICES.name),
            list(&series)
        )
    }

    /// For each instrument, the first enriched offset of which a stored value uses the price.
    pub(super) fn used_since(&self, tenant: &str, asked: &Asked) -> String {
        let of = format!(
            "tenant_id = {} AND series = {}",
            literal(tenant),
            literal(&asked.series)
        );
        format!(
            "SELECT toString(instrument_id) AS instrument, toString(min(src_offset)) AS first FROM {} \
             WHERE tenant_id = {} AND instrument_id IN ({}) AND tick_id IN (SELECT assumeNotNull(origin) FROM (\
             SELECT arrayJoin([first_origin, second_origin]) AS origin FROM {} WHERE {of}) WHERE isNotNull(origin)) \
             GROUP BY instrument_id",
            self.enriched(),
            literal(tenant),
            list(&asked.legs),
            self.names.table(DERIVED_PRICES.name),
        )
    }

    /// How many prices of legs each hour has.
    pub(super) fn hours(&self, lane: &Lane<'_>) -> String {
        format!(
            "SELECT toString(intDiv(toUnixTimestamp64Micro(timestamp), 3600000000) AS number) AS hour, toString(count()) AS rows \
             FROM {} WHERE {}{} GROUP BY number ORDER BY number",
            self.enriched(),
            lane.is(),
            self.passed
        )
    }

    /// The prices of legs that may count in this part.
    pub(super) fn prices(&self, lane: &Lane<'_>, part: Part) -> String {
        let asked = lane.asked;
        // Only `market_ticks` has quotes.
        let ([first, second], quotes) = match asked.kind {
            "bid_ask_spread" => (["quote_ask", "quote_bid"], self.quotes(lane, part)),
            "congestion" => (["congestion", "loss"], String::new()),
            _ => (["price", "CAST(NULL, 'Nullable(Decimal(18, 8))')"], String::new()),
        };
        let text = |column: &str| format!("if(isNull({column}), NULL, toString({column}))");
        let reach = format!(
            "(kind = 'interval'{}) OR (kind = 'trade'{})",
            part.condition(LONGEST_INTERVAL + asked.width()),
            part.condition(asked.max_age + asked.width())
        );
        format!(
            "SELECT toString(indexOf([{legs}], toString(instrument_id))) AS leg, toString(toUnixTimestamp64Micro(timestamp)) AS time, \
             if(kind = 'interval', toString(ifNull(toUnixTimestamp64Micro(interval_end), toUnixTimestamp64Micro(timestamp) + {nominal})), NULL) \
             AS ends, toString(toUnixTimestamp64Micro(appended_at)) AS appended, \
             toString({vintage}) AS vintage, {sequence} AS sequence_, toString(feed) AS feed_, toString(raw_partition) AS partition, \
             toString(raw_offset) AS offset_, toString(raw_index) AS index_, {first} AS first, {second} AS second, \
             toString(currency) AS currency_, toString(ifNull(instrument_unit, unit)) AS unit_ \
             FROM {enriched} AS e{quotes} WHERE {is}{passed} AND ({reach})",
            legs = list(&asked.legs),
            nominal = self.products.sql(|rule| rule.nominal),
            vintage = vintage_number(),
            sequence = text("sequence"),
            first = text(first),
            second = text(second),
            enriched = self.enriched(),
            is = lane.is(),
            passed = self.passed,
        )
    }

    fn quotes(&self, lane: &Lane<'_>, part: Part) -> String {
        format!(
            " LEFT JOIN (SELECT feed AS quote_feed, raw_partition AS quote_partition, raw_offset AS quote_offset, raw_index AS quote_index, \
             bid AS quote_bid, ask AS quote_ask FROM {} WHERE tenant_id = {} AND instrument_id IN ({}){}) AS m \
             ON e.feed = m.quote_feed AND e.raw_partition = m.quote_partition AND e.raw_offset = m.quote_offset AND e.raw_index = m.quote_index",
            self.names.table(MARKET_TICKS.name),
            literal(lane.tenant),
            list(&lane.asked.legs),
            part.condition(LONGEST_INTERVAL.max(lane.asked.max_age) + lane.asked.width())
        )
    }

    /// The newest version of each value of this part.
    pub(super) fn stored(&self, lane: &Lane<'_>, part: Part) -> String {
        let optional = |column: &str| format!("if(isNull({column}), NULL, toString({column}))");
        let leg = |leg: &str| {
            format!(
                "toString({leg}_role) AS {leg}_role_, toString({leg}_instrument) AS {leg}_instrument_, {} AS {leg}_price_, \
                 {} AS {leg}_time_, {} AS {leg}_age_, {leg}_origin AS {leg}_origin_",
                optional(&format!("{leg}_price")),
                optional(&format!("toUnixTimestamp64Micro({leg}_time)")),
                optional(&format!("{leg}_age")),
            )
        };
        format!(
            "SELECT toString(toUnixTimestamp64Micro(timestamp)) AS time, toString(kind) AS kind_, {} AS value_, toString(unit) AS unit_, {}, {}, \
             if(kept_version = 0, NULL, toString(toUnixTimestamp64Micro(log_clock))) AS known_, cause_origin AS cause_ \
             FROM {} WHERE {}{} ORDER BY version DESC, src_offset DESC LIMIT 1 BY timestamp",
            optional("value"),
            leg("first"),
            leg("second"),
            self.names.table(DERIVED_PRICES.name),
            lane.is_of_table(),
            part.condition(0)
        )
    }

    /// Values of which an earlier version is gone: each version has one revision more than the one before, from 0, or from the last version
    /// with `kept_version = 0`, of a release that kept only the newest. Before this time versions may have expired: a value is sent at
    /// most so long before its time. Only values with revisions are grouped, which are few.
    pub(super) fn gone(&self, lane: &Lane<'_>, since: Micros, named: usize) -> String {
        let of_age = match since {
            Micros::MIN => String::new(),
            since => format!(" AND timestamp >= {}", moment(since.saturating_add(AHEAD))),
        };
        let table = self.names.table(DERIVED_PRICES.name);
        let of_lane = format!("{}{of_age}", lane.is_of_table());
        format!(
            "SELECT toString(toUnixTimestamp64Micro(timestamp)) AS time, argMax(cause_origin, version) AS origin_, \
             maxIf(revision, kept_version = 0) AS base, arrayCount(one -> one >= base, groupUniqArray(revision)) AS there, \
             max(revision) - base + 1 AS versions, toString(there) AS found, toString(versions) AS sent, toString(count() OVER ()) AS total \
             FROM {table} WHERE {of_lane} AND timestamp IN (SELECT timestamp FROM {table} WHERE {of_lane} AND revision > 0) \
             GROUP BY timestamp HAVING there < versions ORDER BY timestamp LIMIT {named}"
        )
    }

    /// Versions with more than one content; a version must have one, whoever wrote it.
    pub(super) fn conflicting(&self, named: usize) -> String {
        format!(
            "SELECT concat(tenant_id, '/', series, '/', toString(timestamp), ': ', toString(uniqExact(content)), \
             ' different contents of version ', toString(version)) AS row, toString(count() OVER ()) AS total FROM (\
             SELECT tenant_id, series, timestamp, version, concat(ifNull(toString(value), ''), '|', toString(revision), '|', toString(cause), '|', \
             ifNull(first_origin, ''), '|', ifNull(second_origin, '')) AS content FROM {}) \
             GROUP BY tenant_id, series, timestamp, version HAVING uniqExact(content) > 1 LIMIT {named}",
            self.names.table(DERIVED_PRICES.name)
        )
    }

    /// Series of the table that are none of these, with their rows.
    pub(super) fn others(&self, all: &[Asked]) -> String {
        let series: Vec<String> = all.iter().map(|asked| asked.series.clone()).collect();
        let is_other = match series.is_empty() {
            true => "1".to_owned(),
            false => format!("series NOT IN ({})", list(&series)),
        };
        format!(
            "SELECT toString(series) AS name, toString(count()) AS rows FROM {} WHERE {is_other} GROUP BY series ORDER BY name",
            self.names.table(DERIVED_PRICES.name)
        )
    }
}

/// Divides the time so that a part has at most about this many prices.
pub(super) fn parts(hours: &[Hour], most: u64) -> anyhow::Result<Vec<Part>> {
    let (mut parts, mut from, mut rows) = (Vec::new(), None, 0u64);
    for hour in hours {
        let of_hour: u64 = hour.rows.parse()?;
        if rows > 0 && rows + of_hour > most {
            let to = Some(hour.hour.parse::<Micros>()? * 3_600_000_000);
            parts.push(Part { from, to });
            (from, rows) = (to, 0);
        }
        rows += of_hour;
    }
    parts.push(Part { from, to: None });
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_divided_at_hours_without_a_gap() {
        let hour = |hour: i64, rows: u64| Hour {
            hour: hour.to_string(),
            rows: rows.to_string(),
        };
        let hours = [hour(1, 60), hour(2, 30), hour(5, 20), hour(6, 500), hour(7, 1)];
        let found: Vec<_> = parts(&hours, 100).into_iter().flatten().collect();
        let at = |hour: i64| Some(hour * 3_600_000_000);
        let part = |from, to| Part { from, to };
        assert_eq!(
            found,
            [
                part(None, at(5)),
                part(at(5), at(6)),
                part(at(6), at(7)),
                part(at(7), None)
            ]
        );
        assert_eq!(parts(&[], 100).ok(), Some(vec![part(None, None)]));
        assert!(found[1].contains(5 * 3_600_000_000) && !found[1].contains(6 * 3_600_000_000));
    }
}
