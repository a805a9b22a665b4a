//! What the bars of a log are, recomputed the slow way: first occurrences by a set of origins, windows by sorting.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Interval, Micros};

use super::fixtures::{LogTick, RULES};

type BarKey = (String, Interval, Micros);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedBar {
    pub open_high_low_close: [i64; 4],
    pub volume: i128,
    pub turnover: i128,
    pub trade_count: i64,
    pub first_raw: (i32, i64, i32),
    pub last_raw: (i32, i64, i32),
    pub revision: i32,
    pub last_offset: i64,
    /// The log's watermark has passed the end.
    pub closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpectedLate {
    pub enriched_offset: i64,
    pub missed: u8,
    pub watermark: Micros,
}

#[derive(Debug, Default)]
pub struct Expected {
    pub bars: BTreeMap<BarKey, ExpectedBar>,
    pub late: Vec<ExpectedLate>,
    pub accepted: usize,
}

pub fn recompute(log: &[LogTick]) -> Expected {
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<&str, Micros> = BTreeMap::new();
    let mut counted: BTreeMap<BarKey, Vec<(&LogTick, bool)>> = BTreeMap::new();
    let mut expected = Expected::default();
    for tick in log {
        if !seen.insert(tick.origin()) {
            continue;
        }
        expected.accepted += 1;
        let max = newest.entry(tick.instrument_id).or_insert(tick.event_time);
        *max = (*max).max(tick.event_time);
        let watermark = *max - RULES.watermark_delay;
        let mut missed = 0;
        for (bit, interval) in Interval::ALL.into_iter().enumerate() {
            let length = interval.micros();
            let start = tick.event_time.div_euclid(length) * length;
            if watermark >= start + length + RULES.max_late {
                missed |= 1 << bit;
            } else {
                let key = (tick.instrument_id.to_owned(), interval, start);
                counted
                    .entry(key)
                    .or_default()
                    .push((tick, watermark >= start + length));
            }
        }
        if missed != 0 {
            expected.late.push(ExpectedLate {
                enriched_offset: tick.offset,
                missed,
                watermark,
            });
        }
    }
    for (key, ticks) in counted {
        let closed = newest[key.0.as_str()] - RULES.watermark_delay >= key.2 + key.1.micros();
        expected.bars.insert(key, bar(ticks, closed));
    }
    expected
}

fn bar(ticks: Vec<(&LogTick, bool)>, closed: bool) -> ExpectedBar {
    let last_offset = ticks.iter().map(|(t, _)| t.offset).max().unwrap();
    let revision = ticks.iter().filter(|(_, revised)| *revised).count() as i32;
    let mut ticks: Vec<&LogTick> = ticks.into_iter().map(|(t, _)| t).collect();
    // A tick without a sequence comes before those with one.
    let sequence = |t: &LogTick| t.sequence.map_or(i128::MIN, i128::from);
    ticks.sort_by_key(|t| {
        (
            t.event_time,
            sequence(t),
            t.feed,
            t.raw_partition,
            t.raw_offset,
            t.index,
        )
    });
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let volume = |t: &LogTick| i128::from(t.volume.unwrap_or(0));
    ExpectedBar {
        open_high_low_close: [
            first.price,
            ticks.iter().map(|t| t.price).max().unwrap(),
            ticks.iter().map(|t| t.price).min().unwrap(),
            last.price,
        ],
        volume: ticks.iter().map(|t| volume(t)).sum(),
        turnover: ticks.iter().map(|t| volume(t) * i128::from(t.price)).sum(),
        trade_count: ticks.len() as i64,
        first_raw: (first.raw_partition, first.raw_offset, first.index),
        last_raw: (last.raw_partition, last.raw_offset, last.index),
        revision,
        last_offset,
        closed,
    }
}
