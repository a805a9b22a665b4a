//! Commands in messages, with the options that select the stack in use: a shown command then works as it is typed.

use std::sync::OnceLock;

use crate::place::Place;

/// `--dir` and `--port-offset` of this run, as they were given.
static OPTIONS: OnceLock<String> = OnceLock::new();

/// Starts Prometheus and Alertmanager for a stack; a program of the repository, and not of `dp`.
const MONITOR: &str = "make monitor";

/// Remembers the stack of this run; called once, before the command runs.
pub fn remember(place: &Place) {
    // A second call would come from a test.
    _ = OPTIONS.set(options(place));
}

/// The text, in which commands in backticks name the stack of this run. What is localized already stays as it is.
pub fn localized(text: &str) -> String {
    by_line(text, OPTIONS.get().map_or("", String::as_str))
}

fn by_line(text: &str, options: &str) -> String {
    // Line by line: a backtick in a line of data says nothing about the next line, nor does a command that was wrapped.
    let lines = text.split('\n').map(|line| match line.matches('`').count() % 2 {
        0 => in_backticks(line, options),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// One command line that names the stack of this run.
pub fn command(line: &str) -> String {
    with_options(line, OPTIONS.get().map_or("", String::as_str))
}

fn options(place: &Place) -> String {
    let dir = place
        .dir
        .as_ref()
        .map(|dir| format!("--dir {}", quoted(&dir.display().to_string())));
    let offset = (place.port_offset != 0).then(|| format!("--port-offset {}", place.port_offset));
    dir.into_iter().chain(offset).collect::<Vec<_>>().join(" ")
}

/// As a shell reads it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn in_backticks(text: &str, options: &str) -> String {
    let parts = text.split('`').enumerate();
    let shown = parts.map(|(index, part)| match index % 2 {
        1 => with_options(part, options),
        _ => part.to_owned(),
    });
    shown.collect::<Vec<_>>().join("`")
}

/// Inserts the options after each `dp` that begins a command, and as arguments of `make monitor`. A line that names a folder itself is
/// left alone, and one that names other ports gets no more than the folder.
fn with_options(line: &str, options: &str) -> String {
    let options = match line.contains("--port-offset") {
        true => options
            .rsplit_once(" --port-offset")
            .map_or(options, |(folder, _)| folder),
        false => options,
    };
    let has_options = line.contains("--dir") || (line.contains("--port-offset") && !options.starts_with("--dir"));
    if options.is_empty() || has_options {
        return line.to_owned();
    }
    if line == MONITOR {
        return format!("{MONITOR} ARGS=\"{options}\"");
    }
    let (mut words, mut begins) = (Vec::new(), true);
    for word in line.split(' ') {
        words.push(word.to_owned());
        if begins && word == "dp" {
            words.push(options.to_owned());
        }
        let name = word.split_once('=').map_or("", |(name, _)| name);
        let assigns = begins && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        begins = assigns || matches!(word, "&&" | "|" | ";");
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_backticks_name_the_stack() {
        let place = Place {
            port_offset: 5000,
            dir: Some("/tmp/my stack".into()),
        };
        let options = options(&place);
        assert_eq!(options, "--dir '/tmp/my stack' --port-offset 5000");
        for (text, expected) in [
            ("run `dp start x`, or dp stop", "run `dp O start x`, or dp stop"),
            (
                "`DATA_PROC_GENERATION=g2 dp topics create && DATA_PROC_GENERATION=g2 dp restart`",
                "`DATA_PROC_GENERATION=g2 dp O topics create && DATA_PROC_GENERATION=g2 dp O restart`",
            ),
            ("`dp down --dir /x`", "`dp down --dir /x`"),
            ("`kubectl scale dp`, `dpx`, `dp`", "`kubectl scale dp`, `dpx`, `dp O`"),
        ] {
            assert_eq!(in_backticks(text, "O"), expected);
            assert_eq!(in_backticks(text, ""), text);
        }
    }

    #[test]
    fn a_command_with_other_ports_keeps_the_folder_and_monitoring_gets_both() {
        let both = "--dir /x --port-offset 5000";
        for (text, options, expected) in [
            (
                "`dp up --port-offset 1000`",
                both,
                "`dp --dir /x up --port-offset 1000`",
            ),
            (
                "`dp up --port-offset 1000`",
                "--dir /x",
                "`dp --dir /x up --port-offset 1000`",
            ),
            (
                "`dp up --port-offset 1000`",
                "--port-offset 5000",
                "`dp up --port-offset 1000`",
            ),
            (
                "`make monitor` starts it",
                both,
                "`make monitor ARGS=\"--dir /x --port-offset 5000\"` starts it",
            ),
        ] {
            let once = in_backticks(text, options);
            assert_eq!(once, expected);
            assert_eq!(in_backticks(&once, options), once);
        }
    }

    #[test]
    fn a_text_is_localized_once_and_data_with_a_backtick_hides_no_command() {
        let text = "a ` of a producer\nsee `dp verify`\nbegins `dp\ntail raw` ends";
        let once = by_line(text, "--port-offset 7");
        assert_eq!(
            once,
            "a ` of a producer\nsee `dp --port-offset 7 verify`\nbegins `dp\ntail raw` ends"
        );
        assert_eq!(by_line(&once, "--port-offset 7"), once);
    }

    #[test]
    fn without_options_nothing_is_added() {
        assert_eq!(options(&Place::default()), "");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
