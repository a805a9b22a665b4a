//! The path of a tick through the stages, with the time of each step and the milliseconds since the step that it follows. Pure.
//!
//! Invariant: times of different machines are compared, so a step may seem to happen before its cause; that is shown, not hidden.

use domain::Micros;
use serde::Serialize;

use super::served::Price;
use super::{At, BarRow, Place, TickRow};

/// When the rows of a tick were made and written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// The stage made the normalized tick.
    pub normalized: Option<Micros>,
    /// Its row was written to `market_ticks`.
    pub in_market_ticks: Option<Micros>,
    /// The stage made the enriched tick.
    pub enriched: Option<Micros>,
    /// Its row was written to `enriched_ticks`.
    pub in_enriched_ticks: Option<Micros>,
    /// Its row was written to `late_ticks`.
    pub in_late_ticks: Option<Micros>,
}

/// A stored latest price of the tick's instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// `postgres` or `redis`.
    pub store: &'static str,
    /// The price, or why there is none.
    pub price: Result<Price, String>,
    /// When it was written, if the store says it.
    pub updated: Option<Micros>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Stage, table or store.
    pub step: String,
    /// `None` if the step has not happened, or the store keeps no time.
    pub at: Option<At>,
    /// Milliseconds since the step that it follows.
    pub milliseconds: Option<f64>,
    /// What came out, and where it is.
    pub what: String,
}

/// Every step of a tick, in the order of the pipeline. `appended` is when the raw message was appended.
pub fn steps(tick: &TickRow, times: &Times, bars: &[BarRow], served: &[Served]) -> Vec<Step> {
    let raw = Some(tick.appended_at.0);
    let place = |place: &Option<Place>| {
        place
            .as_ref()
            .map_or_else(|| "no record is known".to_owned(), Place::to_string)
    };
    let written = |time: Option<Micros>| if time.is_some() { "written" } else { "no row" }.to_owned();
    let mut steps = vec![
        step("raw", raw, None, tick.tick_id.clone()),
        step("normalized", times.normalized, raw, place(&tick.normalized)),
        step(
            "market_ticks",
            times.in_market_ticks,
            times.normalized,
            written(times.in_market_ticks),
        ),
        step("enriched", times.enriched, times.normalized, place(&tick.enriched)),
        step(
            "enriched_ticks",
            times.in_enriched_ticks,
            times.enriched,
            written(times.in_enriched_ticks),
        ),
    ];
    if let Some(late) = &tick.late {
        let what = format!("too late for {}; {}", late.intervals.join(", "), late.place);
        steps.push(step("late", times.in_late_ticks, times.enriched, what));
    }
    steps.extend(bars.iter().map(|bar| {
        let state = if bar.closed { "closed" } else { "open" };
        let what = format!(
            "from {}: {state}, {} tick(s); {}",
            bar.window_start, bar.numbers.trade_count, bar.place
        );
        // Only the newest version is known, which a later tick may have caused.
        step(
            &format!("bar {}", bar.interval),
            Some(bar.ingested_at.0),
            times.enriched,
            what,
        )
    }));
    steps.extend(served.iter().map(|served| price_step(tick, times, served)));
    steps
}

fn price_step(tick: &TickRow, times: &Times, served: &Served) -> Step {
    let name = format!("price in {}", served.store);
    match &served.price {
        Ok(price) if price.tick_id == tick.tick_id => step(
            &name,
            served.updated,
            times.enriched,
            format!("is served: {}", price.price),
        ),
        Ok(price) => step(&name, None, None, format!("a newer tick is served: {}", price.tick_id)),
        Err(why) => step(&name, None, None, why.clone()),
    }
}

fn step(name: &str, at: Option<Micros>, after: Option<Micros>, what: String) -> Step {
    Step {
        step: name.to_owned(),
        at: at.map(At),
        milliseconds: at
            .zip(after)
            .map(|(at, after)| at.saturating_sub(after) as f64 / 1_000.0),
        what,
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::super::bar::tests::traced;
    use super::*;

    fn tick() -> TickRow {
        traced().1.ticks[0].tick.clone()
    }

    fn shown(steps: &[Step]) -> Vec<(&str, Option<f64>)> {
        steps
            .iter()
            .map(|step| (step.step.as_str(), step.milliseconds))
            .collect()
    }

    #[test]
    fn each_step_has_the_milliseconds_since_its_cause() {
        let (mut tick, bar) = (tick(), traced().0);
        tick.appended_at = At(1_000_000);
        let times = Times {
            normalized: Some(1_012_500),
            in_market_ticks: Some(3_012_500),
            enriched: Some(1_020_000),
            // The clock of the store is behind.
            in_enriched_ticks: Some(1_019_000),
            in_late_ticks: None,
        };
        let price = |tick_id: &str| Price {
            price: "1.5".to_owned(),
            volume: None,
            event_time: At(0),
            tick_id: tick_id.to_owned(),
        };
        let served = [
            Served {
                store: "postgres",
                price: Ok(price(&tick.tick_id)),
                updated: Some(1_050_000),
            },
            Served {
                store: "redis",
                price: Ok(price("other/0/1/0")),
                updated: None,
            },
        ];
        let steps = steps(&tick, &times, &[bar], &served);
        assert_eq!(
            shown(&steps),
            [
                ("raw", None),
                ("normalized", Some(12.5)),
                ("market_ticks", Some(2_000.0)),
                ("enriched", Some(7.5)),
                ("enriched_ticks", Some(-1.0)),
                // The bar was written at a minute.
                ("bar 1m", Some(58_980.0)),
                ("price in postgres", Some(30.0)),
                ("price in redis", None),
            ]
        );
        assert_eq!(
            steps.last().map(|step| step.what.as_str()),
            Some("a newer tick is served: other/0/1/0")
        );
    }

    #[test]
    fn a_step_that_has_not_happened_has_no_time() {
        let tick = tick();
        let steps = steps(&tick, &Times::default(), &[], &[]);
        let without: Vec<&str> = steps
            .iter()
            .filter(|step| step.at.is_none())
            .map(|step| step.step.as_str())
            .collect();
        assert_eq!(without, ["normalized", "market_ticks", "enriched", "enriched_ticks"]);
        assert!(steps.iter().all(|step| step.milliseconds.is_none()));
    }
}
