//! A bar of four hours, of a market day or of a block, and the bars of an hour that it is merged from.
//!
//! Role: the bar is a row of a view. Its numbers are computed again from the hours by the code of `dp verify`; each hour is explained by
//! `dp explain bar --interval 1h`, whose command is part of the trace.
//! Failure: hours that have no bar are named, never guessed.

use domain::{Interval, Micros};
use serde::Serialize;
use stores::clickhouse::Merged;

use super::numbers::Compared;
use super::session::Session;
use super::tables::{Instrument, Tables};
use super::{At, BarRow};
use crate::sql::moment;
use crate::verify::merged::{MergedBar, merged_bar};

/// Missing hours that are named.
const NAMED: usize = 5;

/// A merged bar traced back.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct MergedTrace {
    pub tenant_id: String,
    pub instrument_id: String,
    pub market: String,
    /// `4h`, `1d-local`, or the name of the block.
    pub interval: String,
    pub view: &'static str,
    pub window_start: At,
    pub window_end: At,
    /// Numbers of the view, and as merged from the hours.
    pub numbers: Vec<Compared>,
    /// Whether the view has the bar, and all numbers agree.
    pub agrees: bool,
    /// Number of the hours that it may have.
    pub hours_of_bar: usize,
    /// The hours that have a bar, the earliest first.
    pub hours: Vec<MergedHour>,
    /// Hours without a bar.
    pub missing: Vec<At>,
    pub notes: Vec<String>,
}

/// An hour of a merged bar.
#[derive(Debug, Serialize)]
pub struct MergedHour {
    /// Its newest version.
    #[serde(flatten)]
    pub bar: BarRow,
    /// The command that explains it.
    pub explain: String,
}

impl Session<'_> {
    /// Traces the merged bar that counts the hour of this time to its hours.
    ///
    /// # Errors
    /// The bar does not exist, or ClickHouse does not answer.
    pub async fn merged(&self, instrument: Instrument<'_>, kind: Merged, time: Micros) -> anyhow::Result<MergedTrace> {
        let of = (instrument.tenant_id, instrument.id);
        let Some(bar) = merged_bar(&self.clickhouse, &self.connection.names, of, kind, time).await? else {
            return Err(self.no_merged(instrument, kind, time).await?);
        };
        let rows = self.tables().hours(instrument, &bar.hours).await?;
        let own_tenant = &self.connection.settings.tenant_id;
        Ok(trace(instrument, kind, bar, rows, own_tenant))
    }

    async fn no_merged(&self, instrument: Instrument<'_>, kind: Merged, time: Micros) -> anyhow::Result<anyhow::Error> {
        let nearest = self.tables().nearest_bars(instrument, Interval::OneHour, time).await?;
        if nearest.is_empty() {
            return self.unknown(instrument).await;
        }
        let starts: Vec<String> = nearest.iter().map(At::to_string).collect();
        let of_markets = match kind {
            Merged::FourHours => "",
            Merged::MarketDays | Merged::Blocks => " Only instruments of power markets have market days and blocks.",
        };
        Ok(anyhow::anyhow!(
            "there is no {} bar of {} that counts the hour of {}: the nearest bars of an hour start at {}.{of_markets}",
            kind.name(),
            instrument.id,
            At(time),
            starts.join(", ")
        ))
    }
}

impl Tables<'_> {
    /// The newest version of each bar of an hour that begins at one of these times, the earliest first.
    async fn hours(&self, instrument: Instrument<'_>, starts: &[Micros]) -> anyhow::Result<Vec<BarRow>> {
        let starts: Vec<String> = starts.iter().map(|start| moment(*start)).collect();
        let is = format!(
            "{} AND interval = '1h' AND window_start IN ({})",
            instrument.is(),
            starts.join(", ")
        );
        let mut bars = self.bars(&is, "LIMIT 1 BY interval, window_start").await?;
        bars.sort_by_key(|bar| bar.window_start);
        Ok(bars)
    }
}

fn trace(instrument: Instrument<'_>, kind: Merged, bar: MergedBar, rows: Vec<BarRow>, own_tenant: &str) -> MergedTrace {
    let tenant = match instrument.tenant_id == own_tenant {
        true => String::new(),
        false => format!(" --tenant {}", instrument.tenant_id),
    };
    let explain = |start: At| {
        format!(
            "dp explain bar --instrument {} --interval 1h --start {start}{tenant}",
            instrument.id
        )
    };
    let hours = rows.into_iter().map(|bar| MergedHour {
        explain: explain(bar.window_start),
        bar,
    });
    let numbers: Vec<Compared> = bar
        .columns
        .into_iter()
        .map(|column| Compared {
            name: column.name,
            agrees: column.found == column.expected,
            stored: column.found,
            recomputed: column.expected,
        })
        .collect();
    let interval = if bar.block.is_empty() { kind.name() } else { bar.block };
    let missing = bar.all.iter().filter(|hour| !bar.hours.contains(*hour));
    let mut trace = MergedTrace {
        tenant_id: instrument.tenant_id.to_owned(),
        instrument_id: instrument.id.to_owned(),
        market: bar.market,
        interval: interval.to_owned(),
        view: kind.view(),
        window_start: At(bar.start),
        window_end: At(bar.end),
        agrees: !numbers.is_empty() && numbers.iter().all(|number| number.agrees),
        numbers,
        hours_of_bar: bar.all.len(),
        hours: hours.collect(),
        missing: missing.copied().map(At).collect(),
        notes: Vec::new(),
    };
    trace.notes = notes(&trace);
    trace
}

fn notes(trace: &MergedTrace) -> Vec<String> {
    let mut notes = Vec::new();
    if !trace.missing.is_empty() {
        let named: Vec<String> = trace.missing.iter().take(NAMED).map(At::to_string).collect();
        let more = if trace.missing.len() > NAMED { ", …" } else { "" };
        notes.push(format!(
            "{} of its {} hours have no bar: {}{more}",
            trace.missing.len(),
            trace.hours_of_bar,
            named.join(", ")
        ));
    }
    if trace.numbers.is_empty() {
        notes.push(format!(
            "view {} has no such row, although the bar has hours: `dp verify` says how to put the view back",
            trace.view
        ));
    } else if !trace.agrees {
        notes.push(format!(
            "view {} shows other numbers than its hours give: `dp verify` lists every wrong row, and how to put the view back",
            trace.view
        ));
    }
    notes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::bar::tests::traced;
    use super::*;
    use crate::verify::merged::compare::Beside;

    const HOUR: Micros = 3_600_000_000;

    /// A block of four hours of which two have a bar, with these values of its column `high`.
    pub(crate) fn block(expected: &str, found: &str) -> MergedTrace {
        let (row, _) = traced();
        let hour = |number: Micros| BarRow {
            interval: "1h".to_owned(),
            window_start: At(number * HOUR),
            ..row.clone()
        };
        let bar = MergedBar {
            market: "PJM".to_owned(),
            block: "5x16",
            start: 0,
            end: 24 * HOUR,
            all: (0..4).map(|number| number * HOUR).collect(),
            hours: vec![0, HOUR],
            columns: vec![Beside {
                name: "high",
                expected: expected.to_owned(),
                found: found.to_owned(),
            }],
        };
        let instrument = Instrument {
            tenant_id: "acme",
            id: "I",
        };
        trace(instrument, Merged::Blocks, bar, vec![hour(0), hour(1)], "default")
    }

    #[test]
    fn each_hour_has_the_command_that_explains_it_and_the_others_are_named() {
        let block = block("5", "5");
        assert!(block.agrees);
        assert_eq!((&*block.interval, block.view), ("5x16", "bars_blocks"));
        let commands: Vec<&str> = block.hours.iter().map(|hour| &*hour.explain).collect();
        assert_eq!(
            commands,
            [
                "dp explain bar --instrument I --interval 1h --start 1970-01-01T00:00:00Z --tenant acme",
                "dp explain bar --instrument I --interval 1h --start 1970-01-01T01:00:00Z --tenant acme"
            ]
        );
        assert_eq!(
            block.notes,
            ["2 of its 4 hours have no bar: 1970-01-01T02:00:00Z, 1970-01-01T03:00:00Z"]
        );
    }

    #[test]
    fn a_view_that_shows_another_number_or_lacks_the_row_is_said() {
        let differs = block("5", "6");
        assert!(!differs.agrees && differs.notes.iter().any(|note| note.contains("shows other numbers")));
        let mut lacks = differs;
        lacks.numbers.clear();
        assert!(notes(&lacks).iter().any(|note| note.contains("has no such row")));
    }
}
