#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ops::alerts::State as AlertState;
use ops::health::State as Health;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

fn figures() -> Figures {
    let process = |name: &str, kind: &'static str, rate: Option<f64>| Process {
        name: name.to_owned(),
        kind,
        state: if kind == "server" { Health::Up } else { Health::Healthy },
        reason: None,
        messages_per_second: rate,
        errors_per_second: rate.map(|_| 0.0),
        dead_letters_per_second: rate.map(|_| 0.0),
        cpu_percent: Some(12.4),
        memory_bytes: Some(64 << 20),
        uptime_seconds: Some(600),
    };
    let services = ["normalization", "enrichment", "aggregation", "projection"];
    let servers = ["kafka", "clickhouse", "postgres", "redis"];
    let mut processes: Vec<Process> = services
        .iter()
        .map(|name| process(name, "service", Some(1_234.0)))
        .collect();
    processes.extend(servers.iter().map(|name| process(name, "server", None)));
    let group = |group: &str, topic: &str, stage: Option<&str>, lag| Group {
        group: group.to_owned(),
        topic: topic.to_owned(),
        stage: stage.map(str::to_owned),
        lag,
        in_per_second: Some(1_000.0),
        out_per_second: Some(990.0),
    };
    let hop = |stage: &str| Hop {
        stage: stage.to_owned(),
        p50_seconds: Some(0.012),
        p99_seconds: Some(0.25),
        per_second: Some(1_000.0),
    };
    let (normalized, enriched) = ("normalized.market.ticks.v1", "enriched.market.ticks.v1");
    Figures {
        time: "2026-10-01T12:34:56Z".parse().unwrap(),
        seconds: Some(10.0),
        processes,
        hops: vec![hop("normalization"), hop("latest_price")],
        groups: vec![
            group(
                "normalization-local",
                "ingestion.market.raw.v1",
                Some("normalization"),
                7,
            ),
            group(
                "normalization-local-clickhouse",
                normalized,
                Some("clickhouse_market_ticks"),
                5_000,
            ),
            group("enrichment-local", normalized, Some("enrichment"), 0),
            group("enrichment-local-clickhouse", enriched, None, 0),
            group("aggregation-local", enriched, None, 0),
            group("aggregation-local-clickhouse", "aggregation.bars.v1", None, 0),
            group("aggregation-local-clickhouse", "aggregation.late.v1", None, 0),
            group("aggregation-local-restate", "aggregation.late.v1", None, 0),
            group("projection-local", enriched, Some("latest_price"), 0),
        ],
        lag_unknown: None,
        alerts: Alerts::NotConfigured,
    }
}

fn state(figures: Option<Figures>) -> State {
    let mut state = State::new(
        "local, Kafka at 127.0.0.1:9092".to_owned(),
        Sort::Flow,
        Duration::from_secs(2),
    );
    state.figures = figures;
    state
}

fn drawn(state: &State, has_colour: bool, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let screen = Screen {
        state,
        has_colour,
        has_keys: true,
    };
    terminal
        .draw(|frame| frame.render_widget(&screen, frame.area()))
        .unwrap();
    terminal.backend().buffer().clone()
}

fn lines(state: &State, width: u16, height: u16) -> Vec<String> {
    let buffer = drawn(state, true, width, height);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

/// Three more groups; the second one has this lag.
fn with_idle_groups(lag: i64) -> State {
    let mut figures = figures();
    for (place, lag) in [(2, 0), (4, lag), (6, 0)] {
        let idle = Group {
            group: format!("idle-{place}"),
            topic: "aggregation.derived.v1".to_owned(),
            stage: None,
            lag,
            in_per_second: Some(0.0),
            out_per_second: Some(0.0),
        };
        figures.groups.insert(place, idle);
    }
    state(Some(figures))
}

#[test]
fn groups_with_nothing_to_do_leave_their_rows_to_others() {
    let text = lines(&with_idle_groups(0), 80, 23).join("\n");
    assert!(
        text.contains("projection-local") && text.contains("group (+3 more)"),
        "{text}"
    );
    // With room for one of them, the first one stays.
    let text = lines(&with_idle_groups(0), 80, 24).join("\n");
    assert!(text.contains("idle-2") && text.contains("group (+2 more)"), "{text}");
    // One that is behind has something to do.
    let text = lines(&with_idle_groups(1), 80, 24).join("\n");
    assert!(text.contains("idle-4") && !text.contains("idle-2"), "{text}");
}

#[test]
fn everything_fits_80_by_24() {
    let lines = lines(&state(Some(figures())), 80, 24);
    let text = lines.join("\n");
    assert!(
        lines[0].starts_with("dp top  local") && lines[0].ends_with("12:34:56 UTC"),
        "{text}"
    );
    assert!(lines[1].starts_with("process") && lines[1].ends_with("up"), "{text}");
    let normalization: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(
        normalization,
        [
            "normalization",
            "healthy",
            "1,234",
            "0",
            "0",
            "12",
            "64",
            "MB",
            "10",
            "min"
        ]
    );
    assert!(lines[9].starts_with("redis"), "{text}");
    assert!(lines[10].starts_with("group"), "{text}");
    let writer: Vec<&str> = lines[12].split_whitespace().collect();
    assert_eq!(
        writer,
        [
            "normalization-local-clickhouse",
            "normalized",
            "1,000",
            "990",
            "5,000",
            "-",
            "-"
        ]
    );
    let last: Vec<&str> = lines[19].split_whitespace().collect();
    assert_eq!(
        last,
        [
            "projection-local",
            "enriched",
            "1,000",
            "990",
            "0",
            "12",
            "ms",
            "250",
            "ms"
        ]
    );
    assert!(lines[20].starts_with("alerts"), "{text}");
    assert!(
        lines[21].contains("not configured: DATA_PROC_ALERTMANAGER_URL"),
        "{text}"
    );
    assert!(lines[23].starts_with("q quit"), "{text}");
    assert!(!text.contains("more)"), "{text}");
}

#[test]
fn a_wide_terminal_has_whole_names_of_topics_and_lines_between_the_tables() {
    let lines = lines(&state(Some(figures())), 120, 40);
    let text = lines.join("\n");
    assert!(text.contains("normalized.market.ticks.v1"), "{text}");
    assert_eq!(lines[10], "", "{text}");
    assert!(lines[39].starts_with("q quit"), "{text}");
}

#[test]
fn a_tiny_terminal_says_what_it_needs() {
    for (width, height) in [(40, 10), (200, 15), (75, 50)] {
        let text = lines(&state(Some(figures())), width, height).join(" ");
        assert!(text.contains("is too small"), "{text}");
    }
    // Must not fail, whatever the size.
    for size in [(0, 0), (1, 1), (3, 200)] {
        drawn(&state(Some(figures())), true, size.0, size.1);
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut figures = figures();
    let replica = figures.processes[0].clone();
    figures.processes.extend(vec![replica; 20]);
    let lines = lines(&state(Some(figures)), 80, 24);
    let text = lines.join("\n");
    assert!(lines[1].starts_with("process (+19 more)"), "{text}");
    // Every group is shown.
    assert!(lines.iter().any(|line| line.starts_with("projection-local")), "{text}");
}

#[test]
fn problems_and_alerts_are_listed_with_their_severity_and_age() {
    let mut figures = figures();
    figures.processes[3].state = Health::Down;
    figures.processes[3].reason = Some("no answer\u{1b}[2J within 3 s".to_owned());
    figures.processes[3].messages_per_second = None;
    figures.groups.clear();
    figures.lag_unknown = Some("Kafka has not answered within 5 s".to_owned());
    figures.alerts = Alerts::Found(vec![ops::alerts::Alert {
        id: "1".to_owned(),
        name: "RedisDown".to_owned(),
        severity: "critical".to_owned(),
        state: AlertState::Firing,
        since: "2026-10-01T12:24:56Z".parse().unwrap(),
        summary: "Redis does not answer.".to_owned(),
        runbook: String::new(),
        labels: Default::default(),
        silences: Vec::new(),
    }]);
    let text = lines(&state(Some(figures)), 80, 24).join("\n");
    for expected in [
        "down      projection: no answer\\u{1b}[2J within 3 s",
        "lag       Kafka has not answered within 5 s",
        "critical  RedisDown 10 min: Redis does not answer.",
        "alerts: 1",
        // Without groups, the latency of each stage is still known.
        "latest_price",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let projection = text.lines().find(|line| line.starts_with("projection")).unwrap();
    let cells: Vec<&str> = projection.split_whitespace().collect();
    assert_eq!(cells[..3], ["projection", "down", "-"]);
}

#[test]
fn rows_are_sorted_by_lag_or_memory() {
    let mut figures = figures();
    figures.processes[5].memory_bytes = Some(3 << 30);
    let mut state = state(Some(figures));
    state.sort = Sort::Lag;
    let sorted = lines(&state, 80, 24);
    assert!(sorted[11].starts_with("normalization-local-clickhouse"), "{sorted:#?}");
    assert!(sorted[2].starts_with("normalization "), "{sorted:#?}");
    state.sort = Sort::Memory;
    let sorted = lines(&state, 80, 24);
    assert!(
        sorted[2].starts_with("clickhouse") && sorted[2].contains("3,072 MB"),
        "{sorted:#?}"
    );
    assert!(sorted[3].starts_with("normalization "), "{sorted:#?}");
}

#[test]
fn without_colour_only_words_and_weights_remain() {
    let state = state(Some(figures()));
    let coloured = |buffer: &Buffer| {
        buffer
            .content
            .iter()
            .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    let (with, without) = (drawn(&state, true, 80, 24), drawn(&state, false, 80, 24));
    assert!(coloured(&with) && !coloured(&without));
    let text = |buffer: &Buffer| {
        buffer
            .content
            .iter()
            .map(|cell| cell.symbol().to_owned())
            .collect::<String>()
    };
    assert_eq!(text(&with), text(&without));
}

#[test]
fn before_the_first_sample_and_in_the_help_there_is_no_table() {
    let mut state = state(None);
    assert!(lines(&state, 80, 24)[1].starts_with("asking services"));
    state.shows_help = true;
    state.is_paused = true;
    let text = lines(&state, 80, 24).join("\n");
    assert!(
        text.contains("p, space         pause") && text.contains("PAUSED"),
        "{text}"
    );
    assert!(HELP.iter().all(|line| line.chars().count() <= 80));
}

#[test]
fn the_height_shows_everything() {
    let figures = figures();
    let height = height(&figures);
    let screen = Screen {
        state: &state(Some(figures)),
        has_colour: false,
        has_keys: false,
    };
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, height));
    screen.render(buffer.area, &mut buffer);
    let last: String = (0..80).map(|x| buffer[(x, height - 1)].symbol()).collect();
    assert!(last.contains("not configured"), "{last}");
}
