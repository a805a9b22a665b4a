//! Servers, values and waiting for the tests of this crate.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use domain::{Decimal, Kind, Origin, QualityFlag, QualityFlags, Tick, Vintage};
use localstack::{Server, Temporary};
use security::{Secret, Trust};
use stores::{ClickHouse, ClickHouseConfig, LatestPrice, OwnedOrigin};
use testkit::PATIENCE;

pub fn started(servers: &[Server]) -> Temporary {
    let stack = Temporary::new().unwrap();
    for server in servers {
        start(&stack, *server);
    }
    stack
}

pub fn start(stack: &Temporary, server: Server) {
    stack.start(server).unwrap();
    stack.wait_ready(server, PATIENCE).unwrap();
}

pub fn clickhouse(stack: &Temporary) -> ClickHouse {
    clickhouse_of(stack, "")
}

/// A client that takes the server for a replica of this cluster; an empty name is a single server.
pub fn clickhouse_of(stack: &Temporary, cluster: &str) -> ClickHouse {
    ClickHouse::new(ClickHouseConfig {
        url: stack.env()["DATA_PROC_CLICKHOUSE_URL"].clone(),
        database: "market_data".into(),
        user: "default".into(),
        password: Secret::new(""),
        cluster: cluster.to_owned(),
        trust: Trust::default(),
    })
    .unwrap()
}

/// Polls until the condition holds, for at most 20 s.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a statement with this query id and does not wait for it; it ends with the stream, or when it completes.
pub fn begin_statement(port: u16, query_id: &str, sql: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /?query_id={query_id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        sql.len()
    );
    stream.write_all(format!("{head}{sql}").as_bytes()).unwrap();
    stream
}

pub fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub fn tick() -> Tick<'static> {
    let mut quality_flags = QualityFlags::NONE;
    quality_flags.insert(QualityFlag::PriceNegative);
    quality_flags.insert(QualityFlag::LateArrival);
    Tick {
        origin: Origin {
            feed: "ingestion.market.raw.v1",
            partition: 2,
            offset: 17,
            index: 1,
        },
        appended_at: 1_790_812_800_000_001,
        source_event_id: "3f0c1f0e-7a52-4b36-8a64-3f9f5a1b6c11",
        correlation_id: "3f0c1f0e-7a52-4b36-8a64-3f9f5a1b6c11",
        tenant_id: "default",
        instrument_id: "MISO.INDIANA.HUB.RT5",
        symbol: Some("INDIANA.HUB"),
        kind: Kind::Interval,
        event_time: 1_790_812_500_000_000,
        interval_end: Some(1_790_812_800_000_000),
        price: decimal("-31.55"),
        volume: Some(decimal("120.5")),
        energy: Some(decimal("30.1")),
        congestion: Some(decimal("-61.65")),
        loss: Some(decimal("0")),
        node: Some("INDIANA.HUB"),
        hub: Some("INDIANA.HUB"),
        product: "rt5",
        source_system: "miso",
        sequence: Some(42),
        quality_flags,
        normalized_at: 1_790_812_800_000_777,
        ..domain::fixtures::tick()
    }
}

/// A price of partition 1 with this offset in its origin.
pub fn latest_price(instrument: &str, event_time: i64, offset: i64) -> LatestPrice {
    let tick = tick();
    LatestPrice {
        tenant_id: tick.tenant_id.into(),
        instrument_id: instrument.into(),
        price: tick.price,
        volume: tick.volume,
        event_time,
        vintage: Vintage::default(),
        sequence: None,
        origin: OwnedOrigin {
            offset,
            ..tick.origin.into()
        },
        src_partition: 1,
        market: tick.market.into(),
        product: tick.product.into(),
        currency: tick.currency.into(),
        unit: tick.unit.into(),
        quality_flags: tick.quality_flags,
        appended_at: tick.appended_at,
    }
}

/// The order of a price among those of its instrument, computed independently: no sequence sorts below the lowest.
pub fn place(price: &LatestPrice) -> (i64, i128, Vec<u8>, i32, i64, i32) {
    let sequence = price.sequence.map_or(i128::MIN, i128::from);
    let origin = &price.origin;
    let feed = origin.feed.clone().into_bytes();
    (
        price.event_time,
        sequence,
        feed,
        origin.partition,
        origin.offset,
        origin.index,
    )
}

/// Prices of one instrument, and the one that every order of arrival must leave. Ties in time are decided by the sequence,
/// further ties by the origin; the price with the highest offset and the one with the highest sequence have an old time.
pub fn contest(ties: bool) -> (Vec<LatestPrice>, LatestPrice) {
    let sequences = [None, Some(i64::MIN), Some(-1), Some(0), Some(9), Some(10)];
    let mut prices: Vec<LatestPrice> = Vec::new();
    for (offset, time) in (0..).zip([100, 101, 101, 102, 102, 99]) {
        for (index, sequence) in (0..).zip(sequences) {
            let mut price = latest_price("A", time, 10 - offset);
            price.origin.index = index;
            price.sequence = sequence.filter(|_| ties || time != 102);
            prices.push(price);
        }
    }
    // Feeds compare by bytes, not by locale.
    for feed in ["a.b", "a-b", "B", "b"] {
        let mut price = latest_price("A", 102, 9);
        price.origin.feed = feed.into();
        prices.push(price);
    }
    let mut late = latest_price("A", 50, 1_000);
    late.sequence = Some(i64::MAX);
    prices.push(late);
    let newest = prices.iter().max_by_key(|price| place(price)).unwrap().clone();
    (prices, newest)
}

/// The same values in another order, determined by the seed.
pub fn shuffled<T: Clone>(values: &[T], seed: u64) -> Vec<T> {
    let mut values = values.to_vec();
    fastrand::Rng::with_seed(seed).shuffle(&mut values);
    values
}
