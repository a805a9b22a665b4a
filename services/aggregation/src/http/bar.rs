//! The bars of `/bars`: from memory, or from ClickHouse if their values are no longer in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Bar, BarCause, BarVersion, Decimal, Micros, Window};
use serde::Serialize;
use serde_json::value::RawValue;
use stores::{BarKey, ClickHouse, StoredBar, newest_bars};

use crate::core::window_state::Held;

/// How long a request waits for ClickHouse.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The source of a bar's values.
const IN_MEMORY: &str = "memory";
const IN_TABLE: &str = "bars_latest";

/// Answer of `/bars/{instrument_id}`.
#[derive(Serialize)]
pub(super) struct BarsBody {
    pub tenant_id: String,
    pub instrument_id: String,
    pub bars: Vec<Shape>,
}

/// A bar, or a note that only ClickHouse has its values.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shape {
    Figures(Box<BarBody>),
    InTable {
        interval: &'static str,
        window_start: String,
        window_end: String,
        closed: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        from_table: &'static str,
    },
}

impl Shape {
    /// The bar in memory.
    pub fn of(held: &Held<'_>) -> Shape {
        let in_table = |window: Window, version: Option<BarVersion>, from_table| Shape::InTable {
            interval: window.interval.name(),
            window_start: time(window.start),
            window_end: time(window.end()),
            closed: version.is_none_or(|version| version.closed),
            version: version.map(BarVersion::as_u64),
            from_table,
        };
        match held {
            Held::Bar(bar) => Shape::Figures(Box::new(BarBody::of(bar, IN_MEMORY))),
            Held::FromTable(bar) => in_table(
                bar.window,
                Some(bar.version),
                "computed from enriched_ticks (late or restated prices): not in the ClickHouse view bars_latest yet, or ClickHouse does not answer",
            ),
            Held::Settled(window) => in_table(
                *window,
                None,
                "closed and no longer in memory: not in the ClickHouse view bars_latest yet, or ClickHouse does not answer",
            ),
        }
    }
}

/// The bars in ClickHouse.
#[derive(Clone)]
pub struct Stored {
    /// The client.
    pub clickhouse: ClickHouse,
    /// The view of the newest versions.
    pub view: String,
}

impl Stored {
    /// Replaces notes by the stored bars. If ClickHouse does not answer, the notes are kept.
    pub(super) async fn fill(&self, tenant_id: &str, instrument_id: &str, bars: &mut [(Window, Shape)]) {
        let without: Vec<BarKey<'_>> = bars
            .iter()
            .filter(|(_, shape)| matches!(shape, Shape::InTable { .. }))
            .map(|(window, _)| (tenant_id, instrument_id, *window))
            .collect();
        let asked = newest_bars(&self.clickhouse, &self.view, &without);
        let stored = match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                tracing::debug!(event = "bars_not_read", error = %error, "clickhouse did not return bars; /bars omits their values");
                return;
            }
            Err(_) => return,
        };
        let found = stored.iter().filter_map(StoredBar::bar);
        let mut found: BTreeMap<Window, Shape> = found
            .map(|bar| (bar.window, Shape::Figures(Box::new(BarBody::of(&bar, IN_TABLE)))))
            .collect();
        for (window, shape) in bars {
            if matches!(shape, Shape::InTable { .. })
                && let Some(figures) = found.remove(window)
            {
                *shape = figures;
            }
        }
    }
}

/// A bar as JSON. Numbers have all their digits; none is converted to binary floating point.
#[derive(Serialize)]
pub(super) struct BarBody {
    tenant_id: String,
    market: String,
    interval: &'static str,
    window_start: String,
    window_end: String,
    open: Option<Box<RawValue>>,
    high: Option<Box<RawValue>>,
    low: Option<Box<RawValue>>,
    close: Option<Box<RawValue>>,
    volume: Option<Box<RawValue>>,
    turnover: Option<Box<RawValue>>,
    vwap: Option<Box<RawValue>>,
    twap: Option<Box<RawValue>>,
    trade_count: i64,
    open_time: String,
    close_time: String,
    first_origin: String,
    last_origin: String,
    revision: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    flags: Vec<&'static str>,
    closed: bool,
    version: u64,
    source: &'static str,
}

impl BarBody {
    fn of(bar: &Bar<'_>, source: &'static str) -> BarBody {
        let price = |price: Decimal| number(i128::from(price.unscaled()), 8);
        BarBody {
            tenant_id: bar.tenant_id.to_owned(),
            market: bar.market.to_owned(),
            interval: bar.window.interval.name(),
            window_start: time(bar.window.start),
            window_end: time(bar.window.end()),
            open: price(bar.open),
            high: price(bar.high),
            low: price(bar.low),
            close: price(bar.close),
            volume: number(bar.volume, 8),
            turnover: number(bar.turnover.0, 16),
            vwap: bar.vwap.and_then(price),
            twap: bar.time_weighted.twap().and_then(price),
            trade_count: bar.trade_count,
            open_time: time(bar.open_time),
            close_time: time(bar.close_time),
            first_origin: bar.first_origin.to_string(),
            last_origin: bar.last_origin.to_string(),
            revision: bar.revision,
            cause: bar.cause.map(BarCause::name),
            flags: bar.flags(),
            closed: bar.version.closed,
            version: bar.version.as_u64(),
            source,
        }
    }
}

/// `unscaled / 10^scale` as a JSON number.
fn number(unscaled: i128, scale: usize) -> Option<Box<RawValue>> {
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len() - scale)?;
    let sign = if unscaled < 0 { "-" } else { "" };
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    RawValue::from_string(format!("{sign}{whole}{point}{fraction}")).ok()
}

/// RFC 3339, UTC, microseconds.
pub(super) fn time(micros: Micros) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| format!("{time:.6}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit() {
        for (unscaled, scale, text) in [
            (3_155_000_000, 8, "31.55"),
            (-1, 8, "-0.00000001"),
            (0, 8, "0"),
            (700_000_000, 8, "7"),
            (
                99_999_999_999_999_999_999_999_999_999_999_999_999,
                16,
                "9999999999999999999999.9999999999999999",
            ),
        ] {
            assert_eq!(number(unscaled, scale).unwrap().get(), text);
        }
    }
}
