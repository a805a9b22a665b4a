//! Whether differences follow from a setting of this shell: the tables have rows of a market that it does not know.
//!
//! The raw log is read with the configuration of this process. Without normalization's `NORMALIZATION_VENUES`, messages of its venues would be
//! rejected here, and each of their rows would look as if the log had none.
//! Failure: ClickHouse does not answer.

use anyhow::Context as _;
use markets::Venue;
use ops::rows::text;
use service::Names;
use service::writer::tables::MARKET_TICKS;
use stores::ClickHouse;
use stores::clickhouse::literal;

/// Markets that are named.
const NAMED: usize = 10;

/// A note on rows of markets that are none of these venues.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn unknown(clickhouse: &ClickHouse, names: &Names, venues: &[Venue]) -> anyhow::Result<Option<String>> {
    let known: Vec<String> = venues.iter().map(|venue| literal(&venue.name)).collect();
    let sql = format!(
        "SELECT toString(market) AS name, toString(count()) AS rows FROM {} WHERE market NOT IN ({}) GROUP BY market ORDER BY name LIMIT {NAMED}",
        names.table(MARKET_TICKS.name),
        known.join(", ")
    );
    let rows = clickhouse
        .query_json(&sql)
        .await
        .context("list the markets of the ticks")?;
    let mut markets = Vec::new();
    for row in &rows {
        markets.push((text(row, "name")?.to_owned(), text(row, "rows")?.to_owned()));
    }
    Ok(in_words(&markets))
}

/// Of markets and the numbers of their rows.
fn in_words(markets: &[(String, String)]) -> Option<String> {
    if markets.is_empty() {
        return None;
    }
    let named: Vec<String> = markets
        .iter()
        .map(|(name, rows)| format!("{name} ({rows} rows)"))
        .collect();
    Some(format!(
        "market_ticks has rows of {}, which is no market by the settings of this shell: their messages count as rejected here, so differences in \
         these rows and in dead letters may say nothing about the stores. Give it NORMALIZATION_VENUES of the running normalization, and run it \
         again: NORMALIZATION_VENUES=NAME:CURRENCY:UNIT,… dp verify",
        named.join(", ")
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_an_unknown_market_are_named_with_the_setting_that_knows_it() {
        let market = |name: &str, rows: &str| (name.to_owned(), rows.to_owned());
        let note = in_words(&[market("BITMEX", "3"), market("KRAKEN", "24")]).unwrap();
        for part in [
            "BITMEX (3 rows), KRAKEN (24 rows)",
            "NORMALIZATION_VENUES=NAME:CURRENCY:UNIT",
        ] {
            assert!(note.contains(part), "{note}");
        }
        assert_eq!(in_words(&[]), None);
    }
}
