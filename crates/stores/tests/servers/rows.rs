//! Every row encoder against a real ClickHouse: rows are read back exactly as written, digit for digit.

use std::sync::OnceLock;

use domain::{
    Bar, BarCause, BarVersion, Classification, CurveInput, CurvePoint, CurveSnapshot, Decimal, DerivedCause,
    DerivedLeg, DerivedPrice, EnrichedTick, Enrichment, Interval, Kind, LateTick, Micros, Origin, QualityFlags, Tick,
    TimeWeighted, Turnover, Window,
};
use localstack::{Server, Temporary};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use stores::clickhouse::{Block, Claimant, Layout, rows};
use stores::price::rfc3339;
use stores::{ClickHouse, FencedTable, StoredBar, newest_bars};

use crate::common::{self, clickhouse};

const CASES: u32 = 12;
const ROWS: std::ops::Range<usize> = 1..60;

struct Shared {
    _stack: Temporary,
    clickhouse: ClickHouse,
    runtime: tokio::runtime::Runtime,
}

fn server() -> &'static Shared {
    static SERVER: OnceLock<Shared> = OnceLock::new();
    SERVER.get_or_init(|| {
        let stack = common::started(&[Server::ClickHouse]);
        let clickhouse = clickhouse(&stack);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(stores::clickhouse::migrate(&clickhouse, "")).unwrap();
        Shared {
            _stack: stack,
            clickhouse,
            runtime,
        }
    })
}

/// Inserts the rows through the fence and reads them back in the order of their source offset.
fn round_trip(layout: &'static Layout, block: Block) -> Vec<Map<String, Value>> {
    let Shared {
        clickhouse, runtime, ..
    } = server();
    let table = FencedTable::new(clickhouse.clone(), layout, "");
    runtime.block_on(async {
        clickhouse.exec(&format!("TRUNCATE TABLE market_data.{}", layout.table)).await.unwrap();
        let claim = table.claim(layout.table, 0, Claimant::once()).await.unwrap();
        table.insert(&[claim], vec![block]).await.unwrap();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY src_offset SETTINGS date_time_output_format = 'iso', output_format_decimal_trailing_zeros = 0",
            layout.names(),
            layout.table
        );
        clickhouse.query_json(&sql).await.unwrap()
    })
}

fn time(value: Micros) -> Value {
    json!(rfc3339(value))
}

fn number(value: Decimal) -> Value {
    json!(value.to_string())
}

fn long(value: i64) -> Value {
    json!(value.to_string())
}

fn scaled(value: i128, scale: u32) -> Value {
    let (sign, magnitude, one) = (
        if value < 0 { "-" } else { "" },
        value.unsigned_abs(),
        10u128.pow(scale),
    );
    let fraction = format!("{:0width$}", magnitude % one, width = scale as usize);
    let text = format!("{sign}{}.{fraction}", magnitude / one);
    json!(text.trim_end_matches('0').trim_end_matches('.'))
}

fn object(fields: &[(&str, Value)]) -> Map<String, Value> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn decimals() -> impl Strategy<Value = Decimal> {
    let edge = 999_999_999_999_999_999;
    prop_oneof![Just(0), Just(edge), Just(-edge), Just(1), -edge..=edge]
        .prop_map(|unscaled| Decimal::from_unscaled(unscaled).unwrap())
}

/// DateTime64 covers 1900 to 2299; our times start in 1990.
fn times() -> impl Strategy<Value = Micros> {
    631_152_000_000_000i64..4_000_000_000_000_000
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Z]{1,12}", "\\PC{0,40}", "x{120,300}"]
}

fn origins() -> impl Strategy<Value = (String, i32, i64, i32)> {
    ("[a-z.]{1,30}", 0..i32::MAX, 0..i64::MAX, 0..i32::MAX)
}

#[derive(Debug)]
struct AnyTick {
    texts: Vec<String>,
    optional_texts: Vec<Option<String>>,
    decimals: Vec<Decimal>,
    optional_decimals: Vec<Option<Decimal>>,
    times: Vec<Micros>,
    interval_end: Option<Micros>,
    sequence: Option<i64>,
    flags: u32,
    is_trade: bool,
    origin: (String, i32, i64, i32),
}

fn ticks() -> impl Strategy<Value = AnyTick> {
    let texts = (vec(texts(), 12), vec(option::of(texts()), 10));
    let numbers = (
        vec(decimals(), 1),
        vec(option::of(decimals()), 10),
        vec(times(), 4),
        option::of(times()),
    );
    let rest = (
        option::of(any::<i64>()),
        0u32..1 << domain::QualityFlag::ALL.len(),
        any::<bool>(),
        origins(),
    );
    (texts, numbers, rest).prop_map(
        |(
            (texts, optional_texts),
            (decimals, optional_decimals, times, interval_end),
            (sequence, flags, is_trade, origin),
        )| AnyTick {
            texts,
            optional_texts,
            decimals,
            optional_decimals,
            times,
            interval_end,
            sequence,
            flags,
            is_trade,
            origin,
        },
    )
}

fn origin((feed, partition, offset, index): &(String, i32, i64, i32)) -> Origin<'_> {
    Origin {
        feed,
        partition: *partition,
        offset: *offset,
        index: *index,
    }
}

impl AnyTick {
    fn tick(&self) -> Tick<'_> {
        let optional = |i: usize| self.optional_texts[i].as_deref();
        Tick {
            origin: origin(&self.origin),
            appended_at: self.times[0],
            source_event_id: &self.texts[0],
            correlation_id: &self.texts[1],
            causation_id: optional(0),
            tenant_id: &self.texts[2],
            instrument_id: &self.texts[3],
            symbol: optional(1),
            market: &self.texts[4],
            kind: if self.is_trade { Kind::Trade } else { Kind::Interval },
            event_time: self.times[1],
            interval_end: self.interval_end,
            price: self.decimals[0],
            volume: self.optional_decimals[0],
            bid: self.optional_decimals[1],
            ask: self.optional_decimals[2],
            energy: self.optional_decimals[3],
            congestion: self.optional_decimals[4],
            loss: self.optional_decimals[5],
            ghg: self.optional_decimals[6],
            currency: &self.texts[5],
            unit: &self.texts[6],
            node: optional(2),
            zone: optional(3),
            hub: optional(4),
            market_status: optional(5),
            product: &self.texts[7],
            version: optional(6),
            source_system: &self.texts[8],
            sequence: self.sequence,
            quality_flags: QualityFlags::from_bits(self.flags).unwrap(),
            normalized_at: self.times[2],
        }
    }

    fn enriched(&self) -> EnrichedTick<'_> {
        let enrichment = Enrichment {
            commodity: &self.texts[9],
            region: &self.texts[10],
            product_tier: &self.texts[11],
            unit: self.optional_texts[7].as_deref(),
            contract_size: self.optional_decimals[7],
            tick_size: self.optional_decimals[8],
            curve_id: self.optional_texts[8].as_deref(),
            curve_definition: self.optional_texts[7].as_deref(),
            confidence_percent: (self.flags % 101) as i32,
            method: [
                Classification::Database,
                Classification::RuleBased,
                Classification::Fallback,
            ][(self.flags % 3) as usize],
            low_confidence: !self.is_trade,
            enriched_at: self.times[3],
        };
        EnrichedTick {
            tick: self.tick(),
            enrichment,
        }
    }
}

fn expected_origin(origin: &Origin<'_>, names: [&'static str; 4]) -> [(&'static str, Value); 4] {
    let [feed, partition, offset, index] = names;
    [
        (feed, json!(origin.feed)),
        (partition, json!(origin.partition)),
        (offset, long(origin.offset)),
        (index, json!(origin.index)),
    ]
}

const RAW: [&str; 4] = ["feed", "raw_partition", "raw_offset", "raw_index"];

fn expected_tick(tick: &Tick<'_>, src_offset: i64) -> Map<String, Value> {
    let optional = |value: Option<Decimal>| value.map_or(Value::Null, number);
    let flags: Vec<&str> = tick.quality_flags.iter().map(|flag| flag.name()).collect();
    let mut fields = object(&[
        ("tenant_id", json!(tick.tenant_id)),
        ("instrument_id", json!(tick.instrument_id)),
        ("timestamp", time(tick.event_time)),
        ("market", json!(tick.market)),
        ("product", json!(tick.product)),
        ("kind", json!(tick.kind.name())),
        ("price", number(tick.price)),
        ("volume", optional(tick.volume)),
        ("bid", optional(tick.bid)),
        ("ask", optional(tick.ask)),
        ("energy", optional(tick.energy)),
        ("congestion", optional(tick.congestion)),
        ("loss", optional(tick.loss)),
        ("ghg", optional(tick.ghg)),
        ("currency", json!(tick.currency)),
        ("unit", json!(tick.unit)),
        ("symbol", json!(tick.symbol)),
        ("node", json!(tick.node)),
        ("zone", json!(tick.zone)),
        ("hub", json!(tick.hub)),
        ("market_status", json!(tick.market_status)),
        ("version", json!(tick.version)),
        ("interval_end", tick.interval_end.map_or(Value::Null, time)),
        ("quality_flags", json!(flags)),
        ("source_system", json!(tick.source_system)),
        ("sequence", tick.sequence.map_or(Value::Null, long)),
        ("source_event_id", json!(tick.source_event_id)),
        ("correlation_id", json!(tick.correlation_id)),
        ("causation_id", json!(tick.causation_id)),
        ("src_partition", json!(5)),
        ("src_offset", long(src_offset)),
        ("appended_at", time(tick.appended_at)),
        ("normalized_at", time(tick.normalized_at)),
    ]);
    fields.extend(object(&expected_origin(&tick.origin, RAW)));
    fields
}

fn expected_enriched(enriched: &EnrichedTick<'_>, src_offset: i64) -> Map<String, Value> {
    let enrichment = &enriched.enrichment;
    let optional = |value: Option<Decimal>| value.map_or(Value::Null, number);
    let mut fields = expected_tick(&enriched.tick, src_offset);
    fields.extend(object(&[
        ("commodity", json!(enrichment.commodity)),
        ("region", json!(enrichment.region)),
        ("product_tier", json!(enrichment.product_tier)),
        ("instrument_unit", json!(enrichment.unit)),
        ("contract_size", optional(enrichment.contract_size)),
        ("tick_size", optional(enrichment.tick_size)),
        ("curve_id", json!(enrichment.curve_id)),
        (
            "classification_confidence",
            scaled(enrichment.confidence_percent.into(), 2),
        ),
        ("classification_method", json!(enrichment.method.name())),
        ("low_confidence_classification", json!(enrichment.low_confidence)),
        ("enriched_at", time(enrichment.enriched_at)),
    ]));
    // The rest is in market_ticks.
    fields.retain(|name, _| rows::enriched::LAYOUT.fields().any(|(kept, _)| kept == name));
    fields
}

fn check(layout: &'static Layout, block: Block, expected: Vec<Map<String, Value>>) -> Result<(), TestCaseError> {
    let found = round_trip(layout, block);
    prop_assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        prop_assert_eq!(found, expected);
    }
    Ok(())
}

/// The comments of 006_enriched_columns name exactly the columns that no row fills, so none is dropped too early or forgotten.
#[test]
fn a_column_that_no_writer_fills_says_so() {
    let Shared {
        clickhouse, runtime, ..
    } = server();
    for layout in [
        &rows::tick::LAYOUT,
        &rows::enriched::LAYOUT,
        &rows::late::LAYOUT,
        &rows::bar::LAYOUT,
        &rows::derived::LAYOUT,
        &rows::curve::LAYOUT,
    ] {
        let filled: Vec<&str> = layout.fields().map(|(name, _)| name).chain(["ingested_at"]).collect();
        let sql = format!(
            "SELECT name, comment FROM system.columns WHERE database = 'market_data' AND table = '{}' AND default_kind = ''",
            layout.table
        );
        for column in runtime.block_on(clickhouse.query_json(&sql)).unwrap() {
            let name = column["name"].as_str().unwrap();
            let is_left = column["comment"].as_str().unwrap().starts_with("no longer written");
            assert_eq!(filled.contains(&name), !is_left, "{name} of {}", layout.table);
        }
    }
}

/// A list column without any name is sent without a dictionary, and the next block has one again.
#[test]
fn blocks_with_and_without_flags_are_read_back() {
    let Shared {
        clickhouse, runtime, ..
    } = server();
    let layout = &rows::tick::LAYOUT;
    let block = |quality_flags: QualityFlags, offsets: std::ops::Range<i64>| {
        let mut block = Block::new(layout);
        offsets.for_each(|offset| {
            rows::tick::encode(
                &Tick {
                    quality_flags,
                    ..common::tick()
                },
                7,
                offset,
                &mut block,
            )
        });
        block
    };
    let some = common::tick().quality_flags;
    let blocks = vec![
        block(QualityFlags::NONE, 0..3),
        block(some, 3..5),
        block(QualityFlags::NONE, 5..6),
    ];
    let found = runtime.block_on(async {
        // A name of its own: the other tests empty the table meanwhile.
        clickhouse
            .exec("CREATE TABLE market_data.market_ticks_flags AS market_data.market_ticks")
            .await
            .unwrap();
        let table = FencedTable::new(clickhouse.clone(), layout, "_flags");
        let claim = table.claim("flags", 7, Claimant::once()).await.unwrap();
        table.insert(&[claim], blocks).await.unwrap();
        let sql = "SELECT arrayStringConcat(quality_flags, ',') FROM market_ticks_flags ORDER BY src_offset";
        clickhouse.query_text(sql, "TabSeparated").await.unwrap()
    });
    let names: Vec<&str> = some.iter().map(|flag| flag.name()).collect();
    let flags = names.join(",");
    assert_eq!(found, format!("\n\n\n{flags}\n{flags}\n\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tick_is_read_back_as_it_was(ticks in vec(ticks(), ROWS)) {
        let (mut block, mut expected) = (Block::new(&rows::tick::LAYOUT), Vec::new());
        for (offset, any) in (0..).zip(&ticks) {
            rows::tick::encode(&any.tick(), 5, offset, &mut block);
            expected.push(expected_tick(&any.tick(), offset));
        }
        check(&rows::tick::LAYOUT, block, expected)?;
    }

    #[test]
    fn any_enriched_tick_is_read_back_as_it_was(ticks in vec(ticks(), ROWS)) {
        let (mut block, mut expected) = (Block::new(&rows::enriched::LAYOUT), Vec::new());
        for (offset, any) in (0..).zip(&ticks) {
            rows::enriched::encode(&any.enriched(), 5, offset, &mut block);
            expected.push(expected_enriched(&any.enriched(), offset));
        }
        check(&rows::enriched::LAYOUT, block, expected)?;
    }

    #[test]
    fn any_late_tick_is_read_back_as_it_was(ticks in vec((ticks(), 0u8..32), ROWS)) {
        let (mut block, mut expected) = (Block::new(&rows::late::LAYOUT), Vec::new());
        for (offset, (any, missed_intervals)) in (0..).zip(&ticks) {
            let tick = any.tick();
            let late = LateTick {
                origin: tick.origin,
                tenant_id: tick.tenant_id,
                instrument_id: tick.instrument_id,
                event_time: tick.event_time,
                price: tick.price,
                volume: tick.volume,
                missed_intervals: *missed_intervals,
                closed_intervals: *missed_intervals,
                is_close: false,
                watermark: tick.appended_at,
                enriched_offset: tick.origin.offset,
            };
            rows::late::encode(&late, 5, offset, &mut block);
            let intervals: Vec<&str> =
                Interval::ALL.iter().filter(|i| missed_intervals >> i.index() & 1 == 1).map(|i| i.name()).collect();
            let mut fields = object(&[
                ("tenant_id", json!(late.tenant_id)),
                ("instrument_id", json!(late.instrument_id)),
                ("timestamp", time(late.event_time)),
                ("price", number(late.price)),
                ("volume", late.volume.map_or(Value::Null, number)),
                ("intervals", json!(intervals)),
                ("watermark", time(late.watermark)),
                ("enriched_offset", long(late.enriched_offset)),
                ("src_partition", json!(5)),
                ("src_offset", long(offset)),
            ]);
            fields.extend(object(&expected_origin(&late.origin, RAW)));
            expected.push(fields);
        }
        check(&rows::late::LAYOUT, block, expected)?;
    }

    #[test]
    fn any_derived_price_is_read_back_as_it_was(prices in vec((ticks(), 0usize..3, 0usize..3, 0..i64::MAX, any::<(i32, i64)>()), ROWS)) {
        let (mut block, mut expected) = (Block::new(&rows::derived::LAYOUT), Vec::new());
        for (offset, (any, legs, cause, version, (revision, age))) in (0..).zip(&prices) {
            let (tick, cause) = (any.tick(), DerivedCause::ALL[*cause]);
            // A separate series for each price, so that none replaces another.
            let series = format!("{}{offset}", tick.instrument_id);
            let leg = DerivedLeg {
                role: "power",
                instrument_id: tick.instrument_id,
                price: tick.price,
                event_time: tick.appended_at,
                age: *age,
                origin: tick.origin,
            };
            let price = DerivedPrice {
                tenant_id: tick.tenant_id,
                series: &series,
                kind: "basis",
                event_time: tick.event_time,
                value: tick.volume,
                unit: tick.unit,
                legs: vec![leg; *legs],
                log_clock: tick.appended_at,
                version: *version,
                revision: *revision,
                cause,
                cause_origin: tick.origin,
            };
            rows::derived::encode(&price, 5, offset, &mut block);
            let mut fields = object(&[
                ("tenant_id", json!(price.tenant_id)),
                ("series", json!(series)),
                ("kind", json!("basis")),
                ("timestamp", time(price.event_time)),
                ("value", price.value.map_or(Value::Null, number)),
                ("unit", json!(price.unit)),
                ("log_clock", time(price.log_clock)),
                ("version", long(*version)),
                ("kept_version", long(*version)),
                ("revision", json!(revision)),
                ("cause", json!(cause.name())),
                ("cause_origin", json!(tick.origin.to_string())),
                ("src_partition", json!(5)),
                ("src_offset", long(offset)),
            ]);
            for (number_of, place) in ["first", "second"].into_iter().enumerate() {
                let is_there = number_of < *legs;
                for (column, value) in [
                    ("role", json!(leg.role)),
                    ("instrument", json!(leg.instrument_id)),
                    ("price", number(leg.price)),
                    ("time", time(leg.event_time)),
                    ("age", long(*age)),
                    ("origin", json!(tick.origin.to_string())),
                ] {
                    fields.insert(format!("{place}_{column}"), if is_there { value } else { Value::Null });
                }
            }
            expected.push(fields);
        }
        check(&rows::derived::LAYOUT, block, expected)?;
    }

    #[test]
    fn any_curve_snapshot_is_read_back_as_it_was(snapshots in vec((ticks(), 0usize..3, -30_000i32..90_000, 0..i64::MAX, any::<(i32, i64)>()), ROWS)) {
        let (mut block, mut expected) = (Block::new(&rows::curve::LAYOUT), Vec::new());
        for (offset, (any, count, day, version, (revision, number_of))) in (0..).zip(&snapshots) {
            let (tick, cause) = (any.tick(), DerivedCause::ALL[*count]);
            let price = *number_of as f64 / 1e8;
            // A separate curve for each snapshot, so that none replaces another.
            let curve_id = format!("{}{offset}", tick.instrument_id);
            let source = tick.origin.to_string();
            let point = CurvePoint {
                contract: tick.instrument_id,
                block: "flat",
                delivery_start: "2026-12-01T00:00:00-05:00",
                delivery_end: tick.unit,
                price,
                volume: tick.volume.map(|_| price),
                confidence: 0.7,
                method: "shaped",
                extrapolated: *count == 1,
                sources: vec![&*source; *count],
            };
            let input = CurveInput {
                contract: tick.instrument_id,
                block: "peak",
                price,
                curve_price: tick.bid.map(|_| price),
                residual: tick.ask.map(|_| 0.0),
                state: "repriced",
                implied_by: vec![tick.unit; *count],
                source: &source,
                known_at: tick.event_time,
            };
            let snapshot = CurveSnapshot {
                origin: tick.origin,
                tenant_id: tick.tenant_id,
                curve_id: &curve_id,
                market: tick.market,
                horizon: "all",
                as_of: tick.appended_at,
                day: *day,
                method: "smooth",
                definition: tick.unit,
                log_clock: tick.normalized_at,
                version: *version,
                revision: *revision,
                cause,
                points: vec![point; *count],
                inputs: vec![input; *count],
            };
            rows::curve::encode(&snapshot, 5, offset, &mut block);
            let points: Vec<Value> = snapshot.points.iter().map(|of| json!({
                "contract": of.contract, "block": "flat", "delivery_start": "2026-12-01T00:00:00-05:00", "delivery_end": of.delivery_end,
                "price": price, "volume": of.volume, "confidence": 0.7, "method": "shaped", "extrapolated": of.extrapolated,
                "sources": of.sources,
            })).collect();
            let inputs: Vec<Value> = snapshot.inputs.iter().map(|of| json!({
                "contract": of.contract, "block": "peak", "price": price, "curve_price": of.curve_price, "residual": of.residual,
                "state": "repriced", "implied_by": of.implied_by, "source": source, "known_at": of.known_at,
            })).collect();
            let date = jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(*day);
            expected.push(object(&[
                ("tenant_id", json!(snapshot.tenant_id)),
                ("curve_id", json!(curve_id)),
                ("market", json!(snapshot.market)),
                ("horizon", json!("all")),
                ("as_of", time(snapshot.as_of)),
                ("day", json!(date.to_string())),
                ("method", json!("smooth")),
                ("definition", json!(snapshot.definition)),
                ("points", json!(Value::from(points).to_string())),
                ("inputs", json!(Value::from(inputs).to_string())),
                ("log_clock", time(snapshot.log_clock)),
                ("version", long(*version)),
                ("revision", json!(revision)),
                ("cause", json!(cause.name())),
                ("origin", json!(source)),
                ("src_partition", json!(5)),
                ("src_offset", long(offset)),
            ]));
        }
        check(&rows::curve::LAYOUT, block, expected)?;
    }

    #[test]
    fn any_bar_is_read_back_as_it_was(
        bars in vec((ticks(), 0usize..5, origins(), any::<(i64, bool, i64, i32)>(), any::<i64>()), ROWS)
    ) {
        let (mut block, mut expected) = (Block::new(&rows::bar::LAYOUT), Vec::new());
        for (offset, (any, interval, last_origin, (version, closed, trade_count, revision), factor)) in (0..).zip(&bars) {
            let tick = any.tick();
            // A separate instrument for each bar, so that none replaces another.
            let instrument_id = format!("{}{offset}", tick.instrument_id);
            let window = Interval::ALL[*interval].window_of(tick.event_time);
            let optional = |i: usize| any.optional_decimals[i].unwrap_or(tick.price);
            let bar = Bar {
                tenant_id: tick.tenant_id,
                instrument_id: &instrument_id,
                market: tick.market,
                window,
                open: tick.price,
                high: optional(0),
                low: optional(1),
                close: optional(2),
                volume: i128::from(*factor) * 1_000_000_000_000_000_000,
                turnover: Turnover(i128::from(*factor) * 9_000_000_000_000_000_007),
                vwap: tick.bid,
                time_weighted: TimeWeighted { price_seconds: i128::from(tick.price.unscaled()) * 300, seconds: 300 },
                trade_count: *trade_count,
                open_time: tick.event_time,
                open_sequence: tick.sequence,
                first_origin: tick.origin,
                close_time: tick.appended_at,
                close_sequence: None,
                last_origin: origin(last_origin),
                revision: *revision,
                cause: BarCause::ALL.get(*interval).copied().filter(|_| *closed),
                version: BarVersion { last_offset: version.unsigned_abs() as i64 & i64::MAX, closed: *closed },
                last_appended_at: tick.normalized_at,
            };
            rows::bar::encode(&bar, 5, offset, &mut block);
            let mut fields = object(&[
                ("tenant_id", json!(bar.tenant_id)),
                ("instrument_id", json!(bar.instrument_id)),
                ("interval", json!(window.interval.name())),
                ("window_start", time(window.start)),
                ("window_end", time(window.end())),
                ("market", json!(bar.market)),
                ("open", number(bar.open)),
                ("high", number(bar.high)),
                ("low", number(bar.low)),
                ("close", number(bar.close)),
                ("volume", scaled(bar.volume, 8)),
                ("turnover", scaled(bar.turnover.0, 16)),
                ("vwap", bar.vwap.map_or(Value::Null, number)),
                ("twap", number(tick.price)),
                ("price_seconds", scaled(bar.time_weighted.price_seconds, 8)),
                ("priced_seconds", json!("300")),
                ("trade_count", long(bar.trade_count)),
                ("open_time", time(bar.open_time)),
                ("close_time", time(bar.close_time)),
                ("revision", json!(bar.revision)),
                ("cause", json!(bar.cause.map_or("", BarCause::name))),
                ("closed", json!(bar.version.closed)),
                ("version", json!(bar.version.as_u64().to_string())),
                ("last_appended_at", time(bar.last_appended_at)),
                ("src_partition", json!(5)),
                ("src_offset", long(offset)),
            ]);
            let first = expected_origin(&bar.first_origin, ["first_feed", "first_partition", "first_offset", "first_index"]);
            let last = expected_origin(&bar.last_origin, ["last_feed", "last_partition", "last_offset", "last_index"]);
            fields.extend(object(&first));
            fields.extend(object(&last));
            expected.push(fields);
        }
        check(&rows::bar::LAYOUT, block, expected)?;
    }
}

/// `bars_latest` and the views by interval show the newest version of each bar, and positions come from all versions.
#[test]
fn the_views_show_the_newest_version_of_a_bar_in_any_order() {
    let tick = common::tick();
    let window = Interval::FiveMinutes.window_of(tick.event_time);
    let bar = |last_offset: i64, closed: bool| Bar {
        tenant_id: tick.tenant_id,
        instrument_id: tick.instrument_id,
        market: tick.market,
        window,
        open: tick.price,
        high: tick.price,
        low: tick.price,
        close: tick.price,
        volume: 1,
        turnover: Turnover(1),
        vwap: None,
        time_weighted: TimeWeighted::default(),
        trade_count: last_offset,
        open_time: tick.event_time,
        open_sequence: None,
        first_origin: tick.origin,
        close_time: tick.event_time,
        close_sequence: None,
        last_origin: tick.origin,
        revision: 0,
        cause: (last_offset != 9)
            .then_some(BarCause::Vintage)
            .or(Some(BarCause::Correction)),
        version: BarVersion { last_offset, closed },
        last_appended_at: tick.appended_at,
    };
    let Shared {
        clickhouse, runtime, ..
    } = server();
    let table = FencedTable::new(clickhouse.clone(), &rows::bar::LAYOUT, "");
    let mut block = Block::new(&rows::bar::LAYOUT);
    for (offset, (last_offset, closed)) in (0..).zip([(7, false), (9, true), (9, false), (8, true)]) {
        rows::bar::encode(&bar(last_offset, closed), 1, offset, &mut block);
    }
    runtime.block_on(async {
        let claim = table.claim("views", 1, Claimant::once()).await.unwrap();
        table.insert(&[claim], vec![block]).await.unwrap();
        for view in ["bars_latest", "bars_5m"] {
            let sql =
                format!("SELECT version, closed, trade_count FROM {view} WHERE src_partition = 1 AND interval = '5m'");
            let rows = clickhouse.query_json(&sql).await.unwrap();
            assert_eq!(
                rows,
                [object(&[
                    ("version", json!("19")),
                    ("closed", json!(true)),
                    ("trade_count", json!("9"))
                ])],
                "{view}"
            );
        }
        // The stored bar, and no row for a window without a bar.
        let later = Window {
            start: window.end(),
            ..window
        };
        let keys = [window, later].map(|window| (tick.tenant_id, tick.instrument_id, window));
        let stored = newest_bars(clickhouse, "bars_latest", &keys).await.unwrap();
        let found: Vec<_> = stored.iter().map(StoredBar::bar).collect();
        assert_eq!(found, [Some(bar(9, true))]);
        clickhouse.exec("OPTIMIZE TABLE market_data.bars FINAL").await.unwrap();
        let position = table.read_back("views", 1).await.unwrap().unwrap();
        assert!(position.sequencer.is_empty());
        // The offset of a replaced row may disappear: reading it again changes nothing, since versions decide.
        assert!((2..=4).contains(&position.next_offset), "{position:?}");
    });
}
