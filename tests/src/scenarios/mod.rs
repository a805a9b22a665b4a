//! Faults as an operator meets them: each is caused on the running pipeline, shows every sign that `docs/faults.md` names, is
//! cured by the commands of that page as they stand there, and leaves nothing wrong.
//!
//! Invariants: no sign is shown before the fault; every sign is shown during it; after the cure all but the log are gone, and
//! `dp verify` finds no difference.
//! Failure: a violated invariant is a finding of its fault, with the last answer of the command. The other faults still run.

mod cause;
mod certificate;
mod crowd;
mod feed;
mod lock;
mod look;
mod page;
mod redis_full;
mod scratch;
mod slow_inserts;
mod throttle;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use localstack::Temporary;
use serde::Serialize;

pub use cause::Cause;
pub use feed::Message;
pub use page::{Described, Kind, Sign};

use crate::outages::{Mounted, SmallDisk};
use crate::watch::Watch;
use crate::{Pipeline, build_programs, prompt_rows, root};
use cause::Source;
use certificate::Certificates;
use feed::Feed;
use look::{Look, Wanted};

/// Good messages per second while a fault is there.
const RATE: u32 = 200;
/// Within this time after the cure, every sign must be gone.
const RECOVERY: Duration = Duration::from_secs(240);

/// The result of one fault.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// The heading of its section.
    pub fault: String,
    /// Seconds from the cause to each sign.
    pub seen_after_seconds: Vec<(String, f64)>,
    /// Seconds from the cure until every sign was gone.
    pub cured_after_seconds: f64,
    /// What was not as the page states.
    pub findings: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen: Vec<String> = self
            .seen_after_seconds
            .iter()
            .map(|(kind, seconds)| format!("{kind} {seconds:.0}"))
            .collect();
        write!(
            f,
            "{:<42} signs after seconds: {}; gone {:.0} s after the cure",
            self.fault,
            seen.join(", "),
            self.cured_after_seconds
        )?;
        for finding in &self.findings {
            write!(f, "\n    FOUND {finding}")?;
        }
        Ok(())
    }
}

/// The faults of the page, in its order.
///
/// # Errors
/// If the page is not complete, has a fault without a cause here, or lacks one.
pub fn described() -> anyhow::Result<Vec<(Described, Cause)>> {
    let path = root().join("docs/faults.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let described = page::read(&text)?;
    for (title, _) in Cause::ALL {
        let has_it = described.iter().any(|fault| fault.title == title);
        anyhow::ensure!(has_it, "docs/faults.md has no section `{title}`");
    }
    described
        .into_iter()
        .map(|fault| {
            let known = Cause::ALL.into_iter().find(|(title, _)| *title == fault.title);
            let (_, cause) = known.with_context(|| format!("nothing causes `{}` of docs/faults.md", fault.title))?;
            Ok((fault, cause))
        })
        .collect()
}

/// A pipeline and its monitoring, on which faults are caused.
pub struct Ground {
    /// Of ClickHouse, if a fault fills it. Unmounted before the stack is removed, because it is mounted in its folder.
    disk: Option<Mounted>,
    /// If a fault lets one expire.
    certificates: Option<Certificates>,
    pipeline: Pipeline,
    watch: Watch,
}

impl Ground {
    /// Starts everything on its own stack, with what these faults need.
    ///
    /// # Errors
    /// If a program does not start.
    pub fn start(causes: &[Cause]) -> anyhow::Result<Ground> {
        build_programs()?;
        let mut stack = Temporary::new()?;
        stack.config_mut().service_env.extend([prompt_rows()]);
        let disk = match causes.contains(&Cause::FullDisk) {
            true => Some(SmallDisk::mount(
                &stack.config().dir.join("clickhouse/data"),
                scratch::DISK_MB,
            )?),
            false => None,
        };
        let certificates = match causes.iter().any(|cause| cause.needs_tls()) {
            true => Some(Certificates::serve(&mut stack)?),
            false => None,
        };
        let pipeline = Pipeline::on(stack)?;
        let watch = Watch::start(&pipeline)?;
        // Alerts about a verification that never ran, or about no input, are signs of nothing here.
        pipeline.publish_once(500, 1)?;
        pipeline.agree()?;
        // Its dead letters would be signs of a fault.
        let (has_purged, said) = pipeline.typed("dp dlq purge --open --yes")?;
        anyhow::ensure!(has_purged, "dp dlq purge: {said}");
        Ok(Ground {
            disk,
            certificates,
            pipeline,
            watch,
        })
    }

    /// Runs one fault under load, and calls `report` with each step as it ends.
    ///
    /// # Errors
    /// If the pipeline cannot be broken or read.
    pub fn run(
        &self,
        fault: &Described,
        cause: Cause,
        seed: u64,
        report: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome {
            fault: fault.title.clone(),
            ..Outcome::default()
        };
        if cause == Cause::FullDisk {
            // Left out silently, it would count as a fault with all its signs.
            if let Err(why) = self.has_small_disk() {
                outcome.findings.push(format!("it cannot be caused here: {why}"));
                return Ok(outcome);
            }
        }
        let load = Feed::start(&self.pipeline.bootstrap(), Message::Good, RATE, &format!("good-{seed}"))?;
        // The fault before may have left a sign that is fading.
        self.all_gone(fault, Instant::now(), "before the fault", &mut outcome);
        let begun = Instant::now();
        let source = cause.begin(self, seed)?;
        self.all_shown(fault, begun, cause.patience(), &mut outcome, report);
        let source = source.map(Source::correct).transpose()?.flatten();
        let cured = Instant::now();
        self.cure(fault, &mut outcome, report)?;
        if let Some(source) = source {
            source.end(&self.pipeline)?;
        }
        load.end()?;
        self.all_gone(fault, cured, "after the cure", &mut outcome);
        outcome.cured_after_seconds = cured.elapsed().as_secs_f64();
        report(&format!("gone {:.0} s after the cure", outcome.cured_after_seconds));
        let verified = self.pipeline.verify()?;
        if verified.code != 0 {
            outcome.findings.push(format!(
                "dp verify: {:?} {:?}",
                verified.failed(),
                verified.differences()
            ));
        }
        Ok(outcome)
    }

    /// Whether the disk of ClickHouse is a small one. To fill that of the machine would break whatever else runs on it.
    fn has_small_disk(&self) -> Result<(), &str> {
        match &self.disk {
            Some(Mounted::Here(_)) => Ok(()),
            Some(Mounted::Refused(why)) => Err(why),
            None => Err("the stack was started without a small disk"),
        }
    }

    /// Runs the commands of the page.
    fn cure(&self, fault: &Described, outcome: &mut Outcome, report: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
        for command in &fault.cure {
            let certificates = self.certificates.as_ref();
            let typed = certificates.map_or_else(|| command.clone(), |files| files.knowing_the_folder(command));
            let (succeeded, said) = self.pipeline.typed(&typed)?;
            report(command);
            if !succeeded {
                outcome.findings.push(format!("the cure `{command}` failed: {said}"));
            }
        }
        Ok(())
    }

    fn look(&self) -> Look<'_> {
        Look::at(&self.pipeline, &self.watch)
    }

    /// Looks for every sign until each has been seen once.
    fn all_shown(
        &self,
        fault: &Described,
        begun: Instant,
        patience: Duration,
        outcome: &mut Outcome,
        report: &mut dyn FnMut(&str),
    ) {
        let signs: Vec<&Sign> = fault.signs.iter().collect();
        self.look()
            .for_each(&signs, Wanted::Shown, begun, patience, |sign, found| match found {
                Ok(after) => {
                    let seconds = after.as_secs_f64();
                    report(&format!("{} after {seconds:.0} s", sign.kind));
                    outcome.seen_after_seconds.push((sign.kind.to_string(), seconds));
                }
                Err(error) => outcome
                    .findings
                    .push(format!("{} does not show it: {error:#}", sign.kind)),
            });
    }

    /// Waits until no sign is there. What was written to a log stays.
    fn all_gone(&self, fault: &Described, since: Instant, when: &str, outcome: &mut Outcome) {
        let signs: Vec<&Sign> = fault.signs.iter().filter(|sign| sign.kind != Kind::Log).collect();
        self.look()
            .for_each(&signs, Wanted::Gone, since, RECOVERY, |sign, found| {
                if let Err(error) = found {
                    outcome.findings.push(format!("{} {when}: {error:#}", sign.kind));
                }
            });
    }
}
