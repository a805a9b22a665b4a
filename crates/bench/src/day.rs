//! The cost of an ordinary day: `dp bench day` at a steady rate, `dp bench idle` without ticks.
//!
//! A quiet market costs requests, not ticks, so the figure is percent of one core, of all servers and services together. The load
//! runs in this process and is not counted; its requests at the broker are.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::load::Load;
use super::quiet::until_merged;
use super::rows::{number, tables_checked, until_rows};
use super::stage::{Scene, ScenePlan, Stage, blocking, check_interrupted, say};
use crate::figures::{Figures, Row, Section};
use crate::goals;
use crate::outputs::counts::Quantiles;
use crate::outputs::scrape::Scrape;
use crate::requests::Requests;
use crate::usage::Usages;
use crate::wake_up::{self, LASTS, SLEEP};

/// Seconds until the broker's compiler has settled. After one minute it still takes 2.4 percent of a core, more than all services; after two
/// 1.2, after four 0.5. A stack that is idle has been so for hours.
const SETTLED: u64 = 300;
const LATEST_PRICE: &str = "latest_price";
/// A load before the measurement, so that the broker compiles its code: at a low rate that takes hours, in which a request costs
/// several times as much.
const BRISK: (u64, u64) = (3_000, 90_000);
const LOOK: Duration = Duration::from_millis(250);

/// Options of `dp bench day`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Ticks a second; several rates, separated by commas, are measured one after the other
    #[arg(long, value_name = "R", value_delimiter = ',', default_values_t = [200, 2_000, 8_000], value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Vec<u64>,
    #[command(flatten)]
    times: IdleArgs,
}

/// Options of `dp bench idle`.
#[derive(Debug, Clone, clap::Args)]
pub struct IdleArgs {
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Seconds before, after 30 s of 3,000 ticks a second: the broker's compiler works for some minutes
    #[arg(long, value_name = "S", default_value_t = SETTLED, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warm_up: u64,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args {
            rate: vec![200, 2_000, 8_000],
            times: IdleArgs {
                seconds: 30,
                warm_up: 180,
            },
        }
    }
}

impl IdleArgs {
    /// For a run of all benchmarks.
    pub fn usual() -> IdleArgs {
        IdleArgs {
            seconds: 30,
            warm_up: SETTLED,
        }
    }
}

/// Measures without ticks.
pub async fn idle(stage: &Stage, times: &IdleArgs) -> anyhow::Result<Section> {
    let scene = scene(stage, "idle").await?;
    scene.start_services()?;
    let mut notes = Vec::new();
    let measured = at_rest(&scene, times, &mut notes).await;
    scene.stop_services()?;
    let figures = measured?;
    let mut row = Row::new("idle", figures.clone());
    row.goals = goals::idle(&figures);
    Ok(section("idle", vec![row], notes))
}

/// Measures every rate.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for (number, rate) in args.rate.iter().enumerate() {
        let scene = scene(stage, &format!("day{number}")).await?;
        scene.start_services()?;
        let measured = at_rate(&scene, *rate, &args.times, &mut notes).await;
        scene.stop_services()?;
        let figures = measured?;
        let mut row = Row::new(format!("{rate}/s"), figures.clone());
        row.goals = goals::day(*rate, &figures);
        rows.push(row);
    }
    notes.push(format!("warmed up with {} ticks, {} a second", BRISK.1, BRISK.0));
    notes.push(
        "latency of the latest price from the raw append, read from a histogram and interpolated inside its buckets"
            .to_owned(),
    );
    Ok(section("day", rows, notes))
}

async fn scene(stage: &Stage, generation: &str) -> anyhow::Result<Scene> {
    let raw = format!("bench.{generation}");
    let plan = ScenePlan {
        generation,
        raw: &raw,
        ..ScenePlan::default()
    };
    stage.scene(&plan).await
}

fn section(bench: &'static str, rows: Vec<Row>, mut notes: Vec<String>) -> Section {
    notes.push(format!(
        "cost of a wake-up: CPU time of a thread that sleeps {} ms at a time and does nothing, for {} s after the window",
        SLEEP.as_millis(),
        LASTS.as_secs()
    ));
    notes.dedup();
    Section {
        bench,
        figures: rows.last().map(|row| row.figures.clone()).unwrap_or_default(),
        rows,
        notes,
    }
}

fn load(scene: &Scene, rate: u64, messages: u64, seed: u64) -> Load {
    Load {
        bootstrap: scene.bootstrap().clone(),
        topic: scene.raw().to_owned(),
        messages,
        rate: Some(rate),
        since: None,
        seed,
    }
}

/// Publishes the load before the measurement; returns its messages.
fn brisk(scene: &Scene) -> anyhow::Result<u64> {
    let (rate, messages) = BRISK;
    say(&format!("warming up: {rate} ticks a second for {} s", messages / rate));
    Ok(load(scene, rate, messages, 2).publish(&scene.stack)?.messages)
}

async fn at_rest(scene: &Scene, times: &IdleArgs, notes: &mut Vec<String>) -> anyhow::Result<Figures> {
    until_merged(scene, notes).await?;
    blocking(|| brisk(scene))?;
    say(&format!("idle for {} s", times.seconds));
    window(scene, times, notes).await
}

async fn at_rate(scene: &Scene, rate: u64, times: &IdleArgs, notes: &mut Vec<String>) -> anyhow::Result<Figures> {
    until_merged(scene, notes).await?;
    let before = blocking(|| brisk(scene))?;
    say(&format!("{rate} ticks a second for {} s", times.seconds));
    // Reading the counters takes some seconds; the load is stopped after the window.
    let messages = rate * (times.warm_up + times.seconds + 600);
    let load = load(scene, rate, messages, 1).in_background(&scene.stack);
    let measured = window(scene, times, notes).await;
    if load.has_ended() {
        load.finish()?;
        bail!("the load ended early (run again with --keep)");
    }
    let published = blocking(|| load.finish())?;
    let figures = measured?;
    let messages = before + published.messages;
    for table in ["market_ticks", "enriched_ticks"] {
        until_rows(scene, &scene.stores, table, messages).await?;
    }
    let (lost, doubled) = tables_checked(scene, messages).await?;
    Ok(figures.with_counts(lost, doubled))
}

/// Warms up, then measures. The counters of the broker and of the services are read outside of the window of CPU time: those of the broker
/// before the warm-up, because the broker's compiler works on the code that answers for a minute, which is 0.7 percent of a core.
async fn window(scene: &Scene, times: &IdleArgs, notes: &mut Vec<String>) -> anyhow::Result<Figures> {
    let stack = &scene.stack;
    let requests = blocking(|| Ok(Requests::of(stack)))?;
    wait(scene, times.warm_up).await?;
    let (inserts, scrape) = (inserts(scene).await?, Scrape::of(stack).await?);
    let (usages, began) = (Usages::of(stack)?, Instant::now());
    wait(scene, times.seconds).await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = Usages::of(stack)?;
    let core_percent = used.percent_since(&usages, seconds);
    let prices = Scrape::of(stack).await?.since(&scrape);
    let more = self::inserts(scene).await?.saturating_sub(inserts);
    let mut figures = Figures {
        core_percent_total: Some(core_percent.values().sum()),
        core_percent,
        inserts_per_second: Some(more as f64 / began.elapsed().as_secs_f64()),
        wake_ups_per_second: Some(used.wake_ups_since(&usages) as f64 / seconds),
        ..Figures::lasted(seconds)
    };
    let requests = requests.and_then(|before| Ok(blocking(|| Requests::of(stack))?.since(&before)));
    match requests {
        Ok(requests) => figures.requests_per_second = requests,
        Err(error) => notes.push(format!("no counters of the broker: {error:#}")),
    }
    let latest = prices.iter().find(|(name, _)| name.contains(LATEST_PRICE));
    if let Some((
        _,
        Quantiles {
            p50_ms,
            p99_ms,
            p999_ms,
        },
    )) = latest
    {
        (figures.p50_ms, figures.p99_ms, figures.p999_ms) = (Some(*p50_ms), Some(*p99_ms), Some(*p999_ms));
    }
    // After the window, which it would disturb, and beside the same load, on which the cost depends.
    say(&format!("measuring what a wake-up costs for {} s", LASTS.as_secs()));
    let cost = blocking(|| Ok(wake_up::cost()))?;
    Ok(wake_up::with_cost(figures, cost))
}

async fn wait(scene: &Scene, seconds: u64) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        check_interrupted(&scene.stack)?;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Inserts since ClickHouse started; it adds a row for a counter with the first event.
async fn inserts(scene: &Scene) -> anyhow::Result<u64> {
    let sql = "SELECT sum(value) AS value FROM system.events WHERE event = 'InsertQuery'";
    number(&scene.stores, sql).await
}
