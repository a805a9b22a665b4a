//! The pieces in which completeness is compared: the market days of one date, of one market at a time if the date has many prices.
//!
//! Role: `market_ticks` has a partition for each day of ingestion, and the prices of a date are in few of them. Each partition is asked once for
//! its dates, so that a piece reads only the partitions that have its prices, and no query reads the whole table.
//! Invariant: each date that a price may belong to in any zone is in a piece, with every partition that had such a price when it was asked.
//! Failure: ClickHouse does not answer. A date that the view cannot hold is counted, and is in no piece.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use domain::Micros;
use ops::present::iso;
use ops::rows::{number, text};
use stores::clickhouse::literal;

use super::asked::Asked;
use crate::sql::moment;
use crate::verify::merged::calendar::HOUR;
use crate::verify::merged::parsed::parsed;

/// A day in microseconds.
pub(super) const DAY: Micros = 24 * HOUR;
/// Rows that may be of one piece of all markets. ClickHouse keeps each pair of instrument and interval of a piece in memory.
const ROWS_AT_ONCE: u64 = 4_000_000;
/// The dates whose intervals a `DateTime` can hold: up to 2106-02-06.
const DATES: std::ops::RangeInclusive<i64> = 0..=49_709;

/// Market days of one date that are compared together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// In days since 1970.
    pub date: i64,
    pub markets: Vec<&'static str>,
    /// The days of ingestion of its prices, since 1970.
    pub partitions: BTreeSet<u16>,
}

impl Piece {
    /// Its date, and its market if it is of one.
    pub(super) fn shown(&self) -> String {
        let time = iso(self.date.saturating_mul(DAY));
        let date = time.split('T').next().unwrap_or_default();
        match self.markets.as_slice() {
            [market] => format!("{market}/{date}"),
            _ => date.to_owned(),
        }
    }

    /// A condition on `market_ticks` for every row that may be of the piece in any zone.
    pub(super) fn sql(&self) -> String {
        let partitions: Vec<String> = self.partitions.iter().map(|day| format!("toDate({day})")).collect();
        let markets: Vec<String> = self.markets.iter().map(|market| literal(market)).collect();
        format!(
            "toDate(ingested_at) IN ({}) AND timestamp >= {} AND timestamp < {} AND market IN ({})",
            partitions.join(", "),
            moment((self.date - 1) * DAY),
            moment((self.date + 2) * DAY),
            markets.join(", ")
        )
    }
}

/// The interval prices of one date of UTC.
#[derive(Debug, Default)]
struct Prices {
    rows: u64,
    partitions: BTreeSet<u16>,
}

/// The dates of UTC that have interval prices, in days since 1970.
#[derive(Debug, Default)]
pub(super) struct Dates(BTreeMap<i64, Prices>);

impl Dates {
    fn add(&mut self, date: i64, partition: u16, rows: u64) {
        let prices = self.0.entry(date).or_default();
        prices.rows += rows;
        prices.partitions.insert(partition);
    }

    /// Dates that the view cannot hold.
    pub(super) fn beyond(&self) -> usize {
        self.0.keys().filter(|date| !DATES.contains(*date)).count()
    }

    /// The date of a market and that of UTC differ by a day at most.
    pub(super) fn pieces(&self, markets: &[&'static str]) -> Vec<Piece> {
        let around = self.0.keys().flat_map(|date| [date - 1, *date, date + 1]);
        let dates: BTreeSet<i64> = around.filter(|date| DATES.contains(date)).collect();
        let mut pieces = Vec::new();
        for date in dates {
            let (mut rows, mut partitions): (u64, BTreeSet<u16>) = (0, BTreeSet::new());
            for (_, prices) in self.0.range(date - 1..=date + 1) {
                rows += prices.rows;
                partitions.extend(&prices.partitions);
            }
            let at_once = if rows > ROWS_AT_ONCE { 1 } else { markets.len().max(1) };
            pieces.extend(markets.chunks(at_once).map(|markets| Piece {
                date,
                markets: markets.to_vec(),
                partitions: partitions.clone(),
            }));
        }
        pieces
    }
}

impl Asked<'_> {
    /// The dates of every partition.
    pub(super) async fn dates(&self) -> anyhow::Result<Dates> {
        let ticks = &self.ticks;
        // It is the partition key, so the server need not read the rows.
        let sql = format!(
            "SELECT toString(toUInt16(toDate(ingested_at))) AS ingested FROM {ticks} GROUP BY toDate(ingested_at)"
        );
        let partitions = self.clickhouse.query_json(&sql).await;
        let mut dates = Dates::default();
        for row in partitions.with_context(|| format!("list the days on which rows of {ticks} were ingested"))? {
            let partition: u16 = parsed("a day of ingestion", text(&row, "ingested")?)?;
            let sql = format!(
                "SELECT toString(intDiv(toUnixTimestamp64Micro(timestamp), {DAY})) AS date_, toString(count()) AS rows_ FROM {ticks} \
                 WHERE toDate(ingested_at) = toDate({partition}) AND kind = 'interval' GROUP BY date_"
            );
            let rows = self.clickhouse.query_json(&sql).await;
            for row in rows.with_context(|| format!("list the dates of the prices of {ticks}"))? {
                dates.add(number(&row, "date_")?, partition, number(&row, "rows_")?);
            }
        }
        Ok(dates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[Piece]) -> Vec<(String, Vec<u16>)> {
        let one = |piece: &Piece| (piece.shown(), piece.partitions.iter().copied().collect());
        pieces.iter().map(one).collect()
    }

    #[test]
    fn a_piece_reads_the_partitions_of_its_date_and_of_those_beside_it() {
        let mut dates = Dates::default();
        // 2026-10-01 is day 20,727; a correction of it was ingested ten days later.
        for (date, partition) in [(20_727, 20_727), (20_727, 20_737), (20_728, 20_728)] {
            dates.add(date, partition, 5);
        }
        let pieces = dates.pieces(&["PJM", "MISO"]);
        let expected = [
            ("2026-09-30", vec![20_727, 20_737]),
            ("2026-10-01", vec![20_727, 20_728, 20_737]),
            ("2026-10-02", vec![20_727, 20_728, 20_737]),
            ("2026-10-03", vec![20_728]),
        ];
        assert_eq!(
            shown(&pieces),
            expected.map(|(date, partitions)| (date.to_owned(), partitions))
        );
        let sql = pieces.last().map(Piece::sql).unwrap_or_default();
        for part in [
            "toDate(ingested_at) IN (toDate(20728)) AND ",
            "market IN ('PJM', 'MISO')",
            &format!("timestamp >= {}", moment(20_728 * DAY)),
            &format!("timestamp < {}", moment(20_731 * DAY)),
        ] {
            assert!(sql.contains(part), "{part}: {sql}");
        }
    }

    #[test]
    fn a_date_of_many_prices_is_compared_market_by_market() {
        let mut dates = Dates::default();
        dates.add(20_727, 20_727, ROWS_AT_ONCE);
        assert_eq!(dates.pieces(&["PJM", "MISO"]).len(), 3);
        dates.add(20_728, 20_727, 1);
        let names: Vec<String> = dates.pieces(&["PJM", "MISO"]).iter().map(Piece::shown).collect();
        let expected = [
            "2026-09-30",
            "PJM/2026-10-01",
            "MISO/2026-10-01",
            "PJM/2026-10-02",
            "MISO/2026-10-02",
            "2026-10-03",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_date_that_the_view_cannot_hold_is_counted_and_not_asked_for() {
        let mut dates = Dates::default();
        dates.add(-400, 20_727, 1);
        dates.add(60_000, 20_727, 1);
        assert_eq!((dates.beyond(), dates.pieces(&["PJM"]).len()), (2, 0));
        dates.add(0, 20_727, 1);
        assert_eq!((dates.beyond(), dates.pieces(&["PJM"]).len()), (2, 2));
    }
}
