//! How throughput grows with workers, processes and cores: `dp bench scaling`.

use localstack::Server;

use super::bare;
use super::hop::{self, Normalizers};
use super::pipeline::{self, Services};
use super::stage::{Scene, ScenePlan, Stage, blocking, say};
use crate::bench::figures::{Figures, Row, Section};

const HOP_RAW: &str = "bench.scaling.hop.raw";
const PIPELINE_RAW: &str = "bench.scaling.pipeline.raw";

/// Options of `dp bench scaling`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Messages for each way of running
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1000..))]
    ticks: u64,
}

impl Args {
    /// For a run of everything.
    pub fn modest() -> Args {
        Args { ticks: 200_000 }
    }
}

/// One way of running the services.
struct Way {
    name: &'static str,
    suffix: &'static str,
    workers: &'static str,
    processes: u16,
    /// Process number n runs on core n alone.
    pinned: bool,
}

const WAYS: [Way; 5] = [
    way("one worker", "a", "1", 1, false),
    way("two workers in one process", "b", "2", 1, false),
    way("two processes", "c", "1", 2, false),
    way("one worker on one core", "d", "1", 1, true),
    way("two processes on a core each", "e", "1", 2, true),
];

const fn way(name: &'static str, suffix: &'static str, workers: &'static str, processes: u16, pinned: bool) -> Way {
    Way {
        name,
        suffix,
        workers,
        processes,
        pinned,
    }
}

impl Way {
    /// The core of each process; servers stay where they are.
    fn cores(&self) -> Vec<usize> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let of = |process: u16| cores.saturating_sub(1 + usize::from(process)) % cores;
        (0..self.processes).filter(|_| self.pinned).map(of).collect()
    }
}

/// The hop in every way, then the pipeline in every way.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let mut rows = hops(stage, args.ticks).await?;
    rows.extend(pipelines(stage, args.ticks).await?);
    let figures = rows.first().map_or_else(Figures::default, |row| row.figures.clone());
    Ok(Section {
        bench: "scaling",
        figures,
        rows,
        notes: vec![
            "ratio: against the bare client in one process, unpinned; pinned ways: against the bare client on that core".to_owned(),
            "processes share a backlog only while it lasts longer than their start: take at least 500,000 ticks".to_owned(),
            "in the pipeline, workers, processes and cores are those of every service; the servers use all cores".to_owned(),
        ],
    })
}

async fn hops(stage: &Stage, ticks: u64) -> anyhow::Result<Vec<Row>> {
    let scene = scene_of(stage, HOP_RAW, "scal", "1").await?;
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
    for way in &WAYS {
        say(&format!("hop: {}", way.name));
        let generation = format!("shop{}", way.suffix);
        let scene = scene_of(stage, HOP_RAW, &generation, way.workers).await?;
        let how = Normalizers {
            processes: way.processes,
            cores: way.cores(),
        };
        let against = if way.pinned { &pinned } else { &free };
        let figures = hop::normalize(&scene, ticks, &how, None)
            .await?
            .against(against.ticks_per_second.unwrap_or_default());
        rows.push(Row::new(format!("hop, {}", way.name), figures));
    }
    blocking(|| Ok(stage.stack().up()?))?;
    rows.push(Row::new("bare client", free));
    rows.push(Row::new("bare client on one core", pinned));
    Ok(rows)
}

async fn pipelines(stage: &Stage, ticks: u64) -> anyhow::Result<Vec<Row>> {
    hop::publish(&scene_of(stage, PIPELINE_RAW, "scalp", "1").await?, ticks)?;
    let mut rows = Vec::new();
    for way in &WAYS {
        say(&format!("pipeline: {}", way.name));
        let generation = format!("spipe{}", way.suffix);
        let scene = scene_of(stage, PIPELINE_RAW, &generation, way.workers).await?;
        let services = Services {
            processes: way.processes,
            cores: way.cores(),
        };
        let drained = pipeline::drain(&scene, ticks, &services).await?;
        rows.push(Row::new(format!("pipeline, {}", way.name), drained.figures));
    }
    Ok(rows)
}

async fn scene_of(stage: &Stage, raw: &str, generation: &str, workers: &str) -> anyhow::Result<Scene> {
    let plan = ScenePlan {
        generation,
        raw,
        env: &[("DATA_PROC_WORKERS", workers)],
        append_time: false,
    };
    stage.scene(&plan).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_processes_have_a_core_each() {
        for way in &WAYS {
            let cores = way.cores();
            assert_eq!(cores.len(), if way.pinned { usize::from(way.processes) } else { 0 });
        }
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            let cores = WAYS[4].cores();
            assert_ne!(cores[0], cores[1]);
        }
    }

    #[test]
    fn every_way_has_names_of_its_own() {
        let mut suffixes: Vec<&str> = WAYS.iter().map(|way| way.suffix).collect();
        suffixes.dedup();
        assert_eq!(suffixes.len(), WAYS.len());
    }
}
