//! Latency from the raw append to every output: `dp bench latency`.
//!
//! Clocks: a hop is measured by the broker's append times on both ends, so that "normalized" means visible to a consumer; rows
//! and prices by the clock of their writer. All clocks are those of one machine; append times have millisecond resolution.

use std::collections::HashMap;

use anyhow::Context as _;
use codec::Wire;
use domain::{Micros, Origin};
use stream::kafka::reader::LogReader;
use stream::{Message, StreamError};

use super::load::{Load, Published};
use super::rows::{tables_checked, until_rows};
use super::stage::{Scene, ScenePlan, Stage, blocking, say};
use crate::figures::{Figures, Row, Section};
use crate::goals;
use crate::outputs::counts::{Quantiles, latencies};
use crate::outputs::scrape::Scrape;
use crate::usage::{Usages, forget_peaks};

/// Load before the measurement: warms up connections, caches and the broker's JVM.
const WARM_UP_SECONDS: u64 = 20;
/// The output whose latency has a goal.
const LATEST_PRICE: &str = "latest_price";
/// Steps that are measured from the topics instead, more precisely than from the columns.
const SEEN_IN_TOPICS: [&str; 2] = ["raw append → normalized", "normalized → enriched"];

/// Options of `dp bench latency`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Messages a second; several rates, separated by commas, are measured one after the other
    #[arg(long, value_name = "R", value_delimiter = ',', default_values_t = [2_000, 30_000], value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Vec<u64>,
    /// Seconds at each rate, after 20 seconds of warm-up
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args {
            rate: vec![2_000, 30_000],
            seconds: 10,
        }
    }
}

/// Measures every rate.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let mut section = Section {
        bench: "latency",
        figures: Figures::default(),
        rows: Vec::new(),
        notes: vec![
            "open loop: every message has a fixed send time; a late one is sent at once".to_owned(),
            "normalized and enriched ticks count from the append by the broker (millisecond resolution), rows and prices from \
             the confirmation of their store; prices are read from a histogram and interpolated inside its buckets"
                .to_owned(),
        ],
    };
    for (number, rate) in args.rate.iter().enumerate() {
        let (generation, raw) = (format!("lat{number}"), format!("bench.latency.{number}"));
        let plan = ScenePlan {
            generation: &generation,
            raw: &raw,
            append_time: true,
            ..ScenePlan::default()
        };
        let scene = stage.scene(&plan).await?;
        let one = measure(&scene, *rate, args.seconds).await?;
        section.figures = one.figures;
        section.rows.extend(one.rows);
        section.notes.push(format!(
            "{rate}/s: {} messages published in {:.1} s; the latest one was sent {:.0} ms after its send time",
            one.published.messages,
            one.published.seconds,
            one.published.behind.as_secs_f64() * 1e3
        ));
    }
    Ok(section)
}

struct Measured {
    /// Latency of the latest price, with the other figures at this rate.
    figures: Figures,
    rows: Vec<Row>,
    published: Published,
}

async fn measure(scene: &Scene, rate: u64, seconds: u64) -> anyhow::Result<Measured> {
    say(&format!("{rate} messages a second for {seconds} s"));
    scene.start_services()?;
    let load = |messages: u64, seed: u64| Load {
        bootstrap: scene.bootstrap().clone(),
        topic: scene.raw().to_owned(),
        messages,
        rate: Some(rate),
        since: None,
        seed,
    };
    blocking(|| load(rate * WARM_UP_SECONDS, 1).publish(&scene.stack))?;
    forget_peaks(&scene.stack)?;
    let (usages, scrape, from) = (Usages::of(&scene.stack)?, Scrape::of(&scene.stack).await?, now());
    let published = blocking(|| load(rate * seconds, 2).publish(&scene.stack))?;
    let all = rate * WARM_UP_SECONDS + published.messages;
    for table in ["market_ticks", "enriched_ticks"] {
        until_rows(scene, &scene.stores, table, all).await?;
    }
    let (lost, doubled) = tables_checked(scene, all).await?;
    let prices = Scrape::of(&scene.stack).await?.since(&scrape);
    let mut figures = Figures::moved(published.messages, published.seconds).with_counts(lost, doubled);
    Usages::of(&scene.stack)?.since(&usages, published.messages, &mut figures);

    let in_topics = blocking(|| Ok(topics_read(scene, from)?))?;
    let of_rows = latencies(&scene.connection, &scene.stores.clickhouse, from, now()).await?;
    scene.stop_services()?;
    let mut rows: Vec<Row> = in_topics
        .into_iter()
        .map(|(name, mut values)| {
            Row::new(
                format!("{rate}/s: {name}"),
                Figures::default().with_quantiles(&mut values),
            )
        })
        .collect();
    let latest = prices
        .iter()
        .find(|(name, _)| name.contains(LATEST_PRICE))
        .map(|(_, price)| *price);
    let latest = latest.context("projection has recorded no latency (run again with --keep)")?;
    rows.push(Row::new(
        format!("{rate}/s: raw append → latest price in Redis"),
        quantiles(latest),
    ));
    let of_rows = of_rows
        .into_iter()
        .filter(|(name, _)| !SEEN_IN_TOPICS.contains(&name.as_str()));
    rows.extend(of_rows.map(|(name, step)| Row::new(format!("{rate}/s: {name}"), quantiles(step))));
    (figures.p50_ms, figures.p99_ms, figures.p999_ms) =
        (Some(latest.p50_ms), Some(latest.p99_ms), Some(latest.p999_ms));
    let mut row = Row::new(format!("{rate}/s: whole run; ms to the latest price"), figures.clone());
    row.goals = goals::latency(rate, &figures);
    rows.push(row);
    Ok(Measured {
        figures,
        rows,
        published,
    })
}

fn quantiles(step: Quantiles) -> Figures {
    Figures {
        p50_ms: Some(step.p50_ms),
        p99_ms: Some(step.p99_ms),
        p999_ms: Some(step.p999_ms),
        ..Figures::default()
    }
}

type Place = (i32, i64, i32);

/// Latencies in milliseconds, measured from the topics, of every tick whose raw message was appended after `from`.
fn topics_read(scene: &Scene, from: Micros) -> Result<Vec<(&'static str, Vec<f64>)>, StreamError> {
    let names = &scene.connection.names;
    let (wire, reader) = (Wire::single_object(), LogReader::new(scene.bootstrap())?);
    let millis = |later: Micros, earlier: Micros| (later - earlier) as f64 / 1e3;
    let place = |origin: &Origin<'_>| (origin.partition, origin.offset, origin.index);

    let mut normalized_at: HashMap<Place, Micros> = HashMap::new();
    let (mut to_normalized, mut to_enriched, mut between) = (Vec::new(), Vec::new(), Vec::new());
    read_since(&reader, &names.normalized, from, |message| {
        if let Ok(tick) = wire.decode_tick(message.payload.unwrap_or_default())
            && tick.appended_at >= from
        {
            normalized_at.insert(place(&tick.origin), message.timestamp);
            to_normalized.push(millis(message.timestamp, tick.appended_at));
        }
    })?;
    read_since(&reader, &names.enriched, from, |message| {
        if let Ok(enriched) = wire.decode_enriched(message.payload.unwrap_or_default())
            && enriched.tick.appended_at >= from
        {
            to_enriched.push(millis(message.timestamp, enriched.tick.appended_at));
            let before = normalized_at.get(&place(&enriched.tick.origin));
            between.extend(before.map(|before| millis(message.timestamp, *before)));
        }
    })?;
    Ok(vec![
        ("raw append → normalized (one hop)", to_normalized),
        ("normalized → enriched (one hop)", between),
        ("raw append → enriched", to_enriched),
    ])
}

fn read_since(
    reader: &LogReader,
    topic: &str,
    from: Micros,
    mut each: impl FnMut(&Message<'_>),
) -> Result<(), StreamError> {
    for partition in reader.partitions(topic)? {
        let Some(start) = reader.offset_at(&partition, from)? else {
            continue;
        };
        let end = reader.log_range(&partition)?.1;
        reader.read(&partition, start, end, |message| {
            each(message);
            true
        })?;
    }
    Ok(())
}

fn now() -> Micros {
    jiff::Timestamp::now().as_microsecond()
}
