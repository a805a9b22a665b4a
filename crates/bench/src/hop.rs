//! The bare client, and one stage between two topics compared with it: `dp bench passthrough` and `dp bench hop`.

use localstack::{Name, Server, Service};

use super::bare;
use super::load::{Load, Published};
use super::rows::until_rows;
use super::stage::{Scene, ScenePlan, Stage, blocking, say};
use super::watch::Ends;
use crate::figures::{Figures, Row, Section};
use crate::goals;
use crate::statistics::median;
use crate::usage::Usages;
use ops::migrations::Stores;

const NORMALIZATION: &str = "normalization";
const RAW: &str = "bench.hop.raw";

/// Options of `dp bench passthrough` and `dp bench hop`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Number of messages in the raw topic
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1000..))]
    ticks: u64,
    /// Number of rounds; the result is the median
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args {
            ticks: 300_000,
            rounds: 3,
        }
    }

    /// One small round, as a baseline for another benchmark.
    pub fn baseline() -> Args {
        Args {
            ticks: 200_000,
            rounds: 1,
        }
    }
}

/// Measures the bare client alone.
pub async fn passthrough(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let scene = scene_of(stage, "bare").await?;
    let published = publish(&scene, args.ticks)?;
    bare::warm_up(&scene, args.ticks).await?;
    let mut rows = Vec::new();
    for round in 1..=args.rounds {
        say(&format!("round {round} of {}: the bare client", args.rounds));
        let figures = bare::measure(&scene, &format!("bench.passthrough.{round}"), args.ticks, None).await?;
        rows.push(Row::new(format!("bare client, round {round}"), figures));
    }
    let mut figures = middle(&rows, args.ticks);
    figures.passthrough_per_second = figures.ticks_per_second;
    figures.ratio = Some(1.0);
    Ok(Section {
        bench: "passthrough",
        figures,
        rows,
        notes: vec![size_note(&published)],
    })
}

/// Measures the bare client and normalization alternately.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let scene = scene_of(stage, "hop").await?;
    let published = publish(&scene, args.ticks)?;
    bare::warm_up(&scene, args.ticks).await?;
    let (mut bare_rows, mut hop_rows) = (Vec::new(), Vec::new());
    blocking(|| Ok(stage.stack().stop(Server::ClickHouse)?))?;
    for round in 1..=args.rounds {
        let scene = scene_of(stage, &format!("hop{round}")).await?;
        say(&format!("round {round} of {}: the bare client", args.rounds));
        let bare = bare::measure(&scene, &format!("bench.hop.bare.{round}"), args.ticks, None).await?;
        bare_rows.push(Row::new(format!("bare client, round {round}"), bare));
        say(&format!("round {round} of {}: normalization", args.rounds));
        let hop = normalize(&scene, args.ticks, &Normalizers::ONE, None).await?;
        hop_rows.push(Row::new(format!("hop, round {round}"), hop));
    }
    blocking(|| Ok(stage.stack().up()?))?;
    let bare = middle(&bare_rows, args.ticks);
    let figures = middle(&hop_rows, args.ticks).against(bare.ticks_per_second.unwrap_or_default());

    say("normalization with its ClickHouse writer");
    let scene = scene_of(stage, "hopw").await?;
    let with_writer = normalize(&scene, args.ticks, &Normalizers::ONE, Some(&scene.stores)).await?;
    let mut notes = vec![
        size_note(&published),
        "ClickHouse is stopped during the rounds of the hop, so that normalization's writer waits".to_owned(),
    ];
    let writer = writer_cpu(&figures, &with_writer);
    notes.extend(writer.map(writer_note));
    let mut rows: Vec<Row> = bare_rows.into_iter().chain(hop_rows).collect();
    let mut row = Row::new("hop and ClickHouse writer, until the last row", with_writer);
    row.goals.extend(writer.map(goals::writer));
    rows.push(row);
    let mut row = Row::new("median round", figures.clone());
    row.goals = goals::hop(&figures, &bare);
    rows.push(row);
    Ok(Section {
        bench: "hop",
        figures,
        rows,
        notes,
    })
}

/// How normalization runs.
#[derive(Debug, Clone)]
pub struct Normalizers {
    /// Processes of the group.
    pub processes: u16,
    /// Consumers of the group in each process, as the scene configures them.
    pub workers: u16,
    /// The core that each process is pinned to; empty for all cores.
    pub cores: Vec<usize>,
}

impl Normalizers {
    /// One process on all cores.
    pub const ONE: Normalizers = Normalizers {
        processes: 1,
        workers: 1,
        cores: Vec::new(),
    };
}

/// Starts normalization, waits until `ticks` ticks are in its topic (and, with `stores`, in ClickHouse), and stops it.
pub async fn normalize(
    scene: &Scene,
    ticks: u64,
    how: &Normalizers,
    stores: Option<&Stores>,
) -> anyhow::Result<Figures> {
    let names: Vec<Name> = (1..=how.processes)
        .map(|number| Name::replica(Service::Normalization, number))
        .collect();
    let normalized = &scene.connection.names.normalized;
    let ends = blocking(|| Ends::new(scene.bootstrap(), normalized))?;
    let looked_at = || {
        let processes = names
            .iter()
            .copied()
            .chain([Server::Kafka.into(), Server::ClickHouse.into()]);
        Usages::of_pids(processes.filter_map(|name| Some((name.to_string(), scene.stack.pid(name)?))))
    };
    let mut before = Usages::default();
    let mut seconds = blocking(|| {
        for (number, name) in names.iter().enumerate() {
            scene.stack.start(*name)?;
            if let Some(core) = how.cores.get(number) {
                bare::pin(&scene.stack, *name, *core)?;
            }
        }
        ends.until(&scene.stack, ticks, || before = looked_at())
    })?;
    if let Some(stores) = stores {
        seconds += until_rows(scene, stores, "market_ticks", ticks).await?;
    }
    let after = looked_at();
    blocking(|| {
        let (lost, repeated) = ends.check_origins(&scene.stack, ticks)?;
        for name in &names {
            scene.stack.stop(*name)?;
        }
        // A stage between topics is at least once: a consumer that joins makes the records since the last commit again, and readers skip
        // them. Of one consumer alone, each is a mistake.
        let is_alone = (how.processes, how.workers) == (1, 1);
        let doubled = if is_alone { repeated } else { 0 };
        let mut figures = Figures::moved(ticks, seconds).with_counts(lost, doubled);
        after.since(&before, ticks, &mut figures);
        Ok(figures)
    })
}

/// The scene of one round: all of them read the same raw topic.
async fn scene_of(stage: &Stage, generation: &str) -> anyhow::Result<Scene> {
    let plan = ScenePlan {
        generation,
        raw: RAW,
        ..ScenePlan::default()
    };
    stage.scene(&plan).await
}

/// Fills the scene's raw topic.
pub fn publish(scene: &Scene, messages: u64) -> anyhow::Result<Published> {
    say(&format!("publishing {messages} messages"));
    let load = Load {
        bootstrap: scene.bootstrap().clone(),
        topic: scene.raw().to_owned(),
        messages,
        rate: None,
        since: None,
        seed: 254,
    };
    blocking(|| load.publish(&scene.stack))
}

/// Number, size and shape of the messages.
pub fn size_note(published: &Published) -> String {
    format!(
        "{} JSON messages (shape A) of {:.0} bytes on average, with distinct event ids",
        published.messages,
        published.mean_bytes()
    )
}

/// The median of all rounds for each figure separately; lost and doubled are sums over all rounds.
fn middle(rows: &[Row], ticks: u64) -> Figures {
    let of = |figure: &dyn Fn(&Figures) -> Option<f64>| median(rows.iter().filter_map(|row| figure(&row.figures)));
    let sum = |figure: &dyn Fn(&Figures) -> Option<u64>| rows.iter().filter_map(|row| figure(&row.figures)).sum();
    let mut figures = Figures::moved(ticks, of(&|figures| figures.seconds).unwrap_or_default())
        .with_counts(sum(&|figures| figures.lost), sum(&|figures| figures.doubled));
    for name in rows.iter().flat_map(|row| row.figures.cpu_us_per_tick.keys()) {
        let cpu = of(&|figures| figures.cpu_us_per_tick.get(name).copied());
        let peak = of(&|figures| figures.peak_rss_mb.get(name).copied());
        figures.cpu_us_per_tick.extend(cpu.map(|cpu| (name.clone(), cpu)));
        figures.peak_rss_mb.extend(peak.map(|peak| (name.clone(), peak)));
    }
    figures
}

/// The CPU cost that the writer adds to normalization, in microseconds a tick.
fn writer_cpu(hop: &Figures, with_writer: &Figures) -> Option<f64> {
    let cpu = |figures: &Figures| figures.cpu_us_per_tick.get(NORMALIZATION).copied();
    Some((cpu(with_writer)? - cpu(hop)?).max(0.0))
}

fn writer_note(micros: f64) -> String {
    format!("the ClickHouse writer adds {micros:.2} µs of CPU time per tick to normalization")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_median_round_with_the_losses_of_all_rounds() {
        let round = |seconds: f64, lost: u64, cpu: f64| {
            let mut figures = Figures::moved(100, seconds).with_counts(lost, 0);
            figures.cpu_us_per_tick.insert(NORMALIZATION.to_owned(), cpu);
            Row::new("round", figures)
        };
        let figures = middle(&[round(9.0, 0, 3.0), round(1.0, 1, 2.0), round(2.0, 0, 1.0)], 100);
        assert_eq!((figures.seconds, figures.lost), (Some(2.0), Some(1)));
        assert_eq!(figures.ticks_per_second, Some(50.0));
        assert_eq!(figures.cpu_us_per_tick[NORMALIZATION], 2.0);
        assert_eq!(writer_cpu(&figures, &round(1.0, 0, 3.5).figures), Some(1.5));
    }
}
