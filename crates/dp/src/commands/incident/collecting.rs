//! The bundles of `dp incident`: their names, and what every bundle of a run shares.

use std::path::PathBuf;

use ops::connection::Connection;
use ops::definitions::{DEFAULT_PORTS, checked};
use ops::incident::mask::Masker;
use ops::incident::{Bundle, Request, collect};
use ops::place::Place;
use serde_json::{Value, json};
use service::Env;
use service::settings::{Kind, with_file};

/// Bundles begin with this.
pub(super) const PREFIX: &str = "incident-";
pub(super) const SUFFIX: &str = ".tar.gz";

/// The name of a bundle of this moment.
pub(super) fn name(now: jiff::Timestamp) -> String {
    format!("{PREFIX}{}{SUFFIX}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// What every bundle of this run shares.
pub(super) struct Collecting<'a> {
    place: &'a Place,
    connection: &'a Connection,
    configuration: Value,
    masker: Masker,
}

impl<'a> Collecting<'a> {
    pub(super) fn of(place: &'a Place, connection: &'a Connection) -> Collecting<'a> {
        Collecting {
            place,
            connection,
            configuration: configuration(&connection.env),
            masker: masker(&connection.env),
        }
    }

    pub(super) async fn bundle(
        &self,
        since: jiff::Timestamp,
        alerts: &[String],
        out: PathBuf,
    ) -> anyhow::Result<Bundle> {
        let request = Request {
            place: self.place,
            connection: self.connection,
            usual: &DEFAULT_PORTS,
            configuration: self.configuration.clone(),
            masker: &self.masker,
            since,
            alerts,
        };
        collect(&request, &out).await
    }
}

/// Every variable of every service with its value in effect; secrets are masked.
fn configuration(env: &Env) -> Value {
    let services = checked(env, None).into_iter().map(|part| {
        let variables: Vec<Value> = part
            .variables
            .iter()
            .map(|variable| json!({ "name": variable.name, "value": variable.value, "source": variable.source.name() }))
            .collect();
        let shown = json!({ "variables": variables, "problems": part.problems });
        (part.service.to_owned(), shown)
    });
    Value::Object(services.collect())
}

/// Knows every secret of this environment and its configuration file.
fn masker(env: &Env) -> Masker {
    let parts = checked(env, None);
    let is_secret = |name: &str| {
        let mut variables = parts.iter().flat_map(|part| &part.variables);
        variables.any(|variable| variable.name == name && variable.kind == Kind::Secret)
    };
    Masker::of(&with_file(env), is_secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time() {
        let name = |time: &str| time.parse().map(name).unwrap_or_default();
        let (early, late) = (name("2026-10-01T05:06:07Z"), name("2026-10-01T15:06:07Z"));
        assert_eq!(early, "incident-20261001T050607Z.tar.gz");
        assert!(early < late);
    }

    #[tokio::test]
    async fn the_configuration_has_every_service_and_no_secret() {
        let env = Env::from([
            (
                "DATA_PROC_CLICKHOUSE_PASSWORD".to_owned(),
                "s3cret-clickhouse".to_owned(),
            ),
            (
                "DATA_PROC_REDIS_URL".to_owned(),
                "redis://:s3cret-redis@r:1/0".to_owned(),
            ),
        ]);
        let shown = configuration(&env).to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
        for (service, _) in DEFAULT_PORTS {
            assert!(shown.contains(service), "{shown}");
        }
        assert_eq!(masker(&env).masked("s3cret-clickhouse, s3cret-redis"), "***, ***");
    }
}
