//! The memory cost of an instrument: `dp bench memory --instruments N`.
//!
//! Role: publishes documents in which every row is a new instrument, and compares the resident memory of each process before
//! and after.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use jiff::tz::Offset;
use stream::kafka::publisher::{Publisher, Record};

use super::stage::{Scene, ScenePlan, Stage, blocking, check_interrupted, say};
use crate::figures::{Figures, Row, Section};
use crate::usage::{of_all, resident_bytes};
use ops::progress::Progress;

const RAW: &str = "bench.instruments.raw";
const FORMAT: &str = "miso.rt5.expost.json";
/// Rows of one document: about 550 kB.
const ROWS: u64 = 10_000;
/// Instruments before the measurement, so that buffers and caches are allocated.
const WARM_UP: u64 = 10_000;
/// The benchmark fails if no further price arrives within this time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Long enough for batches in flight to be written.
const SETTLING: Duration = Duration::from_secs(10);

/// Publishes, waits until every price is served, and reads the memory of every process.
pub async fn run(stage: &Stage, instruments: u64) -> anyhow::Result<Section> {
    let plan = ScenePlan {
        generation: "ids",
        raw: RAW,
        ..ScenePlan::default()
    };
    let scene = stage.scene(&plan).await?;
    scene.start_services()?;
    say(&format!("{instruments} new instruments"));
    publish(&scene, 0..WARM_UP)?;
    until_served(&scene, WARM_UP, "warming up").await?;
    let before = of_all(&scene, resident_bytes)?;
    let began = Instant::now();
    publish(&scene, WARM_UP..WARM_UP + instruments)?;
    until_served(&scene, WARM_UP + instruments, "new instruments").await?;
    let seconds = began.elapsed().as_secs_f64();
    blocking(|| settle(&scene))?;
    let after = of_all(&scene, resident_bytes)?;
    scene.stop_services()?;
    let notes = costs(&before.peak_rss_mb, &after.peak_rss_mb, instruments);
    Ok(Section {
        bench: "memory",
        figures: Figures {
            peak_rss_mb: after.peak_rss_mb.clone(),
            ..Figures::moved(instruments, seconds)
        },
        rows: vec![
            Row::new(format!("{WARM_UP} instruments"), before),
            Row::new(format!("{} instruments", WARM_UP + instruments), after),
        ],
        notes,
    })
}

pub(super) fn publish(scene: &Scene, instruments: std::ops::Range<u64>) -> anyhow::Result<()> {
    let mut publisher = Publisher::new(scene.bootstrap(), "dp-bench")?;
    let mut next = instruments.start;
    while next < instruments.end {
        let rows = next..instruments.end.min(next + ROWS);
        let payload = document(rows.clone())?;
        let record = Record {
            topic: scene.raw(),
            payload: Some(payload.as_bytes()),
            headers: &[("dp.format", FORMAT.as_bytes())],
            ..Record::default()
        };
        publisher
            .send(&record)
            .with_context(|| format!("publish to {}", scene.raw()))?;
        next = rows.end;
    }
    publisher
        .finish()
        .with_context(|| format!("publish to {}", scene.raw()))?;
    Ok(())
}

/// A document of the interval that has just ended, with a row for each of these instruments.
fn document(instruments: std::ops::Range<u64>) -> anyhow::Result<String> {
    const INTERVAL: i64 = 300;
    let now = jiff::Timestamp::now().as_second();
    let end = jiff::Timestamp::from_second(now - now.rem_euclid(INTERVAL)).context("the clock of this machine")?;
    // MISO publishes times in EST all year.
    let end = Offset::constant(-5)
        .to_datetime(end)
        .strftime("%Y-%m-%dT%H:%M:%S")
        .to_string();
    let rows: Vec<String> = instruments
        .map(|number| format!(r#"["{end}","BENCH.NODE_{number:08}","31.55","0.10","0.20"]"#))
        .collect();
    let rows = rows.join(",");
    Ok(format!(
        r#"{{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[{rows}]}}"#
    ))
}

pub(super) async fn until_served(scene: &Scene, instruments: u64, what: &'static str) -> anyhow::Result<()> {
    let generation = scene.connection.names.generation();
    let sql = format!("SELECT count(*) FROM served_latest_prices WHERE generation = '{generation}'");
    let mut progress = Progress::new(what, instruments, "prices");
    let (mut last, mut changed) = (0, Instant::now());
    while last < instruments {
        check_interrupted(&scene.stack)?;
        let rows = scene.stores.postgres.query_text(&sql).await?;
        let count = rows.into_iter().flatten().flatten().next();
        let served: u64 = count.context("PostgreSQL returned no count of prices")?.parse()?;
        if served > last {
            (last, changed) = (served, Instant::now());
        }
        if changed.elapsed() > PATIENCE {
            bail!("only {last} of {instruments} prices are served: see the logs of the services");
        }
        progress.set(last, "");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    progress.finish();
    Ok(())
}

fn settle(scene: &Scene) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < SETTLING {
        check_interrupted(&scene.stack)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The cost of an instrument in each process.
fn costs(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, instruments: u64) -> Vec<String> {
    let cost = |(name, after): (&String, &f64)| {
        let grown = after - before.get(name)?;
        let bytes = grown * 1024.0 * 1024.0 / instruments.max(1) as f64;
        Some(format!(
            "{name}: {grown:+.1} MB, {bytes:.0} bytes for each new instrument"
        ))
    };
    after.iter().filter_map(cost).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_a_row_and_a_cost_for_each_instrument() {
        let document: serde_json::Value = serde_json::from_str(&document(7..10).unwrap()).unwrap();
        let rows = document["data"].as_array().unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0][1], "BENCH.NODE_00000007");
        let at = |mb| BTreeMap::from([("projection".to_owned(), mb)]);
        assert_eq!(
            costs(&at(10.0), &at(110.0), 1024 * 1024),
            ["projection: +100.0 MB, 100 bytes for each new instrument"]
        );
    }
}
