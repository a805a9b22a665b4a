//! Every example of a help text is a command line that `dp` accepts: its options exist, its values are valid, and what is required is
//! there. Nothing is run.

use clap::{Command, CommandFactory, Parser};
use dp::cli::Cli;

/// The commands of the examples: a line may pipe into another program, chain commands, and end with a comment.
fn examples(help: &str) -> Vec<Vec<String>> {
    let lines = help.lines().filter(|line| line.starts_with("  "));
    lines
        .flat_map(commands_of)
        .filter(|words| words.first().is_some_and(|word| word == "dp"))
        .collect()
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
            (None, '#') if word.is_none() => break,
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

/// Each command with its help texts.
fn helps(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
    let texts = [
        command.get_long_about(),
        command.get_after_help(),
        command.get_after_long_help(),
    ];
    let text: Vec<String> = texts.into_iter().flatten().map(ToString::to_string).collect();
    found.push((path.to_owned(), text.join("\n")));
    for sub in command.get_subcommands() {
        helps(sub, &format!("{path} {}", sub.get_name()), found);
    }
}

#[test]
fn every_example_of_a_help_text_is_a_valid_command_line() {
    let (mut found, mut wrong, mut tried) = (Vec::new(), Vec::new(), 0);
    helps(&Cli::command(), "dp", &mut found);
    for (path, help) in &found {
        for words in examples(help) {
            tried += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                wrong.push(format!("{path}: {}: {error}", words.join(" ")));
            }
        }
    }
    assert!(tried > 150, "only {tried} examples were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_example_is_split_as_a_shell_does() {
    let split = |line: &str| examples(&format!("Examples:\n  {line}"));
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
        if !examples(&after).iter().any(is_of_it) {
            lacking.push(format!("{path}: an example"));
        }
    }
    assert!(lacking.is_empty(), "{} lacking:\n{}", lacking.len(), lacking.join("\n"));
}
