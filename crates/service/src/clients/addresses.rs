//! Checks the addresses and certificates of the dependencies without connecting to them.

use stores::{Postgres, Redis};
use stream::Brokers;
use stream::kafka::brokers::Login;
use stream::kafka::probe::Probe;

use super::{Dependency, Use, clickhouse};
use crate::settings::Settings;

/// One sentence for each dependency whose client cannot be created with these settings. Must be called inside a runtime.
pub(crate) fn problems(uses: &[Use], settings: &Settings) -> Vec<String> {
    let problem = |Use { dependency, .. }: &Use| match dependency {
        Dependency::Kafka => kafka(settings),
        Dependency::ClickHouse => clickhouse(settings)
            .err()
            .map(|error| format!("DATA_PROC_CLICKHOUSE_URL: {error}")),
        Dependency::Postgres => Postgres::connect(&settings.postgres_dsn, &settings.trust, settings.db_pool_size)
            .err()
            .map(|error| format!("DATA_PROC_POSTGRES_DSN: {error}")),
        Dependency::Redis => Redis::new(&settings.redis_url, &settings.trust)
            .err()
            .map(|error| format!("DATA_PROC_REDIS_URL: {error}")),
    };
    uses.iter().filter_map(problem).collect()
}

/// Only certificates and keys can be checked without a server. A client with a token would request one when it is created.
fn kafka(settings: &Settings) -> Option<String> {
    let security = settings.kafka_bootstrap.security();
    if !security.protocol.uses_tls() || matches!(security.login, Some(Login::Token(_))) {
        return None;
    }
    // A client with addresses would connect to one of them in the background.
    let error = Probe::new(&Brokers::new("", security.clone())).err()?;
    Some(format!("DATA_PROC_KAFKA_SECURITY_PROTOCOL: {error}"))
}
