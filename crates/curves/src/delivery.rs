//! Delivered hours: the weights of a contract's days.
//!
//! Role: hours of a market's contracts by day, period and block, from the registry of markets and the zone data of jiff.
//! Invariants: flat = peak + off-peak on each day; a day of power has 23, 24 or 25 hours; a gas day counts as 24, because the daily
//! quantity of a gas contract does not change with the clock.
//! Failure: an unknown market, or a day outside the calendar.

use std::sync::Arc;

use domain::Micros;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, Zoned};
use markets::Peak;
use markets::contract::{Block, Commodity, ContractError, Month, Period, is_nerc};

use crate::CurveError;

/// A gas day begins at this hour of Central prevailing time.
const GAS_DAY_HOUR: i8 = 9;
const SECONDS_OF_HOUR: i64 = 3600;

/// When the contracts of one market deliver.
#[derive(Debug, Clone)]
pub struct DeliveryCalendar {
    market: Arc<str>,
    zone: TimeZone,
    peak: Option<Peak>,
}

impl DeliveryCalendar {
    /// The calendar of a market of the registry. A market without on-peak hours is one of gas.
    ///
    /// # Errors
    /// The registry does not have the market.
    pub fn of(market: &str) -> Result<DeliveryCalendar, CurveError> {
        let unknown = || CurveError::UnknownMarket(market.to_owned());
        let described = markets::describe(&markets::iso_venues());
        let found = described
            .into_iter()
            .find(|known| known.name.eq_ignore_ascii_case(market));
        let found = found.ok_or_else(unknown)?;
        // Contracts deliver in prevailing time, also where the market's data do not (MISO).
        let zone = found
            .on_peak
            .map(|peak| peak.zone)
            .or(found.time_zone)
            .ok_or_else(unknown)?;
        Ok(DeliveryCalendar {
            zone: TimeZoneDatabase::bundled().get(zone).map_err(|_| unknown())?,
            peak: found.on_peak,
            market: found.name.into(),
        })
    }

    /// The name of the market.
    pub fn market(&self) -> &str {
        &self.market
    }

    pub(crate) fn shared_market(&self) -> Arc<str> {
        Arc::clone(&self.market)
    }

    /// What the market's contracts deliver.
    pub fn commodity(&self) -> Commodity {
        match self.peak {
            Some(_) => Commodity::Power,
            None => Commodity::Gas,
        }
    }

    /// The local date at a time.
    pub fn date_at(&self, time: Timestamp) -> Date {
        self.zone.to_datetime(time).date()
    }

    /// Whether a time is the start of a local date: then it states a date, and no time of day.
    pub fn is_date(&self, time: Timestamp) -> bool {
        self.zone.to_datetime(time).time() == Time::midnight()
    }

    /// The local date at a time in microseconds; `None` outside of the calendar.
    pub fn day_at(&self, time: Micros) -> Option<Date> {
        let time = Timestamp::from_microsecond(time).ok()?;
        Some(self.date_at(time))
    }

    /// The name of its zone.
    pub fn zone(&self) -> Option<&str> {
        self.zone.iana_name()
    }

    /// When a delivery day begins.
    ///
    /// # Errors
    /// The day is outside the calendar.
    pub fn start_of(&self, day: Date) -> Result<Zoned, CurveError> {
        let hour = match self.commodity() {
            Commodity::Power => 0,
            Commodity::Gas => GAS_DAY_HOUR,
        };
        self.local(day, hour)
    }

    /// Delivered hours of a day.
    ///
    /// # Errors
    /// The day is outside the calendar, or the market has no such block.
    pub fn hours_of_day(&self, day: Date, block: Block) -> Result<i64, CurveError> {
        let next = day
            .tomorrow()
            .map_err(|_| ContractError::OutOfCalendar(day.to_string()))?;
        self.hours_between(day, next, block)
    }

    /// Delivered hours of a period.
    ///
    /// # Errors
    /// As for a day.
    pub fn hours(&self, period: Period, block: Block) -> Result<i64, CurveError> {
        self.hours_between(period.first, period.end, block)
    }

    /// Whether the market has the block, and the calendar all days of the period: then its hours can be counted.
    pub(crate) fn can_count(&self, period: Period, block: Block) -> bool {
        let has_block = block == Block::Flat || self.peak.is_some();
        has_block && self.local(period.end, 0).is_ok()
    }

    /// Delivered hours of a calendar month.
    ///
    /// # Errors
    /// As for a day.
    pub fn hours_of_month(&self, month: Month, block: Block) -> Result<i64, CurveError> {
        self.hours_between(month.first()?, month.plus(1).first()?, block)
    }

    pub(crate) fn hours_between(&self, first: Date, end: Date, block: Block) -> Result<i64, CurveError> {
        match block {
            Block::Flat => self.flat_hours(first, end),
            Block::Peak => self.peak_hours(first, end),
            Block::OffPeak => Ok(self.flat_hours(first, end)? - self.peak_hours(first, end)?),
        }
    }

    fn flat_hours(&self, first: Date, end: Date) -> Result<i64, CurveError> {
        if self.commodity() == Commodity::Gas {
            let days = (end - first).get_days();
            return Ok(i64::from(days) * 24);
        }
        Ok(hours_from(&self.local(first, 0)?, &self.local(end, 0)?))
    }

    fn peak_hours(&self, first: Date, end: Date) -> Result<i64, CurveError> {
        let peak = self.peak.ok_or_else(|| CurveError::NoPeak(self.market.to_string()))?;
        let mut hours = 0;
        for day in first.series(Span::new().days(1)).take_while(|day| *day < end) {
            let is_rest_day = match day.weekday() {
                Weekday::Sunday => true,
                Weekday::Saturday => !peak.saturday || is_nerc(day),
                _ => is_nerc(day),
            };
            if !is_rest_day {
                // Clocks change on Sunday nights only, when there are no on-peak hours.
                hours += i64::from(peak.last) - i64::from(peak.first) + 1;
            }
        }
        Ok(hours)
    }

    fn local(&self, day: Date, hour: i8) -> Result<Zoned, CurveError> {
        let time = day.at(hour, 0, 0, 0).to_zoned(self.zone.clone());
        time.map_err(|_| ContractError::OutOfCalendar(day.to_string()).into())
    }
}

fn hours_from(start: &Zoned, end: &Zoned) -> i64 {
    (end.timestamp().as_second() - start.timestamp().as_second()) / SECONDS_OF_HOUR
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const POWER: [&str; 7] = ["PJM", "MISO", "ERCOT", "SPP", "CAISO", "ISONE", "NYISO"];

    #[test]
    fn months_have_the_hours_that_the_markets_publish() {
        // Counted by hand: sixteen hours for each weekday that is no holiday.
        for (market, year, month, flat, peak) in [
            ("PJM", 2026, 1, 744, 336),
            ("PJM", 2026, 3, 743, 352),
            ("PJM", 2026, 7, 744, 368),
            ("PJM", 2026, 11, 721, 320),
            ("PJM", 2028, 2, 696, 336),
            ("CAISO", 2026, 7, 744, 416),
            ("ERCOT", 2027, 7, 744, 336),
        ] {
            let calendar = DeliveryCalendar::of(market).unwrap();
            let hours = |block| calendar.hours_of_month(Month::new(year, month), block).unwrap();
            assert_eq!(
                (hours(Block::Flat), hours(Block::Peak)),
                (flat, peak),
                "{market} {year}-{month}"
            );
            assert_eq!(hours(Block::OffPeak), flat - peak);
        }
    }

    #[test]
    fn days_of_the_clock_change_have_23_and_25_hours_but_gas_days_count_the_same() {
        for market in POWER {
            let calendar = DeliveryCalendar::of(market).unwrap();
            assert_eq!(
                calendar.hours_of_day(date(2026, 3, 8), Block::Flat).unwrap(),
                23,
                "{market}"
            );
            assert_eq!(
                calendar.hours_of_day(date(2026, 11, 1), Block::OffPeak).unwrap(),
                25,
                "{market}"
            );
        }
        let gas = DeliveryCalendar::of("gas").unwrap();
        assert_eq!(gas.hours_of_month(Month::new(2026, 3), Block::Flat).unwrap(), 744);
        assert!(
            gas.hours_of_month(Month::new(2026, 3), Block::Peak)
                .unwrap_err()
                .to_string()
                .contains("GAS")
        );
        assert_eq!(
            gas.start_of(date(2026, 1, 1)).unwrap().timestamp().to_string(),
            "2026-01-01T15:00:00Z"
        );
        assert!(DeliveryCalendar::of("ICE").is_err());
    }

    proptest! {
        /// Counts hour by hour, by the local clock of each hour.
        #[test]
        fn blocks_are_those_of_each_hour(market in proptest::sample::select(&POWER), year in 2020i16..2040, month in 1i8..13) {
            let calendar = DeliveryCalendar::of(market).unwrap();
            let month = Month::new(year, month);
            let peak = calendar.peak.unwrap();
            let end = calendar.start_of(month.plus(1).first().unwrap()).unwrap();
            let mut hour = calendar.start_of(month.first().unwrap()).unwrap();
            let (mut all, mut on_peak) = (0, 0);
            while hour < end {
                let works = match hour.weekday() {
                    Weekday::Sunday => false,
                    Weekday::Saturday => market == "CAISO",
                    _ => true,
                };
                let ending = hour.hour().unsigned_abs() + 1;
                all += 1;
                on_peak += i64::from(works && !is_nerc(hour.date()) && (peak.first..=peak.last).contains(&ending));
                hour = hour.checked_add(Span::new().hours(1)).unwrap();
            }
            let hours = |block| calendar.hours_of_month(month, block).unwrap();
            prop_assert_eq!((hours(Block::Flat), hours(Block::Peak), hours(Block::OffPeak)), (all, on_peak, all - on_peak));
        }
    }
}
