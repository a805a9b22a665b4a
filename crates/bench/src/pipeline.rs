//! The whole pipeline over a backlog: `dp bench pipeline`.

use std::time::Instant;

use anyhow::{Context as _, bail};
use localstack::{Name, Service, Stack};

use super::bare;
use super::hop;
use super::rows::{LOOK, STALLED, number, rows, tables_checked};
use super::stage::{Scene, ScenePlan, Stage, blocking, check_interrupted, say};
use super::watch::Ends;
use crate::figures::{Figures, Row, Section};
use crate::goals;
use crate::usage::{Usages, forget_peaks};
use ops::progress::Progress;

const RAW: &str = "bench.pipeline.raw";
const RAW_OF_WARM_UP: &str = "bench.pipeline.warm";
/// Messages before the measurement, to warm up the servers: Kafka's JVM is slow at first.
const WARM_UP: u64 = 300_000;
/// Bars are counted by a query over all of them, on the measured cores, so only every so many polls.
const LOOKS_BETWEEN_BARS: u32 = 10;

/// Options of `dp bench pipeline`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Messages of the backlog
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    ticks: u64,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args { ticks: 500_000 }
    }
}

/// Publishes the backlog, measures the bare client over it, then the pipeline.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let warm_up = WARM_UP.min(args.ticks);
    say("warming up with a smaller backlog");
    let scene = stage.scene(&plan("warm", RAW_OF_WARM_UP)).await?;
    hop::publish(&scene, warm_up)?;
    drain(&scene, warm_up, &Services::ONE_EACH).await?;
    let scene = stage.scene(&plan("pipe", RAW)).await?;
    let published = hop::publish(&scene, args.ticks)?;
    say("the bare client over the same topic");
    bare::warm_up(&scene, args.ticks).await?;
    let bare = bare::measure(&scene, "bench.pipeline.bare", args.ticks, None).await?;
    say("starting all services on the backlog");
    let run = drain(&scene, args.ticks, &Services::ONE_EACH).await?;
    let figures = run.figures.against(bare.ticks_per_second.unwrap_or_default());
    let mut rows = vec![Row::new("bare client", bare)];
    rows.extend(run.steps);
    let mut row = Row::new("all stores complete", figures.clone());
    row.goals = goals::pipeline(&figures);
    rows.push(row);
    let notes = vec![
        hop::size_note(&published),
        "seconds count from the first normalized tick until the named step is complete, polled every 100 ms (bars: every \
         second); lost and doubled are sums over market_ticks and enriched_ticks"
            .to_owned(),
        format!(
            "the first normalized tick arrived {:.2} s after the services were started",
            run.start_up
        ),
    ];
    Ok(Section {
        bench: "pipeline",
        figures,
        rows,
        notes,
    })
}

fn plan(generation: &'static str, raw: &'static str) -> ScenePlan<'static> {
    ScenePlan {
        generation,
        raw,
        ..ScenePlan::default()
    }
}

/// How the services run.
#[derive(Debug, Clone)]
pub struct Services {
    /// Processes of each service.
    pub processes: u16,
    /// The core that each service's first, second, … process is pinned to; empty for all cores.
    pub cores: Vec<usize>,
}

impl Services {
    /// One process each, on all cores.
    pub const ONE_EACH: Services = Services {
        processes: 1,
        cores: Vec::new(),
    };

    fn names(&self) -> impl Iterator<Item = Name> {
        (1..=self.processes).flat_map(|number| Service::ALL.map(|service| Name::replica(service, number)))
    }

    fn start(&self, stack: &Stack) -> anyhow::Result<()> {
        for name in self.names() {
            stack.start(name)?;
            let number = match name {
                Name::Service(_, number) => usize::from(number),
                Name::Server(_) => 1,
            };
            if let Some(core) = self.cores.get(number - 1) {
                bare::pin(stack, name, *core)?;
            }
        }
        Ok(())
    }
}

/// The measurements of a drained backlog.
pub struct Drained {
    /// The figures of the whole run, until the slowest store was complete.
    pub figures: Figures,
    /// When each store was complete.
    pub steps: Vec<Row>,
    /// Seconds from the start of the services to the first normalized tick.
    pub start_up: f64,
}

/// Starts the services on a backlog of `ticks` messages, waits until every store has it, and stops them.
pub async fn drain(scene: &Scene, ticks: u64, services: &Services) -> anyhow::Result<Drained> {
    let ends = blocking(|| Ends::new(scene.bootstrap(), &scene.connection.names.normalized))?;
    let before = blocking(|| {
        forget_peaks(&scene.stack)?;
        Usages::of(&scene.stack)
    })?;
    let started = Instant::now();
    blocking(|| services.start(&scene.stack))?;
    blocking(|| ends.until(&scene.stack, 1, || ()))?;
    let (first, start_up) = (Instant::now(), started.elapsed().as_secs_f64());
    let steps = arrivals(scene, ticks, first).await?;
    let seconds = steps.iter().filter_map(|row| row.figures.seconds).fold(0.0, f64::max);
    let after = blocking(|| Usages::of(&scene.stack))?;
    scene.stop_services()?;
    let (lost, doubled) = tables_checked(scene, ticks).await?;
    let mut figures = Figures::moved(ticks, seconds).with_counts(lost, doubled);
    after.since(&before, ticks, &mut figures);
    Ok(Drained {
        figures,
        steps,
        start_up,
    })
}

/// Waits until every store is complete; returns when each was, in seconds since `first`.
async fn arrivals(scene: &Scene, ticks: u64, first: Instant) -> anyhow::Result<Vec<Row>> {
    let mut arrived = Vec::new();
    let mut open: Vec<(Step, u64)> = Step::ALL.map(|step| (step, 0)).to_vec();
    let mut progress = Progress::new("processing", ticks, "ticks");
    let mut moved = Instant::now();
    for look in 0_u32.. {
        check_interrupted(&scene.stack)?;
        check_services(scene)?;
        let mut still_open = Vec::new();
        for (step, before) in open {
            let count = if step.is_due(look) {
                step.count(scene).await?
            } else {
                before
            };
            if count > before {
                moved = Instant::now();
            }
            if count >= ticks {
                let seconds = first.elapsed().as_secs_f64();
                arrived.push(Row::new(step.name(), Figures::moved(ticks, seconds)));
            } else {
                still_open.push((step, count));
            }
        }
        open = still_open;
        let Some(slowest) = open.iter().map(|(_, count)| *count).min() else {
            break;
        };
        if moved.elapsed() > STALLED {
            let missing: Vec<&str> = open.iter().map(|(step, _)| step.name()).collect();
            let seconds = STALLED.as_secs();
            bail!(
                "no progress for {seconds} s: missing {} (run again with --keep)",
                missing.join(", ")
            );
        }
        progress.set(slowest, "");
        tokio::time::sleep(LOOK).await;
    }
    progress.finish();
    Ok(arrived)
}

/// An output that must be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    MarketTicks,
    EnrichedTicks,
    Bars,
    LatestPrices,
}

impl Step {
    const ALL: [Step; 4] = [Step::MarketTicks, Step::EnrichedTicks, Step::Bars, Step::LatestPrices];

    fn name(self) -> &'static str {
        match self {
            Step::MarketTicks => "rows in market_ticks",
            Step::EnrichedTicks => "rows in enriched_ticks",
            Step::Bars => "ticks in bars of an hour and of a day",
            Step::LatestPrices => "latest prices in Redis and PostgreSQL",
        }
    }

    fn is_due(self, look: u32) -> bool {
        self != Step::Bars || look.is_multiple_of(LOOKS_BETWEEN_BARS)
    }

    /// Ticks that have arrived in this output.
    async fn count(self, scene: &Scene) -> anyhow::Result<u64> {
        let names = &scene.connection.names;
        match self {
            Step::MarketTicks => rows(scene, "market_ticks").await,
            Step::EnrichedTicks => rows(scene, "enriched_ticks").await,
            Step::Bars => {
                // Shorter bars do not include the prices of longer intervals.
                let sql = format!(
                    "SELECT min(ticks) AS value FROM (SELECT sum(trade_count) AS ticks FROM {bars} \
                     WHERE interval IN ('1h', '1d') GROUP BY interval)",
                    bars = names.table("bars_latest"),
                );
                number(&scene.stores, &sql).await
            }
            Step::LatestPrices => {
                let sql = format!(
                    "SELECT coalesce(sum(next_offset), 0) FROM projection_positions WHERE generation = '{}'",
                    names.generation()
                );
                let rows = scene
                    .stores
                    .postgres
                    .query_text(&sql)
                    .await
                    .context("query PostgreSQL")?;
                let value = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
                Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
            }
        }
    }
}

/// Fails early: a service that has ended will not finish.
fn check_services(scene: &Scene) -> anyhow::Result<()> {
    let ended = Service::ALL
        .into_iter()
        .find(|service| scene.stack.pid(*service).is_none());
    match ended {
        Some(service) => bail!(
            "{} has ended: see the end of its log {} (run again with --keep)",
            service.name(),
            scene.stack.log(service).display()
        ),
        None => Ok(()),
    }
}
