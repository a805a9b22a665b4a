//! `dp top` as a program, without servers: what it needs of a terminal, and that the terminal is afterwards as it was.

use std::net::TcpListener;
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::terminal::InTerminal;

/// `dp` with these arguments, and addresses at which nothing answers.
fn dp(arguments: &[&str]) -> Command {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dp"));
    command.args(arguments).env_clear().envs([
        ("DATA_PROC_KAFKA_BOOTSTRAP", closed.to_string()),
        ("DATA_PROC_CLICKHOUSE_URL", format!("http://u:s3cret@{closed}")),
        ("DATA_PROC_POSTGRES_DSN", format!("postgresql://u:s3cret@{closed}/db")),
        ("DATA_PROC_REDIS_URL", format!("redis://:s3cret@{closed}/0")),
        (
            "DATA_PROC_SERVICE_URLS",
            format!("aggregation=http://u:s3cret@{closed}"),
        ),
        ("DATA_PROC_ALERTMANAGER_URL", format!("http://u:s3cret@{closed}")),
    ]);
    command
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let output = dp(&["top"]).output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("not a terminal") && told.contains("dp top --once"),
        "{told}"
    );
}

#[test]
fn each_part_without_an_answer_says_why_and_no_secret_is_shown() {
    let output = dp(&["top", "--once", "--every", "500ms", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    let processes = figures["processes"].as_array().unwrap();
    let names: Vec<&str> = processes
        .iter()
        .map(|process| process["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["aggregation", "kafka", "clickhouse", "postgres", "redis"]);
    for process in processes {
        assert_eq!(process["state"], "down");
        assert!(!process["reason"].as_str().unwrap().is_empty());
        assert_eq!(process["messages_per_second"], Value::Null);
    }
    assert!(!figures["lag_unknown"].as_str().unwrap().is_empty());
    let unknown = figures["alerts"]["unknown"].as_str().unwrap();
    assert!(unknown.contains("does not answer"), "{unknown}");

    let text = dp(&["top", "--once", "--every", "500ms"]).output().unwrap();
    let text = told(&text);
    assert!(
        text.contains("aggregation") && text.contains("no service and no server gave an answer"),
        "{text}"
    );
    for shown in [text, told(&output)] {
        assert!(!shown.contains("s3cret") && !shown.contains('\u{1b}'), "{shown}");
    }
}

#[test]
fn an_analysis_of_nothing_says_so_and_times_out_of_range_are_refused() {
    for (arguments, words) in [
        (["analyze", "--for", "1s"], "no service and no server gave an answer"),
        (["analyze", "--for", "11m"], "from 1s to 10m"),
    ] {
        let output = dp(&arguments).output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(words) && !told.contains("s3cret"), "{told}");
    }
}

#[test]
fn the_terminal_is_restored_however_it_ends() {
    let ctrl_c = "\u{3}";
    for (end, code) in [(Some("q"), 0), (Some(ctrl_c), 130), (None, 130)] {
        let mut top = InTerminal::start(dp(&["top", "--every", "1s"]), 80, 24).unwrap();
        top.wait_for("aggregation").unwrap();
        assert!(top.is_taken().unwrap());
        match end {
            Some(key) => top.press(key).unwrap(),
            None => kill(Pid::from_raw(top.pid() as i32), Signal::SIGTERM).unwrap(),
        }
        let (status, drawn) = top.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{end:?}: {drawn:?}");
        top.wait_restored().unwrap();
        if code != 0 {
            top.wait_for("interrupted").unwrap();
        }
    }
}

#[test]
fn a_small_terminal_says_what_it_needs_and_no_colour_is_used_without_it() {
    // Words only: a space that was there before is skipped.
    let mut small = InTerminal::start(dp(&["top"]), 40, 10).unwrap();
    small.wait_for("small:").unwrap();
    small.press("q").unwrap();
    assert_eq!(small.wait().unwrap().0.code(), Some(0));

    // Red, with or without a background in the same sequence.
    let colours = |drawn: &str| drawn.contains("\u{1b}[38;5;1");
    for (no_colour, expected) in [("", true), ("1", false)] {
        let mut command = dp(&["top", "--every", "1s"]);
        command.env("NO_COLOR", no_colour);
        let mut top = InTerminal::start(command, 80, 24).unwrap();
        top.wait_for("alerts").unwrap();
        assert_eq!(colours(&top.drawn()), expected, "{no_colour:?}: {:?}", top.drawn());
        top.press("?").unwrap();
        top.wait_for("Rates").unwrap();
        top.press("q").unwrap();
        assert_eq!(top.wait().unwrap().0.code(), Some(0));
        top.wait_restored().unwrap();
    }
}
