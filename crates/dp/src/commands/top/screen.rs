//! Draws `dp top` into a buffer. Pure.
//!
//! Invariant: colour only repeats what a word says, so that the screen works without it. What does not fit is counted.

use ops::hints::localized;
use ops::present::printable;
use ops::top::{Alerts, Figures, Group, Hop, Process};
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, Widget, Wrap};

use super::notices::{Notice, colour_of, notices};
use super::numbers::{UNKNOWN, age, count, latency, memory, percent, rate};
use super::state::{Sort, State};

/// The smallest terminal in which the tables can be read.
pub const SMALLEST: (u16, u16) = (76, 16);
/// From this width on, topics have their full names.
const WIDE: u16 = 110;
const KEYS: &str = "q quit  ? help  s sort  p pause  + - interval";

const HELP: [&str; 14] = [
    "q, Esc, Ctrl-C   quit",
    "?, h             this help",
    "s                sort: flow, lag, rate, cpu, memory",
    "p, space         pause: keep the figures as they are",
    "+, -             longer or shorter interval between samples",
    "",
    "Rates are those of the last ten seconds. A dash is a figure that is not known.",
    "msg/s    messages that a service has taken from the stage before it",
    "err/s    errors, dead letters included; dlq/s  dead letters",
    "CPU %    100 is one core; only for the local stack",
    "in, out  messages a second appended to the topic, and committed by the group",
    "lag      messages that the group has not committed",
    "p50, p99 time from the append of the raw message until this stage is done",
    "More: dp doctor, dp groups, dp health, dp alerts list",
];

/// Draws with or without colour.
pub struct Screen<'s> {
    /// What to draw.
    pub state: &'s State,
    /// Whether colour may be used.
    pub has_colour: bool,
    /// Whether keys can be pressed.
    pub has_keys: bool,
}

impl Widget for &Screen<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            return too_small(area, buffer);
        }
        let [title, body, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(u16::from(self.has_keys)),
        ])
        .areas(area);
        self.title(title, buffer);
        match &self.state.figures {
            _ if self.state.shows_help => Paragraph::new(HELP.map(Line::from).to_vec()).render(body, buffer),
            Some(figures) => self.body(figures, body, buffer),
            None => "asking services, servers and Kafka".render(body, buffer),
        }
        Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM)).render(keys, buffer);
    }
}

/// The height at which everything is shown.
pub fn height(figures: &Figures) -> u16 {
    let rows = [
        figures.processes.len(),
        stages(figures, Sort::Flow).len(),
        notices(figures).len(),
    ];
    // A heading of each table, the line between tables, and the title.
    let height = rows.iter().map(|rows| rows.max(&1) + 2).sum::<usize>();
    u16::try_from(height).unwrap_or(u16::MAX).max(SMALLEST.1)
}

fn too_small(area: Rect, buffer: &mut Buffer) {
    let text = format!(
        "{}x{} is too small: dp top needs {}x{}. q quits; dp top --once needs no terminal.",
        area.width, area.height, SMALLEST.0, SMALLEST.1
    );
    Paragraph::new(text).wrap(Wrap { trim: true }).render(area, buffer);
}

impl Screen<'_> {
    fn title(&self, area: Rect, buffer: &mut Buffer) {
        let state = self.state;
        let time = state
            .figures
            .as_ref()
            .map(|figures| figures.time.strftime("%H:%M:%S UTC").to_string());
        let mut right = vec![format!("sort: {}", state.sort.name())];
        if self.has_keys {
            right.push(format!("every {} s", state.interval.as_secs()));
        }
        if state.is_paused {
            right.push("PAUSED".to_owned());
        }
        right.extend(time);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        Line::styled(format!("dp top  {}", printable(&state.title)), bold).render(area, buffer);
        Line::styled(format!("  {}", right.join("  ")), bold)
            .alignment(Alignment::Right)
            .render(area, buffer);
    }

    fn body(&self, figures: &Figures, area: Rect, buffer: &mut Buffer) {
        let (mut stages, notices) = (stages(figures, self.state.sort), notices(figures));
        let wanted = [figures.processes.len(), stages.len(), notices.len()];
        let rows = shared(usize::from(area.height).saturating_sub(wanted.len()), wanted);
        let lines = rows.iter().map(|rows| rows + 1).sum::<usize>();
        // Empty lines between the tables, if there is room for both.
        let gap = u16::from(lines + 2 <= usize::from(area.height));
        let [one, two, three] = Layout::vertical(rows.map(|rows| Constraint::Length(rows as u16 + 1)))
            .spacing(gap)
            .areas(area);
        let processes = sorted_processes(figures, self.state.sort);
        self.processes(&processes, one, buffer);
        let left = leave_out_idle(&mut stages, rows[1]);
        self.stages(&stages, left, two, buffer);
        self.notices(figures, notices, three, buffer);
    }

    fn processes(&self, processes: &[&Process], area: Rect, buffer: &mut Buffer) {
        let (shown, left) = fitting(processes, area);
        let rows = shown.iter().map(|process| {
            let mut cells = vec![
                Cell::from(printable(&process.name)),
                Cell::from(process.state.name()).style(self.colour(colour_of(process.state))),
            ];
            cells.extend(right([
                rate(process.messages_per_second),
                rate(process.errors_per_second),
                rate(process.dead_letters_per_second),
                percent(process.cpu_percent),
                memory(process.memory_bytes),
                age(process.uptime_seconds),
            ]));
            Row::new(cells)
        });
        let widths = [Constraint::Min(16), Constraint::Length(9)]
            .into_iter()
            .chain([8, 7, 7, 6, 10, 7].map(Constraint::Length));
        let heading = heading(
            &counted("process", left),
            &["state"],
            &["msg/s", "err/s", "dlq/s", "CPU %", "memory", "up"],
        );
        Table::new(rows, widths).header(heading).render(area, buffer);
    }

    /// `idle` stages were left out.
    fn stages(&self, stages: &[Stage<'_>], idle: usize, area: Rect, buffer: &mut Buffer) {
        let (shown, left) = fitting(stages, area);
        let is_wide = area.width >= WIDE;
        let rows = shown.iter().map(|stage| {
            let topic = if is_wide {
                stage.topic.to_owned()
            } else {
                short(stage.topic)
            };
            let mut cells = vec![Cell::from(printable(stage.name)), Cell::from(printable(&topic))];
            cells.extend(right([
                rate(stage.group.and_then(|group| group.in_per_second)),
                rate(stage.group.and_then(|group| group.out_per_second)),
                count(stage.group.map(|group| group.lag)),
                latency(stage.hop.and_then(|hop| hop.p50_seconds)),
                latency(stage.hop.and_then(|hop| hop.p99_seconds)),
            ]));
            Row::new(cells)
        });
        let topic = if is_wide { 28 } else { 10 };
        let widths = [Constraint::Min(26), Constraint::Length(topic)]
            .into_iter()
            .chain([7, 7, 8, 6, 6].map(Constraint::Length));
        let heading = heading(
            &counted("group", left + idle),
            &["reads"],
            &["in/s", "out/s", "lag", "p50", "p99"],
        );
        Table::new(rows, widths).header(heading).render(area, buffer);
    }

    fn notices(&self, figures: &Figures, notices: Vec<Notice>, area: Rect, buffer: &mut Buffer) {
        let (shown, left) = fitting(&notices, area);
        let rows = shown.iter().map(|notice| {
            Row::new([
                Cell::from(notice.kind.clone()).style(self.colour(notice.colour)),
                Cell::from(printable(&localized(&notice.text))),
            ])
        });
        let title = match &figures.alerts {
            Alerts::Found(alerts) => format!("alerts: {}", alerts.len()),
            Alerts::NotConfigured | Alerts::Unknown(_) => "alerts".to_owned(),
        };
        let title = Line::styled(counted(&title, left), heading_style());
        title.render(area, buffer);
        let rest = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        };
        Table::new(rows, [Constraint::Length(9), Constraint::Min(0)]).render(rest, buffer);
    }

    fn colour(&self, colour: Option<Color>) -> Style {
        match colour.filter(|_| self.has_colour) {
            Some(colour) => Style::new().fg(colour),
            None => Style::new(),
        }
    }
}

/// A row of the table of groups. If the lag is not known, each stage with a latency is one.
struct Stage<'f> {
    name: &'f str,
    topic: &'f str,
    group: Option<&'f Group>,
    hop: Option<&'f Hop>,
}

fn stages(figures: &Figures, sort: Sort) -> Vec<Stage<'_>> {
    let hop_of = |group: &Group| figures.hops.iter().find(|hop| Some(&hop.stage) == group.stage.as_ref());
    if figures.groups.is_empty() {
        let of_hop = figures.hops.iter().map(|hop| Stage {
            name: &hop.stage,
            topic: UNKNOWN,
            group: None,
            hop: Some(hop),
        });
        return of_hop.collect();
    }
    let of_group = figures.groups.iter().map(|group| Stage {
        name: &group.group,
        topic: &group.topic,
        group: Some(group),
        hop: hop_of(group),
    });
    let mut stages: Vec<Stage<'_>> = of_group.collect();
    let number = |stage: &Stage<'_>| match (sort, stage.group) {
        (Sort::Lag, Some(group)) => group.lag as f64,
        (Sort::Rate, Some(group)) => group.out_per_second.unwrap_or(-1.0),
        _ => 0.0,
    };
    stages.sort_by(|one, other| number(other).total_cmp(&number(one)));
    stages
}

/// Takes stages with nothing to do out, the last first, until `rows` are left or the others all have work. Returns
/// their number.
fn leave_out_idle(stages: &mut Vec<Stage<'_>>, rows: usize) -> usize {
    let has_rate = |rate: Option<f64>| rate.is_some_and(|rate| rate > 0.0);
    let is_idle = |stage: &Stage<'_>| {
        stage
            .group
            .is_some_and(|group| group.lag == 0 && !has_rate(group.in_per_second) && !has_rate(group.out_per_second))
    };
    let all = stages.len();
    while stages.len() > rows {
        let Some(last) = stages.iter().rposition(is_idle) else {
            break;
        };
        stages.remove(last);
    }
    all - stages.len()
}

fn sorted_processes(figures: &Figures, sort: Sort) -> Vec<&Process> {
    let mut processes: Vec<&Process> = figures.processes.iter().collect();
    let number = |process: &Process| match sort {
        Sort::Rate => process.messages_per_second.unwrap_or(-1.0),
        Sort::Cpu => process.cpu_percent.unwrap_or(-1.0),
        Sort::Memory => process.memory_bytes.map_or(-1.0, |bytes| bytes as f64),
        Sort::Flow | Sort::Lag => 0.0,
    };
    // Stable: equal ones stay in the order of the pipeline.
    processes.sort_by(|one, other| number(other).total_cmp(&number(one)));
    processes
}

/// Rows of three tables that share this height. The first two may take what the last one leaves, but not its first two rows.
fn shared(height: usize, wanted: [usize; 3]) -> [usize; 3] {
    let [processes, stages, notices] = wanted;
    let last = notices
        .min(2)
        .max(height.saturating_sub(processes + stages))
        .min(notices.max(1));
    let rest = height.saturating_sub(last);
    let one = processes.min(rest.saturating_sub(stages).max(rest / 2));
    [one, stages.min(rest - one), last]
}

/// The rows below the heading that fit, and the number of others.
fn fitting<T>(rows: &[T], area: Rect) -> (&[T], usize) {
    let fits = usize::from(area.height.saturating_sub(1)).min(rows.len());
    (rows.get(..fits).unwrap_or(rows), rows.len() - fits)
}

/// The title of a table, with the number of rows that are not shown.
fn counted(title: &str, left: usize) -> String {
    match left {
        0 => title.to_owned(),
        left => format!("{title} (+{left} more)"),
    }
}

fn heading<'a>(title: &str, left: &[&'a str], numbers: &[&'a str]) -> Row<'a> {
    let mut cells = vec![Cell::from(title.to_owned())];
    cells.extend(left.iter().map(|title| Cell::from(*title)));
    cells.extend(right(numbers.iter().map(|title| (*title).to_owned())));
    Row::new(cells).style(heading_style())
}

fn heading_style() -> Style {
    Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)
}

fn right<'a>(texts: impl IntoIterator<Item = String>) -> Vec<Cell<'a>> {
    let cell = |text: String| Cell::from(Line::from(text).alignment(Alignment::Right));
    texts.into_iter().map(cell).collect()
}

/// The part of a topic's name by which commands call it.
fn short(topic: &str) -> String {
    const NAMES: [&str; 8] = [
        "raw",
        "normalized",
        "enriched",
        "bars",
        "late",
        "legs",
        "derived",
        "curves",
    ];
    let mut parts = topic.split(['.', '-']);
    parts.find(|part| NAMES.contains(part)).unwrap_or(topic).to_owned()
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
