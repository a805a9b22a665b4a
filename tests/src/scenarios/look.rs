//! Looks for the signs of a fault: series of Prometheus, and lines in the output of commands.
//!
//! Invariant: each sign is looked for on a thread of its own. One may be fading while another is still to come, and `dp doctor` watches
//! the consumers for some seconds before it answers.
//! Failure: a sign that is not as wanted in time is an error with what was there instead.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::page::{Kind, Sign};
use crate::Pipeline;
use crate::watch::Watch;

const POLL: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Shown,
    Gone,
}

/// Where the signs are seen.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pipeline: &'a Pipeline,
    watch: &'a Watch,
}

impl<'a> Look<'a> {
    pub(super) fn at(pipeline: &'a Pipeline, watch: &'a Watch) -> Look<'a> {
        Look { pipeline, watch }
    }

    /// Waits for all signs at once, for `patience` after `since`. Calls `ended` with each sign, as it ends, and the time since `since`.
    pub(super) fn for_each(
        self,
        signs: &[&Sign],
        wanted: Wanted,
        since: Instant,
        patience: Duration,
        mut ended: impl FnMut(&Sign, anyhow::Result<Duration>),
    ) {
        let (sender, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for &sign in signs {
                let sender = sender.clone();
                scope.spawn(move || {
                    let found = await_sign(since, patience, || self.is(sign, wanted));
                    // The receiver waits for all threads.
                    _ = sender.send((sign, found.map(|()| since.elapsed())));
                });
            }
            // The last thread closes the channel.
            drop(sender);
            for (sign, found) in results {
                ended(sign, found);
            }
        });
    }

    /// Succeeds if the sign is as wanted; otherwise the error says what is there instead.
    fn is(self, sign: &Sign, wanted: Wanted) -> anyhow::Result<()> {
        match (self.sight(sign)?, wanted) {
            (Sight::Present, Wanted::Shown) | (Sight::Absent(_), Wanted::Gone) => Ok(()),
            (Sight::Absent(instead), Wanted::Shown) => bail!("{instead}"),
            (Sight::Present, Wanted::Gone) => bail!("`{}` is still there {:?}", sign.what, sign.shows),
        }
    }

    /// Looks once. An error means that nothing could be seen, so it is neither presence nor absence.
    fn sight(self, sign: &Sign) -> anyhow::Result<Sight> {
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
    fn read(self, sign: &Sign) -> anyhow::Result<Sight> {
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
