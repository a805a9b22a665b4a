use markets::*;
fn main() {
    let count: u32 = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(1_000_000);
    let only = std::env::args().nth(2);
    let a = br#"{"envelope":{"event_type":"market.tick","event_id":"0b6f1a52-5b1e-4a42-9f0e-2f4c1b7d9a11","timestamp":"2026-10-02T11:59:59.123456Z","tenant_id":"default","source":"simulator","version":"1.0","correlation_id":"corr-000001"},"payload":{"market":"MISO","instrument_id":"MISO.INDIANA.HUB.RT5","raw_data":{"timestamp":"2026-10-02T11:59:58.123456Z","price":31.55,"volume":120.5,"bid":31.5,"ask":31.6,"node":"INDIANA.HUB","zone":"INDIANA"}}}"#.to_vec();
    let b = br#"{"event_id":"0b6f1a52-5b1e-4a42-9f0e-2f4c1b7d9a11","trace_id":"corr-000001","schema_version":"1.0.0","tenant_id":"default","producer":"sim","occurred_at":1790942398000000,"ingested_at":1790942399000000,"payload":{"source_system":"sim","market":"MISO","symbol":"NG_HH_M1","sequence":17,"received_at":1790942399000000,"raw_payload":"{\"price\":31.55,\"volume\":120.5,\"bid\":31.5,\"ask\":31.6,\"node\":\"INDIANA.HUB\",\"zone\":\"INDIANA\"}","encoding":"json","metadata":{},"retry_count":0}}"#.to_vec();
    for (name, p) in [("A", &a), ("B", &b)] {
        if only.as_deref().is_some_and(|o| o != name) { continue; }
        let mut n = Normalizer::new(NormalizerConfig::default());
        let m = RawMessage{feed:"ingestion.market.raw.v1",partition:0,offset:1,appended_at:1790942400000000,key:None,payload:p,format:None,tenant:None,replay:None};
        for _ in 0..3 {
            let start = std::time::Instant::now();
            let mut sum = 0i64;
            for _ in 0..count { n.normalize(&m, 5, &mut |t| sum += t.price.unscaled()).unwrap(); }
            println!("{name} {} bytes {:?}/msg {sum}", p.len(), start.elapsed() / count);
        }
    }
}
