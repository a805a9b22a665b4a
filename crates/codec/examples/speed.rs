use codec::{Wire, tick};
use domain::*;
use std::hint::black_box;
use std::time::Instant;
fn main() {
    let mut flags = QualityFlags::NONE;
    flags.insert(QualityFlag::Valid);
    let t = Tick {
        origin: Origin {
            feed: "ingestion.market.raw.v1",
            partition: 3,
            offset: 123_456_789,
            index: 0,
        },
        appended_at: 1763690401000001,
        source_event_id: "evt-000000123456",
        correlation_id: "evt-000000123456",
        causation_id: None,
        tenant_id: "default",
        instrument_id: "MISO.INDIANA.HUB.RT5",
        symbol: None,
        market: "MISO",
        kind: Kind::Interval,
        event_time: 1763690100000002,
        interval_end: Some(1763690400000000),
        price: "31.55".parse().unwrap(),
        volume: Some("12.5".parse().unwrap()),
        bid: None,
        ask: None,
        energy: Some("30.1".parse().unwrap()),
        congestion: Some("1.0".parse().unwrap()),
        loss: Some("0.45".parse().unwrap()),
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
        sequence: None,
        quality_flags: flags,
        normalized_at: 1763690402000004,
    };
    let w = Wire::single_object();
    let mut out = Vec::with_capacity(1024);
    w.encode_tick(&t, &mut out);
    println!("{} bytes framed", out.len());
    let framed = out.clone();
    let mut datum = Vec::new();
    tick::encode(&t, &mut datum);
    let enr = Enrichment {
        commodity: "electricity",
        region: "midwest",
        product_tier: "standard",
        unit: Some("MWh"),
        contract_size: None,
        tick_size: None,
        curve_id: None,
        confidence_percent: 95,
        method: Classification::Database,
        low_confidence: false,
        enriched_at: 1763690402000005,
    };
    fn best(name: &str, mut f: impl FnMut()) {
        let mut best = f64::MAX;
        for _ in 0..3000 {
            let s = Instant::now();
            for _ in 0..300 {
                f();
            }
            best = best.min(s.elapsed().as_nanos() as f64 / 300.0);
        }
        print!("{name} {best:.0} ns  ");
    }
    best("encode", || {
        out.clear();
        tick::encode(black_box(&t), &mut out);
        black_box(&out);
    });
    best("decode", || {
        let d = tick::decode(black_box(&datum));
        let _ = black_box(&d);
    });
    best("decode framed", || {
        let d = w.decode_tick(black_box(&framed));
        let _ = black_box(&d);
    });
    best("enrich", || {
        out.clear();
        w.encode_enrichment(black_box(&datum), &enr, &mut out);
        black_box(&out);
    });
    best("before my change", || {
        let d = otick::decode(black_box(&datum));
        let _ = black_box(&d);
    });
    best("new encode", || { out.clear(); otick::encode(black_box(&t), &mut out); black_box(&out); });
    println!();
}
#[allow(dead_code)]
#[path = "/tmp/codecgen/old/tick.rs"]
mod otick;
#[allow(dead_code)]
#[path = "/tmp/codecgen/old/reader.rs"]
mod reader;
#[allow(dead_code)]
#[path = "/tmp/codecgen/old/writer.rs"]
mod owriter;
