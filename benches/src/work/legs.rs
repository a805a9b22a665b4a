//! What aggregation does with one leg: of a derived series, and of a curve.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::Context as _;
use codec::Wire;
use curves::derived::{self, Definition, Formula, Series};
use curves::snapshots::{self, Snapshots};
use domain::{Decimal, Kind, LegPlace, LegPrice, LegPurpose, Micros, Tick};

use crate::inputs::{self, START};

const SECOND: Micros = 1_000_000;
/// Time from one leg to the next.
const STEP: Micros = 1_000;
/// Of snapshots. It is short, so that many quotes are of one trade date.
const INTERVAL: Micros = 100_000;
/// Three o'clock of 18 December 2026 in New York.
const FRIDAY: Micros = 1_797_580_800 * SECOND;

/// A leg of a spark spread; the other leg has a price of the step before.
pub(super) fn derived() -> anyhow::Result<impl FnMut(usize)> {
    let definition = Definition {
        series: "spark".to_owned(),
        formula: Formula::SparkSpread {
            heat_rate: "7.5".parse()?,
        },
        legs: ["POWER", "GAS"].map(str::to_owned).to_vec(),
        max_age: SECOND,
        rolling: None,
    };
    let mut series = Series::new(Arc::new(definition), derived::Limits::new(SECOND, 0, 1_000_000));
    let wire = Wire::single_object();
    let of = |role, unit| LegPlace {
        role,
        unit,
        ..place(LegPurpose::Series, "spark")
    };
    let legs = [
        framed(&wire, "POWER", Kind::Trade, of("power", "MWh"))?,
        framed(&wire, "GAS", Kind::Trade, of("gas", "MMBtu"))?,
    ];
    Ok(move |number: usize| {
        let Some(Ok(mut leg)) = legs
            .get(number % legs.len())
            .map(|bytes| wire.decode_leg(black_box(bytes)))
        else {
            return;
        };
        at(&mut leg, number, START + number as Micros * STEP);
        let mut values = 0;
        black_box(series.take(&leg, number as i64, &mut |value| {
            values += 1;
            black_box(value);
        }));
        assert!(values == 1 || number == 0, "leg {number} made {values} values");
    })
}

/// A quote of a curve of 60 months, at the end of whose interval its snapshots are made.
pub(super) fn quote() -> anyhow::Result<impl FnMut(usize)> {
    let limits = snapshots::Limits::new((INTERVAL, 60 * INTERVAL, 7 * 86_400 * SECOND), 200_000);
    let (mut curve, wire) = (Snapshots::new("default", "C", limits), Wire::single_object());
    let of_curve = LegPlace {
        role: "PJM",
        definition: Some("flat;;PJM.W.*.SETTLEMENT"),
        ..place(LegPurpose::Curve, "C")
    };
    let months = (1..=12).map(|month| format!("2027-{month:02}"));
    let quarters = (0..8).map(|at| format!("Q{}-{}", at % 4 + 1, 28 + at / 4));
    let names = months.chain(quarters).chain(["CAL-30", "CAL-31"].map(str::to_owned));
    let quotes = names
        .map(|name| {
            framed(
                &wire,
                &format!("PJM.W.{name}.FLAT.SETTLEMENT"),
                Kind::Interval,
                of_curve,
            )
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(move |number: usize| {
        let Some(Ok(mut leg)) = quotes
            .get(number % quotes.len())
            .map(|bytes| wire.decode_leg(black_box(bytes)))
        else {
            return;
        };
        let time = FRIDAY + number as Micros * INTERVAL;
        at(&mut leg, number, time);
        let mut sent = 0;
        black_box(curve.take(&leg, time));
        curve.advance(time + INTERVAL, number as i64, &mut |snapshot| {
            sent += 1;
            black_box(snapshot);
        });
        assert_eq!(sent, 5, "quote {number}");
    })
}

fn place(purpose: LegPurpose, series: &str) -> LegPlace<'_> {
    LegPlace {
        purpose,
        series,
        role: "",
        definition: None,
        unit: "MWh",
        log_clock: START,
        enriched_partition: 0,
        enriched_offset: 0,
        index: 0,
    }
}

/// A leg as it is in its topic.
fn framed(wire: &Wire, instrument_id: &str, kind: Kind, place: LegPlace<'_>) -> anyhow::Result<Vec<u8>> {
    let ticks = inputs::normalized(1)?;
    let bytes = ticks.first().context("the simulation made no tick")?;
    let tick = Tick {
        instrument_id,
        kind,
        interval_end: None,
        version: None,
        sequence: None,
        ..wire.decode_tick(bytes)?
    };
    let mut out = Vec::new();
    wire.encode_leg(&LegPrice::of(&tick, place), &mut out);
    Ok(out)
}

/// Legs are reused with other prices at later times.
fn at(leg: &mut LegPrice<'_>, number: usize, time: Micros) {
    leg.origin.offset = number as i64;
    leg.enriched_offset = number as i64;
    (leg.event_time, leg.log_clock, leg.appended_at) = (time, time, Some(time));
    if let Ok(price) = Decimal::from_unscaled(4_000_000_000 + (number % 1_000) as i64) {
        leg.price = price;
    }
}
