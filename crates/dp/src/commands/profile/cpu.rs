//! `dp profile cpu`.

use ops::own_route::Asked;
use ops::present::{printable, wrapped};
use ops::progress::waiting;
use profile::cpu::{CpuProfile, ThreadTime};
use profile::stacks::{By, Function};
use serde::Serialize;

use super::common::Common;
use super::picture::{Picture, TOP, functions};
use crate::cells::count;

/// Fewer samples say little.
const FEW: u64 = 50;
/// Threads that are named.
const THREADS: usize = 6;
/// Width of a line.
const COLUMNS: usize = 80;

/// Show which functions of a running service use CPU time
///
/// Interrupts each thread by its own CPU time and notes its stack. A service without work uses little CPU time and has few samples: run this
/// under load, or for longer. Threads of librdkafka cannot be interrupted; they are shown with their time, without functions. `own` is the
/// time in a function itself, `total` includes what it calls.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done; 2 the service gives no answer or refuses, the file cannot be written, or wrong usage\n\n\
    Examples:\n  dp profile cpu normalization\n  dp profile cpu aggregation --for 30s --output bars.svg\n  \
    dp profile cpu projection --sort total --output projection.folded\n  dp profile cpu normalization --json | jq '.top[0].function'"
)]
pub struct CpuArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Samples in a second of CPU time, up to 250
    #[arg(long, value_name = "N", default_value_t = profile::cpu::FREQUENCY,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(profile::cpu::MAX_FREQUENCY)))]
    frequency: u32,
    /// Order of the table
    #[arg(long, value_enum, default_value_t = Sort::Own)]
    sort: Sort,
}

/// What the functions of a table are sorted by.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Sort {
    /// Time in the function itself
    Own,
    /// Time with what it calls
    Total,
}

impl Sort {
    fn by(self) -> By {
        match self {
            Sort::Own => By::Own,
            Sort::Total => By::Total,
        }
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    service: &'a str,
    seconds: f64,
    cpu_seconds: f64,
    frequency: u32,
    samples: u64,
    lost: u64,
    threads: &'a [ThreadTime],
    top: Vec<Function>,
    output: Option<String>,
}

pub(super) async fn run(asked: Asked<'_>, args: &CpuArgs, json: bool) -> anyhow::Result<()> {
    let seconds = args.common.seconds;
    let profiling = ops::profile::cpu(asked, seconds, args.frequency);
    let profile = waiting(&format!("profiling {} for {seconds} s", asked.service), profiling).await?;
    let picture = Picture {
        kind: "cpu",
        service: asked.service,
        subtitle: summary(&profile),
        stacks: &profile.stacks,
        shown: |samples| format!("{} sample(s)", count(samples)),
    };
    let written = picture.write(args.common.output.as_deref())?;
    let shown = Shown {
        service: asked.service,
        seconds: profile.seconds,
        cpu_seconds: profile.cpu_seconds,
        frequency: profile.frequency,
        samples: profile.stacks.weight(),
        lost: profile.lost,
        threads: &profile.threads,
        top: profile.stacks.top(TOP, args.sort.by()),
        output: written.path(),
    };
    let text = format!("{}: {}", asked.service, text(&shown, &summary(&profile)));
    written.print(json, &shown, &text)
}

fn summary(profile: &CpuProfile) -> String {
    format!(
        "{:.2} s of CPU time in {:.1} s, {} sample(s), {} in a second of CPU time",
        profile.cpu_seconds,
        profile.seconds,
        count(profile.stacks.weight()),
        profile.frequency
    )
}

fn text(shown: &Shown<'_>, summary: &str) -> String {
    let mut lines = vec![summary.to_owned()];
    if !shown.top.is_empty() {
        lines.push(functions(&shown.top, None));
        let threads = format!("threads: {}", threads(shown.threads));
        lines.push(wrapped(&printable(&threads), COLUMNS).join("\n"));
    }
    if shown.samples < FEW {
        let few = if shown.samples == 0 {
            "no samples"
        } else {
            "few samples"
        };
        let advice =
            format!("{few}: the service was nearly idle. Profile it under load, or for longer (--for, --frequency).");
        lines.push(wrapped(&advice, COLUMNS).join("\n"));
    }
    if shown.lost > 0 {
        lines.push(format!(
            "{} sample(s) had no room: use a shorter --for or a lower --frequency",
            count(shown.lost)
        ));
    }
    lines.join("\n")
}

fn threads(threads: &[ThreadTime]) -> String {
    let whole: f64 = threads.iter().map(|thread| thread.cpu_seconds).sum();
    let named = threads.iter().take(THREADS).map(|thread| {
        let share = if whole > 0.0 {
            thread.cpu_seconds / whole * 100.0
        } else {
            0.0
        };
        let blocked = if thread.is_sampled { "" } else { " (not sampled)" };
        format!("{} {share:.0} %{blocked}", thread.name)
    });
    let more = threads.len().saturating_sub(THREADS);
    let more = (more > 0).then(|| format!("{more} more"));
    named.chain(more).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use profile::stacks::Folding;

    use super::*;

    fn thread(name: &str, cpu_seconds: f64, is_sampled: bool) -> ThreadTime {
        ThreadTime {
            name: name.to_owned(),
            cpu_seconds,
            is_sampled,
        }
    }

    fn shown(weight: u64, threads: &[ThreadTime]) -> String {
        let mut folding = Folding::default();
        folding.add(Some("worker"), ["normalization::main"], weight);
        let stacks = folding.done();
        let shown = Shown {
            service: "normalization",
            seconds: 2.0,
            cpu_seconds: 1.0,
            frequency: 99,
            samples: stacks.weight(),
            lost: 0,
            threads,
            top: stacks.top(TOP, By::Own),
            output: None,
        };
        text(&shown, "summary")
    }

    #[test]
    fn an_idle_service_is_said_to_be_idle() {
        let text = shown(0, &[]);
        assert!(
            text.starts_with("summary\nno samples: the service was nearly idle"),
            "{text}"
        );
        assert!(shown(10, &[]).contains("few samples"));
        assert!(!shown(5_000, &[]).contains("idle"));
    }

    #[test]
    fn threads_are_shown_with_their_share_and_those_without_stacks_as_such() {
        let many: Vec<ThreadTime> = (0..8).map(|number| thread(&format!("io{number}"), 0.1, true)).collect();
        let all = [&[thread("rdk:broker1", 0.2, false)], &many[..]].concat();
        let text = shown(100, &all);
        assert!(
            text.contains("threads: rdk:broker1 20 % (not sampled), io0 10 %,"),
            "{text}"
        );
        assert!(text.contains("3 more") && !text.contains("io6"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert_eq!(threads(&[]), "");
    }
}
