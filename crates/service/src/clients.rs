//! Clients of the dependencies that a service uses.
//!
//! Role: creates only the clients that the service declares. Clients connect on first use, so a dependency that is down at
//! start-up is not fatal: the service waits for it.

pub(crate) mod addresses;
pub(crate) mod certificates;
mod checks;
pub mod endpoints;
pub(crate) mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codec::{RegistryClient, Wire};
use stores::{ClickHouse, ClickHouseConfig, Postgres, Redis, StoreError};
use stream::Brokers;
use stream::kafka::probe::Probe;
use tokio::sync::OnceCell;

use crate::breaker::Breaker;
use crate::life::StartError;
use crate::metrics;
use crate::names::Names;
use crate::settings::Settings;

/// Bounds the login check at start-up; without a response in time, the login does not count as rejected.
const KAFKA_ACCESS_WITHIN: Duration = Duration::from_secs(10);

/// Name of the schema registry in health and metrics, if one is configured.
const REGISTRY: &str = "schema_registry";

/// A server that a service depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dependency {
    Kafka,
    ClickHouse,
    Postgres,
    Redis,
}

/// A dependency, and whether the service needs it to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The dependency.
    pub dependency: Dependency,
    /// Whether the service is unhealthy without it (otherwise degraded).
    pub critical: bool,
    /// Tables of PostgreSQL that health looks for.
    pub tables: &'static [&'static str],
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
            tables: &[],
        }
    }

    /// Without it the service is degraded.
    pub const fn optional(dependency: Dependency) -> Use {
        Use {
            dependency,
            critical: false,
            tables: &[],
        }
    }

    /// Health names those of these PostgreSQL tables that are missing.
    pub const fn with_tables(self, tables: &'static [&'static str]) -> Use {
        Use { tables, ..self }
    }
}

/// The clients of one process. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    clickhouse: Option<ClickHouse>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    breakers: BTreeMap<&'static str, Arc<Breaker>>,
    /// Queries the broker about topics and groups.
    pub(crate) probe: Arc<Probe>,
    registry: Option<RegistryClient>,
    table_suffix: String,
    clickhouse_migrated: Arc<OnceCell<()>>,
    postgres_migrated: Arc<OnceCell<()>>,
}

/// Checks once whether the brokers accept this process. An unreachable broker is not an error: the service waits for it.
///
/// # Errors
/// If the login, certificate or protocol is rejected; the error names the setting to change.
pub(crate) fn check_kafka(uses: &[Use], bootstrap: &Brokers) -> Result<(), StartError> {
    match uses.iter().any(|used| used.dependency == Dependency::Kafka) {
        true => Ok(Probe::new(bootstrap)?.check_access(KAFKA_ACCESS_WITHIN)?),
        false => Ok(()),
    }
}

impl Clients {
    /// Creates the declared clients. Must be called inside the runtime that their connections will use.
    ///
    /// # Errors
    /// If an address cannot be parsed; a server that is down is not an error.
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

    /// The breaker of a dependency.
    ///
    /// # Errors
    /// If the service does not declare this dependency.
    pub fn breaker(&self, dependency: Dependency) -> Result<Arc<Breaker>, StartError> {
        declared(self.breakers.get(dependency.name()), dependency)
    }

    /// ClickHouse.
    ///
    /// # Errors
    /// If the service does not declare this dependency.
    pub fn clickhouse(&self) -> Result<ClickHouse, StartError> {
        declared(self.clickhouse.as_ref(), Dependency::ClickHouse)
    }

    /// Postgres.
    ///
    /// # Errors
    /// If the service does not declare this dependency.
    pub fn postgres(&self) -> Result<Postgres, StartError> {
        declared(self.postgres.as_ref(), Dependency::Postgres)
    }

    /// Redis.
    ///
    /// # Errors
    /// If the service does not declare this dependency.
    pub fn redis(&self) -> Result<Redis, StartError> {
        declared(self.redis.as_ref(), Dependency::Redis)
    }

    /// Creates the tables of ClickHouse; after a success, later calls do nothing.
    ///
    /// # Errors
    /// The error of the server; the next call tries again.
    pub async fn migrate_clickhouse(&self) -> Result<(), StoreError> {
        let migrate = async || match &self.clickhouse {
            Some(client) => stores::clickhouse::migrate(client, &self.table_suffix)
                .await
                .map(|_| ()),
            None => Ok(()),
        };
        self.clickhouse_migrated.get_or_try_init(migrate).await.copied()
    }

    /// Creates the tables of Postgres; after a success, later calls do nothing.
    ///
    /// # Errors
    /// The error of the server; the next call tries again.
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
}

fn clickhouse(settings: &Settings) -> Result<ClickHouse, StoreError> {
    ClickHouse::new(ClickHouseConfig {
        url: settings.clickhouse.url.expose().to_owned(),
        database: settings.clickhouse.database.clone(),
        user: settings.clickhouse.user.clone(),
        password: settings.clickhouse.password.clone(),
        cluster: settings.clickhouse.cluster.clone(),
        trust: settings.trust.clone(),
    })
}

fn declared<T: Clone>(client: Option<&T>, dependency: Dependency) -> Result<T, StartError> {
    client
        .cloned()
        .ok_or_else(|| format!("the service does not declare that it uses {dependency:?}").into())
}

/// The wire form: schema registry ids if a registry is configured, otherwise schema fingerprints.
///
/// # Errors
/// If the configured registry does not respond: records would be unreadable for other consumers.
pub async fn wire(settings: &Settings) -> Result<Wire, StartError> {
    let Some(url) = &settings.schema_registry_url else {
        return Ok(Wire::single_object());
    };
    let client = RegistryClient::new(url.clone(), &settings.trust)?;
    Ok(Wire::with_registry(&client).await?)
}
