//! Progress of long steps on stderr: a bar on a terminal, otherwise one plain line every ten seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter waits are not reported.
const QUIET_WAIT: Duration = Duration::from_secs(2);
const LINE_EVERY: Duration = Duration::from_secs(10);

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

/// Does the work; if it takes more than two seconds, reports on stderr what it waits for.
pub async fn waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(QUIET_WAIT) => {}
    }
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
    let done = work.await;
    spinner.finish_and_clear();
    done
}
