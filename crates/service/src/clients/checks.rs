//! Health checks of the dependencies of a service.
//!
//! Failure: a server that accepts connections but does not respond is distinguished from one that returns an error. Both
//! messages name what to change, if that is known.

use std::sync::Arc;
use std::time::Duration;

use domain::Classified;
use stores::StoreError;
use stream::StreamError;
use stream::kafka::probe::{self, Probe};

use super::{Clients, Dependency, REGISTRY, Use};
use crate::health::{Answer, Check, Wrong};
use crate::names::Names;
use crate::settings::{Settings, mask};

/// Codes of a broker that answers and refuses this client.
const REFUSALS: [&str; 8] = [
    "kafka_login_refused",
    "kafka_token_refused",
    "kafka_mechanism_refused",
    "kafka_right_missing",
    "kafka_certificate_refused",
    "kafka_client_certificate_refused",
    "kafka_client_certificate_missing",
    "kafka_listener_is_tls",
];
/// Bounds one query to a broker, below the time-out of a check, so that blocking threads do not pile up.
const KAFKA_TIMEOUT: Duration = Duration::from_millis(2_000);

impl Clients {
    /// One check for each declared dependency.
    pub fn checks(&self, uses: &[Use], settings: &Settings, names: &Names) -> Vec<Check> {
        let mut checks = Vec::new();
        for Use {
            dependency, critical, ..
        } in uses
        {
            let asked = match dependency {
                Dependency::Kafka => Some(kafka(&self.probe, settings, names)),
                Dependency::ClickHouse => self.clickhouse.clone().map(|client| {
                    let ask = asking(move || {
                        let client = client.clone();
                        async move { client.ping().await }
                    });
                    ("clickhouse", settings.clickhouse.url.to_string(), ask)
                }),
                Dependency::Postgres => self.postgres.clone().map(|client| {
                    let ask = asking(move || {
                        let client = client.clone();
                        async move { client.ping().await }
                    });
                    ("postgres", settings.postgres_dsn.to_string(), ask)
                }),
                Dependency::Redis => self.redis.clone().map(|client| {
                    let ask = asking(move || {
                        let client = client.clone();
                        async move { client.ping().await }
                    });
                    ("redis", settings.redis_url.to_string(), ask)
                }),
            };
            if let Some((name, target, ask)) = asked {
                let critical = *critical;
                checks.push(Check {
                    name,
                    critical,
                    target,
                    ask,
                    breaker: self.breakers.get(name).cloned(),
                });
            }
        }
        checks.extend(self.registry_check(settings));
        checks.extend(self.tables_check(uses, settings));
        checks
    }

    /// Without a breaker: the service itself may be what creates the tables. A server that does not answer is the matter of
    /// its own check.
    fn tables_check(&self, uses: &[Use], settings: &Settings) -> Option<Check> {
        let client = self.postgres.clone()?;
        let Use { critical, tables, .. } = *uses.iter().find(|used| !used.tables.is_empty())?;
        let ask = move || {
            let client = client.clone();
            let answer: Answer = Box::pin(async move {
                match client.check_tables(tables).await {
                    Err(error) if error.code() == "schema_missing" => Err(Wrong::Failed(error.with_code())),
                    _ => Ok(()),
                }
            });
            answer
        };
        Some(Check {
            name: "postgres_tables",
            critical,
            target: settings.postgres_dsn.to_string(),
            ask: Box::new(ask),
            breaker: None,
        })
    }

    /// Not critical: only messages with unknown schema ids wait for the registry.
    fn registry_check(&self, settings: &Settings) -> Option<Check> {
        let (client, url) = (self.registry.clone()?, settings.schema_registry_url.as_ref()?);
        let ask = move || {
            let client = client.clone();
            let answer: Answer =
                Box::pin(async move { client.ping().await.map_err(|error| Wrong::Failed(error.to_string())) });
            answer
        };
        Some(Check {
            name: REGISTRY,
            critical: false,
            target: url.to_string(),
            ask: Box::new(ask),
            breaker: self.breakers.get(REGISTRY).cloned(),
        })
    }
}

type Ask = Box<dyn Fn() -> Answer + Send + Sync>;

/// A check that queries a store.
fn asking<F>(ping: impl Fn() -> F + Send + Sync + 'static) -> Ask
where
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    Box::new(move || {
        let answer = ping();
        Box::pin(async move {
            answer.await.map_err(|error| {
                let summary = match error.remedy() {
                    Some(remedy) => format!("{}; {remedy}", error.summary()),
                    None => error.summary(),
                };
                match (error.is_timeout(), error.is_refusal()) {
                    (true, _) => Wrong::Silent(summary),
                    (false, true) => Wrong::Refused(summary),
                    (false, false) => Wrong::Failed(summary),
                }
            })
        })
    })
}

/// Queries the broker for the topics: the check names a missing one.
fn kafka(probe: &Arc<Probe>, settings: &Settings, names: &Names) -> (&'static str, String, Ask) {
    let probe = Arc::clone(probe);
    let topics = names.needed_topics();
    let target = mask(&format!("kafka://{}", settings.kafka_bootstrap));
    let ask = move || {
        let (probe, topics) = (Arc::clone(&probe), topics.clone());
        let asked = tokio::task::spawn_blocking(move || probe.check_topics(&topics, KAFKA_TIMEOUT));
        let checked = async move {
            let checked = asked.await.map_err(|error| error.to_string())?;
            checked.map_err(|error| wrong(&error))
        };
        let answer: Answer = Box::pin(stores::metrics::timed("kafka", "check topics", checked));
        answer
    };
    ("kafka", target, Box::new(ask))
}

fn wrong(error: &StreamError) -> Wrong {
    match error.code() {
        probe::TIMEOUT => Wrong::Silent(error.to_string()),
        code if REFUSALS.contains(&code) => Wrong::Refused(error.to_string()),
        _ => Wrong::Failed(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Env, load};

    #[test]
    fn a_broker_that_refuses_the_login_is_not_down() {
        let of = |code| wrong(&StreamError::fatal(code, "why"));
        assert_eq!(of("kafka_login_refused"), Wrong::Refused("why".to_owned()));
        assert_eq!(of("kafka_unavailable"), Wrong::Failed("why".to_owned()));
        assert_eq!(of(probe::TIMEOUT), Wrong::Silent("why".to_owned()));
    }

    #[tokio::test]
    async fn a_configured_schema_registry_is_checked_and_has_a_breaker() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let url = format!("http://user:secret@{free}");
        let env = Env::from([("DATA_PROC_SCHEMA_REGISTRY_URL".to_owned(), url)]);
        let settings = load(&env, 8080, |_| ()).unwrap().settings;
        let names = Names::new(&settings);
        let clients = Clients::connect(&[], &settings, &names).unwrap();
        let checks = clients.checks(&[], &settings, &names);
        let [check] = checks.as_slice() else {
            unreachable!("one check")
        };
        assert_eq!(
            (check.name, check.critical, check.breaker.is_some()),
            ("schema_registry", false, true)
        );
        assert!(!check.target.contains("secret"), "{}", check.target);
        assert!(matches!((check.ask)().await, Err(Wrong::Failed(_))));
    }
}
