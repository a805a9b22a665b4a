//! `GET /intervals`, `GET /windows`, `GET /bars/{instrument_id}`: the windows and bars in this replica's memory, by tenant.
//! Bars of four hours, market days and blocks come from ClickHouse.
//! `GET /completeness`: the intervals of market days that lack a price, `GET /derived/{series}`: the values of a derived series,
//! `GET /curves/{curve_id}`: a snapshot of a forward curve; these from ClickHouse.

mod bar;
mod complete;
mod curves;
mod derived;
mod described;
mod merged;
pub mod stats;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use domain::{Interval, Micros, Product, Window};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service::http::{InstrumentId, Problem, Routes, Tenant, limit_of};
use stores::clickhouse::Merged;

use crate::core::log_clock::{Times, WindowRules};
use crate::core::partition_state::WindowCounts;
use crate::view::Views;

pub use bar::Stored;
use bar::{BarsBody, Shape, time};
pub use complete::Completeness;
pub use curves::CurveTable;
pub use derived::DerivedTable;
pub use merged::MergedTables;

/// What the routes need.
#[derive(Clone)]
pub struct Shown {
    /// The workers' windows.
    pub views: Arc<Views>,
    /// The bars in ClickHouse, for values that are no longer in memory.
    pub stored: Stored,
    /// The bars that are merged from those of an hour.
    pub merged: MergedTables,
    /// The configured intervals and times.
    pub rules: WindowRules,
    /// The intervals that have a price.
    pub completeness: Completeness,
    /// The derived prices.
    pub derived: DerivedTable,
    /// The snapshots of curves.
    pub curves: CurveTable,
}

/// The routes.
pub fn routes(shown: Shown) -> Routes {
    let shown = web::Data::new(shown);
    Routes::default()
        .of_service(
            Method::GET,
            "/intervals",
            "Intervals, and when their bars close",
            intervals,
        )
        .of_tenant(
            Method::GET,
            "/windows",
            "Number of open and closed windows by interval",
            &[],
            windows,
        )
        .of_tenant(
            Method::GET,
            "/bars/{instrument_id}",
            "Newest bars of an instrument",
            &["interval", "from", "to", "limit"],
            bars,
        )
        .returning(&described::BARS)
        .of_tenant(
            Method::GET,
            "/completeness",
            "Intervals of market days with and without a price; the last seven days, or one",
            &["market", "product", "day"],
            complete::completeness,
        )
        .of_tenant(
            Method::GET,
            "/derived/{series}",
            "Values of a derived series, the newest version of each time, or that known at a time of the log's clock; the latest first",
            &["from", "to", "as_of", "limit"],
            derived::prices,
        )
        .returning(&described::DERIVED)
        .of_tenant(
            Method::GET,
            "/curves/{curve_id}",
            "The newest snapshot of a forward curve, or the newest as it was known at a time of the log's clock",
            &["horizon", "as_of"],
            curves::snapshot,
        )
        .returning(&described::CURVE)
        .sharing(move |config| {
            config.app_data(shown.clone());
        })
}

async fn intervals(shown: web::Data<Shown>) -> HttpResponse {
    let kept = Interval::ALL
        .into_iter()
        .filter(|interval| shown.rules.intervals >> interval.index() & 1 == 1);
    let intervals: Vec<Value> = kept
        .map(|interval| json!({"interval": interval.name(), "seconds": interval.micros() / 1_000_000}))
        .collect();
    HttpResponse::Ok().json(json!({
        "intervals": intervals,
        "merged_from_hours": merged_from_hours(&shown.rules),
        "alignment": "windows [start, end) in UTC, aligned to the interval itself",
        "clock": "the largest append time of the raw messages so far, of each partition",
        "products": products(&shown.rules),
        "idle_close_ms": shown.rules.idle_close / 1000,
    }))
}

/// The bars that are views over those of an hour: none if bars of an hour are not made.
fn merged_from_hours(rules: &WindowRules) -> Vec<&'static str> {
    let merged = Merged::ALL.into_iter().filter(|_| rules.makes(Interval::OneHour));
    merged.map(Merged::name).collect()
}

/// When bars close and how long the stream accepts ticks, by product.
fn products(rules: &WindowRules) -> Vec<Value> {
    let product = |product: Product| {
        let Times {
            close_after,
            forget_after,
        } = rules.times(product);
        json!({
            "product": product.name(),
            "shortest_interval": product.nominal().map_or("any", Interval::name),
            "close_after_ms": close_after / 1000,
            "forget_after_ms": forget_after / 1000,
        })
    };
    Product::ALL.into_iter().map(product).collect()
}

async fn windows(tenant: Tenant, shown: web::Data<Shown>) -> HttpResponse {
    let tenant_id = tenant.id().to_owned();
    let asked = shown
        .views
        .ask(move |state| {
            (
                (state.position(), state.log_clock()),
                state.counts_of_tenant(&tenant_id),
            )
        })
        .await;
    let partitions: Vec<Value> = asked
        .answers
        .iter()
        .map(|(number, ((position, clock), (instruments, counts)))| {
            json!({"partition": number, "position": position, "log_clock": clock.map(time), "instruments": instruments, "windows": by_interval(counts)})
        })
        .collect();
    let mut sum = [WindowCounts::default(); Interval::ALL.len()];
    for (_, (_, (_, counts))) in &asked.answers {
        for (sum, count) in sum.iter_mut().zip(counts) {
            sum.open += count.open;
            sum.closed += count.closed;
        }
    }
    HttpResponse::Ok().json(json!({
        "tenant_id": tenant.id(),
        "windows": by_interval(&sum),
        // They have no windows: each is as open as its hours.
        "merged_from_hours": merged_from_hours(&shown.rules),
        "partitions": partitions,
        "silent_workers": asked.silent_workers,
    }))
}

fn by_interval(counts: &[WindowCounts; Interval::ALL.len()]) -> Map<String, Value> {
    let pairs = Interval::ALL.into_iter().zip(counts);
    pairs
        .map(|(interval, count)| {
            (
                interval.name().to_owned(),
                json!({"open": count.open, "closed": count.closed}),
            )
        })
        .collect()
}

#[derive(Debug, Deserialize)]
struct BarsQuery {
    interval: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
}

/// The query of `GET /bars/{instrument_id}`, validated.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    interval: Option<Interval>,
    /// Earliest window start.
    from: Micros,
    /// Latest window start, exclusive.
    to: Micros,
    limit: usize,
}

impl Wanted {
    fn read(query: BarsQuery) -> Result<Wanted, Problem> {
        let interval = match query.interval {
            None => None,
            Some(name) => Some(Interval::from_name(&name).ok_or_else(|| {
                Problem::bad_request(format!(
                    "interval must be one of 1m, 5m, 15m, 1h, 4h, 1d, 1d-local, blocks, got '{name}'"
                ))
            })?),
        };
        let (from, to) = range(query.from, query.to)?;
        Ok(Wanted {
            interval,
            from,
            to,
            limit: limit_of(query.limit.as_deref())?.into(),
        })
    }

    fn includes(&self, window: Window) -> bool {
        self.interval.is_none_or(|interval| interval == window.interval) && (self.from..self.to).contains(&window.start)
    }
}

/// `from` and `to` of a query; everything without them.
fn range(from: Option<String>, to: Option<String>) -> Result<(Micros, Micros), Problem> {
    let (from, to) = (time_of("from", from, Micros::MIN)?, time_of("to", to, Micros::MAX)?);
    if from >= to {
        return Err(Problem::bad_request("from must be before to; to is exclusive"));
    }
    Ok((from, to))
}

/// `as_of` of a query; without it, all that is known.
fn latest(as_of: Option<String>) -> Result<Micros, Problem> {
    time_of("as_of", as_of, Micros::MAX)
}

fn time_of(name: &str, text: Option<String>, otherwise: Micros) -> Result<Micros, Problem> {
    text.map_or(Ok(otherwise), |text| service::http::time_of(name, &text))
}

async fn bars(
    tenant: Tenant,
    shown: web::Data<Shown>,
    instrument: web::Path<InstrumentId>,
    query: web::Query<BarsQuery>,
) -> Result<HttpResponse, Problem> {
    let (query, asked_id) = (query.into_inner(), instrument.into_inner().into_inner());
    if let Some(view) = query.interval.as_deref().and_then(Merged::from_name) {
        return merged::bars(&shown, tenant.id(), &asked_id, view, query).await;
    }
    let wanted = Wanted::read(query)?;
    let (mut partitions, mut silent_workers) = (Vec::new(), 0);
    for instrument_id in spellings(&asked_id) {
        let (tenant_id, id) = (tenant.id().to_owned(), instrument_id.clone());
        let asked = shown
            .views
            .ask(move |state| {
                let (mut known, mut bars) = (false, Vec::new());
                state.bars(&tenant_id, &id, &mut |held| {
                    known = true;
                    let window = held.window();
                    if wanted.includes(window) {
                        bars.push((window, Shape::of(held)));
                    }
                });
                (known, bars)
            })
            .await;
        if asked.answers.iter().any(|(_, (known, _))| *known) {
            let mut bars: Vec<_> = asked.answers.into_iter().flat_map(|(_, (_, bars))| bars).collect();
            bars.sort_by_key(|(window, _)| (window.interval, std::cmp::Reverse(window.start)));
            bars.truncate(wanted.limit);
            shown.stored.fill(tenant.id(), &instrument_id, &mut bars).await;
            let bars = bars.into_iter().map(|(_, bar)| bar).collect();
            return Ok(HttpResponse::Ok().json(BarsBody {
                tenant_id: tenant.id().to_owned(),
                instrument_id,
                bars,
            }));
        }
        partitions = asked.answers.iter().map(|(number, _)| *number).collect();
        silent_workers = asked.silent_workers;
    }
    let message = format!(
        "this replica has no bars of {asked_id} of tenant {} in memory; older ones are in the ClickHouse view bars_latest",
        tenant.id()
    );
    Err(Problem::not_found(message).with_details(json!({"partitions": partitions, "silent_workers": silent_workers})))
}

/// The id as it arrived, and percent-encoded as instrument ids are: users type `/bars/PJM.WESTERN%20HUB.RTH` as they see the
/// id, and the server has decoded it once. The first known instrument is used, so that two are never mixed.
fn spellings(instrument_id: &str) -> Vec<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-%".contains(&byte);
    let mut encoded = String::new();
    for byte in instrument_id.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    let mut spellings = vec![instrument_id.to_owned()];
    if encoded != instrument_id {
        spellings.push(encoded);
    }
    spellings
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_as_users_type_it() {
        assert_eq!(
            spellings("PJM.WESTERN HUB.RTH"),
            ["PJM.WESTERN HUB.RTH", "PJM.WESTERN%20HUB.RTH"]
        );
        assert_eq!(spellings("MISO.INDIANA.HUB.RT5"), ["MISO.INDIANA.HUB.RT5"]);
    }

    #[test]
    fn bars_are_merged_from_hours_only_where_hours_have_bars() {
        let merged = |intervals: &str| {
            let env = service::Env::from([("AGGREGATION_BAR_INTERVALS".to_owned(), intervals.to_owned())]);
            let rules = crate::config::read(&mut service::Reader::new(&env)).rules;
            merged_from_hours(&rules)
        };
        assert_eq!(merged("5m,1h"), ["4h", "1d-local", "blocks"]);
        assert!(merged("5m,1d").is_empty());
    }

    #[test]
    fn bars_are_selected_by_interval_and_window_start() {
        let query = |interval: &str, from: &str, to: &str, limit: usize| BarsQuery {
            interval: Some(interval.to_owned()),
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            limit: Some(limit.to_string()),
        };
        let wanted = Wanted::read(query("1h", "2026-10-01T01:00:00+01:00", "2026-10-01", 5));
        assert!(wanted.is_err(), "from equals to");
        let wanted = Wanted::read(query("1h", "2026-10-01T01:00", "2026-10-01T02:00:00Z", 5)).unwrap();
        assert_eq!((wanted.from, wanted.to), (1_790_816_400_000_000, 1_790_820_000_000_000));
        for invalid in [
            query("2h", "2026-10-01", "2026-10-02", 5),
            query("1h", "yesterday", "2026-10-02", 5),
            query("1h", "2026-10-01", "2026-10-02", 0),
            query("1h", "2026-10-01", "2026-10-02", 1_001),
        ] {
            assert!(Wanted::read(invalid).is_err());
        }
    }

    #[test]
    fn times_are_utc_with_microseconds() {
        assert_eq!(time(1_700_000_000_000_001), "2023-11-14T22:13:20.000001Z");
    }
}
