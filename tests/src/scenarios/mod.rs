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
mod page;
mod redis_full;
mod scratch;
mod slow_inserts;
mod throttle;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::Temporary;
use serde::Serialize;

pub use cause::Cause;
pub use feed::Message;
pub use page::{Described, Kind, Sign};

use crate::outages::SmallDisk;
use crate::watch::Watch;
use crate::{Pipeline, build_programs, prompt_rows, root};
use cause::Source;
use certificate::Certificates;
use feed::Feed;

/// Good messages per second while a fault is there.
const RATE: u32 = 200;
const POLL: Duration = Duration::from_millis(500);
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
    disk: Option<SmallDisk>,
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
            true => SmallDisk::mount(&stack.config().dir.join("clickhouse/data"), scratch::DISK_MB)?,
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

    /// Whether the fault can be caused here: only root may mount a small disk, and not in every container.
    pub fn can_cause(&self, cause: Cause) -> bool {
        cause != Cause::FullDisk || self.disk.is_some()
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
        let load = Feed::start(&self.pipeline.bootstrap(), Message::Good, RATE, &format!("good-{seed}"))?;
        // The fault before may have left a sign that is fading.
        self.all_gone(fault, Instant::now(), "before the fault", &mut outcome);
        let begun = Instant::now();
        let source = cause.begin(self, seed)?;
        self.all_shown(fault, begun, cause.patience(), &mut outcome, report);
        let source = source.map(Source::correct).transpose()?.flatten();
        let cured = Instant::now();
        for command in &fault.cure {
            let certificates = self.certificates.as_ref();
            let typed = certificates.map_or_else(|| command.clone(), |files| files.knowing_the_folder(command));
            let (succeeded, said) = self.pipeline.typed(&typed)?;
            report(command);
            if !succeeded {
                outcome.findings.push(format!("the cure `{command}` failed: {said}"));
            }
        }
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

    /// Looks for every sign until each has been seen once. They are looked for in turn, because one may be fading while another
    /// is still to come.
    fn all_shown(
        &self,
        fault: &Described,
        begun: Instant,
        patience: Duration,
        outcome: &mut Outcome,
        report: &mut dyn FnMut(&str),
    ) {
        let mut missing: Vec<&Sign> = fault.signs.iter().collect();
        loop {
            let is_last = begun.elapsed() >= patience;
            missing.retain(|sign| match self.is_shown(sign) {
                Ok(()) => {
                    let seconds = begun.elapsed().as_secs_f64();
                    report(&format!("{} after {seconds:.0} s", sign.kind));
                    outcome.seen_after_seconds.push((sign.kind.to_string(), seconds));
                    false
                }
                Err(error) => {
                    if is_last {
                        let finding = format!(
                            "{} does not show it within {} s: {error:#}",
                            sign.kind,
                            patience.as_secs()
                        );
                        outcome.findings.push(finding);
                    }
                    true
                }
            });
            if missing.is_empty() || is_last {
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until no sign is there. What was written to a log stays.
    fn all_gone(&self, fault: &Described, since: Instant, when: &str, outcome: &mut Outcome) {
        for sign in fault.signs.iter().filter(|sign| sign.kind != Kind::Log) {
            if let Err(error) = await_sign(since, RECOVERY, || self.is_gone(sign)) {
                outcome.findings.push(format!("{} {when}: {error:#}", sign.kind));
            }
        }
    }

    /// Succeeds if the sign is there; otherwise the error says what is there instead.
    fn is_shown(&self, sign: &Sign) -> anyhow::Result<()> {
        match self.look(sign)? {
            Sight::Present => Ok(()),
            Sight::Absent(instead) => bail!("{instead}"),
        }
    }

    fn is_gone(&self, sign: &Sign) -> anyhow::Result<()> {
        match self.look(sign)? {
            Sight::Present => bail!("`{}` is still there {:?}", sign.what, sign.shows),
            Sight::Absent(_) => Ok(()),
        }
    }

    /// Looks for the sign. An error means that nothing could be seen, so it is neither presence nor absence.
    fn look(&self, sign: &Sign) -> anyhow::Result<Sight> {
        let expression = match sign.kind {
            Kind::Metric => sign.what.clone(),
            Kind::Alert => firing(&sign.what),
            Kind::Health | Kind::Log | Kind::Doctor => return self.read(sign),
        };
        Ok(match self.watch.has_series(&expression)? {
            true => Sight::Present,
            false => Sight::Absent(format!("no series of `{expression}`")),
        })
    }

    /// The output of a command. Its exit code only says whether it found something.
    fn read(&self, sign: &Sign) -> anyhow::Result<Sight> {
        let (_, said) = self.pipeline.typed(&sign.what)?;
        let has_all = |line: &str| sign.shows.iter().all(|text| line.contains(text.as_str()));
        Ok(match said.lines().any(has_all) {
            true => Sight::Present,
            false => Sight::Absent(format!(
                "no line with {:?} in the output of `{}`:\n{said}",
                sign.shows, sign.what
            )),
        })
    }
}

/// What a look for a sign has seen.
enum Sight {
    Present,
    /// With what is there instead.
    Absent(String),
}

/// `Name{label="value"}` as a query for the firing alert.
fn firing(alert: &str) -> String {
    let (name, labels) = alert.split_once('{').unwrap_or((alert, "}"));
    format!(r#"ALERTS{{alertname="{name}",alertstate="firing",{labels}"#)
}

/// Polls until it succeeds, or returns its last error.
fn await_sign(begun: Instant, patience: Duration, mut holds: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    // Others may have used up the time. Then one look must be enough.
    let deadline = begun + patience;
    loop {
        match holds() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("not within {} s", patience.as_secs())));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
