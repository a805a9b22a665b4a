//! Reads both sides of a piece: what its prices in `market_ticks` give, and what the view says.
//!
//! Role: a second opinion on the view. The days are those of the local clock (`calendar`), the lengths of intervals those of the products; the
//! server only counts.
//! Invariant: both sides read the same partitions, of the view by a filter on the table that it reads.
//! Failure: a view that cannot be read is an error that says how to create it again.

use std::collections::BTreeMap;

use anyhow::Context as _;
use domain::{Micros, Product};
use serde::Deserialize;
use stores::clickhouse::{Merged, literal};

use super::asked::Asked;
use super::pieces::{DAY, Piece};
use super::{COUNTS, Counts, Day, Days};
use crate::sql::moment;
use crate::verify::merged::calendar::{Calendars, Extent, Name};
use crate::verify::merged::parsed::parsed;

/// When the day of each market of a piece begins and ends.
type Windows = BTreeMap<&'static str, Extent>;

/// Counts of a day.
#[derive(Debug, Deserialize)]
struct DayRow {
    tenant: String,
    of_market: String,
    of_product: String,
    numbers: Vec<String>,
}

impl DayRow {
    fn day(self, piece: &Piece) -> Day {
        Day {
            tenant: self.tenant,
            market: self.of_market,
            product: self.of_product,
            time: piece.date.saturating_mul(DAY),
        }
    }

    fn counts<const N: usize>(&self) -> anyhow::Result<[i64; N]> {
        let numbers = self
            .numbers
            .iter()
            .map(|text| parsed::<i64>("a count of a market day", text));
        let numbers: Vec<i64> = numbers.collect::<anyhow::Result<_>>()?;
        let count = numbers.len();
        let counts = <[i64; N]>::try_from(numbers).ok();
        counts.with_context(|| format!("ClickHouse returned {count} counts of a market day instead of {N}"))
    }
}

impl Asked<'_> {
    /// The days that the prices of `market_ticks` give.
    pub(super) async fn wanted(&self, piece: &Piece) -> anyhow::Result<Days> {
        let windows = windows(self.calendars, piece)?;
        let rows = self.clickhouse.query_rows(&prices(&self.ticks, piece, &windows)).await;
        let rows: Vec<DayRow> = rows.with_context(|| format!("count the prices of {}", piece.shown()))?;
        rows.into_iter().map(|row| given(row, piece, &windows)).collect()
    }

    /// The days of the view.
    pub(super) async fn found(&self, piece: &Piece) -> anyhow::Result<Days> {
        let ticks = format!("{}.{}", self.clickhouse.database(), self.ticks);
        let view = &self.view;
        let rows = self.clickhouse.query_rows(&shown(view, &ticks, piece)).await;
        let rows: Vec<DayRow> = rows.with_context(|| {
            format!("read view {view}: if its columns are not those of this release, drop it, and create it with `dp migrate`")
        })?;
        rows.into_iter()
            .map(|row| {
                let counts: Counts = row.counts()?;
                Ok((row.day(piece), counts))
            })
            .collect()
    }
}

fn windows(calendars: &Calendars, piece: &Piece) -> anyhow::Result<Windows> {
    let name = Name {
        time: piece.date.saturating_mul(DAY),
        block: "",
    };
    let window = |market: &&'static str| -> anyhow::Result<(&'static str, Extent)> {
        let extent = calendars.extent(Merged::MarketDays, market, name);
        let extent = extent.with_context(|| format!("the calendar of {market} does not give {}", piece.shown()))?;
        Ok((*market, extent))
    };
    piece.markets.iter().map(window).collect()
}

/// The query of the counts that prices give: all of [`COUNTS`] but the first. Intervals are not longer than an hour, so none is in two days.
fn prices(ticks: &str, piece: &Piece, windows: &Windows) -> String {
    let length = |product: Product| Some((literal(product.name()), markets::interval_of(product.name())?));
    let lengths: Vec<(String, Micros)> = Product::ALL.into_iter().filter_map(length).collect();
    let products: Vec<&str> = lengths.iter().map(|(product, _)| product.as_str()).collect();
    let branches: Vec<String> = lengths
        .iter()
        .map(|(product, length)| format!("product = {product}, {length}, "))
        .collect();
    let days: Vec<String> = windows
        .iter()
        .map(|(market, extent)| {
            let (market, start, end) = (literal(market), moment(extent.start), moment(extent.end));
            format!("(market = {market} AND timestamp >= {start} AND timestamp < {end})")
        })
        .collect();
    format!(
        "SELECT toString(tenant_id) AS tenant, toString(market) AS of_market, toString(product) AS of_product, \
         [toString(uniqExact(slot)), toString(uniqExactIf(slot, is_whole)), toString(uniqExact(instrument_id)), \
         toString(uniqExact(instrument_id, slot)), toString(count())] AS numbers FROM (\
         SELECT tenant_id, market, product, instrument_id, \
         intDiv(toUnixTimestamp64Micro(timestamp), multiIf({lengths}1)) AS slot, ifNull(market_status, '') != 'part' AS is_whole \
         FROM {ticks} WHERE kind = 'interval' AND product IN ({products}) AND {is_near} AND ({days})) \
         GROUP BY tenant_id, market, product",
        lengths = branches.concat(),
        products = products.join(", "),
        is_near = piece.sql(),
        days = days.join(" OR "),
    )
}

/// The query of the view. Without the filter it would read the whole table for each piece, because a view has no partitions.
fn shown(view: &str, ticks: &str, piece: &Piece) -> String {
    let counts = COUNTS.map(|count| format!("toString({count})"));
    let markets: Vec<String> = piece.markets.iter().map(|market| literal(market)).collect();
    format!(
        "SELECT toString(tenant_id) AS tenant, toString(market) AS of_market, toString(product) AS of_product, [{counts}] AS numbers \
         FROM {view} WHERE day = toDate({date}) AND market IN ({markets}) SETTINGS additional_table_filters = {{{table}: {filter}}}",
        counts = counts.join(", "),
        date = piece.date,
        markets = markets.join(", "),
        table = literal(ticks),
        filter = literal(&piece.sql()),
    )
}

/// The day of a row of [`prices`].
fn given(row: DayRow, piece: &Piece, windows: &Windows) -> anyhow::Result<(Day, Counts)> {
    let window = windows.get(row.of_market.as_str());
    let expected = window.and_then(|window| Some((window.end - window.start) / markets::interval_of(&row.of_product)?));
    let expected = expected.with_context(|| {
        format!(
            "ClickHouse returned prices of {}/{}, which it was not asked for",
            row.of_market, row.of_product
        )
    })?;
    let [present, whole, instruments, prices, rows] = row.counts::<5>()?;
    Ok((row.day(piece), [expected, present, whole, instruments, prices, rows]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 2 November 2025, which has 25 hours in most markets.
    fn piece() -> Piece {
        Piece {
            date: 20_394,
            markets: vec!["PJM", "MISO"],
            partitions: [20_394, 20_395].into(),
        }
    }

    fn row(market: &str, product: &str, count: usize) -> DayRow {
        DayRow {
            tenant: "t".to_owned(),
            of_market: market.to_owned(),
            of_product: product.to_owned(),
            numbers: (1..=count).map(|number| number.to_string()).collect(),
        }
    }

    #[test]
    fn a_day_expects_the_intervals_of_its_local_clock_and_has_the_counts_in_their_order() {
        let calendars = Calendars::of_registry().unwrap();
        let windows = windows(&calendars, &piece()).unwrap();
        for (market, product, expected) in [("PJM", "rt5", 300), ("PJM", "da", 25), ("MISO", "rt5", 288)] {
            let (day, counts) = given(row(market, product, 5), &piece(), &windows).unwrap();
            assert_eq!(day.shown(), format!("t/{market}/{product}/2025-11-02"));
            assert_eq!(counts, [expected, 1, 2, 3, 4, 5]);
        }
        for (wrong, says) in [
            (row("ICE", "rt5", 5), "not asked for"),
            (row("PJM", "trade", 5), "not asked for"),
            (row("PJM", "rt5", 4), "4 counts"),
        ] {
            let error = given(wrong, &piece(), &windows).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_prices_of_a_day_begin_and_end_at_the_midnights_of_its_market() {
        let calendars = Calendars::of_registry().unwrap();
        let sql = prices("market_ticks", &piece(), &windows(&calendars, &piece()).unwrap());
        for (market, start, end) in [
            ("PJM", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"),
            ("MISO", "2025-11-02T05:00:00Z", "2025-11-03T05:00:00Z"),
        ] {
            let at = |time: &str| moment(time.parse::<jiff::Timestamp>().unwrap().as_microsecond());
            let day = format!(
                "(market = '{market}' AND timestamp >= {} AND timestamp < {})",
                at(start),
                at(end)
            );
            assert!(sql.contains(&day), "{day}: {sql}");
        }
        assert!(sql.contains(&piece().sql()), "{sql}");
    }

    #[test]
    fn the_view_is_read_by_a_filter_on_its_table() {
        let sql = shown("completeness_g2", "market_data.market_ticks_g2", &piece());
        let filter = "SETTINGS additional_table_filters = {'market_data.market_ticks_g2': 'toDate(ingested_at) IN (toDate(20394), toDate(20395))";
        assert!(sql.contains(filter), "{sql}");
        // The filter is a text within the statement.
        assert!(sql.ends_with("AND market IN (\\'PJM\\', \\'MISO\\')'}"), "{sql}");
        assert!(
            sql.contains("FROM completeness_g2 WHERE day = toDate(20394) AND market IN ('PJM', 'MISO')"),
            "{sql}"
        );
    }
}
