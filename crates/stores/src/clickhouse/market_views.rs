//! The views of market days, trading blocks and intervals, for the power markets of the registry.
//!
//! Role: ClickHouse converts times only to zones that a statement names, so the views name each market. Their text
//! (`schemas/clickhouse/of_markets`) is filled from the registry; a market that is added there needs no file here.
//! Invariant: a text is applied once for each generation, like a file. Its number is made from the text, so a registry that has changed
//! has another one, and an older service that starts next to a newer one does not put its own views back.

use std::sync::LazyLock;

use markets::{Peak, PowerMarket};
use xxhash_rust::xxh64::xxh64;

use super::literal;
use crate::migration::Migration;

const TEMPLATE: &str = include_str!("../../../../schemas/clickhouse/of_markets/market_views.sql");

/// No file has this number or a higher one.
const FIRST_NUMBER: u32 = 1 << 31;

static OF_THE_REGISTRY: LazyLock<String> = LazyLock::new(|| filled(&markets::power_markets().collect::<Vec<_>>()));

/// The views as a migration, after the files.
pub(super) fn migration() -> Migration {
    Migration {
        version: number_of(&OF_THE_REGISTRY),
        name: "market_views",
        sql: OF_THE_REGISTRY.as_str(),
    }
}

fn number_of(sql: &str) -> u32 {
    FIRST_NUMBER | (xxh64(sql.as_bytes(), 0) >> 33) as u32
}

/// The statements for these markets; database and suffix are placeholders, as in the files.
fn filled(markets: &[PowerMarket]) -> String {
    let has_six_days = markets.iter().filter(|market| market.peak.saturday);
    // `{zone}` stands for the zone of the prices, or of the contracts.
    let by_zone = |text: &str| by_market(markets, |market| text.replace("{zone}", &literal(market.zone)));
    let by_contracts = |text: &str| by_market(markets, |market| text.replace("{zone}", &literal(market.peak.zone)));
    let fills = [
        ("{day_of_window}", by_zone("toDate(window_start, {zone})")),
        ("{day_of_price}", by_zone("toDate(timestamp, {zone})")),
        (
            "{hours_of_day}",
            by_zone("dateDiff('hour', toDateTime(day, {zone}), toDateTime(day + 1, {zone}))"),
        ),
        (
            "{seconds_of_day}",
            by_zone("toUnixTimestamp(toDateTime(day + 1, {zone})) - toUnixTimestamp(toDateTime(day, {zone}))"),
        ),
        ("{delivery_day}", by_contracts("toDate(window_start, {zone})")),
        ("{delivery_hour}", by_contracts("toHour(window_start, {zone})")),
        ("{is_by_day}", by_market(markets, is_by_day)),
        ("{hours_by_day}", by_market(markets, hours_by_day)),
        (
            "{hours_of_delivery_day}",
            by_contracts("dateDiff('hour', toDateTime(delivery_day, {zone}), toDateTime(delivery_day + 1, {zone}))"),
        ),
        ("{end_of_day}", by_zone("toUnixTimestamp(toDateTime(day + 1, {zone}))")),
        (
            "{end_of_delivery_day}",
            by_contracts("toUnixTimestamp(toDateTime(delivery_day + 1, {zone}))"),
        ),
        ("{has_six_days}", is_one_of(has_six_days)),
        ("{is_power_market}", is_one_of(markets.iter())),
    ];
    let mut sql = TEMPLATE.to_owned();
    for (place, text) in &fills {
        sql = sql.replace(place, text);
    }
    sql
}

/// Hours ending are one more than the hours in which they begin.
fn is_by_day(market: &PowerMarket) -> String {
    let Peak { first, last, .. } = market.peak;
    format!("hour >= {} AND hour < {last}", first.saturating_sub(1))
}

/// The clocks change by night, so these are as many every day.
fn hours_by_day(market: &PowerMarket) -> String {
    let Peak { first, last, .. } = market.peak;
    last.saturating_sub(first).saturating_add(1).to_string()
}

/// An expression that depends on the row's market. The one of most markets is the last branch.
fn by_market(markets: &[PowerMarket], expression: impl Fn(&PowerMarket) -> String) -> String {
    let mut groups: Vec<(String, Vec<&PowerMarket>)> = Vec::new();
    for market in markets {
        let text = expression(market);
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, group)) => group.push(market),
            None => groups.push((text, vec![market])),
        }
    }
    groups.sort_by_key(|(_, group)| group.len());
    let last = groups.pop().map(|(text, _)| text).unwrap_or_default();
    if groups.is_empty() {
        return last;
    }
    let branches = groups
        .into_iter()
        .map(|(text, group)| format!("{}, {text}, ", is_one_of(group)));
    format!("multiIf({}{last})", branches.collect::<String>())
}

/// Whether a row is of one of these markets.
fn is_one_of<'m>(markets: impl IntoIterator<Item = &'m PowerMarket>) -> String {
    let names: Vec<String> = markets.into_iter().map(|market| literal(market.name)).collect();
    match names.as_slice() {
        [] => "false".to_owned(),
        [name] => format!("market = {name}"),
        names => format!("market IN ({})", names.join(", ")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::migration::{CLICKHOUSE, statements};

    fn without_blanks(sql: &str) -> String {
        sql.split_whitespace().collect()
    }

    /// The statement that creates this view.
    fn creates(sql: &str, view: &str) -> Option<String> {
        let begins = [
            format!("CREATE VIEW IF NOT EXISTS {{db}}.{view}{{suffix}} AS"),
            format!("CREATE OR REPLACE VIEW {{db}}.{view}{{suffix}} AS"),
        ];
        let created = statements(sql).into_iter();
        let mut rest = created.filter_map(|statement| {
            let begin = begins.iter().find(|begin| statement.starts_with(begin.as_str()))?;
            Some(without_blanks(statement.get(begin.len()..)?))
        });
        rest.next()
    }

    /// Without the columns of `market_hours` that the files do not have.
    fn without_later_columns(view: String) -> String {
        match (view.find(",toDateTime(multiIf("), view.find("FROM{db}.bars_1h")) {
            (Some(from), Some(to)) => format!("{}{}", &view[..from], &view[to..]),
            _ => view,
        }
    }

    // The files are those of the first seven markets, and are proven on a server against the registry (tests/servers/market_days.rs).
    #[test]
    fn the_views_of_the_markets_of_the_files_are_those_of_the_files() {
        let of_the_files = ["MISO", "CAISO", "ERCOT", "PJM", "NYISO", "ISONE", "SPP"];
        let mut markets: Vec<PowerMarket> = markets::power_markets().collect();
        markets.retain(|market| of_the_files.contains(&market.name));
        assert_eq!(markets.len(), of_the_files.len());
        let filled = filled(&markets);
        for view in ["market_hours", "market_intervals"] {
            let file = CLICKHOUSE.iter().find_map(|file| creates(file.sql, view)).unwrap();
            // Two ways to write the same.
            let file = file
                .replace(
                    "market='MISO',24,",
                    "market='MISO',dateDiff('hour',toDateTime(day,'Etc/GMT+5'),toDateTime(day+1,'Etc/GMT+5')),",
                )
                .replace(
                    "if(marketIN('CAISO','ERCOT','SPP'),hour",
                    "multiIf(marketIN('CAISO','ERCOT','SPP'),hour",
                )
                .replace("market!='CAISO'", "NOT(market='CAISO')");
            assert_eq!(without_later_columns(creates(&filled, view).unwrap()), file, "{view}");
        }
    }

    #[test]
    fn each_power_market_of_the_registry_is_in_the_views_and_no_place_is_left_open() {
        let sql = migration().sql;
        let names: Vec<String> = markets::power_markets().map(|market| literal(market.name)).collect();
        assert!(names.len() >= 7, "{names:?}");
        let all = format!("market IN ({})", names.join(", "));
        let is_of_markets = |view: &str| creates(sql, view).is_some_and(|text| text.ends_with(&without_blanks(&all)));
        assert!(is_of_markets("market_hours") && is_of_markets("market_intervals"));
        assert_eq!(statements(sql).len(), 4);
        for statement in statements(sql) {
            let open = statement.replace("{db}", "").replace("{suffix}", "");
            assert!(!open.contains(['{', '}']), "{open}");
        }
    }

    #[test]
    fn a_market_that_is_added_to_the_registry_is_in_the_views_under_a_new_number() {
        let mut markets: Vec<PowerMarket> = markets::power_markets().collect();
        let before = filled(&markets);
        assert_eq!(number_of(&before), migration().version);
        markets.push(PowerMarket {
            name: "AESO",
            region: "west",
            zone: "America/Edmonton",
            peak: Peak {
                zone: "America/Denver",
                first: 9,
                last: 24,
                saturday: true,
            },
        });
        let sql = filled(&markets);
        assert_ne!(number_of(&sql), number_of(&before));
        assert!(number_of(&sql) >= FIRST_NUMBER && number_of(&before) >= FIRST_NUMBER);
        let hours = creates(&sql, "market_hours").unwrap();
        for part in [
            "market='AESO',toDate(window_start,'America/Edmonton'),",
            "market='AESO',dateDiff('hour',toDateTime(day,'America/Edmonton'),toDateTime(day+1,'America/Edmonton')),",
            "market='AESO',toDate(window_start,'America/Denver'),",
            "market='AESO',toHour(window_start,'America/Denver'),",
            "market='AESO',hour>=8ANDhour<24,",
            "market='AESO',toUnixTimestamp(toDateTime(day+1,'America/Edmonton')),",
            "market='AESO',toUnixTimestamp(toDateTime(delivery_day+1,'America/Denver')),",
            "if(is_by_day,16,hours_of_delivery_day-16)AShours_of_block",
            "NOT(marketIN('CAISO','AESO'))",
            "if(marketIN('CAISO','AESO'),'6x16','5x16')",
            "'SPP','AESO')",
        ] {
            assert!(hours.contains(part), "{part}: {hours}");
        }
        let intervals = creates(&sql, "market_intervals").unwrap();
        for part in [
            "market='AESO',toDate(timestamp,'America/Edmonton'),",
            "market='AESO',toUnixTimestamp(toDateTime(day+1,'America/Edmonton'))-",
            "'SPP','AESO')",
        ] {
            assert!(intervals.contains(part), "{part}: {intervals}");
        }
    }

    #[test]
    fn markets_of_one_clock_need_no_branches() {
        let mut markets: Vec<PowerMarket> = markets::power_markets().collect();
        markets.retain(|market| market.name == "PJM");
        let sql = filled(&markets);
        let intervals = creates(&sql, "market_intervals").unwrap();
        assert!(
            intervals.contains(",toDate(timestamp,'America/New_York')ASday,"),
            "{intervals}"
        );
        assert!(intervals.ends_with("ANDmarket='PJM'"), "{intervals}");
        assert!(sql.contains("NOT (false)"), "{sql}");
    }
}
