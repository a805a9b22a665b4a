//! A tick for tests: each test names the fields that it is about, and takes the rest from here (`Tick { price, ..tick() }`).
//!
//! Only `dev-dependencies` turn on the feature `fixtures`, so no program can use it.

use crate::{Decimal, Kind, Origin, QualityFlags, Tick};

/// A trade of MISO with nothing optional, at the start of everything.
#[must_use]
pub fn tick() -> Tick<'static> {
    Tick {
        origin: Origin {
            feed: "f",
            partition: 0,
            offset: 0,
            index: 0,
        },
        appended_at: 0,
        source_event_id: "e",
        correlation_id: "c",
        causation_id: None,
        tenant_id: "t",
        instrument_id: "i",
        symbol: None,
        market: "MISO",
        kind: Kind::Trade,
        event_time: 0,
        interval_end: None,
        price: Decimal::ZERO,
        volume: None,
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
        product: "trade",
        version: None,
        source_system: "test",
        sequence: None,
        quality_flags: QualityFlags::NONE,
        normalized_at: 0,
    }
}
