//! `dp top`: the running pipeline on one screen, renewed every few seconds, or once as text or JSON.
//!
//! Failure: a service or server without an answer is a row that says so. Exit code 2 if there is no terminal, or if `--once` gets no
//! answer at all.

mod notices;
mod numbers;
mod screen;
mod state;
mod terminal;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::hints::localized;
use ops::interrupt::Interrupted;
use ops::place::Place;
use ops::present::{duration, print_json, print_line};
use ops::progress::waiting;
use ops::targets::{self, Target};
use ops::top::{Collector, Sample};
use ratatui::backend::IntoCrossterm as _;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::Event;
use ratatui::crossterm::style::ContentStyle;
use ratatui::layout::Rect;
use ratatui::widgets::Widget as _;
use tokio::sync::{mpsc, watch};

use screen::Screen;
use state::{Action, Sort, State};
use terminal::{Screenful, events, may_colour};

/// Width of the text without a terminal.
const COLUMNS: u16 = 80;
/// More often, the figures would be those of single commits.
const SHORTEST: Duration = Duration::from_millis(500);

/// Watch the running pipeline: rates, lag, latency, errors, alerts, CPU and memory
///
/// One row for each service and server: state, messages, errors and dead letters a second, CPU time, memory. One row for each consumer
/// group: messages a second in and out, lag, and the time from the append of the raw message until its stage is done (median, 99th
/// percentile). Then what is wrong, and the alerts of Alertmanager if DATA_PROC_ALERTMANAGER_URL names it, or `make monitor` runs.
/// Rates are those of the last ten seconds. CPU time is known only for the local stack. A service with several replicas behind one
/// address has no rates: name each replica with --service.
///
/// Keys: q quit, ? help, s sort, p pause, + and - change the interval.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 success; 2 there is no terminal, or with --once nothing gave an answer; 130 interrupted\n\n\
    Examples:\n  dp top\n  dp top --every 5s --sort lag\n  dp top --once\n  \
    dp top --once --json | jq '.groups[] | {group, topic, lag, out_per_second}'"
)]
pub struct Args {
    /// Time between two samples
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    every: Duration,
    /// Order of the rows
    #[arg(long, value_name = "ORDER", default_value = "flow")]
    sort: Sort,
    /// Print once and end; needs no terminal. --json implies it
    #[arg(long)]
    once: bool,
    /// A service and its address, instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = targets::parse)]
    service: Vec<Target>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let every = duration(text)?;
    match every >= SHORTEST {
        true => Ok(every),
        false => Err(format!("too short; use at least {} ms", SHORTEST.as_millis())),
    }
}

/// Runs `dp top`.
///
/// # Errors
/// There is no terminal, an address cannot be parsed, or no services are named.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let collector = Collector::new(place, connection, &args.service, &DEFAULT_PORTS)?;
    let settings = &connection.settings;
    let title = format!("{}, Kafka at {}", settings.environment.name(), settings.kafka_bootstrap);
    let state = State::new(title, args.sort, args.every);
    match args.once || connection.json {
        true => once(&collector, state, connection.json).await,
        false => live(collector, state).await,
    }
}

/// Two samples, since rates need them.
async fn once(collector: &Collector, mut state: State, json: bool) -> anyhow::Result<ExitCode> {
    state.take(collector.sample().await?);
    waiting("measuring", tokio::time::sleep(state.interval)).await;
    state.take(collector.sample().await?);
    let figures = state.figures.as_ref().context("there is no sample")?;
    let is_silent = figures.is_silent();
    if json {
        print_json(figures)?;
    } else {
        let has_colour = may_colour() && io::stdout().is_terminal();
        print_styled(&state, screen::height(figures), has_colour)?;
    }
    if is_silent {
        eprintln!(
            "{}",
            localized("error: no service and no server gave an answer; `dp health` says why")
        );
    }
    Ok(ExitCode::from(if is_silent { 2 } else { 0 }))
}

/// Prints the screen as text, with the styles of a terminal if `has_colour`.
fn print_styled(state: &State, height: u16, has_colour: bool) -> anyhow::Result<()> {
    let mut buffer = Buffer::empty(Rect::new(0, 0, COLUMNS, height));
    let screen = Screen {
        state,
        has_colour,
        has_keys: false,
    };
    screen.render(buffer.area, &mut buffer);
    let lines = buffer.content.chunks(usize::from(COLUMNS));
    let mut lines: Vec<String> = lines.map(|cells| line(cells, has_colour)).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    match has_colour {
        // The text was escaped when it was drawn, and `print_line` would escape the styles.
        true => {
            println!("{}", lines.join("\n"));
            Ok(())
        }
        false => print_line(&lines.join("\n")),
    }
}

/// One line, cells of equal style together.
fn line(cells: &[ratatui::buffer::Cell], has_colour: bool) -> String {
    if !has_colour {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        return text.trim_end().to_owned();
    }
    let runs = cells.chunk_by(|one, other| one.style() == other.style());
    let styled = runs.map(|run| {
        let text: String = run.iter().map(ratatui::buffer::Cell::symbol).collect();
        let style: ContentStyle = run
            .first()
            .map(ratatui::buffer::Cell::style)
            .unwrap_or_default()
            .into_crossterm();
        style.apply(text).to_string()
    });
    styled.collect::<String>().trim_end().to_owned()
}

/// Draws until a key ends it.
async fn live(collector: Collector, mut state: State) -> anyhow::Result<ExitCode> {
    let mut screenful = Screenful::take()?;
    let mut events = events();
    let (every, interval) = watch::channel(state.interval);
    let mut samples = sampled(collector, interval);
    let has_colour = may_colour();
    loop {
        let screen = Screen {
            state: &state,
            has_colour,
            has_keys: true,
        };
        screenful.0.draw(|frame| frame.render_widget(&screen, frame.area()))?;
        tokio::select! {
            event = events.recv() => match event.context("the terminal is closed")? {
                Ok(Event::Key(key)) if key.is_press() => match state.press(key) {
                    Action::Draw => {}
                    Action::Every(interval) => _ = every.send(interval),
                    Action::Quit => return Ok(ExitCode::SUCCESS),
                    Action::Interrupt => return Err(Interrupted("nothing was changed".to_owned()).into()),
                },
                // The next draw has the new size.
                Ok(_) => {}
                Err(error) => return Err(error).context("the terminal cannot be read"),
            },
            sample = samples.recv() => state.take(sample.ok_or_else(|| anyhow!("no more samples are taken"))??),
        }
    }
}

/// Samples, taken in the background so that keys are answered meanwhile. Ends when the receiver is dropped.
fn sampled(collector: Collector, mut interval: watch::Receiver<Duration>) -> mpsc::Receiver<anyhow::Result<Sample>> {
    let (sender, receiver) = mpsc::channel(1);
    let collector = Arc::new(collector);
    tokio::spawn(async move {
        loop {
            let sample = collector.sample().await;
            let has_failed = sample.is_err();
            if sender.send(sample).await.is_err() || has_failed {
                return;
            }
            let every = *interval.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                // A new interval begins with a sample.
                changed = interval.changed() => if changed.is_err() { return },
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use ratatui::style::{Color, Style};

    use super::*;

    #[test]
    fn text_has_styles_only_if_colour_may_be_used() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
        buffer.set_string(0, 0, "ab", Style::new().fg(Color::Red));
        buffer.set_string(2, 0, "cd", Style::new());
        assert_eq!(line(&buffer.content, false), "abcd");
        let styled = line(&buffer.content, true);
        assert!(styled.contains("\u{1b}[") && styled.contains("ab"), "{styled:?}");
    }

    #[test]
    fn an_interval_is_a_length_of_time_and_not_too_short() {
        for text in ["5s", "5"] {
            assert_eq!(interval(text), Ok(Duration::from_secs(5)));
        }
        for text in ["100ms", "0", "0s"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
