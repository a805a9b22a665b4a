//! The bars of a log, recomputed the slow way: first occurrences by a set of origins, windows by sorting.
//!
//! [`Rows::content`] also stands for the SQL of the second stage: a pure function of the rows up to an offset.

use std::collections::{BTreeMap, BTreeSet};

use domain::{BarCause, BarVersion, Decimal, Interval, Micros, TimeWeighted, Turnover, Window};

use super::fixtures::{LogTick, OwnedBar, OwnedEdge, RULES, SECOND, VERSIONS};

pub type BarKey = (String, Interval, Micros);

/// A row of the enriched table, and the log clock when it was accepted.
#[derive(Debug, Clone)]
pub struct Row {
    pub tick: LogTick,
    pub clock: Micros,
}

impl Row {
    /// (nominal length, close after) in seconds, stated independently of the code under test.
    fn times(&self) -> (i64, i64) {
        match self.tick.product {
            "trade" => (0, 30),
            "da" => (3600, 30),
            "rt5" => (300, 900),
            other => unreachable!("{other}"),
        }
    }

    pub fn is_in(&self, (instrument_id, interval, start): &BarKey) -> bool {
        let length = interval.micros();
        self.tick.instrument_id == instrument_id
            && self.tick.event_time.div_euclid(length) * length == *start
            && length >= self.times().0 * SECOND
    }

    /// Whether the window that ends at `end` has closed at this clock.
    fn is_after_close(&self, end: Micros, clock: Micros) -> bool {
        clock >= end + self.times().1 * SECOND
    }
}

/// The accepted ticks of a log.
#[derive(Default)]
pub struct Rows(pub Vec<Row>);

impl Rows {
    pub fn of(log: &[LogTick]) -> Rows {
        let (mut seen, mut clock) = (BTreeSet::new(), Micros::MIN);
        let mut rows = Vec::new();
        for tick in log {
            if seen.insert(tick.origin()) {
                clock = clock.max(tick.appended_at);
                rows.push(Row {
                    tick: tick.clone(),
                    clock,
                });
            }
        }
        Rows(rows)
    }

    /// All bars of the rows.
    pub fn keys(&self) -> BTreeSet<BarKey> {
        self.by_bar().into_keys().collect()
    }

    /// The rows of each bar.
    pub fn by_bar(&self) -> BTreeMap<BarKey, Rows> {
        let mut bars: BTreeMap<BarKey, Rows> = BTreeMap::new();
        for row in &self.0 {
            for interval in Interval::ALL
                .into_iter()
                .filter(|i| RULES.intervals >> i.index() & 1 == 1)
            {
                let start = row.tick.event_time.div_euclid(interval.micros()) * interval.micros();
                let key = (row.tick.instrument_id.to_owned(), interval, start);
                if row.is_in(&key) {
                    bars.entry(key).or_default().0.push(row.clone());
                }
            }
        }
        bars
    }

    /// The first offset that some stored bar does not cover, or the end.
    pub fn stored_through(&self, bars: &[OwnedBar]) -> i64 {
        let mut newest: BTreeMap<BarKey, i64> = BTreeMap::new();
        for bar in bars {
            let last = newest.entry(bar.key()).or_default();
            *last = bar.version.last_offset.max(*last);
        }
        let of_bars = self.by_bar();
        let waiting = of_bars.iter().flat_map(|(key, rows)| {
            let stored = newest.get(key).copied();
            let offsets = rows.0.iter().map(|row| row.tick.offset);
            offsets.filter(move |offset| stored.is_none_or(|stored| stored < *offset))
        });
        waiting.min().unwrap_or(i64::MAX)
    }

    /// Whether the clock at the end has closed the bar.
    pub fn is_closed(&self, key: &BarKey) -> bool {
        let clock = self.0.last().map_or(Micros::MIN, |row| row.clock);
        let last = self.0.iter().rfind(|row| row.is_in(key));
        last.is_some_and(|row| row.is_after_close(key.2 + key.1.micros(), clock))
    }

    /// Whether the clock had closed the bar with its last row up to this offset.
    pub fn is_closed_with(&self, key: &BarKey, upto: i64) -> bool {
        let is_it = |row: &&Row| row.tick.offset <= upto && row.is_in(key);
        let last = self.0.iter().rev().find(is_it);
        last.is_some_and(|row| row.is_after_close(key.2 + key.1.micros(), row.clock))
    }

    /// How many rows of the bar up to this offset came after its close, those without effect included.
    pub fn after_close(&self, key: &BarKey, upto: i64) -> i32 {
        let rows = self.0.iter().filter(|row| row.tick.offset <= upto && row.is_in(key));
        let end = key.2 + key.1.micros();
        rows.filter(|row| row.is_after_close(end, row.clock)).count() as i32
    }

    /// Whether the last row of the bar up to this offset replaces no price.
    pub fn ends_without_effect(&self, key: &BarKey, upto: i64) -> bool {
        let rows = self.0.iter().filter(|row| row.tick.offset <= upto && row.is_in(key));
        let rows: Vec<&Row> = rows.collect();
        let Some((last, before)) = rows.split_last() else {
            return false;
        };
        best_before(before, &last.tick).is_some_and(|best| is_without_effect(&last.tick, best))
    }

    /// The bar of the rows up to this offset; of the prices of an interval the one of the best version counts, of equal ones the
    /// last origin.
    pub fn content(&self, key: &BarKey, upto: i64, closed: bool) -> Option<OwnedBar> {
        let rows: Vec<&Row> = self
            .0
            .iter()
            .filter(|row| row.tick.offset <= upto && row.is_in(key))
            .collect();
        let end = key.2 + key.1.micros();
        let (revision, cause) = events(&rows, end);
        let last_appended_at = rows.iter().map(|row| row.tick.appended_at).max()?;
        let last_offset = rows.iter().map(|row| row.tick.offset).max()?;
        let ticks = counting(rows);
        let (first, last) = (ticks.first()?, ticks.last()?);
        let volume = |t: &LogTick| i128::from(t.volume.unwrap_or(0));
        let (sum, turnover) = (
            ticks.iter().map(|t| volume(t)).sum(),
            Turnover(ticks.iter().map(|t| volume(t) * i128::from(t.price)).sum()),
        );
        let prices_of_intervals = || ticks.iter().copied().filter(|tick| tick.product != "trade");
        let time_weighted = TimeWeighted {
            price_seconds: prices_of_intervals()
                .map(|tick| i128::from(tick.price * seconds(tick)))
                .sum(),
            seconds: prices_of_intervals().map(seconds).sum(),
        };
        let prices = [
            first.price,
            ticks.iter().map(|t| t.price).max()?,
            ticks.iter().map(|t| t.price).min()?,
            last.price,
        ];
        Some(OwnedBar {
            instrument_id: key.0.clone(),
            window: Window {
                interval: key.1,
                start: key.2,
            },
            market: "MISO".to_owned(),
            prices: prices.map(|price| Decimal::from_unscaled(price).unwrap()),
            volume: sum,
            turnover,
            vwap: turnover.vwap(sum),
            time_weighted,
            trade_count: ticks.len() as i64,
            open: OwnedEdge::of_tick(first),
            close: OwnedEdge::of_tick(last),
            revision,
            cause,
            version: BarVersion { last_offset, closed },
            last_appended_at,
        })
    }
}

/// The ticks of these rows that count, in the order in which they open and close a bar.
fn counting(rows: Vec<&Row>) -> Vec<&LogTick> {
    let mut standing: BTreeMap<(&str, Micros), &LogTick> = BTreeMap::new();
    let mut ticks: Vec<&LogTick> = Vec::new();
    for Row { tick, .. } in rows {
        if tick.product == "trade" {
            ticks.push(tick);
            continue;
        }
        let stands = standing.entry((tick.product, tick.event_time)).or_insert(tick);
        if (certainty(tick), place(tick)) > (certainty(stands), place(stands)) {
            *stands = tick;
        }
    }
    ticks.extend(standing.into_values());
    // A missing sequence ranks below every other.
    ticks.sort_by_key(|tick| (tick.event_time, tick.sequence, place(tick)));
    ticks
}

/// The seconds for which a price of an interval counts.
fn seconds(tick: &LogTick) -> i64 {
    let whole = if tick.product == "rt5" { 300 } else { 3600 };
    tick.end
        .map_or(whole, |end| whole.min((end - tick.event_time) / SECOND))
}

/// How many of these rows came after the close, and what the last of them did; those that replace no price left out.
fn events(rows: &[&Row], end: Micros) -> (i32, Option<BarCause>) {
    let (mut revision, mut cause) = (0, None);
    for (number, row) in rows.iter().enumerate() {
        let best = best_before(&rows[..number], &row.tick);
        if best.is_some_and(|best| is_without_effect(&row.tick, best)) {
            continue;
        }
        let is_late = row.is_after_close(end, row.clock);
        revision += i32::from(is_late);
        cause = Some(match best {
            None if is_late => BarCause::Late,
            None => BarCause::Live,
            Some(best) if certainty(&row.tick) > certainty(best) => BarCause::Vintage,
            Some(_) => BarCause::Correction,
        });
    }
    (revision, cause)
}

/// The price of the tick's interval that counts among these rows.
fn best_before<'r>(rows: &[&'r Row], tick: &LogTick) -> Option<&'r LogTick> {
    let ticks = rows.iter().map(|row| &row.tick);
    ticks
        .filter(|other| tick.product != "trade" && other.product == tick.product && other.event_time == tick.event_time)
        .max_by_key(|other| (certainty(other), place(other)))
}

/// Whether a bar counts the same after it, if it counts the other price of its interval: that one is better, or equal in everything.
fn is_without_effect(tick: &LogTick, best: &LogTick) -> bool {
    let values = |tick: &LogTick| (certainty(tick), tick.price, tick.volume.unwrap_or(0), seconds(tick));
    values(tick) == values(best) || (certainty(tick), place(tick)) < (certainty(best), place(best))
}

fn certainty(tick: &LogTick) -> Option<usize> {
    VERSIONS.iter().rposition(|version| *version == tick.version)
}

fn place(tick: &LogTick) -> (&str, i32, i64, i32) {
    (tick.feed, tick.raw_partition, tick.raw_offset, tick.index)
}
