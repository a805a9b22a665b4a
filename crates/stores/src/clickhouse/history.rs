//! Bars from the rows of `enriched_ticks`: the query of aggregation's second stage.
//!
//! Invariants: one statement computes all given windows, each from the rows of its source partition up to the requested
//! offset, so the result is a function of the log. Sums are exact 256-bit integers. Rows are counted and ordered as in
//! aggregation's core ([`ORDER_OF_TICKS`], `History::rows`). `revision` counts the rows appended when the largest append time
//! of the partition had already reached the window's close, or reached it with the row itself.
//! The version is also computed: the offset of the last row, and whether the clock had reached the close with it. So is the cause: what
//! the last row is to the prices of its interval before it ([`CAUSE`]). A row that replaces no price ([`WITHOUT_EFFECT`]) has the version, but
//! is no revision and no cause.
//! Failure: nothing is retried here. If the requested row is not in the window, the result has the offset of the last row
//! that is, or there is no result: the caller compares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::{
    AskedWindow, Bar, BarCause, BarVersion, Decimal, Interval, Micros, Origin, Product, TimeWeighted, Turnover, Window,
};
use parking_lot::Mutex;
use serde::Deserialize;

use super::bars::{BarKey, StoredBar, newest_bars};
use super::history_known::{CLOCK_SKEW, Known};
use super::{ClickHouse, fetch, literal};
use crate::{Store, StoreError};

/// The order of the ticks in a window, for open and close: that of prices (`domain::PriceRank`).
const ORDER_OF_TICKS: &str =
    "(micros, isNotNull(sequence), ifNull(sequence, 0), feed, raw_partition, raw_offset, raw_index)";
/// `domain::Vintage::rank` of a row, as column `vintage`, with the columns that it is computed from.
pub const VINTAGE: &str = "splitByChar('.', lower(ifNull(toString(version), ''))) AS words, \
    transform(words[1], ['preliminary', 'unverified', 'verified', 'final', 'corrected'], [1, 2, 3, 4, 5], 0) AS stage, \
    if(stage = 0, words[1], words[2]) AS digits, \
    (stage * 1000000 + if(match(digits, '^[0-9]{1,6}$'), toInt32OrZero(digits), 0)) * 2 \
    - if(words[-1] = 'superseded', 20000001, 0) AS vintage";
/// `domain::Product::priced_seconds` of a row.
const SECONDS: &str = "intDiv(greatest(least(ifNull(toUnixTimestamp64Micro(interval_end) - micros, nominal), nominal), toInt64(0)), 1000000)";
/// Whether a row leaves what counts in its interval as it was: it is below the price that counts, or has the vintage and the values of that
/// one. `earlier` is (1, vintage, origin, price, volume, seconds) of the best price of the interval before the row, or begins with 0.
const WITHOUT_EFFECT: &str = "(earlier.1 = 1 AND ((vintage, origin) < (earlier.2, earlier.3) \
    OR (vintage = earlier.2 AND price = earlier.4 AND volume = earlier.5 AND seconds = earlier.6)))";
/// `domain::BarCause` of a row with effect.
const CAUSE: &str =
    "multiIf(earlier.1 = 0, if(is_after, 'late', 'live'), vintage > earlier.2, 'vintage', 'correction')";
/// For a window that was already closed at every row of the partition.
const FROM_THE_START: i64 = 0;
/// For a window that no row has closed.
const NEVER: i64 = i64::MAX;

/// Limits on the server's resources per statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HistoryLimits {
    pub memory_bytes: u64,
    pub threads: u64,
    pub time: Duration,
}

/// When the windows of a product close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ProductClose {
    pub product: Product,
    /// How long after its end the log clock closes a window.
    pub close_after: Micros,
}

/// The oldest row of a source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Oldest {
    /// Its source offset. Not 0 if rows have expired.
    pub offset: i64,
    /// Append time of its raw message.
    #[serde(rename = "appended_micros")]
    pub appended_at: Micros,
    /// When the row was written.
    #[serde(rename = "ingested_micros")]
    pub ingested_at: Micros,
}

/// The bar of a window, as computed by the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RestatedRow {
    /// Index of the requested window.
    pub number: usize,
    /// Largest source offset among its rows up to the requested one; equal to it if that row is in this window.
    pub last_offset: i64,
    /// Whether the log clock had reached the close with that row.
    is_closed: u8,
    /// How long after its end the window closes, for the product of that row.
    close_after: Micros,
    /// Append time of the row at that offset.
    pub asked_appended_at: Micros,
    trade_count: i64,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: String,
    turnover: String,
    price_seconds: String,
    priced_seconds: i64,
    open_time: Micros,
    open_sequence: Option<i64>,
    first: (String, i32, i64, i32),
    close_time: Micros,
    close_sequence: Option<i64>,
    last: (String, i32, i64, i32),
    market: String,
    revision: i64,
    cause: String,
    without_effect: u8,
    last_appended_at: Micros,
}

impl RestatedRow {
    /// Whether the last row replaces no price: the cause is then that of an earlier row.
    pub fn ends_without_effect(&self) -> bool {
        self.without_effect != 0
    }

    /// The bar of the requested window with index [`RestatedRow::number`]; `None` if a sum or a price is out of range for a bar.
    /// Its version is that of the rows, not of the request: a record that names another row cannot create different content for
    /// the same version. A close by the wall clock or by a later row is accepted once its time has come.
    pub fn bar<'a>(&'a self, asked: &'a AskedWindow, now: Micros) -> Option<Bar<'a>> {
        let closes_at = asked.window.end().saturating_add(self.close_after);
        let may_be_closed = asked.version.closed && closes_at <= now.saturating_add(CLOCK_SKEW);
        let price = |unscaled| Decimal::from_unscaled(unscaled).ok();
        let Turnover(volume) = sum(&self.volume)?;
        let turnover = sum(&self.turnover)?;
        Some(Bar {
            tenant_id: &asked.tenant_id,
            instrument_id: &asked.instrument_id,
            market: &self.market,
            window: asked.window,
            open: price(self.open)?,
            high: price(self.high)?,
            low: price(self.low)?,
            close: price(self.close)?,
            volume,
            turnover,
            vwap: turnover.vwap(volume),
            time_weighted: TimeWeighted {
                price_seconds: self.price_seconds.parse().ok()?,
                seconds: self.priced_seconds,
            },
            trade_count: self.trade_count,
            open_time: self.open_time,
            open_sequence: self.open_sequence,
            first_origin: origin(&self.first),
            close_time: self.close_time,
            close_sequence: self.close_sequence,
            last_origin: origin(&self.last),
            revision: i32::try_from(self.revision).unwrap_or(i32::MAX),
            cause: BarCause::from_name(&self.cause),
            version: BarVersion {
                last_offset: self.last_offset,
                closed: self.is_closed != 0 || may_be_closed,
            },
            last_appended_at: self.last_appended_at,
        })
    }
}

fn sum(text: &str) -> Option<Turnover> {
    Turnover(0).checked_add(Turnover(text.parse().ok()?))
}

pub(super) fn origin((feed, partition, offset, index): &(String, i32, i64, i32)) -> Origin<'_> {
    Origin {
        feed,
        partition: *partition,
        offset: *offset,
        index: *index,
    }
}

/// The table of enriched ticks of one generation, as history. Cheap to clone.
#[derive(Clone)]
pub struct History {
    pub(super) clickhouse: ClickHouse,
    pub(super) topic: String,
    pub(super) table: String,
    bars: String,
    pub(super) known: Arc<Mutex<BTreeMap<i32, Known>>>,
    limits: HistoryLimits,
    products: Vec<ProductClose>,
}

impl History {
    /// The table with this name, the topic it is written from, and the view of the bars.
    pub fn new(
        clickhouse: ClickHouse,
        topic: String,
        (table, bars): (String, String),
        limits: HistoryLimits,
        products: Vec<ProductClose>,
    ) -> History {
        History {
            clickhouse,
            topic,
            table,
            bars,
            known: Arc::default(),
            limits,
            products,
        }
    }

    /// The topic that the table is written from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether all remaining rows were appended after the close of this window, for any product.
    pub fn is_before(&self, window: Window, oldest: &Oldest) -> bool {
        let longest = self.delays().last().copied().unwrap_or(0);
        window.end().saturating_add(longest) <= oldest.appended_at
    }

    /// The stored bars of these windows.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn stored(&self, windows: &[AskedWindow]) -> Result<Vec<StoredBar>, StoreError> {
        let keys: Vec<BarKey<'_>> = windows
            .iter()
            .map(|asked| (&*asked.tenant_id, &*asked.instrument_id, asked.window))
            .collect();
        newest_bars(&self.clickhouse, &self.bars, &keys).await
    }

    /// The bars of these windows. `oldest` is the partition's oldest row; `now` the wall clock.
    ///
    /// # Errors
    /// The error of the server; `overloaded`, `timeout` or `cancelled` if the windows exceed the limits.
    pub async fn restate(
        &self,
        partition: i32,
        windows: &[AskedWindow],
        oldest: &Oldest,
        now: Micros,
    ) -> Result<Vec<RestatedRow>, StoreError> {
        const OPERATION: &str = "restate windows";
        let ends = windows.iter().map(|asked| asked.window.end());
        let closes = ends.flat_map(|end| self.delays().into_iter().map(move |delay| end.saturating_add(delay)));
        let closes: BTreeSet<Micros> = closes.filter(|time| *time > oldest.appended_at).collect();
        let first_after = self.first_after(partition, &closes, now).await?;
        let sql = self.sql(partition, windows, |time| {
            if time <= oldest.appended_at {
                FROM_THE_START
            } else {
                first_after.get(&time).copied().unwrap_or(NEVER)
            }
        });
        let size = sql.len().saturating_mul(2).max(1 << 20);
        let HistoryLimits { time, .. } = self.limits;
        let settings = [
            ("max_query_size", size.to_string()),
            ("max_memory_usage", self.limits.memory_bytes.to_string()),
            ("max_threads", self.limits.threads.to_string()),
            ("max_execution_time", time.as_secs().max(1).to_string()),
            ("prefer_column_name_to_alias", "1".to_owned()),
            ("output_format_json_quote_64bit_integers", "0".to_owned()),
            ("output_format_json_named_tuples_as_objects", "0".to_owned()),
        ];
        let query = settings
            .into_iter()
            .fold(self.clickhouse.client().query_raw(&sql), |query, (name, value)| {
                query.with_setting(name, value)
            });
        let body = fetch(OPERATION, time + Duration::from_secs(5), query, "JSONEachRow").await?;
        let rows = serde_json::Deserializer::from_slice(&body)
            .into_iter()
            .collect::<Result<_, _>>();
        rows.map_err(|error| StoreError::unexpected(Store::ClickHouse, OPERATION, error))
    }

    /// `first_after` maps a time to the offset with which the log clock reached it.
    fn sql(&self, partition: i32, windows: &[AskedWindow], first_after: impl Fn(Micros) -> i64) -> String {
        let asked = asked(windows, &self.delays(), first_after);
        format!(
            "SELECT number, countIf(counts) AS trade_count, max(src_offset) AS last_offset, \
             argMax(appended, src_offset) AS asked_appended_at, \
             argMinIf(price, {ORDER_OF_TICKS}, counts) AS open, maxIf(price, counts) AS high, minIf(price, counts) AS low, \
             argMaxIf(price, {ORDER_OF_TICKS}, counts) AS close, toString(sumIf(toInt256(volume), counts)) AS volume, \
             toString(sumIf(toInt256(price) * toInt256(volume), counts)) AS turnover, \
             toString(sumIf(toInt256(price) * seconds, counts)) AS price_seconds, sumIf(seconds, counts) AS priced_seconds, \
             minIf(micros, counts) AS open_time, argMinIf(origin, {ORDER_OF_TICKS}, counts) AS first, \
             argMinIf(tuple(sequence), {ORDER_OF_TICKS}, counts).1 AS open_sequence, \
             argMaxIf(tuple(sequence), {ORDER_OF_TICKS}, counts).1 AS close_sequence, \
             maxIf(micros, counts) AS close_time, argMaxIf(origin, {ORDER_OF_TICKS}, counts) AS last, \
             argMaxIf(market, {ORDER_OF_TICKS}, counts) AS market, countIf(is_after AND NOT {WITHOUT_EFFECT}) AS revision, \
             toUInt8(argMax(is_after, src_offset)) AS is_closed, argMax(delay, src_offset) AS close_after, \
             argMaxIf({CAUSE}, src_offset, NOT {WITHOUT_EFFECT}) AS cause, toUInt8(argMax({WITHOUT_EFFECT}, src_offset)) AS without_effect, \
             max(appended) AS last_appended_at \
             FROM (SELECT *, is_trade OR (vintage, origin) = max((vintage, origin)) OVER (PARTITION BY number, is_trade, nominal, micros) AS counts, \
             maxIf((1, vintage, origin, price, volume, seconds), NOT is_trade) OVER (PARTITION BY number, is_trade, nominal, micros ORDER BY src_offset \
             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier, src_offset >= first_after AS is_after FROM ({rows}) AS rows INNER JOIN ({asked}) AS windows \
             USING (tenant_id, instrument_id, length, start, delay) WHERE src_offset <= upto) GROUP BY number",
            rows = self.rows(partition, windows, &asked),
        )
    }

    /// The rows of the windows' days, once for each requested window length that is at least the interval length of the row's
    /// product. If a delivery interval (start and length) has several prices, only the one of the best vintage counts, of equal ones
    /// the last origin, among those up to the requested offset; so this is decided after the join.
    fn rows(&self, partition: i32, windows: &[AskedWindow], asked: &str) -> String {
        let mut lengths: Vec<Micros> = windows.iter().map(|asked| asked.window.interval.micros()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let starts = || windows.iter().map(|asked| asked.window.start);
        let (from, to) = (
            starts().min().unwrap_or(0),
            windows.iter().map(|asked| asked.window.end()).max().unwrap_or(0),
        );
        let delay = self.of_product(|of| of.close_after);
        let nominal = self.of_product(|of| of.product.nominal().map_or(0, Interval::micros));
        // A window is within one day: the days limit the rows read by the table's order, the join selects the rows.
        format!(
            "SELECT * FROM (SELECT toString(tenant_id) AS tenant_id, toString(instrument_id) AS instrument_id, \
             toUnixTimestamp64Micro(timestamp) AS micros, sequence, toString(feed) AS feed, raw_partition, raw_offset, raw_index, \
             (feed, raw_partition, raw_offset, raw_index) AS origin, toString(market) AS market, src_offset, \
             reinterpretAsInt64(price) AS price, ifNull(reinterpretAsInt64(volume), 0) AS volume, \
             toUnixTimestamp64Micro(appended_at) AS appended, kind = 'trade' AS is_trade, {VINTAGE}, {delay} AS delay, {nominal} AS nominal, {SECONDS} AS seconds, \
             arrayJoin(CAST({lengths:?}, 'Array(Int64)')) AS length, micros - positiveModulo(micros, length) AS start \
             FROM {database}.{table} WHERE src_partition = {partition} AND src_offset <= {upto} \
             AND timestamp >= fromUnixTimestamp64Micro(toInt64({from}), 'UTC') \
             AND timestamp < fromUnixTimestamp64Micro(toInt64({to}), 'UTC') \
             AND (tenant_id, instrument_id, toDate32(timestamp)) IN (SELECT DISTINCT tenant_id, instrument_id, \
             toDate32(fromUnixTimestamp64Micro(start, 'UTC')) FROM ({asked}))) WHERE length >= nominal",
            database = self.clickhouse.database(),
            table = self.table,
            upto = last_offset(windows),
        )
    }

    /// The distinct close delays, shortest first.
    fn delays(&self) -> Vec<Micros> {
        let mut delays: Vec<Micros> = self.products.iter().map(|of| of.close_after).collect();
        delays.sort_unstable();
        delays.dedup();
        delays
    }

    /// A value for the row's product, which is found as in `domain::Product::of`: by its kind, then by its name.
    fn of_product(&self, value: impl Fn(&ProductClose) -> Micros) -> String {
        let of = |product: Product| {
            let known = self.products.iter().find(|of| of.product == product);
            known.map_or(0, &value)
        };
        let named = || Product::ALL.into_iter().filter(|product| product.nominal().is_some());
        let names: Vec<String> = named().map(|product| literal(product.name())).collect();
        let values: Vec<Micros> = named().map(of).collect();
        format!(
            "if(kind = 'trade', toInt64({}), transform(toString(product), [{}], CAST({values:?}, 'Array(Int64)'), toInt64({})))",
            of(Product::Trade),
            names.join(", "),
            of(Product::OtherInterval)
        )
    }
}

fn last_offset(windows: &[AskedWindow]) -> i64 {
    windows.iter().map(|asked| asked.version.last_offset).max().unwrap_or(0)
}

/// The windows as a table, with one row for each close delay.
fn asked(windows: &[AskedWindow], delays: &[Micros], first_after: impl Fn(Micros) -> i64) -> String {
    let mut rows = String::new();
    for (number, asked) in windows.iter().enumerate() {
        let end = asked.window.end();
        let firsts = delays.iter().map(|delay| first_after(end.saturating_add(*delay)));
        let row = serde_json::json!([
            number,
            asked.tenant_id,
            asked.instrument_id,
            asked.window.interval.micros(),
            asked.window.start,
            asked.version.last_offset,
            firsts.collect::<Vec<_>>(),
        ]);
        rows.push_str(&row.to_string());
        rows.push('\n');
    }
    format!(
        "SELECT number, tenant_id, instrument_id, length, start, upto, way.1 AS delay, way.2 AS first_after \
         FROM format(JSONCompactEachRow, 'number UInt64, tenant_id String, instrument_id String, length Int64, \
         start Int64, upto Int64, firsts Array(Int64)', {}) ARRAY JOIN arrayZip(CAST({delays:?}, 'Array(Int64)'), firsts) AS way",
        literal(&rows)
    )
}
