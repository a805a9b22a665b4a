//! Progress of long steps on stderr: a spinner or bar on a terminal, one plain line if stderr is a file or pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A long step in progress.
pub(crate) struct Step(ProgressBar);

impl Step {
    /// A step of unknown length. Shows nothing if `visible` is false.
    pub(crate) fn spinner(visible: bool, message: String) -> Step {
        let bar = Step::begin(visible, &message, ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {msg} ({elapsed})"));
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(120));
        Step(bar)
    }

    /// A step of known length in bytes.
    pub(crate) fn bytes(visible: bool, message: String, length: u64) -> Step {
        let bar = Step::begin(visible, &message, ProgressBar::new(length));
        bar.set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} ({eta})"));
        bar.set_message(message);
        Step(bar)
    }

    /// Adds to the completed bytes.
    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn begin(visible: bool, message: &str, bar: ProgressBar) -> ProgressBar {
        let terminal = std::io::stderr().is_terminal();
        if visible && !terminal {
            eprintln!("{message}");
        }
        if visible && terminal {
            bar
        } else {
            ProgressBar::hidden()
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // An invalid template would be a bug here, and affects only the appearance.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
