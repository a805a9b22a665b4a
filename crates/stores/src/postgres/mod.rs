//! Postgres: reference data, served projections with their positions, notifications.
//!
//! Role: one pool per process, cheap to clone; each kind of data has its own file.
//! Failure: every wait is bounded, a connection is checked before it is used again, nothing is retried here.

mod latest;
mod listen;
mod migrations;
mod price_row;
mod reference;

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

pub use latest::{Applied, LatestPriceStore, PriceBatch};
pub use listen::{Notices, REFERENCE_CHANGED};
pub use migrations::{migrate, seed_reference};
pub use reference::{ReferenceData, ReferenceInstrument, ReferenceStore, Rule};

use crate::{Store, StoreError};

const WAIT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Bounds a transaction of ours, on our side and on the server's.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A pool of connections. Cheap to clone; connects when it is first used.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    config: Config,
}

/// How the pool is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PoolStatus {
    pub max: usize,
    pub size: usize,
    pub idle: usize,
    pub waiting: usize,
}

fn refused(message: String) -> StoreError {
    StoreError::fatal(Store::Postgres, "read address", "invalid_address", message)
}

impl Postgres {
    /// A pool of at most `pool_size` connections to `postgresql://user:password@host:port/database`. Nothing is sent yet.
    ///
    /// # Errors
    /// Where the address cannot be read.
    pub fn connect(dsn: &str, pool_size: usize) -> Result<Postgres, StoreError> {
        let mut config: Config = dsn
            .parse()
            .map_err(|error: tokio_postgres::Error| refused(error.to_string()))?;
        config.connect_timeout(CONNECT_TIMEOUT);
        config.application_name("data-processing");
        Postgres::with_pool(config, pool_size)
    }

    /// A second pool to the same database, for readers: the server ends their statements after `limit`, and however many
    /// they are, the connections of this one are left to the writers.
    ///
    /// # Errors
    /// Where the address cannot be used.
    pub fn for_readers(&self, pool_size: usize, limit: Duration) -> Result<Postgres, StoreError> {
        let mut config = self.config.clone();
        let given = config.get_options().unwrap_or_default();
        let options = format!("{given} -c statement_timeout={}", limit.as_millis());
        config.options(options.trim_start());
        Postgres::with_pool(config, pool_size)
    }

    fn with_pool(config: Config, pool_size: usize) -> Result<Postgres, StoreError> {
        let manager = Manager::from_config(
            config.clone(),
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Verified,
            },
        );
        let timeouts = Timeouts {
            wait: Some(WAIT_TIMEOUT),
            create: Some(CONNECT_TIMEOUT),
            recycle: Some(PING_TIMEOUT),
        };
        let pool = Pool::builder(manager)
            .max_size(pool_size.max(1))
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Postgres { pool, config })
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let client = self.client("ping").await?;
        within("ping", PING_TIMEOUT, client.batch_execute("SELECT 1")).await
    }

    /// Rows of a query, every column as text.
    ///
    /// # Errors
    /// As the server says.
    pub async fn query_text(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, StoreError> {
        let client = self.client("query").await?;
        let messages = within("query", Duration::from_secs(120), client.simple_query(sql)).await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Runs statements without a result.
    ///
    /// # Errors
    /// As the server says.
    pub async fn exec(&self, sql: &str) -> Result<(), StoreError> {
        let client = self.client("execute").await?;
        within("execute", Duration::from_secs(120), client.batch_execute(sql)).await
    }

    /// How the pool is used.
    pub fn pool_status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            max: status.max_size,
            size: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    async fn client(&self, operation: &'static str) -> Result<Object, StoreError> {
        self.pool
            .get()
            .await
            .map_err(|error| StoreError::pool(operation, &error))
    }
}

/// Bounds a call, and makes its error ours.
async fn within<T>(
    operation: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|error| StoreError::postgres(operation, &error)),
        Err(_) => Err(StoreError::timeout(Store::Postgres, operation, limit)),
    }
}
