//! Postgres: reference data, served projections with their positions, notifications.
//!
//! Role: one pool per process, cheap to clone; each kind of data has its own file.
//! Invariant: no state outlives its transaction: no named prepared statements and no session settings, so that a transaction
//! pooler (PgBouncer, `pool_mode = transaction`) can be used.
//! Failure: every wait is limited, a connection is checked before it is reused, nothing is retried here.

mod address;
pub mod copies;
mod latest;
mod listen;
mod migrations;
mod position;
mod price_row;
mod rebuild;
mod reference;
mod restore;
mod scope;
mod served;
mod served_query;
mod served_rebuild;
mod verify_runs;

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use security::{Secret, Trust};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::{ToSql, Type};

pub use latest::{Applied, LatestPriceStore, PriceBatch};
pub use listen::{Notices, REFERENCE_CHANGED};
pub use migrations::{migrate, seed_reference};
pub use position::{Held, LoadedPosition, StoredPosition};
pub use rebuild::{Changes, Exchange, Keep, RebuildRow, Rebuilds, Swap};
pub use reference::{CurveRow, ReferenceData, ReferenceInstrument, ReferenceStore, Rule};
pub use restore::{Absent, absent, recreate};
pub use scope::Scope;
pub use served::{ServedBatch, ServedStore};
pub use served_rebuild::{FromLog, Replaced, RowChanges};
pub use verify_runs::{LastVerify, VerifyResult, VerifyRun, VerifyRuns};

use crate::metrics::timed;
use crate::{Store, StoreError};
use address::Address;
use domain::Classified as _;

const WAIT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Limits a transaction of ours, on our side and on the server.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// The server ends a statement of ours first: else its session would go on waiting, for a lock for example, and each retry would
/// leave another one.
const LIMIT_STATEMENTS: &str = "SET LOCAL statement_timeout = '12s'";

/// A pool of connections. Cheap to clone; connects on first use.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    address: Address,
    /// The time after which the server ends a reader's statement.
    statement_limit: Option<Duration>,
}

/// A statement parameter with its type, so that the server need not be queried for it.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Usage of the pool.
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
    /// A pool of at most `pool_size` connections to `postgresql://user:password@host:port/database`, with TLS if the DSN
    /// contains `sslmode=verify-full` or `sslmode=require`. Nothing is sent yet.
    ///
    /// # Errors
    /// If the address or the authorities cannot be read.
    pub fn connect(dsn: &Secret, trust: &Trust, pool_size: usize) -> Result<Postgres, StoreError> {
        Postgres::with_pool(Address::read(dsn, trust)?, pool_size, None)
    }

    /// A second pool to the same database, for readers: the server ends their statements after `limit`, and any number of
    /// readers leaves the connections of this pool to the writers.
    ///
    /// # Errors
    /// If the address is invalid.
    pub fn for_readers(&self, pool_size: usize, limit: Duration) -> Result<Postgres, StoreError> {
        Postgres::with_pool(self.address.clone(), pool_size, Some(limit))
    }

    fn with_pool(
        address: Address,
        pool_size: usize,
        statement_limit: Option<Duration>,
    ) -> Result<Postgres, StoreError> {
        let manager = Manager::from_connect(
            address.config(),
            address.clone(),
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
        Ok(Postgres {
            pool,
            address,
            statement_limit,
        })
    }

    /// Checks that the server responds.
    ///
    /// # Errors
    /// If it does not respond.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let client = self.client("ping").await?;
        within("ping", PING_TIMEOUT, client.batch_execute("SELECT 1")).await
    }

    /// Rows of a query, with every column as text.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn query_text(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, StoreError> {
        let client = self.client("query").await?;
        let messages = within(
            "query",
            Duration::from_secs(120),
            self.limited(&client, client.simple_query(sql)),
        )
        .await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Runs statements without a result.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn exec(&self, sql: &str) -> Result<(), StoreError> {
        let client = self.client("execute").await?;
        let result = within("execute", Duration::from_secs(120), client.batch_execute(sql)).await;
        self.settle(client, result)
    }

    /// Usage of the pool.
    pub fn pool_status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            max: status.max_size,
            size: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// Rows of a reader's statement. It is sent together with its transaction, which only sets the statement's time limit.
    async fn read(
        &self,
        client: &Object,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
        self.limited(client, client.query_typed(sql, parameters)).await
    }

    async fn limited<T>(
        &self,
        client: &Object,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, tokio_postgres::Error> {
        let Some(limit) = self.statement_limit else {
            return statement.await;
        };
        let begin = format!("BEGIN; SET LOCAL statement_timeout = {}", limit.as_millis());
        // All three are sent at once, in this order: the first poll of each queues its message.
        let (began, answer, ended) = tokio::join!(
            biased;
            client.batch_execute(&begin),
            statement,
            client.batch_execute("COMMIT")
        );
        let answer = answer?;
        began.and(ended)?;
        Ok(answer)
    }

    /// Returns a connection to the pool. After a fail-over, open connections may lead to a read-only server while the address
    /// leads to another one: those connections are closed.
    fn settle<T>(&self, client: Object, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(|error| error.code() == "read_only") {
            drop(Object::take(client));
            self.pool.retain(|_, _| false);
        }
        result
    }

    async fn client(&self, operation: &'static str) -> Result<Object, StoreError> {
        self.pool
            .get()
            .await
            .map_err(|error| StoreError::pool(operation, &error))
    }
}

/// Limits the time of a call, and converts its error.
async fn within<T>(
    operation: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    let limited = async {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|error| StoreError::postgres(operation, &error)),
            Err(_) => Err(StoreError::timeout(Store::Postgres, operation, limit)),
        }
    };
    timed(Store::Postgres.name(), operation, limited).await
}
