//! Ticks, a seeded log with the repetitions of at-least-once stages, and books of stored prices.

use domain::{Classification, Decimal, EnrichedTick, Enrichment, Kind, Micros, Origin, Tick};
use fastrand::Rng;
use stores::LatestPrice;

use crate::core::book::Book;
use crate::core::work::Cadence;

pub const INSTRUMENTS: [&str; 4] = ["A", "B", "C", "D"];
pub const CADENCE: Cadence = Cadence {
    redis: 10,
    postgres: 500,
    // A round of all instruments takes two parts.
    part: 2,
};

#[derive(Clone, Copy)]
pub struct LogTick {
    pub instrument: usize,
    pub event_time: Micros,
    /// Of an interval price.
    pub version: Option<&'static str>,
    pub sequence: Option<i64>,
    pub raw_offset: i64,
}

/// A log of this seed.
pub fn log(random: &mut Rng, seed: u64) -> Vec<LogTick> {
    let mut reached = 0i64;
    let mut log = Vec::new();
    while log.len() < 60 {
        // Repetitions of at-least-once stages: sequences of earlier ticks again.
        if random.u64(..100) < 15 {
            reached -= (random.u64(..5) as i64).min(reached);
        }
        let raw = Rng::with_seed(reached as u64 * 31 + seed).u64(..1000);
        log.push(LogTick {
            instrument: (raw % 4) as usize,
            event_time: (raw / 4 % 20) as i64,
            // Repetitions of a tick have its version too.
            version: [None, None, Some("preliminary"), Some("final")][(raw / 7 % 4) as usize],
            sequence: [None, Some(i64::MIN), Some(-1), Some(1)][(raw / 80 % 4) as usize],
            raw_offset: reached,
        });
        reached += 1;
    }
    log
}

pub fn book<'p>(prices: impl IntoIterator<Item = &'p LatestPrice>) -> Book {
    let mut book = Book::new(0);
    prices.into_iter().for_each(|price| book.restore(price));
    book
}

pub fn enriched(tick: &LogTick) -> EnrichedTick<'static> {
    EnrichedTick {
        tick: Tick {
            origin: Origin {
                feed: "f",
                partition: 0,
                offset: tick.raw_offset,
                index: 0,
            },
            instrument_id: INSTRUMENTS[tick.instrument],
            event_time: tick.event_time,
            price: Decimal::from_integer(tick.raw_offset).unwrap(),
            kind: Kind::Interval,
            version: tick.version,
            sequence: tick.sequence,
            ..domain::fixtures::tick()
        },
        enrichment: enrichment(),
    }
}

/// An enrichment without reference data of the instrument.
pub fn enrichment() -> Enrichment<'static> {
    Enrichment {
        commodity: "electricity",
        region: "midwest",
        product_tier: "standard",
        unit: None,
        contract_size: None,
        tick_size: None,
        curve_id: None,
        curve_definition: None,
        confidence_percent: 95,
        method: Classification::Database,
        low_confidence: false,
        enriched_at: 0,
    }
}
