//! How throughput scales with workers, processes and cores: `dp bench scaling`.

use localstack::Server;

use super::bare;
use super::hop::{self, Normalizers};
use super::pipeline::{self, Services};
use super::stage::{Scene, ScenePlan, Stage, blocking, say};
use crate::figures::{Figures, Row, Section};

const HOP_RAW: &str = "bench.scaling.hop.raw";
const PIPELINE_RAW: &str = "bench.scaling.pipeline.raw";

/// Options of `dp bench scaling`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Number of messages for each variant
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1000..))]
    ticks: u64,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args { ticks: 200_000 }
    }
}

/// One variant of running the services.
struct Variant {
    name: &'static str,
    suffix: &'static str,
    workers: u16,
    processes: u16,
    /// Process number n runs on core n alone.
    pinned: bool,
}

const VARIANTS: [Variant; 5] = [
    variant("one worker", "a", 1, 1, false),
    variant("two workers in one process", "b", 2, 1, false),
    variant("two processes", "c", 1, 2, false),
    variant("one worker on one core", "d", 1, 1, true),
    variant("two processes on a core each", "e", 1, 2, true),
];

const fn variant(name: &'static str, suffix: &'static str, workers: u16, processes: u16, pinned: bool) -> Variant {
    Variant {
        name,
        suffix,
        workers,
        processes,
        pinned,
    }
}

impl Variant {
    /// The core of each process; servers are not pinned.
    fn cores(&self) -> Vec<usize> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let of = |process: u16| cores.saturating_sub(1 + usize::from(process)) % cores;
        (0..self.processes).filter(|_| self.pinned).map(of).collect()
    }
}

/// Measures the hop in every variant, then the pipeline in every variant.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let mut rows = hops(stage, args.ticks).await?;
    rows.extend(pipelines(stage, args.ticks).await?);
    let figures = rows.first().map_or_else(Figures::default, |row| row.figures.clone());
    Ok(Section {
        bench: "scaling",
        figures,
        rows,
        notes: vec![
            "ratio: against the unpinned bare client; for pinned variants against the bare client on one core"
                .to_owned(),
            "two processes share the backlog only if it outlasts their start-up: use at least 500,000 ticks".to_owned(),
            "in the pipeline, workers, processes and cores apply to each service; the servers use all cores".to_owned(),
        ],
    })
}

async fn hops(stage: &Stage, ticks: u64) -> anyhow::Result<Vec<Row>> {
    let scene = scene_of(stage, HOP_RAW, "scal", 1).await?;
    hop::publish(&scene, ticks)?;
    blocking(|| Ok(stage.stack().stop(Server::ClickHouse)?))?;
    let mut rows = Vec::new();
    say("the bare client");
    bare::warm_up(&scene, ticks).await?;
    let free = bare::measure(&scene, "bench.scaling.bare", ticks, None).await?;
    let last = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .saturating_sub(1);
    let pinned = bare::measure(&scene, "bench.scaling.pinned", ticks, Some(last)).await?;
    for variant in &VARIANTS {
        say(&format!("hop: {}", variant.name));
        let generation = format!("shop{}", variant.suffix);
        let scene = scene_of(stage, HOP_RAW, &generation, variant.workers).await?;
        let how = Normalizers {
            processes: variant.processes,
            workers: variant.workers,
            cores: variant.cores(),
        };
        let against = if variant.pinned { &pinned } else { &free };
        let figures = hop::normalize(&scene, ticks, &how, None)
            .await?
            .against(against.ticks_per_second.unwrap_or_default());
        rows.push(Row::new(format!("hop, {}", variant.name), figures));
    }
    blocking(|| Ok(stage.stack().up()?))?;
    rows.push(Row::new("bare client", free));
    rows.push(Row::new("bare client on one core", pinned));
    Ok(rows)
}

async fn pipelines(stage: &Stage, ticks: u64) -> anyhow::Result<Vec<Row>> {
    hop::publish(&scene_of(stage, PIPELINE_RAW, "scalp", 1).await?, ticks)?;
    let mut rows = Vec::new();
    for variant in &VARIANTS {
        say(&format!("pipeline: {}", variant.name));
        let generation = format!("spipe{}", variant.suffix);
        let scene = scene_of(stage, PIPELINE_RAW, &generation, variant.workers).await?;
        let services = Services {
            processes: variant.processes,
            cores: variant.cores(),
        };
        let drained = pipeline::drain(&scene, ticks, &services).await?;
        rows.push(Row::new(format!("pipeline, {}", variant.name), drained.figures));
    }
    Ok(rows)
}

async fn scene_of(stage: &Stage, raw: &str, generation: &str, workers: u16) -> anyhow::Result<Scene> {
    let plan = ScenePlan {
        generation,
        raw,
        env: &[("DATA_PROC_WORKERS", &workers.to_string())],
        append_time: false,
    };
    stage.scene(&plan).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pinned_process_has_its_own_core() {
        for variant in &VARIANTS {
            let cores = variant.cores();
            assert_eq!(
                cores.len(),
                if variant.pinned {
                    usize::from(variant.processes)
                } else {
                    0
                }
            );
        }
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            let cores = VARIANTS[4].cores();
            assert_ne!(cores[0], cores[1]);
        }
    }

    #[test]
    fn every_variant_has_its_own_suffix() {
        let mut suffixes: Vec<&str> = VARIANTS.iter().map(|variant| variant.suffix).collect();
        suffixes.dedup();
        assert_eq!(suffixes.len(), VARIANTS.len());
    }
}
