//! The settings that every service shares: `DATA_PROC_*`, typed, read once.
//!
//! Role: parses the environment and the configuration file before any other work. A service's own settings (`ENRICHMENT_*`, …) are read by the same
//! [`Reader`] in the same pass, so that all problems are listed at once.
//! Failure: [`SettingsError`] with every problem; the process ends with exit code 2 before it connects to a server.

mod checked;
mod file;
mod http;
mod kafka;
mod log;
mod nearest;
mod page;
mod reader;
mod refused;
mod servers;
mod shared;
mod traces;
mod variable;

use std::net::IpAddr;
use std::time::Duration;

use security::Trust;
use stream::{Brokers, Compression};

pub(crate) use checked::{config_file, in_order};
pub use checked::{host_and_port, is_http_url, named_url};
pub use file::TABLES;
pub use page::{Part, document};
pub(crate) use reader::located;
pub use reader::{CONFIG_FILE, Env, Reader, Rule, SettingsError, parse_duration};
pub use security::{Secret, mask};
pub use variable::{ALERTMANAGER_URL, Kind, OTHER_PROGRAMS, Other, SERVICE_URLS, Source, Unknown, Variable};

/// Where the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Environment {
    Local,
    Dev,
    Staging,
    Prod,
}

impl Environment {
    /// The name, as it appears in consumer groups.
    pub fn name(self) -> &'static str {
        match self {
            Environment::Local => "local",
            Environment::Dev => "dev",
            Environment::Staging => "staging",
            Environment::Prod => "prod",
        }
    }

    fn from_name(name: &str) -> Option<Environment> {
        [
            Environment::Local,
            Environment::Dev,
            Environment::Staging,
            Environment::Prod,
        ]
        .into_iter()
        .find(|environment| environment.name() == name)
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// A readable form for terminals.
    Pretty,
}

/// The log settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// Format of a line.
    pub format: LogFormat,
}

/// The connection to ClickHouse.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClickHouseSettings {
    /// A secret, because it may contain a password.
    pub url: Secret,
    pub database: String,
    pub user: String,
    pub password: Secret,
    pub cluster: String,
}

/// HTTP addresses and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Address to bind to.
    pub host: IpAddr,
    /// Port; 0 lets the system choose.
    pub port: u16,
    /// Second port with the same routes.
    pub metrics_port: Option<u16>,
    /// Requests that one client may send within the window.
    pub rate_limit: u64,
    /// Length of the window.
    pub rate_limit_window: Duration,
    /// Maximum number of open connections; lower if the process may not open twice as many descriptors.
    pub max_connections: usize,
    /// A connection whose client does not read its response for this long is closed.
    pub write_timeout: Duration,
}

/// A service of the pipeline, for `GET /health/cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Name in the answer.
    pub name: String,
    /// Base URL.
    pub url: String,
}

/// When a circuit breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failure_threshold: u32,
    /// Successes in a row that close it again.
    pub success_threshold: u32,
    /// How long it stays open the first time; doubles each time it opens again.
    pub base_timeout: Duration,
    /// The longest it stays open.
    pub max_timeout: Duration,
}

/// How long a topic keeps its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The period.
    pub hours: u64,
    /// Whether somebody has chosen it: only then is that of an existing topic changed, which may have been set by hand.
    pub is_set: bool,
}

/// How long the topics of each kind keep their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RetentionSettings {
    pub raw: Retention,
    /// Topics between the stages.
    pub stages: Retention,
    /// Legs of derived prices and quotes of curves.
    pub legs: Retention,
    pub dlq: Retention,
}

/// The shared settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Settings {
    pub environment: Environment,
    pub tenant_id: String,
    /// The brokers and the connection settings.
    pub kafka_bootstrap: Brokers,
    /// Replication factor of created topics.
    pub kafka_replication: i32,
    /// Certificate authorities for TLS connections to stores, schema registry and HTTP services.
    pub trust: Trust,
    /// Compression of produced messages.
    pub kafka_compression: Compression,
    pub clickhouse: ClickHouseSettings,
    pub postgres_dsn: Secret,
    pub redis_url: Secret,
    pub log: LogSettings,
    pub http: HttpSettings,
    /// Maximum number of rows per ClickHouse insert.
    pub max_batch_size: usize,
    /// Maximum wait before a smaller batch is inserted, if it is not that of each table.
    pub flush_interval: Option<Duration>,
    pub db_pool_size: usize,
    /// Time limit of one HTTP request.
    pub processing_timeout: Duration,
    /// Base URL of a Confluent schema registry; without one, single-object framing.
    pub schema_registry_url: Option<Secret>,
    pub raw_topics: Vec<String>,
    /// Partitions that every topic after the raw ones must have (INV-4).
    pub topic_partitions: i32,
    pub retention: RetentionSettings,
    /// Threads of the main stage, each with its own consumer.
    pub workers: usize,
    /// Empty, or the suffix of topics, groups and tables.
    pub generation: String,
    /// Stable name of the process in its consumer groups.
    pub instance_id: Option<String>,
    pub breaker: BreakerSettings,
    /// Base URL of the collector that spans are exported to.
    pub otlp_endpoint: Option<Secret>,
    pub cluster_peers: Vec<Peer>,
}

/// The shared settings, the service's own settings, and the variables to report to the operator.
#[derive(Debug, Clone)]
pub struct Loaded<S> {
    /// Shared by all services.
    pub settings: Settings,
    /// The service's own.
    pub own: S,
    /// Every declared variable, with its value in effect.
    pub variables: Vec<Variable>,
    /// Unknown variables with one of our prefixes.
    pub unknown: Vec<Unknown>,
}

/// The settings of an environment that may be invalid.
#[derive(Debug, Clone)]
pub struct Declared<S> {
    /// Shared by all services.
    pub settings: Settings,
    /// The service's own.
    pub own: S,
    /// Every declared variable, with its value in effect.
    pub variables: Vec<Variable>,
    /// One sentence for each invalid value; `settings` contains its default instead.
    pub problems: Vec<String>,
    /// Unknown variables with one of our prefixes.
    pub unknown: Vec<Unknown>,
}

/// Reads the shared settings and, with `own`, the service's own. `default_port` is the default of `DATA_PROC_HEALTH_PORT`.
///
/// # Errors
/// Every problem of the environment at once.
pub fn load<S>(
    env: &Env,
    default_port: u16,
    own: impl FnOnce(&mut Reader<'_>) -> S,
) -> Result<Loaded<S>, SettingsError> {
    let Declared {
        settings,
        own,
        variables,
        problems,
        unknown,
    } = declare(env, default_port, own);
    if problems.is_empty() {
        Ok(Loaded {
            settings,
            own,
            variables,
            unknown,
        })
    } else {
        Err(SettingsError { problems })
    }
}

/// As [`load`], but returns invalid values as `problems`: for commands that show the variables.
pub fn declare<S>(env: &Env, default_port: u16, own: impl FnOnce(&mut Reader<'_>) -> S) -> Declared<S> {
    let mut reader = Reader::new(env);
    let settings = shared::read(&mut reader, default_port);
    let own = own(&mut reader);
    reader.refuse_unknown_keys();
    let unknown = reader.unknown();
    let (variables, problems) = reader.into_parts();
    Declared {
        settings,
        own,
        variables,
        problems,
        unknown,
    }
}

/// The environment, with the strings, integers and lists of the configuration file that it does not contain: for decisions before the
/// settings are read. Problems of the file are not reported.
pub fn with_file(env: &Env) -> Env {
    let mut all = env.clone();
    let path = env
        .get(CONFIG_FILE)
        .map(|path| path.trim())
        .filter(|path| !path.is_empty());
    let file = path.and_then(|path| file::File::open(CONFIG_FILE, path).ok());
    for (name, entry) in file.iter().flat_map(|file| file.entries()) {
        if let Some(value) = entry.plain() {
            all.entry(name.to_owned()).or_insert(value);
        }
    }
    all
}

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod tests;
