//! `dp config env`: every environment variable of the services and `dp`, with its value in effect.

use std::process::ExitCode;

use serde::Serialize;
use service::Env;
use service::run::Definition;
use service::settings::{Unknown, Variable, declare};

use super::present::{print_json, print_line};
use crate::cli::Place;
use crate::connection::effective_env;

/// Show the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp config env\n  dp config env --set\n  \
    dp config env --json | jq -r '.[] | select(.is_set) | .name'")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every environment variable: meaning, default and value in effect (secrets masked)
    ///
    /// The values come from this shell and the local stack, as a service started by `dp start` would see them. Exit code 1 if
    /// a service would refuse to start with them; the reasons are on stderr. Use it to check a configuration before a restart.
    #[command(after_help = "Examples:\n  dp config env\n  dp config env --set")]
    Env {
        /// Show only variables that are set
        #[arg(long)]
        set: bool,
    },
}

/// A variable and the services that read it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    services: Vec<&'static str>,
    meaning: &'static str,
    default: String,
    value: String,
    is_set: bool,
}

/// The variables that one service reads.
struct Part {
    service: &'static str,
    variables: Vec<Variable>,
    problems: Vec<String>,
    unknown: Vec<Unknown>,
}

/// Runs `dp config`.
///
/// # Errors
/// The named stack does not exist.
pub fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let Command::Env { set } = &args.command;
    let env = effective_env(place)?;
    let parts = parts(&env);
    let mut shown = merged(&parts);
    shown.push(cache(&env));
    shown.retain(|variable| variable.is_set || !set);
    if json {
        print_json(&shown)?;
    } else {
        print_line(&text(&shown))?;
    }
    let problems = once(parts.iter().flat_map(|part| part.problems.iter().cloned()));
    let unknown = once(parts.iter().flat_map(|part| part.unknown.iter().map(misspelt)));
    for line in problems
        .iter()
        .map(|problem| format!("refused: {problem}"))
        .chain(unknown)
    {
        eprintln!("{line}");
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn parts(env: &Env) -> Vec<Part> {
    vec![
        part(&normalization::DEFINITION, env),
        part(&enrichment::DEFINITION, env),
        part(&aggregation::DEFINITION, env),
        part(&projection::DEFINITION, env),
    ]
}

fn part<S>(definition: &Definition<S>, env: &Env) -> Part {
    let declared = declare(env, definition.default_port, definition.settings);
    Part {
        service: definition.name,
        variables: declared.variables,
        problems: declared.problems,
        unknown: declared.unknown,
    }
}

/// Each variable once, or once for each default or value that differs between services.
fn merged(parts: &[Part]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for part in parts {
        for variable in &part.variables {
            let same = |known: &&mut Shown| {
                known.name == variable.name && known.default == variable.default && known.value == variable.value
            };
            match shown.iter_mut().find(same) {
                Some(known) => known.services.push(part.service),
                None => shown.push(Shown {
                    name: variable.name.clone(),
                    services: vec![part.service],
                    meaning: variable.meaning,
                    default: variable.default.clone(),
                    value: variable.value.clone(),
                    is_set: variable.is_set,
                }),
            }
        }
    }
    shown
}

/// The only variable that no service reads.
fn cache(env: &Env) -> Shown {
    let set = env.get("DATA_PROC_CACHE").filter(|value| !value.is_empty());
    let default = "~/.cache/254carbon".to_owned();
    Shown {
        name: "DATA_PROC_CACHE".to_owned(),
        services: vec!["dp"],
        meaning: "folder of downloaded servers",
        value: set.unwrap_or(&default).clone(),
        default,
        is_set: set.is_some(),
    }
}

fn text(shown: &[Shown]) -> String {
    let blocks: Vec<String> = shown
        .iter()
        .map(|variable| {
            let services = match variable.services.len() {
                4 => "all services".to_owned(),
                _ => variable.services.join(", "),
            };
            let origin = if variable.is_set { "set" } else { "default" };
            let default = match variable.is_set {
                true if variable.default.is_empty() => "; default: none".to_owned(),
                true => format!("; default: {}", variable.default),
                false => String::new(),
            };
            format!(
                "{}={}\n    {} ({services}; {origin}{default})",
                variable.name, variable.value, variable.meaning
            )
        })
        .collect();
    blocks.join("\n")
}

fn misspelt(unknown: &Unknown) -> String {
    match &unknown.nearest {
        Some(nearest) => format!("unknown variable {}; did you mean {nearest}?", unknown.name),
        None => format!("unknown variable {}", unknown.name),
    }
}

fn once(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = lines.collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_every_service_are_shown_without_secrets() {
        let env = Env::from([
            ("DATA_PROC_REDIS_URL".to_owned(), "redis://:s3cret@r:1/0".to_owned()),
            (
                "NORMALIZATION_PROJECTION_URL".to_owned(),
                "http://u:s3cret@p:2".to_owned(),
            ),
        ]);
        let shown = merged(&parts(&env));
        for prefix in [
            "DATA_PROC_",
            "NORMALIZATION_",
            "ENRICHMENT_",
            "AGGREGATION_",
            "PROJECTION_",
        ] {
            assert!(
                shown.iter().any(|variable| variable.name.starts_with(prefix)),
                "{prefix}"
            );
        }
        let ports: Vec<&str> = shown
            .iter()
            .filter(|variable| variable.name == "DATA_PROC_HEALTH_PORT")
            .map(|variable| variable.default.as_str())
            .collect();
        assert_eq!(ports, ["8080", "8081", "8082", "8083"]);
        let text = text(&shown);
        assert!(
            !text.contains("s3cret") && text.contains("redis://:***@r:1/0"),
            "{text}"
        );
    }
}
