//! The examples of the help texts.
//!
//! Role: for two tests. One parses each example (`tests/commands/examples.rs`), the other one runs each on the data of a demo (`e2e`).
//! Invariants: an example is a line of a help text that begins with two blanks and runs `dp`. It may pipe into another program, chain
//! commands, and end with a comment, which two blanks precede.

use clap::{Command, CommandFactory as _};

use crate::cli::Cli;

/// A line of a help text that runs `dp`.
#[derive(Debug, Clone)]
pub struct Example {
    /// The command whose help shows it, such as `dp dlq list`.
    pub of: String,
    /// The line without its comment.
    pub line: String,
    /// The words of each `dp` of the line.
    pub commands: Vec<Vec<String>>,
}

/// The examples of every command, in the order of `dp --help`.
pub fn all() -> Vec<Example> {
    let mut found = Vec::new();
    collect(&Cli::command(), "dp", &mut found);
    found
}

fn collect(command: &Command, path: &str, found: &mut Vec<Example>) {
    let texts = [
        command.get_long_about(),
        command.get_after_help(),
        command.get_after_long_help(),
    ];
    for text in texts.into_iter().flatten() {
        found.extend(of_text(path, &text.to_string()));
    }
    for sub in command.get_subcommands() {
        collect(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

/// The examples of a help text of this command.
pub fn of_text(of: &str, help: &str) -> Vec<Example> {
    let lines = help.lines().filter(|line| line.starts_with("  "));
    lines.filter_map(|line| example(of, line)).collect()
}

fn example(of: &str, line: &str) -> Option<Example> {
    let line = line.split_once("  #").map_or(line, |(before, _)| before).trim();
    let runs_dp = |words: &Vec<String>| words.first().is_some_and(|word| word == "dp");
    let commands: Vec<Vec<String>> = commands_of(line).into_iter().filter(runs_dp).collect();
    (!commands.is_empty()).then(|| Example {
        of: of.to_owned(),
        line: line.to_owned(),
        commands,
    })
}

/// Splits as a shell does, as far as the examples need it.
fn commands_of(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words) = (Vec::new(), Vec::new());
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '|' | ';' | '&' | '<' | '>' | '(' | ')') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    commands.push(words);
    commands
}
