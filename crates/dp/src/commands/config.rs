//! `dp config`: every variable of services and `dp` with its value in effect, and the checks of a start without a start.

mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::Serialize;
use service::settings::{CONFIG_FILE, OTHER_PROGRAMS, Other, Source, TABLES, Variable, mask, with_file};
use service::{Checked, Env, Reader};

use self::verdict::Verdict;
use crate::env_file;
use ops::connection::{effective_env, process_env};
use ops::definitions::checked;
use ops::place::Place;
use ops::present::{print_json, print_line};

/// Show or check the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp config env\n  dp config env --set\n  \
    dp config env --json | jq -r '.[] | select(.is_set) | .name'\n  \
    dp config check --file pipeline.toml --service aggregation")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every variable: meaning, default, value in effect and its source (secrets masked)
    ///
    /// The values come from this shell, the configuration file that DATA_PROC_CONFIG_FILE names, and the local stack, as a
    /// service started by `dp start` would see them. Exit code 1 if a service would refuse to start with them; the reasons are on
    /// stderr.
    #[command(after_help = "Examples:\n  dp config env\n  dp config env --set --service aggregation")]
    Env {
        /// Show only variables that are set
        #[arg(long)]
        set: bool,
        /// Show only variables that this service reads
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(TABLES))]
        service: Option<String>,
    },
    /// Check the configuration as the services do when they start, without starting them
    ///
    /// Checks the environment of this shell, or that of the given files, with the configuration file. It connects to no server.
    /// Lists all problems at once. Exit code 0 if every service would accept the configuration, else 2.
    #[command(
        after_help = "Examples:\n  dp config check\n  dp config check --env-file prod.env --env-file secrets.env --service projection"
    )]
    Check {
        /// The configuration file [default: DATA_PROC_CONFIG_FILE of the environment]
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
        /// File with NAME=VALUE lines, used instead of the environment of this shell; of several, later ones win
        #[arg(long, value_name = "PATH")]
        env_file: Vec<PathBuf>,
        /// Check the settings of this service only
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(TABLES))]
        service: Option<String>,
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
    /// `default`, `file`, `environment` or `local stack`.
    source: &'static str,
    /// `path:line:column` of a value from the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
}

/// Runs `dp config`. Must be called inside a runtime.
///
/// # Errors
/// The named stack does not exist, or a file of variables cannot be read.
pub fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Env { set, service } => show(place, *set, service.as_deref(), json),
        Command::Check {
            file,
            env_file,
            service,
        } => {
            let process = process_env();
            let mut env = if env_file.is_empty() {
                process.clone()
            } else {
                Env::new()
            };
            for path in env_file {
                env_file::read(path, &process, &mut env)?;
            }
            if let Some(file) = file {
                env.insert(CONFIG_FILE.to_owned(), file.display().to_string());
            }
            let mut verdict = Verdict::of(&checked(&env, service.as_deref()));
            if service.is_none() {
                verdict.add("dp", own_problems(&env));
            }
            verdict.print(json)?;
            Ok(ExitCode::from(if verdict.is_valid() { 0 } else { 2 }))
        }
    }
}

fn show(place: &Place, only_set: bool, service: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let env = effective_env(place)?;
    let parts = checked(&env, service);
    let mut shown = merged(&parts);
    if service.is_none() {
        shown.extend(OTHER_PROGRAMS.iter().map(|other| of_other(other, &env)));
    }
    let process = process_env();
    for variable in shown
        .iter_mut()
        .filter(|variable| variable.source == Source::Environment.name())
    {
        if !process.contains_key(&variable.name) && env.contains_key(&variable.name) {
            variable.source = "local stack";
        }
    }
    shown.retain(|variable| variable.is_set || !only_set);
    if json {
        print_json(&shown)?;
    } else {
        print_line(&text(&shown))?;
    }
    let verdict = Verdict::of(&parts);
    verdict.report();
    Ok(ExitCode::from(u8::from(!verdict.is_valid())))
}

/// What `dp` itself would refuse.
fn own_problems(env: &Env) -> Vec<String> {
    // A broken file is the services' problem already.
    if Reader::new(env).finish().is_err() {
        return Vec::new();
    }
    ops::targets::configured(env)
        .err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Each variable once, or once for each default or value that differs between services.
fn merged(parts: &[Checked]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for part in parts {
        for variable in &part.variables {
            let same = |known: &&mut Shown| {
                known.name == variable.name && known.default == variable.default && known.value == variable.value
            };
            match shown.iter_mut().find(same) {
                Some(known) => known.services.push(part.service),
                None => shown.push(of_service(part.service, variable)),
            }
        }
    }
    shown
}

fn of_service(service: &'static str, variable: &Variable) -> Shown {
    Shown {
        name: variable.name.clone(),
        services: vec![service],
        meaning: variable.meaning,
        default: variable.default.clone(),
        value: variable.value.clone(),
        is_set: variable.is_set(),
        source: variable.source.name(),
        location: match &variable.source {
            Source::File(at) => Some(at.clone()),
            Source::Default | Source::Environment => None,
        },
    }
}

/// A variable that no service reads.
fn of_other(other: &Other, env: &Env) -> Shown {
    let of = |env: &Env| env.get(other.name).filter(|value| !value.trim().is_empty()).cloned();
    let (value, source) = match (of(env), other.in_file.then(|| of(&with_file(env))).flatten()) {
        (Some(value), _) => (Some(value), Source::Environment.name()),
        (None, Some(value)) => (Some(value), "file"),
        (None, None) => (None, Source::Default.name()),
    };
    Shown {
        name: other.name.to_owned(),
        services: vec![other.program],
        meaning: other.meaning,
        default: other.default.to_owned(),
        is_set: value.is_some(),
        value: value.map_or_else(|| other.default.to_owned(), |value| without_secrets(&value)),
        source,
        location: None,
    }
}

/// A path, an address, or a list of `NAME=URL`, without the passwords of its addresses.
fn without_secrets(value: &str) -> String {
    if !value.contains("://") {
        return value.to_owned();
    }
    let masked = |item: &str| match item.split_once('=') {
        Some((name, url)) if !name.contains("://") => format!("{name}={}", mask(url)),
        _ => mask(item),
    };
    value.split(',').map(masked).collect::<Vec<_>>().join(",")
}

fn text(shown: &[Shown]) -> String {
    let blocks: Vec<String> = shown
        .iter()
        .map(|variable| {
            let services = match variable.services.len() {
                4 => "all services".to_owned(),
                _ => variable.services.join(", "),
            };
            let source = variable.location.as_deref().unwrap_or(variable.source);
            let default = match variable.is_set {
                true if variable.default.is_empty() => "; default: none".to_owned(),
                true => format!("; default: {}", variable.default),
                false => String::new(),
            };
            format!(
                "{}={}\n    {} ({services}; {source}{default})",
                variable.name, variable.value, variable.meaning
            )
        })
        .collect();
    blocks.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use ops::definitions::DEFAULT_PORTS;

    #[tokio::test]
    async fn the_variables_of_every_service_are_shown_without_secrets() {
        let env = Env::from([
            ("DATA_PROC_REDIS_URL".to_owned(), "redis://:s3cret@r:1/0".to_owned()),
            (
                "NORMALIZATION_PROJECTION_URL".to_owned(),
                "http://u:s3cret@p:2".to_owned(),
            ),
        ]);
        let shown = merged(&checked(&env, None));
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
        let names: Vec<&str> = DEFAULT_PORTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, TABLES);
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

    #[tokio::test]
    async fn the_source_of_each_value_is_shown_and_one_service_can_be_selected() {
        let path = std::env::temp_dir().join(format!("dp-config-{}.toml", std::process::id()));
        let content = "workers = 2\nservice_urls = [\"a=http://a\"]\n[enrichment]\nconfidence_threshold = 0.5\n";
        std::fs::write(&path, content).unwrap();
        let env = Env::from([
            (CONFIG_FILE.to_owned(), path.display().to_string()),
            ("DATA_PROC_TENANT_ID".to_owned(), "acme".to_owned()),
        ]);
        let parts = checked(&env, Some("enrichment"));
        std::fs::remove_file(&path).unwrap();
        let shown = merged(&parts);
        let source = |name: &str| {
            let found = shown.iter().find(|variable| variable.name == name);
            found.map(|variable| (variable.source, variable.location.as_deref().unwrap_or_default()))
        };
        let at = |place: &str| format!("{}:{place}", path.display());
        assert_eq!(source("DATA_PROC_WORKERS"), Some(("file", at("1:1").as_str())));
        assert_eq!(
            source("ENRICHMENT_CONFIDENCE_THRESHOLD"),
            Some(("file", at("4:1").as_str()))
        );
        assert_eq!(source("DATA_PROC_TENANT_ID"), Some(("environment", "")));
        assert_eq!(source("DATA_PROC_LOG_LEVEL"), Some(("default", "")));
        assert_eq!(source("AGGREGATION_CHECKPOINT_MS"), None);
        assert!(Verdict::of(&parts).is_valid());
    }
}
