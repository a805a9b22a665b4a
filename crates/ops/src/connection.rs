//! Addresses of the servers: those of a stack that the command line names; else `DATA_PROC_*`, then the local stack's
//! `stack.json`, then the defaults.
//!
//! Invariants: the local stack is used only if `DATA_PROC_ENV` is local. In any other environment nothing is written unless
//! the user confirms or passes `--yes`. Variables that contradict a named stack are refused.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::{Classified as _, ErrorClass};
use localstack::Stack;
use service::settings::{Environment, load, mask, with_file};
use service::{Env, Names, Settings};
use stream::kafka::probe::Probe;
use stream::kafka::reader::LogReader;

use crate::consent;
use crate::place::Place;
use crate::progress::waiting;
use crate::reach;

/// How long a command that reads waits for a Kafka that accepts connections.
pub const READS_WAIT: Duration = Duration::from_secs(10);
/// How long a command that publishes waits for Kafka: long enough for a broker that recovers its log on a busy machine.
pub const WRITES_WAIT: Duration = Duration::from_secs(60);

/// The variable that selects a generation.
const GENERATION: &str = "DATA_PROC_GENERATION";
/// The variable that defines derived series. Commands that judge or explain derived prices need the value of aggregation.
const DERIVED_SERIES: &str = "AGGREGATION_DERIVED_SERIES";
/// The variable that defines markets. Commands that read the raw log need the value of normalization.
const VENUES: &str = "NORMALIZATION_VENUES";

/// Older names that a variable falls back to. If one of them is set, the user has named the server.
const FALLBACKS: [(&str, &str); 2] = [
    ("DATA_PROC_KAFKA_BOOTSTRAP", "KAFKA_ADDR"),
    ("DATA_PROC_REDIS_URL", "REDIS_ADDR"),
];

/// The settings that a command works with.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Typed settings, as the services read them.
    pub settings: Settings,
    /// Topics, groups and tables.
    pub names: Names,
    /// The environment in effect.
    pub env: Env,
    /// Whether data is printed as JSON.
    pub json: bool,
}

impl Connection {
    /// Whether the environment in effect defines derived series. Of a local stack it is that of its aggregation.
    pub fn defines_series(&self) -> bool {
        self.env
            .get(DERIVED_SERIES)
            .is_some_and(|series| !series.trim().is_empty())
    }

    /// Resolves the addresses for a command that reads or writes data.
    pub fn resolve(place: &Place, json: bool) -> anyhow::Result<Connection> {
        Connection::from_env(effective_env(place)?, json)
    }

    /// Connects to the servers of this stack; its addresses replace those of the environment.
    pub fn to_stack(stack: &Stack, json: bool) -> anyhow::Result<Connection> {
        Connection::from_env(stack_env(process_env(), stack)?, json)
    }

    /// Asks for confirmation before a write to an environment that is not local; `yes` skips the question.
    ///
    /// # Errors
    /// The user does not confirm, or there is no terminal.
    pub async fn confirm_write(&self, yes: bool) -> anyhow::Result<()> {
        let environment = self.settings.environment;
        if environment == Environment::Local {
            return Ok(());
        }
        let name = environment.name();
        let (kafka, clickhouse) = (&self.settings.kafka_bootstrap, &self.settings.clickhouse.url);
        let what = format!("write to {name} (Kafka at {kafka}, ClickHouse at {clickhouse})");
        consent::ask(&what, name, yes).await
    }

    /// Waits until Kafka responds, at most this long; reports on stderr if that takes more than two seconds.
    ///
    /// # Errors
    /// It does not respond in time. A command that reads is told of refused connections at once; one that publishes waits, because a
    /// broker refuses them while it starts.
    pub async fn await_kafka(&self, limit: Duration) -> anyhow::Result<()> {
        if limit < WRITES_WAIT {
            reach::kafka(&self.settings.kafka_bootstrap).await?;
        }
        let (bootstrap, topic) = (self.settings.kafka_bootstrap.clone(), self.names.dlq.clone());
        let seconds = limit.as_secs();
        let what = format!("waiting up to {seconds} s for Kafka at {bootstrap}");
        let asked = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + limit;
            // A rejected login ends the wait: retrying would not change it.
            Probe::new(&bootstrap)?.check_access(limit)?;
            let reader = LogReader::new(&bootstrap)?;
            loop {
                // One call waits for up to 10 s. "Unknown topic" is a response too.
                match reader.partitions(&topic) {
                    Err(error) if error.class() == ErrorClass::Transient => {
                        if Instant::now() >= deadline {
                            return Err(anyhow::Error::from(error).context(format!(
                                "Kafka at {bootstrap} does not answer: is it running (`dp status`)?"
                            )));
                        }
                    }
                    _ => return Ok(()),
                }
            }
        });
        waiting(&what, asked).await.context("wait for Kafka")?
    }

    /// The wire format: schema ids if a registry is configured, else fingerprints.
    pub async fn wire(&self) -> anyhow::Result<codec::Wire> {
        service::clients::wire(&self.settings)
            .await
            .map_err(|error| anyhow::anyhow!(error))
            .context("reach the schema registry")
    }

    pub(crate) fn from_env(env: Env, json: bool) -> anyhow::Result<Connection> {
        // This process opens no port, so the default port of a service does not matter here.
        let loaded = load(&env, 0, |_| ())?;
        for unknown in &loaded.unknown {
            let meant = unknown.nearest.as_ref();
            let meant = meant.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
            eprintln!("warning: unknown environment variable {}{meant}", unknown.name);
        }
        Ok(Connection {
            names: Names::new(&loaded.settings),
            settings: loaded.settings,
            env,
            json,
        })
    }
}

/// The environment in effect for a command, with the addresses of the local stack if it is used.
///
/// # Errors
/// The named stack does not exist, or the environment is not local.
pub fn effective_env(place: &Place) -> anyhow::Result<Env> {
    let env = process_env();
    if place.is_named() {
        return stack_env(env, &place.open()?);
    }
    match uses_stack(place, &env) {
        true => {
            let stack = place.open()?;
            // With a server elsewhere, what the services of the stack were started with says nothing.
            let is_elsewhere = contradiction(&with_file(&env), &stack.env()).is_some();
            let env = fill_in(env, stack.env());
            Ok(match is_elsewhere {
                true => env,
                false => with_recorded(env, &stack),
            })
        }
        false => Ok(env),
    }
}

/// Whether a command uses the local stack for what the environment and the configuration file do not name.
pub fn uses_stack(place: &Place, env: &Env) -> bool {
    place.is_named() || (!is_elsewhere(env) && place.folder().join("stack.json").exists())
}

/// The local stack, if its servers are all those in use.
pub fn stack_in_use(place: &Place, env: &Env) -> Option<Stack> {
    let stack = uses_stack(place, env).then(|| place.open().ok()).flatten()?;
    contradiction(&with_file(env), &stack.env()).is_none().then_some(stack)
}

/// The environment with the addresses of this stack.
fn stack_env(mut env: Env, stack: &Stack) -> anyhow::Result<Env> {
    refuse_elsewhere(&env)?;
    refuse_contradiction(&env, stack)?;
    env.extend(stack.env());
    Ok(with_recorded(env, stack))
}

/// The environment with what the services of this stack were started with.
fn with_recorded(env: Env, stack: &Stack) -> Env {
    let env = with_setting(env, GENERATION, &stack.generation());
    let env = with_setting(env, DERIVED_SERIES, &stack.derived_series());
    with_setting(env, VENUES, &stack.venues())
}

/// The environment with this value, unless it names one, even an empty one (the first generation, no series).
fn with_setting(mut env: Env, name: &str, value: &str) -> Env {
    if !value.is_empty() && !with_file(&env).contains_key(name) {
        env.insert(name.to_owned(), value.to_owned());
    }
    env
}

/// The environment that services started in this stack get; sets their generation, series and venues in the configuration of the stack.
///
/// # Errors
/// As for a command that uses the stack.
pub fn service_env(stack: &mut Stack) -> anyhow::Result<Env> {
    let env = stack_env(process_env(), stack)?;
    let set = with_file(&env);
    let added = &mut stack.config_mut().service_env;
    added.insert(GENERATION.to_owned(), set.get(GENERATION).cloned().unwrap_or_default());
    for name in [DERIVED_SERIES, VENUES] {
        if let Some(value) = set.get(name) {
            added.insert(name.to_owned(), value.clone());
        }
    }
    Ok(env.into_iter().chain(added.clone()).collect())
}

/// Defines derived series for the services that are started next in this stack, unless the environment, the configuration file or the
/// services that were started last define some.
///
/// # Errors
/// As for a command that uses the stack.
pub fn offer_series(stack: &mut Stack, series: &str) -> anyhow::Result<()> {
    let env = with_setting(stack_env(process_env(), stack)?, DERIVED_SERIES, series);
    if let Some(series) = with_file(&env).get(DERIVED_SERIES) {
        let added = &mut stack.config_mut().service_env;
        added.insert(DERIVED_SERIES.to_owned(), series.clone());
    }
    Ok(())
}

/// Refuses a stack if the environment names other servers, since it is unclear which of them the user wants.
///
/// # Errors
/// Names the variable, its value and that of the stack.
pub fn refuse_contradiction(env: &Env, stack: &Stack) -> anyhow::Result<()> {
    let addresses = stack.env();
    let Some((name, set, value)) = contradiction(&with_file(env), &addresses) else {
        return Ok(());
    };
    bail!(
        "{name} is {}, but the local stack in {} has {}: unset {name}, or omit --dir and --port-offset",
        shown(&set),
        stack.config().dir.display(),
        shown(value)
    )
}

/// An address without its password; `host:port` has none.
fn shown(address: &str) -> String {
    match address.contains("://") {
        true => mask(address),
        false => address.to_owned(),
    }
}

/// The first variable that names another address than the stack's, with both.
fn contradiction<'s>(env: &Env, stack: &'s Env) -> Option<(String, String, &'s str)> {
    let set = |name: &str| env.get(name).map(|set| set.trim()).filter(|set| !set.is_empty());
    stack.iter().find_map(|(name, value)| {
        let fallback = FALLBACKS.iter().find(|(variable, _)| variable == name);
        let (by, set) = match (set(name), fallback) {
            (Some(set), _) => (name.as_str(), set),
            (None, Some((_, fallback))) => (*fallback, set(fallback)?),
            (None, None) => return None,
        };
        (!is_same_address(set, value)).then(|| (by.to_owned(), set.to_owned(), value.as_str()))
    })
}

/// Whether two spellings name the same address. The older variables name it without its scheme.
fn is_same_address(one: &str, other: &str) -> bool {
    let plain = |address: &str| {
        let address = address.replace("localhost", "127.0.0.1");
        let rest = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
        rest.trim_end_matches("/0").trim_end_matches('/').to_owned()
    };
    plain(one) == plain(other)
}

/// Refuses to start or use a local stack if the environment is not local.
///
/// # Errors
/// `DATA_PROC_ENV` is set to another value than local.
pub fn refuse_elsewhere(env: &Env) -> anyhow::Result<()> {
    if is_elsewhere(env) {
        let env = with_file(env);
        let name = env.get("DATA_PROC_ENV").map_or("", |name| name.trim());
        bail!(
            "DATA_PROC_ENV is {name}, but this command would use a local stack: unset DATA_PROC_ENV, or omit --dir and \
             --port-offset to use the servers that DATA_PROC_* name"
        );
    }
    Ok(())
}

fn is_elsewhere(env: &Env) -> bool {
    with_file(env)
        .get("DATA_PROC_ENV")
        .map(|name| name.trim())
        .is_some_and(|name| !name.is_empty() && name != Environment::Local.name())
}

/// The environment of the process, without names or values that are not Unicode: no setting has those.
pub fn process_env() -> Env {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Adds the addresses of the stack that neither the environment nor the configuration file sets.
fn fill_in(mut env: Env, stack: Env) -> Env {
    let named = with_file(&env);
    let has_value = |name: &str| named.get(name).is_some_and(|value| !value.trim().is_empty());
    let is_set = |name: &str| has_value(name) || has_value(&format!("{name}_FILE"));
    for (name, value) in stack {
        let fallback = FALLBACKS
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, fallback)| *fallback);
        if !is_set(&name) && !fallback.is_some_and(is_set) {
            env.insert(name, value);
        }
    }
    env
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::io::IsTerminal as _;

    use super::*;

    pub(crate) fn env(pairs: &[(&str, &str)]) -> Env {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[tokio::test]
    async fn a_write_outside_of_the_local_environment_needs_confirmation() {
        let connection = |pairs: &[(&str, &str)]| Connection::from_env(env(pairs), false).unwrap();
        assert!(connection(&[]).confirm_write(false).await.is_ok());
        let prod = connection(&[
            ("DATA_PROC_ENV", "prod"),
            ("DATA_PROC_KAFKA_BOOTSTRAP", "kafka:9092"),
            ("DATA_PROC_CLICKHOUSE_URL", "https://dp:s3cret@clickhouse:8123"),
            ("DATA_PROC_CLICKHOUSE_PASSWORD", "s3cret"),
            (
                "DATA_PROC_POSTGRES_DSN",
                "postgresql://dp:s3cret@postgres/db?sslmode=verify-full",
            ),
            ("DATA_PROC_REDIS_URL", "redis://redis:6379/0"),
        ]);
        assert!(prod.confirm_write(true).await.is_ok());
        if !std::io::stdin().is_terminal() {
            let unasked = prod.confirm_write(false).await.unwrap_err().to_string();
            assert!(
                unasked.contains("write to prod") && unasked.contains("kafka:9092"),
                "{unasked}"
            );
            assert!(unasked.contains("--yes") && !unasked.contains("s3cret"), "{unasked}");
        }
    }

    #[test]
    fn a_variable_that_names_another_server_than_the_stack_is_found() {
        let stack = env(&[
            ("DATA_PROC_KAFKA_BOOTSTRAP", "127.0.0.1:10092"),
            ("DATA_PROC_REDIS_URL", "redis://127.0.0.1:7379/0"),
        ]);
        for (name, value, contradicts) in [
            ("DATA_PROC_KAFKA_BOOTSTRAP", "127.0.0.1:10092", false),
            ("DATA_PROC_KAFKA_BOOTSTRAP", " localhost:10092 ", false),
            ("DATA_PROC_KAFKA_BOOTSTRAP", "", false),
            ("DATA_PROC_KAFKA_BOOTSTRAP", "kafka:9092", true),
            ("KAFKA_ADDR", "127.0.0.1:9092", true),
            ("DATA_PROC_REDIS_URL", "redis://localhost:7379", false),
            ("REDIS_ADDR", "localhost:7379", false),
            ("REDIS_ADDR", "localhost:6379", true),
            ("DATA_PROC_WORKERS", "2", false),
        ] {
            let found = contradiction(&env(&[(name, value)]), &stack);
            assert_eq!(
                found.map(|(by, ..)| by),
                contradicts.then(|| name.to_owned()),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn the_generation_is_that_of_the_stack_unless_the_environment_names_one() {
        for (pairs, expected) in [
            (&[][..], Some("g2")),
            (&[(GENERATION, "g3")], Some("g3")),
            (&[(GENERATION, "")], Some("")),
        ] {
            let found = with_setting(env(pairs), GENERATION, "g2");
            assert_eq!(found.get(GENERATION).map(String::as_str), expected, "{pairs:?}");
        }
        assert_eq!(with_setting(env(&[]), GENERATION, ""), env(&[]));
    }

    #[test]
    fn a_local_stack_is_refused_in_any_other_environment() {
        for (name, refused) in [("prod", true), ("local", false), ("", false)] {
            assert_eq!(
                refuse_elsewhere(&env(&[("DATA_PROC_ENV", name)])).is_err(),
                refused,
                "{name}"
            );
        }
        assert!(refuse_elsewhere(&env(&[])).is_ok());
    }

    #[test]
    fn the_configuration_file_wins_over_the_stack_and_may_name_another_environment() {
        let folder = std::env::temp_dir().join(format!("dp-connection-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pipeline.toml");
        let named = env(&[("DATA_PROC_CONFIG_FILE", path.to_str().unwrap())]);
        let stack = env(&[
            ("DATA_PROC_KAFKA_BOOTSTRAP", "stack"),
            ("DATA_PROC_POSTGRES_DSN", "stack"),
        ]);
        std::fs::write(&path, "kafka_bootstrap = \"mine\"\npostgres_dsn_file = \"/run/dsn\"").unwrap();
        assert_eq!(fill_in(named.clone(), stack.clone()), named);
        let found = contradiction(&with_file(&named), &stack).unwrap();
        assert_eq!(found.1, "mine");
        assert!(refuse_elsewhere(&named).is_ok());
        std::fs::write(&path, "env = \"prod\"").unwrap();
        assert!(refuse_elsewhere(&named).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_environment_wins_over_the_stack_for_each_address() {
        let stack = env(&[
            ("DATA_PROC_KAFKA_BOOTSTRAP", "stack"),
            ("DATA_PROC_REDIS_URL", "stack"),
            ("DATA_PROC_CLICKHOUSE_URL", "stack"),
        ]);
        let filled = fill_in(
            env(&[
                ("DATA_PROC_KAFKA_BOOTSTRAP", "mine"),
                ("REDIS_ADDR", "mine"),
                ("DATA_PROC_CLICKHOUSE_URL", " "),
            ]),
            stack,
        );
        let expected = [
            ("DATA_PROC_KAFKA_BOOTSTRAP", "mine"),
            ("REDIS_ADDR", "mine"),
            ("DATA_PROC_CLICKHOUSE_URL", "stack"),
        ];
        assert_eq!(filled, env(&expected));
    }
}
