//! Bars by naive arithmetic: collects the ticks of a window in a list and scans the list.
//!
//! The clock of a partition of the enriched topic is the largest append time of its ticks so far. A tick is *after the close*
//! of a window if the clock, including the tick's own append time, has reached the end of the window plus the delay of the
//! product. It does not matter whether the stream or `restate` has computed the bar.

use std::collections::BTreeMap;

use crate::expect::{certainty, order};
use crate::numbers::average;
use crate::parse::Tick;

/// Names and lengths (in microseconds) of the intervals.
pub const INTERVALS: [(&str, i64); 5] = [
    ("1m", MINUTE),
    ("5m", 5 * MINUTE),
    ("15m", 15 * MINUTE),
    ("1h", 60 * MINUTE),
    ("1d", 1440 * MINUTE),
];
const MINUTE: i64 = 60_000_000;

/// The rule of a product: the delays after the end of a window at which it is closed and forgotten, and the length of the
/// interval of one price (0 for trades, which all count).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Rule {
    pub close_after: i64,
    pub forget_after: i64,
    pub nominal: i64,
}

/// Delays (close, forget) after the end of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// For ticks that are published at their time: trades and day-ahead prices.
    pub at_once: (i64, i64),
    /// For real-time prices, which are published after their interval.
    pub after_interval: (i64, i64),
}

impl Default for Times {
    fn default() -> Times {
        Times {
            at_once: (MINUTE / 2, MINUTE * 11 / 2),
            after_interval: (15 * MINUTE, 60 * MINUTE),
        }
    }
}

impl Times {
    /// The rule of a product.
    pub fn rule(&self, product: &str) -> Rule {
        let nominal = match product {
            "rt5" | "exante" => 5 * MINUTE,
            "rt15" => 15 * MINUTE,
            "rth" | "da" => 60 * MINUTE,
            _ => 0,
        };
        let (close_after, forget_after) = match product {
            "rt5" | "exante" | "rt15" | "rth" => self.after_interval,
            _ => self.at_once,
        };
        Rule {
            close_after,
            forget_after,
            nominal,
        }
    }
}

/// A tick with its position in the enriched topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<'t> {
    /// The tick.
    pub tick: &'t Tick,
    /// The rule of its product.
    pub rule: Rule,
    /// Its offset in its partition of the enriched topic.
    pub offset: i64,
    /// The clock of that partition at this tick.
    pub clock: i64,
    /// The clock at the end of that partition.
    pub last_clock: i64,
}

/// Computes the clocks for ticks with their partition and offset in the enriched topic.
pub fn placed<'t>(mut ticks: Vec<(&'t Tick, i32, i64)>, times: &Times) -> Vec<Placed<'t>> {
    ticks.sort_by_key(|(_, partition, offset)| (*partition, *offset));
    let mut clocks: BTreeMap<i32, i64> = BTreeMap::new();
    let mut placed = Vec::with_capacity(ticks.len());
    for (tick, partition, offset) in &ticks {
        let clock = clocks.entry(*partition).or_insert(i64::MIN);
        *clock = tick.appended.max(*clock);
        placed.push(Placed {
            tick,
            rule: times.rule(&tick.product),
            offset: *offset,
            clock: *clock,
            last_clock: i64::MIN,
        });
    }
    for (one, (_, partition, _)) in placed.iter_mut().zip(&ticks) {
        one.last_clock = clocks.get(partition).copied().unwrap_or(i64::MIN);
    }
    placed
}

/// (tenant, instrument, interval, start in microseconds).
pub type BarKey = (String, String, String, i64);

/// Event time and origin of a tick.
pub type Edge = (i64, String, i32, i64, i32);

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
    /// Average of the prices of intervals by time, the sum of price × seconds (scale 8), and the seconds.
    pub by_time: (Option<i128>, i128, i128),
    pub count: i128,
    pub first: Edge,
    pub last: Edge,
    /// Ticks of the window that arrived after its close and changed what counts, including replaced ones.
    pub revision: i128,
    /// What the last tick of the window that changed what counts is to those before it.
    pub cause: String,
    /// Offset in the enriched topic of the last tick of the window.
    pub last_offset: i64,
}

/// An expected bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its numbers.
    pub bar: Bar,
    /// Clock time at which it closes.
    pub closes_at: i64,
    /// Whether the clock has closed it. In an idle partition, the wall clock may close it from `closes_at` on.
    pub is_closed: bool,
}

/// Start of the window that contains a time.
pub fn window_start(time: i64, length: i64) -> i64 {
    let into = ((time % length) + length) % length;
    time - into
}

/// The bars of these ticks. Each counts all ticks of its window.
pub fn bars(ticks: &[Placed<'_>]) -> BTreeMap<BarKey, Wanted> {
    let mut windows: BTreeMap<BarKey, (i64, Vec<Placed<'_>>)> = BTreeMap::new();
    for placed in ticks {
        let tick = placed.tick;
        for (interval, length) in INTERVALS {
            if length >= placed.rule.nominal {
                let start = window_start(tick.time, length);
                let key = (tick.tenant.clone(), tick.instrument.clone(), interval.to_owned(), start);
                let window = windows.entry(key).or_insert((start + length, Vec::new()));
                window.1.push(*placed);
            }
        }
    }
    windows
        .into_iter()
        .filter_map(|(key, (end, ticks))| Some((key, wanted(end, &ticks)?)))
        .collect()
}

fn wanted(end: i64, ticks: &[Placed<'_>]) -> Option<Wanted> {
    // A window of several products closes by the rule of its last tick.
    let last = ticks.iter().max_by_key(|placed| placed.offset)?;
    let closes_at = end + last.rule.close_after;
    let (revision, cause) = events(end, ticks);
    Some(Wanted {
        bar: Bar {
            revision,
            cause: cause.to_owned(),
            last_offset: last.offset,
            ..numbers(counted(ticks))?
        },
        closes_at,
        is_closed: ticks.iter().any(|placed| placed.last_clock >= closes_at),
    })
}

/// How many ticks came after the close, and what the last one did. A price of an interval that had one is called by its rank among those,
/// every other tick by the close. A price is left out if the one that counts in its interval stays: it is better, or the same.
fn events(end: i64, ticks: &[Placed<'_>]) -> (i128, &'static str) {
    let mut ordered: Vec<&Placed<'_>> = ticks.iter().collect();
    ordered.sort_by_key(|placed| placed.offset);
    let mut best: BTreeMap<(i64, i64), &Placed<'_>> = BTreeMap::new();
    let (mut revision, mut cause) = (0, "");
    for placed in ordered {
        let is_after_close = placed.clock >= end + placed.rule.close_after;
        let interval = (placed.tick.time, placed.rule.nominal);
        let known = best.get(&interval).copied();
        let is_better = known.is_none_or(|known| rank(placed.tick) > rank(known.tick));
        if placed.rule.nominal > 0 && is_better {
            best.insert(interval, placed);
        }
        if known.is_some_and(|known| !is_better || values(placed) == values(known)) {
            continue;
        }
        revision += i128::from(is_after_close);
        cause = match known {
            None if is_after_close => "late",
            None => "live",
            Some(known) if certainty(placed.tick) > certainty(known.tick) => "vintage",
            Some(_) => "correction",
        };
    }
    (revision, cause)
}

/// All that a price of an interval adds to a bar.
fn values<'t>(placed: &Placed<'t>) -> ((bool, usize, u32), i128, i128, i128) {
    let Placed { tick, rule, .. } = placed;
    (
        certainty(tick),
        tick.price,
        tick.volume.unwrap_or(0),
        seconds(tick, rule),
    )
}

/// Whole seconds of the interval of a price, at most those of its product; 0 for a trade.
fn seconds(tick: &Tick, rule: &Rule) -> i128 {
    let ends = tick.end.unwrap_or(tick.time + rule.nominal);
    let length = (ends.min(tick.time + rule.nominal) - tick.time).max(0);
    i128::from(length / 1_000_000)
}

/// How certain a price is, and its position in the raw log.
type Rank<'t> = ((bool, usize, u32), (&'t str, i32, i64, i32));

/// The larger of two prices of an interval counts.
fn rank(tick: &Tick) -> Rank<'_> {
    (certainty(tick), (&tick.feed, tick.partition, tick.offset, tick.index))
}

/// All trades, and for each interval (start and length of its product) the most certain price, of equal ones the last by its position in the
/// raw log.
fn counted<'t>(ticks: &[Placed<'t>]) -> Vec<Placed<'t>> {
    let mut trades = Vec::new();
    let mut prices: BTreeMap<(i64, i64), Placed<'t>> = BTreeMap::new();
    for placed in ticks {
        let nominal = placed.rule.nominal;
        if nominal == 0 {
            trades.push(*placed);
        } else {
            let known = prices.entry((placed.tick.time, nominal)).or_insert(*placed);
            if rank(placed.tick) > rank(known.tick) {
                *known = *placed;
            }
        }
    }
    trades.extend(prices.into_values());
    trades
}

fn numbers(counted: Vec<Placed<'_>>) -> Option<Bar> {
    let lengths = || counted.iter().map(|placed| seconds(placed.tick, &placed.rule));
    let price_seconds = counted
        .iter()
        .zip(lengths())
        .map(|(placed, length)| placed.tick.price * length);
    let (price_seconds, seconds) = (price_seconds.sum(), lengths().sum());
    let mut ticks: Vec<&Tick> = counted.iter().map(|placed| placed.tick).collect();
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
        by_time: (average(price_seconds, seconds), price_seconds, seconds),
        count: ticks.len() as i128,
        first: edge(ticks.first()?),
        last: edge(ticks.last()?),
        revision: 0,
        cause: String::new(),
        last_offset: 0,
    })
}

fn edge(tick: &Tick) -> Edge {
    (tick.time, tick.feed.clone(), tick.partition, tick.offset, tick.index)
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
            end: None,
            sequence: None,
            product: "trade".to_owned(),
            version: None,
            appended: time,
            is_part: false,
            reused_id: false,
        }
    }

    #[test]
    fn a_superseded_price_is_below_every_other_one() {
        let of = |version: &str| {
            certainty(&Tick {
                version: Some(version.to_owned()),
                ..tick(0, 0, 1, None)
            })
        };
        let order = [
            "verified.2.superseded",
            "verified.3.superseded",
            "",
            "unverified",
            "verified.1",
            "final",
        ];
        assert!(order.is_sorted_by(|one, other| of(one) < of(other)));
    }

    fn made(ticks: &[Tick]) -> BTreeMap<BarKey, Wanted> {
        bars(&placed(
            (100..).zip(ticks).map(|(at, tick)| (tick, 0, at)).collect(),
            &Times::default(),
        ))
    }

    fn key(interval: &str, start: i64) -> BarKey {
        ("t".to_owned(), "i".to_owned(), interval.to_owned(), start)
    }

    #[test]
    fn open_and_close_are_by_time_then_sequence_then_origin_and_every_tick_is_in_its_bars() {
        let mut ticks = [
            tick(3, 59_000_000, 5, Some(2)),
            tick(1, 1, 7, None),
            tick(2, 1, 9, Some(4)),
            tick(4, MINUTE, 1, None),
        ];
        let of_day = made(&ticks);
        let first = &of_day[&key("1m", 0)].bar;
        assert_eq!((first.open, first.high, first.low, first.close), (7, 9, 5, 5));
        assert_eq!(
            (first.volume, first.turnover, first.vwap, first.count),
            (6, 46, Some(8), 3)
        );
        assert_eq!((first.first.3, first.last.3), (1, 3));
        assert_eq!(of_day[&key("1m", MINUTE)].bar.vwap, None);
        assert_eq!(
            (of_day[&key("5m", 0)].bar.count, of_day[&key("1d", 0)].bar.count),
            (4, 4)
        );
        assert_eq!(window_start(-1, MINUTE), -MINUTE);
        ticks[1].sequence = Some(-5);
        assert_eq!(
            made(&ticks)[&key("1m", 0)].bar.open,
            9,
            "a tick without a sequence comes before one with a sequence"
        );
    }

    #[test]
    fn the_clock_of_the_partition_closes_windows_and_later_ticks_are_revisions() {
        let mut ticks = [tick(1, 10, 1, None), tick(2, 20, 1, None), tick(3, 30, 1, None)];
        // The second tick moves the clock. The third was appended before the close, to another raw partition.
        (ticks[1].appended, ticks[2].appended) = (MINUTE * 3 / 2, 40);
        let minute = made(&ticks)[&key("1m", 0)].clone();
        assert_eq!(
            (minute.bar.revision, minute.is_closed, minute.bar.last_offset),
            (2, true, 102)
        );
        ticks[1].appended -= 1;
        let minute = made(&ticks)[&key("1m", 0)].clone();
        assert_eq!((minute.bar.revision, minute.is_closed), (0, false));
    }

    #[test]
    fn a_price_of_an_interval_replaces_the_earlier_one_and_is_in_no_shorter_bar() {
        let mut ticks = [tick(1, 0, 1, None), tick(2, 0, 8, None), tick(3, 5 * MINUTE, 4, None)];
        ticks.iter_mut().for_each(|tick| tick.product = "rt5".to_owned());
        let made = made(&ticks);
        assert!(!made.contains_key(&key("1m", 0)));
        assert_eq!((made[&key("5m", 0)].bar.open, made[&key("5m", 0)].bar.count), (8, 1));
        let hour = &made[&key("1h", 0)].bar;
        assert_eq!((hour.open, hour.close, hour.count), (8, 4, 2));
        assert_eq!((&*made[&key("5m", 0)].bar.cause, &*hour.cause), ("correction", "live"));
    }

    /// 100 × 8 s and 25 × 292 s, then another interval, which ends later than its product allows.
    #[test]
    fn a_price_counts_for_the_seconds_of_its_interval() {
        let price = |offset, start: i64, end: i64, price| Tick {
            product: "rt5".to_owned(),
            end: Some(end * 1_000_000),
            ..tick(offset, start * 1_000_000, price, None)
        };
        let ticks = [price(1, 0, 8, 100), price(2, 8, 300, 25), price(3, 300, 900, 40)];
        let made = made(&ticks);
        assert_eq!(made[&key("5m", 0)].bar.by_time, (Some(27), 8_100, 300));
        assert_eq!(made[&key("1h", 0)].bar.by_time.2, 600);
    }

    #[test]
    fn the_cause_is_what_the_last_tick_is_to_those_before_it() {
        let price = |offset, version: &str, appended| Tick {
            product: "rt5".to_owned(),
            version: Some(version.to_owned()),
            appended,
            ..tick(offset, 0, 1, None)
        };
        let mut ticks = vec![price(1, "preliminary", 20 * MINUTE)];
        assert_eq!(made(&ticks)[&key("5m", 0)].bar.cause, "late");
        for (next, cause) in [
            (price(2, "final", 30 * MINUTE), "vintage"),
            (price(3, "final", 40 * MINUTE), "vintage"),
            (
                Tick {
                    price: 2,
                    ..price(4, "final", 50 * MINUTE)
                },
                "correction",
            ),
            (price(5, "preliminary", 60 * MINUTE), "correction"),
        ] {
            ticks.push(next);
            assert_eq!(made(&ticks)[&key("5m", 0)].bar.cause, cause);
        }
        // The third one repeats the second, and the last one is below the one that counts.
        let of_five_minutes = &made(&ticks)[&key("5m", 0)].bar;
        assert_eq!((of_five_minutes.revision, of_five_minutes.first.3), (3, 4));
        assert_eq!(made(&ticks[..1])[&key("1h", 0)].bar.cause, "live");
    }

    /// One price for each vintage of two intervals, published in any order and as often as it comes: what counts is that of all vintages
    /// together, and a revision is a tick that changes what counts.
    #[test]
    fn vintages_in_any_order_and_repetition_give_one_content_and_revisions_count_what_changes_it() {
        const VINTAGES: [Option<&str>; 4] = [None, Some("preliminary"), Some("verified.2"), Some("final")];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let mut ticks: Vec<Tick> = Vec::new();
            let (mut counted, mut revision) = ([-1; 2], 0);
            for offset in 0..random.i64(1..20) {
                let (interval, vintage) = (random.usize(..2), random.usize(..4));
                ticks.push(Tick {
                    product: "rt5".to_owned(),
                    version: VINTAGES[vintage].map(str::to_owned),
                    appended: 1440 * MINUTE,
                    ..tick(offset, interval as i64 * 5 * MINUTE, vintage as i128, None)
                });
                revision += i128::from(counted[interval] < vintage as i128);
                counted[interval] = counted[interval].max(vintage as i128);
                let bar = &made(&ticks)[&key("1h", 0)].bar;
                let prices: Vec<i128> = counted.into_iter().filter(|price| *price >= 0).collect();
                let shown = (bar.open, bar.close, bar.by_time.1, bar.revision);
                let sum: i128 = prices.iter().sum();
                assert_eq!(
                    shown,
                    (prices[0], prices[prices.len() - 1], sum * 300, revision),
                    "{ticks:?}"
                );
                assert_eq!(bar.last_offset, 100 + offset, "the version grows with each");
            }
        }
    }
}
