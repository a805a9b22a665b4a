//! What the screen of `dp top` shows, and what a key changes. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use ops::top::{Figures, Sample, compared};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Rates are those of this time: groups commit only every few seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// The intervals that a key chooses from, in seconds.
const INTERVALS: [u64; 6] = [1, 2, 5, 10, 30, 60];

/// The order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// As data flows through the pipeline
    Flow,
    /// The largest lag first
    Lag,
    /// The most messages a second first
    Rate,
    /// The most CPU time first
    Cpu,
    /// The most memory first
    Memory,
}

impl Sort {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Flow => "flow",
            Sort::Lag => "lag",
            Sort::Rate => "rate",
            Sort::Cpu => "cpu",
            Sort::Memory => "memory",
        }
    }

    fn next(self) -> Sort {
        match self {
            Sort::Flow => Sort::Lag,
            Sort::Lag => Sort::Rate,
            Sort::Rate => Sort::Cpu,
            Sort::Cpu => Sort::Memory,
            Sort::Memory => Sort::Flow,
        }
    }
}

/// What the program does after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Draws again.
    Draw,
    /// Takes samples this often from now on.
    Every(Duration),
    /// Ends.
    Quit,
    /// Ends as Ctrl-C ends other commands.
    Interrupt,
}

/// The state of the screen.
#[derive(Debug)]
pub struct State {
    /// The environment and where its servers are.
    pub title: String,
    /// The newest figures; `None` before the first sample.
    pub figures: Option<Figures>,
    /// The order of the rows.
    pub sort: Sort,
    /// Time between two samples.
    pub interval: Duration,
    /// Whether the figures stay as they are.
    pub is_paused: bool,
    /// Whether the keys are explained instead.
    pub shows_help: bool,
    /// Samples of the last [`WINDOW`], the newest last.
    samples: VecDeque<Sample>,
}

impl State {
    /// Before the first sample.
    pub fn new(title: String, sort: Sort, interval: Duration) -> State {
        State {
            title,
            figures: None,
            sort,
            interval,
            is_paused: false,
            shows_help: false,
            samples: VecDeque::new(),
        }
    }

    /// Takes a sample. A paused screen keeps its figures, and the sample counts later.
    pub fn take(&mut self, sample: Sample) {
        // Two are needed, however long the interval is.
        while self.samples.len() > 1
            && self
                .samples
                .get(1)
                .is_some_and(|second| sample.elapsed.saturating_sub(second.elapsed) >= WINDOW)
        {
            self.samples.pop_front();
        }
        if !self.is_paused {
            self.figures = Some(compared(self.samples.front(), &sample));
        }
        self.samples.push_back(sample);
    }

    /// Takes a key.
    pub fn press(&mut self, key: KeyEvent) -> Action {
        let is_ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_ctrl => return Action::Interrupt,
            KeyCode::Esc if self.shows_help => self.shows_help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.shows_help = !self.shows_help,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Char('+') => return self.every(INTERVALS.iter().find(|other| **other > self.interval.as_secs())),
            KeyCode::Char('-') => {
                let shorter = INTERVALS.iter().rev();
                return self.every(shorter.into_iter().find(|other| **other < self.interval.as_secs()));
            }
            _ => {}
        }
        Action::Draw
    }

    fn pause(&mut self) {
        self.is_paused = !self.is_paused;
        if let (false, Some(newest)) = (self.is_paused, self.samples.back()) {
            let before = self.samples.front().filter(|_| self.samples.len() > 1);
            self.figures = Some(compared(before, newest));
        }
    }

    fn every(&mut self, seconds: Option<&u64>) -> Action {
        match seconds {
            Some(seconds) => {
                self.interval = Duration::from_secs(*seconds);
                Action::Every(self.interval)
            }
            None => Action::Draw,
        }
    }
}

#[cfg(test)]
mod tests {
    use ops::top::Alerts;

    use super::*;

    fn state() -> State {
        State::new("local".to_owned(), Sort::Flow, Duration::from_secs(2))
    }

    fn sample(seconds: u64) -> Sample {
        Sample {
            time: jiff::Timestamp::UNIX_EPOCH,
            elapsed: Duration::from_secs(seconds),
            processes: Vec::new(),
            groups: Ok(Vec::new()),
            alerts: Alerts::NotConfigured,
        }
    }

    fn press(state: &mut State, key: char) -> Action {
        state.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE))
    }

    #[test]
    fn rates_are_those_of_the_last_ten_seconds() {
        let mut state = state();
        let mut seconds = Vec::new();
        for time in [0, 2, 4, 10, 12, 14, 100, 160] {
            state.take(sample(time));
            seconds.push(state.figures.as_ref().and_then(|figures| figures.seconds));
        }
        let expected = [
            None,
            Some(2.0),
            Some(4.0),
            Some(10.0),
            Some(10.0),
            Some(10.0),
            Some(86.0),
            Some(60.0),
        ];
        assert_eq!(seconds, expected);
    }

    #[test]
    fn a_pause_keeps_the_figures_and_its_end_shows_the_newest() {
        let mut state = state();
        state.take(sample(0));
        press(&mut state, 'p');
        state.take(sample(4));
        assert_eq!(state.figures.as_ref().and_then(|figures| figures.seconds), None);
        press(&mut state, ' ');
        assert_eq!(state.figures.as_ref().and_then(|figures| figures.seconds), Some(4.0));
    }

    #[test]
    fn keys_sort_help_change_the_interval_and_end() {
        let mut state = state();
        for expected in [Sort::Lag, Sort::Rate, Sort::Cpu, Sort::Memory, Sort::Flow] {
            press(&mut state, 's');
            assert_eq!(state.sort, expected);
        }
        assert_eq!(press(&mut state, '+'), Action::Every(Duration::from_secs(5)));
        assert_eq!(press(&mut state, '-'), Action::Every(Duration::from_secs(2)));
        assert_eq!(press(&mut state, '-'), Action::Every(Duration::from_secs(1)));
        assert_eq!(press(&mut state, '-'), Action::Draw);
        press(&mut state, '?');
        assert!(state.shows_help);
        // Esc leaves the help first.
        let esc = KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE);
        assert_eq!(state.press(esc), Action::Draw);
        assert_eq!(state.press(esc), Action::Quit);
        assert_eq!(press(&mut state, 'q'), Action::Quit);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.press(ctrl_c), Action::Interrupt);
    }
}
