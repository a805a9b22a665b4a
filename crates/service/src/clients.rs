//! Clients of the dependencies that a service uses, and the checks that show whether those answer.
//!
//! Role: makes what is used and nothing else. Clients connect when they are first asked, so a dependency that is down at
//! the start is waited for and not fatal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codec::{RegistryClient, Wire};
use domain::Classified;
use stores::{ClickHouse, ClickHouseConfig, Postgres, Redis, StoreError};
use stream::StreamError;
use stream::kafka::probe::{self, Probe};
use tokio::sync::OnceCell;

use crate::breaker::Breaker;
use crate::health::{Answer, Check, Wrong};
use crate::life::StartError;
use crate::metrics;
use crate::names::Names;
use crate::settings::{Settings, mask};

/// Bounds one question to a broker, below the time-out of a check, so that blocking threads do not pile up.
const KAFKA_TIMEOUT: Duration = Duration::from_millis(2_000);

/// How long the question at start may take, where the answer is no certain refusal.
const KAFKA_ACCESS_WITHIN: Duration = Duration::from_secs(10);

/// Name of the schema registry in health and metrics, where one is configured.
const REGISTRY: &str = "schema_registry";

/// Something a service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dependency {
    Kafka,
    ClickHouse,
    Postgres,
    Redis,
}

/// A dependency, and whether the service can do its work without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// What is used.
    pub dependency: Dependency,
    /// Whether the service is unhealthy without it (else degraded).
    pub critical: bool,
}

impl Dependency {
    /// Its name in health, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Dependency::Kafka => "kafka",
            Dependency::ClickHouse => "clickhouse",
            Dependency::Postgres => "postgres",
            Dependency::Redis => "redis",
        }
    }
}

impl Use {
    /// Without it the service is unhealthy and not ready.
    pub const fn required(dependency: Dependency) -> Use {
        Use {
            dependency,
            critical: true,
        }
    }

    /// Without it the service is degraded.
    pub const fn optional(dependency: Dependency) -> Use {
        Use {
            dependency,
            critical: false,
        }
    }
}

/// The clients of one process. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    clickhouse: Option<ClickHouse>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    breakers: BTreeMap<&'static str, Arc<Breaker>>,
    /// Asks the broker about topics and groups.
    pub(crate) probe: Arc<Probe>,
    registry: Option<RegistryClient>,
    table_suffix: String,
    clickhouse_migrated: Arc<OnceCell<()>>,
    postgres_migrated: Arc<OnceCell<()>>,
}

impl Clients {
    /// Clients for what is used; has to be called inside of the runtime on which their connections will live.
    ///
    /// # Errors
    /// Where an address cannot be read; a server that is down is no error.
    pub fn connect(uses: &[Use], settings: &Settings, names: &Names) -> Result<Clients, StartError> {
        let uses_breakers = || {
            let breaker = |used: &Use| {
                let name = used.dependency.name();
                (name, Arc::new(Breaker::new(name, settings.breaker)))
            };
            let registry = settings.schema_registry_url.iter().map(|_| {
                let breaker = Breaker::new(REGISTRY, settings.breaker);
                (REGISTRY, Arc::new(breaker))
            });
            uses.iter().map(breaker).chain(registry).collect()
        };
        let uses = |wanted: Dependency| uses.iter().any(|used| used.dependency == wanted);
        let mut clients = Clients {
            clickhouse: uses(Dependency::ClickHouse).then(|| clickhouse(settings)).transpose()?,
            postgres: None,
            redis: None,
            breakers: uses_breakers(),
            probe: Arc::new(Probe::new(&settings.kafka_bootstrap)?),
            registry: settings
                .schema_registry_url
                .as_ref()
                .map(|url| RegistryClient::new(url.clone(), &settings.trust))
                .transpose()?,
            table_suffix: names.table_suffix(),
            clickhouse_migrated: Arc::default(),
            postgres_migrated: Arc::default(),
        };
        if uses(Dependency::Postgres) {
            clients.postgres = Some(Postgres::connect(
                &settings.postgres_dsn,
                &settings.trust,
                settings.db_pool_size,
            )?);
        }
        if uses(Dependency::Redis) {
            clients.redis = Some(Redis::new(&settings.redis_url, &settings.trust)?.of_generation(names.generation()));
        }
        Ok(clients)
    }

    /// Asks once whether the brokers let this process in. A broker that is away is no error: it is waited for.
    ///
    /// # Errors
    /// A login, certificate or protocol that is refused, with the setting to change.
    pub(crate) fn check_kafka(&self, uses: &[Use]) -> Result<(), StartError> {
        match uses.iter().any(|used| used.dependency == Dependency::Kafka) {
            true => Ok(self.probe.check_access(KAFKA_ACCESS_WITHIN)?),
            false => Ok(()),
        }
    }

    /// The breaker of a dependency.
    ///
    /// # Errors
    /// Where the service does not declare its use.
    pub fn breaker(&self, dependency: Dependency) -> Result<Arc<Breaker>, StartError> {
        declared(self.breakers.get(dependency.name()), dependency)
    }

    /// ClickHouse.
    ///
    /// # Errors
    /// Where the service does not declare its use.
    pub fn clickhouse(&self) -> Result<ClickHouse, StartError> {
        declared(self.clickhouse.as_ref(), Dependency::ClickHouse)
    }

    /// Postgres.
    ///
    /// # Errors
    /// Where the service does not declare its use.
    pub fn postgres(&self) -> Result<Postgres, StartError> {
        declared(self.postgres.as_ref(), Dependency::Postgres)
    }

    /// Redis.
    ///
    /// # Errors
    /// Where the service does not declare its use.
    pub fn redis(&self) -> Result<Redis, StartError> {
        declared(self.redis.as_ref(), Dependency::Redis)
    }

    /// Makes the tables of ClickHouse; once it has succeeded, later calls do nothing.
    ///
    /// # Errors
    /// As the server says; the next call tries again.
    pub async fn migrate_clickhouse(&self) -> Result<(), StoreError> {
        let migrate = async || match &self.clickhouse {
            Some(client) => stores::clickhouse::migrate(client, &self.table_suffix)
                .await
                .map(|_| ()),
            None => Ok(()),
        };
        self.clickhouse_migrated.get_or_try_init(migrate).await.copied()
    }

    /// Makes the tables of Postgres; once it has succeeded, later calls do nothing.
    ///
    /// # Errors
    /// As the server says; the next call tries again.
    pub async fn migrate_postgres(&self) -> Result<(), StoreError> {
        let migrate = async || match &self.postgres {
            Some(client) => stores::postgres::migrate(client).await.map(|_| ()),
            None => Ok(()),
        };
        self.postgres_migrated.get_or_try_init(migrate).await.copied()
    }

    /// Sets the gauges of connection pools.
    pub(crate) fn report_pools(&self) {
        let Some(postgres) = &self.postgres else {
            return;
        };
        let status = postgres.pool_status();
        let active = status.size.saturating_sub(status.idle);
        metrics::pool(
            "postgres",
            [status.size, status.max, status.idle, active, status.waiting],
        );
    }

    /// One check for each dependency used.
    pub(crate) fn checks(&self, uses: &[Use], settings: &Settings, names: &Names) -> Vec<Check> {
        let mut checks = Vec::new();
        for Use { dependency, critical } in uses {
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
        checks
    }

    /// The registry is asked only for ids that others made, and such messages wait: without it the service continues.
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

/// A check that asks a store.
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
                match error.is_timeout() {
                    true => Wrong::Silent(summary),
                    false => Wrong::Failed(summary),
                }
            })
        })
    })
}

/// Asks the broker for the topics: that they exist is part of the answer.
fn kafka(probe: &Arc<Probe>, settings: &Settings, names: &Names) -> (&'static str, String, Ask) {
    let probe = Arc::clone(probe);
    let topics: Vec<String> = names.raw.iter().chain([&names.normalized]).cloned().collect();
    let target = mask(&format!("kafka://{}", settings.kafka_bootstrap));
    let ask = move || {
        let (probe, topics) = (Arc::clone(&probe), topics.clone());
        let asked = tokio::task::spawn_blocking(move || probe.describe(&topics, KAFKA_TIMEOUT));
        let answer: Answer = Box::pin(async move {
            let described = asked.await.map_err(|error| error.to_string())?;
            described.map(|_| ()).map_err(|error| wrong(&error))
        });
        answer
    };
    ("kafka", target, Box::new(ask))
}

fn wrong(error: &StreamError) -> Wrong {
    match error.code() {
        probe::TIMEOUT => Wrong::Silent(error.to_string()),
        _ => Wrong::Failed(error.to_string()),
    }
}

fn clickhouse(settings: &Settings) -> Result<ClickHouse, StoreError> {
    ClickHouse::new(ClickHouseConfig {
        url: settings.clickhouse.url.expose().to_owned(),
        database: settings.clickhouse.database.clone(),
        user: settings.clickhouse.user.clone(),
        password: settings.clickhouse.password.clone(),
        trust: settings.trust.clone(),
    })
}

fn declared<T: Clone>(client: Option<&T>, dependency: Dependency) -> Result<T, StartError> {
    client
        .cloned()
        .ok_or_else(|| format!("the service does not declare that it uses {dependency:?}").into())
}

/// The wire form: with a schema registry its ids, else fingerprints.
///
/// # Errors
/// A registry that is configured and does not answer: nothing could be written that others can read.
pub async fn wire(settings: &Settings) -> Result<Wire, StartError> {
    let Some(url) = &settings.schema_registry_url else {
        return Ok(Wire::single_object());
    };
    let client = RegistryClient::new(url.clone(), &settings.trust)?;
    Ok(Wire::with_registry(&client).await?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Env, load};

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
