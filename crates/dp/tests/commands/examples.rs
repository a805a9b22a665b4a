//! Every example of a help text is a command line that `dp` accepts: its options exist, its values are valid, and what is required is
//! there. Nothing is run; `tests/tests/examples` runs them.

use clap::{Command, CommandFactory, Parser};
use dp::cli::Cli;
use dp::examples::{self, of_text};

#[test]
fn every_example_of_a_help_text_is_a_valid_command_line() {
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for example in examples::all() {
        for words in &example.commands {
            tried += 1;
            if let Err(error) = Cli::try_parse_from(words) {
                wrong.push(format!("{}: {}: {error}", example.of, words.join(" ")));
            }
        }
    }
    assert!(tried > 150, "only {tried} examples were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_example_is_split_as_a_shell_does() {
    let split = |line: &str| {
        let found = of_text("dp", &format!("Examples:\n  {line}")).into_iter();
        found.flat_map(|example| example.commands).collect::<Vec<_>>()
    };
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        split("dp sql \"SELECT 'a | b'\" --json | jq '.[] | select(.x)'   # then: dp verify"),
        [words(&["dp", "sql", "SELECT 'a | b'", "--json"])]
    );
    assert_eq!(
        split("dp kafka lag --over 1 || dp doctor"),
        [words(&["dp", "kafka", "lag", "--over", "1"]), words(&["dp", "doctor"])]
    );
    assert_eq!(
        split("curl localhost | dp logs analyze --file -"),
        [words(&["dp", "logs", "analyze", "--file", "-"])]
    );
    assert!(Cli::try_parse_from(["dp", "dlq", "show"]).is_err());
}

/// Each command that can be run, with its path.
fn runnable<'c>(command: &'c Command, path: &str, found: &mut Vec<(String, &'c Command)>) {
    let subs: Vec<&Command> = command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
        .collect();
    if subs.is_empty() {
        found.push((path.to_owned(), command));
    }
    for sub in subs {
        runnable(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

#[test]
fn each_command_says_what_it_does_and_shows_an_example_of_itself() {
    let (root, mut found, mut lacking) = (Cli::command(), Vec::new(), Vec::new());
    runnable(&root, "dp", &mut found);
    assert!(found.len() > 100, "only {} commands", found.len());
    for (path, command) in &found {
        let name: Vec<&str> = path.split(' ').collect();
        let is_of_it = |words: &Vec<String>| words.iter().take(name.len()).eq(&name);
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if command.get_about().is_none() {
            lacking.push(format!("{path}: what it does"));
        }
        let shown = of_text(path, &after);
        if !shown.iter().flat_map(|example| &example.commands).any(is_of_it) {
            lacking.push(format!("{path}: an example"));
        }
    }
    assert!(lacking.is_empty(), "{} lacking:\n{}", lacking.len(), lacking.join("\n"));
}
