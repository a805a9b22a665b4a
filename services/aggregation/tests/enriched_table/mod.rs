//! A real ClickHouse whose table `enriched_ticks` is filled by the tests.
#![allow(dead_code, clippy::unwrap_used)]

use std::time::Duration;

use domain::{
    Classification, Decimal, EnrichedTick, Enrichment, Interval, Kind, Micros, Origin, Product, Tick, Window,
};
use localstack::Temporary;
use stores::clickhouse::{Block, Claimant, rows};
use stores::fixtures::{Started, started};
use stores::{ClickHouse, FencedTable, History, HistoryLimits, ProductClose};
use tokio::runtime::Runtime;

pub const TOPIC: &str = "enriched.market.ticks.v1";
pub const SECOND: Micros = 1_000_000;
/// 2023-11-15T00:00:00Z.
pub const MIDNIGHT: Micros = 1_700_006_400 * SECOND;
pub const LARGEST: i64 = 999_999_999_999_999_999;

pub struct Setup {
    pub stack: Temporary,
    pub runtime: Runtime,
    pub clickhouse: ClickHouse,
    pub table: FencedTable,
}

pub fn server() -> Setup {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let Started { stack, clickhouse } = runtime.block_on(started());
    // Rows are kept, whatever their ingestion time is.
    let keep = "ALTER TABLE market_data.enriched_ticks REMOVE TTL";
    runtime.block_on(clickhouse.exec(keep)).unwrap();
    Setup {
        stack,
        runtime,
        table: FencedTable::new(clickhouse.clone(), &rows::enriched::LAYOUT, ""),
        clickhouse,
    }
}

/// When windows of a product close.
pub fn close_after(product: Product) -> Micros {
    match product {
        Product::Trade | Product::DayAhead => 30 * SECOND,
        _ => 900 * SECOND,
    }
}

pub fn products() -> Vec<ProductClose> {
    Product::ALL
        .map(|product| ProductClose {
            product,
            close_after: close_after(product),
        })
        .to_vec()
}

pub fn history(clickhouse: &ClickHouse) -> History {
    let limits = HistoryLimits {
        memory_bytes: 1 << 30,
        threads: 2,
        time: Duration::from_secs(60),
    };
    limited(clickhouse, limits)
}

pub fn limited(clickhouse: &ClickHouse, limits: HistoryLimits) -> History {
    History::new(
        clickhouse.clone(),
        TOPIC.to_owned(),
        ("enriched_ticks".to_owned(), "bars_latest".to_owned()),
        limits,
        products(),
    )
}

/// The columns of a row that matter to bars.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub tenant_id: &'static str,
    pub instrument_id: &'static str,
    pub product: Product,
    pub version: Option<&'static str>,
    pub event_time: Micros,
    pub interval_end: Option<Micros>,
    pub appended_at: Micros,
    pub price: i64,
    pub volume: Option<i64>,
    pub sequence: Option<i64>,
    pub feed: &'static str,
    pub raw_partition: i32,
    pub raw_offset: i64,
    pub raw_index: i32,
    pub market: &'static str,
}

impl Row {
    /// A trade.
    pub fn trade(instrument_id: &'static str, event_time: Micros) -> Row {
        Row {
            tenant_id: "acme",
            instrument_id,
            product: Product::Trade,
            version: None,
            event_time,
            interval_end: None,
            appended_at: MIDNIGHT,
            price: 1,
            volume: Some(1),
            sequence: None,
            feed: "feed.a",
            raw_partition: 0,
            raw_offset: 0,
            raw_index: 0,
            market: "ICE",
        }
    }

    pub fn window(&self, interval: Interval) -> Window {
        interval.window_of(self.event_time)
    }

    pub fn tick(&self) -> Tick<'_> {
        let decimal = |unscaled| Decimal::from_unscaled(unscaled).unwrap();
        Tick {
            origin: Origin {
                feed: self.feed,
                partition: self.raw_partition,
                offset: self.raw_offset,
                index: self.raw_index,
            },
            appended_at: self.appended_at,
            tenant_id: self.tenant_id,
            instrument_id: self.instrument_id,
            market: self.market,
            kind: match self.product {
                Product::Trade => Kind::Trade,
                _ => Kind::Interval,
            },
            event_time: self.event_time,
            interval_end: self.interval_end,
            price: decimal(self.price),
            volume: self.volume.map(decimal),
            product: self.product.name(),
            version: self.version,
            sequence: self.sequence,
            normalized_at: self.appended_at,
            ..domain::fixtures::tick()
        }
    }
}

/// Writes the rows of a source partition, from this offset on.
pub async fn insert(table: &FencedTable, partition: i32, from: i64, rows: &[Row]) {
    let mut block = Block::new(&rows::enriched::LAYOUT);
    for (offset, row) in (from..).zip(rows) {
        let enriched = EnrichedTick {
            tick: row.tick(),
            enrichment: Enrichment {
                commodity: "c",
                region: "r",
                product_tier: "p",
                unit: None,
                contract_size: None,
                tick_size: None,
                curve_id: None,
                curve_definition: None,
                confidence_percent: 95,
                method: Classification::Database,
                low_confidence: false,
                enriched_at: row.appended_at,
            },
        };
        rows::enriched::encode(&enriched, partition, offset, &mut block);
    }
    let claim = table.claim(TOPIC, partition, Claimant::once()).await.unwrap();
    table.insert(&[claim], vec![block]).await.unwrap();
}

/// Copies the rows of a partition, as ingested this many seconds after their append, in the order of the log.
pub async fn copy_ingested(server: &Setup, partition: i32, copy: i32, lag: i64) {
    let sql = format!(
        "INSERT INTO market_data.enriched_ticks SELECT * REPLACE ({copy} AS src_partition, \
         max(appended_at) OVER (ORDER BY src_offset) + INTERVAL {lag} SECOND AS ingested_at) \
         FROM (SELECT * FROM market_data.enriched_ticks WHERE src_partition = {partition})"
    );
    server.clickhouse.exec(&sql).await.unwrap();
}
