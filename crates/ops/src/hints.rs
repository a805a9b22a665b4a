//! Commands in messages, with the options that select the stack in use: a shown command then works as it is typed.

use std::sync::OnceLock;

use crate::place::Place;

/// `--dir` and `--port-offset` of this run, as they were given.
static OPTIONS: OnceLock<String> = OnceLock::new();

/// Remembers the stack of this run; called once, before the command runs.
pub fn remember(place: &Place) {
    // A second call would come from a test.
    _ = OPTIONS.set(options(place));
}

/// The text, in which commands in backticks name the stack of this run.
pub fn localized(text: &str) -> String {
    in_backticks(text, OPTIONS.get().map_or("", String::as_str))
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

/// Inserts the options after each `dp` that begins a command. A line that names a stack itself is left alone.
fn with_options(line: &str, options: &str) -> String {
    if options.is_empty() || line.contains("--dir") || line.contains("--port-offset") {
        return line.to_owned();
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
    fn without_options_nothing_is_added() {
        assert_eq!(options(&Place::default()), "");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
