//! Progress of long steps on stderr: a bar on a terminal, otherwise one plain line every ten seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

/// Shorter waits are not reported.
const QUIET_WAIT: Duration = Duration::from_secs(2);
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is shown now; of several reports of one command only one is.
#[derive(Default)]
struct Shown {
    spinner: Option<ProgressBar>,
    /// Steps whose progress is shown.
    steps: usize,
}

impl Shown {
    /// Shows this unless something is shown; returns whether it does.
    fn begin(&mut self, spinner: impl FnOnce() -> ProgressBar) -> bool {
        let is_free = self.steps == 0 && self.spinner.is_none();
        if is_free {
            self.spinner = Some(spinner());
        }
        is_free
    }

    /// A step takes the place of a spinner.
    fn begin_step(&mut self) {
        self.clear();
        self.steps += 1;
    }

    fn end_step(&mut self) {
        self.steps = self.steps.saturating_sub(1);
    }

    fn clear(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

static SHOWN: Mutex<Shown> = Mutex::new(Shown {
    spinner: None,
    steps: 0,
});

/// The progress of one step.
pub struct Progress {
    bar: ProgressBar,
    what: String,
    unit: &'static str,
    last_line: Instant,
    shows_lines: bool,
}

impl Progress {
    /// Begins a step of `total` units.
    pub fn new(what: &str, total: u64, unit: &'static str) -> Progress {
        SHOWN.lock().begin_step();
        let at_terminal = std::io::stderr().is_terminal();
        let target = if at_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = format!("{what:<20} {{bar:30}} {{human_pos}}/{{human_len}} {unit} {{msg}} [{{elapsed}}]");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Progress {
            bar,
            what: what.to_owned(),
            unit,
            last_line: Instant::now(),
            shows_lines: !at_terminal,
        }
    }

    /// Sets the units done; `detail` is shown after the numbers.
    pub fn set(&mut self, done: u64, detail: &str) {
        if !self.shows_lines {
            self.bar.set_message(detail.to_owned());
        }
        self.bar.set_position(done);
        if self.shows_lines && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let total = self.bar.length().unwrap_or(done);
            eprintln!("{}: {done} of {total} {} {detail}", self.what, self.unit);
        }
    }

    /// Replaces the total if it has grown.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// Ends the step and removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        SHOWN.lock().end_step();
    }
}

/// Does the work; if it takes more than two seconds, reports on stderr what it waits for. While the work reports by itself, this does not.
pub async fn waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let _report = loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(QUIET_WAIT) => {}
        }
        if SHOWN.lock().begin(|| spinner(what)) {
            break Report;
        }
    };
    work.await
}

/// Ends what [`waiting`] shows, before something else is printed.
pub fn clear() {
    SHOWN.lock().clear();
}

/// Shown until it is dropped.
struct Report;

impl Drop for Report {
    fn drop(&mut self) {
        clear();
    }
}

fn spinner(what: &str) -> ProgressBar {
    let spinner = if std::io::stderr().is_terminal() {
        ProgressBar::new_spinner()
    } else {
        eprintln!("{what}");
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
        spinner.set_style(style);
    }
    spinner.set_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_report_is_shown_at_a_time() {
        let mut shown = Shown::default();
        assert!(shown.begin(ProgressBar::hidden));
        assert!(!shown.begin(ProgressBar::hidden), "the outer one is shown");
        // A step takes its place, and keeps it.
        shown.begin_step();
        assert!(shown.spinner.is_none());
        assert!(!shown.begin(ProgressBar::hidden), "the step is shown");
        shown.end_step();
        assert!(shown.begin(ProgressBar::hidden));
        shown.clear();
        assert!(shown.spinner.is_none());
    }
}
