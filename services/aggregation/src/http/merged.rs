//! The bars of `/bars` that are views over the bars of an hour: four hours, market days, and the blocks of delivery days. From ClickHouse.

use std::sync::Arc;

use actix_web::HttpResponse;
use domain::Micros;
use jiff::tz::TimeZone;
use markets::MarketDay;
use serde::Serialize;
use serde_json::value::RawValue;
use service::Breaker;
use service::http::{Problem, ask, limit_of};
use stores::ClickHouse;
use stores::clickhouse::{Merged, MergedQuestion, StoredMerged, merged_bars};

use super::bar::time;
use super::derived::number;
use super::{BarsQuery, Shown, range, spellings};

const FOUR_HOURS: Micros = 4 * 3_600_000_000;

/// Where the bars are asked for.
#[derive(Clone)]
pub struct MergedTables {
    /// The client.
    pub clickhouse: ClickHouse,
    /// Its circuit breaker.
    pub breaker: Arc<Breaker>,
    /// Runtime of its connections.
    pub runtime: tokio::runtime::Handle,
    /// The suffix of the views of this generation.
    pub suffix: String,
}

#[derive(Serialize)]
struct Body {
    tenant_id: String,
    instrument_id: String,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
struct Bar {
    market: String,
    /// The name of the block, for one of a delivery day.
    interval: String,
    window_start: String,
    window_end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<Box<RawValue>>,
    high: Option<Box<RawValue>>,
    low: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<Box<RawValue>>,
    volume: Option<Box<RawValue>>,
    turnover: Option<Box<RawValue>>,
    vwap: Option<Box<RawValue>>,
    twap: Option<Box<RawValue>>,
    trade_count: i64,
    revision: i64,
    closed: bool,
    hours: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hours_of_day: Option<i64>,
    flags: Vec<String>,
    source: &'static str,
}

/// The newest bars of an instrument, or none.
pub(super) async fn bars(
    shown: &Shown,
    tenant_id: &str,
    asked_id: &str,
    wanted: Merged,
    query: BarsQuery,
) -> Result<HttpResponse, Problem> {
    let limit = usize::from(limit_of(query.limit.as_deref())?);
    let (from, to) = range(query.from, query.to)?;
    let mut body = Body {
        tenant_id: tenant_id.to_owned(),
        instrument_id: asked_id.to_owned(),
        bars: Vec::new(),
    };
    for instrument_id in spellings(asked_id) {
        let question = MergedQuestion {
            tenant_id: tenant_id.to_owned(),
            instrument_id,
            bars: wanted,
            from,
            to,
            limit,
        };
        let MergedTables {
            clickhouse,
            breaker,
            runtime,
            suffix,
        } = shown.merged.clone();
        let asked = question.clone();
        let found = ask(&runtime, &breaker, async move {
            merged_bars(&clickhouse, &suffix, &asked).await
        })
        .await?;
        if !found.is_empty() {
            body.instrument_id = question.instrument_id;
            body.bars = found
                .into_iter()
                .map(|row| bar(wanted, row))
                .collect::<Result<_, _>>()?;
            break;
        }
    }
    Ok(HttpResponse::Ok().json(body))
}

fn bar(kind: Merged, row: StoredMerged) -> Result<Bar, Problem> {
    let Some((start, end)) = window(kind, &row) else {
        // The views of a newer release may have more markets.
        return Err(Problem::unavailable(format!(
            "this release does not know the days of market {}",
            row.market
        )));
    };
    Ok(Bar {
        market: row.market,
        interval: row.block.unwrap_or_else(|| kind.name().to_owned()),
        window_start: time(start),
        window_end: time(end),
        open: number(row.open),
        high: number(Some(row.high)),
        low: number(Some(row.low)),
        close: number(row.close),
        volume: number(Some(row.volume)),
        turnover: number(Some(row.turnover)),
        vwap: number(row.vwap),
        twap: number(row.twap),
        trade_count: row.trade_count,
        revision: row.revision,
        closed: row.closed != 0,
        hours: row.hours,
        hours_of_day: row.hours_of_day,
        flags: row.flags,
        source: kind.view(),
    })
}

/// Beginning and end. A block has those of its delivery day.
fn window(kind: Merged, row: &StoredMerged) -> Option<(Micros, Micros)> {
    let date = TimeZone::UTC
        .to_datetime(jiff::Timestamp::from_microsecond(row.time).ok()?)
        .date();
    let day = match kind {
        Merged::FourHours => return Some((row.time, row.time + FOUR_HOURS)),
        Merged::MarketDays => MarketDay::of(&row.market, date)?,
        Merged::Blocks => MarketDay::of_delivery(&row.market, date)?,
    };
    Some((day.start, day.end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row(market: &str, time: &str) -> StoredMerged {
        StoredMerged {
            market: market.to_owned(),
            time: time.parse::<jiff::Timestamp>().unwrap().as_microsecond(),
            block: None,
            open: Some("28".to_owned()),
            high: "52".to_owned(),
            low: "-0.5".to_owned(),
            close: Some("52".to_owned()),
            volume: "0".to_owned(),
            turnover: "0".to_owned(),
            vwap: None,
            twap: Some("40.25".to_owned()),
            trade_count: 25,
            revision: 0,
            closed: 1,
            hours: 25,
            hours_of_day: Some(25),
            flags: vec!["complete".to_owned()],
        }
    }

    #[test]
    fn a_day_has_the_window_of_its_market_and_a_block_that_of_its_contracts() {
        let fall = "2025-11-02T00:00:00Z";
        for (kind, market, start, end) in [
            (
                Merged::FourHours,
                "ICE",
                "2025-11-02T00:00:00.000000Z",
                "2025-11-02T04:00:00.000000Z",
            ),
            (
                Merged::MarketDays,
                "PJM",
                "2025-11-02T04:00:00.000000Z",
                "2025-11-03T05:00:00.000000Z",
            ),
            (
                Merged::MarketDays,
                "MISO",
                "2025-11-02T05:00:00.000000Z",
                "2025-11-03T05:00:00.000000Z",
            ),
            (
                Merged::Blocks,
                "MISO",
                "2025-11-02T04:00:00.000000Z",
                "2025-11-03T05:00:00.000000Z",
            ),
        ] {
            let shown = bar(kind, row(market, fall)).unwrap();
            assert_eq!(
                (&*shown.window_start, &*shown.window_end),
                (start, end),
                "{kind:?} {market}"
            );
        }
        assert!(bar(Merged::MarketDays, row("AESO", fall)).is_err());
    }

    #[test]
    fn a_block_is_shown_by_its_name_without_first_and_last_price() {
        let block = StoredMerged {
            block: Some("2x16H".to_owned()),
            open: None,
            close: None,
            hours_of_day: None,
            ..row("PJM", "2025-11-02T00:00:00Z")
        };
        let shown = serde_json::to_value(bar(Merged::Blocks, block).unwrap()).unwrap();
        assert_eq!(shown["interval"], "2x16H");
        assert_eq!(shown["low"].to_string(), "-0.5");
        assert_eq!(shown["flags"], serde_json::json!(["complete"]));
        assert!(shown["vwap"].is_null() && shown.get("open").is_none() && shown.get("hours_of_day").is_none());
    }
}
