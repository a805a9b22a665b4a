//! Bars that are views over the bars of an hour: of four hours, of market days, and of the blocks of delivery days.
//!
//! Failure: nothing is retried here. The caller limits the time, since a client waits for the response.

use domain::Micros;
use serde::Deserialize;

use super::{ClickHouse, literal, time_literal};
use crate::StoreError;

/// A view over the bars of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Merged {
    FourHours,
    MarketDays,
    Blocks,
}

impl Merged {
    /// Every view.
    pub const ALL: [Merged; 3] = [Merged::FourHours, Merged::MarketDays, Merged::Blocks];

    /// The name in queries.
    pub fn name(self) -> &'static str {
        match self {
            Merged::FourHours => "4h",
            Merged::MarketDays => "1d-local",
            Merged::Blocks => "blocks",
        }
    }

    /// The view with this name in queries.
    pub fn from_name(name: &str) -> Option<Merged> {
        Merged::ALL.into_iter().find(|merged| merged.name() == name)
    }

    /// The view, without the suffix of its generation.
    pub fn view(self) -> &'static str {
        match self {
            Merged::FourHours => "bars_4h",
            Merged::MarketDays => "bars_1d_local",
            Merged::Blocks => "bars_blocks",
        }
    }

    /// The column with the beginning: a time, or a date.
    fn begins(self) -> &'static str {
        match self {
            Merged::FourHours => "start",
            Merged::MarketDays => "day",
            Merged::Blocks => "delivery_day",
        }
    }

    /// What the other views do not have. The hours of a block do not follow each other, so it has no first price.
    fn own_columns(self) -> &'static str {
        match self {
            Merged::FourHours => "toString(open) AS open, toString(close) AS close",
            Merged::MarketDays => "toString(open) AS open, toString(close) AS close, hours_of_day",
            Merged::Blocks => "block",
        }
    }
}

/// Which bars are asked for.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MergedQuestion {
    pub tenant_id: String,
    pub instrument_id: String,
    pub bars: Merged,
    /// The earliest beginning. A day counts as if it began at midnight in UTC.
    pub from: Micros,
    /// The latest beginning, exclusive.
    pub to: Micros,
    /// Most rows; the newest are returned.
    pub limit: usize,
}

/// A row of such a view. Prices and sums are texts with all digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct StoredMerged {
    pub market: String,
    /// The beginning; of a day, midnight in UTC.
    pub time: Micros,
    /// The name of the block of a delivery day.
    pub block: Option<String>,
    pub open: Option<String>,
    pub high: String,
    pub low: String,
    pub close: Option<String>,
    pub volume: String,
    pub turnover: String,
    pub vwap: Option<String>,
    pub twap: Option<String>,
    pub trade_count: i64,
    pub revision: i64,
    /// 1 if each of its bars is closed, and none can follow.
    pub closed: u8,
    /// Number of its bars.
    pub hours: u64,
    /// 23 to 25, of a market day.
    pub hours_of_day: Option<i64>,
    /// As those of a bar.
    pub flags: Vec<String>,
}

/// The newest of these bars, the latest first, from the view of the generation with this suffix.
///
/// # Errors
/// The error of the server.
pub async fn merged_bars(
    clickhouse: &ClickHouse,
    suffix: &str,
    question: &MergedQuestion,
) -> Result<Vec<StoredMerged>, StoreError> {
    let sql = statement(clickhouse.database(), suffix, question);
    clickhouse.rows("read merged bars", &sql).await
}

fn statement(database: &str, suffix: &str, question: &MergedQuestion) -> String {
    let begins = format!("toDateTime64({}, 6, 'UTC')", question.bars.begins());
    // Of the blocks of a day, by name.
    let then = if question.bars == Merged::Blocks { ", block" } else { "" };
    format!(
        "SELECT toString(market) AS market, toUnixTimestamp64Micro({begins}) AS time, {own}, toString(high) AS high, \
         toString(low) AS low, toString(volume) AS volume, toString(turnover) AS turnover, toString(vwap) AS vwap, \
         toString(twap) AS twap, trade_count, revision, toUInt8(closed) AS closed, hours, flags \
         FROM {database}.{view}{suffix} \
         WHERE tenant_id = {tenant} AND instrument_id = {instrument} AND {begins} >= {from} AND {begins} < {to} \
         ORDER BY {begins} DESC{then} LIMIT {limit}",
        own = question.bars.own_columns(),
        view = question.bars.view(),
        tenant = literal(&question.tenant_id),
        instrument = literal(&question.instrument_id),
        from = time_literal(question.from),
        to = time_literal(question.to),
        limit = question.limit,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_times_are_literals_that_the_server_accepts() {
        for bars in Merged::ALL {
            assert_eq!(Merged::from_name(bars.name()), Some(bars));
            let question = MergedQuestion {
                tenant_id: "o'neil".to_owned(),
                instrument_id: "a\\b".to_owned(),
                bars,
                from: Micros::MIN,
                to: Micros::MAX,
                limit: 7,
            };
            let sql = statement("db", "_g2", &question);
            for part in [
                format!("FROM db.{}_g2 ", bars.view()),
                format!("tenant_id = {}", literal("o'neil")),
                format!("instrument_id = {}", literal("a\\b")),
                "(toInt64(-2208988800000000), 'UTC')".to_owned(),
                "LIMIT 7".to_owned(),
            ] {
                assert!(sql.contains(&part), "{part}: {sql}");
            }
        }
        assert_eq!(Merged::from_name("1h"), None);
    }
}
