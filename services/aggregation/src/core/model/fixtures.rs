//! Ticks and bars that own their data, and a seeded log with the repetitions of at-least-once stages.

use domain::{Bar, BarVersion, Decimal, Interval, Kind, Micros, Origin, QualityFlags, Tick, Turnover, Window};

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

/// SplitMix64: small, and the same on every platform.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[derive(Debug, Clone)]
pub struct LogTick {
    pub offset: i64,
    pub feed: &'static str,
    pub raw_partition: i32,
    pub raw_offset: i64,
    pub index: i32,
    pub instrument_id: &'static str,
    pub product: &'static str,
    pub appended_at: Micros,
    pub event_time: Micros,
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
            appended_at: event_time,
            event_time,
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
            source_event_id: "e",
            correlation_id: "e",
            causation_id: None,
            tenant_id: "t",
            instrument_id: self.instrument_id,
            symbol: None,
            market: "MISO",
            kind: self.kind(),
            event_time: self.event_time,
            interval_end: None,
            price: Decimal::from_unscaled(self.price).unwrap(),
            volume: self.volume.map(|v| Decimal::from_unscaled(v).unwrap()),
            bid: None,
            ask: None,
            energy: None,
            congestion: None,
            loss: None,
            ghg: None,
            currency: "USD",
            unit: "MWh",
            node: None,
            zone: None,
            hub: None,
            market_status: None,
            product: self.product,
            version: None,
            source_system: "test",
            sequence: self.sequence,
            quality_flags: QualityFlags::NONE,
            normalized_at: 0,
        }
    }
}

/// Ticks of three raw lanes. Each lane is produced by several owners that restart from before the newest tick and run to the
/// end, interleaved in any order, as restarts and zombies upstream do. Offsets have gaps.
pub fn log(random: &mut Random, ticks: usize) -> Vec<LogTick> {
    let lanes =
        [("a", 0), ("a", 1), ("b", 0)].map(|(feed, raw_partition)| lane(random, feed, raw_partition, ticks / 3));
    let mut owners: Vec<(usize, usize)> = vec![(0, 0), (1, 0), (2, 0)];
    let mut reached = [0usize; 3];
    let (mut log, mut offset) = (Vec::new(), 0);
    while !owners.is_empty() {
        let chosen = random.below(owners.len());
        let (lane, next) = owners[chosen];
        let Some(tick) = lanes[lane].get(next) else {
            owners.swap_remove(chosen);
            continue;
        };
        log.push(LogTick { offset, ..tick.clone() });
        offset += 1 + i64::from(random.chance(5));
        owners[chosen].1 += 1;
        reached[lane] = reached[lane].max(next + 1);
        if random.chance(3) && owners.len() < 6 {
            owners.push((lane, reached[lane] - random.below(reached[lane].min(10))));
        }
    }
    log
}

/// The append times of a lane never go back; those of different lanes are independent.
fn lane(random: &mut Random, feed: &'static str, raw_partition: i32, ticks: usize) -> Vec<LogTick> {
    let (mut appended_at, mut raw_offset, mut index) = (1_700_000_000 * SECOND, 0, 0);
    let mut lane: Vec<LogTick> = Vec::new();
    for _ in 0..ticks {
        if random.chance(30) {
            index += 1;
        } else {
            raw_offset += 1 + random.below(2) as i64;
            index = 0;
        }
        appended_at += random.below(60) as i64 * SECOND;
        if random.chance(6) {
            appended_at += random.below(7200) as i64 * SECOND;
        }
        let (instrument_id, product) = match random.below(8) {
            0..=2 => ("X", "trade"),
            3..=5 => ("Y", "rt5"),
            6 => ("Z", "da"),
            _ => ("M", ["trade", "rt5"][random.below(2)]),
        };
        let mut event_time = appended_at + event_distance(random, product) * SECOND;
        if random.chance(25)
            && let Some(earlier) = lane.get(random.below(lane.len().max(1)))
        {
            event_time = earlier.event_time;
        }
        let grid = match product {
            "rt5" => 300 * SECOND,
            "da" => 3600 * SECOND,
            _ => 1,
        };
        lane.push(LogTick {
            offset: 0,
            feed,
            raw_partition,
            raw_offset,
            index,
            instrument_id,
            product,
            appended_at,
            event_time: event_time - event_time.rem_euclid(grid),
            sequence: random.chance(50).then(|| random.below(5) as i64 - 2),
            price: random.below(2000) as i64 * 1_000_000 - 500_000_000,
            volume: random.chance(80).then(|| random.below(50) as i64 * 10_000_000),
        });
    }
    lane
}

/// Seconds from the append time to the event: usual for the product, or an outlier.
fn event_distance(random: &mut Random, product: &str) -> i64 {
    match (random.below(12), product) {
        (0, _) => -(random.below(90_000) as i64),
        (1, _) => random.below(3600) as i64,
        (2 | 3, _) => -(random.below(1200) as i64),
        (_, "rt5") => -300 - random.below(600) as i64,
        (_, "da") => random.below(86_400) as i64,
        _ => -(random.below(5) as i64),
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
    pub trade_count: i64,
    pub open: OwnedEdge,
    pub close: OwnedEdge,
    pub revision: i32,
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
            trade_count: bar.trade_count,
            open: OwnedEdge::of(bar.open_time, bar.open_sequence, &bar.first_origin),
            close: OwnedEdge::of(bar.close_time, bar.close_sequence, &bar.last_origin),
            revision: bar.revision,
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
            trade_count: self.trade_count,
            open_time: self.open.time,
            open_sequence: self.open.sequence,
            first_origin: self.open.origin(),
            close_time: self.close.time,
            close_sequence: self.close.sequence,
            last_origin: self.close.origin(),
            revision: self.revision,
            version: self.version,
            last_appended_at: self.last_appended_at,
        }
    }

    pub fn key(&self) -> (String, Interval, Micros) {
        (self.instrument_id.clone(), self.window.interval, self.window.start)
    }
}
