//! Ticks that are years old, while a live load runs: `dp bench history`.
//!
//! All of them reach their bars through `restate`. It measures how long it takes until all bars include them, what that
//! costs, and the latency of a single late tick to its restated bar. At the end every bar is compared with a recomputation; a
//! wrong bar causes exit code 1.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use codec::Wire;
use domain::{Interval, Micros};
use service::{Names, Reader};
use stream::Partition;
use stream::kafka::groups::GroupReader;
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::reader::LogReader;

use super::load::{Background, Load, Published};
use super::rows::{number, tables_checked, until_rows};
use super::stage::{Scene, ScenePlan, Stage, blocking, check_interrupted, say};
use crate::figures::{Figures, Row, Section};
use crate::usage::{Usages, forget_peaks};
use reconcile::products::Products;
use reconcile::verify::bars::Bars;
use reconcile::verify::cut::Cut;
use reconcile::verify::gaps::Gaps;
use reconcile::verify::tables::parts;

const RAW: &str = "bench.history.raw";
const YEARS: Micros = 3 * 365 * 86_400_000_000;
/// Time between two single late ticks.
const PROBE_EVERY: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(100);
/// The benchmark fails after this time without progress.
const STALLED: Duration = Duration::from_secs(180);
/// Limit of the live load, which is stopped earlier.
const LIVE_SECONDS: u64 = 7_200;

/// Options of `dp bench history`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Number of messages that are three years old
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    ticks: u64,
    /// Live messages a second during the benchmark
    #[arg(long, value_name = "R", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Number of single late ticks afterwards, whose latency to their bars is measured
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    late: u64,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args {
            ticks: 100_000,
            rate: 200,
            late: 100,
        }
    }
}

/// Publishes the old ticks, then single late ones.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let plan = ScenePlan {
        generation: "hist",
        raw: RAW,
        ..ScenePlan::default()
    };
    let scene = stage.scene(&plan).await?;
    scene.start_services()?;
    let load = |messages, rate, since, seed| Load {
        bootstrap: scene.bootstrap().clone(),
        topic: scene.raw().to_owned(),
        messages,
        rate,
        since,
        seed,
    };
    let live = load(args.rate * LIVE_SECONDS, Some(args.rate), None, 254).in_background(&scene.stack);
    let old = load(args.ticks, None, Some(now() - YEARS), 3);
    let measured = measure(&scene, args, &old, live).await;
    scene.stop_services()?;
    measured
}

async fn measure(scene: &Scene, args: &Args, old: &Load, live: Background) -> anyhow::Result<Section> {
    forget_peaks(&scene.stack)?;
    let (before, began) = (Usages::of(&scene.stack)?, Instant::now());
    say(&format!("publishing {} ticks that are three years old", args.ticks));
    let published = blocking(|| old.publish(&scene.stack))?;
    until_restated(scene, args.ticks, &live).await?;
    let mut all_old = Figures::moved(args.ticks, began.elapsed().as_secs_f64());
    Usages::of(&scene.stack)?.since(&before, args.ticks, &mut all_old);

    say(&format!(
        "publishing {} single ticks that are three years old",
        args.late
    ));
    let from = now();
    blocking(|| probe(scene, args.late, from - YEARS))?;
    until_restated(scene, args.ticks + args.late, &live).await?;
    let live = blocking(|| live.finish())?;
    let ticks = args.ticks + args.late + live.messages;
    until_restated_to_the_end(scene, ticks).await?;
    let (lost, doubled) = tables_checked(scene, ticks).await?;
    let wrong_bars = wrong_bars(scene).await?;
    let to_topic = blocking(|| millis_to_the_topic(scene, from))?;
    let to_table = millis_to_the_table(scene).await?;
    if (to_topic.len() as u64) < args.late || (to_table.len() as u64) < args.late {
        bail!(
            "of {} late ticks, {} have a bar in the topic and {} in the table (run again with --keep)",
            args.late,
            to_topic.len(),
            to_table.len()
        );
    }
    let figures = Figures {
        wrong_bars: Some(wrong_bars),
        ..all_old.with_counts(lost, doubled)
    };
    let quantiles = |mut values: Vec<f64>| Figures::default().with_quantiles(&mut values);
    Ok(Section {
        bench: "history",
        rows: vec![
            Row::new("ticks three years old → every bar includes them", figures.clone()),
            Row::new(
                "one late tick: raw append → restated bar in the topic",
                quantiles(to_topic),
            ),
            Row::new(
                "one late tick: raw append → restated bar in ClickHouse",
                quantiles(to_table),
            ),
        ],
        figures,
        notes: notes(args, &published, &live),
    })
}

fn notes(args: &Args, published: &Published, live: &Published) -> Vec<String> {
    vec![
        format!(
            "the CPU figures include the live load of {} messages a second ({} in total)",
            args.rate, live.messages
        ),
        format!(
            "seconds count from the first publish until every restated bar is a row in ClickHouse; publishing alone took {:.1} s",
            published.seconds
        ),
        "a wrong bar is one that differs from a recomputation from all its ticks, live ones included".to_owned(),
    ]
}

/// Waits until every old tick is enriched and all its bars are in the table.
async fn until_restated(scene: &Scene, old: u64, live: &Background) -> anyhow::Result<()> {
    let names = &scene.connection.names;
    let sql = format!(
        "SELECT count() AS value FROM {} WHERE timestamp < now() - INTERVAL 1 YEAR",
        names.table("enriched_ticks")
    );
    let (mut seen, mut since) = (0, Instant::now());
    while seen < old {
        check_interrupted(&scene.stack)?;
        if live.has_ended() {
            bail!("the live load ended early: is Kafka down? (run again with --keep)");
        }
        let count = number(&scene.stores, &sql).await?;
        if count > seen {
            (seen, since) = (count, Instant::now());
        }
        if since.elapsed() > STALLED {
            bail!(
                "{seen} of {old} old ticks are in enriched_ticks, and no tick was added for {} s (run again with --keep)",
                STALLED.as_secs()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    blocking(|| all_passed(scene))
}

async fn until_restated_to_the_end(scene: &Scene, ticks: u64) -> anyhow::Result<()> {
    until_rows(scene, &scene.stores, "enriched_ticks", ticks).await?;
    blocking(|| all_passed(scene))
}

/// Waits until aggregation has processed the enriched topic up to its current end, `restate` the late ticks of it, and the
/// writer the bars of both.
fn all_passed(scene: &Scene) -> anyhow::Result<()> {
    let names = &scene.connection.names;
    passed(scene, &names.group("aggregation"), &names.enriched)?;
    passed(scene, &restate_group(names)?, &names.late)?;
    passed(scene, &names.writer_group("aggregation"), &names.bars)
}

/// The group of `restate`, the only one that reads the late topic alone.
fn restate_group(names: &Names) -> anyhow::Result<String> {
    let groups = names.groups();
    let found = groups.into_iter().find(|(_, topics)| *topics == [names.late.clone()]);
    found
        .map(|(group, _)| group)
        .context("no group restates bars: this build has no such stage")
}

fn passed(scene: &Scene, group: &str, topic: &str) -> anyhow::Result<()> {
    let partitions: Vec<Partition> = LogReader::new(scene.bootstrap())?.partitions(topic)?;
    let reader = GroupReader::new(scene.bootstrap(), group)?;
    let ends: Vec<i64> = reader.lag(&partitions)?.iter().map(|lag| lag.end).collect();
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        check_interrupted(&scene.stack)?;
        let committed: Vec<i64> = reader
            .lag(&partitions)?
            .iter()
            .map(|lag| lag.committed.unwrap_or(lag.start))
            .collect();
        if committed.iter().zip(&ends).all(|(committed, end)| committed >= end) {
            return Ok(());
        }
        if committed != seen {
            (seen, since) = (committed, Instant::now());
        }
        if since.elapsed() > STALLED {
            bail!("group {group} makes no progress in {topic}: it is at {seen:?} of {ends:?} (run again with --keep)");
        }
        std::thread::sleep(LOOK);
    }
}

/// Publishes single old ticks, each with its own instrument and window.
fn probe(scene: &Scene, probes: u64, begin: Micros) -> anyhow::Result<()> {
    let mut publisher = Publisher::new(scene.bootstrap(), "dp-bench-late")?;
    for number in 0..probes {
        check_interrupted(&scene.stack)?;
        let instrument = format!("{PROBE}{number}");
        let time = begin / 1_000 + number as i64 * 60_000;
        let payload = serde_json::json!({
            "envelope": {
                "event_type": "market.tick", "event_id": format!("late-{number}"), "timestamp": time.to_string(),
                "tenant_id": scene.connection.settings.tenant_id, "source": "dp-bench", "version": "1.0"
            },
            "payload": {
                "market": "MISO", "instrument_id": instrument,
                "raw_data": { "timestamp": time, "price": "31.55", "volume": "1" }
            }
        });
        publisher
            .send(&Record {
                topic: scene.raw(),
                key: Some(instrument.as_bytes()),
                payload: Some(payload.to_string().as_bytes()),
                ..Record::default()
            })
            .context("publish a late tick")?;
        std::thread::sleep(PROBE_EVERY);
    }
    publisher.finish().context("publish late ticks")?;
    Ok(())
}

const PROBE: &str = "BENCH.LATE.";

/// Milliseconds from the append of each late tick to its one-minute bar, by the record time of the bar.
fn millis_to_the_topic(scene: &Scene, from: Micros) -> anyhow::Result<Vec<f64>> {
    let (wire, reader) = (Wire::single_object(), LogReader::new(scene.bootstrap())?);
    let mut first = std::collections::HashMap::new();
    for partition in reader.partitions(&scene.connection.names.bars)? {
        let Some(start) = reader.offset_at(&partition, from)? else {
            continue;
        };
        let end = reader.log_range(&partition)?.1;
        reader.read(&partition, start, end, |message| {
            if let Ok(bar) = wire.decode_bar(message.payload.unwrap_or_default())
                && bar.instrument_id.starts_with(PROBE)
                && bar.window.interval == Interval::OneMinute
            {
                let millis = (message.timestamp - bar.last_appended_at) as f64 / 1e3;
                first.entry(bar.instrument_id.to_owned()).or_insert(millis);
            }
            true
        })?;
    }
    Ok(first.into_values().collect())
}

/// Milliseconds from the append of each late tick to the row of its one-minute bar.
async fn millis_to_the_table(scene: &Scene) -> anyhow::Result<Vec<f64>> {
    let sql = format!(
        "SELECT toString(toUnixTimestamp64Micro(min(ingested_at)) - toUnixTimestamp64Micro(min(last_appended_at))) AS micros \
         FROM {} WHERE startsWith(instrument_id, '{PROBE}') AND interval = '1m' GROUP BY instrument_id",
        scene.connection.names.table("bars")
    );
    let rows = scene
        .stores
        .clickhouse
        .query_json(&sql)
        .await
        .context("query the bars of late ticks")?;
    rows.iter()
        .map(|row| Ok(ops::rows::number::<i64>(row, "micros")? as f64 / 1e3))
        .collect()
}

/// Counts the bars that differ from a recomputation from all ticks.
async fn wrong_bars(scene: &Scene) -> anyhow::Result<u64> {
    let connection = &scene.connection;
    let products = Products::read(&mut Reader::new(&connection.env));
    let rows = number(
        &scene.stores,
        &format!(
            "SELECT count() AS value FROM {}",
            connection.names.table("enriched_ticks")
        ),
    )
    .await?;
    let bars = Bars {
        clickhouse: &scene.stores.clickhouse,
        names: &connection.names,
        gaps: &Gaps::default(),
        cut: &Cut::nowhere(),
        intervals: &products.intervals(),
        products: &products,
        parts: parts(rows),
        expired: &[],
        named: 20,
    };
    let (check, _) = bars.check(async || Ok(Vec::new())).await?;
    for difference in &check.differences.named {
        eprintln!("wrong: {difference}");
    }
    let missing = check.expected.abs_diff(check.found);
    Ok(check.differences.total.max(missing))
}

fn now() -> Micros {
    jiff::Timestamp::now().as_microsecond()
}
