//! Queries ClickHouse for ticks, bars and instruments.

use std::collections::BTreeMap;

use anyhow::Context as _;
use domain::{Interval, Micros, Window};
use serde_json::{Map, Value};
use service::Names;
use service::writer::tables::{BARS, ENRICHED_TICKS, LATE_TICKS, MARKET_TICKS};
use service::writer::{Since, TableSpec};
use stores::ClickHouse;
use stores::clickhouse::literal;

use super::numbers::Numbers;
use super::{At, BarRow, LateRow, Place, TickRow};
use crate::sql::{VINTAGE, moment};
use ops::rows::{number, text};

/// The tables of one deployment.
pub struct Tables<'a> {
    /// The client.
    pub clickhouse: &'a ClickHouse,
    /// Names of topics and tables.
    pub names: &'a Names,
}

type Row = Map<String, Value>;

/// An instrument of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Instrument<'a> {
    pub tenant_id: &'a str,
    pub id: &'a str,
}

impl Instrument<'_> {
    pub(super) fn is(&self) -> String {
        format!(
            "tenant_id = {} AND instrument_id = {}",
            literal(self.tenant_id),
            literal(self.id)
        )
    }
}

const PLACES: &str = "toString(feed) AS feed_, toString(raw_partition) AS raw_partition_, toString(raw_offset) AS raw_offset_, \
    toString(raw_index) AS raw_index_, toString(src_partition) AS src_partition_, toString(src_offset) AS src_offset_";
const TICK: &str = "toString(tenant_id) AS tenant_, toString(instrument_id) AS instrument_, \
    toString(toUnixTimestamp64Micro(timestamp)) AS time_, \
    if(isNull(interval_end), NULL, toString(toUnixTimestamp64Micro(interval_end))) AS end_, toString(price) AS price_, \
    if(isNull(volume), NULL, toString(volume)) AS volume_, toString(toUnixTimestamp64Micro(appended_at)) AS appended_, \
    toString(product) AS product_, toString(kind) AS kind_, version AS version_, if(isNull(sequence), NULL, toString(sequence)) AS sequence_";

impl Tables<'_> {
    async fn ask(&self, sql: &str) -> anyhow::Result<Vec<Row>> {
        self.clickhouse.query_json(sql).await.context("ask ClickHouse")
    }

    /// The ticks that match the condition, in the order in which bars use them.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn ticks(&self, condition: &str) -> anyhow::Result<Vec<TickRow>> {
        let mut ticks: BTreeMap<String, TickRow> = BTreeMap::new();
        let market_ticks = self.names.table(MARKET_TICKS.name);
        let sql = format!("SELECT source_event_id AS event_, {TICK}, {PLACES} FROM {market_ticks} WHERE {condition}");
        for row in self.ask(&sql).await? {
            let mut tick = tick(&row)?;
            tick.normalized = Some(source(&row, &self.names.normalized)?);
            ticks.insert(tick.tick_id.clone(), tick);
        }
        let enriched_ticks = self.names.table(ENRICHED_TICKS.name);
        let sql = format!("SELECT {TICK}, {PLACES} FROM {enriched_ticks} WHERE {condition}");
        for row in self.ask(&sql).await? {
            let tick = tick(&row)?;
            let source = source(&row, &self.names.enriched)?;
            ticks.entry(tick.tick_id.clone()).or_insert(tick).enriched = Some(source);
        }
        let sql = format!(
            "SELECT {PLACES}, arrayStringConcat(intervals, ',') AS intervals_, \
             toString(toUnixTimestamp64Micro(watermark)) AS watermark_ FROM {} WHERE {condition}",
            self.names.table(LATE_TICKS.name)
        );
        for row in self.ask(&sql).await? {
            let late = LateRow {
                intervals: text(&row, "intervals_")?.split(',').map(str::to_owned).collect(),
                clock: At(number(&row, "watermark_")?),
                place: source(&row, &self.names.late)?,
            };
            if let Some(tick) = ticks.get_mut(&tick_id(&row)?) {
                tick.late = Some(late);
            }
        }
        let mut ticks: Vec<TickRow> = ticks.into_values().collect();
        ticks.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Ok(ticks)
    }

    /// The ticks whose event time is in the window.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn ticks_of(&self, instrument: Instrument<'_>, window: Window) -> anyhow::Result<Vec<TickRow>> {
        self.ticks(&format!("{} AND {}", instrument.is(), within(window))).await
    }

    /// The ticks of a raw message, or the one with this index.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn ticks_from(&self, raw: &Place, index: Option<i32>) -> anyhow::Result<Vec<TickRow>> {
        let index = index.map_or_else(String::new, |index| format!(" AND raw_index = {index}"));
        let condition = format!(
            "feed = {} AND raw_partition = {} AND raw_offset = {}{index}",
            literal(&raw.topic),
            raw.partition,
            raw.offset
        );
        self.ticks(&condition).await
    }

    /// The log clock at each tick of the window, by its offset in the enriched topic: the largest append time in the partition
    /// up to that offset.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn clocks(&self, instrument: Instrument<'_>, window: Window) -> anyhow::Result<BTreeMap<i64, Micros>> {
        let table = self.names.table(ENRICHED_TICKS.name);
        let of_window = format!("FROM {table} WHERE {} AND {}", instrument.is(), within(window));
        // Groups the rows of the partition by the next offset of the window.
        let sql = format!(
            "WITH (SELECT arraySort(arrayPushFront(groupUniqArray(src_offset), toInt64(-1))) {of_window}) AS offsets \
             SELECT toString(roundDown(src_offset - 1, offsets)) AS before_, \
             toString(toUnixTimestamp64Micro(max(appended_at))) AS clock_, toString(offsets[-1]) AS last_ FROM {table} \
             WHERE src_partition IN (SELECT src_partition {of_window}) AND src_offset <= offsets[-1] \
             GROUP BY roundDown(src_offset - 1, offsets) AS before ORDER BY before"
        );
        let (mut clocks, mut clock) = (BTreeMap::new(), Micros::MIN);
        let rows = self.ask(&sql).await?;
        // A result row has the previous offset. Its own offset is in the next result row, or is the last offset of all.
        let own = rows.iter().skip(1).map(|row| number(row, "before_"));
        let last = rows.last().map(|row| number(row, "last_"));
        for (row, own) in rows.iter().zip(own.chain(last)) {
            clock = clock.max(number(row, "clock_")?);
            clocks.insert(own?, clock);
        }
        Ok(clocks)
    }

    /// Every version of the bar that the table still has, newest first.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn versions(
        &self,
        instrument: Instrument<'_>,
        interval: Interval,
        window: Window,
    ) -> anyhow::Result<Vec<BarRow>> {
        let is = format!(
            "{} AND interval = '{}' AND window_start = {}",
            instrument.is(),
            interval.name(),
            moment(window.start)
        );
        self.bars(&is, "").await
    }

    /// The newest version of each bar that counts the tick, shortest interval first.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn bars_of(&self, tick: &TickRow) -> anyhow::Result<Vec<BarRow>> {
        let windows: Vec<String> = Interval::ALL
            .into_iter()
            .map(|interval| {
                let start = moment(interval.window_of(tick.event_time.0).start);
                format!("(interval = '{}' AND window_start = {start})", interval.name())
            })
            .collect();
        let instrument = Instrument {
            tenant_id: &tick.tenant_id,
            id: &tick.instrument_id,
        };
        let is = format!("{} AND ({})", instrument.is(), windows.join(" OR "));
        let mut bars = self.bars(&is, "LIMIT 1 BY interval, window_start").await?;
        bars.sort_by_key(|bar| Interval::from_name(&bar.interval).map(Interval::index));
        Ok(bars)
    }

    pub(super) async fn bars(&self, is: &str, limit: &str) -> anyhow::Result<Vec<BarRow>> {
        let edge = |edge: &str| {
            format!(
                "concat({edge}_feed, '/', toString({edge}_partition), '/', toString({edge}_offset), '/', toString({edge}_index))"
            )
        };
        let micros = |time: &str| format!("toString(toUnixTimestamp64Micro({time}))");
        let sql = format!(
            "SELECT toString(interval) AS interval_, {start} AS start_, toString(version) AS version_, \
             toString(toUInt8(closed)) AS closed_, toString(revision) AS revision_, nullIf(toString(cause), '') AS cause_, toString(open) AS open_, \
             toString(high) AS high_, toString(low) AS low_, toString(close) AS close_, toString(volume) AS volume_, \
             toString(turnover) AS turnover_, if(isNull(vwap), NULL, toString(vwap)) AS vwap_, \
             if(isNull(twap), NULL, toString(twap)) AS twap_, toString(trade_count) AS count_, \
             {open} AS open_time_, {first} AS first_, {close} AS close_time_, {last} AS last_, {ingested} AS ingested_, \
             toString(src_partition) AS src_partition_, toString(src_offset) AS src_offset_ FROM {table} WHERE {is} \
             ORDER BY version DESC, src_offset DESC {limit}",
            start = micros("window_start"),
            open = micros("open_time"),
            close = micros("close_time"),
            ingested = micros("ingested_at"),
            first = edge("first"),
            last = edge("last"),
            table = self.names.table(BARS.name),
        );
        self.ask(&sql)
            .await?
            .iter()
            .map(|row| bar(row, &self.names.bars))
            .collect()
    }

    /// Start times of the bars of this interval that are nearest to a time.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn nearest_bars(
        &self,
        instrument: Instrument<'_>,
        interval: Interval,
        start: Micros,
    ) -> anyhow::Result<Vec<At>> {
        let sql = format!(
            "SELECT DISTINCT toString(toUnixTimestamp64Micro(window_start)) AS start_ FROM {} WHERE {} AND interval = '{}' \
             ORDER BY abs(toUnixTimestamp64Micro(window_start) - toInt64({start})) LIMIT 3",
            self.names.table(BARS.name),
            instrument.is(),
            interval.name()
        );
        self.ask(&sql)
            .await?
            .iter()
            .map(|row| Ok(At(number(row, "start_")?)))
            .collect()
    }

    /// Instruments with the most similar names, as (tenant, instrument).
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn alike(&self, instrument: Instrument<'_>) -> anyhow::Result<Vec<(String, String)>> {
        let sql = format!(
            "SELECT toString(tenant_id) AS tenant_, toString(instrument_id) AS instrument_ FROM {} GROUP BY tenant_, instrument_ \
             ORDER BY ngramDistanceCaseInsensitive(instrument_, {}), tenant_ != {} LIMIT 5",
            self.names.table(ENRICHED_TICKS.name),
            literal(instrument.id),
            literal(instrument.tenant_id)
        );
        let rows = self.ask(&sql).await?;
        rows.iter()
            .map(|row| Ok((text(row, "tenant_")?.to_owned(), text(row, "instrument_")?.to_owned())))
            .collect()
    }

    /// The newest tick of the instrument, by event time, vintage, sequence, origin.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn newest_tick(&self, instrument: Instrument<'_>) -> anyhow::Result<Option<TickRow>> {
        let sql = format!(
            "SELECT {TICK}, {PLACES} FROM {} WHERE {} \
             ORDER BY timestamp DESC, {VINTAGE} DESC, sequence DESC NULLS LAST, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC LIMIT 1",
            self.names.table(ENRICHED_TICKS.name),
            instrument.is()
        );
        let rows = self.ask(&sql).await?;
        rows.first().map(tick).transpose()
    }

    /// The rows of a tick in a table with all columns: its own one, or the newest versions of those that use it; of these at most `limit`,
    /// the latest ones. None of a table whose rows are shown with the tick anyway. A column that the table still has, but no writer fills,
    /// is not shown.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn rows_of(&self, table: &TableSpec, tick: &TickRow, limit: usize) -> anyhow::Result<Vec<Row>> {
        match rows_of(table, &self.names.table(table.name), tick, limit) {
            Some(sql) => self.ask(&sql).await,
            None => Ok(Vec::new()),
        }
    }
}

/// The query for these rows. `name` has the suffix of the generation.
fn rows_of(table: &TableSpec, name: &str, tick: &TickRow, limit: usize) -> Option<String> {
    let columns = table.layout.names();
    let Some(versions) = &table.versions else {
        return Some(format!(
            "SELECT {columns}, ingested_at, tick_id FROM {name} \
             WHERE feed = {} AND raw_partition = {} AND raw_offset = {} AND raw_index = {}",
            literal(&tick.raw.topic),
            tick.raw.partition,
            tick.raw.offset,
            tick.index
        ));
    };
    let uses = versions.uses.as_ref()?;
    let since = match uses.since {
        Since::Event => tick.event_time.0,
        Since::Append => tick.appended_at.0,
    };
    Some(format!(
        "SELECT {columns}, ingested_at FROM (SELECT * FROM {name} WHERE tenant_id = {tenant}{among} AND {time} >= {first} AND {time} <= {last} \
         ORDER BY version DESC LIMIT 1 BY {key}) WHERE {is_used} ORDER BY {time} DESC LIMIT {limit}",
        tenant = literal(&tick.tenant_id),
        among = uses.among,
        time = versions.time,
        first = moment(since),
        last = moment(since.saturating_add(uses.longest)),
        key = versions.key(),
        is_used = (uses.is_used)(&tick.tick_id),
    ))
}

fn within(window: Window) -> String {
    format!(
        "timestamp >= {} AND timestamp < {}",
        moment(window.start),
        moment(window.end())
    )
}

fn optional(row: &Row, name: &str) -> Option<String> {
    row.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn source(row: &Row, topic: &str) -> anyhow::Result<Place> {
    Ok(Place {
        topic: topic.to_owned(),
        partition: number(row, "src_partition_")?,
        offset: number(row, "src_offset_")?,
    })
}

fn raw(row: &Row) -> anyhow::Result<Place> {
    Ok(Place {
        topic: text(row, "feed_")?.to_owned(),
        partition: number(row, "raw_partition_")?,
        offset: number(row, "raw_offset_")?,
    })
}

fn tick_id(row: &Row) -> anyhow::Result<String> {
    Ok(format!("{}/{}", raw(row)?, text(row, "raw_index_")?))
}

fn tick(row: &Row) -> anyhow::Result<TickRow> {
    Ok(TickRow {
        tick_id: tick_id(row)?,
        raw: raw(row)?,
        index: number(row, "raw_index_")?,
        event_id: optional(row, "event_"),
        tenant_id: text(row, "tenant_")?.to_owned(),
        instrument_id: text(row, "instrument_")?.to_owned(),
        event_time: At(number(row, "time_")?),
        interval_end: optional(row, "end_")
            .map(|end| end.parse().map(At))
            .transpose()
            .context("ClickHouse returned an end that is not a number")?,
        sequence: optional(row, "sequence_")
            .map(|sequence| sequence.parse())
            .transpose()
            .context("ClickHouse returned a sequence that is not a number")?,
        price: text(row, "price_")?.to_owned(),
        volume: optional(row, "volume_"),
        product: text(row, "product_")?.to_owned(),
        is_of_interval: text(row, "kind_")? == "interval",
        version: optional(row, "version_"),
        appended_at: At(number(row, "appended_")?),
        normalized: None,
        enriched: None,
        late: None,
    })
}

fn bar(row: &Row, topic: &str) -> anyhow::Result<BarRow> {
    let owned = |name| text(row, name).map(str::to_owned);
    let version: u64 = number(row, "version_")?;
    Ok(BarRow {
        interval: owned("interval_")?,
        window_start: At(number(row, "start_")?),
        version,
        last_enriched_offset: domain::BarVersion::from_u64(version).last_offset,
        closed: text(row, "closed_")? == "1",
        revision: number(row, "revision_")?,
        cause: optional(row, "cause_"),
        numbers: Numbers {
            open: owned("open_")?,
            high: owned("high_")?,
            low: owned("low_")?,
            close: owned("close_")?,
            volume: owned("volume_")?,
            turnover: owned("turnover_")?,
            vwap: optional(row, "vwap_"),
            twap: optional(row, "twap_"),
            trade_count: number(row, "count_")?,
            open_time: At(number(row, "open_time_")?),
            first_tick: owned("first_")?,
            close_time: At(number(row, "close_time_")?),
            last_tick: owned("last_")?,
        },
        place: source(row, topic)?,
        ingested_at: At(number(row, "ingested_")?),
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used)]
mod tests {
    use service::writer::tables::{BARS, CURVE_SNAPSHOTS, DERIVED_PRICES};

    use super::super::bar::tests::traced;
    use super::*;

    #[test]
    fn the_rows_of_a_tick_are_found_by_what_is_known_of_their_table() {
        let tick = traced().1.ticks[0].tick.clone();
        let sql = |table: &TableSpec| rows_of(table, "t_g2", &tick, 7);
        assert_eq!(sql(&BARS), None, "the bars of a tick are shown with it");
        let own = sql(&MARKET_TICKS).unwrap();
        assert!(own.contains("FROM t_g2 WHERE feed = ") && own.contains(&format!("raw_offset = {}", tick.raw.offset)));
        let derived = sql(&DERIVED_PRICES).unwrap();
        for part in [
            format!(" AND timestamp >= {} AND", moment(tick.event_time.0)),
            "LIMIT 1 BY tenant_id, series, timestamp)".to_owned(),
            format!("WHERE first_origin = '{}' OR", tick.tick_id),
            "ORDER BY timestamp DESC LIMIT 7".to_owned(),
        ] {
            assert!(derived.contains(&part), "{part}: {derived}");
        }
        let curves = sql(&CURVE_SNAPSHOTS).unwrap();
        for part in [
            format!(" AND horizon = 'all' AND as_of >= {} AND", moment(tick.appended_at.0)),
            "LIMIT 1 BY tenant_id, curve_id, horizon, as_of)".to_owned(),
            format!("position(inputs, '\"{}\"') > 0", tick.tick_id),
        ] {
            assert!(curves.contains(&part), "{part}: {curves}");
        }
    }
}
