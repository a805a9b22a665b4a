//! The rules of log lines: the message in lower case and without a final period, values as fields, the cause in `error`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MACROS: [&str; 4] = ["tracing::info!(", "tracing::warn!(", "tracing::error!(", "fatal!("];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "tests" && name != "target" {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The arguments of each macro call, up to the closing parenthesis.
fn calls(source: &str) -> Vec<&str> {
    let begins = MACROS.iter().flat_map(|name| source.match_indices(name));
    begins
        .filter_map(|(at, name)| {
            let arguments = source.get(at + name.len()..)?;
            let (mut depth, mut in_text, mut escaped) = (1, false, false);
            let end = arguments.char_indices().find_map(|(index, letter)| {
                match letter {
                    '"' if !escaped => in_text = !in_text,
                    '(' if !in_text => depth += 1,
                    ')' if !in_text => depth -= 1,
                    _ => {}
                }
                escaped = letter == '\\' && !escaped;
                (depth == 0).then_some(index)
            })?;
            arguments.get(..end)
        })
        .collect()
}

/// The rule that a log line breaks.
fn wrong(call: &str) -> Option<&'static str> {
    let message = call
        .trim_end()
        .trim_end_matches(',')
        .trim_end()
        .strip_suffix('"')?
        .rsplit('"')
        .next()?;
    let first_word = message.split_whitespace().next()?;
    let is_name = first_word
        .chars()
        .skip(1)
        .any(|letter| letter.is_uppercase() || letter == '_');
    if first_word.starts_with(char::is_uppercase) && !is_name {
        return Some("the message begins with a capital letter");
    }
    if message.ends_with('.') {
        return Some("the message ends with a period");
    }
    if message.contains('{') {
        return Some("the message contains a value: make it a field");
    }
    let names_it_otherwise = |part: &str| {
        ["err =", "e =", "cause ="]
            .iter()
            .any(|name| part.trim().starts_with(name))
    };
    call.split(',')
        .any(names_it_otherwise)
        .then_some("the field with the cause must be named error")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The source files of the services.
fn all_sources() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for part in [
        "crates/service/src",
        "crates/stream/src",
        "crates/stores/src",
        "services",
    ] {
        sources(&root().join(part), &mut paths);
    }
    paths
}

/// The texts between each `before` and the next `after`.
fn between<'s>(text: &'s str, before: &str, after: char) -> BTreeSet<&'s str> {
    let begins = text.match_indices(before);
    begins
        .filter_map(|(at, _)| text.get(at + before.len()..)?.split(after).next())
        .collect()
}

#[test]
fn the_page_of_events_has_each_event_of_the_code_and_no_other() {
    let page = fs::read_to_string(root().join("docs/log-events.md")).unwrap();
    let first_cells = page.lines().filter(|line| line.starts_with("| `"));
    let first_cells: Vec<&str> = first_cells.filter_map(|line| line.split('|').nth(1)).collect();
    let listed: BTreeSet<&str> = first_cells
        .iter()
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let mut found = BTreeSet::new();
    for path in all_sources() {
        let source = fs::read_to_string(path).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        found.extend(between(code, "event = \"", '"').into_iter().map(str::to_owned));
    }
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, listed);
}

#[test]
fn every_log_line_follows_the_rules() {
    let paths = all_sources();
    let (mut seen, mut broken) = (0, Vec::new());
    for path in paths {
        let source = fs::read_to_string(&path).unwrap();
        for call in calls(source.split("#[cfg(test)]").next().unwrap_or_default()) {
            seen += 1;
            broken.extend(wrong(call).map(|why| format!("{}: {why}: {call}", path.display())));
        }
    }
    assert!(seen > 40, "only {seen} log lines were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_rule_detects_its_violations() {
    for (source, is_wrong) in [
        (r#"tracing::warn!(error = %e, "write refused (again)")"#, false),
        (r#"tracing::warn!("SIGTERM received")"#, false),
        (r#"tracing::warn!("Write refused")"#, true),
        (r#"tracing::warn!("write refused.")"#, true),
        (r#"tracing::warn!("write of {rows} refused")"#, true),
        (r#"tracing::warn!(err = %e, "write refused")"#, true),
    ] {
        let found = calls(source);
        assert_eq!(found.len(), 1, "{source}");
        assert_eq!(found.iter().any(|call| wrong(call).is_some()), is_wrong, "{source}");
    }
}
