//! One merged bar beside its hours, for `dp explain bar`.
//!
//! Failure: `None`: no bar of an hour is merged into a bar of that time, or the calendar does not give when that bar begins and ends.

use domain::Micros;
use service::Names;
use stores::ClickHouse;
use stores::clickhouse::Merged;

use super::calendar::{Calendars, HOUR};
use super::compare::{Beside, Key, Stored, beside, grouped};
use super::rules::Hour;
use super::{Asked, Part};

/// A bar, and the midnight in UTC by which a day is stored, are at most this far from any time in it.
const AROUND: Micros = 50 * HOUR;
/// How often both sides are read until the hours did not change meanwhile.
const READINGS: u8 = 3;

/// A merged bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MergedBar {
    pub market: String,
    /// Empty if it is no block.
    pub block: &'static str,
    pub start: Micros,
    pub end: Micros,
    /// When each of its hours begins.
    pub all: Vec<Micros>,
    /// Those of them that have a bar.
    pub hours: Vec<Micros>,
    /// Its columns; none if the view lacks the row, or if a sum has more digits than a bar can hold.
    pub columns: Vec<Beside>,
}

/// The bar of this kind that counts the hour of a time.
///
/// # Errors
/// ClickHouse does not answer, or a view is missing.
pub(crate) async fn merged_bar(
    clickhouse: &ClickHouse,
    names: &Names,
    (tenant, instrument): (&str, &str),
    kind: Merged,
    time: Micros,
) -> anyhow::Result<Option<MergedBar>> {
    let (asked, calendars) = (Asked { clickhouse, names }, Calendars::of_registry()?);
    let part = Part {
        tenant: tenant.to_owned(),
        first: instrument.to_owned(),
        last: instrument.to_owned(),
        within: Some((time.saturating_sub(AROUND), time.saturating_add(AROUND))),
    };
    let mut left = READINGS;
    loop {
        let hours = asked.hours(&part).await?;
        let stored = asked.stored(kind, &part).await?;
        let since = asked.hours(&part).await?;
        left -= 1;
        if left == 0 || grouped(&calendars, kind, &hours) == grouped(&calendars, kind, &since) {
            return Ok(found(&calendars, kind, &hours, (&stored, time)));
        }
    }
}

fn found(
    calendars: &Calendars,
    kind: Merged,
    hours: &[Hour],
    (stored, time): (&[Stored], Micros),
) -> Option<MergedBar> {
    let hour = time - time.rem_euclid(HOUR);
    let groups = grouped(calendars, kind, hours);
    let (key, group) = groups
        .iter()
        .find(|(key, group)| calendars.name(kind, &key.market, hour) == Some(group.name))?;
    let extent = calendars.extent(kind, &key.market, group.name)?;
    let row = stored.iter().find(|row| Key::of(row) == *key);
    Some(MergedBar {
        market: group.hours.first()?.market.clone(),
        block: group.name.block,
        start: extent.start,
        end: extent.end,
        all: calendars.hours(kind, &key.market, group.name)?,
        hours: group.hours.iter().map(|hour| hour.start).collect(),
        columns: row.and_then(|row| beside(kind, group, extent, row)).unwrap_or_default(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::rules::tests::hour;
    use super::*;

    #[test]
    fn the_bar_of_a_time_has_the_hours_of_its_block_and_says_what_the_view_lacks() {
        let calendars = Calendars::of_registry().unwrap();
        // 2026-10-01T00:00Z is 20:00 Eastern of 30 September. The hour ending 24 is by night.
        let hours: Vec<Hour> = [0, 1, 3].map(hour).to_vec();
        let [first, second, night] = [0, 1, 2].map(|at: usize| hours.get(at).unwrap().start);
        let bar = |kind, time| found(&calendars, kind, &hours, (&[], time));
        let block = bar(Merged::Blocks, second + HOUR / 2).unwrap();
        assert_eq!((&*block.market, block.block, block.all.len()), ("PJM", "5x16", 16));
        assert_eq!(block.hours, [first, second]);
        assert!(block.columns.is_empty());
        assert_eq!(bar(Merged::Blocks, night).unwrap().hours, [night]);
        // An hour without a bar is still one of the block.
        assert_eq!(bar(Merged::Blocks, second + HOUR).unwrap(), block);
        assert_eq!(bar(Merged::FourHours, night).unwrap().hours, [first, second, night]);
        let day = bar(Merged::MarketDays, first).unwrap();
        assert_eq!(
            (day.end - day.start, day.all.len(), day.hours.len()),
            (24 * HOUR, 24, 3)
        );
        assert_eq!(bar(Merged::MarketDays, first + 24 * HOUR), None);
    }
}
