//! Nanoseconds and bytes of one row of `market_ticks`: `cargo run --release -p stores --example encode_speed`.

use std::hint::black_box;
use std::time::Instant;

use domain::{Decimal, DecimalError, Kind, Origin, QualityFlag, QualityFlags, Tick};
use stores::clickhouse::rows;

fn main() -> Result<(), DecimalError> {
    let mut quality_flags = QualityFlags::NONE;
    quality_flags.insert(QualityFlag::Valid);
    let tick = Tick {
        origin: Origin {
            feed: "ingestion.market.raw.v1",
            partition: 2,
            offset: 17_000_000,
            index: 1,
        },
        appended_at: 1_790_812_800_000_001,
        source_event_id: "3f0c1f0e-7a52-4b36-8a64-3f9f5a1b6c11",
        correlation_id: "3f0c1f0e-7a52-4b36-8a64-3f9f5a1b6c11",
        causation_id: None,
        tenant_id: "default",
        instrument_id: "MISO.INDIANA.HUB.RT5",
        symbol: None,
        market: "MISO",
        kind: Kind::Interval,
        event_time: 1_790_812_500_000_000,
        interval_end: Some(1_790_812_800_000_000),
        price: "31.55".parse::<Decimal>()?,
        volume: Some("120.5".parse::<Decimal>()?),
        bid: None,
        ask: None,
        energy: Some("30.1".parse::<Decimal>()?),
        congestion: Some("1.45".parse::<Decimal>()?),
        loss: Some(Decimal::ZERO),
        ghg: None,
        currency: "USD",
        unit: "MWh",
        node: Some("INDIANA.HUB"),
        zone: None,
        hub: Some("INDIANA.HUB"),
        market_status: None,
        product: "rt5",
        version: None,
        source_system: "miso",
        sequence: Some(42),
        quality_flags,
        normalized_at: 1_790_812_800_000_777,
    };
    let mut out = Vec::with_capacity(16 << 20);
    let (rounds, rows) = (40, 30_000);
    let mut best = f64::MAX;
    for _ in 0..rounds {
        out.clear();
        let began = Instant::now();
        for offset in 0..rows {
            rows::tick::encode(black_box(&tick), 1, offset, &mut out);
        }
        best = best.min(began.elapsed().as_nanos() as f64 / rows as f64);
    }
    println!(
        "{best:.0} ns and {} bytes a row (best of {rounds})",
        out.len() / rows as usize
    );
    Ok(())
}
