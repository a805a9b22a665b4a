//! Where the servers are: `DATA_PROC_*` of the environment first, then the local stack's `stack.json`, then the defaults.

use anyhow::{Context as _, bail};
use localstack::Stack;
use service::settings::load;
use service::{Env, Names, Settings};

use crate::cli::Place;

/// Older names that a variable falls back to: where one of them is set, the user has named the server.
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
    /// Whether data are printed as JSON.
    pub json: bool,
}

impl Connection {
    /// Resolves the addresses for a command that looks at data.
    pub fn resolve(place: &Place, json: bool) -> anyhow::Result<Connection> {
        let (env, folder) = (process_env(), place.folder());
        if !place.is_named() && !folder.join("stack.json").exists() {
            return Connection::from_env(env, json);
        }
        Connection::from_env(fill_in(env, Stack::open(&folder)?.env()), json)
    }

    /// The servers of this stack, whatever the environment says.
    pub fn to_stack(stack: &Stack, json: bool) -> anyhow::Result<Connection> {
        let mut env = process_env();
        env.extend(stack.env());
        Connection::from_env(env, json)
    }

    /// The wire form: with a schema registry its ids, else fingerprints.
    pub async fn wire(&self) -> anyhow::Result<codec::Wire> {
        service::clients::wire(&self.settings)
            .await
            .map_err(|error| anyhow::anyhow!(error))
            .context("reach the schema registry")
    }

    fn from_env(env: Env, json: bool) -> anyhow::Result<Connection> {
        // `dp` listens nowhere: the default port of a service does not matter here.
        let loaded = load(&env, 8080, |_| ())?;
        for unknown in &loaded.unknown {
            let meant = unknown.nearest.as_ref();
            let meant = meant.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
            eprintln!(
                "warning: nothing reads the environment variable {}{meant}",
                unknown.name
            );
        }
        if loaded.settings.kafka_bootstrap.is_empty() {
            bail!("DATA_PROC_KAFKA_BOOTSTRAP is empty: set it to host:port");
        }
        Ok(Connection {
            names: Names::new(&loaded.settings),
            settings: loaded.settings,
            env,
            json,
        })
    }
}

/// The environment of the process; names or values that are no Unicode cannot be ours.
fn process_env() -> Env {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Adds what the environment does not name.
fn fill_in(mut env: Env, stack: Env) -> Env {
    let is_set = |env: &Env, name: &str| env.get(name).is_some_and(|value| !value.trim().is_empty());
    for (name, value) in stack {
        let fallback = FALLBACKS
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, fallback)| *fallback);
        if !is_set(&env, &name) && !fallback.is_some_and(|fallback| is_set(&env, fallback)) {
            env.insert(name, value);
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
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
