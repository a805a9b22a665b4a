//! The fault run: under load, several actors perform the faults of a plan in parallel. At checkpoints and at the end, the
//! load pauses and both judges check all data.
//!
//! Invariants: a process has at most one fault at a time, so that its recovery can be observed; the report is saved after
//! each fault and each check.
//! Failure: lost, doubled or wrong data is a finding in the report, and the run continues. A process that does not recover
//! ends the run with an error.

mod actions;
pub(crate) mod check;
pub(crate) mod pulse;
mod report;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::Name;
use parking_lot::Mutex;
use testkit::bars::Times;
use testkit::curves;
use testkit::derived;
use testkit::load::{Load, LoadPlan};

pub use actions::groups_of;
pub use pulse::Peaks;
pub use report::{Check, Done, Report};

use crate::fault_plan::{Fault, plan};
use crate::{Pipeline, RAW};
use actions::Actor;
use check::Judge;
use pulse::Pulse;

/// Options of a fault run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Total number of faults.
    pub kills: u32,
    /// Seed of plan and load.
    pub seed: u64,
    /// Messages per second.
    pub rate: u32,
    /// Actors that perform faults in parallel.
    pub actors: u32,
    /// Faults between two checks.
    pub check_every: u32,
    /// File of the report. An existing report is resumed.
    pub report: PathBuf,
    /// The run ends with an error if the folder of the stack is larger.
    pub disk_limit_mb: u64,
}

/// State shared by the actors.
struct Field {
    waiting: Vec<Fault>,
    busy: BTreeSet<Name>,
    report: Report,
    /// When these faults began, and the duration of the run before, in seconds.
    begun: (Instant, f64),
    failed: Option<anyhow::Error>,
}

/// When windows are closed and forgotten in the run of a seed. An even seed uses the defaults. With an odd seed, windows of
/// trades live for seconds, so that the log clock passes the ticks of a raw partition that was held back.
pub fn times(seed: u64) -> Times {
    let defaults = Times::default();
    if seed.is_multiple_of(2) {
        return defaults;
    }
    Times {
        at_once: (2_000_000, 8_000_000),
        ..defaults
    }
}

/// The settings of the services in the run of a seed: its times, derived series whose legs are instruments of the load, and a short interval of
/// the snapshots of curves.
pub fn settings(seed: u64) -> impl Iterator<Item = (String, String)> {
    let series = (derived::SETTING.to_owned(), derived::setting(&derived::OF_THE_LOAD));
    let interval = (curves::SETTING.to_owned(), curves::INTERVAL_S.to_string());
    crate::times::settings(&times(seed))
        .into_iter()
        .chain([series, interval])
}

/// Starts or resumes a run; returns the report, which is also saved to its file.
///
/// # Errors
/// If a process does not recover, or a server cannot be queried. Findings are not errors: see [`Report::is_ok`].
pub fn run(pipeline: &Pipeline, options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::load(&options.report)?;
    if report.sessions > 0 && (report.seed, report.rate) != (options.seed, options.rate) {
        bail!(
            "{} belongs to seed {} at {} messages/s: use the same values, or another file",
            options.report.display(),
            report.seed,
            report.rate
        );
    }
    report.publisher_interrupted |= report.sessions > 0 && !report.finished;
    (report.seed, report.rate, report.kills) = (options.seed, options.rate, options.kills);
    report.sessions += 1;
    report.finished = false;
    report.save(&options.report)?;
    // Quotes before enrichment has heard of their curves are ticks like any other.
    pipeline.postgres.rows(&curves::statement(&curves::OF_THE_LOAD))?;
    let load = Load::start(
        &pipeline.bootstrap(),
        LoadPlan {
            topic: RAW.to_owned(),
            seed: options.seed,
            session: report.sessions,
            rate: options.rate,
            extras: true,
        },
    )?;
    let pulse = Pulse::default();
    std::thread::scope(|scope| {
        scope.spawn(|| pulse.watch(pipeline));
        let result = drive(pipeline, options, &load, &pulse, report);
        pulse.end();
        result
    })
}

fn drive(
    pipeline: &Pipeline,
    options: &Options,
    load: &Load,
    pulse: &Pulse,
    mut report: Report,
) -> anyhow::Result<Report> {
    let published_before = report.published_ticks;
    let mut judge = Judge::new(options.disk_limit_mb)?;
    loop {
        let next = (1..=options.kills).find(|number| !report.has_done(*number));
        if let Some(next) = next {
            let last = (next - 1) / options.check_every * options.check_every + options.check_every;
            let mut part = plan(options.seed, 1, last.min(options.kills));
            part.retain(|fault| !report.has_done(fault.number));
            load.resume();
            report = faults(pipeline, options, pulse, part, report)?;
        }
        let begun = Instant::now();
        let ledger = load.pause()?;
        report.published_ticks = published_before + ledger.ticks;
        say(&format!("checking after {} faults", report.done.len()));
        let published = (!report.publisher_interrupted).then_some(report.published_ticks);
        let check = judge.check(pipeline, report.done.len() as u32, published)?;
        say(&format!(
            "checked {} ticks: lost {}, doubled {}, wrong bars {}, otherwise wrong {}, dp verify {}, {:.0} s",
            check.ticks,
            check.lost,
            check.doubled,
            check.wrong_bars,
            check.wrong,
            if check.dp_verify_ok { "ok" } else { "NOT OK" },
            check.seconds
        ));
        report.checks.push(check);
        report.refused = pulse::refused(pipeline)?;
        merge(&mut report.peaks, pulse.peaks());
        report.seconds += begun.elapsed().as_secs_f64();
        report.finished = report.done.len() as u32 >= options.kills;
        report.save(&options.report)?;
        if report.finished {
            return Ok(report);
        }
    }
}

/// Performs these faults with several actors.
fn faults(
    pipeline: &Pipeline,
    options: &Options,
    pulse: &Pulse,
    part: Vec<Fault>,
    report: Report,
) -> anyhow::Result<Report> {
    let field = Mutex::new(Field {
        waiting: part,
        busy: BTreeSet::new(),
        begun: (Instant::now(), report.seconds),
        report,
        failed: None,
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..options.actors.max(1) {
            scope.spawn(|| {
                if let Err(error) = act(pipeline, options, pulse, &field, &stop) {
                    stop.store(true, Ordering::Relaxed);
                    field.lock().failed.get_or_insert(error);
                }
            });
        }
    });
    let field = field.into_inner();
    match field.failed {
        Some(error) => Err(error),
        None => Ok(field.report),
    }
}

fn act(
    pipeline: &Pipeline,
    options: &Options,
    pulse: &Pulse,
    field: &Mutex<Field>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let actor = Actor { pipeline, pulse };
    while !stop.load(Ordering::Relaxed) {
        let Some(fault) = take(field) else { return Ok(()) };
        let Some(fault) = fault else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        std::thread::sleep(Duration::from_millis(fault.after_ms));
        let recovery = actor
            .perform(&fault)
            .with_context(|| format!("fault {} of seed {}: {fault}", fault.number, options.seed))?;
        let mut field = field.lock();
        field.busy.remove(&fault.target);
        field.report.done.push(Done {
            number: fault.number,
            kind: fault.kind.name().to_owned(),
            target: fault.target.to_string(),
            recovery_seconds: recovery.as_secs_f64(),
            hold_seconds: fault.hold_ms as f64 / 1000.0,
        });
        field.report.seconds = field.begun.1 + field.begun.0.elapsed().as_secs_f64();
        field.report.save(&options.report)?;
        say(&format!(
            "{:>4}/{} [{}] {fault}: recovered after {:.1} s",
            field.report.done.len(),
            options.kills,
            bar(field.report.done.len(), options.kills),
            recovery.as_secs_f64()
        ));
    }
    Ok(())
}

/// The next fault whose process is not busy. The outer `None` means that no fault is left, the inner one that all remaining
/// faults must wait.
fn take(field: &Mutex<Field>) -> Option<Option<Fault>> {
    let mut field = field.lock();
    if field.waiting.is_empty() {
        return None;
    }
    let free = field
        .waiting
        .iter()
        .position(|fault| !field.busy.contains(&fault.target));
    Some(free.map(|position| {
        let fault = field.waiting.remove(position);
        field.busy.insert(fault.target);
        fault
    }))
}

fn merge(known: &mut Peaks, seen: Peaks) {
    for (name, megabytes) in seen.resident_mb {
        let peak = known.resident_mb.entry(name).or_default();
        *peak = (*peak).max(megabytes);
    }
}

fn bar(done: usize, all: u32) -> String {
    let filled = done * 20 / (all as usize).max(1);
    format!("{}{}", "#".repeat(filled), ".".repeat(20 - filled.min(20)))
}

/// Prints a progress line.
fn say(line: &str) {
    eprintln!("{line}");
}
