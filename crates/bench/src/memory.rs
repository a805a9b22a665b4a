//! Memory growth under a steady load: `dp bench memory`; with `--instruments` the cost of an instrument ([`new_instruments`]).

use std::time::{Duration, Instant};

use anyhow::bail;

use super::load::Load;
use super::new_instruments;
use super::stage::{Scene, ScenePlan, Stage, blocking, check_interrupted, say};
use crate::figures::{Figures, Row, Section};
use crate::usage::{forget_peaks, of_all, peak_bytes, resident_bytes};
use ops::progress::Progress;

const RAW: &str = "bench.memory.raw";
const MINUTE: Duration = Duration::from_secs(60);
/// Growth that still counts as flat. It is meant for services; servers fill their caches as configured.
const FLAT_MB: f64 = 10.0;

/// Options of `dp bench memory`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Minutes of steady load
    #[arg(long, value_name = "M", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// Messages a second
    #[arg(long, value_name = "R", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Publish N new instruments instead of a steady load, and measure the bytes that each of them costs
    #[arg(long, value_name = "N", conflicts_with_all = ["minutes", "rate"], value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    instruments: Option<u64>,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args {
            minutes: 2,
            rate: 10_000,
            instruments: None,
        }
    }
}

/// Reads the memory of every process once a minute under a steady load.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    if let Some(instruments) = args.instruments {
        return new_instruments::run(stage, instruments).await;
    }
    let plan = ScenePlan {
        generation: "mem",
        raw: RAW,
        ..ScenePlan::default()
    };
    let scene = stage.scene(&plan).await?;
    scene.start_services()?;
    forget_peaks(&scene.stack)?;
    say(&format!(
        "{} messages a second for {} minute(s)",
        args.rate, args.minutes
    ));
    let measured = blocking(|| watch(&scene, args));
    let figures = peaks(&scene);
    scene.stop_services()?;
    let rows = measured?;
    let mut notes =
        vec!["minute rows show the memory resident at that time; the first figures are the peak".to_owned()];
    notes.extend(growth(&rows));
    Ok(Section {
        bench: "memory",
        figures: Figures {
            seconds: Some((MINUTE * args.minutes as u32).as_secs_f64()),
            ticks: Some(args.rate * 60 * args.minutes),
            ..figures?
        },
        rows,
        notes,
    })
}

fn watch(scene: &Scene, args: &Args) -> anyhow::Result<Vec<Row>> {
    let load = Load {
        bootstrap: scene.bootstrap().clone(),
        topic: scene.raw().to_owned(),
        messages: args.rate * 60 * (args.minutes + 1),
        rate: Some(args.rate),
        since: None,
        seed: 254,
    };
    let load = load.in_background(&scene.stack);
    let began = Instant::now();
    let mut progress = Progress::new("steady load", args.minutes * 60, "seconds");
    let mut rows = Vec::new();
    for minute in 1..=args.minutes {
        while began.elapsed() < MINUTE * minute as u32 {
            check_interrupted(&scene.stack)?;
            if load.has_ended() {
                load.finish()?;
                bail!("the load ended early");
            }
            progress.set(began.elapsed().as_secs(), "");
            std::thread::sleep(Duration::from_millis(200));
        }
        rows.push(Row::new(format!("minute {minute}"), of_all(scene, resident_bytes)?));
    }
    progress.finish();
    load.finish()?;
    Ok(rows)
}

fn peaks(scene: &Scene) -> anyhow::Result<Figures> {
    of_all(scene, peak_bytes)
}

/// The growth of each process from the second minute to the last.
fn growth(rows: &[Row]) -> Vec<String> {
    let (Some(first), Some(last)) = (rows.get(1), rows.last()) else {
        return Vec::new();
    };
    let grown = |(name, now): (&String, &f64)| {
        let before = first.figures.peak_rss_mb.get(name)?;
        let more = now - before;
        let word = if more.abs() <= FLAT_MB { "flat" } else { "not flat" };
        Some(format!("{name}: {more:+.1} MB from minute 2 to {}, {word}", last.name))
    };
    last.figures.peak_rss_mb.iter().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_reported_for_each_process_from_the_second_minute_on() {
        let row = |minute: u32, mb: f64| {
            let mut figures = Figures::default();
            figures.peak_rss_mb.insert("enrichment".to_owned(), mb);
            Row::new(format!("minute {minute}"), figures)
        };
        let told = growth(&[row(1, 10.0), row(2, 50.0), row(3, 51.0), row(4, 75.5)]);
        assert_eq!(told, ["enrichment: +25.5 MB from minute 2 to minute 4, not flat"]);
        assert!(growth(&[row(1, 10.0)]).is_empty());
    }
}
