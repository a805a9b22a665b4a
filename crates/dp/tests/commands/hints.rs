//! Every command that a help text, a message or a page shows must exist.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use dp::cli::Cli;

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                files(&path, found);
            }
        } else if path.extension().is_some_and(|end| end == "rs" || end == "md") && name != "hints.rs" {
            found.push(path);
        }
    }
}

/// The text after `dp ` where it is shown as a command: in backticks, or at the beginning of a line of an example.
fn mentions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices("dp ") {
            let (before, after) = line.split_at(at);
            let after = after.trim_start_matches("dp ");
            let in_backticks = before.ends_with('`');
            let begins = before.ends_with("  ") || before.trim_start_matches(['"', '/', '!', ' ']).is_empty();
            if in_backticks || begins {
                let end = if in_backticks {
                    after.find('`')
                } else {
                    after.find("  ")
                };
                found.push(after.get(..end.unwrap_or(after.len())).unwrap_or(after).to_owned());
            }
        }
    }
    found
}

/// Why the command is invalid.
fn refused(mention: &str, root: &Command) -> Option<String> {
    let mut command = root;
    let mut words = mention
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '|' | ',' | ';' | '(' | ')' | '\\'))
        .filter(|word| !word.is_empty())
        .peekable();
    // Prose and placeholders such as "dp …" are recognized by words that cannot be a command.
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if !words
        .peek()
        .is_some_and(|word| is_word(word.trim_end_matches(['.', ':'])))
    {
        return None;
    }
    for word in words {
        let word = word.trim_end_matches(['.', ':']);
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split('=').next().unwrap_or(option);
            let known = |command: &Command| {
                command
                    .get_arguments()
                    .any(|argument| argument.get_long() == Some(name))
            };
            if is_word(name) && name != "help" && name != "version" && !known(command) && !known(root) {
                return Some(format!("`{}` has no option --{name}", command.get_name()));
            }
        } else if command.has_subcommands() && is_word(word) && !word.starts_with('-') {
            match command.find_subcommand(word) {
                Some(next) => command = next,
                // `dp logs NAME` beside `dp logs stats`.
                None if command.get_name() == "help" || command.get_positionals().next().is_some() => return None,
                None => return Some(format!("`{}` has no command {word}", command.get_name())),
            }
        }
    }
    None
}

#[test]
fn every_command_that_is_shown_exists_with_its_options() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let mut cli = Cli::command();
    cli.build();
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for path in paths {
        for mention in mentions(&fs::read_to_string(&path).unwrap()) {
            looked_at += 1;
            if let Some(why) = refused(&mention, &cli) {
                wrong.push(format!(
                    "{}: dp {mention}: {why}",
                    path.strip_prefix(&root).unwrap_or(&path).display()
                ));
            }
        }
    }
    assert!(looked_at > 100, "only {looked_at} mentions were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_hint_to_a_missing_command_is_found() {
    let mut cli = Cli::command();
    cli.build();
    for (text, is_wrong) in [
        ("see `dp config env`", false),
        ("see `dp config network`", true),
        ("`dp tail dlq --limit 1`", false),
        ("`dp tail dlq --limits 1`", true),
        ("  dp repeat 5", true),
        ("`dp reads`", true),
        ("`dp …`", false),
    ] {
        let wrong = mentions(text).iter().any(|mention| refused(mention, &cli).is_some());
        assert_eq!(wrong, is_wrong, "{text}");
    }
}
