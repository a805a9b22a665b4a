//! Bars by naive arithmetic: every tick of a window in a list, and the list looked through.

use std::collections::BTreeMap;

use crate::expect::order;
use crate::numbers::average;
use crate::parse::Tick;

/// Names and lengths in microseconds.
pub const INTERVALS: [(&str, i64); 5] = [
    ("1m", 60_000_000),
    ("5m", 300_000_000),
    ("15m", 900_000_000),
    ("1h", 3_600_000_000),
    ("1d", 86_400_000_000),
];

/// (tenant, instrument, interval, start in microseconds).
pub type BarKey = (String, String, String, i64);

/// The numbers of a bar: prices and volume at scale 8, turnover at scale 16.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Bar {
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
    pub volume: i128,
    pub turnover: i128,
    pub vwap: Option<i128>,
    pub count: i128,
}

/// Start of the window that holds a time.
pub fn window_start(time: i64, length: i64) -> i64 {
    let into = ((time % length) + length) % length;
    time - into
}

/// The bars of these ticks; `is_late` says which tick an interval does not count.
pub fn bars(ticks: &[Tick], is_late: impl Fn(&Tick, &str) -> bool) -> BTreeMap<BarKey, Bar> {
    let mut windows: BTreeMap<BarKey, Vec<&Tick>> = BTreeMap::new();
    for tick in ticks {
        for (interval, length) in INTERVALS {
            if !is_late(tick, interval) {
                let start = window_start(tick.time, length);
                let key = (tick.tenant.clone(), tick.instrument.clone(), interval.to_owned(), start);
                windows.entry(key).or_default().push(tick);
            }
        }
    }
    windows
        .into_iter()
        .filter_map(|(key, ticks)| Some((key, bar(ticks)?)))
        .collect()
}

fn bar(mut ticks: Vec<&Tick>) -> Option<Bar> {
    ticks.sort_by(|one, other| order(one).cmp(&order(other)));
    let volume = ticks.iter().filter_map(|tick| tick.volume).sum();
    let turnover = ticks.iter().filter_map(|tick| Some(tick.price * tick.volume?)).sum();
    Some(Bar {
        open: ticks.first()?.price,
        high: ticks.iter().map(|tick| tick.price).max()?,
        low: ticks.iter().map(|tick| tick.price).min()?,
        close: ticks.last()?.price,
        volume,
        turnover,
        vwap: average(turnover, volume),
        count: ticks.len() as i128,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(offset: i64, time: i64, price: i128, volume: Option<i128>) -> Tick {
        Tick {
            feed: "raw".to_owned(),
            partition: 0,
            offset,
            index: 0,
            tenant: "t".to_owned(),
            instrument: "i".to_owned(),
            event_id: None,
            price,
            volume,
            time,
            sequence: None,
            reused_id: false,
        }
    }

    #[test]
    fn open_and_close_are_by_time_and_then_by_place() {
        let ticks = [
            tick(3, 59_000_000, 5, Some(2)),
            tick(1, 1, 7, None),
            tick(2, 1, 9, Some(4)),
            tick(4, 60_000_000, 1, None),
        ];
        let mut numbered = ticks.clone();
        numbered[1].sequence = Some(-1);
        let opened = super::bars(&numbered, |_, _| false);
        let bars = bars(&ticks, |tick, interval| tick.offset == 4 && interval == "1d");
        let key = |interval: &str, start| ("t".to_owned(), "i".to_owned(), interval.to_owned(), start);
        let first = &bars[&key("1m", 0)];
        assert_eq!((first.open, first.high, first.low, first.close), (7, 9, 5, 5));
        assert_eq!(
            (first.volume, first.turnover, first.vwap, first.count),
            (6, 46, Some(8), 3)
        );
        assert_eq!(bars[&key("1m", 60_000_000)].vwap, None);
        assert_eq!((bars[&key("5m", 0)].count, bars[&key("1d", 0)].count), (4, 3));
        // Of the two at one time, the one without a sequence comes first.
        assert_eq!(opened[&key("1m", 0)].open, 9);
        assert_eq!(window_start(-1, 60_000_000), -60_000_000);
    }
}
