//! Ticks and bars that own their data, and a seeded log with the repetitions of at-least-once stages.

use domain::{
    Bar, BarCause, BarVersion, Decimal, Interval, Kind, Micros, Origin, Tick, TimeWeighted, Turnover, Window,
};
use fastrand::Rng;

use crate::core::log_clock::{Times, WindowRules};

pub const SECOND: Micros = 1_000_000;

pub const RULES: WindowRules = WindowRules {
    intervals: 0b11111,
    at_once: Times {
        close_after: 30 * SECOND,
        forget_after: 330 * SECOND,
    },
    after_interval: Times {
        close_after: 900 * SECOND,
        forget_after: 3600 * SECOND,
    },
    idle_close: 120 * SECOND,
    without: None,
};

/// Versions of interval prices, the more certain the later; most prices have none.
pub const VERSIONS: [Option<&str>; 6] = [None, None, None, Some("preliminary"), Some("verified.2"), Some("final")];

#[derive(Debug, Clone)]
pub struct LogTick {
    pub offset: i64,
    pub feed: &'static str,
    pub raw_partition: i32,
    pub raw_offset: i64,
    pub index: i32,
    pub instrument_id: &'static str,
    pub product: &'static str,
    /// Of an interval price.
    pub version: Option<&'static str>,
    pub appended_at: Micros,
    pub event_time: Micros,
    /// End of the interval of a price.
    pub end: Option<Micros>,
    pub sequence: Option<i64>,
    pub price: i64,
    pub volume: Option<i64>,
}

impl LogTick {
    /// A trade of instrument X, appended at its event time.
    pub fn trade(offset: i64, event_time: Micros) -> LogTick {
        LogTick {
            offset,
            feed: "f",
            raw_partition: 0,
            raw_offset: offset,
            index: 0,
            instrument_id: "X",
            product: "trade",
            version: None,
            appended_at: event_time,
            event_time,
            end: None,
            sequence: None,
            price: 100,
            volume: Some(1),
        }
    }

    pub fn kind(&self) -> Kind {
        if self.product == "trade" {
            Kind::Trade
        } else {
            Kind::Interval
        }
    }

    pub fn origin(&self) -> Origin<'_> {
        Origin {
            feed: self.feed,
            partition: self.raw_partition,
            offset: self.raw_offset,
            index: self.index,
        }
    }

    pub fn tick(&self) -> Tick<'_> {
        Tick {
            origin: self.origin(),
            appended_at: self.appended_at,
            instrument_id: self.instrument_id,
            kind: self.kind(),
            event_time: self.event_time,
            interval_end: self.end,
            price: Decimal::from_unscaled(self.price).unwrap(),
            volume: self.volume.map(|v| Decimal::from_unscaled(v).unwrap()),
            product: self.product,
            version: self.version,
            sequence: self.sequence,
            ..domain::fixtures::tick()
        }
    }
}

/// Ticks of three raw lanes. Each lane is produced by several owners that restart from before the newest tick and run to the
/// end, interleaved in any order, as restarts and zombies upstream do. Offsets have gaps.
pub fn log(random: &mut Rng, ticks: usize) -> Vec<LogTick> {
    let lanes =
        [("a", 0), ("a", 1), ("b", 0)].map(|(feed, raw_partition)| lane(random, feed, raw_partition, ticks / 3));
    let mut owners: Vec<(usize, usize)> = vec![(0, 0), (1, 0), (2, 0)];
    let mut reached = [0usize; 3];
    let (mut log, mut offset) = (Vec::new(), 0);
    while !owners.is_empty() {
        let chosen = random.usize(..owners.len());
        let (lane, next) = owners[chosen];
        let Some(tick) = lanes[lane].get(next) else {
            owners.swap_remove(chosen);
            continue;
        };
        log.push(LogTick { offset, ..tick.clone() });
        offset += 1 + i64::from(random.usize(..100) < 5);
        owners[chosen].1 += 1;
        reached[lane] = reached[lane].max(next + 1);
        if random.usize(..100) < 3 && owners.len() < 6 {
            owners.push((lane, reached[lane] - random.usize(..reached[lane].clamp(1, 10))));
        }
    }
    log
}

/// The append times of a lane never go back; those of different lanes are independent.
fn lane(random: &mut Rng, feed: &'static str, raw_partition: i32, ticks: usize) -> Vec<LogTick> {
    let (mut appended_at, mut raw_offset, mut index) = (1_700_000_000 * SECOND, 0, 0);
    let mut lane: Vec<LogTick> = Vec::new();
    for _ in 0..ticks {
        if random.usize(..100) < 30 {
            index += 1;
        } else {
            raw_offset += 1 + random.usize(..2) as i64;
            index = 0;
        }
        appended_at += random.usize(..60) as i64 * SECOND;
        if random.usize(..100) < 6 {
            appended_at += random.usize(..7200) as i64 * SECOND;
        }
        let (instrument_id, product) = match random.usize(..8) {
            0..=2 => ("X", "trade"),
            3..=5 => ("Y", "rt5"),
            6 => ("Z", "da"),
            _ => ("M", ["trade", "rt5"][random.usize(..2)]),
        };
        let mut event_time = appended_at + event_distance(random, product) * SECOND;
        if random.usize(..100) < 25
            && let Some(earlier) = lane.get(random.usize(..lane.len().max(1)))
        {
            event_time = earlier.event_time;
        }
        let grid = match product {
            "rt5" => 300 * SECOND,
            "da" => 3600 * SECOND,
            _ => 1,
        };
        let (event_time, end) = interval(random, event_time - event_time.rem_euclid(grid), grid);
        let tick = LogTick {
            offset: 0,
            feed,
            raw_partition,
            raw_offset,
            index,
            instrument_id,
            product,
            version: VERSIONS[random.usize(..VERSIONS.len())].filter(|_| product != "trade"),
            appended_at,
            event_time,
            end,
            sequence: (random.usize(..100) < 50).then(|| random.usize(..5) as i64 - 2),
            price: random.usize(..2000) as i64 * 1_000_000 - 500_000_000,
            volume: (random.usize(..100) < 80).then(|| random.usize(..50) as i64 * 10_000_000),
        };
        // The same row in another document.
        let same = lane.get(lane.len().saturating_sub(1 + random.usize(..6)));
        let same = same.filter(|same| same.product != "trade" && random.usize(..100) < 15);
        lane.push(match same {
            Some(same) => LogTick {
                raw_offset,
                index,
                appended_at,
                ..same.clone()
            },
            None => tick,
        });
    }
    lane
}

/// Start and end of the interval that begins at a place of the grid: usually the whole, or a part of it, as of extra dispatch runs.
fn interval(random: &mut Rng, start: Micros, grid: Micros) -> (Micros, Option<Micros>) {
    if grid == 1 {
        return (start, None);
    }
    let part = random.usize(1..(grid / SECOND) as usize) as i64 * SECOND;
    match random.usize(..10) {
        0 => (start, Some(start + part)),
        1 => (start + part, Some(start + grid)),
        2..=4 => (start, Some(start + grid)),
        _ => (start, None),
    }
}

/// Seconds from the append time to the event: usual for the product, or an outlier.
fn event_distance(random: &mut Rng, product: &str) -> i64 {
    match (random.usize(..12), product) {
        (0, _) => -(random.usize(..90_000) as i64),
        (1, _) => random.usize(..3600) as i64,
        (2 | 3, _) => -(random.usize(..1200) as i64),
        (_, "rt5") => -300 - random.usize(..600) as i64,
        (_, "da") => random.usize(..86_400) as i64,
        _ => -(random.usize(..5) as i64),
    }
}

/// The first or the last tick of a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEdge {
    time: Micros,
    sequence: Option<i64>,
    feed: String,
    pub raw: (i32, i64, i32),
}

impl OwnedEdge {
    /// The edge of a tick.
    pub fn of_tick(tick: &LogTick) -> OwnedEdge {
        OwnedEdge::of(tick.event_time, tick.sequence, &tick.origin())
    }

    /// The first tick of a feed.
    pub fn first_of(feed: &str, time: Micros) -> OwnedEdge {
        let feed = feed.to_owned();
        let (sequence, raw) = (None, (0, 0, 0));
        OwnedEdge {
            time,
            sequence,
            feed,
            raw,
        }
    }

    fn of(time: Micros, sequence: Option<i64>, origin: &Origin<'_>) -> OwnedEdge {
        OwnedEdge {
            time,
            sequence,
            feed: origin.feed.to_owned(),
            raw: (origin.partition, origin.offset, origin.index),
        }
    }

    fn origin(&self) -> Origin<'_> {
        let (partition, offset, index) = self.raw;
        Origin {
            feed: &self.feed,
            partition,
            offset,
            index,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedBar {
    pub instrument_id: String,
    pub window: Window,
    pub market: String,
    pub prices: [Decimal; 4],
    pub volume: i128,
    pub turnover: Turnover,
    pub vwap: Option<Decimal>,
    pub time_weighted: TimeWeighted,
    pub trade_count: i64,
    pub open: OwnedEdge,
    pub close: OwnedEdge,
    pub revision: i32,
    pub cause: Option<BarCause>,
    pub version: BarVersion,
    pub last_appended_at: Micros,
}

impl From<&Bar<'_>> for OwnedBar {
    fn from(bar: &Bar<'_>) -> OwnedBar {
        OwnedBar {
            instrument_id: bar.instrument_id.to_owned(),
            window: bar.window,
            market: bar.market.to_owned(),
            prices: [bar.open, bar.high, bar.low, bar.close],
            volume: bar.volume,
            turnover: bar.turnover,
            vwap: bar.vwap,
            time_weighted: bar.time_weighted,
            trade_count: bar.trade_count,
            open: OwnedEdge::of(bar.open_time, bar.open_sequence, &bar.first_origin),
            close: OwnedEdge::of(bar.close_time, bar.close_sequence, &bar.last_origin),
            revision: bar.revision,
            cause: bar.cause,
            version: bar.version,
            last_appended_at: bar.last_appended_at,
        }
    }
}

impl OwnedBar {
    pub fn bar(&self) -> Bar<'_> {
        let [open, high, low, close] = self.prices;
        Bar {
            tenant_id: "t",
            instrument_id: &self.instrument_id,
            market: &self.market,
            window: self.window,
            open,
            high,
            low,
            close,
            volume: self.volume,
            turnover: self.turnover,
            vwap: self.vwap,
            time_weighted: self.time_weighted,
            trade_count: self.trade_count,
            open_time: self.open.time,
            open_sequence: self.open.sequence,
            first_origin: self.open.origin(),
            close_time: self.close.time,
            close_sequence: self.close.sequence,
            last_origin: self.close.origin(),
            revision: self.revision,
            cause: self.cause,
            version: self.version,
            last_appended_at: self.last_appended_at,
        }
    }

    pub fn key(&self) -> (String, Interval, Micros) {
        (self.instrument_id.clone(), self.window.interval, self.window.start)
    }
}
