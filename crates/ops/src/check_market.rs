//! Compares the fine prices of markets with the mean that their own hourly reports say.
//!
//! Role: asks ClickHouse for the hours of each day (`aggregation::hourly::statements`), and compares them (`markets::hourly`).
//! Failure: ClickHouse does not answer. Hours that cannot be compared are counted, not guessed.

use aggregation::hourly::statements::Question;
use anyhow::Context as _;
use domain::{Decimal, Micros};
use markets::hourly::{Compared, Comparison, HOURLY, Hour, pairs};
use serde::Serialize;
use serde_json::{Map, Value};
use stores::ClickHouse;

use crate::connection::Connection;
use crate::migrations::stores;
use crate::progress::Progress;
use crate::rows::{number, text};

const HOUR: Micros = 3_600_000_000;
const DAY: Micros = 24 * HOUR;
/// Differences that are kept of each market.
const KEPT: usize = 10;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// Only this market.
    pub market: Option<&'a str>,
    /// Only hours since the whole hour before this time.
    pub since: Micros,
    /// The time until which there are hours.
    pub now: Micros,
    /// Largest difference that rounding explains.
    pub tolerance: Decimal,
}

/// The result for one market.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The market.
    pub market: &'static str,
    /// Product of its fine prices.
    pub fine: &'static str,
    /// Product of its hourly prices.
    pub hourly: &'static str,
    /// What the comparison found.
    #[serde(flatten)]
    pub compared: Compared,
}

/// Compares each market that publishes both.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn compare(connection: &Connection, asked: &Asked<'_>) -> anyhow::Result<Vec<Report>> {
    let clickhouse = stores(connection)?.clickhouse;
    let markets: Vec<_> = pairs()
        .filter(|(market, _)| asked.market.is_none_or(|wanted| wanted == *market))
        .collect();
    let (days, table) = (parts(asked.since, asked.now), connection.names.table("market_ticks"));
    let mut progress = Progress::new("comparing", (days.len() * markets.len()) as u64, "market days");
    let (mut reports, mut done) = (Vec::new(), 0);
    for (market, fine) in markets {
        let mut comparison = Comparison::new(asked.tolerance, KEPT);
        for &(from, to) in &days {
            let question = Question {
                table: &table,
                tenant: asked.tenant,
                market,
                fine,
                from,
                to,
                stored_since: None,
            };
            hours(&clickhouse, &question)
                .await
                .context("read market_ticks: is ClickHouse running (`dp status`)?")?
                .iter()
                .for_each(|hour| comparison.add(hour));
            done += 1;
            progress.set(done, market);
        }
        reports.push(Report {
            market,
            fine,
            hourly: HOURLY,
            compared: comparison.found(),
        });
    }
    progress.finish();
    Ok(reports)
}

/// Whole hours since a time, in parts of a day: a market has 100,000 hours of nodes on a day.
fn parts(since: Micros, now: Micros) -> Vec<(Micros, Micros)> {
    let first = since.div_euclid(HOUR) * HOUR;
    let starts = (0..)
        .map(|number| first + number * DAY)
        .take_while(|start| *start < now);
    starts.map(|start| (start, start + DAY)).collect()
}

async fn hours(clickhouse: &ClickHouse, question: &Question<'_>) -> anyhow::Result<Vec<Hour>> {
    let rows = clickhouse.query_json(&question.of_nodes()).await?;
    rows.iter().map(hour).collect()
}

fn hour(row: &Map<String, Value>) -> anyhow::Result<Hour> {
    Ok(Hour {
        node: text(row, "node")?.to_owned(),
        start: number::<Micros>(row, "start")? * 1_000_000,
        hourly: Decimal::from_unscaled(number(row, "hourly")?).context("ClickHouse returned a price out of range")?,
        weighted: number(row, "weighted")?,
        covered: number(row, "covered")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_begin_at_a_whole_hour_and_cover_the_time() {
        let parts = parts(5 * HOUR + 7, 5 * HOUR + DAY + 1);
        assert_eq!(
            parts,
            [(5 * HOUR, 5 * HOUR + DAY), (5 * HOUR + DAY, 5 * HOUR + 2 * DAY)]
        );
    }
}
