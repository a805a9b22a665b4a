//! ClickHouse over HTTP: plain access for tools, and [`FencedTable`] for the writers.
//!
//! Role: one client per process, cheap to clone. Statements include every setting that affects exact rows ([`fenced`]), so a
//! server profile cannot change it.
//! Failure: nothing is retried here. (The underlying HTTP client opens a new connection only for a request of which no byte
//! has been sent, so no statement is repeated.)

mod bars;
mod cluster;
pub mod copies;
mod curves;
mod derived;
mod fence;
pub mod fenced;
pub mod gaps;
pub mod history;
mod history_known;
mod market_views;
mod merged;
mod migrations;
mod native;
mod promise;
pub mod restore;
pub mod rows;
mod stored;

use std::borrow::Cow;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use security::{Secret, Trust};

pub use bars::{BarKey, StoredBar, newest_bars};
pub use curves::{CurveQuestion, StoredCurve, curve_snapshot, curve_snapshots};
pub use derived::{DerivedQuestion, StoredDerived, StoredLeg, derived_prices, has_derived_prices};
pub use fence::Claimant;
pub use fenced::{FencedTable, InsertError};
pub use gaps::AcceptedGap;
pub use history::{History, HistoryLimits, Oldest, ProductClose, RestatedRow};
pub use merged::{Merged, MergedQuestion, StoredMerged, merged_bars};
pub use migrations::{migrate, newest_version, pending};
pub use native::Block;
pub use promise::unfit_columns;
pub use rows::Layout;

use domain::Micros;

use crate::metrics::timed;
use crate::{Store, StoreError};
use cluster::Cluster;

/// The exception of a fenced statement.
pub const FENCED: &str = "dp_fenced";

/// Limits our own queries; inserts and drains have separate limits.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Limits queries of operators and tools.
const TOOL_TIMEOUT: Duration = Duration::from_secs(120);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// The connection to ClickHouse.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct ClickHouseConfig {
    /// `http://host:8123` or `https://host:8443`.
    pub url: String,
    pub database: String,
    pub user: String,
    pub password: Secret,
    /// Name of a cluster of replicas behind the address; empty for one server.
    pub cluster: String,
    /// Authorities for `https://`.
    pub trust: Trust,
}

impl std::fmt::Debug for ClickHouseConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickHouseConfig")
            .field("url", &"***")
            .field("database", &self.database)
            .field("user", &self.user)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// Settings that make a response complete or an error: an error in the middle of a response must not look like its end. The
/// server buffers responses of up to a megabyte in memory, and longer ones in a file.
pub const WHOLE_ANSWERS: [(&str, &str); 2] = [("wait_end_of_query", "1"), ("http_response_buffer_size", "1048576")];

/// Idle connections are closed before the server does it, by default after three seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A client. Cheap to clone; connects on first use.
#[derive(Clone)]
pub struct ClickHouse {
    client: clickhouse::Client,
    database: String,
    /// Password of the user; one in a file is read again for each statement.
    password: Secret,
    cluster: Cluster,
}

impl ClickHouse {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// If the authorities for `https://` cannot be read.
    pub fn new(config: ClickHouseConfig) -> Result<ClickHouse, StoreError> {
        let client = match config.url.starts_with("https://") {
            true => over_tls(&config.trust)?,
            false => clickhouse::Client::default(),
        };
        let client = client
            .with_url(config.url)
            .with_user(config.user)
            .with_password(config.password.expose())
            .with_compression(clickhouse::Compression::None);
        let cluster = Cluster::new(&config.cluster);
        let client = WHOLE_ANSWERS
            .iter()
            .chain(cluster.settings())
            .fold(client, |client, (name, value)| client.with_setting(*name, *value));
        Ok(ClickHouse {
            client,
            database: config.database,
            password: config.password,
            cluster,
        })
    }

    /// The database of the tables.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Checks that the server responds to a query.
    ///
    /// # Errors
    /// If it does not respond within 3 s.
    pub async fn ping(&self) -> Result<(), StoreError> {
        within(
            "ping",
            PING_TIMEOUT,
            self.client().query_raw("SELECT 1 FORMAT Null").execute(),
        )
        .await
    }

    /// Runs a statement without a result, in no particular database (so that it can create ours).
    ///
    /// # Errors
    /// The error of the server.
    pub async fn exec(&self, sql: &str) -> Result<(), StoreError> {
        within("execute", TOOL_TIMEOUT, self.client().query_raw(sql).execute()).await
    }

    /// Rows of a query as JSON objects; 64-bit integers and decimals are strings with every digit. Table names without a
    /// database are resolved in ours.
    ///
    /// # Errors
    /// The error of the server, or `unexpected_answer` if the query has its own FORMAT.
    pub async fn query_json(&self, sql: &str) -> Result<Vec<Map<String, Value>>, StoreError> {
        self.query_rows(sql).await
    }

    /// As [`ClickHouse::query_json`], as rows of a type.
    ///
    /// # Errors
    /// The error of the server, or `unexpected_answer` if a row is of another type.
    pub async fn query_rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, StoreError> {
        let sql = sql.trim().trim_end_matches(';');
        let body = self.query_bytes("query", sql, "JSONEachRow").await?;
        let rows = serde_json::Deserializer::from_slice(&body)
            .into_iter()
            .collect::<Result<_, _>>();
        rows.map_err(|error| StoreError::unexpected(Store::ClickHouse, "query", error))
    }

    /// The result of a query in any output format, as sent by the server.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn query_text(&self, sql: &str, format: &str) -> Result<String, StoreError> {
        let sql = sql.trim().trim_end_matches(';');
        let body = self.query_bytes("query", sql, format).await?;
        String::from_utf8(body).map_err(|error| StoreError::unexpected(Store::ClickHouse, "query", error))
    }

    async fn query_bytes(&self, operation: &'static str, sql: &str, format: &str) -> Result<Vec<u8>, StoreError> {
        let query = self
            .client()
            .query_raw(sql)
            .with_setting("database", self.database.as_str())
            .with_setting("output_format_json_quote_64bit_integers", "1")
            .with_setting("output_format_json_quote_decimals", "1");
        fetch(operation, TOOL_TIMEOUT, query, format).await
    }

    /// Typed rows of one of our own queries.
    async fn rows<T: DeserializeOwned>(&self, operation: &'static str, sql: &str) -> Result<Vec<T>, StoreError> {
        let query = self
            .client()
            .query_raw(sql)
            .with_setting("output_format_json_quote_64bit_integers", "0");
        let body = fetch(operation, QUERY_TIMEOUT, query, "JSONEachRow").await?;
        let rows = serde_json::Deserializer::from_slice(&body)
            .into_iter()
            .collect::<Result<_, _>>();
        rows.map_err(|error| StoreError::unexpected(Store::ClickHouse, operation, error))
    }

    fn client(&self) -> Cow<'_, clickhouse::Client> {
        match self.password.is_in_file() {
            true => Cow::Owned(self.client.clone().with_password(self.password.expose())),
            false => Cow::Borrowed(&self.client),
        }
    }
}

/// A client whose connections verify the server's certificate and host name.
fn over_tls(trust: &Trust) -> Result<clickhouse::Client, StoreError> {
    let refused = |error: security::TrustError| {
        StoreError::fatal(Store::ClickHouse, "set up TLS", "invalid_address", error.to_string())
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEPALIVE));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(trust.client_config().map_err(refused)?)
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    let http = HttpClient::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector);
    Ok(clickhouse::Client::with_http_client(http))
}

async fn fetch(
    operation: &'static str,
    limit: Duration,
    query: clickhouse::query::Query,
    format: &str,
) -> Result<Vec<u8>, StoreError> {
    let collected = async {
        let mut cursor = query.fetch_bytes(format)?;
        Ok(cursor.collect().await?.to_vec())
    };
    within(operation, limit, collected).await
}

/// Limits the time of a call, and converts its error.
async fn within<T>(
    operation: &'static str,
    limit: Duration,
    call: impl Future<Output = clickhouse::error::Result<T>>,
) -> Result<T, StoreError> {
    let limited = async {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|error| StoreError::clickhouse(operation, &error)),
            Err(_) => Err(StoreError::timeout(Store::ClickHouse, operation, limit)),
        }
    };
    timed(Store::ClickHouse.name(), operation, limited).await
}

/// The times that `DateTime64` can hold: 1900 to 2299.
const TIMES: (Micros, Micros) = (-2_208_988_800_000_000, 10_413_791_999_999_999);

/// A time as an expression; one that the type cannot hold is the nearest that it can.
fn time_literal(time: Micros) -> String {
    format!(
        "fromUnixTimestamp64Micro(toInt64({}), 'UTC')",
        time.clamp(TIMES.0, TIMES.1)
    )
}

/// A string as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
