//! Which merged bar an hour belongs to: four hours of UTC, a market day, or a block of a delivery day. Pure.
//!
//! Role: a second opinion on the views, which say the same in SQL. Of the registry of markets it uses the facts: zones and on-peak hours.
//! Invariant: every hour of a power market is in one bar of each kind, and a day has the hours of its local clock.
//! Failure: `None`: the market is no power market of the registry, or the time is outside of the calendar.

use std::collections::BTreeMap;

use anyhow::Context as _;
use domain::Micros;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use markets::Peak;
use stores::clickhouse::Merged;

use crate::verify::curves::delivery::is_holiday;

/// An hour in microseconds.
pub(super) const HOUR: Micros = 3_600_000_000;
const FOUR_HOURS: Micros = 4 * HOUR;

/// The name of a merged bar among those of one instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    /// Its beginning as the view states it: a time, or its day as midnight in UTC.
    pub time: Micros,
    /// Its block; empty if it is none.
    pub block: &'static str,
}

/// What time a merged bar is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The beginning; of a block, that of its delivery day.
    pub start: Micros,
    /// The end, exclusive; of a block, that of its delivery day.
    pub end: Micros,
    /// Number of its hours.
    pub hours: i64,
}

/// The clocks of the power markets.
pub(super) struct Calendars(BTreeMap<&'static str, Calendar>);

struct Calendar {
    /// Of the market's day.
    day: TimeZone,
    /// Of its contracts.
    delivery: TimeZone,
    peak: Peak,
}

impl Calendars {
    /// Those of the registry.
    ///
    /// # Errors
    /// A zone of the registry is not among those of jiff.
    pub(super) fn of_registry() -> anyhow::Result<Calendars> {
        let zone = |name: &str| {
            let found = TimeZoneDatabase::bundled().get(name);
            found.with_context(|| format!("find time zone {name} of the registry of markets"))
        };
        let mut calendars = BTreeMap::new();
        for market in markets::power_markets() {
            let calendar = Calendar {
                day: zone(market.zone)?,
                delivery: zone(market.peak.zone)?,
                peak: market.peak,
            };
            calendars.insert(market.name, calendar);
        }
        Ok(Calendars(calendars))
    }

    /// Whether the registry has this power market.
    pub(super) fn know(&self, market: &str) -> bool {
        self.0.contains_key(market)
    }

    /// The merged bar of this kind that counts the hour that begins at this time.
    pub(super) fn name(&self, kind: Merged, market: &str, hour: Micros) -> Option<Name> {
        let (time, block) = match kind {
            Merged::FourHours => (hour - hour.rem_euclid(FOUR_HOURS), ""),
            Merged::MarketDays => (in_utc(local(&self.0.get(market)?.day, hour)?.date())?, ""),
            Merged::Blocks => {
                let calendar = self.0.get(market)?;
                let local = local(&calendar.delivery, hour)?;
                (in_utc(local.date())?, calendar.block(local))
            }
        };
        Some(Name { time, block })
    }

    /// The time of a merged bar.
    pub(super) fn extent(&self, kind: Merged, market: &str, name: Name) -> Option<Extent> {
        let (start, end) = self.window(kind, market, name)?;
        let hours = self.hours(kind, market, name)?.len();
        Some(Extent {
            start,
            end,
            hours: i64::try_from(hours).ok()?,
        })
    }

    /// When each hour of a merged bar begins.
    pub(super) fn hours(&self, kind: Merged, market: &str, name: Name) -> Option<Vec<Micros>> {
        let (start, end) = self.window(kind, market, name)?;
        let all = std::iter::successors(Some(start), |hour| Some(hour + HOUR)).take_while(|hour| *hour < end);
        if kind != Merged::Blocks {
            return Some(all.collect());
        }
        let calendar = self.0.get(market)?;
        let block = |hour: Micros| Some(calendar.block(local(&calendar.delivery, hour)?));
        Some(all.filter(|hour| block(*hour) == Some(name.block)).collect())
    }

    fn window(&self, kind: Merged, market: &str, name: Name) -> Option<(Micros, Micros)> {
        let zone = match kind {
            Merged::FourHours => return Some((name.time, name.time + FOUR_HOURS)),
            Merged::MarketDays => &self.0.get(market)?.day,
            Merged::Blocks => &self.0.get(market)?.delivery,
        };
        let date = local(&TimeZone::UTC, name.time)?.date();
        Some((midnight(zone, date)?, midnight(zone, date.tomorrow().ok()?)?))
    }
}

impl Calendar {
    /// The block of an hour that begins at this local time.
    fn block(&self, local: DateTime) -> &'static str {
        let ending = i16::from(local.hour()) + 1;
        let is_by_day = (i16::from(self.peak.first)..=i16::from(self.peak.last)).contains(&ending);
        let day = local.date();
        let works = match day.weekday() {
            Weekday::Sunday => false,
            Weekday::Saturday => self.peak.saturday && !is_holiday(day),
            _ => !is_holiday(day),
        };
        match (is_by_day, works, self.peak.saturday) {
            (false, ..) => "7x8",
            (true, true, false) => "5x16",
            (true, true, true) => "6x16",
            (true, false, false) => "2x16H",
            (true, false, true) => "1x16H",
        }
    }
}

fn local(zone: &TimeZone, time: Micros) -> Option<DateTime> {
    Some(zone.to_datetime(Timestamp::from_microsecond(time).ok()?))
}

fn midnight(zone: &TimeZone, date: Date) -> Option<Micros> {
    Some(date.to_zoned(zone.clone()).ok()?.timestamp().as_microsecond())
}

fn in_utc(date: Date) -> Option<Micros> {
    midnight(&TimeZone::UTC, date)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(time: &str) -> Micros {
        time.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn hours_are_in_the_blocks_of_the_markets_contracts() {
        let calendars = Calendars::of_registry().unwrap();
        for (market, hour, day, block, hours) in [
            // Hour ending 8 and 23 Eastern, and those around them.
            ("PJM", "2026-10-01T11:00:00Z", "2026-10-01", "5x16", 16),
            ("PJM", "2026-10-01T10:00:00Z", "2026-10-01", "7x8", 8),
            ("PJM", "2026-10-02T02:00:00Z", "2026-10-01", "5x16", 16),
            ("PJM", "2026-10-02T03:00:00Z", "2026-10-01", "7x8", 8),
            // A Saturday, which has peak hours in one market.
            ("PJM", "2026-10-03T18:00:00Z", "2026-10-03", "2x16H", 16),
            ("CAISO", "2026-10-03T18:00:00Z", "2026-10-03", "6x16", 16),
            ("CAISO", "2026-10-04T18:00:00Z", "2026-10-04", "1x16H", 16),
            // Independence Day of 2027 is a Sunday: kept on Monday.
            ("ERCOT", "2027-07-05T18:00:00Z", "2027-07-05", "2x16H", 16),
            ("ERCOT", "2027-07-06T18:00:00Z", "2027-07-06", "5x16", 16),
            ("CAISO", "2026-11-26T20:00:00Z", "2026-11-26", "1x16H", 16),
            // The clocks go back and forward by night; contracts of MISO follow them, its day does not.
            ("PJM", "2025-11-02T05:00:00Z", "2025-11-02", "7x8", 9),
            ("MISO", "2025-11-02T05:00:00Z", "2025-11-02", "7x8", 9),
            ("SPP", "2026-03-08T07:00:00Z", "2026-03-08", "7x8", 7),
        ] {
            let name = calendars.name(Merged::Blocks, market, at(hour)).unwrap();
            let midnight = at(&format!("{day}T00:00:00Z"));
            assert_eq!((name.time, name.block), (midnight, block), "{market} {hour}");
            let extent = calendars.extent(Merged::Blocks, market, name).unwrap();
            assert_eq!(extent.hours, hours, "{market} {hour}");
            assert!((extent.start..extent.end).contains(&at(hour)), "{market} {hour}");
            let all = calendars.hours(Merged::Blocks, market, name).unwrap();
            assert!(all.contains(&at(hour)), "{market} {hour}");
        }
        assert_eq!(calendars.name(Merged::Blocks, "ICE", at("2026-10-01T11:00:00Z")), None);
    }

    #[test]
    fn a_day_is_that_of_the_market_and_four_hours_are_of_utc() {
        let calendars = Calendars::of_registry().unwrap();
        for (market, hour, start, hours) in [
            ("NYISO", "2025-11-02T12:00:00Z", "2025-11-02T04:00:00Z", 25),
            ("NYISO", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", 23),
            ("MISO", "2025-11-02T12:00:00Z", "2025-11-02T05:00:00Z", 24),
            ("CAISO", "2026-07-04T06:00:00Z", "2026-07-03T07:00:00Z", 24),
        ] {
            let name = calendars.name(Merged::MarketDays, market, at(hour)).unwrap();
            let extent = calendars.extent(Merged::MarketDays, market, name).unwrap();
            let end = at(start) + hours * HOUR;
            assert_eq!(
                (extent.start, extent.end, extent.hours),
                (at(start), end, hours),
                "{market} {hour}"
            );
        }
        let name = calendars
            .name(Merged::FourHours, "ICE", at("2026-10-01T07:00:00Z"))
            .unwrap();
        let extent = calendars.extent(Merged::FourHours, "ICE", name).unwrap();
        assert_eq!((name.time, name.block), (at("2026-10-01T04:00:00Z"), ""));
        assert_eq!((extent.end, extent.hours), (at("2026-10-01T08:00:00Z"), 4));
    }

    #[test]
    fn the_blocks_of_a_day_share_its_hours() {
        let calendars = Calendars::of_registry().unwrap();
        for market in markets::power_markets() {
            for day in 0..800 {
                let time = at("2025-10-01T00:00:00Z") + day * 24 * HOUR;
                let blocks = ["7x8", "5x16", "6x16", "2x16H", "1x16H"];
                let all = blocks.map(|block| calendars.extent(Merged::Blocks, market.name, Name { time, block }));
                let hours: i64 = all.iter().flatten().map(|extent| extent.hours).sum();
                let whole = all.iter().flatten().next().unwrap();
                assert_eq!(hours * HOUR, whole.end - whole.start, "{} day {day}", market.name);
            }
        }
    }
}
