//! Compares the bars that are views over the bars of an hour (four hours, market days, blocks) with those hours.
//!
//! Role: `calendar` says which hours are merged, `rules` what they give; here both sides are read; `one` reads a single bar, for
//! `dp explain bar`. `completeness` compares another view over the clocks of markets. That the hours follow from their ticks is another
//! check (`bars`).
//! Invariants: a bar is wrong only if its hours were the same before and after the view was read. Neighbouring instruments are read together, at most
//! [`HOURS_AT_ONCE`] hours (or one instrument), which bounds the memory.
//! Failure: a view that cannot be read is an error; a difference never is.

mod calendar;
pub(crate) mod compare;
mod completeness;
mod one;
mod parsed;
mod rules;

use anyhow::Context as _;
use domain::Micros;
use ops::rows::{number, text};
use serde::Deserialize;
use service::Names;
use service::writer::tables::BARS;
use stores::ClickHouse;
use stores::clickhouse::{Merged, literal};

use super::report::{Check, Differences, Subject, VerifyReport};
use super::versions;
use crate::sql::moment;
use calendar::Calendars;
use compare::{Compared, Stored, compare, grouped};
use parsed::parsed;
use rules::{Column, Hour};

pub(crate) use one::{MergedBar, merged_bar};

/// Hours that are compared together: about 15 MB.
const HOURS_AT_ONCE: u64 = 20_000;

/// What a difference of a view means. A repair cannot put a view back.
pub(crate) const CURE: &str = "a view has no rows of its own, so its definition in ClickHouse is another one than that of this release: drop the view \
    (DROP VIEW with clickhouse-client), then `dp migrate` creates it again, with those that it reads";

/// Compares the three views, and that of completeness.
///
/// # Errors
/// ClickHouse does not answer, or a view is missing.
pub async fn check(clickhouse: &ClickHouse, names: &Names, report: &mut VerifyReport) -> anyhow::Result<()> {
    let (asked, calendars) = (Asked { clickhouse, names }, Calendars::of_registry()?);
    let mut outcomes = Merged::ALL.map(|kind| (kind, Outcome::default()));
    for part in asked.parts().await? {
        let hours = asked.hours(&part).await?;
        for (kind, outcome) in &mut outcomes {
            let stored = asked.stored(*kind, &part).await?;
            let wanted = grouped(&calendars, *kind, &hours);
            let mut compared = compare(&calendars, *kind, &wanted, stored);
            if !compared.wrong.is_empty() {
                let since = asked.hours(&part).await?;
                compared.leave_moved(&wanted, &grouped(&calendars, *kind, &since));
            }
            outcome.add(&asked.view(*kind), &part.tenant, compared);
        }
    }
    let mut is_wrong = outcomes.iter().any(|(_, outcome)| outcome.differences.total > 0);
    for (kind, outcome) in outcomes {
        let view = asked.view(kind);
        report.notes.extend(outcome.notes(&view));
        let (title, left_out) = (
            format!("{view}: rows match the bars of their hours"),
            outcome.left_out(),
        );
        let check = Check::new(title, outcome.expected, outcome.found, outcome.differences);
        report.checks.push(check.about(Subject::View).without(left_out));
    }
    let (check, notes) = completeness::check(clickhouse, names, &calendars).await?;
    is_wrong |= !check.ok;
    report.checks.push(check);
    report.notes.extend(notes);
    report.notes.extend(is_wrong.then(|| CURE.to_owned()));
    Ok(())
}

/// The result for one view.
#[derive(Debug, Default)]
struct Outcome {
    expected: u64,
    found: u64,
    /// Rows whose hours changed meanwhile.
    moved: u64,
    /// Rows of markets that the registry does not have.
    unknown: u64,
    /// Rows whose extent the calendar cannot give.
    no_extent: u64,
    differences: Differences,
}

impl Outcome {
    /// Rows that are not compared.
    fn left_out(&self) -> u64 {
        self.moved + self.unknown + self.no_extent
    }

    /// Why rows are not compared.
    fn notes(&self, view: &str) -> Vec<String> {
        let rows = format!("row(s) of view {view}");
        let of_calendars = [
            (self.unknown, "this release does not know the days of their markets"),
            (
                self.no_extent,
                "the calendar of their market does not give when they begin and end, as at the ends of its range of times",
            ),
        ];
        let counted = of_calendars.into_iter().filter(|(count, _)| *count > 0);
        let noted = counted.map(|(count, why)| format!("{count} {rows} are not compared: {why}"));
        versions::moved(&rows, self.moved).into_iter().chain(noted).collect()
    }

    fn add(&mut self, view: &str, tenant: &str, compared: Compared) {
        self.expected += compared.expected;
        self.found += compared.found;
        self.moved += compared.moved;
        self.unknown += compared.unknown;
        self.no_extent += compared.no_extent;
        for wrong in compared.wrong {
            self.differences.add(format!("{view} {tenant}/{}", wrong.text));
        }
    }
}

/// Instruments of one tenant that follow each other.
struct Part {
    tenant: String,
    first: String,
    last: String,
    /// Only what begins from one time to another, exclusive.
    within: Option<(Micros, Micros)>,
}

impl Part {
    /// The condition on rows that begin at this expression.
    fn sql(&self, begins: &str) -> String {
        let within = self.within.map_or_else(String::new, |(from, to)| {
            format!(" AND {begins} >= {} AND {begins} < {}", moment(from), moment(to))
        });
        format!(
            "tenant_id = {} AND instrument_id >= {} AND instrument_id <= {}{within}",
            literal(&self.tenant),
            literal(&self.first),
            literal(&self.last)
        )
    }
}

#[derive(Deserialize)]
struct HourRow {
    instrument: String,
    of_market: String,
    numbers: Vec<String>,
}

#[derive(Deserialize)]
struct ViewRow {
    instrument: String,
    of_market: String,
    of_block: String,
    time: String,
    asked: String,
    content: Vec<String>,
}

struct Asked<'a> {
    clickhouse: &'a ClickHouse,
    names: &'a Names,
}

impl Asked<'_> {
    fn view(&self, kind: Merged) -> String {
        self.names.table(kind.view())
    }

    /// Every instrument that has bars of an hour.
    async fn parts(&self) -> anyhow::Result<Vec<Part>> {
        let sql = format!(
            "SELECT toString(tenant_id) AS tenant, toString(instrument_id) AS instrument, toString(count()) AS hours FROM {} \
             WHERE interval = '1h' GROUP BY tenant, instrument ORDER BY tenant, instrument",
            self.names.table(BARS.name)
        );
        let rows = self.clickhouse.query_json(&sql).await;
        let (mut parts, mut hours): (Vec<Part>, u64) = (Vec::new(), 0);
        for row in rows.context("list the instruments that have bars of an hour")? {
            let (tenant, instrument) = (text(&row, "tenant")?, text(&row, "instrument")?);
            let more: u64 = number(&row, "hours")?;
            hours += more;
            match parts.last_mut() {
                Some(part) if part.tenant == tenant && hours <= HOURS_AT_ONCE => part.last = instrument.to_owned(),
                _ => {
                    hours = more;
                    parts.push(Part {
                        tenant: tenant.to_owned(),
                        first: instrument.to_owned(),
                        last: instrument.to_owned(),
                        within: None,
                    });
                }
            }
        }
        Ok(parts)
    }

    /// The newest version of each hour.
    async fn hours(&self, part: &Part) -> anyhow::Result<Vec<Hour>> {
        let micros = |column: &str| format!("toString(toUnixTimestamp64Micro({column}))");
        let sql = format!(
            "SELECT toString(instrument_id) AS instrument, toString(market) AS of_market, [{start}, {open_time}, {close_time}, \
             toString(reinterpretAsInt64(open)), toString(reinterpretAsInt64(high)), toString(reinterpretAsInt64(low)), \
             toString(reinterpretAsInt64(close)), toString(reinterpretAsInt128(volume)), toString(reinterpretAsInt128(turnover)), \
             toString(reinterpretAsInt128(price_seconds)), toString(priced_seconds), toString(trade_count), toString(revision), \
             toString(toUInt8(closed))] AS numbers FROM (SELECT * FROM {bars} WHERE {is} AND interval = '1h' \
             ORDER BY version DESC LIMIT 1 BY tenant_id, instrument_id, window_start)",
            start = micros("window_start"),
            open_time = micros("open_time"),
            close_time = micros("close_time"),
            bars = self.names.table(BARS.name),
            is = part.sql("window_start"),
        );
        let rows = self.clickhouse.query_rows(&sql).await;
        let rows: Vec<HourRow> = rows.context("read the bars of an hour")?;
        rows.into_iter().map(hour).collect()
    }

    /// The rows of a view.
    async fn stored(&self, kind: Merged, part: &Part) -> anyhow::Result<Vec<Stored>> {
        let (begins, market, block) = match kind {
            Merged::FourHours => ("start", "''", "''"),
            Merged::MarketDays => ("day", "toString(market)", "''"),
            Merged::Blocks => ("delivery_day", "toString(market)", "toString(block)"),
        };
        let begins = format!("toDateTime64({begins}, 6, 'UTC')");
        let columns: Vec<String> = Column::of(kind).into_iter().map(Column::sql).collect();
        let view = self.view(kind);
        let sql = format!(
            "SELECT toString(instrument_id) AS instrument, {market} AS of_market, {block} AS of_block, \
             toString(toUnixTimestamp64Micro({begins})) AS time, \
             toString(toUnixTimestamp64Micro(now64(6))) AS asked, [{columns}] AS content FROM {view} WHERE {is}",
            columns = columns.join(", "),
            is = part.sql(&begins),
        );
        let rows = self.clickhouse.query_rows(&sql).await;
        let rows: Vec<ViewRow> = rows.with_context(|| {
            format!("read view {view}: if its columns are not those of this release, drop it, and create it with `dp migrate`")
        })?;
        rows.into_iter()
            .map(|row| {
                Ok(Stored {
                    time: parsed("its beginning", &row.time)?,
                    asked: parsed("the time", &row.asked)?,
                    instrument: row.instrument,
                    market: row.of_market,
                    block: row.of_block,
                    content: row.content,
                })
            })
            .collect()
    }
}

fn hour(row: HourRow) -> anyhow::Result<Hour> {
    let instrument = row.instrument;
    let mut numbers = row.numbers.iter();
    let mut next = || -> anyhow::Result<i128> {
        let text = numbers
            .next()
            .with_context(|| format!("a bar of {instrument} has too few values"))?;
        parsed("a value of a bar", text)
    };
    let [start, open_time, close_time] = [next()?, next()?, next()?].map(|time| i64::try_from(time).ok());
    let outside = "a bar has a time outside of the range of times";
    Ok(Hour {
        start: start.context(outside)?,
        open_time: open_time.context(outside)?,
        close_time: close_time.context(outside)?,
        open: next()?,
        high: next()?,
        low: next()?,
        close: next()?,
        volume: next()?,
        turnover: next()?,
        price_seconds: next()?,
        priced_seconds: next()?,
        trade_count: next()?,
        revision: next()?,
        is_closed: next()? != 0,
        market: row.of_market,
        instrument,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_compared_are_counted_and_each_reason_is_noted() {
        let mut outcome = Outcome::default();
        assert!(outcome.notes("v").is_empty());
        let compared = Compared {
            moved: 2,
            unknown: 3,
            no_extent: 4,
            ..Compared::default()
        };
        outcome.add("v", "t", compared);
        assert_eq!((outcome.left_out(), outcome.expected), (9, 0));
        let notes = outcome.notes("v");
        assert_eq!(notes.len(), 3, "{notes:?}");
        for (note, begins) in notes.iter().zip(["2 row(s)", "3 row(s)", "4 row(s)"]) {
            assert!(
                note.starts_with(&format!("{begins} of view v are not compared: ")),
                "{note}"
            );
        }
    }

    #[test]
    fn an_hour_is_read_in_the_order_of_the_query() {
        let numbers = [
            "10", "11", "12", "1", "2", "3", "4", "5", "-6", "7", "8", "9", "13", "1",
        ];
        let row = || HourRow {
            instrument: "I".to_owned(),
            of_market: "PJM".to_owned(),
            numbers: numbers.map(str::to_owned).to_vec(),
        };
        let read = hour(row()).unwrap();
        assert_eq!((read.start, read.open_time, read.close_time), (10, 11, 12));
        assert_eq!((read.open, read.high, read.low, read.close), (1, 2, 3, 4));
        assert_eq!((read.volume, read.turnover, read.price_seconds), (5, -6, 7));
        assert_eq!(
            (read.priced_seconds, read.trade_count, read.revision, read.is_closed),
            (8, 9, 13, true)
        );
        let mut short = row();
        short.numbers.pop();
        assert!(hour(short).is_err_and(|error| error.to_string().contains("too few values")));
    }
}
